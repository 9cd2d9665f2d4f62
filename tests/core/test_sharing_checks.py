"""What the driver does with shares: checks them in place, decodes off the loop, and blames only who is at fault."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import msgspec
import pytest
from core_network import key
from replica_cluster import FACTORY
from sharing_cluster import CLIENT, SharingCluster

from potchain import merkle
from potchain.dissemination import BundleHead, Share, bundle_digest, own_share, split
from potchain.driver import incoming
from potchain.driver.bodies import NOBODY, Bodies
from potchain.driver.incoming import Incoming
from potchain.driver.verifier import SignatureChecks
from potchain.driver.verify_worker import check_signatures
from potchain.primitives import Digest
from potchain.replica import wire
from potchain.replica.actions import (
    BundleDecoded,
    DecodeBundle,
    ReplicaEvent,
    ShareVerified,
    TransactionsVerified,
)
from potchain.transactions import Transaction

NODES = 7
NEEDED = 3


class Desk:
    """One node's `Bodies` with the real checks, and what comes of them."""

    def __init__(self, cluster: SharingCluster) -> None:
        self.cluster = cluster
        self.posted: list[ReplicaEvent] = []
        self.blamed: list[str] = []
        self._tasks: list[Coroutine[Any, Any, None]] = []
        checks = SignatureChecks(cluster.types, self._check)
        self.incoming = Incoming(cluster.types, FACTORY, checks)
        self.bodies = Bodies(
            cluster.nodes[0].replica,
            self.incoming,
            post=self.posted.append,
            spawn=self._tasks.append,
            misbehaved=lambda peer, reason: self.blamed.append(reason),
            clients=(CLIENT,),
        )

    async def _check(self, entries: bytes) -> bytes:
        return check_signatures(entries)

    def run(self) -> None:
        async def all_of_them() -> None:
            while self._tasks:
                await self._tasks.pop(0)

        asyncio.run(all_of_them())

    def decode(self, shares: tuple[Share, ...], place: int | None = 0) -> None:
        head = shares[0].head
        chosen = tuple((share.index, share.block) for share in shares[-head.needed :])
        bundle = bundle_digest(self.cluster.genesis.hash, head)
        self.bodies.decode(DecodeBundle(bundle, head, shares[0].signature, chosen, place))
        self.run()


@pytest.fixture
def desk() -> Desk:
    cluster = SharingCluster(nodes=NODES)
    cluster.settle()
    return Desk(cluster)


def cut(desk: Desk, transactions: list[Transaction]) -> tuple[Share, ...]:
    return desk.cluster.shares(transactions)


def test_a_good_share_is_handed_on_with_its_account(desk: Desk) -> None:
    share = cut(desk, [desk.cluster.transfer("alice", 0)])[3]
    desk.bodies.received(CLIENT, wire.BundleShare(share))
    bundle = bundle_digest(desk.cluster.genesis.hash, share.head)
    assert desk.posted == [ShareVerified(CLIENT, bundle, key("alice").address, share)]
    assert not desk.blamed


def test_a_changed_share_and_a_signature_that_is_none_are_blamed_on_who_sent_them(desk: Desk) -> None:
    share = cut(desk, [desk.cluster.transfer("alice", 0)])[3]
    changed = msgspec.structs.replace(share, block=bytes(len(share.block)))
    unsigned = msgspec.structs.replace(share, signature=bytes(65))
    for bad in (changed, unsigned):
        desk.bodies.received(CLIENT, wire.BundleShare(bad))
    assert not desk.posted
    assert ["root" in desk.blamed[0], "signature" in desk.blamed[1]] == [True, True]


def test_a_share_of_another_epoch_is_nobodys_fault(desk: Desk) -> None:
    other = split([b"x"], shares=NODES + 1, needed=NEEDED, key=key("alice"), genesis_hash=desk.cluster.genesis.hash)
    desk.bodies.received(CLIENT, wire.BundleShare(other[0]))
    assert not desk.posted
    assert not desk.blamed


@pytest.mark.parametrize("transactions", [1, 150], ids=["in place", "on a thread"])
def test_a_decoded_bundle_gives_its_transactions_and_the_own_share(desk: Desk, transactions: int) -> None:
    transfers = [desk.cluster.transfer("alice", nonce) for nonce in range(transactions)]
    shares = cut(desk, transfers)
    assert (shares[0].head.bundle_bytes > incoming.DECODED_IN_PLACE_BYTES_MAX) == (transactions > 1)
    desk.decode(shares)
    bundle = bundle_digest(desk.cluster.genesis.hash, shares[0].head)
    assert desk.posted == [BundleDecoded(bundle, shares[0]), TransactionsVerified(tuple(transfers))]
    assert own_share(shares[0].head, shares[0].signature, [share.block for share in shares], 0) == shares[0]


