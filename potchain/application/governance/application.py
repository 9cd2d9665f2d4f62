"""The governance application: operators propose and vote; a quorum decides.

Theory of operation. A proposal is a transaction of a kind of its own, so a wallet shows all of it, and its id is that
transaction's. Its proposer says yes by it. Votes are those of operators of the epoch in which they are counted: at each
vote, and in an epoch's last block as the next epoch counts them. At Quorum(n).quorum yes it is done in that block; once
so many said no that this cannot be reached, or after EXPIRY_MS of block time, it is rejected. What was possible when it
was proposed may be impossible when it is accepted; then it is rejected with the code that says why.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from potchain.application.epochs import pending_epoch
from potchain.application.governance.bodies import (
    GOVERNANCE_BODIES,
    GOVERNANCE_EVENTS,
    GovApplied,
    GovProposed,
    GovRejected,
    GovVote,
    GovVoted,
)
from potchain.application.governance.measures import check_measure, take_measure
from potchain.application.governance.records import (
    EXPIRY_MS,
    PROPOSALS_OPEN_MAX,
    PROPOSALS_PER_OPERATOR_MAX,
    Proposal,
    drop_proposal,
    open_entries,
    open_proposals,
    proposal,
    save_proposal,
)
from potchain.application.interface import BlockContext, EventData, StateReader, StateWriter
from potchain.application.settlement.duties import is_on_duty
from potchain.codec import decode, encode
from potchain.consensus.quorum import Quorum
from potchain.crypto import checksum_address
from potchain.errors import InvalidTransaction, TransactionFailed
from potchain.genesis import Epoch, Genesis
from potchain.transactions import Transaction, TransactionBody

_KINDS: Mapping[str, type[TransactionBody]] = {kind.__name__: kind for kind in GOVERNANCE_BODIES}


class GovernanceApplication:
    """Proposals and votes. Its measures belong to settlement and to the epochs, whose events they give."""

    name = "governance"
    body_types: tuple[type[TransactionBody], ...] = GOVERNANCE_BODIES
    event_types: tuple[type[EventData], ...] = GOVERNANCE_EVENTS

    def genesis_records(self, genesis: Genesis) -> Iterable[tuple[bytes, bytes]]:
        """None: no proposal is open."""
        return ()

    def check(self, transaction: Transaction, state: StateReader, epoch: Epoch) -> None:
        """All that execution would refuse now. Raises InvalidTransaction with the same codes."""
        try:
            _check(transaction, state, epoch, None)
        except TransactionFailed as fault:
            raise InvalidTransaction(fault.code, fault.detail) from None

    def is_duty(self, transaction: Transaction, state: StateReader, epoch: Epoch) -> bool:
        """Everything here, of operators and owners."""
        return is_on_duty(transaction.sender, state, epoch)

    def execute(self, transaction: Transaction, context: BlockContext, state: StateWriter) -> tuple[EventData, ...]:
        """Propose or vote, and do what is accepted by it. Raises TransactionFailed."""
        _check(transaction, state, context.epoch, context)
        body = transaction.body
        if not isinstance(body, GovVote):
            made = Proposal(
                id=transaction.id,
                kind=transaction.kind,
                body=encode(body),
                proposer=body.from_,
                expires_ms=context.block_time_ms + EXPIRY_MS,
                yes=(body.from_,),
            )
            save_proposal(state, made)
            return GovProposed(made.id, made.kind), *_count(made, context, state, context.epoch)
        before = proposal(state, body.proposal)
        assert before is not None, "checked"
        operators = {member.operator for member in context.epoch.members}
        yes = tuple([each for each in before.yes if each in operators])
        no = tuple([each for each in before.no if each in operators])
        changed = msgspec.structs.replace(
            before, yes=(*yes, body.from_) if body.approve else yes, no=no if body.approve else (*no, body.from_)
        )
        save_proposal(state, changed)
        voted = GovVoted(body.proposal, body.from_, body.approve)
        return voted, *_count(changed, context, state, context.epoch)

    def end_block(self, context: BlockContext, state: StateWriter) -> tuple[EventData, ...]:
        """Reject what is expired; in an epoch's last block, count the votes as the next epoch does."""
        entries = open_entries(state)
        if not entries:
            return ()
        events: list[EventData] = []
        for entry in entries:
            if entry.expires_ms < context.block_time_ms:
                drop_proposal(state, entry.id)
                events.append(GovRejected(entry.id, "expired"))
        following = pending_epoch(state)
        if following is not None and following.first_sequence == context.height + 1:
            for each in open_proposals(state):
                events += _count(each, context, state, following)
        return tuple(events)


def _check(transaction: Transaction, state: StateReader, epoch: Epoch, context: BlockContext | None) -> None:
    body = transaction.body
    sender = checksum_address(body.from_)
    if all(member.operator != body.from_ for member in epoch.members):
        raise TransactionFailed("not_operator", f"{sender} is no operator of epoch {epoch.number}")
    if isinstance(body, GovVote):
        found = proposal(state, body.proposal)
        if found is None or (context is not None and found.expires_ms < context.block_time_ms):
            raise TransactionFailed(
                "unknown_proposal", f"0x{body.proposal.hex()} is not open: decided, expired or never made"
            )
        if body.from_ in found.yes or body.from_ in found.no:
            raise TransactionFailed("already_voted", f"{sender} voted on 0x{body.proposal.hex()}")
        if body.approve not in (0, 1):
            raise TransactionFailed("bad_value", f"approve is 1 or 0, not {body.approve}")
        return
    entries = open_entries(state)
    own = sum(entry.proposer == body.from_ for entry in entries)
    if own >= PROPOSALS_PER_OPERATOR_MAX or len(entries) >= PROPOSALS_OPEN_MAX:
        raise TransactionFailed(
            "too_many_proposals",
            f"{own} of {PROPOSALS_PER_OPERATOR_MAX} proposals of {sender}, {len(entries)} of {PROPOSALS_OPEN_MAX} in "
            f"all, are open; wait until some are decided",
        )
    check_measure(body, state, epoch, context)


def _count(subject: Proposal, context: BlockContext, state: StateWriter, epoch: Epoch) -> tuple[EventData, ...]:
    """Decide it if the votes do."""
    quorum = Quorum(len(epoch.members)).quorum
    yes = sum(member.operator in subject.yes for member in epoch.members)
    no = sum(member.operator in subject.no for member in epoch.members)
    if yes >= quorum:
        drop_proposal(state, subject.id)
        try:
            events = take_measure(decode(_KINDS[subject.kind], subject.body), context, state)
        except TransactionFailed as fault:
            return (GovRejected(subject.id, fault.code),)
        return GovApplied(subject.id), *events
    if no > len(epoch.members) - quorum:
        drop_proposal(state, subject.id)
        return (GovRejected(subject.id, "votes"),)
    return ()
