"""Votes on what happens on Layer 2, and what happens on the ledger when a quorum agrees.

Theory of operation. The contract numbers its events without a gap. Each operator of the current consensus epoch says
what stands under a number; when a quorum says the same, and everything before it is applied, it is applied. So two
correct nodes never credit different deposits, and a quorum that contradicts itself takes more than f liars.

Votes that split halt the queue, and nothing else, until operators change their votes: a vote can be replaced until its
event is applied. Votes of those who are no operators any more do not count and are dropped. An event that does not fit
what the ledger asked for is counted (the contract did it, whatever we think), does nothing, and halts the forming of
batches: people must look.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from potchain.application.accounts import credit_account, take_from_treasury
from potchain.application.interface import BlockContext, EventData, StateReader, StateWriter
from potchain.application.settlement.bodies import (
    ActionExecuted,
    DepositCredited,
    Layer2Applied,
    Layer2Mismatch,
    ObserveL2,
    RelayPaid,
)
from potchain.application.settlement.forming import settle
from potchain.application.settlement.records import (
    MONEY_MAX,
    OWNERS_PREFIX,
    VOTES_PREFIX,
    ActionRecord,
    EventVote,
    EventVotes,
    Observation,
    action,
    bound_contract,
    counters,
    drop,
    observations,
    save_counters,
    save_observations,
    terms,
)
from potchain.codec import Canonical, decode, encode
from potchain.consensus.quorum import Quorum
from potchain.crypto import checksum_address, digest_of
from potchain.errors import CodecError, TransactionFailed
from potchain.genesis import Epoch, Validator
from potchain.primitives import STORED_MAX, Digest, Uint64, uint, uint256
from potchain.settlement.actions import owners_hash
from potchain.settlement.events import (
    EVENT_TYPES,
    PAYLOAD_BYTES_MAX,
    BatchSeen,
    DepositSeen,
    PauseSeen,
    RootSeen,
    RotationSeen,
)

VOTE_TAG = b"potchain.layer2.event.1"


class _Subject(Canonical, frozen=True):
    event_nonce: Uint64
    observation: Observation


def observation_of(body: ObserveL2) -> Observation:
    """What a transaction says happened."""
    return Observation(
        kind=body.kind,
        payload=body.payload,
        block_number=body.block_number,
        block_hash=body.block_hash,
        transaction_hash=body.transaction_hash,
        log_index=body.log_index,
    )


def vote_hash(event_nonce: int, observation: Observation) -> Digest:
    """What equal votes have in common: sha256 over everything of the transaction but sender, nonce, fee and expiry."""
    return digest_of(VOTE_TAG, encode(_Subject(event_nonce, observation)))


def check_observation(state: StateReader, epoch: Epoch, body: ObserveL2) -> tuple[EventVotes, EventVote]:
    """The votes so far, of this epoch's operators, and the new one. Raises TransactionFailed."""
    now = counters(state)
    if not now.binding:
        raise TransactionFailed("not_bound", "no contract is bound; there is nothing to observe")
    operators = {member.operator for member in epoch.members}
    if body.from_ not in operators:
        sender = checksum_address(body.from_)
        raise TransactionFailed("not_operator", f"{sender} is no operator of epoch {epoch.number}")
    if body.event_nonce < now.next_event:
        raise TransactionFailed("stale_event", f"event {body.event_nonce} is applied; the next is {now.next_event}")
    ahead = terms(state).observe_ahead
    if body.event_nonce >= now.next_event + ahead:
        last = now.next_event + ahead - 1
        raise TransactionFailed("too_far_ahead", f"event {body.event_nonce}; {now.next_event} to {last} are taken")
    _check_payload(body)
    before = observations(state, body.event_nonce)
    said = vote_hash(body.event_nonce, observation_of(body))
    earlier = next((each for each in before.votes if each.operator == body.from_), None)
    if earlier is not None and earlier.hash == said:
        raise TransactionFailed(
            "already_voted", f"{checksum_address(body.from_)} said the same of event {body.event_nonce} before"
        )
    vote = EventVote(body.from_, said, 0 if earlier is None else earlier.changes + 1)
    return EventVotes(tuple([kept for kept in before.votes if kept.operator in operators]), before.observations), vote


def observe(context: BlockContext, state: StateWriter, body: ObserveL2) -> tuple[EventData, ...]:
    """Count a vote, and apply what has a quorum by it. Raises TransactionFailed."""
    before, vote = check_observation(state, context.epoch, body)
    votes = list(before.votes)
    for index, earlier in enumerate(votes):
        if earlier.operator == vote.operator:
            votes[index] = vote
            break
    else:
        votes.append(vote)
    wanted = {each.hash for each in votes}
    said = observation_of(body)
    listed = before.observations if said in before.observations else (*before.observations, said)
    kept = tuple([each for each in listed if vote_hash(body.event_nonce, each) in wanted])
    save_observations(state, body.event_nonce, EventVotes(tuple(votes), kept))
    return apply_agreed(state, context.epoch.members)


