"""Replicas that gather shares: bodies everywhere with members silent, and nothing lasting from who sends rubbish."""

import msgspec
import pytest
from core_network import key
from replica_cluster import frames_of
from sharing_cluster import CLIENT, SharingCluster

from potchain import merkle
from potchain.consensus.quorum import Quorum
from potchain.dissemination import BundleHead, Share, bundle_digest
from potchain.primitives import NS_PER_MS, NodeId
from potchain.replica import sharing, wire
from potchain.replica.actions import Notice

STANDSTILL_MS = sharing.STANDSTILL_NS // NS_PER_MS + 1_000


def bundle_sizes(cluster: SharingCluster, index: int) -> tuple[int, int, int]:
    sizes = cluster.nodes[index].replica.sharing.sizes()
    return sizes["bundles_under_way"], sizes["bundles_bytes"], sizes["bundles_finished"]


def rubbish(cluster: SharingCluster, number: int, signer: str = "mallory", block: bytes = b"rubbish") -> Share:
    """A share with a good branch and signature, of a bundle of which nothing else exists."""
    members = len(cluster.epoch.members)
    needed = members - 2 * Quorum(members).faults_max
    blocks = [block] * members
    head = BundleHead(merkle.root(blocks), needed, members, needed * len(block), number)
    signature = key(signer).sign_digest(bundle_digest(cluster.genesis.hash, head))
    return Share(head, signature, 0, merkle.branch(blocks, 0), block)


@pytest.mark.parametrize("nodes", [1, 4, 7, 10])
def test_a_bundle_reaches_all_and_is_executed_without_any_gossip(nodes: int) -> None:
    cluster = SharingCluster(nodes=nodes)
    cluster.settle()
    transfers = [cluster.transfer("alice", nonce) for nonce in range(8)]
    for index, share in enumerate(cluster.shares(transfers)):
        cluster.bring(cluster.index[cluster.epoch.ids[index]], share)
    cluster.settle()
    cluster.assert_agreement(cluster.nodes[0].replica.tip.height)
    assert sum(map(len, cluster.block_ids(cluster.nodes[0]))) == 8
    assert not frames_of(cluster, [wire.Gossip, wire.FetchBodies])
    # Each sends its own share once to each other, and nothing else of the bundle.
    sent = [(sender, to) for sender, to, frame in cluster.sent if isinstance(frame, wire.BundleShare)]
    assert sorted(sent) == [(one, other) for one in range(nodes) for other in range(nodes) if one != other]
    assert all(bundle_sizes(cluster, index) == (0, 0, 1) for index in range(nodes))


@pytest.mark.parametrize("nodes", [4, 7, 10])
def test_bodies_come_everywhere_with_f_members_down_and_the_shares_of_f_more_lost(nodes: int) -> None:
    cluster = SharingCluster(nodes=nodes)
    faults = Quorum(nodes).faults_max
    cluster.settle()
    down = range(nodes - faults, nodes)
    for index in down:
        cluster.crash(index)
    cluster.settle()
    withheld = range(nodes - 2 * faults, nodes - faults)
    for index, share in enumerate(cluster.shares([cluster.transfer("alice", nonce) for nonce in range(5)])):
        number = cluster.index[cluster.epoch.ids[index]]
        if number not in withheld:
            cluster.bring(number, share)
    cluster.settle()
    for node in cluster.live:
        assert all(node.replica.pool.get(cluster.transfer("alice", nonce).id) is not None for nonce in range(5)) or (
            node.replica.tip.height > 0
        )
        assert bundle_sizes(cluster, cluster.index[node.me]) == (0, 0, 1)
    assert not frames_of(cluster, [wire.FetchBodies])
    # Those whose share never came made it themselves, so that it helps others.
    assert {sender for sender, _, frame in cluster.sent if isinstance(frame, wire.BundleShare)} >= set(withheld)


