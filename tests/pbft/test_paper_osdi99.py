"""What the paper claims of the normal case, claim by claim: Castro and Liskov, "Practical Byzantine Fault Tolerance",
OSDI'99, sections 4.2 and 4.3. The engine is stepped by hand: an event in, effects out."""

from __future__ import annotations

import msgspec
import pytest
from pbft_cluster import Cluster
from pbft_members import FACTORY, GENESIS_HASH, digest_of, make_proposal, sign, test_key
from pbft_replica import EPOCH, TIMEOUT_NS, Replica, discarded, pre_prepare, sent, vote

from potchain.blocks import BlockCertificate, Proposal
from potchain.codec import decode, encode
from potchain.consensus.interface import (
    BuildProposal,
    Certified,
    CheckProposal,
    ConsensusMessage,
    Effects,
    Executed,
    KeepInFlight,
    Misbehaviour,
    ProposalBuilt,
    ProposalChecked,
    Send,
    SetTimer,
)
from potchain.primitives import Digest, NodeId
from potchain_pbft.messages import CommitCertificate, PreparedCertificate

FIRST = make_proposal(EPOCH, 1)
OTHER = make_proposal(EPOCH, 1, salt=1)


# --- section 4.2, pre-prepare ---------------------------------------------------------------------------------------


def test_primary_assigns_the_sequence_and_multicasts_a_pre_prepare() -> None:
    """The primary gives the request a sequence number and multicasts <<PRE-PREPARE, v, n, d>, m>. Section 4.2."""
    primary = Replica(0)
    assert primary.first.ask == (KeepInFlight(()), BuildProposal(1, 0))
    effects = primary.step(ProposalBuilt(FIRST, 0))
    assert effects.send == (Send(kind="pre-prepare", view=0, sequence=1, digest=digest_of(FIRST), body=encode(FIRST)),)
    assert [record.kind for record in effects.persist] == ["accepted"]


def test_backups_ask_for_no_proposal() -> None:
    """Only the primary of a view starts the protocol. Section 4.2."""
    assert Replica(1).first == Effects(ask=(KeepInFlight(()),))


def test_primary_buffers_when_too_much_is_in_progress() -> None:
    """The primary starts at once unless the number of messages in progress exceeds a maximum; then it waits and sends
    the waiting requests as a group later. Section 4.2."""
    primary = Replica(0)
    asks = [primary.step(ProposalBuilt(make_proposal(EPOCH, sequence), 0)).ask for sequence in (1, 2, 3)]
    assert asks == [(BuildProposal(2, 0),), (BuildProposal(3, 0),), ()]
    for sender in (1, 2, 3):
        effects = primary.vote(sender, "commit", FIRST)
    assert effects.ask == (BuildProposal(4, 0),)


def test_backup_accepts_a_pre_prepare_and_prepares() -> None:
    """A backup that accepts the pre-prepare multicasts <PREPARE, v, n, d, i> and adds both to its log. Section 4.2."""
    backup = Replica(1)
    assert backup.pre_prepare(FIRST).ask == (CheckProposal(FIRST, 0, True, (NodeId(test_key(0).address),)),)
    effects = backup.step(ProposalChecked(FIRST, 0, None))
    assert effects.send == (Send(kind="prepare", view=0, sequence=1, digest=digest_of(FIRST)),)
    assert [record.kind for record in effects.persist] == ["accepted"]


def test_backup_refuses_a_second_digest_for_a_view_and_sequence() -> None:
    """It accepts provided it has not accepted a pre-prepare for view v and sequence n with a different digest. 4.2."""
    backup = Replica(1)
    backup.accept(FIRST)
    effects = backup.pre_prepare(OTHER)
    assert effects == Effects(report=effects.report)
    assert effects.report == (Misbehaviour(pre_prepare(FIRST), pre_prepare(OTHER)),)