def apply_agreed(state: StateWriter, members: Sequence[Validator]) -> tuple[EventData, ...]:
    """Apply every event in order that a quorum of these members' operators agrees on."""
    operators = {member.operator for member in members}
    quorum = Quorum(len(members)).quorum
    events: list[EventData] = []
    while True:
        number = counters(state).next_event
        agreed = _agreed(number, observations(state, number), operators, quorum)
        if agreed is None:
            return tuple(events)
        drop(state, VOTES_PREFIX, number)
        applied = msgspec.structs.replace(
            counters(state), next_event=number + 1, event_block=agreed.block_number
        )
        save_counters(state, applied)
        events += _apply(state, number, agreed)
        events.append(Layer2Applied(number, agreed.kind, agreed.transaction_hash))


def _agreed(number: int, votes: EventVotes, operators: set[bytes], quorum: int) -> Observation | None:
    counting = [vote.hash for vote in votes.votes if vote.operator in operators]
    for observation in votes.observations:
        if counting.count(vote_hash(number, observation)) >= quorum:
            return observation
    return None


def _check_payload(body: ObserveL2) -> None:
    kind = EVENT_TYPES.get(body.kind)
    if kind is None:
        known = ", ".join(sorted(EVENT_TYPES))
        raise TransactionFailed("bad_payload", f"unknown kind of event {body.kind[:32]!r} (known: {known})")
    try:
        decode(kind, body.payload, size_max=PAYLOAD_BYTES_MAX)
        for name in ("block_number", "log_index"):
            if getattr(body, name) > STORED_MAX:
                raise CodecError(f"{name} {getattr(body, name)} is more than {STORED_MAX}")
    except CodecError as fault:
        raise TransactionFailed("bad_payload", str(fault)) from None


def _apply(state: StateWriter, number: int, seen: Observation) -> list[EventData]:
    """What an event means. Never fails: what does not fit is a mismatch."""
    payload = decode(EVENT_TYPES[seen.kind], seen.payload)
    if isinstance(payload, DepositSeen):
        return _deposit(state, number, payload)
    assert isinstance(payload, BatchSeen | RootSeen | RotationSeen | PauseSeen)
    now = counters(state)
    if payload.nonce != now.next_executed or payload.nonce >= now.next_action:
        expected = f"action {now.next_executed}" if now.actions_open else "none: no action is open"
        return _mismatch(state, number, payload.nonce, f"action {payload.nonce} was executed; next is {expected}")
    record = action(state, payload.nonce)
    assert record is not None, "open actions have records"
    difference = _difference(record, payload)
    if difference:
        return _mismatch(state, number, payload.nonce, difference)
    settle(state, record, seen)
    events: list[EventData] = [ActionExecuted(payload.nonce, seen.transaction_hash, seen.block_number)]
    if isinstance(payload, RotationSeen):
        _confirm_epoch(state, payload.epoch)
    elif isinstance(payload, BatchSeen | RootSeen):
        events += _pay_relayer(state, payload.nonce, payload.relayer)
    return events


def _deposit(state: StateWriter, number: int, seen: DepositSeen) -> list[EventData]:
    now = counters(state)
    credited = uint(now.credited) + uint(seen.amount)
    if credited - uint(now.executed) > MONEY_MAX:
        return _mismatch(state, number, 0, f"a deposit of {uint(seen.amount)} is more than there can be")
    credit_account(state, seen.account, uint(seen.amount))
    funds = uint256(uint(now.funds) + uint(seen.amount))
    save_counters(state, msgspec.structs.replace(now, credited=uint256(credited), funds=funds))
    return [DepositCredited(seen.account, seen.amount)]


def _difference(record: ActionRecord, seen: BatchSeen | RootSeen | RotationSeen | PauseSeen) -> str:
    """In which way the contract did another thing than it was asked to; empty if it did that."""
    asked = record.action
    if isinstance(seen, BatchSeen):
        done, fits = "batch", seen.total == record.total
    elif isinstance(seen, RootSeen):
        done, fits = "root", (seen.root, seen.total) == (asked.root, record.total)
    elif isinstance(seen, RotationSeen):
        wanted = (asked.epoch + 1, owners_hash(asked.owners), asked.threshold)
        done, fits = "rotate", (seen.epoch, seen.owners_hash, seen.threshold) == wanted
    else:
        done, fits = "pause", seen.paused == asked.paused
    if done != asked.kind:
        return f"action {asked.nonce} is a {asked.kind}, the contract executed a {done}"
    return "" if fits else f"the contract executed another {done} than action {asked.nonce}"


def _mismatch(state: StateWriter, number: int, nonce: int, reason: str) -> list[EventData]:
    save_counters(state, msgspec.structs.replace(counters(state), halted=True))
    return [Layer2Mismatch(number, nonce, reason)]


def _confirm_epoch(state: StateWriter, epoch: int) -> None:
    """The contract has new owners; those before sign nothing any more."""
    now = counters(state)
    for old in range(now.confirmed_epoch, epoch):
        drop(state, OWNERS_PREFIX, old)
    save_counters(state, msgspec.structs.replace(now, confirmed_epoch=epoch))


def _pay_relayer(state: StateWriter, nonce: int, relayer: bytes) -> list[EventData]:
    contract = bound_contract(state)
    if contract is None or relayer == contract.safe:
        return []  # the book of a Safe knows only the Safe as its caller, and a Safe has no key to spend it with
    paid = take_from_treasury(state, uint(terms(state).relay_fee))
    if not paid:
        return []
    credit_account(state, relayer, paid)
    return [RelayPaid(nonce, relayer, uint256(paid))]
