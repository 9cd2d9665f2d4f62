"""A validator that misses a sequence while later ones are decided: it fetches the block and blames nobody."""

from __future__ import annotations

from replica_cluster import Cluster

from potchain.consensus.interface import ConsensusMessage
from potchain.primitives import NS_PER_S
from potchain.replica import wire

LOST = range(5, 9)
"""Sequences of which one node hears nothing: as if it had just come back and they were under way before."""


def test_a_node_with_a_gap_fetches_what_it_lacks_and_accuses_no_primary() -> None:
    cluster = Cluster(4, checkpoint_interval=64, log_window=128)
    cluster.settle()
    deaf = next(index for index in range(4) if index != cluster.primary)

    def passes(sender: int, to: int, frame: wire.Frame) -> bool:
        if isinstance(frame, wire.PeerProgress) and cluster.now_ns < told_ns:
            return to != deaf
        return to != deaf or not isinstance(frame, ConsensusMessage) or frame.sequence not in LOST

    cluster.passes = passes
    told_ns = cluster.now_ns + 4 * NS_PER_S  # until then it does not even hear how far the others are
    nonce = 0
    for _ in range(16):  # others decide one block after another all the time
        cluster.submit(cluster.primary, cluster.transfer("alice", nonce))
        nonce += 1
        cluster.advance(125)
    assert cluster.nodes[deaf].replica.tip.height == LOST[0] - 1
    for _ in range(40):
        cluster.submit(cluster.primary, cluster.transfer("alice", nonce))
        nonce += 1
        cluster.advance(125)
    cluster.assert_agreement(nonce)
    assert [node.replica.engine.status().view for node in cluster.nodes] == [0] * 4
    changes = [frame for _, _, frame in cluster.sent if isinstance(frame, ConsensusMessage) and "view" in frame.kind]
    assert changes == []