def test_a_bad_transaction_in_a_good_bundle_costs_itself_alone_and_is_no_peers_fault(desk: Desk) -> None:
    good, forged = (desk.cluster.transfer("alice", nonce) for nonce in (0, 1))
    types = desk.cluster.types
    forged = types.assemble(forged.body, key("mallory").sign_digest(forged.id))
    desk.decode(
        split(
            [b"rubbish", forged.raw, good.raw],
            shares=NODES,
            needed=NEEDED,
            key=key("mallory"),
            genesis_hash=desk.cluster.genesis.hash,
        )
    )
    assert desk.posted[1:] == [TransactionsVerified((good,))]
    assert not desk.blamed


def test_an_inconsistent_bundle_gives_nothing_but_its_end(desk: Desk) -> None:
    blocks = [bytes([number]) * 10 for number in range(NODES)]
    head = BundleHead(merkle.root(blocks), NEEDED, NODES, 30, 0)
    shares = tuple(Share(head, bytes(65), index, (), block) for index, block in enumerate(blocks))
    desk.decode(shares)
    (event,) = desk.posted
    assert isinstance(event, BundleDecoded)
    assert event.own is None
    assert "no one bundle" in event.fault


def test_relays_and_submissions_say_whence_they_come(desk: Desk) -> None:
    transfers = [desk.cluster.transfer("alice", nonce) for nonce in range(3)]
    for frame in (
        wire.Gossip((transfers[0].raw,)),
        wire.Submit((transfers[1].raw,)),
        wire.Relay(5, (transfers[2].raw,)),
    ):
        desk.bodies.received(CLIENT, frame)
    desk.run()
    assert desk.posted == [
        TransactionsVerified((transfers[0],)),
        TransactionsVerified((transfers[1],), NOBODY),
        TransactionsVerified((transfers[2],), root=5),
    ]


def test_heads_that_were_checked_are_remembered_up_to_a_bound(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incoming, "CHECKED_MAX", 2)
    share = cut(desk, [desk.cluster.transfer("alice", 0)])[0]
    first = Digest(bytes(32))
    signers = [key(name).sign_digest(first) for name in ("alice", "bob")]
    vouched = msgspec.structs.replace(share, signature=signers[0])
    assert desk.incoming.share(first, vouched) == (key("alice").address, None)
    # Known by its digest: the signature that comes with the next share is not looked at.
    assert desk.incoming.share(first, msgspec.structs.replace(share, signature=signers[1]))[0] == key("alice").address
    for number in (1, 2):
        digest = Digest(bytes([number]) * 32)
        desk.incoming.share(digest, msgspec.structs.replace(share, signature=key("carol").sign_digest(digest)))
    assert desk.incoming.share(first, msgspec.structs.replace(share, signature=signers[1]))[0] == key("bob").address


def test_only_a_client_submits_and_no_frame_is_endless(desk: Desk) -> None:
    transfer = desk.cluster.transfer("alice", 0)
    desk.bodies.received(desk.cluster.nodes[1].me, wire.Submit((transfer.raw,)))
    desk.bodies.received(CLIENT, wire.Gossip((b"",) * (wire.GOSSIP_TRANSACTIONS_MAX + 1)))
    desk.run()
    assert desk.posted == []
    assert desk.blamed == [
        "a submission by a peer that is no client of this node",
        f"{wire.GOSSIP_TRANSACTIONS_MAX + 1} transactions in one frame",
    ]


def test_who_has_no_place_among_a_bundles_shares_decodes_it_and_forwards_none(desk: Desk) -> None:
    """A bundle was coded for fewer members than the epoch has that began meanwhile."""
    transfer = desk.cluster.transfer("alice", 0)
    shares = cut(desk, [transfer])
    head, signature = shares[0].head, shares[0].signature
    blocks = tuple((share.index, share.block) for share in shares[:NEEDED])
    bundle = bundle_digest(desk.cluster.genesis.hash, head)
    found = asyncio.run(desk.incoming.bundle(DecodeBundle(bundle, head, signature, blocks, NODES)))
    assert found == ((transfer.raw,), None, "")
