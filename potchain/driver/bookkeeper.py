"""The ledger's thread: blocks and certificates first, history rows while there is nothing else to do.

Blocks that queued up while one commit ran share the next (group commit). History rows are filled in slices of a few
milliseconds between them, so a decide transaction never waits long; while a node is busy it writes few of them, the
more the further it lags, and when history lags by more than its bound it goes first until it has caught up.

`Bookkeeping` is what is written and when; `Bookkeeper` is the thread that does it. The simulator does the same
bookkeeping on virtual time.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from potchain.blocks import BlockCertificate, ExecutedBlock
from potchain.errors import LedgerError
from potchain.ledger.evidence import FoundEvidence
from potchain.ledger.projection import Projector
from potchain.ledger.writer import LedgerWriter
from potchain.primitives import NS_PER_S

SLICE_NS = 5_000_000
"""Longest stretch of history work between two looks at the queue, while the node is busy."""
IDLE_SLICE_NS = 50_000_000
"""Work between two commits of history while it is not; the queue is looked at every few milliseconds."""
HISTORY_BATCH = 500
"""Inclusions without rows that are worth a slice at once."""
HISTORY_DELAY_NS = 250_000_000
"""How long fewer than that wait."""
BUSY_NS = 250_000_000
"""A node that applied a block so recently is busy."""
BUSY_PAUSES = 40
"""While busy and hardly behind, a slice is followed by a pause of that many times its length."""
IDLE_S = 3_600.0
"""Sleep when nothing at all is due; anything that is put wakes the thread."""


LedgerItem = ExecutedBlock | BlockCertificate | FoundEvidence


class BookkeeperPort(Protocol):
    """What a driver asks of a bookkeeper, and the API of its books."""

    @property
    def depth(self) -> int:
        """Queued items."""
        ...

    @property
    def history_height(self) -> int:
        """History rows are complete up to here."""
        ...

    @property
    def lag(self) -> int:
        """Transactions that history has not reached."""
        ...

    def put(self, item: LedgerItem) -> None:
        """Queue work; from the event loop."""
        ...


class Bookkeeping:
    """What to write now: blocks and certificates at once, history when it is due. One thread calls it."""

    def __init__(
        self,
        writer: LedgerWriter,
        projector: Projector,
        *,
        lag_max: int,
        now_ns: Callable[[], int],
        applied: Callable[[int], None],
        certified: Callable[[tuple[BlockCertificate, ...]], None],
        wanted: Callable[[], bool] = lambda: False,
    ) -> None:
        """`lag_max` in transactions; `now_ns` is monotonic; `applied` and `certified` are told what became durable.

        `wanted`: whether something waits to be written.
        """
        self._writer = writer
        self._projector = projector
        self._lag_max = lag_max
        self._now_ns = now_ns
        self._applied = applied
        self._certified = certified
        self._wanted = wanted
        self._behind_since_ns = self._applied_ns = self._sliced_ns = now_ns()
        self._slice_ns = 0
        self.history_height = projector.height
        """History rows are complete up to here."""
        self.lag = projector.lag()
        """Transactions that history has not reached."""

    @property
    def history_first(self) -> bool:
        """History lags by more than its bound: it goes before blocks."""
        return self.lag > self._lag_max

    def write(self, items: Sequence[LedgerItem]) -> None:
        """All of it in one commit. Raises LedgerError."""
        blocks = [item for item in items if isinstance(item, ExecutedBlock)]
        certificates = tuple(item for item in items if isinstance(item, BlockCertificate))
        if blocks:
            self._writer.apply(blocks, certificates=certificates)
            self._applied_ns = self._now_ns()
            self._see_lag()
            self._applied(blocks[-1].height)
        else:
            self._writer.store_certificates(certificates)
        if certificates:
            self._certified(certificates)
        found = [item for item in items if isinstance(item, FoundEvidence)]
        if found:
            self._writer.store_evidence(found)

    def history_due_ns(self) -> int | None:
        """When there is history to write: 0 now, or in how many nanoseconds; None when nothing is left to do.

        A few inclusions wait a little for company: a commit for each block would cost more than its rows.
        """
        now_ns = self._now_ns()
        if not self.lag:
            return self._projector.due_in_ns(now_ns)
        if self.lag < HISTORY_BATCH:
            return max(0, self._behind_since_ns + HISTORY_DELAY_NS - now_ns)
        if now_ns - self._applied_ns >= BUSY_NS:
            return 0
        # While decisions keep coming, history takes a share of the time that grows with its lag: a small one at first,
        # since rows written beside a busy event loop cost twice as much as later; all of it at the bound.
        pause_ns = self._slice_ns * BUSY_PAUSES * max(0, self._lag_max - self.lag) // self._lag_max
        return max(0, self._sliced_ns + pause_ns - now_ns)

    def project(self) -> None:
        """One slice of history. Raises LedgerError."""
        began_ns = self._now_ns()
        if began_ns - self._applied_ns >= BUSY_NS:
            self._projector.project(IDLE_SLICE_NS, self._now_ns, self._wanted)
        else:
            self._projector.project(SLICE_NS, self._now_ns)
        self._sliced_ns = self._now_ns()
        self._slice_ns = self._sliced_ns - began_ns
        self.history_height = self._projector.height
        self._see_lag()

    def _see_lag(self) -> None:
        before, self.lag = self.lag, self._projector.lag()
        if not before:
            self._behind_since_ns = self._now_ns()


class Bookkeeper:
    """Owns the ledger's writer and projector."""

    def __init__(
        self,
        writer: LedgerWriter,
        projector: Projector,
        *,
        lag_max: int,
        applied: Callable[[int], None],
        certified: Callable[[tuple[BlockCertificate, ...]], None],
        failed: Callable[[LedgerError], None],
    ) -> None:
        """The callables are called on the bookkeeper's own thread; `lag_max` in transactions."""
        self._queue: queue.SimpleQueue[LedgerItem | None] = queue.SimpleQueue()
        self._books = Bookkeeping(
            writer,
            projector,
            lag_max=lag_max,
            now_ns=time.monotonic_ns,
            applied=applied,
            certified=certified,
            wanted=lambda: not self._queue.empty(),
        )
        self._failed = failed
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="bookkeeper", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def put(self, item: LedgerItem) -> None:
        """Queue work; from the event loop."""
        self._queue.put(item)

    @property
    def depth(self) -> int:
        """Queued items."""
        return self._queue.qsize()

    @property
    def history_height(self) -> int:
        """History rows are complete up to here."""
        return self._books.history_height

    @property
    def lag(self) -> int:
        """Transactions that history has not reached."""
        return self._books.lag

    def close(self) -> None:
        """Write what is queued and stop; history resumes at the next start."""
        self._closing = True
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        books = self._books
        try:
            while True:
                items, stop = self._take()
                books.write(items)
                if stop:
                    return
                if not items and books.history_due_ns() == 0:
                    books.project()
        except LedgerError as failure:
            self._failed(failure)
        except BaseException as bug:
            self._failed(LedgerError(f"a bug in the ledger's thread: {type(bug).__name__}: {bug}"))
            raise

    def _take(self) -> tuple[list[LedgerItem], bool]:
        items: list[LedgerItem] = []
        if self._books.history_first and not self._closing:
            return items, False
        # With history to write, look and go on; without, sleep until something comes or waiting rows are due.
        due_ns = self._books.history_due_ns()
        timeout_s = IDLE_S if due_ns is None else due_ns / NS_PER_S
        while True:
            try:
                item = self._queue.get(timeout=timeout_s) if timeout_s and not items else self._queue.get_nowait()
            except queue.Empty:
                return items, False
            if item is None:
                return items, True
            items.append(item)
