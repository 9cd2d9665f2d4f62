"""What the paper claims of view changes, claim by claim: Castro and Liskov, "Practical Byzantine Fault Tolerance",
OSDI'99, section 4.4. The engine is stepped by hand: an event in, effects out."""

from __future__ import annotations

import pytest
from pbft_members import GENESIS_HASH, block_certificate, digest_of, make_proposal, message_fault, sign
from pbft_replica import EPOCH, TIMEOUT_NS, Replica, discarded, pre_prepare, sent
from pbft_replica_views import certificate, changed, expired, new_view, timers, view_change, waiting

from potchain.blocks import null_request, proposal_digest
from potchain.codec import decode, encode
from potchain.consensus.interface import (
    BuildProposal,
    Certified,
    Effects,
    Executed,
    FetchMessages,
    FetchProposal,
    ProposalChecked,
    Send,
    TimerFired,
)
from potchain.primitives import Digest
from potchain_pbft.view_messages import NEW_VIEW, VIEW_CHANGE, NewView, ViewChange, body_digest

FIRST = make_proposal(EPOCH, 1)
SECOND = make_proposal(EPOCH, 2)
NULL = null_request(GENESIS_HASH, 0, 1)


# --- section 4.4, leaving a view ------------------------------------------------------------------------------------


def test_the_timer_runs_while_a_request_waits_and_stops_when_none_does() -> None:
    """A backup starts a timer when it receives a request and the timer is not running. It stops the timer when it is no
    longer waiting to execute the request. Section 4.4."""
    backup = Replica(1)
    assert timers(backup.pre_prepare(FIRST)) == {"agreement": TIMEOUT_NS}
    backup.step(ProposalChecked(FIRST, 0, None))
    for sender in (0, 2, 3):
        effects = backup.vote(sender, "commit", FIRST)
    assert len(effects.decide) == 1
    assert expired(backup) == Effects(), "a lazy timer: it finds nothing to wait for"


def test_the_timer_is_started_again_while_other_requests_wait() -> None:
    """... but restarts it if at that point it is waiting to execute some other request. Section 4.4."""
    backup = Replica(1)
    backup.accept(FIRST)
    backup.accept(SECOND)
    backup.now_ns = TIMEOUT_NS - 1
    for sender in (0, 2, 3):
        backup.vote(sender, "commit", FIRST)
    backup.now_ns = TIMEOUT_NS
    assert timers(backup.step(TimerFired("agreement"))) == {"agreement": TIMEOUT_NS - 1}


def test_a_backup_whose_timer_expires_multicasts_a_view_change() -> None:
    """If the timer of backup i expires in view v, it starts a view change to v + 1 and multicasts
    <VIEW-CHANGE, v + 1, n, C, P, i>. Section 4.4."""
    backup = waiting(1)
    (send,) = expired(backup).send
    assert (send.kind, send.view, send.sequence, send.to) == (VIEW_CHANGE, 1, 0, None)
    assert decode(ViewChange, send.body) == ViewChange(0, b"", ())
    assert send.digest == body_digest(send.body)


def test_it_stops_accepting_messages_of_the_view() -> None:
    """It stops accepting messages other than checkpoint, view-change and new-view messages. Section 4.4.

    Deviation: commits are counted on, for what a quorum commits is decided in any mode.
    """
    backup = changed(1)
    assert "not 1 to 3" in discarded(backup.vote(2, "prepare", FIRST))
    assert "not 1 to 3" in discarded(backup.pre_prepare(SECOND))
    for sender in (0, 2, 3):
        effects = backup.vote(sender, "commit", FIRST)
    assert (len(effects.decide), effects.send) == (1, ())


def test_it_proves_its_stable_checkpoint_and_what_it_has_prepared_above() -> None:
    """n is its last stable checkpoint, C proves it, P holds a set for each request that prepared at i with a sequence
    number above n. Section 4.4."""
    backup = Replica(1)
    for sequence in range(1, 7):
        proposal = make_proposal(EPOCH, sequence)
        backup.echo(backup.accept(proposal))
        for sender in (2, 3) if sequence != 5 else ():
            backup.echo(backup.vote(sender, "prepare", proposal))
    for height in range(1, 5):
        backup.step(Executed(height, Digest(bytes(32)), None))
    proof = block_certificate(4, 0, 1, 2)
    backup.step(Certified(4, proof))
    (send,) = expired(backup).send
    body = decode(ViewChange, send.body)
    assert (body.stable, body.certificate) == (4, encode(proof))
    assert [entry.sequence for entry in body.prepared] == [6]


def test_a_request_that_was_executed_is_in_p_too() -> None:
    """P has a set for each request that prepared, executed or not: another replica may lack it. Section 4.4."""
    backup = waiting(1)
    for sender in (2, 3):
        backup.echo(backup.vote(sender, "prepare", FIRST))
    for sender in (0, 2, 3):
        backup.vote(sender, "commit", FIRST)
    backup.step(Executed(1, Digest(bytes(32)), None))
    backup.accept(SECOND)
    (send,) = expired(backup).send
    assert [entry.digest for entry in decode(ViewChange, send.body).prepared] == [digest_of(FIRST)]


