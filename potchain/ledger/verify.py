"""`potchain ledger verify`: believes the genesis file and nothing else.

Everything that `check` does, and for every height: each transaction's id and signature, the order certificate and the
block certificate against the epoch's members, and the block that executing the proposal again gives. At the end the
projected rows are compared with what the blocks say. Bytes that lie are named by height; rows that lie are named by
table, and `potchain ledger reindex` makes them anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from potchain.application.interface import EventData
from potchain.blocks import BlockHeader, OrderCertificate, Proposal, StateChange, verify_block_certificate
from potchain.consensus.quorum import Quorum
from potchain.errors import InvalidProof, InvalidTransaction, LedgerCorrupt, LedgerError
from potchain.genesis import Epoch, Genesis
from potchain.ledger import schema
from potchain.ledger.check import (
    ChainSummary,
    CheckedBlock,
    Progress,
    StateReplay,
    check_state,
    checked_blocks,
)
from potchain.ledger.history import ADDRESS_KEY, ID_KEY, HistoryDeriver, HistoryRows
from potchain.ledger.reader import LedgerReader
from potchain.ledger.rows import cut_rows
from potchain.ledger.settlement import SettlementDeriver
from potchain.ledger.settlement_check import SettlementSums, added
from potchain.ledger.state_rows import HISTORY, KEYED, progress_of, projected_state
from potchain.transactions import Transaction, TransactionTypes

VerifyOrder = Callable[[OrderCertificate, bytes, Epoch, int, bytes], None]
"""`EngineFactory.verify` of the network's engine; raises InvalidProof."""

Execute = Callable[[Proposal, tuple[Transaction, ...]], BlockHeader]
"""Executes the next proposal on a state of its own that began at genesis; the header that comes of it."""


class Authorities(msgspec.Struct, frozen=True, kw_only=True):
    """What decides whether stored bytes are true."""

    genesis: Genesis
    genesis_header: BlockHeader
    types: TransactionTypes
    event_types: Mapping[str, type[EventData]]
    verify_order: VerifyOrder
    execute: Execute


def verify_chain(
    reader: LedgerReader, authorities: Authorities, state: StateReplay, progress: Progress | None = None
) -> ChainSummary:
    """Verify a whole ledger; slow, about 0.2 ms per transaction.

    `state` is empty, and is the state of the tip afterwards. Raises LedgerCorrupt naming the first bad height, or
    LedgerError naming a projected table that differs from the blocks.
    """
    tip = reader.tip()
    epochs = {epoch.number: epoch for epoch in reader.epochs()}
    rows = _ProjectedRows(reader, authorities)
    certificates = 0
    for block in checked_blocks(reader, authorities.genesis, authorities.genesis_header):
        if block.header.height > tip.height:
            break  # the node is running and has gone on meanwhile
        check_state(block, state)
        if block.proposal is not None:
            _verify_block(block, block.proposal, epochs[block.header.epoch], authorities)
        certificates += block.block_certificate is not None
        rows.add(block)
        if progress is not None:
            progress(block.header.height, tip.height)
    rows.compare()
    return ChainSummary(
        height=tip.height,
        hash=tip.hash,
        state_root=tip.header.state_root,
        transactions=tip.tx_total,
        certificates=certificates,
    )


def _verify_block(block: CheckedBlock, proposal: Proposal, epoch: Epoch, authorities: Authorities) -> None:
    height = block.header.height
    transactions = _verified_transactions(block, proposal, authorities.types)
    genesis_hash = authorities.genesis.hash
    try:
        assert block.order_certificate is not None
        authorities.verify_order(block.order_certificate, genesis_hash, epoch, height, block.header.digest)
    except InvalidProof as fault:
        raise LedgerCorrupt(height, f"order certificate: {fault}") from None
    if block.block_certificate is not None:
        try:
            verify_block_certificate(
                block.block_certificate, genesis_hash, epoch.keys, Quorum(len(epoch.members)).quorum
            )
        except InvalidProof as fault:
            raise LedgerCorrupt(height, f"block certificate: {fault}") from None
    try:
        again = authorities.execute(proposal, transactions)
    except InvalidProof as fault:
        raise LedgerCorrupt(height, f"executing it again: {fault}") from None
    if again != block.header:
        fields = [name for name in BlockHeader.__struct_fields__ if getattr(again, name) != getattr(block.header, name)]
        raise LedgerCorrupt(height, f"executing it again gives another {', '.join(fields)}")


