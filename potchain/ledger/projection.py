"""Fills the rows that people query from the blocks that are the truth.

Rows in the order of the chain (transactions, events) are appended as blocks come, and may stop in the middle of a
block. Rows with random keys are gathered from the same pass and written when enough of them wait, or when they have
waited long enough: see `keyed_rows`. One call of `project` writes one transaction that takes about as long as it was
given, so that the decide transaction, on the same thread, never waits long. Progress is written with the rows: a crash
loses nothing, and the rows are the same whatever the slices were. Commits do not wait for the disk; see
`Database.write`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from potchain.application.interface import EventData
from potchain.blocks import Bodies
from potchain.errors import LedgerCorrupt
from potchain.ledger import schema
from potchain.ledger.database import Database
from potchain.ledger.history import HistoryDeriver, HistoryReceipts, HistoryRows
from potchain.ledger.keyed_rows import RANGES, Change, KeyedBatch
from potchain.ledger.rows import insert_values, upsert_rows
from potchain.ledger.settlement import SettlementDeriver, rebuild_settlement
from potchain.ledger.state_rows import HISTORY, KEYED, progress_of
from potchain.primitives import NS_PER_MS, NS_PER_S
from potchain.transactions import TransactionTypes

SLICE_NS = 5 * NS_PER_MS
"""What one call should take while the node is at work."""
CHUNK_INCLUSIONS = 256
"""Inclusions between two looks at the clock: about 3 ms."""
INCLUSION_NS_MIN = 2_000
"""No inclusion is cheaper: bounds a slice whose clock stands still."""
BATCH_BYTES_MAX = 8 * 2**20
"""Memory of the keyed rows that wait: those of 50,000 transfers among 10,000 accounts."""
FLUSH_BYTES = 2**20
"""So many are company enough when no further block is there."""
BATCH_BLOCKS_MAX = 1_024
"""Blocks whose keyed rows wait in memory; a restart derives them again."""
FLUSH_AFTER_NS = 2 * NS_PER_S
"""How long fewer keyed rows wait for company."""

_UNHURRIED_NS = 100 * NS_PER_MS
_b = schema.blocks.c


class _Changes(msgspec.Struct, array_like=True):
    """`blocks.StateChanges` as stored."""

    changes: tuple[Change, ...]


class _Block(msgspec.Struct):
    """What rows are made of, decoded without the checks that it passed before it was stored."""

    height: int
    bodies: tuple[bytes, ...]
    receipts: HistoryReceipts
    changes: tuple[Change, ...]


_decode_bodies = msgspec.msgpack.Decoder(Bodies).decode
_decode_receipts = msgspec.msgpack.Decoder(HistoryReceipts).decode
_decode_changes = msgspec.msgpack.Decoder(_Changes).decode


def _never() -> bool:
    return False


class Projector:
    """Projects one ledger; called by the thread that writes it."""

    def __init__(
        self,
        database: Database,
        types: TransactionTypes,
        event_types: Mapping[str, type[EventData]],
        tip: Callable[[], tuple[int, int]] | None = None,
    ) -> None:
        """`database` has its tables already; `event_types` by `Event.kind`.

        `tip` tells the height and the count of inclusions of the ledger without a query, where the writer is at hand.
        """
        self._tip = tip
        self._database = database
        self._deriver = HistoryDeriver(types, event_types)
        self._settlement = SettlementDeriver(event_types)
        self._tip_height = self._tip_total = self._height = self._position = self._total = self._complete = 0
        self._appended = (0, 0)
        self._current: _Block | None = None
        self._batch = KeyedBatch()
        self._batch_is_sealed = False
        self._range = 0
        self._waiting_since_ns: int | None = None
        self._load_progress()

    @property
    def height(self) -> int:
        """All projected rows are complete up to this height; -1 before the genesis block."""
        return self._complete - 1

    def lag(self) -> int:
        """What `project` would do now: inclusions and blocks not derived, and 1 while a batch is being written."""
        self._read_tip()
        behind = (self._tip_total - self._total) + (self._tip_height + 1 - self._height)
        return behind + (self._batch_is_sealed or self._is_full(self._height))

    def due_in_ns(self, now_ns: int) -> int | None:
        """When `project` should be called although `lag` is 0: rows are waiting for company. None: nothing waits."""
        if self._waiting_since_ns is None:
            return None
        if self._batch.size >= FLUSH_BYTES:
            return 0
        return max(0, self._waiting_since_ns + FLUSH_AFTER_NS - now_ns)

    def project(self, budget_ns: int, now: Callable[[], int], wanted: Callable[[], bool] = _never) -> int:
        """Do one slice of about `budget_ns`, measured with `now`; 0 when there was nothing to do.

        `wanted` ends the slice early, with one commit: something else waits for this thread.
        Raises LedgerError; the rows and their progress are then as before.
        """
        if self._height > self._tip_height:
            self._read_tip()
        if not self._batch_is_sealed and self._position == 0:
            caught_up = self._height > self._tip_height
            self._batch_is_sealed = self._is_full(self._height) or (caught_up and self.due_in_ns(now()) == 0)
        slice_ = self._keyed_slice if self._batch_is_sealed else self._history_slice
        return slice_(budget_ns, now, wanted)

    def catch_up(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Project all there is and write it; `progress` is told (height, tip). For a node that is not at work."""
        while True:
            while self.project(_UNHURRIED_NS, time.monotonic_ns):
                if progress is not None:
                    progress(self._height - 1, self._tip_height)
            if self._waiting_since_ns is None:
                return
            self._batch_is_sealed = True

    def reindex(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Throw all projected rows away, those of settlement too, and derive them again."""
        with self._database.write() as connection:
            for table in (*schema.PROJECTIONS, schema.projection_progress):
                connection.execute(sa.delete(table))
            rebuild_settlement(connection, self._settlement)
        self._load_progress()
        self.catch_up(progress)

    # --- rows in the order of the chain -----------------------------------------------------------------------------

    def _history_slice(self, budget_ns: int, now: Callable[[], int], wanted: Callable[[], bool]) -> int:
        ends_ns = now() + budget_ns
        left = max(CHUNK_INCLUSIONS, budget_ns // INCLUSION_NS_MIN)
        if self._height > self._tip_height:
            return 0
        known, fresh = HistoryRows(), HistoryRows()
        place, done = (self._height, self._position), 0
        finished: list[_Block] = []
        with self._database.write(relaxed=True) as connection:
            while place[0] <= self._tip_height:
                block = self._block(connection, place[0])
                height, position = place
                stop = min(len(block.bodies), position + min(left, CHUNK_INCLUSIONS))
                # What is appended already, but not yet among the keyed rows: after a restart.
                repeated = place < self._appended
                if repeated and height == self._appended[0]:
                    stop = min(stop, self._appended[1])
                rows = known if repeated else fresh
                self._deriver.derive(height, block.bodies, block.receipts, position, stop, rows)
                if not repeated:
                    insert_values(connection, schema.transactions, rows.transactions)
                    insert_values(connection, schema.events, rows.events)
                rows.transactions.clear()
                rows.events.clear()
                done += stop - position
                left -= stop - position
                place = (height, stop)
                if stop == len(block.bodies):
                    finished.append(block)
                    place = (height + 1, 0)
                    if self._is_full(height + 1):
                        break
                if left <= 0 or now() >= ends_ns or wanted():
                    break
            appended = max(self._appended, place)
            _store_progress(connection, HISTORY, appended)
        if self._waiting_since_ns is None:
            self._waiting_since_ns = ends_ns - budget_ns
        self._batch.add_history(known)
        self._batch.add_history(fresh)
        for block in finished:
            self._batch.add_changes(block.height, block.changes)
        (self._height, self._position), self._appended = place, appended
        self._total += done
        return done + len(finished)

    def _block(self, connection: Connection, height: int) -> _Block:
        if self._current is not None and self._current.height == height:
            return self._current
        query = sa.select(_b.bodies, _b.receipts, _b.changes).where(_b.height == height)
        row = connection.execute(query).one_or_none()
        if row is None:
            raise LedgerCorrupt(height, f"no block; the highest is {self._tip_height}")
        # The bytes were checked before they were stored; `check` and `verify` look for what happened to them since.
        try:
            self._current = _Block(
                height=height,
                bodies=_decode_bodies(row.bodies).raw,
                receipts=_decode_receipts(row.receipts),
                changes=_decode_changes(row.changes).changes,
            )
        except (msgspec.MsgspecError, UnicodeDecodeError) as fault:
            raise LedgerCorrupt(height, str(fault)) from fault
        return self._current

    # --- rows with random keys --------------------------------------------------------------------------------------

    def _is_full(self, height: int) -> bool:
        return self._batch.size > BATCH_BYTES_MAX or height - self._complete >= BATCH_BLOCKS_MAX

    def _keyed_slice(self, budget_ns: int, now: Callable[[], int], wanted: Callable[[], bool]) -> int:
        ends_ns = now() + budget_ns
        at, done = self._range, 1
        with self._database.write(relaxed=True) as connection:
            while at < RANGES and now() < ends_ns:
                done += self._batch.write_range(connection, at)
                at += 1
                if wanted():
                    break
            if at == RANGES:
                _store_progress(connection, KEYED, (self._height, 0))
        self._range = at
        if at == RANGES:
            self._complete = self._height
            self._new_batch()
        return done

    def _new_batch(self) -> None:
        self._batch = KeyedBatch()
        self._batch_is_sealed = False
        self._range = 0
        self._waiting_since_ns = None

    # --- progress ---------------------------------------------------------------------------------------------------

    def _load_progress(self) -> None:
        with self._database.read() as connection:
            self._appended = progress_of(connection, HISTORY)
            self._complete = progress_of(connection, KEYED)[0]
            before = connection.execute(sa.select(_b.tx_total).where(_b.height == self._complete - 1)).scalar()
        # Everything above the keyed rows is derived again; what was appended already is not appended twice.
        self._height, self._position, self._total = self._complete, 0, int(before or 0)
        self._current = None
        self._new_batch()
        self._read_tip()

    def _read_tip(self) -> None:
        if self._tip is not None:
            self._tip_height, self._tip_total = self._tip()
            return
        with self._database.read(None) as connection:
            row = connection.exec_driver_sql(
                "SELECT height, tx_total FROM blocks ORDER BY height DESC LIMIT 1"
            ).one_or_none()
        self._tip_height, self._tip_total = (-1, 0) if row is None else (int(row.height), int(row.tx_total))


def _store_progress(connection: Connection, name: str, place: tuple[int, int]) -> None:
    upsert_rows(connection, schema.projection_progress, [(name, *place)], ("height", "position"))
