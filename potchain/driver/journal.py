"""The vote log's thread: everything that was asked for while one commit ran goes into the next (group commit).

`JournalWriter` knows what a batch of requests means for the log; `Journal` is the thread that feeds it. The simulator
feeds the same writer on virtual time.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from potchain.errors import LedgerError
from potchain.ledger.votes import VoteLog
from potchain.primitives import Digest
from potchain.replica.actions import DurableBatch, ForgetBodies, Persist, TruncateVotes

JournalItem = Persist | TruncateVotes | ForgetBodies


class JournalPort(Protocol):
    """What a driver asks of a journal."""

    @property
    def depth(self) -> int:
        """Queued items."""
        ...

    def put(self, item: JournalItem) -> None:
        """Queue work; from the event loop."""
        ...


class Journal:
    """Makes batches durable in token order and reports the newest token that is."""

    def __init__(
        self, log: VoteLog, *, persisted: Callable[[int], None], failed: Callable[[LedgerError], None]
    ) -> None:
        """`persisted` and `failed` are called on the journal's own thread."""
        self._writer = JournalWriter(log, persisted)
        self._failed = failed
        self._queue: queue.SimpleQueue[JournalItem | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)

    def restore(self, batches: dict[int, tuple[Digest, ...]]) -> None:
        """What the body log held at start."""
        self._writer.restore(batches)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def put(self, item: JournalItem) -> None:
        """Queue work; from the event loop."""
        self._queue.put(item)

    @property
    def depth(self) -> int:
        """Queued items."""
        return self._queue.qsize()

    def close(self) -> None:
        """Write what is queued and stop."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            items: list[JournalItem] = [first]
            stop = False
            while not self._queue.empty():
                item = self._queue.get()
                if item is None:
                    stop = True
                    break
                items.append(item)
            try:
                self._writer.write(items)
            except LedgerError as failure:
                self._failed(failure)
                return
            except BaseException as bug:
                self._failed(LedgerError(f"a bug in the vote log's thread: {type(bug).__name__}: {bug}"))
                raise
            if stop:
                return


class JournalWriter:
    """Writes batches of requests to one vote log, and keeps the books of its body batches. One thread calls it."""

    def __init__(self, log: VoteLog, persisted: Callable[[int], None]) -> None:
        """`persisted` is told the newest token that is durable."""
        self._log = log
        self._persisted = persisted
        self.batch_of: dict[Digest, int] = {}
        """Body batch of each transaction that is still needed."""
        self._needed: dict[int, int] = {}
        self._emptied: list[int] = []  # deleted with the next append: a commit of its own would cost as much again

    def restore(self, batches: dict[int, tuple[Digest, ...]]) -> None:
        """What the body log held at start."""
        for batch, ids in batches.items():
            self._remember(batch, ids)

    @staticmethod
    def waits_for_disk(items: Iterable[JournalItem]) -> bool:
        """Whether writing these commits anything."""
        return any(not isinstance(item, ForgetBodies) for item in items)

    def write(self, items: Sequence[JournalItem]) -> None:
        """All of it, in one commit and one more for each truncation. Raises LedgerError."""
        # In their order: a body that comes after another copy was forgotten stays; one forgotten after it came goes.
        coming: set[Digest] = set()
        later: list[Digest] = []
        for item in items:
            if isinstance(item, Persist):
                coming.update(body.id for body in item.batch.bodies)
            elif isinstance(item, ForgetBodies):
                later += [each for each in item.ids if each in coming]
                self._emptied += self._forget([each for each in item.ids if each not in coming])
        persists = [item for item in items if isinstance(item, Persist)]
        if persists:
            self._append([item.batch for item in persists])
            self._persisted(persists[-1].token)
            self._emptied += self._forget(later)
        for item in items:
            if isinstance(item, TruncateVotes):
                self._log.truncate(item.stable, item.uncertified)

    def _append(self, batches: list[DurableBatch]) -> None:
        bodies = [body for batch in batches for body in batch.bodies]
        number = self._log.append(
            records=[record for batch in batches for record in batch.records],
            messages=[message for batch in batches for message in batch.messages],
            guard=[entry for batch in batches for entry in batch.guard],
            proposals=[proposal for batch in batches for proposal in batch.proposals],
            bodies=[body.raw for body in bodies],
            dropped=self._emptied,
            learner=next((batch.learner for batch in reversed(batches) if batch.learner is not None), None),
        )
        self._emptied = []
        if number is not None:
            self._remember(number, tuple(body.id for body in bodies))

    def _remember(self, batch: int, ids: tuple[Digest, ...]) -> None:
        fresh = [transaction_id for transaction_id in ids if transaction_id not in self.batch_of]
        for transaction_id in fresh:
            self.batch_of[transaction_id] = batch
        if fresh:
            self._needed[batch] = len(fresh)
        else:
            self._emptied.append(batch)

    def _forget(self, ids: Sequence[Digest]) -> list[int]:
        emptied = []
        for transaction_id in ids:
            batch = self.batch_of.pop(transaction_id, None)
            if batch is None:
                continue
            self._needed[batch] -= 1
            if not self._needed[batch]:
                del self._needed[batch]
                emptied.append(batch)
        return emptied