def test_each_set_holds_a_pre_prepare_and_2f_prepares() -> None:
    """Each set P_m holds a valid pre-prepare, without the client message, and 2f matching valid prepares signed by
    different backups. Section 4.4."""
    backup = waiting(1)
    for sender in (2, 3):
        backup.echo(backup.vote(sender, "prepare", FIRST))
    (send,) = expired(backup).send
    (entry,) = decode(ViewChange, send.body).prepared
    assert len(entry.prepares) == 2
    assert message_fault(EPOCH, sign(1, VIEW_CHANGE, 1, 0, send.digest, send.body)) is None


def test_a_later_view_change_carries_the_certificate_of_the_highest_view() -> None:
    """The pre-prepare and prepares have the same view number; of several the highest view counts. Section 4.4."""
    backup = changed(2)
    changes = [view_change(sender, 1, certificate(FIRST)) for sender in (0, 1, 3)]
    for message in (*changes, new_view(1, *changes), pre_prepare(FIRST, 1, 1)):
        backup.echo(backup.receive(message))
    backup.echo(backup.step(ProposalChecked(FIRST, 1, None)))
    for sender in (0, 3):
        backup.echo(backup.vote(sender, "prepare", FIRST, 1))
    (send,) = expired(backup).send
    assert [(entry.view, entry.sequence) for entry in decode(ViewChange, send.body).prepared] == [(1, 1)]


# --- section 4.4, the new view --------------------------------------------------------------------------------------


def test_the_new_primary_multicasts_the_new_view_with_a_quorum_of_view_changes() -> None:
    """When the primary of view v + 1 receives 2f valid view changes from other replicas, it multicasts
    <NEW-VIEW, v + 1, V, O>; V has those and its own. Section 4.4.

    Deviation: V names the view changes by sender and digest, and O is computed by everyone.
    """
    primary = changed(1)
    assert sent(primary.receive(view_change(2, 1))) == []
    (send,) = primary.receive(view_change(3, 1)).send
    assert (send.kind, send.view) == (NEW_VIEW, 1)
    assert len(decode(NewView, send.body).view_changes) == 3
    assert primary.engine.status().mode == "view change", "own messages count once they are durable"
    assert primary.receive(view_change(0, 1)) == Effects(), "and one new view is enough"


def test_view_changes_of_other_views_do_not_add_up() -> None:
    """V holds view changes for view v + 1. Section 4.4."""
    primary = changed(1)
    primary.receive(view_change(2, 2))
    assert NEW_VIEW not in sent(primary.receive(view_change(3, 1)))


def test_the_new_primary_proposes_the_digest_of_the_highest_view_and_null_requests_in_gaps() -> None:
    """min-s is the latest stable checkpoint in V, max-s the highest sequence number in a prepare message in V. For each
    in between it makes a pre-prepare: with the digest in the pre-prepare of the highest view in V, or else of the null
    request. Section 4.4."""
    primary = changed(1)
    newer = make_proposal(EPOCH, 2, view=0, salt=4)
    older = certificate(SECOND)
    primary.receive(view_change(2, 1, older))
    (announced,) = primary.receive(view_change(3, 1)).send
    first, *rest = primary.echo(Effects(send=(announced,)))[1:]
    assert [(send.kind, send.sequence, send.digest) for send in first.send] == [
        ("pre-prepare", 1, proposal_digest(NULL.header))
    ]
    (ask,) = [ask for ask in first.ask if isinstance(ask, FetchProposal)]
    assert (ask.sequence, ask.digest) == (2, digest_of(SECOND))
    assert ask.sources == (EPOCH.primary(0), *(each.sender for each in older.prepares)), "these hold it"
    assert rest
    assert digest_of(newer) != digest_of(SECOND)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_highest_view_counts_whoever_says_it(order: tuple[int, int]) -> None:
    """... with the highest view number in V. Section 4.4."""
    backup = Replica(0)
    first, second = make_proposal(EPOCH, 1), make_proposal(EPOCH, 1, view=1, salt=3)
    entries = [certificate(first, 0), certificate(second, 1, backups=(0, 3))]
    changes = [
        view_change(1, 2, entries[order[0]]),
        view_change(3, 2, entries[order[1]]),
        view_change(2, 2),
    ]
    for message in (*changes, new_view(2, *changes)):
        effects = backup.receive(message)
    assert "view 2 begins" in str(effects.report)
    assert "not the digest" in discarded(backup.receive(pre_prepare(first, 2, 2)))
    assert backup.receive(pre_prepare(second, 2, 2)).ask


