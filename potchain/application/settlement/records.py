"""Records of settlement in the authenticated state, and how they are read.

Theory of operation. *Payouts* are numbered from 0 without a gap and become actions in that order, so three counters say
where each of them stands: below `next_batched` it is part of an action, from there on it is pending, and one that was
paid has no record any more. *Actions* are numbered from 0 for each bound contract; those in [next_executed,
next_action) are open. The contract's events are numbered from 0 too; `next_event` is the next one to be applied.

Whatever has no record has its default: a network that never settles writes nothing here. Every record that can become
many has a bound: ACTIONS_OPEN_MAX, ACTIONS_KEPT, PAYOUTS_OPEN_MAX, BINDINGS_MAX, Terms.observe_ahead votes of one
epoch's operators, `Terms.root_accounts_max` accounts of the tree (`roots`).

The readers are for applications, the settler, the API and the simulator; `save_*` and `drop_*` for this package alone.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import msgspec

from potchain.application.interface import StateReader, StateWriter
from potchain.codec import Canonical, S, encode
from potchain.primitives import Address, Bytes, Bytes32, Text, Uint64, Uint256, uint, uint256
from potchain.settlement.actions import Action, Contract, Owners

PREFIX = b"settlement/"
TERMS_KEY = PREFIX + b"terms"
CONTRACT_PREFIX = PREFIX + b"contract/"
COUNTERS_KEY = PREFIX + b"counters"
OWNERS_PREFIX = PREFIX + b"owners/"
PAYOUT_PREFIX = PREFIX + b"payout/"
ACTION_PREFIX = PREFIX + b"action/"
SIGNATURES_PREFIX = PREFIX + b"signatures/"
VOTES_PREFIX = PREFIX + b"votes/"
BOUND_PREFIX = PREFIX + b"bound/"

ACTIONS_OPEN_MAX = 64
"""Actions that are not executed, those of governance among them; `Terms.open_max` bounds batches and roots."""
ACTIONS_KEPT = 256
"""Executed actions whose record (without entries) stays; older ones are in SQL only."""
PAYOUTS_OPEN_MAX = 1_000_000
"""Payouts that are not executed; more are refused until some are."""
PAYOUTS_PER_BATCH_MAX = 1_000
"""Payouts that one batch may sum up for its at most `Terms.batch_max` payees."""
BINDINGS_MAX = 64
"""Contracts that a ledger can be bound to, one after another."""
MONEY_MAX = 2**128
"""Deposits credited and not paid out again, base units: more is no money, and would not fit the sums."""

ActionStatus = Literal["open", "signed", "executed"]
OPEN: ActionStatus = "open"
"""Owners may sign it."""
SIGNED: ActionStatus = "signed"
"""It has as many signatures as the contract asks for; anybody may relay it."""
EXECUTED: ActionStatus = "executed"
"""The contract executed it, by the word of a quorum of operators."""


class Terms(Canonical, frozen=True, kw_only=True):
    """How the ledger settles; changed by `GovSetParameter` with the key settlement.<name>."""

    batch_max: Uint64 = 100
    """Payees of one batch; the contract accepts 500."""
    root_min: Uint64 = 1_000
    """Pending payouts from which a Merkle root is formed in place of a batch; 0: never."""
    root_entries_max: Uint64 = 1_000
    """Payouts of one root."""
    root_accounts_max: Uint64 = 65_536
    """Accounts of the cumulative tree; when an account more does not fit, batches are formed."""
    open_max: Uint64 = 8
    """Actions under way up to which batches and roots are formed; 0: none are."""
    observe_ahead: Uint64 = 64
    """Events that may be voted on, from the next one to be applied."""
    minimum_withdrawal: Uint256 = uint256(1)
    """Least amount of a `Withdraw`, base units."""
    relay_fee: Uint256 = uint256(0)
    """Paid by the treasury, on the ledger, to who relayed a batch or root; base units."""


class Counters(Canonical, frozen=True, kw_only=True):
    """Where settlement stands."""

    binding: Uint64 = 0
    """Number of contracts bound so far; the bound one's number. 0: none was."""
    epoch: Uint64 = 0
    """Epoch of the contract that new actions carry."""
    confirmed_epoch: Uint64 = 0
    """Epoch of the contract at the last event that was applied."""
    next_payout: Uint64 = 0
    """Number of the next payout."""
    next_batched: Uint64 = 0
    """Number of the oldest pending payout, equal to next_payout when none is."""
    payouts_open: Uint64 = 0
    """Payouts that are not executed, pending ones among them."""
    next_action: Uint64 = 0
    """Nonce of the next action."""
    next_executed: Uint64 = 0
    """Nonce of the oldest action that is not executed, equal to next_action when none is open."""
    next_event: Uint64 = 0
    """Nonce of the next event to be applied."""
    owed: Uint256 = uint256(0)
    """Sum of the payouts that are not executed, base units."""
    credited: Uint256 = uint256(0)
    """Sum of all deposits, base units."""
    executed: Uint256 = uint256(0)
    """Sum of all payouts that were executed, base units."""
    roots_open: Uint64 = 0
    """Merkle roots among the open actions: 0 or 1, since each builds on the one before."""
    paused: bool = False
    """Governance decided to form no batch or root."""
    halted: bool = False
    """The contract did what the ledger had not asked for; no batch or root is formed until governance goes on."""
    funds: Uint256 = uint256(0)
    """Deposits into the bound contract less what it executed, base units."""
    batched: Uint256 = uint256(0)
    """Sum of the open actions, base units; at most `funds`, for what is not there is not asked for."""
    event_block: Uint64 = 0
    """Layer 2 block of the last event that was applied; 0: none was."""

    @property
    def pending(self) -> int:
        """Payouts that no action has."""
        return self.next_payout - self.next_batched

    @property
    def actions_open(self) -> int:
        """Actions that are not executed."""
        return self.next_action - self.next_executed

    @property
    def unbatched(self) -> int:
        """Base units in the bound contract that no action pays out."""
        return uint(self.funds) - uint(self.batched)

    @property
    def withdrawable(self) -> int:
        """Base units in the bound contract that nobody is owed: the most that a `Withdraw` can be now."""
        return max(0, uint(self.funds) - uint(self.owed))


