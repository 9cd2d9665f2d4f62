"""What a validator does after a start before it signs: asks, learns if it must, and goes on. Whole replicas."""

from __future__ import annotations

import pytest
from replica_cluster import Cluster, Disk, Node, frames_of

from potchain.blocks import BLOCK_VOTE
from potchain.consensus.interface import ConsensusMessage
from potchain.replica import wire
from potchain.replica.rejoin import Standing

BACKUP = 2
WINDOW = 8


def small(nodes: int = 4) -> Cluster:
    cluster = Cluster(nodes=nodes, checkpoint_interval=4, log_window=WINDOW)
    cluster.settle()
    return cluster


def pay(cluster: Cluster, nonces: range, at: int = 0) -> None:
    """One block for each nonce."""
    for nonce in nonces:
        cluster.submit(at, cluster.transfer("alice", nonce))
        cluster.settle()


def standing(node: Node) -> Standing:
    return node.replica.returning.standing


def signed_by(cluster: Cluster, index: int, since: int = 0) -> list[ConsensusMessage]:
    """New messages of a node, not re-sent ones, among the frames sent since a moment."""
    me = cluster.nodes[index].me
    earlier = {frame for _, _, frame in cluster.sent[:since] if isinstance(frame, ConsensusMessage)}
    found = [frame for _, _, frame in cluster.sent[since:] if isinstance(frame, ConsensusMessage)]
    return [frame for frame in found if frame.sender == me and frame not in earlier]


def restart(cluster: Cluster, index: int, disk: Disk | None = None) -> None:
    cluster.crash(index)
    cluster.settle()
    if disk is not None:
        cluster.nodes[index].disk = disk
    cluster.start(index)


# --- going on -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nodes", [1, 2, 3, 4, 7])
def test_a_fresh_network_votes_after_one_exchange(nodes: int) -> None:
    cluster = Cluster(nodes=nodes)
    before_ns = cluster.now_ns
    cluster.settle()
    assert {standing(node) for node in cluster.nodes} == {Standing.VOTING}
    assert cluster.now_ns == before_ns
    pay(cluster, range(1))
    cluster.assert_agreement(1)


def test_a_node_alone_starts_alone_and_asks_nobody() -> None:
    cluster = small(1)
    pay(cluster, range(3))
    restart(cluster, 0)
    cluster.settle()
    pay(cluster, range(3, 5))
    cluster.assert_agreement(5)
    assert not cluster.sent


def test_an_intact_node_that_restarts_under_load_votes_again_at_once() -> None:
    cluster = small()
    pay(cluster, range(6))
    restart(cluster, BACKUP)
    cluster.submit(0, cluster.transfer("alice", 6))
    cluster.settle()
    assert standing(cluster.nodes[BACKUP]) is Standing.VOTING
    cluster.crash(3)  # a quorum needs it from here on
    cluster.advance(1_500)
    pay(cluster, range(7, 20))
    cluster.advance(3_000)
    cluster.assert_agreement(20)


def test_all_four_restart_together_and_answer_each_other_before_they_vote() -> None:
    cluster = small()
    pay(cluster, range(6))
    for index in range(4):
        cluster.crash(index)
    for index in range(4):
        cluster.start(index)
    cluster.settle()
    assert {standing(node) for node in cluster.nodes} == {Standing.VOTING}
    pay(cluster, range(6, 10))
    cluster.assert_agreement(10)


def test_without_a_quorum_of_answers_a_node_waits_and_keeps_asking_and_then_goes_on() -> None:
    cluster = small()
    pay(cluster, range(3))
    for index in (0, 1, BACKUP):
        cluster.crash(index)
    cluster.start(BACKUP)
    mark = len(cluster.sent)
    cluster.passes = lambda sender, to, frame: not isinstance(frame, wire.Gossip)  # nobody but the asker has work
    cluster.submit(BACKUP, cluster.transfer("alice", 3))
    cluster.advance(20_000)
    cluster.heal()
    node = cluster.nodes[BACKUP]
    assert standing(node) is Standing.ASKING
    assert node.replica.standing == "asking: answers from v3; waiting for 1 more"
    assert not signed_by(cluster, BACKUP, mark)
    asked = frames_of(cluster, [wire.AskSigned], BACKUP)
    assert len(asked) >= 20
    cluster.start(0)
    cluster.advance(3_000)
    assert standing(node) is Standing.VOTING
    cluster.advance(20_000)
    cluster.assert_agreement(4)


def test_a_block_executed_while_asking_is_voted_for_afterwards() -> None:
    cluster = small()
    pay(cluster, range(2))
    cluster.crash(BACKUP)
    cluster.passes = lambda sender, to, frame: not isinstance(frame, wire.SignedAnswer)
    cluster.start(BACKUP)
    cluster.advance(3_000)
    pay(cluster, range(2, 4))
    cluster.advance(3_000)
    node = cluster.nodes[BACKUP]
    assert (node.replica.applied, standing(node)) == (4, Standing.ASKING)
    cluster.heal()
    cluster.advance(3_000)
    assert standing(node) is Standing.VOTING
    cluster.crash(3)
    pay(cluster, range(4, 8))
    cluster.advance(6_000)
    cluster.assert_agreement(8)


# --- learning -------------------------------------------------------------------------------------------------------


