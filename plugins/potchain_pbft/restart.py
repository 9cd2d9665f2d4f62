"""Rebuilds the message log from what was durable, so that a restart contradicts nothing that was ever sent.

The first digest of a slot comes back from its accepted record, the proof of being prepared from its own. Own messages
are in the log again, for they are durable. Messages of others below a quorum are not: their senders send them again.
"""

from __future__ import annotations

from potchain import Boot, CodecError, ConsensusMessage, Digest, Epoch, NodeId, Record, decode, encode
from potchain_pbft.log import MessageLog
from potchain_pbft.messages import (
    ACCEPTED,
    KINDS,
    PRE_PREPARE,
    PREPARE,
    PREPARED,
    AcceptedProposal,
    PreparedCertificate,
)
from potchain_pbft.view_changing import ViewChanging
from potchain_pbft.view_messages import ENTERED, NEW_VIEW, VIEW_KINDS, EnteredView


def restore(boot: Boot, me: NodeId | None, log: MessageLog, views: ViewChanging) -> None:
    """Fill an empty log, find the view. Raises CodecError when a record is missing, damaged or of a newer version."""
    for proposal in (*boot.proposals, *boot.decided_proposals):
        if proposal.header.epoch == boot.epoch.number and proposal.header.sequence > log.low:
            log.hold(proposal)
    view = _restore_view(boot, views)
    for record in boot.records:
        if record.sequence > log.low:
            _restore_record(record, boot.epoch, me, log)
    for message in boot.own_messages:
        if message.epoch == boot.epoch.number and message.sequence > log.low:
            _restore_own_message(message, log)
    log.forget_views_below(view)


def _restore_view(boot: Boot, views: ViewChanging) -> int:
    """The view entered last, which is the result, then the view changes sent since."""
    proofs = [decode(EnteredView, record.data) for record in boot.records if record.kind == ENTERED]
    entered = [proof for proof in proofs if proof.new_view.epoch == boot.epoch.number]
    if entered:
        views.restore_entered(max(entered, key=lambda proof: proof.new_view.view))
    own = [message for message in boot.own_messages if message.kind in VIEW_KINDS]
    for message in sorted(own, key=lambda message: (message.view, message.kind == NEW_VIEW)):
        if message.epoch == boot.epoch.number:
            views.restore_own(message)
    return max([proof.new_view.view for proof in entered], default=0)


def remembered_votes(log: MessageLog, epoch: Epoch) -> list[ConsensusMessage]:
    """Pre-prepares of accepted records and prepares of prepared certificates, by sequence, then view."""
    found = []
    for slot in log.in_order():
        if slot.pre_prepare is not None and slot.accepted:
            found.append(slot.pre_prepare)
        if slot.prepared is not None:
            place = epoch.number, PREPARE, slot.view, slot.sequence, slot.prepared.digest
            found += [ConsensusMessage(*place, vote.sender, b"", vote.signature) for vote in slot.prepared.prepares]
    return found


def next_sequence(view: int, log: MessageLog, last_decided: int) -> int:
    """The first sequence above everything decided, and above everything accepted in this view."""
    accepted = [slot.sequence for slot in log.in_order() if slot.view == view and slot.accepted]
    return max([last_decided, *accepted]) + 1


def _restore_record(record: Record, epoch: Epoch, me: NodeId | None, log: MessageLog) -> None:
    slot = log.slot(record.view, record.sequence)
    if record.kind == PREPARED:
        slot.prepared = decode(PreparedCertificate, record.data)
        return
    if record.kind != ACCEPTED:
        raise CodecError(
            f"record of unknown kind {record.kind!r} in the vote log: it is damaged, or a newer version wrote it"
        )
    accepted = decode(AcceptedProposal, record.data)
    slot.propose(Digest(accepted.digest), accepted.proposal)
    slot.accepted = True
    primary = epoch.primary(record.view)
    if primary != me:
        slot.pre_prepare = ConsensusMessage(
            epoch.number,
            PRE_PREPARE,
            record.view,
            record.sequence,
            accepted.digest,
            primary,
            encode(accepted.proposal),
            accepted.pre_prepare,
        )


def _restore_own_message(message: ConsensusMessage, log: MessageLog) -> None:
    if message.kind not in KINDS:
        return  # the host's own, such as a block vote
    slot = log.slot(message.view, message.sequence)
    if message.digest != slot.digest:
        raise CodecError(
            f"own {message.kind} at view {message.view} sequence {message.sequence} without its accepted record: "
            "the vote log is damaged"
        )
    if message.kind == PRE_PREPARE:
        slot.pre_prepare = message
    elif message.kind == PREPARE:
        slot.prepares.add(message)
    else:
        slot.commits.add(message)
