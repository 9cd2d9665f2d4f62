"""What the settler needs to know of the ledger, taken from the state at one moment. Pure."""

from __future__ import annotations

import msgspec

from potchain.application.interface import StateReader
from potchain.application.settlement import records
from potchain.primitives import uint
from potchain.settlement import Action, Contract, Owners
from potchain.settlement.interface import EVENTS_PER_CALL_MAX


class LedgerAction(msgspec.Struct, frozen=True, kw_only=True):
    """An action that is not executed for the ledger."""

    action: Action
    digest: bytes
    """As the ledger records it."""
    is_signed: bool
    """It has enough signatures."""
    owners: Owners | None
    """Of its epoch of the contract."""
    signatures: tuple[tuple[bytes, bytes], ...]
    """(owner, 65-byte signature), sorted by owner."""
    total: int
    """Base units that it pays."""


class LedgerView(msgspec.Struct, frozen=True, kw_only=True):
    """The ledger now."""

    certified_height: int
    """Every block up to here is final."""
    is_behind: bool = False
    """The node lacks blocks that others have: what it sees here is old."""
    contract: Contract | None = None
    owners: tuple[Owners, ...] = ()
    """Of every live epoch of the contract, oldest first."""
    next_action: int = 0
    """Nonce of the next action that is formed."""
    actions: tuple[LedgerAction, ...] = ()
    """Not executed, by nonce, without a gap up to `next_action`."""
    next_event: int = 0
    """Event nonce to be applied next."""
    event_block: int = 0
    """Layer 2 block of the last event that was applied; 0: none was."""
    votes: tuple[tuple[int, bytes], ...] = ()
    """(event nonce, vote hash) of the own operator, for events that are not applied."""
    votes_max: int = EVENTS_PER_CALL_MAX
    """Events from the next one on that may be voted on."""
    operator: bytes = b""
    """The own operator's address; empty without a key."""
    operators: tuple[bytes, ...] = ()
    """Of the current epoch of consensus, sorted."""
    account_nonce: int = 0
    """Nonce of the operator's account in the state."""
    next_nonce: int = 0
    """Nonce to sign with next: what is pooled included."""

    @property
    def next_executed(self) -> int:
        """Nonce of the oldest action that is not executed for the ledger."""
        return self.actions[0].action.nonce if self.actions else self.next_action

    def owners_of(self, epoch: int) -> Owners | None:
        """Owners of a live epoch of the contract."""
        return next((owners for owners in self.owners if owners.epoch == epoch), None)


def ledger_view(
    state: StateReader,
    *,
    certified_height: int,
    is_behind: bool,
    operator: bytes,
    operators: tuple[bytes, ...],
    account_nonce: int,
    next_nonce: int,
) -> LedgerView:
    """The view of a state. At most `records.ACTIONS_OPEN_MAX` actions and EVENTS_PER_CALL_MAX votes are read."""
    place = LedgerView(
        certified_height=certified_height,
        is_behind=is_behind,
        operator=operator,
        operators=tuple(sorted(operators)),
        account_nonce=account_nonce,
        next_nonce=next_nonce,
    )
    contract = records.bound_contract(state)
    if contract is None:
        return place
    counters = records.counters(state)
    votes_max = min(EVENTS_PER_CALL_MAX, records.terms(state).observe_ahead)
    return msgspec.structs.replace(
        place,
        contract=contract,
        owners=records.live_owners(state),
        next_action=counters.next_action,
        actions=tuple(_action(state, record) for record in records.open_actions(state)),
        next_event=counters.next_event,
        event_block=counters.event_block,
        votes=_votes(state, counters.next_event, votes_max, operator),
        votes_max=votes_max,
    )


def _action(state: StateReader, record: records.ActionRecord) -> LedgerAction:
    return LedgerAction(
        action=record.action,
        digest=record.digest,
        is_signed=record.status == records.SIGNED,
        owners=records.owners_of(state, record.action.epoch),
        signatures=records.signatures(state, record.action.nonce),
        total=uint(record.total),
    )


def _votes(state: StateReader, first: int, count: int, operator: bytes) -> tuple[tuple[int, bytes], ...]:
    found = []
    for nonce in range(first, first + count):
        found += [(nonce, vote) for who, vote in records.event_votes(state, nonce) if who == operator]
    return tuple(found)
