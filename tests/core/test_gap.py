"""A validator that skipped a sequence while it caught up: it fetches the block soon and blames nobody meanwhile."""

from __future__ import annotations

from replica_cluster import Cluster

from potchain.consensus.interface import ConsensusMessage
from potchain.primitives import NS_PER_S
from potchain.replica import wire

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
