"""A validator that skipped a sequence while it caught up: it fetches the block soon and blames nobody meanwhile."""

from __future__ import annotations

import pytest
from replica_cluster import Cluster

from potchain.consensus.interface import ConsensusMessage
from potchain.primitives import NS_PER_S
from potchain.replica import wire
from potchain.replica.actions import BlocksVerified, FrameReceived

LOST = range(5, 9)
"""Sequences of which one node hears nothing: they were decided while its window had not come so far."""


def test_a_node_with_a_gap_fetches_what_it_lacks_and_accuses_no_primary() -> None:
    cluster = Cluster(4, checkpoint_interval=64, log_window=128)
    cluster.settle()
    deaf = next(index for index in range(4) if index != cluster.primary)
    replica = cluster.nodes[deaf].replica
    told_ns = cluster.now_ns + 3 * NS_PER_S // 2  # until then it does not hear how far the others are

    def passes(sender: int, to: int, frame: wire.Frame) -> bool:
        if isinstance(frame, wire.PeerProgress) and cluster.now_ns < told_ns:
            return to != deaf
        return to != deaf or not isinstance(frame, ConsensusMessage) or frame.sequence not in LOST

    cluster.passes = passes
    for nonce in range(11):  # others decide one block after another all the time
        cluster.submit(cluster.primary, cluster.transfer("alice", nonce))
        cluster.advance(125)
    assert replica.chain.has_gap
    assert replica.tip.height == LOST[0] - 1
    assert replica.pool.proposable()[0] > 0, "it holds what the others have executed"
    assert replica.neglect.work_waiting().neglected_ns is None, "and knows that this is no fault of the primary"
    for nonce in range(11, 40):
        cluster.submit(cluster.primary, cluster.transfer("alice", nonce))
        cluster.advance(125)
    cluster.assert_agreement(40)
    assert [node.replica.engine.status().view for node in cluster.nodes] == [0] * 4


@pytest.mark.parametrize("answers", [False, True])
def test_a_mute_primary_that_claims_to_be_ahead_is_left_all_the_same(answers: bool) -> None:
    """It keeps others fetching: they ask it for blocks that nobody has, and what it answers is old."""
    cluster = Cluster(4)
    cluster.settle()
    liar = cluster.nodes[cluster.primary]
    others = [node for node in cluster.nodes if node is not liar]
    for nonce in range(3):
        cluster.submit(cluster.primary, cluster.transfer("alice", nonce))
        cluster.advance(200)
    cluster.passes = lambda sender, to, frame: cluster.nodes[sender] is not liar
    cluster.submit(cluster.index[others[0].me], cluster.transfer("alice", 3))
    for _ in range(10):
        for node in others:
            node.inbox.append(FrameReceived(liar.me, wire.PeerProgress(10**9, 0, 0)))
            asked = node.replica.catch_up.request
            if answers and asked is not None and asked[0] == liar.me:
                node.inbox.append(BlocksVerified(liar.me, (liar.disk.sync_block(1),), ((),)))
        cluster.advance(1_000)
    assert [node.replica.engine.status().view for node in others] == [1] * 3
    assert [node.replica.tip.height for node in others] == [4] * 3
