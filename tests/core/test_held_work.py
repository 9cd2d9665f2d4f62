"""What waits in a proposal that came to nothing is work, too: whoever holds it tells the others."""

from __future__ import annotations

from replica_cluster import Cluster


def test_what_one_backup_alone_holds_in_a_proposal_is_executed_after_the_primary_died() -> None:
    """Found by simulated seed 7720: it left the view alone, and nobody else knew that there was anything to do."""
    cluster = Cluster(4)
    cluster.settle()
    primary = cluster.primary
    holder, *others = [index for index in range(4) if index != primary]
    cluster.passes = lambda sender, to, frame: to not in others and sender not in others
    cluster.submit(primary, cluster.transfer("alice", 0))
    cluster.advance(500)
    assert cluster.nodes[holder].replica.desk.all_pinned(0)
    cluster.crash(primary)
    cluster.heal()
    cluster.advance(15_000)
    assert [cluster.nodes[index].replica.tip.height >= 1 for index in (holder, *others)] == [True] * 3
    assert {cluster.nodes[index].replica.chain.account(cluster.transfer("alice", 1).sender)[0]
            for index in (holder, *others)} == {1}  # fmt: skip
