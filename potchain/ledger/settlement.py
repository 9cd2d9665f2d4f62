"""Rows of settlement: what the ledger owes on Layer 2, what it has asked for there, what it has seen there; and of the
proposals by which operators govern it.

They follow from the events of the blocks and are written with the block, in the decide transaction: an operator who
asks what is owed must never be told less than the books say. Events of settlement are few, one for each payout and a
few for each action, and their keys are counters, so these rows cost what a block's other rows do not. A payout's row
never changes; an action's row gets the heights at which it was signed and executed.

The ledger of a recovered network begins with the state that it took over: payouts and actions that were under way there
are in the genesis block's records, and their rows come from those, with heights of the network before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from potchain.application.governance import records as governance
from potchain.application.governance.bodies import GovApplied, GovProposed, GovRejected
from potchain.application.interface import EventData
from potchain.application.settlement import records
from potchain.application.settlement.bodies import (
    ActionExecuted,
    ActionFormed,
    ActionSigned,
    ContractBound,
    DepositCredited,
    Layer2Applied,
    Layer2Mismatch,
    PayoutCreated,
)
from potchain.blocks import Event, ExecutedBlock, Receipts, StateChange, StateChanges
from potchain.codec import decode
from potchain.errors import CodecError, LedgerCorrupt
from potchain.ledger import schema
from potchain.ledger.history import HistoryEvent, HistoryReceipts
from potchain.ledger.rows import Row, insert_rows
from potchain.ledger.stored import decode_stored
from potchain.primitives import uint

EVENT_TYPES: Mapping[str, type[EventData]] = {
    kind.__name__: kind
    for kind in (
        PayoutCreated, ContractBound, ActionFormed, ActionSigned, ActionExecuted, DepositCredited, Layer2Mismatch,
        Layer2Applied, GovProposed, GovApplied, GovRejected,
    )
}
"""The events that rows come from."""
APPLIED = "applied"
"""Outcome of a proposal that was accepted and done."""
PAYING_KINDS = ("batch", "root")
"""Kinds of actions that payouts belong to."""
PREFIXES = (records.PREFIX, governance.PREFIX)
"""Of the state's records that rows of a recovered network come from."""
BLOCKS_AT_ONCE = 64
"""Blocks whose receipts are fetched together when the rows are derived again; bounds memory."""


class Effect(msgspec.Struct, frozen=True):
    """What the event of Layer 2 whose `Layer2Applied` comes next has done."""

    account: bytes | None = None
    amount: str | None = None
    action: int | None = None
    mismatch: str | None = None


NO_EFFECT = Effect()


class SettlementRows(msgspec.Struct):
    """What some consecutive blocks add and change."""

    binding: int
    """Number of the contract that is bound after them; 0 while none is."""
    payouts: list[Row] = []
    """Rows of `schema.payouts`."""
    contracts: list[Row] = []
    """Rows of `schema.settlement_contracts`."""
    actions: list[Row] = []
    """Rows of `schema.settlement_actions`, neither signed nor executed."""
    signed: list[Row] = []
    """(signed height, binding, nonce)."""
    executed: list[Row] = []
    """(executed height, transaction hash, block number, binding, nonce)."""
    layer2: list[Row] = []
    """Rows of `schema.layer2_events`."""
    proposals: list[Row] = []
    """Rows of `schema.proposals`, open."""
    decided: list[Row] = []
    """(decided height, outcome, id)."""
    effect: Effect = NO_EFFECT
    """Of the event that is being applied."""

    def __bool__(self) -> bool:
        groups = (self.payouts, self.contracts, self.actions, self.signed, self.executed, self.layer2)
        return any(groups) or bool(self.proposals or self.decided)


