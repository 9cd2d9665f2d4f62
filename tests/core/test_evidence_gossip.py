"""Evidence on the way through whole replicas: one node sees it, all keep it, and a lie is the liar's fault."""

from __future__ import annotations

import msgspec
import pytest
from core_network import key
from double_votes import double_vote, vote
from replica_cluster import Cluster

from potchain.blocks import block_hash, vote_bytes
from potchain.consensus.interface import ConsensusMessage
from potchain.evidence import Evidence
from potchain.replica import wire
from potchain.replica.actions import Blame, FrameReceived, StoreEvidence

LIAR = 3


def stored(cluster: Cluster, index: int) -> list[Evidence]:
    return [action.evidence for action in cluster.nodes[index].others if isinstance(action, StoreEvidence)]


def bring(cluster: Cluster, to: int, frame: wire.Frame) -> None:
    cluster.nodes[to].inbox.append(FrameReceived(cluster.epoch.ids[LIAR], frame))
    cluster.settle()


@pytest.mark.parametrize("kind", ["prepare", "commit", "block-vote"])
def test_two_votes_that_one_node_sees_are_kept_by_all_and_told_once(kind: str) -> None:
    cluster = Cluster()
    cluster.settle()
    for salt in ("a", "b"):
        bring(cluster, 1, vote(cluster.genesis, LIAR, 1, salt, kind=kind))
    piece = double_vote(cluster.genesis, LIAR, 1, kind=kind)
    assert [stored(cluster, index) for index in range(4)] == [[piece]] * 4
    told = [(sender, to) for sender, to, frame in cluster.sent if isinstance(frame, wire.EvidenceFound)]
    assert len(told) == len(set(told)) == 12
    bring(cluster, 1, vote(cluster.genesis, LIAR, 1, "b", kind=kind))
    bring(cluster, 2, wire.EvidenceFound(piece))
    assert len([frame for _, _, frame in cluster.sent if isinstance(frame, wire.EvidenceFound)]) == 12


def test_a_second_block_vote_is_seen_even_after_the_first_has_been_counted() -> None:
    cluster = Cluster()
    cluster.settle()
    cluster.passes = lambda sender, to, frame: not isinstance(frame, ConsensusMessage) or frame.kind != "block-vote"
    cluster.submit(0, cluster.transfer("alice", 0))
    cluster.advance(50)
    member = cluster.epoch.members[LIAR]
    right = block_hash(cluster.nodes[1].replica.tip)
    signed = vote_bytes(cluster.genesis.hash, 0, "block-vote", 0, 1, right, member.node_id)
    signature = key("consensus " + member.name).sign_vote(signed)
    bring(cluster, 1, ConsensusMessage(0, "block-vote", 0, 1, right, member.node_id, b"", signature))
    bring(cluster, 1, vote(cluster.genesis, LIAR, 1, "other"))
    assert [len(stored(cluster, index)) for index in range(4)] == [1, 1, 1, 1]
    cluster.heal()
    cluster.advance(3_000)
    cluster.assert_agreement(1)


def test_false_evidence_is_blamed_on_who_brings_it_and_goes_no_further() -> None:
    cluster = Cluster()
    cluster.settle()
    honest = cluster.epoch.ids[2]
    forged = msgspec.structs.replace(double_vote(cluster.genesis, LIAR, 1), accused=honest)
    bring(cluster, 1, wire.EvidenceFound(forged))
    blames = [action for action in cluster.nodes[1].others if isinstance(action, Blame)]
    assert [blame.peer for blame in blames] == [cluster.epoch.ids[LIAR]]
    assert all(not stored(cluster, index) for index in range(4))
    assert not [frame for _, _, frame in cluster.sent if isinstance(frame, wire.EvidenceFound)]


def test_a_flood_of_double_votes_fills_nothing() -> None:
    cluster = Cluster()
    cluster.settle()
    for sequence in range(1, 101):
        bring(cluster, 1, wire.EvidenceFound(double_vote(cluster.genesis, LIAR, sequence, kind="prepare")))
    assert [len(stored(cluster, index)) for index in range(4)] == [16] * 4
    assert cluster.nodes[2].replica.sizes()["evidence"] == 16