class ActionRecord(Canonical, frozen=True, kw_only=True):
    """An action and how far it is."""

    action: Action
    """Without its entries once it is executed."""
    digest: Bytes32
    """What owners sign."""
    status: str
    """"open", "signed" or "executed"."""
    total: Uint256
    """Base units that it pays."""
    payouts: Uint64 = 0
    """How many payouts it pays; 0 for rotations and pauses."""
    first_payout: Uint64 = 0
    """Number of the first of them; they are consecutive."""
    last_payout: Uint64 = 0
    """Number of the last of them."""
    ready_height: Uint64 = 0
    """The block in which it had enough signatures; 0 before."""
    receipt_block: Uint64 = 0
    """Layer 2 block that executed it."""
    receipt_hash: Bytes = b""
    """Hash of the Layer 2 transaction that executed it; empty before."""


class PayoutRecord(Canonical, frozen=True, kw_only=True):
    """Something that the ledger owes on Layer 2. It is removed when it is paid."""

    id: Uint64
    kind: Text
    """What it is for, at most 32 characters: "withdrawal", or what a plug-in says."""
    reference: Bytes32
    """What it comes from: a transaction id, or what a plug-in says."""
    account: Address
    amount: Uint256
    """Base units, more than 0."""
    height: Uint64
    """The block that made it."""


class OwnerSignature(Canonical, frozen=True):
    """One owner's signature over an action's digest."""

    owner: Address
    signature: Bytes
    """65 bytes."""


class ActionSignatures(Canonical, frozen=True):
    """The signatures of one action."""

    entries: tuple[OwnerSignature, ...] = ()
    """Sorted by owner."""


class EventVote(Canonical, frozen=True):
    """What one operator says about one event nonce."""

    operator: Address
    hash: Bytes32
    """`potchain.application.settlement.observing.vote_hash`."""
    changes: Uint64 = 0
    """How often it has said something else before; see `duties.CHANGES_FREE_MAX`."""


class Observation(Canonical, frozen=True):
    """An event as operators describe it."""

    kind: Text
    payload: Bytes
    block_number: Uint64
    block_hash: Bytes32
    transaction_hash: Bytes32
    log_index: Uint64


class EventVotes(Canonical, frozen=True):
    """All votes on one event nonce."""

    votes: tuple[EventVote, ...] = ()
    """One of each operator that voted, in the order of their first votes."""
    observations: tuple[Observation, ...] = ()
    """The distinct ones that are voted for, in the order in which they came."""


class _Marker(Canonical, frozen=True):
    binding: Uint64


_NO_TERMS = Terms()
_NO_COUNTERS = Counters()


def _read(kind: type[S], data: bytes) -> S:
    """Records were written below, so they are not checked for canonical form on every read."""
    return msgspec.msgpack.decode(data, type=kind)


@lru_cache(maxsize=ACTIONS_OPEN_MAX)
def _action_record(data: bytes) -> ActionRecord:
    """Read once: a thousand entries take a millisecond, and the settler looks at open actions many times a second."""
    return _read(ActionRecord, data)


def numbered_key(prefix: bytes, number: int) -> bytes:
    """Record key of something numbered."""
    return prefix + number.to_bytes(8, "big")


# Readers


def terms(state: StateReader) -> Terms:
    """How the ledger settles now."""
    data = state.get(TERMS_KEY)
    return _NO_TERMS if data is None else _read(Terms, data)


def counters(state: StateReader) -> Counters:
    """Where settlement stands."""
    data = state.get(COUNTERS_KEY)
    return _NO_COUNTERS if data is None else _read(Counters, data)


def bound_contract(state: StateReader, binding: int | None = None) -> Contract | None:
    """The contract on Layer 2, or the one of an earlier binding (from 1); None where none was bound."""
    data = state.get(numbered_key(CONTRACT_PREFIX, counters(state).binding if binding is None else binding))
    return None if data is None else _read(Contract, data)