class SettlementDeriver:
    """Knows which events of a network are settlement's."""

    def __init__(self, event_types: Mapping[str, type[EventData]] | None = None) -> None:
        """`event_types` of the network by `Event.kind`; an event that another application owns under one of these
        names is none of ours. None: all are ours."""
        ours = EVENT_TYPES if event_types is None else event_types
        self._types = {name: kind for name, kind in EVENT_TYPES.items() if ours.get(name) is kind}

    def derive(self, height: int, stored: Receipts | HistoryReceipts, rows: SettlementRows) -> None:
        """Add what a block did. Raises LedgerCorrupt when an event cannot be read."""
        types, before = self._types, 0
        groups: list[Sequence[Event | HistoryEvent]] = [receipt.events for receipt in stored.receipts]
        for events in (*groups, stored.end_events):
            for position, event in enumerate(events, before):
                if event.kind in types:
                    try:
                        data = decode(types[event.kind], event.data)
                    except CodecError as fault:
                        raise LedgerCorrupt(height, f"event {event.kind} cannot be read: {fault}") from None
                    _add(rows, height, position, data)
            before += len(events)

    def derive_blocks(self, blocks: Sequence[ExecutedBlock], binding: int) -> SettlementRows:
        """What consecutive blocks do that begin with this contract bound."""
        rows = SettlementRows(binding)
        for block in blocks:
            self.derive(block.height, Receipts(block.receipts, block.end_events), rows)
        return rows


def _add(rows: SettlementRows, height: int, position: int, event: EventData) -> None:
    match event:
        case PayoutCreated():
            amount = str(uint(event.amount))
            rows.payouts.append((event.id, height, position, event.kind, event.reference, event.account, amount))
        case ContractBound():
            rows.binding = event.binding
            place = (event.chain_id, event.contract, event.safe, event.from_block)
            rows.contracts.append((event.binding, event.scheme, *place, height, position))
        case ActionFormed():
            paid = (event.first_payout, event.last_payout) if event.kind in PAYING_KINDS else (None, None)
            what = (rows.binding, event.nonce, event.kind, event.epoch, event.digest)
            rows.actions.append((*what, *paid, str(uint(event.total)), height, None, None, None, None))
        case ActionSigned():
            rows.signed.append((height, rows.binding, event.nonce))
        case ActionExecuted():
            executed = (height, event.transaction_hash, event.block_number)
            rows.executed.append((*executed, rows.binding, event.nonce))
            rows.effect = Effect(action=event.nonce)
        case DepositCredited():
            rows.effect = Effect(account=event.account, amount=str(uint(event.amount)))
        case Layer2Mismatch():
            rows.effect = Effect(mismatch=event.reason)
        case Layer2Applied():
            seen = (rows.binding, event.event_nonce, event.kind)
            done = msgspec.structs.astuple(rows.effect)
            rows.layer2.append((*seen, *done, event.transaction_hash, height, position))
            rows.effect = NO_EFFECT
        case GovProposed():
            rows.proposals.append((height, position, event.proposal, event.kind, None, None))
        case GovApplied():
            rows.decided.append((height, APPLIED, event.proposal))
        case GovRejected():
            rows.decided.append((height, event.reason, event.proposal))


def taken_over_rows(height: int, changes: Sequence[StateChange]) -> SettlementRows:
    """What the genesis block at `height` begins with; nothing unless the network is a recovered one."""
    ours = {change.key: change.value for change in changes if change.key.startswith(PREFIXES) and change.value}
    contract, now = records.bound_contract(ours), records.counters(ours)
    rows = SettlementRows(now.binding)
    if contract is not None:
        place = (contract.chain_id, contract.address, contract.safe, contract.from_block)
        rows.contracts.append((now.binding, contract.scheme, *place, height, 0))
    for key, value in ours.items():
        if key.startswith(records.PAYOUT_PREFIX):
            owed = decode(records.PayoutRecord, value)
            amount = str(uint(owed.amount))
            rows.payouts.append((owed.id, owed.height, 0, owed.kind, owed.reference, owed.account, amount))
        elif key.startswith(records.ACTION_PREFIX):
            rows.actions.append(_taken_over_action(now.binding, height, decode(records.ActionRecord, value)))
    for position, each in enumerate(governance.open_proposals(ours)):
        rows.proposals.append((height, position, each.id, each.kind, None, None))
    return rows