def test_the_first_digest_has_the_slot_even_when_it_is_refused() -> None:
    """The same, while the host is still checking, and after it has refused. Section 4.2."""
    backup = Replica(1)
    backup.pre_prepare(FIRST)
    assert not backup.pre_prepare(OTHER).ask
    backup.step(ProposalChecked(FIRST, 0, "malformed"))
    assert not backup.pre_prepare(make_proposal(EPOCH, 1, salt=2)).ask


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (pre_prepare(FIRST, sender=2), "not the primary"),
        (pre_prepare(FIRST, view=9), "view 9"),
        (pre_prepare(make_proposal(EPOCH, 9)), "not in (0, 8]"),
        (msgspec.structs.replace(pre_prepare(FIRST), epoch=1), "epoch 1"),
        (msgspec.structs.replace(pre_prepare(FIRST), body=encode(OTHER)), "digest is not the proposal's"),
        (msgspec.structs.replace(pre_prepare(FIRST), body=b"\x90"), "Proposal"),
        (msgspec.structs.replace(pre_prepare(FIRST), body=encode(FIRST) + b"\x00"), "Proposal"),
        (msgspec.structs.replace(pre_prepare(FIRST), sequence=2), "sequence 1"),
        (pre_prepare(make_proposal(EPOCH, 1, view=1)), "proposer is node1"),
        (pre_prepare(make_proposal(EPOCH, 1, count=1_100)), "at most"),
        (
            sign(0, "pre-prepare", 0, 1, digest_of(FIRST), encode(Proposal(FIRST.header, OTHER.transaction_ids))),
            "root",
        ),
    ],
)
def test_backup_refuses_a_pre_prepare_that_does_not_fit(message: ConsensusMessage, reason: str) -> None:
    """Signatures and digest are right, it is in view v, n is between the water marks. Section 4.2."""
    assert reason in discarded(Replica(3).receive(message))


def test_a_pre_prepare_of_a_view_that_has_not_begun_is_kept_once_and_not_voted_for() -> None:
    """Pre-prepares of v + 1 count once its new view is accepted; nothing is voted for before. Section 4.4."""
    backup = Replica(3)
    early = pre_prepare(make_proposal(EPOCH, 1, view=1), sender=1, view=1)
    assert backup.receive(early) == Effects()
    assert "has not begun" in discarded(backup.receive(early))
    second = pre_prepare(make_proposal(EPOCH, 1, view=1, salt=1), sender=1, view=1)
    assert backup.receive(second).report == (Misbehaviour(early, second),)


def test_proposals_of_another_network_or_nobody_are_refused() -> None:
    """The digest binds the request to this service: another network's or a null request is none. Sections 4.2, 4.4."""
    elsewhere = msgspec.structs.replace(FIRST, header=msgspec.structs.replace(FIRST.header, genesis_hash=bytes(32)))
    assert "another network" in discarded(Replica(1).receive(pre_prepare(elsewhere)))
    later = msgspec.structs.replace(FIRST, header=msgspec.structs.replace(FIRST.header, epoch=1))
    assert "epoch 1" in discarded(Replica(1).receive(pre_prepare(later)))
    nobody = msgspec.structs.replace(FIRST, header=msgspec.structs.replace(FIRST.header, proposer=b""))
    assert "proposer" in discarded(Replica(1).receive(pre_prepare(nobody)))


# --- section 4.2, prepare -------------------------------------------------------------------------------------------


def test_prepared_needs_the_pre_prepare_and_2f_prepares_of_different_backups() -> None:
    """prepared(m, v, n, i): the pre-prepare and 2f matching prepares from different backups are in the log. 4.2."""
    backup = Replica(1)
    backup.accept(FIRST)
    assert backup.vote(1, "prepare", FIRST) == Effects()
    assert discarded(backup.vote(1, "prepare", FIRST)) == "duplicate"
    assert backup.vote(2, "prepare", OTHER) == Effects()
    effects = backup.vote(3, "prepare", FIRST)
    assert effects.send == (Send(kind="commit", view=0, sequence=1, digest=digest_of(FIRST)),)


def test_the_primary_is_not_counted_among_the_prepares() -> None:
    """2f prepares come from different backups. Section 4.2."""
    backup = Replica(1)
    backup.accept(FIRST)
    assert "primary" in discarded(backup.vote(0, "prepare", FIRST))


def test_own_votes_count_only_once_durable() -> None:
    """A message is in the log when it is in the log: what was only sent is not counted. Section 4.2, host rule (b)."""
    backup = Replica(1)
    assert sent(backup.accept(FIRST)) == ["prepare"]
    assert sent(backup.vote(2, "prepare", FIRST)) == []
    assert sent(backup.vote(1, "prepare", FIRST)) == ["commit"]


