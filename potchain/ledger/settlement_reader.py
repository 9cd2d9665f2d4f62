"""Answers about settlement from its rows, which never lag behind the blocks.

Safe on any thread, with the deadline of `LedgerReader`. Payouts become actions in the order of their ids, and actions
are executed in their order: so a payout's status is a range of ids, and a page of one status reads no other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Row

from potchain.ledger import schema
from potchain.ledger.database import Database

PAYOUTS_PAGE_MAX = 1_000
"""Most rows of one page."""

PayoutStatus = Literal["pending", "batched", "paid"]
"""pending: no action has it; batched: an action that is not executed; paid: an executed one."""
PAYOUT_STATUSES: tuple[PayoutStatus, ...] = ("pending", "batched", "paid")
ActionStatus = Literal["open", "signed", "executed"]

_b, _p = schema.blocks.c, schema.payouts.c
_a, _e, _g = schema.settlement_actions.c, schema.layer2_events.c, schema.proposals.c


class PayoutRow(msgspec.Struct, frozen=True, kw_only=True):
    """Something that the ledger owes, or owed, on Layer 2."""

    id: int
    height: int
    """The block that owes it."""
    block_time_ms: int | None
    """None when that block is of the network before a recovery."""
    kind: str
    reference: bytes
    account: bytes
    amount: int
    """Base units."""
    action: int | None
    """Nonce of the action that pays it; None while it is pending."""
    executed_height: int | None
    """The block that knows it to be paid."""
    transaction_hash: bytes | None
    """The Layer 2 transaction that paid it."""

    @property
    def status(self) -> PayoutStatus:
        """How far it is."""
        if self.action is None:
            return "pending"
        return "batched" if self.executed_height is None else "paid"


class ActionRow(msgspec.Struct, frozen=True, kw_only=True):
    """Something that the ledger wants done on Layer 2, or wanted."""

    binding: int
    nonce: int
    kind: str
    epoch: int
    digest: bytes
    first_payout: int | None
    """None for an action that pays nobody."""
    last_payout: int | None
    total: int
    """Base units."""
    formed_height: int
    formed_ms: int | None
    """Block time; None when that block is of the network before a recovery."""
    signed_height: int | None
    executed_height: int | None
    transaction_hash: bytes | None
    block_number: int | None
    """On Layer 2."""

    @property
    def status(self) -> ActionStatus:
        """How far it is."""
        if self.executed_height is not None:
            return "executed"
        return "open" if self.signed_height is None else "signed"

    @property
    def payouts(self) -> int:
        """How many it pays."""
        if self.first_payout is None or self.last_payout is None:
            return 0
        return self.last_payout - self.first_payout + 1


class Layer2EventRow(msgspec.Struct, frozen=True, kw_only=True):
    """An event of the contract that was applied."""

    binding: int
    event_nonce: int
    kind: str
    account: bytes | None
    amount: int | None
    action: int | None
    mismatch: str | None
    transaction_hash: bytes
    height: int


class ProposalRow(msgspec.Struct, frozen=True, kw_only=True):
    """A proposal, open or decided."""

    height: int
    position: int
    id: bytes
    kind: str
    decided_height: int | None
    outcome: str | None
    """"applied", or why it was rejected; None while it is open."""


class SettlementReader:
    """Reads the rows of settlement and governance of one ledger database."""

    def __init__(self, database: Database, deadline_ns: int) -> None:
        self._database = database
        self._deadline_ns = deadline_ns

    def payouts_page(
        self, *, account: bytes | None = None, status: PayoutStatus | None = None, before: int | None = None, limit: int
    ) -> tuple[PayoutRow, ...]:
        """Payouts, newest first, with ids below `before`, of one account or of one status if given."""
        query = _PAYOUTS.order_by(_p.id.desc()).limit(max(0, min(limit, PAYOUTS_PAGE_MAX)))
        if account is not None:
            query = query.where(_p.account == account)
        if before is not None:
            query = query.where(_p.id < before)
        with self._database.read(self._deadline_ns) as connection:
            if status is not None:
                batched, paid = (connection.execute(edge).scalar() or 0 for edge in (_NEXT_BATCHED, _NEXT_PAID))
                first, end = {"pending": (batched, None), "batched": (paid, batched), "paid": (0, paid)}[status]
                query = query.where(_p.id >= first)
                query = query if end is None else query.where(_p.id < end)
            return tuple([PayoutRow(**row._mapping) for row in connection.execute(query)])

    def payout(self, number: int) -> PayoutRow | None:
        """The payout of that id."""
        rows = self._rows(_PAYOUTS.where(_p.id == number))
        return PayoutRow(**rows[0]._mapping) if rows else None

    def actions_page(self, before: tuple[int, int] | None, limit: int) -> tuple[ActionRow, ...]:
        """Actions, newest first, older than (binding, nonce)."""
        query = _ACTIONS.order_by(_a.binding.desc(), _a.nonce.desc()).limit(max(0, min(limit, PAYOUTS_PAGE_MAX)))
        if before is not None:
            binding, nonce = before
            query = query.where(sa.or_(_a.binding < binding, sa.and_(_a.binding == binding, _a.nonce < nonce)))
        return tuple([ActionRow(**row._mapping) for row in self._rows(query)])

    def action(self, binding: int, nonce: int) -> ActionRow | None:
        """One action."""
        rows = self._rows(_ACTIONS.where(_a.binding == binding, _a.nonce == nonce))
        return ActionRow(**rows[0]._mapping) if rows else None

    def event_of(self, binding: int, nonce: int) -> Layer2EventRow | None:
        """The event of Layer 2 that executed an action."""
        rows = self._rows(sa.select(*_EVENT_COLUMNS).where(_e.binding == binding, _e.action == nonce))
        return Layer2EventRow(**rows[0]._mapping) if rows else None

    def proposals_page(self, before: tuple[int, int] | None, limit: int) -> tuple[ProposalRow, ...]:
        """Proposals, newest first, older than (height, position)."""
        query = sa.select(schema.proposals).order_by(_g.height.desc(), _g.position.desc())
        if before is not None:
            height, position = before
            query = query.where(sa.or_(_g.height < height, sa.and_(_g.height == height, _g.position < position)))
        rows = self._rows(query.limit(max(0, min(limit, PAYOUTS_PAGE_MAX))))
        return tuple([ProposalRow(**row._mapping) for row in rows])

    def _rows(self, query: sa.Select[Any]) -> Sequence[Row[Any]]:
        with self._database.read(self._deadline_ns) as connection:
            return connection.execute(query).all()


_EVENT_COLUMNS = [_e[name] for name in Layer2EventRow.__struct_fields__]
_other = schema.settlement_actions.alias().c
_BEGUN = sa.select(sa.func.max(_other.first_payout)).where(_other.first_payout <= _p.id).correlate(schema.payouts)
_PAYOUTS = sa.select(
    *(_p[name] for name in ("id", "height", "kind", "reference", "account", "amount")),
    _b.block_time_ms,
    _a.nonce.label("action"),
    _a.executed_height,
    _a.transaction_hash,
).select_from(
    schema.payouts.outerjoin(schema.blocks, _b.height == _p.height).outerjoin(
        schema.settlement_actions, sa.and_(_p.id <= _a.last_payout, _a.first_payout == _BEGUN.scalar_subquery())
    )
)
_ACTIONS = sa.select(
    *(_a[name] for name in ActionRow.__struct_fields__ if name != "formed_ms"), _b.block_time_ms.label("formed_ms")
).select_from(schema.settlement_actions.outerjoin(schema.blocks, _b.height == _a.formed_height))
# The newest action that pays somebody ends where pending payouts begin.
_NEXT_BATCHED = (
    sa.select(_a.last_payout + 1).where(_a.first_payout.is_not(None)).order_by(_a.first_payout.desc()).limit(1)
)
_NEXT_PAID = _NEXT_BATCHED.where(_a.executed_height.is_not(None))