def was_bound(state: StateReader, chain_id: int, address: bytes) -> bool:
    """Whether that contract is bound or was: its events must not be counted from 0 again."""
    return state.get(_bound_key(chain_id, address)) is not None


def owners_of(state: StateReader, epoch: int) -> Owners | None:
    """Who signs actions of that epoch of the contract; None for one that is over, or never was."""
    data = state.get(numbered_key(OWNERS_PREFIX, epoch))
    return None if data is None else _read(Owners, data)


def current_owners(state: StateReader) -> Owners | None:
    """Who signs what is formed from now on; None while no contract is bound."""
    return owners_of(state, counters(state).epoch)


def live_owners(state: StateReader) -> tuple[Owners, ...]:
    """Owners of every epoch that still has or may get actions to sign, oldest first."""
    now = counters(state)
    found = [owners_of(state, epoch) for epoch in range(now.confirmed_epoch, now.epoch + 1)]
    return tuple([owners for owners in found if owners is not None])


def payout(state: StateReader, number: int) -> PayoutRecord | None:
    """A payout that is not executed, or None."""
    data = state.get(numbered_key(PAYOUT_PREFIX, number))
    return None if data is None else _read(PayoutRecord, data)


def payout_action(state: StateReader, number: int) -> int | None:
    """Nonce of the open action that pays a payout, or None."""
    for record in open_actions(state):
        if record.payouts and record.first_payout <= number <= record.last_payout:
            return record.action.nonce
    return None


def action(state: StateReader, nonce: int) -> ActionRecord | None:
    """An action of the bound contract, as long as it is kept."""
    data = state.get(numbered_key(ACTION_PREFIX, nonce))
    return None if data is None else _action_record(data)


def open_actions(state: StateReader) -> tuple[ActionRecord, ...]:
    """The actions that are not executed, by nonce; at most ACTIONS_OPEN_MAX."""
    now = counters(state)
    found = [action(state, nonce) for nonce in range(now.next_executed, now.next_action)]
    return tuple([record for record in found if record is not None])


def signatures(state: StateReader, nonce: int) -> tuple[tuple[bytes, bytes], ...]:
    """(owner, 65-byte signature) of an action that is not executed, sorted by owner; at most the threshold."""
    data = state.get(numbered_key(SIGNATURES_PREFIX, nonce))
    if data is None:
        return ()
    return tuple([(entry.owner, entry.signature) for entry in _read(ActionSignatures, data).entries])


def observations(state: StateReader, event_nonce: int) -> EventVotes:
    """All that is said about an event nonce that is not applied."""
    data = state.get(numbered_key(VOTES_PREFIX, event_nonce))
    return EventVotes() if data is None else _read(EventVotes, data)


def event_votes(state: StateReader, event_nonce: int) -> tuple[tuple[bytes, bytes], ...]:
    """(operator, vote hash) on an event nonce that is not applied, in the order of first votes."""
    return tuple([(vote.operator, vote.hash) for vote in observations(state, event_nonce).votes])


def owed(state: StateReader) -> int:
    """Sum of the payouts that are not executed, base units."""
    return uint(counters(state).owed)


# Writers, for this package


def save_terms(state: StateWriter, changed: Terms) -> None:
    """Settle like this from now on."""
    state.put(TERMS_KEY, encode(changed))


def save_counters(state: StateWriter, changed: Counters) -> None:
    """Where settlement stands now."""
    state.put(COUNTERS_KEY, encode(changed))


def save_contract(state: StateWriter, contract: Contract, binding: int) -> None:
    """Bind, and never forget that it was bound."""
    state.put(numbered_key(CONTRACT_PREFIX, binding), encode(contract))
    state.put(_bound_key(contract.chain_id, contract.address), encode(_Marker(binding)))


def save_owners(state: StateWriter, owners: Owners) -> None:
    """Who signs in an epoch."""
    state.put(numbered_key(OWNERS_PREFIX, owners.epoch), encode(owners))


def save_action(state: StateWriter, record: ActionRecord) -> None:
    """An action, new or changed."""
    state.put(numbered_key(ACTION_PREFIX, record.action.nonce), encode(record))


def save_payout(state: StateWriter, record: PayoutRecord) -> None:
    """A new payout."""
    state.put(numbered_key(PAYOUT_PREFIX, record.id), encode(record))


def save_signatures(state: StateWriter, nonce: int, entries: tuple[OwnerSignature, ...]) -> None:
    """The signatures of an action, sorted by owner."""
    state.put(numbered_key(SIGNATURES_PREFIX, nonce), encode(ActionSignatures(entries)))


def save_observations(state: StateWriter, event_nonce: int, votes: EventVotes) -> None:
    """The votes on an event."""
    state.put(numbered_key(VOTES_PREFIX, event_nonce), encode(votes))


def drop(state: StateWriter, prefix: bytes, number: int) -> None:
    """Remove what has that number, if it is there."""
    state.remove(numbered_key(prefix, number))


def _bound_key(chain_id: int, address: bytes) -> bytes:
    return BOUND_PREFIX + chain_id.to_bytes(8, "big") + address