def test_prepares_are_accepted_before_the_pre_prepare() -> None:
    """Replicas accept prepares given signature, view and water marks; the pre-prepare may come later. Section 4.2."""
    backup = Replica(1)
    assert backup.vote(2, "prepare", FIRST) == Effects()
    # Votes of a weak quorum: somebody correct has accepted it, so from now on it must be decided in time.
    assert backup.vote(3, "prepare", FIRST) == Effects(timers=(SetTimer("agreement", TIMEOUT_NS),))
    effects = backup.accept(FIRST)
    assert sent(effects) == ["prepare", "commit"]
    assert [record.kind for record in effects.persist] == ["accepted", "prepared"]


def test_the_prepared_certificate_is_what_the_votes_say() -> None:
    """A prepared certificate is the pre-prepare and 2f matching prepares. Sections 4.2 and 4.4."""
    backup = Replica(1)
    backup.accept(FIRST)
    for sender in (3, 2):
        effects = backup.vote(sender, "prepare", FIRST)
    (record,) = effects.persist
    certificate = decode(PreparedCertificate, record.data)
    assert (certificate.view, certificate.sequence, certificate.digest) == (0, 1, digest_of(FIRST))
    assert certificate.pre_prepare == pre_prepare(FIRST).signature
    expected = sorted((test_key(sender).address, vote(sender, "prepare", FIRST).signature) for sender in (2, 3))
    assert [(entry.sender, entry.signature) for entry in certificate.prepares] == expected


def test_prepares_of_different_views_do_not_add_up() -> None:
    """The prepares match the pre-prepare in view, sequence and digest. Section 4.2."""
    backup = Replica(1)
    backup.accept(FIRST)
    assert "primary" in discarded(backup.vote(2, "prepare", FIRST, view=2))
    assert backup.vote(2, "prepare", FIRST, view=1) == Effects()
    # Two members vote above view 0, so one correct one does: its new view exists, and is asked for.
    assert backup.vote(3, "prepare", FIRST, view=2) == Effects(timers=(SetTimer("ask-view", 1_000_000_000),))
    assert backup.vote(1, "prepare", FIRST) == Effects()


# --- section 4.2, commit --------------------------------------------------------------------------------------------


def test_committed_local_needs_a_quorum_of_commits() -> None:
    """committed-local: 2f + 1 commits, possibly with its own, from different replicas that match. Section 4.2."""
    backup = Replica(1)
    backup.accept(FIRST)
    for sender in (1, 2):
        backup.vote(sender, "prepare", FIRST)
    assert not backup.vote(0, "commit", FIRST).decide
    assert not backup.vote(2, "commit", OTHER).decide
    assert not backup.vote(0, "commit", FIRST).decide
    assert not backup.vote(1, "commit", FIRST).decide
    (decision,) = backup.vote(3, "commit", FIRST).decide
    assert (decision.sequence, decision.digest, decision.proposal) == (1, digest_of(FIRST), FIRST)
    FACTORY.verify(decision.certificate, GENESIS_HASH, EPOCH, 1, decision.digest)
    assert len(decode(CommitCertificate, decision.certificate.data).signatures) == 3


def test_a_sequence_is_decided_once() -> None:
    """Later commits change nothing. Section 4.2."""
    backup = Replica(1)
    backup.accept(FIRST)
    decided = [len(backup.vote(sender, "commit", FIRST).decide) for sender in (0, 1, 2, 3)]
    assert decided == [0, 0, 1, 0]


def test_commits_are_accepted_before_anything_else() -> None:
    """Replicas accept commits given signature, view and water marks. Section 4.2."""
    backup = Replica(1)
    for sender in (3, 2, 0):
        effects = backup.vote(sender, "commit", FIRST)
    assert not effects.decide
    backup.pre_prepare(FIRST)
    assert len(backup.step(ProposalChecked(FIRST, 0, None)).decide) == 1


def test_commits_of_different_views_make_no_quorum() -> None:
    """The commits of a certificate match in view. Section 4.2."""
    backup = Replica(1)
    backup.accept(FIRST)
    for sender, view in ((0, 0), (2, 1), (3, 1)):
        assert not backup.vote(sender, "commit", FIRST, view).decide
    assert len(backup.vote(0, "commit", FIRST, 1).decide) == 1


