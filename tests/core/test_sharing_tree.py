"""Replicas that pass their clients' transactions on along a tree of relays."""

import pytest
from replica_cluster import frames_of
from sharing_cluster import SharingCluster

from potchain.dissemination import DisseminationOptions
from potchain.replica import wire

FANOUT = 3


def tree_cluster(nodes: int) -> SharingCluster:
    return SharingCluster(nodes=nodes, dissemination=DisseminationOptions(spread="tree", tree_fanout=FANOUT))


@pytest.mark.parametrize("at", [0, 4, 9])
def test_every_node_gets_every_body_once_and_nobody_sends_more_than_its_fan_out(at: int) -> None:
    cluster = tree_cluster(10)
    cluster.settle()
    cluster.submit(at, *(cluster.transfer("alice", nonce) for nonce in range(6)))
    cluster.settle()
    cluster.assert_agreement(cluster.nodes[0].replica.tip.height)
    relays = [(sender, to) for sender, to, frame in cluster.sent if isinstance(frame, wire.Relay)]
    assert sorted(to for _, to in relays) == sorted(set(range(10)) - {at})
    assert max(sum(sender == each for sender, _ in relays) for each in range(10)) == FANOUT
    assert not frames_of(cluster, [wire.Gossip, wire.FetchBodies])


def test_a_large_submission_goes_in_pieces() -> None:
    cluster = tree_cluster(4)
    cluster.settle()
    cluster.submit(0, *(cluster.transfer("alice", nonce) for nonce in range(200)))
    cluster.settle()
    counts = [
        len(frame.transactions)
        for sender, to, frame in cluster.sent
        if isinstance(frame, wire.Relay) and sender == 0 and to == 1
    ]
    assert len(counts) > 1
    assert sum(counts) == 200


def test_below_a_relay_that_is_down_bodies_are_fetched() -> None:
    cluster = tree_cluster(10)
    cluster.settle()
    root = cluster.primary
    place = cluster.place(root)
    relay = cluster.index[cluster.epoch.ids[(place + 1) % 10]]
    cluster.crash(relay)
    cluster.settle()
    cluster.submit(root, cluster.transfer("alice", 0))
    cluster.settle()
    cluster.advance(3_000)
    cluster.assert_agreement(1)
    below = {cluster.index[cluster.epoch.ids[(place + each) % 10]] for each in (4, 5, 6)}
    assert {sender for sender, _, frame in cluster.sent if isinstance(frame, wire.FetchBodies)} == below


def test_a_transaction_is_passed_on_once_whoever_sends_it_how_often_and_under_whatever_root() -> None:
    cluster = tree_cluster(10)
    cluster.settle()
    raw = cluster.transfer("alice", 0).raw
    for root in (*range(10), 10, 2**63):
        for to in range(10):
            for sender in range(10):
                if sender != to:
                    cluster.wire.append((sender, to, wire.encode_frame(wire.Relay(root, (raw,)))))
    cluster.settle()
    cluster.assert_agreement(1)
    relays = [sender for sender, _, frame in cluster.sent if isinstance(frame, wire.Relay)]
    assert max(map(relays.count, range(10))) <= FANOUT


def test_nodes_need_not_agree_on_the_way() -> None:
    cluster = tree_cluster(4)
    plain = SharingCluster(nodes=4)
    cluster.nodes[2].replica = plain.nodes[2].replica
    cluster.settle()
    cluster.submit(2, cluster.transfer("alice", 0))
    cluster.submit(1, cluster.transfer("carol", 0))
    cluster.settle()
    assert len(frames_of(cluster, [wire.Gossip], 2)) == 3
    assert frames_of(cluster, [wire.Relay], 1)
    cluster.advance(1_000)
    cluster.assert_agreement(cluster.nodes[0].replica.tip.height)