def test_a_node_that_got_too_few_shares_fetches_the_bodies() -> None:
    cluster = SharingCluster()
    cluster.settle()
    lonely = 2
    cluster.passes = lambda sender, to, frame: not (to == lonely and isinstance(frame, wire.BundleShare))
    for index, share in enumerate(cluster.shares([cluster.transfer("alice", 0)])):
        if cluster.index[cluster.epoch.ids[index]] != lonely:
            cluster.bring(cluster.index[cluster.epoch.ids[index]], share)
    cluster.settle()
    cluster.advance(1_000)
    cluster.assert_agreement(1)
    assert frames_of(cluster, [wire.FetchBodies], lonely)


def test_a_share_counts_as_no_body() -> None:
    cluster = SharingCluster(nodes=7)
    cluster.settle()
    transfer = cluster.transfer("alice", 0)
    first, second, *_ = cluster.shares([transfer])
    writes = [node.disk.writes for node in cluster.nodes]
    for share in (first, second):
        for index in range(7):
            cluster.bring(index, share)
    cluster.settle()
    assert all(node.replica.pool.get(transfer.id) is None for node in cluster.nodes)
    assert [node.disk.writes for node in cluster.nodes] == writes


def test_an_inconsistent_bundle_is_refused_by_all_and_remembered() -> None:
    cluster = SharingCluster()
    cluster.settle()
    good = cluster.shares([cluster.transfer("alice", 0)])
    blocks = [share.block for share in good]
    blocks[3] = bytes(len(blocks[3]))
    head = msgspec.structs.replace(good[0].head, root=merkle.root(blocks))
    signature = key("mallory").sign_digest(bundle_digest(cluster.genesis.hash, head))
    forged = [Share(head, signature, place, merkle.branch(blocks, place), block) for place, block in enumerate(blocks)]
    # Those who see the first two shares could decode something, those who see the last two something else.
    for index in range(4):
        for share in forged[:2] if index % 2 else forged[2:]:
            assert cluster.bring(index, share)
    cluster.settle()
    for index, node in enumerate(cluster.nodes):
        assert bundle_sizes(cluster, index) == (0, 0, 1)
        assert node.replica.pool.get(cluster.transfer("alice", 0).id) is None
        assert [each.text for each in node.others if isinstance(each, Notice) and "refused" in each.text]
        assert not cluster.bring(index, forged[0])
        assert not cluster.bring(index, forged[3])


def test_a_known_head_with_another_signature_is_not_passed_on() -> None:
    cluster = SharingCluster(nodes=7)
    cluster.settle()
    shares = cluster.shares([cluster.transfer("alice", 0)])
    place = cluster.place(0)
    assert cluster.bring(0, shares[(place + 1) % 7])
    own = shares[place]
    cluster.bring(0, msgspec.structs.replace(own, signature=key("mallory").sign_digest(bytes(32))))
    cluster.settle()
    forwarded = frames_of(cluster, [wire.BundleShare], 0)
    assert forwarded == [wire.BundleShare(own)] * 6


def test_shares_for_another_number_of_members_or_with_too_few_needed_are_not_looked_at() -> None:
    cluster = SharingCluster(nodes=7)
    other = SharingCluster(nodes=4)
    share = rubbish(cluster, 0)
    cluster.settle()
    assert not cluster.bring(0, other.shares([cluster.transfer("alice", 0)])[0])
    eager = msgspec.structs.replace(share, head=msgspec.structs.replace(share.head, needed=share.head.needed - 1))
    assert not cluster.bring(0, eager)
    assert cluster.bring(0, share)


# --- rubbish --------------------------------------------------------------------------------------------------------


def test_rubbish_is_gone_when_it_has_stood_still() -> None:
    cluster = SharingCluster(nodes=7)
    cluster.settle()
    for number in range(20):
        assert cluster.bring(1, rubbish(cluster, number), cluster.nodes[6].me)
    cluster.settle()
    assert bundle_sizes(cluster, 1)[0] == 20
    cluster.advance(STANDSTILL_MS)
    assert all(bundle_sizes(cluster, index) == (0, 0, 0) for index in range(7))
    cluster.submit(1, cluster.transfer("alice", 0))
    cluster.settle()
    cluster.assert_agreement(1)