def test_replicas_may_commit_out_of_order() -> None:
    """Requests may commit out of order, since the logs keep the messages until execution. Section 4.2."""
    backup = Replica(1)
    second = make_proposal(EPOCH, 2)
    decided = []
    for proposal in (FIRST, second):
        backup.accept(proposal)
    for proposal in (second, FIRST):
        for sender in (0, 2, 3):
            decided += [decision.sequence for decision in backup.vote(sender, "commit", proposal).decide]
    assert decided == [2, 1]


def test_non_faulty_replicas_agree_under_any_schedule() -> None:
    """If prepared(m, v, n, i) then no correct replica has prepared(m', v, n, j) for another digest. Section 4.2.

    Every way in which a primary can split two digests over three backups.
    """
    for split in range(8):
        cluster = Cluster()
        for host in cluster.hosts[1:]:
            host.start()
        for index in (1, 2, 3):
            cluster.inject(0, "pre-prepare", OTHER if split >> (index - 1) & 1 else FIRST, index)
        cluster.run()
        prepared = {
            decode(PreparedCertificate, record.data).digest
            for host in cluster.hosts
            for record in host.disk.records
            if record.kind == "prepared"
        }
        assert len(prepared) <= 1


# --- section 4.3 ----------------------------------------------------------------------------------------------------


def certified(height: int) -> Certified:
    return Certified(height, BlockCertificate(0, height, bytes(32), ()))


def executed(height: int) -> Executed:
    return Executed(height, Digest(bytes(32)), None)


def test_nothing_above_the_high_water_mark_is_proposed_or_accepted() -> None:
    """The low mark h is the last stable checkpoint, the high one h + k: n between them is accepted. Section 4.3."""
    backup = Replica(1)
    assert "sequence 9" in discarded(backup.vote(2, "prepare", make_proposal(EPOCH, 9)))
    assert backup.vote(2, "prepare", make_proposal(EPOCH, 8)) == Effects()
    primary = Replica(0)
    for sequence in range(1, 9):
        primary.step(ProposalBuilt(make_proposal(EPOCH, sequence), 0))
        for sender in (1, 2, 3):
            effects = primary.vote(sender, "commit", make_proposal(EPOCH, sequence))
    assert len(effects.decide) == 1
    assert effects.ask == ()


def test_a_checkpoint_with_a_proof_becomes_stable_and_moves_the_marks() -> None:
    """With a proof the checkpoint is stable; messages up to n are discarded, the marks move. Section 4.3."""
    backup = Replica(1)
    for sequence in (4, 5):
        backup.vote(2, "prepare", make_proposal(EPOCH, sequence))
    assert backup.step(executed(4)) == Effects()
    effects = backup.step(certified(4))
    assert effects.truncate == 4
    status = backup.engine.status()
    assert (status.low_water_mark, status.high_water_mark) == (4, 12)
    assert status.buffers["prepares"] == 1
    assert "sequence 4" in discarded(backup.vote(3, "prepare", make_proposal(EPOCH, 4)))
    assert backup.vote(3, "prepare", make_proposal(EPOCH, 12)) == Effects()


def test_the_proof_may_come_before_the_execution() -> None:
    """Deviation from 4.3: a proof ahead of own execution moves nothing until the execution is there."""
    backup = Replica(1)
    assert backup.step(certified(8)) == Effects()
    assert backup.step(executed(7)) == Effects()
    assert backup.step(executed(8)).truncate == 8


def test_checkpoints_are_made_periodically() -> None:
    """Proofs are made when the sequence is divisible by some constant. Section 4.3."""
    backup = Replica(1)
    for height in (1, 2, 3):
        assert backup.step(executed(height)) == Effects()
        assert backup.step(certified(height)) == Effects()


def test_old_checkpoints_come_late_without_harm() -> None:
    """A stable checkpoint discards all earlier ones. Section 4.3."""
    backup = Replica(1)
    backup.step(executed(8))
    assert backup.step(certified(8)).truncate == 8
    assert backup.step(certified(4)) == Effects()
