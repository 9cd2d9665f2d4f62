"""The vote log and the ledger of a simulated node: the shipping writers, fed in virtual time instead of by threads.

A commit takes the disk's time; everything that is asked for meanwhile shares the next one (group commit). What a
commit holds becomes durable at its end and all at once, right between the node's boundaries "before a write" and
"after it": a crash at the first loses it, a crash at the second keeps it although nobody was told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

from potchain.blocks import BlockCertificate, ExecutedBlock
from potchain.driver.bookkeeper import Bookkeeping, LedgerItem
from potchain.driver.journal import JournalItem, JournalWriter
from potchain.errors import LedgerError
from potchain.primitives import NS_PER_S
from potchain.replica.actions import ForgetBodies, Persist

HISTORY_PAUSE_NS = 700_000_000
"""History rows are written this seldom, so that much is read before them; a busy node's lag as much."""

I = TypeVar("I")  # noqa: E741 - an item


class StoreHost(Protocol):
    """What a store needs of its node."""

    @property
    def write_ns(self) -> int:
        """How long a commit takes now."""
        ...

    def boundary(self, what: str) -> bool:
        """One more boundary; False when the node crashes there, and nothing more may be done."""
        ...

    def executed(self, block: ExecutedBlock) -> None:
        """On its way to the disk."""
        ...

    def applied(self, block: ExecutedBlock) -> None:
        """Durable."""
        ...

    def certified(self, certificate: BlockCertificate) -> None:
        """Durable."""
        ...

    def written(self, what: str) -> None:
        """A line for the trace."""
        ...

    def storage_failed(self, failure: LedgerError) -> None:
        """The node must stop."""
        ...


class Commits(Generic[I]):
    """Group commit over any writer."""

    def __init__(
        self,
        host: StoreHost,
        name: str,
        write: Callable[[Sequence[I]], None],
        waits_for_disk: Callable[[Sequence[I]], bool],
    ) -> None:
        self._host = host
        self._name = name
        self._write = write
        self._waits = waits_for_disk
        self._loop = asyncio.get_running_loop()
        self._queue: list[I] = []
        self._under_way: list[I] = []
        self._wakes = False

    @property
    def depth(self) -> int:
        """Queued items, without those of the commit under way."""
        return len(self._queue)

    @property
    def is_idle(self) -> bool:
        """Nothing queued, nothing under way."""
        return not (self._queue or self._under_way)

    def put(self, item: I) -> None:
        """Queue work."""
        self._queue.append(item)
        if not self._wakes and not self._under_way:
            # Not at once: what the same event asks for shares the commit.
            self._wakes = True
            self._loop.call_soon(self._begin)

    def tear(self) -> bool:
        """At a power cut: carry out the commit under way, so that the disk can cut it; False when there is none."""
        if not self._under_way or not self._waits(self._under_way):
            return False
        self._write(self._under_way)
        return True

    def flush(self) -> None:
        """A clean stop: write all that is asked for."""
        items, self._queue, self._under_way = self._under_way + self._queue, [], []
        if items:
            self._write(items)

    def _begin(self) -> None:
        self._wakes = False
        if self._under_way or not self._queue:
            return
        self._under_way, self._queue = self._queue, []
        if self._waits(self._under_way):
            self._loop.call_later(self._host.write_ns / NS_PER_S, self._end)
        else:
            items, self._under_way = self._under_way, []
            self._write(items)

    def _end(self) -> None:
        if not self._host.boundary(f"before {self._name}"):
            return
        items, self._under_way = self._under_way, []
        try:
            self._write(items)
        except LedgerError as failure:
            self._host.storage_failed(failure)
            return
        if self._host.boundary(f"after {self._name}"):
            self._begin()


class VirtualJournal:
    """`potchain.driver.journal.Journal` in virtual time."""

    def __init__(self, host: StoreHost, writer: JournalWriter) -> None:
        self._host = host
        self._writer = writer
        self.signatures: set[bytes] = set()
        """Of the own messages that became durable in this life."""
        self.commits = Commits[JournalItem](host, "journal write", self._write, JournalWriter.waits_for_disk)

    @property
    def depth(self) -> int:
        """Queued items."""
        return self.commits.depth

    def put(self, item: JournalItem) -> None:
        """Queue work."""
        self.commits.put(item)

    def _write(self, items: Sequence[JournalItem]) -> None:
        self._host.written(_journal_text(items))
        self._writer.write(items)
        for item in items:
            if isinstance(item, Persist):
                self.signatures.update(message.signature for message in item.batch.messages)


class VirtualBookkeeper:
    """`potchain.driver.bookkeeper.Bookkeeper` in virtual time."""

    def __init__(self, host: StoreHost, books: Bookkeeping) -> None:
        self._host = host
        self._books = books
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self.commits = Commits[LedgerItem](host, "ledger write", self._write, bool)
        self._plan_history()

    @property
    def depth(self) -> int:
        """Queued items."""
        return self.commits.depth

    @property
    def history_height(self) -> int:
        """History rows are complete up to here."""
        return self._books.history_height

    @property
    def lag(self) -> int:
        """Transactions that history has not reached."""
        return self._books.lag

    def put(self, item: LedgerItem) -> None:
        """Queue work."""
        if isinstance(item, ExecutedBlock):
            self._host.executed(item)
        self.commits.put(item)

    def _write(self, items: Sequence[LedgerItem]) -> None:
        self._books.write(items)
        for item in items:
            if isinstance(item, ExecutedBlock):
                self._host.applied(item)
        for item in items:
            if isinstance(item, BlockCertificate):
                self._host.certified(item)
        self._plan_history()

    def _plan_history(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due_ns = self._books.history_due_ns()
        if due_ns is not None:
            self._timer = self._loop.call_later(max(due_ns, HISTORY_PAUSE_NS) / NS_PER_S, self._history)

    def _history(self) -> None:
        self._timer = None
        if self.commits.is_idle and self._books.history_due_ns() == 0:
            if not self._host.boundary("before history write"):
                return
            try:
                self._books.project()
            except LedgerError as failure:
                self._host.storage_failed(failure)
                return
            if not self._host.boundary("after history write"):
                return
        self._plan_history()


def _journal_text(items: Sequence[JournalItem]) -> str:
    parts = []
    for item in items:
        if isinstance(item, Persist):
            batch = item.batch
            votes = ",".join(f"{each.kind} v{each.view} s{each.sequence}" for each in batch.messages)
            counts = f"{len(batch.records)} records {len(batch.proposals)} proposals {len(batch.bodies)} bodies"
            parts.append(f"#{item.token}: {counts}{' ' if votes else ''}{votes}")
        elif not isinstance(item, ForgetBodies):
            parts.append(f"votes up to {item.stable} forgotten")
    return f"wrote {'; '.join(parts)}" if parts else "wrote nothing"
