"""View changes for an engine that is stepped by hand."""

from __future__ import annotations

from pbft_members import block_certificate, digest_of, make_proposal, sign
from pbft_replica import EPOCH, TIMEOUT_NS, Replica, pre_prepare, vote

from potchain.blocks import Proposal
from potchain.codec import encode
from potchain.consensus.interface import (
    ConsensusMessage,
    Effects,
    MessageName,
    SetTimer,
    TimerFired,
)
from potchain_pbft.messages import PreparedCertificate, VoteSignature
from potchain_pbft.view_messages import NEW_VIEW, VIEW_CHANGE, NewView, ViewChange, body_digest

FIRST = make_proposal(EPOCH, 1)


def certificate(proposal: Proposal, view: int = 0, backups: tuple[int, int] = (1, 2)) -> PreparedCertificate:
    """In the primary's and two backups' hand."""
    primary = view % 4
    votes = [vote(backup, "prepare", proposal, view) for backup in backups]
    prepares = [VoteSignature(each.sender, each.signature) for each in votes]
    return PreparedCertificate(
        view,
        proposal.header.sequence,
        digest_of(proposal),
        pre_prepare(proposal, primary, view).signature,
        tuple(sorted(prepares, key=lambda entry: entry.sender)),
    )


def view_change(sender: int, view: int, *prepared: PreparedCertificate, stable: int = 0) -> ConsensusMessage:
    proof = encode(block_certificate(stable, 0, 1, 2)) if stable else b""
    body = encode(ViewChange(stable, proof, prepared))
    return sign(sender, VIEW_CHANGE, view, 0, body_digest(body), body)


def new_view(view: int, *changes: ConsensusMessage) -> ConsensusMessage:
    names = sorted((MessageName(change.sender, change.digest) for change in changes), key=lambda name: name.sender)
    body = encode(NewView(tuple(names)))
    return sign(view % 4, NEW_VIEW, view, 0, body_digest(body), body)


def expired(replica: Replica) -> Effects:
    """Its time is up."""
    replica.now_ns += 10 * TIMEOUT_NS
    return replica.step(TimerFired("agreement"))


def waiting(me: int) -> Replica:
    """A replica that has accepted a request in view 0 and waits for its execution."""
    replica = Replica(me)
    replica.echo(replica.accept(FIRST))
    return replica


def changed(me: int, view: int = 1) -> Replica:
    """A replica that has multicast its view change for view 1, and its own is in its log."""
    replica = waiting(me)
    replica.echo(expired(replica))
    assert replica.engine.status().view == view
    return replica


def timers(effects: Effects) -> dict[str, int]:
    return {timer.name: timer.after_ns for timer in effects.timers if isinstance(timer, SetTimer)}