def _verified_transactions(block: CheckedBlock, proposal: Proposal, types: TransactionTypes) -> tuple[Transaction, ...]:
    height = block.header.height
    verified = []
    for position, (transaction_id, raw) in enumerate(zip(proposal.transaction_ids, block.bodies, strict=True)):
        try:
            transaction = types.parse(raw)
            types.check_signature(transaction)
        except InvalidTransaction as fault:
            raise LedgerCorrupt(height, f"transaction {position}: {fault}") from None
        if transaction.id != transaction_id:
            raise LedgerCorrupt(
                height, f"transaction {position} has id 0x{transaction.id.hex()}, expected 0x{transaction_id.hex()}"
            )
        verified.append(transaction)
    return tuple(verified)


class _ProjectedRows:
    """Derives the rows again and compares them with the stored ones, as sums that do not depend on order."""

    def __init__(self, reader: LedgerReader, authorities: Authorities) -> None:
        self._reader = reader
        self._deriver = HistoryDeriver(authorities.types, authorities.event_types)
        self._settlement = SettlementSums(SettlementDeriver(authorities.event_types))
        with reader.database.read() as connection:
            self._appended = progress_of(connection, HISTORY)
            self._keyed = progress_of(connection, KEYED)
        self._sums = {table.name: 0 for table in (*_IN_ORDER, *_KEYED_HISTORY)}
        self._state: dict[bytes, bytes] = {}
        self._changed_at: dict[bytes, int] = {}

    def add(self, block: CheckedBlock) -> None:
        """Take in the next block."""
        height = block.header.height
        for change in block.changes:
            self._apply(change, height)
        contents = self._reader.contents(height)
        assert contents is not None
        if block.proposal is None:
            self._settlement.add_genesis(height, block.changes)
        else:
            self._settlement.add(height, contents.receipts)
        if (height, 0) >= self._appended:
            return
        rows = HistoryRows()
        stop = len(block.bodies) if height < self._appended[0] else self._appended[1]
        self._deriver.derive(height, contents.bodies, contents.receipts, 0, stop, rows)
        self._add(schema.transactions, cut_rows(schema.transactions, rows.transactions))
        self._add(schema.events, cut_rows(schema.events, rows.events))
        if (height, 0) < self._keyed:
            self._add(schema.transaction_ids, map(ID_KEY.unpack, rows.transaction_ids))
            self._add(schema.account_transactions, map(ADDRESS_KEY.unpack, rows.account_transactions))

    def compare(self) -> None:
        """Raises LedgerError naming the first table whose rows differ from the blocks."""
        height, position = self._appended
        with self._reader.database.read(None) as connection:
            for table in _IN_ORDER:
                # Events of a block's end belong to no inclusion and come with its last slice.
                inclusion = table.c.transaction_position if table is schema.events else table.c.position
                partly = sa.and_(table.c.height == height, inclusion < position)
                self._compare(connection, table, sa.or_(table.c.height < height, partly))
            for table in _KEYED_HISTORY:
                self._compare(connection, table, table.c.height < self._keyed[0])
            differing = self._settlement.differing(connection)
            if differing:
                raise self._differs(differing)
            self._compare_state(connection)

    def _add(self, table: sa.Table, rows: Iterable[Sequence[object]]) -> None:
        self._sums[table.name] = added(self._sums[table.name], rows)

    def _compare(self, connection: Connection, table: sa.Table, where: sa.ColumnElement[bool]) -> None:
        found = added(0, map(tuple, connection.execute(sa.select(table).where(where))))
        if found != self._sums[table.name]:
            raise self._differs(table.name)

    def _apply(self, change: StateChange, height: int) -> None:
        self._changed_at[change.key] = height
        if change.value is None:
            self._state.pop(change.key, None)
        else:
            self._state[change.key] = change.value

    def _compare_state(self, connection: Connection) -> None:
        # Rows may be newer than their progress: only records that no later block changed can be compared.
        done, _ = progress_of(connection, KEYED)
        found = dict(projected_state(connection))
        for key, height in self._changed_at.items():
            if height < done and found.get(key) != self._state.get(key):
                raise self._differs(f"state rows (record 0x{key.hex()})")
        for key in found:
            if key not in self._changed_at:
                raise self._differs(f"state rows (record 0x{key.hex()})")

    def _differs(self, what: str) -> LedgerError:
        return LedgerError(
            f"{self._reader.database.place}: the blocks hold, but the projected {what} differ from them; "
            f"run: potchain ledger reindex"
        )


_IN_ORDER = (schema.transactions, schema.events)
_KEYED_HISTORY = (schema.transaction_ids, schema.account_transactions)
