"""Fills the rows that people query from the blocks that are the truth.

Two projections with progress of their own: "history" (inclusions, account histories, events) advances by inclusions,
so that it may stop in the middle of a block; "state" (accounts, other records) by batches of blocks. One call of
`project` writes one transaction that takes about as long as it was given, so that the decide transaction, on the same
thread, never waits long. Progress and rows are written together: a crash loses nothing and repeats nothing, and the
rows are the same whatever the slices were. Commits do not wait for the disk; see `Database.write`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from potchain.application.interface import EventData
from potchain.blocks import BlockHeader, Bodies, Proposal, Receipts
from potchain.errors import LedgerCorrupt
from potchain.ledger import schema
from potchain.ledger.database import Database
from potchain.ledger.history import HistoryDeriver, HistoryRows
from potchain.ledger.reader import read_changes
from potchain.ledger.rows import insert_rows, upsert_rows
from potchain.ledger.state_rows import STATE, StateBatch
from potchain.ledger.stored import BlockContents
from potchain.primitives import NS_PER_MS
from potchain.transactions import TransactionTypes

SLICE_NS = 5 * NS_PER_MS
"""What one call should take while the node is at work."""
REINDEX_SLICE_NS = 100 * NS_PER_MS
"""What one call takes when nobody waits; larger transactions cost less per row."""
SLICE_ROWS_MIN = 256
SLICE_ROWS_MAX = 20_000
STATE_BLOCKS_MAX = 64
"""State rows are brought up to date when history has caught up, or when they are this many blocks behind."""
STATE_RECORDS_MAX = 50_000
"""Records merged before they are written; bounds memory."""

HISTORY = "history"

_b = schema.blocks.c
_decode_header = msgspec.msgpack.Decoder(BlockHeader).decode
_decode_proposal = msgspec.msgpack.Decoder(Proposal).decode
_decode_bodies = msgspec.msgpack.Decoder(Bodies).decode
_decode_receipts = msgspec.msgpack.Decoder(Receipts).decode


class Projector:
    """Projects one ledger; called by the thread that writes it."""

    def __init__(self, database: Database, types: TransactionTypes, event_types: Mapping[str, type[EventData]]) -> None:
        """`database` has its tables already; `event_types` by `Event.kind`."""
        self._database = database
        self._deriver = HistoryDeriver(types, event_types)
        self._inclusion_ns = 15_000
        self._record_ns = 10_000
        self._height = self._position = self._total = self._state_height = 0
        self._current: BlockContents | None = None
        self._batch: StateBatch | None = None
        self._load_progress()

    @property
    def height(self) -> int:
        """History rows are complete up to this height; -1 before the genesis block."""
        return self._height - 1

    @property
    def state_height(self) -> int:
        """State rows are at least as new as this height."""
        return self._state_height - 1

    def lag(self) -> int:
        """What is left: inclusions that history lacks, and blocks that either projection lacks; 0 is caught up."""
        tip_height, tip_total = self._tip()
        return (tip_total - self._total) + (tip_height + 1 - self._height) + (tip_height + 1 - self._state_height)

    def project(self, budget_ns: int, now: Callable[[], int]) -> int:
        """Do one slice of about `budget_ns`, measured with `now`; how many inclusions and records, 0 when caught up.

        Raises LedgerError; the rows are then as before.
        """
        tip_height, _ = self._tip()
        behind = tip_height >= self._height
        if self._batch is not None or self._state_height <= tip_height - STATE_BLOCKS_MAX or not behind:
            return self._state_slice(tip_height, budget_ns, now)
        return self._history_slice(budget_ns, now)

    def reindex(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Throw all projected rows away and derive them again; `progress` is told (height, tip)."""
        with self._database.write() as connection:
            for table in (*schema.PROJECTIONS, schema.projection_progress):
                connection.execute(sa.delete(table))
        self._load_progress()
        tip_height, _ = self._tip()
        while self.project(REINDEX_SLICE_NS, time.monotonic_ns):
            if progress is not None:
                progress(self.height, tip_height)

    # --- history ----------------------------------------------------------------------------------------------------

    def _history_slice(self, budget_ns: int, now: Callable[[], int]) -> int:
        started_ns = now()
        wanted = _between(SLICE_ROWS_MIN, budget_ns // self._inclusion_ns, SLICE_ROWS_MAX)
        rows = HistoryRows()
        height, position, done = self._height, self._position, 0
        while (block := self._block(height)) is not None:
            count = len(block.bodies)
            stop = min(count, position + wanted - done)
            self._deriver.derive(block, position, stop, rows)
            done += stop - position
            height, position = (height + 1, 0) if stop == count else (height, stop)
            # Empty blocks count nothing, and the first slice does not know its cost: look at the clock too.
            if done >= wanted or now() - started_ns > budget_ns // 2:
                break
        if (height, position) == (self._height, self._position):
            return 0
        with self._database.write(relaxed=True) as connection:
            insert_rows(connection, schema.transactions, rows.transactions)
            insert_rows(connection, schema.account_transactions, sorted(rows.account_transactions))
            insert_rows(connection, schema.events, rows.events)
            _store_progress(connection, HISTORY, height, position)
        finished = done + height - self._height
        self._height, self._position, self._total = height, position, self._total + done
        self._inclusion_ns = _smoothed(self._inclusion_ns, now() - started_ns, done)
        return finished

    def _block(self, height: int) -> BlockContents | None:
        if self._current is not None and self._current.header.height == height:
            return self._current
        with self._database.read() as connection:
            row = connection.execute(
                sa.select(_b.header, _b.proposal, _b.bodies, _b.receipts).where(_b.height == height)
            ).one_or_none()
        if row is None:
            return None
        # The bytes were checked before they were stored; `check` and `verify` look for what happened to them since.
        try:
            self._current = BlockContents(
                header=_decode_header(row.header),
                transaction_ids=_decode_proposal(row.proposal).transaction_ids if row.proposal else (),
                bodies=_decode_bodies(row.bodies).raw,
                receipts=_decode_receipts(row.receipts),
            )
        except (msgspec.MsgspecError, UnicodeDecodeError) as fault:
            raise LedgerCorrupt(height, str(fault)) from fault
        return self._current

    # --- state ------------------------------------------------------------------------------------------------------

    def _state_slice(self, tip_height: int, budget_ns: int, now: Callable[[], int]) -> int:
        started_ns = now()
        if self._batch is None:
            self._batch = self._next_batch(tip_height, started_ns + budget_ns // 2, now)
            if self._batch is None:
                return 0
        left_ns = max(0, budget_ns - (now() - started_ns))
        wanted = _between(SLICE_ROWS_MIN, left_ns // self._record_ns, SLICE_ROWS_MAX)
        batch = self._batch
        writing_ns = now()
        with self._database.write(relaxed=True) as connection:
            done = batch.write(connection, wanted)
            if batch.is_written:
                _store_progress(connection, STATE, batch.height + 1, 0)
        self._record_ns = _smoothed(self._record_ns, now() - writing_ns, done)
        if batch.is_written:
            done += batch.height + 1 - self._state_height
            self._state_height, self._batch = batch.height + 1, None
        return done

    def _next_batch(self, tip_height: int, until_ns: int, now: Callable[[], int]) -> StateBatch | None:
        if self._state_height > tip_height:
            return None
        batch = StateBatch()
        with self._database.read() as connection:
            for height in range(self._state_height, min(tip_height + 1, self._state_height + STATE_BLOCKS_MAX)):
                for found, changes in read_changes(connection, height - 1, 1):
                    batch.merge(found, changes)
                if len(batch) > STATE_RECORDS_MAX or now() > until_ns:
                    break
        batch.seal()
        return batch

    # --- progress ---------------------------------------------------------------------------------------------------

    def _load_progress(self) -> None:
        self._current = self._batch = None
        table = schema.projection_progress.c
        with self._database.read() as connection:
            rows = {row.name: row for row in connection.execute(sa.select(table.name, table.height, table.position))}
            history, state = rows.get(HISTORY), rows.get(STATE)
            self._height, self._position = (history.height, history.position) if history else (0, 0)
            self._state_height = state.height if state else 0
            before = connection.execute(sa.select(_b.tx_total).where(_b.height == self._height - 1)).scalar()
        self._total = int(before or 0) + self._position

    def _tip(self) -> tuple[int, int]:
        with self._database.read() as connection:
            row = connection.exec_driver_sql(
                "SELECT height, tx_total FROM blocks ORDER BY height DESC LIMIT 1"
            ).one_or_none()
        return (-1, 0) if row is None else (row.height, row.tx_total)


def _store_progress(connection: Connection, name: str, height: int, position: int) -> None:
    upsert_rows(connection, schema.projection_progress, [(name, height, position)], ("height", "position"))


def _between(least: int, value: int, most: int) -> int:
    return max(least, min(value, most))


def _smoothed(before_ns: int, took_ns: int, count: int) -> int:
    """Cost of one item, a moving average; a slice of few items says little."""
    return before_ns if count < SLICE_ROWS_MIN else max(1_000, (3 * before_ns + took_ns // count) // 4)
