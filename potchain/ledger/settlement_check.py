"""Compares the rows of settlement with what the blocks say, for `ledger verify`.

Rows are summed up without regard to order, so that a long ledger costs no memory; only actions that are not executed
are held. A node that runs meanwhile adds and changes rows: what came after the last verified block is left aside.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from potchain.blocks import Receipts, StateChange
from potchain.ledger import schema
from potchain.ledger.rows import Row
from potchain.ledger.settlement import SettlementDeriver, SettlementRows, taken_over_rows

_AT = {column.name: at for at, column in enumerate(schema.settlement_actions.columns)}
_SIGNED, _EXECUTED = _AT["signed_height"], _AT["executed_height"]
_APPENDED = (schema.payouts, schema.settlement_contracts, schema.layer2_events)


class SettlementSums:
    """What the rows should be after the blocks so far."""

    def __init__(self, deriver: SettlementDeriver) -> None:
        self._deriver = deriver
        self._sums = {table.name: 0 for table in schema.SETTLEMENT_TABLES}
        self._open: dict[tuple[int, int], list[Any]] = {}
        """Rows of actions that are not executed, by (binding, nonce)."""
        self._undecided: dict[bytes, Row] = {}
        """Rows of open proposals, by id."""
        self._binding = 0
        self._height = -1

    def add_genesis(self, height: int, changes: Sequence[StateChange]) -> None:
        """Take in the genesis block."""
        self._take(height, taken_over_rows(height, changes))

    def add(self, height: int, receipts: Receipts) -> None:
        """Take in the next block."""
        rows = SettlementRows(self._binding)
        self._deriver.derive(height, receipts, rows)
        self._take(height, rows)

    def differing(self, connection: Connection) -> str | None:
        """The first table whose rows up to the last block differ; None when none does."""
        for table in _APPENDED:
            found = connection.execute(sa.select(table).where(table.c.height <= self._height))
            if added(0, found) != self._sums[table.name]:
                return table.name
        actions = schema.settlement_actions
        rows = connection.execute(sa.select(actions).where(actions.c.formed_height <= self._height))
        expected = added(self._sums[actions.name], self._open.values())
        if added(0, map(self._as_of, rows)) != expected:
            return actions.name
        proposals = schema.proposals
        rows = connection.execute(sa.select(proposals).where(proposals.c.height <= self._height))
        expected = added(self._sums[proposals.name], self._undecided.values())
        return None if added(0, map(self._proposal_as_of, rows)) == expected else proposals.name

    def _take(self, height: int, rows: SettlementRows) -> None:
        self._height, self._binding = height, rows.binding
        for table, appended in zip(_APPENDED, (rows.payouts, rows.contracts, rows.layer2), strict=True):
            self._sums[table.name] = added(self._sums[table.name], appended)
        done = []
        for row in rows.actions:
            self._open[row[:2]] = list(row)
            if row[_EXECUTED] is not None:
                done.append(row[:2])
        for height_, *key in rows.signed:
            self._open[key[0], key[1]][_SIGNED] = height_
        for *executed, binding, nonce in rows.executed:
            self._open[binding, nonce][_EXECUTED : _EXECUTED + len(executed)] = executed
            done.append((binding, nonce))
        finished = [self._open.pop(key) for key in done]
        name = schema.settlement_actions.name
        self._sums[name] = added(self._sums[name], finished)
        self._undecided.update({row[2]: row for row in rows.proposals})
        decided = [(*self._undecided.pop(id_)[:-2], *outcome) for *outcome, id_ in rows.decided]
        self._sums[schema.proposals.name] = added(self._sums[schema.proposals.name], decided)

    def _as_of(self, row: Sequence[Any]) -> Row:
        """The row of an action as it was after the last verified block."""
        cells = list(row)
        if (cells[_SIGNED] or 0) > self._height:
            cells[_SIGNED] = None
        if (cells[_EXECUTED] or 0) > self._height:
            cells[_EXECUTED:] = [None] * (len(cells) - _EXECUTED)
        return tuple(cells)

    def _proposal_as_of(self, row: Sequence[Any]) -> Row:
        *made, decided, outcome = row
        return (*made, None, None) if (decided or 0) > self._height else (*made, decided, outcome)


def added(total: int, rows: Iterable[Sequence[Any]]) -> int:
    """The sum with these rows: equal for equal rows in any order. Numbers and their decimal text are equal."""
    for row in rows:
        plain = msgspec.msgpack.encode([str(value) if isinstance(value, int) else value for value in row])
        total = (total + int.from_bytes(sha256(plain).digest(), "big")) % 2**256
    return total