def _taken_over_action(binding: int, height: int, record: records.ActionRecord) -> Row:
    action = record.action
    paid = (record.first_payout, record.last_payout) if record.payouts else (None, None)
    executed = (height, record.receipt_hash, record.receipt_block) if record.status == records.EXECUTED else (None,) * 3
    what = (binding, action.nonce, action.kind, action.epoch, record.digest)
    return (*what, *paid, str(uint(record.total)), action.height, record.ready_height or None, *executed)


def binding_of(connection: Connection) -> int:
    """Number of the contract that is bound after the last block; 0 while none is."""
    return connection.execute(sa.select(sa.func.max(schema.settlement_contracts.c.binding))).scalar() or 0


def write_settlement(connection: Connection, rows: SettlementRows) -> None:
    """Write what blocks did, after everything that earlier blocks did."""
    if not rows:
        return
    insert_rows(connection, schema.payouts, rows.payouts)
    insert_rows(connection, schema.settlement_contracts, rows.contracts)
    insert_rows(connection, schema.settlement_actions, rows.actions)
    insert_rows(connection, schema.layer2_events, rows.layer2)
    insert_rows(connection, schema.proposals, rows.proposals)
    place = ("binding", "nonce")
    _update(connection, schema.settlement_actions, ("signed_height",), place, rows.signed)
    executed = ("executed_height", "transaction_hash", "block_number")
    _update(connection, schema.settlement_actions, executed, place, rows.executed)
    _update(connection, schema.proposals, ("decided_height", "outcome"), ("id",), rows.decided)


def _update(
    connection: Connection, table: sa.Table, columns: Sequence[str], key: Sequence[str], rows: Sequence[Row]
) -> None:
    """Each row has the new values of `columns`, then the key."""
    if rows:
        mark = "?" if connection.dialect.name == "sqlite" else "%s"
        changes = ", ".join(f'"{name}" = {mark}' for name in columns)
        where = " AND ".join(f'"{name}" = {mark}' for name in key)
        connection.exec_driver_sql(f'UPDATE "{table.name}" SET {changes} WHERE {where}', list(rows))


def rebuild_settlement(connection: Connection, deriver: SettlementDeriver) -> None:
    """Throw the rows away and derive them again from the blocks, inside the caller's transaction."""
    for table in schema.SETTLEMENT_TABLES:
        connection.execute(sa.delete(table))
    first = sa.select(schema.blocks.c.height, schema.blocks.c.changes).order_by(schema.blocks.c.height).limit(1)
    row = connection.execute(first).one_or_none()
    if row is None:
        return
    taken_over = taken_over_rows(row.height, decode_stored(StateChanges, bytes(row.changes), row.height).changes)
    write_settlement(connection, taken_over)
    for rows in _stored_rows(connection, deriver, row.height, taken_over.binding):
        write_settlement(connection, rows)


def _stored_rows(
    connection: Connection, deriver: SettlementDeriver, after: int, binding: int
) -> Iterator[SettlementRows]:
    blocks = schema.blocks.c
    query = sa.select(blocks.height, blocks.receipts).order_by(blocks.height).limit(BLOCKS_AT_ONCE)
    while found := connection.execute(query.where(blocks.height > after)).all():
        rows = SettlementRows(binding)
        for height, blob in found:
            try:
                stored = _decode_receipts(blob)
            except (msgspec.MsgspecError, UnicodeDecodeError) as fault:
                raise LedgerCorrupt(height, f"receipts: {fault}") from fault
            deriver.derive(height, stored, rows)
        yield rows
        after, binding = found[-1].height, rows.binding


_decode_receipts = msgspec.msgpack.Decoder(HistoryReceipts).decode