def test_a_node_that_lost_its_vote_log_learns_until_the_window_has_passed() -> None:
    cluster = small()
    pay(cluster, range(6))
    cluster.nodes[BACKUP].disk.lose_votes()
    mark = len(cluster.sent)
    restart(cluster, BACKUP)
    cluster.settle()
    node = cluster.nodes[BACKUP]
    assert standing(node) is Standing.LEARNER
    assert node.replica.standing == f"learner until a stable checkpoint at height {6 + WINDOW}"
    pay(cluster, range(6, 13))
    cluster.advance(2_000)
    assert standing(node) is Standing.LEARNER
    # What it signs meanwhile are votes for blocks above all that it can have forgotten.
    own = signed_by(cluster, BACKUP, mark)
    assert {message.kind for message in own} == {BLOCK_VOTE}
    assert min(message.sequence for message in own) == 7
    pay(cluster, range(13, 17))
    cluster.advance(2_000)
    assert standing(node) is Standing.VOTING
    cluster.crash(3)
    pay(cluster, range(17, 20))
    cluster.advance(5_000)
    cluster.assert_agreement(20)


def test_a_learner_that_restarts_is_still_a_learner_with_the_same_target() -> None:
    cluster = small()
    pay(cluster, range(6))
    cluster.nodes[BACKUP].disk.lose_votes()
    restart(cluster, BACKUP)
    cluster.settle()
    said = cluster.nodes[BACKUP].replica.standing
    pay(cluster, range(6, 10))
    for _ in range(3):
        restart(cluster, BACKUP)
        cluster.advance(1_500)
        assert cluster.nodes[BACKUP].replica.standing == said
    pay(cluster, range(10, 17))
    cluster.advance(2_000)
    assert standing(cluster.nodes[BACKUP]) is Standing.VOTING
    restart(cluster, BACKUP)  # and it does not become a learner again
    cluster.settle()
    assert standing(cluster.nodes[BACKUP]) is Standing.VOTING
    cluster.assert_agreement(17)


def test_an_old_copy_of_a_node_learns_because_its_peers_hold_what_it_signed_since() -> None:
    cluster = small()
    pay(cluster, range(3))
    old = cluster.nodes[BACKUP].disk.copy()
    pay(cluster, range(3, 5))
    restart(cluster, BACKUP, old)
    cluster.settle()
    node = cluster.nodes[BACKUP]
    assert standing(node) is Standing.LEARNER
    assert "14" not in node.replica.standing
    pay(cluster, range(5, 18))
    cluster.advance(3_000)
    assert standing(node) is Standing.VOTING
    cluster.assert_agreement(18)


def test_an_old_copy_is_found_out_by_certificates_when_all_memories_are_gone() -> None:
    cluster = small()
    pay(cluster, range(3))
    old = cluster.nodes[0].disk.copy()
    pay(cluster, range(3, 5))
    for index in range(4):
        cluster.crash(index)
    cluster.nodes[0].disk = old
    for index in range(4):
        cluster.start(index)
    cluster.settle()
    assert standing(cluster.nodes[0]) is Standing.LEARNER
    assert [standing(node) for node in cluster.nodes[1:]] == [Standing.VOTING] * 3


def test_a_vote_in_flight_that_an_old_copy_forgot_is_not_contradicted() -> None:
    """The primary proposed and its copy does not know it: it must not propose anything else for that sequence."""
    cluster = small()
    pay(cluster, range(2))
    primary = cluster.primary
    old = cluster.nodes[primary].disk.copy()
    cluster.passes = lambda sender, to, frame: not (isinstance(frame, ConsensusMessage) and frame.kind == "prepare")
    cluster.submit(primary, cluster.transfer("alice", 2))
    cluster.settle()
    restart(cluster, primary, old)
    cluster.heal()
    cluster.settle()
    cluster.submit(primary, cluster.transfer("bob", 0))
    cluster.advance(10_000)
    assert standing(cluster.nodes[primary]) is Standing.LEARNER
    cluster.assert_agreement(4)


def test_more_learners_than_the_network_can_spare_stop_the_chain_by_design() -> None:
    cluster = small()
    pay(cluster, range(5))
    for index in (BACKUP, 3):
        cluster.nodes[index].disk.lose_votes()
        restart(cluster, index)
    cluster.settle()
    cluster.submit(0, cluster.transfer("alice", 5))
    cluster.advance(30_000)
    assert [standing(cluster.nodes[index]) for index in (BACKUP, 3)] == [Standing.LEARNER] * 2
    assert {node.replica.applied for node in cluster.nodes} == {5}


def test_a_learner_waits_for_a_view_above_the_one_that_it_announced_and_forgot() -> None:
    cluster = small()
    pay(cluster, range(2))
    cluster.crash(cluster.primary)
    cluster.submit(1, cluster.transfer("alice", 2))
    cluster.advance(6_000)
    assert cluster.nodes[BACKUP].replica.engine.status().view == 1
    cluster.start(cluster.primary)
    cluster.advance(3_000)
    cluster.nodes[BACKUP].disk.lose_votes()
    restart(cluster, BACKUP)
    pay(cluster, range(3, 14), at=1)
    cluster.advance(3_000)
    node = cluster.nodes[BACKUP]
    assert node.replica.standing == "learner until view 2 of epoch 0"
    # The primary of view 1 does not propose any more, that of view 2 is the learner itself, that of view 3 works.
    cluster.passes = lambda sender, to, frame: not (
        sender == 1 and isinstance(frame, ConsensusMessage) and frame.kind == "pre-prepare"
    )
    cluster.submit(0, cluster.transfer("alice", 14))
    cluster.advance(30_000)
    assert node.replica.engine.status().view == 3
    assert standing(node) is Standing.VOTING
    cluster.heal()
    cluster.crash(0)
    pay(cluster, range(15, 17), at=1)
    cluster.advance(10_000)
    cluster.assert_agreement(17)
