"""The ledger's thread: blocks and certificates first, history rows while there is nothing else to do.

Blocks that queued up while one commit ran share the next (group commit). History rows are filled in slices of a few
milliseconds between them, so a decide transaction never waits long; while a node is busy it writes few of them, the
more the further it lags, and when history lags by more than its bound it goes first until it has caught up.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable

from potchain.blocks import BlockCertificate, ExecutedBlock
from potchain.errors import LedgerError
from potchain.ledger.projection import Projector
from potchain.ledger.writer import LedgerWriter
from potchain.primitives import NS_PER_S

SLICE_NS = 5_000_000
"""Longest stretch of history work between two looks at the queue."""
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
        self._writer = writer
        self._projector = projector
        self._lag_max = lag_max
        self._applied = applied
        self._certified = certified
        self._failed = failed
        self._queue: queue.SimpleQueue[ExecutedBlock | BlockCertificate | None] = queue.SimpleQueue()
        self._behind_since_ns = self._applied_ns = self._sliced_ns = time.monotonic_ns()
        self._slice_ns = 0
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="bookkeeper", daemon=True)
        self.history_height = projector.height
        """History rows are complete up to here."""
        self.lag = projector.lag()
        """Transactions that history has not reached."""

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def put(self, item: ExecutedBlock | BlockCertificate) -> None:
        """Queue work; from the event loop."""
        self._queue.put(item)

    @property
    def depth(self) -> int:
        """Queued items."""
        return self._queue.qsize()

    def close(self) -> None:
        """Write what is queued and stop; history resumes at the next start."""
        self._closing = True
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        try:
            while True:
                items, stop = self._take()
                self._write(items)
                if stop:
                    return
                if not items and self._history_due_ns() == 0:
                    self._project()
        except LedgerError as failure:
            self._failed(failure)
        except BaseException as bug:
            self._failed(LedgerError(f"a bug in the ledger's thread: {type(bug).__name__}: {bug}"))
            raise

    def _take(self) -> tuple[list[ExecutedBlock | BlockCertificate], bool]:
        items: list[ExecutedBlock | BlockCertificate] = []
        if self.lag > self._lag_max and not self._closing:
            return items, False
        # With history to write, look and go on; without, sleep until something comes or waiting rows are due.
        due_ns = self._history_due_ns()
        timeout_s = IDLE_S if due_ns is None else due_ns / NS_PER_S
        while True:
            try:
                item = self._queue.get(timeout=timeout_s) if timeout_s and not items else self._queue.get_nowait()
            except queue.Empty:
                return items, False
            if item is None:
                return items, True
            items.append(item)

    def _write(self, items: list[ExecutedBlock | BlockCertificate]) -> None:
        blocks = [item for item in items if isinstance(item, ExecutedBlock)]
        certificates = tuple(item for item in items if isinstance(item, BlockCertificate))
        if blocks:
            self._writer.apply(blocks, certificates=certificates)
            self._applied_ns = time.monotonic_ns()
            self._see_lag()
            self._applied(blocks[-1].height)
        else:
            self._writer.store_certificates(certificates)
        if certificates:
            self._certified(certificates)

    def _history_due_ns(self) -> int | None:
        """When there is history to write: 0 now, or in how many nanoseconds; None when nothing is left to do.

        A few inclusions wait a little for company: a commit for each block would cost more than its rows.
        """
        now_ns = time.monotonic_ns()
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

    def _see_lag(self) -> None:
        before, self.lag = self.lag, self._projector.lag()
        if not before:
            self._behind_since_ns = time.monotonic_ns()

    def _project(self) -> None:
        began_ns = time.monotonic_ns()
        self._projector.project(SLICE_NS, time.monotonic_ns)
        self._sliced_ns = time.monotonic_ns()
        self._slice_ns = self._sliced_ns - began_ns
        self.history_height = self._projector.height
        self._see_lag()