def test_one_account_and_one_peer_have_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "UNDER_WAY_PER_ACCOUNT_MAX", 5)
    monkeypatch.setattr(sharing, "UNDER_WAY_PER_PEER_BYTES_MAX", 8 * sharing.COUNTED_BYTES_MIN)
    cluster = SharingCluster(nodes=7)
    cluster.settle()
    for number in range(10):
        cluster.bring(1, rubbish(cluster, number), cluster.nodes[6].me)
    cluster.settle()
    assert bundle_sizes(cluster, 1)[0] == 5
    for number in range(10):
        cluster.bring(1, rubbish(cluster, number, f"mallory {number}"), cluster.nodes[6].me)
    cluster.settle()
    assert bundle_sizes(cluster, 1)[0] == 8


def test_bytes_are_reserved_when_a_bundle_begins_and_one_peer_has_a_part_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster = SharingCluster(nodes=7)
    cluster.settle()
    block = bytes(sharing.COUNTED_BYTES_MIN)
    size = rubbish(cluster, 0, block=block).head.bundle_bytes
    monkeypatch.setattr(sharing, "UNDER_WAY_PER_PEER_BYTES_MAX", 3 * size)
    for number in range(10):
        cluster.bring(1, rubbish(cluster, number, block=block), cluster.nodes[6].me)
    cluster.settle()
    assert bundle_sizes(cluster, 1)[:2] == (3, 3 * size)


def test_who_floods_pushes_out_his_own_bundles_and_not_those_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = SharingCluster(nodes=7)
    cluster.settle()
    flooder, other = cluster.nodes[6].me, cluster.nodes[5].me
    good = cluster.shares([cluster.transfer("alice", 0)])
    monkeypatch.setattr(sharing, "UNDER_WAY_BYTES_MAX", 11 * sharing.COUNTED_BYTES_MIN)
    for number in range(9):
        cluster.bring(1, rubbish(cluster, number), flooder)
    cluster.bring(1, rubbish(cluster, 100), other)
    # Whoever is honest and late finds room at once: the flooder's oldest goes.
    cluster.bring(1, good[6], CLIENT)
    cluster.settle()
    assert bundle_sizes(cluster, 1)[0] == 11
    cluster.bring(1, rubbish(cluster, 101), other)
    cluster.settle()
    assert bundle_sizes(cluster, 1)[0] == 11
    # His next one finds no room, and pushes out nobody.
    assert cluster.bring(1, rubbish(cluster, 102), flooder)
    cluster.settle()
    assert bundle_sizes(cluster, 1)[0] == 11
    cluster.passes = lambda sender, to, frame: not isinstance(frame, wire.BundleShare)
    for index in (0, 3):
        cluster.bring(1, good[index], CLIENT)
    cluster.settle()
    assert bundle_sizes(cluster, 1)[2] == 1, "the honest bundle was decoded all the same"


def test_late_shares_of_a_finished_bundle_cost_nothing() -> None:
    cluster = SharingCluster()
    cluster.settle()
    shares = cluster.shares([cluster.transfer("alice", 0)])
    for index, share in enumerate(shares):
        cluster.bring(cluster.index[cluster.epoch.ids[index]], share)
    cluster.settle()
    cluster.assert_agreement(1)
    before = len(frames_of(cluster, [wire.BundleShare]))
    for index in range(4):
        for share in shares:
            assert not cluster.bring(index, share, NodeId(bytes(20)))
    cluster.settle()
    assert len(frames_of(cluster, [wire.BundleShare])) == before


def test_finished_bundles_are_remembered_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "FINISHED_MAX", 3)
    cluster = SharingCluster()
    cluster.settle()
    for number in range(6):
        for index, share in enumerate(cluster.shares([cluster.transfer("alice", number)], number=number)):
            cluster.bring(index, share)
        cluster.settle()
    assert [bundle_sizes(cluster, index) for index in range(4)] == [(0, 0, 3)] * 4
