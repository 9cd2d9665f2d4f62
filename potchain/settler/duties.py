"""What this operator owes the ledger: signatures of actions and votes on events, as transactions. Pure.

Neither waits for the other, and neither needs more than the ledger and the last look at Layer 2. A duty is asked for
again when its transaction fell out of the pool, or was executed and is not seen in the state; never while it is still
on its way. Repeats fail on the ledger without a fee and change nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from potchain.application.settlement.bodies import ObserveL2, SignBatch
from potchain.application.settlement.observing import observation_of, vote_hash
from potchain.primitives import uint256
from potchain.settlement import ChainView, Layer2Event
from potchain.settlement.digests import action_digest
from potchain.settler.memory import Fault, Subject
from potchain.settler.steps import Sign, Vote
from potchain.settler.view import LedgerAction, LedgerView


def sign_body(operator: bytes, nonce: int, action_nonce: int, signature: bytes) -> SignBatch:
    """A signature as the ledger takes it, free of a fee."""
    return SignBatch(operator, nonce, uint256(0), 0, action_nonce, signature)


def vote_body(operator: bytes, nonce: int, event: Layer2Event) -> ObserveL2:
    """A vote as the ledger takes it, free of a fee."""
    return ObserveL2(
        operator,
        nonce,
        uint256(0),
        0,
        event.event_nonce,
        event.kind,
        event.payload,
        event.block_number,
        event.block_hash,
        event.transaction_hash,
        event.log_index,
    )


def hash_of(event: Layer2Event) -> bytes:
    """What equal votes have in common."""
    return vote_hash(event.event_nonce, observation_of(vote_body(bytes(20), 0, event)))


def sign_subject(step: Sign) -> Subject:
    """What its transaction is about."""
    return "sign", step.action_nonce, step.digest


def vote_subject(step: Vote) -> Subject:
    """What its transaction is about."""
    return "vote", step.event.event_nonce, hash_of(step.event)


def on_their_way(ledger: LedgerView, sent: Mapping[Subject, int]) -> dict[Subject, int]:
    """Own transactions that are neither executed nor lost."""
    return {subject: nonce for subject, nonce in sent.items() if ledger.account_nonce <= nonce < ledger.next_nonce}


def signatures_due(ledger: LedgerView, sent: Mapping[Subject, int]) -> tuple[list[Sign], Fault | None]:
    """Actions to sign now; and the fault that keeps one from being signed."""
    assert ledger.contract is not None
    due: list[Sign] = []
    for entry in ledger.actions:
        step = Sign(action_nonce=entry.action.nonce, digest=entry.digest)
        if not _is_mine_to_sign(ledger, entry) or sign_subject(step) in sent:
            continue
        digest = action_digest(ledger.contract, entry.action)
        if digest != entry.digest:
            return due, Fault(
                "digest_differs",
                f"the ledger records 0x{entry.digest.hex()} for action {entry.action.nonce}, its contents give "
                f"0x{digest.hex()}; do not sign by hand, and compare the software of the nodes",
            )
        due.append(step)
    return due, None


def votes_due(ledger: LedgerView, chain: ChainView, sent: Mapping[Subject, int]) -> list[Vote]:
    """Confirmed events that this operator has not voted on, or of which it has said something else."""
    if ledger.operator not in ledger.operators:
        return []
    said = dict(ledger.votes)
    due = []
    for event in chain.events:
        if not ledger.next_event <= event.event_nonce < ledger.next_event + ledger.votes_max:
            continue
        step = Vote(event=event)
        subject = vote_subject(step)
        if said.get(event.event_nonce) != subject[2] and subject not in sent:
            due.append(step)
    return due


def has_signed(ledger: LedgerView, entry: LedgerAction) -> bool:
    """Whether the ledger holds this operator's signature."""
    return any(owner == ledger.operator for owner, _ in entry.signatures)


def _is_mine_to_sign(ledger: LedgerView, entry: LedgerAction) -> bool:
    return (
        not entry.is_signed
        and entry.action.height <= ledger.certified_height
        and entry.owners is not None
        and ledger.operator in entry.owners.owners
        and not has_signed(ledger, entry)
    )