def test_after_the_chosen_ones_the_new_primary_goes_on_above_them() -> None:
    """It then enters view v + 1: it is able to accept messages for it, and proposes above max-s. Section 4.4."""
    primary = changed(1)
    primary.receive(view_change(2, 1, certificate(FIRST)))
    (announced,) = primary.receive(view_change(3, 1)).send
    entered = primary.echo(Effects(send=(announced,)))[1]
    assert [(send.kind, send.digest) for send in entered.send] == [("pre-prepare", digest_of(FIRST))]
    assert BuildProposal(2, 1) in entered.ask


def test_a_backup_checks_the_sum_and_then_prepares() -> None:
    """A backup accepts a new view if it is signed, its view changes are valid, and O is correct; it verifies O by a
    similar computation. Then it multicasts a prepare for each message in O. Section 4.4."""
    backup = changed(3)
    changes = [view_change(0, 1), view_change(1, 1, certificate(FIRST)), view_change(2, 1)]
    for message in changes:
        backup.receive(message)
    effects = backup.receive(new_view(1, *changes))
    assert [record.kind for record in effects.persist] == ["entered-view"]
    effects = backup.receive(pre_prepare(FIRST, 1, 1))
    assert effects.send == (Send(kind="prepare", view=1, sequence=1, digest=digest_of(FIRST)),)


def test_what_is_said_of_a_view_before_its_new_view_counts_after_it() -> None:
    """A backup in v + 1 adds the new information to its log; messages may arrive in any order. Section 4.4."""
    backup = changed(3)
    assert backup.receive(pre_prepare(FIRST, 1, 1)) == Effects()
    for sender in (0, 2):
        assert sent(backup.vote(sender, "prepare", FIRST, 1)) == []
    changes = [view_change(sender, 1, certificate(FIRST)) for sender in (0, 1, 2)]
    backup.receive(new_view(1, *changes))
    sends = [send for message in changes for send in backup.receive(message).send]
    assert [(send.kind, send.view) for send in sends] == [("prepare", 1), ("commit", 1)]


def test_view_changes_that_a_new_view_names_and_that_are_missing_are_asked_for() -> None:
    """A replica may be missing something; it can obtain the missing information from another one. Section 4.4."""
    backup = changed(3)
    changes = [view_change(0, 1), view_change(1, 1), view_change(2, 1)]
    backup.receive(changes[0])
    asks = backup.receive(new_view(1, *changes)).ask
    ask = next(ask for ask in asks if isinstance(ask, FetchMessages) and ask.kind == VIEW_CHANGE)
    assert {name.sender for name in ask.names} == {changes[1].sender, changes[2].sender}
    assert ask.source == EPOCH.primary(1)
    backup.receive(changes[2])
    assert "view 1 begins" in str(backup.receive(changes[1]).report)


def test_another_view_change_of_the_same_sender_does_not_stand_for_the_named_one() -> None:
    """The computation is over V, not over what a replica happens to hold (S and S'). Section 4.4."""
    backup = changed(3)
    changes = [view_change(0, 1), view_change(1, 1), view_change(2, 1)]
    lie = view_change(2, 1, certificate(FIRST))
    for message in (changes[0], changes[1], lie, new_view(1, *changes)):
        effects = backup.receive(message)
    assert backup.engine.status().mode == "view change"
    assert effects.ask
    effects = backup.receive(changes[2])
    assert "base 0, 0 sequences chosen" in str(effects.report)


def test_requests_are_not_executed_again() -> None:
    """Replicas redo the protocol for messages between min-s and max-s, but avoid re-executing. Section 4.4."""
    backup = waiting(2)
    for sender in (1, 3):
        backup.echo(backup.vote(sender, "prepare", FIRST))
    decided = [backup.vote(sender, "commit", FIRST).decide for sender in (0, 1)]
    assert [len(each) for each in decided] == [0, 1], "with its own"
    backup.step(Executed(1, Digest(bytes(32)), None))
    changes = [view_change(sender, 1, certificate(FIRST)) for sender in (0, 1, 3)]
    for message in (*changes, new_view(1, *changes)):
        backup.receive(message)
    everything = backup.echo(backup.receive(pre_prepare(FIRST, 1, 1)))
    for sender in (0, 3):
        everything += backup.echo(backup.vote(sender, "prepare", FIRST, 1))
    everything += [backup.vote(sender, "commit", FIRST, 1) for sender in (0, 1, 3)]
    assert [kind for effects in everything for kind in sent(effects)] == ["prepare", "commit"]
    assert all(effects.decide == () for effects in everything)


def test_no_vote_leaves_in_a_view_without_its_new_view() -> None:
    """A replica is in view v + 1 once it has accepted its new view. Section 4.4."""
    for mode in ("view 0", "view change"):
        backup = Replica(3) if mode == "view 0" else changed(3)
        fresh = make_proposal(EPOCH, 2, 1)
        assert sent(backup.receive(pre_prepare(fresh, 1, 1))) == []
        for sender in (0, 2):
            assert sent(backup.vote(sender, "prepare", fresh, 1)) == []
