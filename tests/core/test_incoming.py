"""Blocks of catch-up are believed for their certificates, and a certificate says nothing of ids beside the header."""

import asyncio

import msgspec
from replica_cluster import FACTORY, Cluster

from potchain.blocks import Proposal, SyncBlock
from potchain.driver.incoming import Incoming
from potchain.driver.verifier import Verifier


def test_a_served_block_is_taken_whole_or_not_at_all() -> None:
    cluster = Cluster(batch_max=1)
    cluster.submit(0, *[cluster.transfer("alice", nonce) for nonce in range(3)])
    cluster.advance(100)
    first, second, third = (cluster.nodes[0].disk.sync_block(height) for height in (1, 2, 3))
    header = second.proposal.header
    forgeries: dict[str, SyncBlock] = {
        "no ids and no bodies": msgspec.structs.replace(second, proposal=Proposal(header, ()), bodies=()),
        "the ids and bodies of another": msgspec.structs.replace(
            second, proposal=Proposal(header, third.proposal.transaction_ids), bodies=third.bodies
        ),
        "the bodies of another": msgspec.structs.replace(second, bodies=third.bodies),
        "the order of another": msgspec.structs.replace(second, order_certificate=third.order_certificate),
        "the certificate of another": msgspec.structs.replace(second, block_certificate=third.block_certificate),
    }
    cluster.start(3)
    replica = cluster.nodes[3].replica
    peer = cluster.epoch.ids[0]

    async def scenario() -> None:
        verifier = Verifier(cluster.types, 1)
        try:
            incoming = Incoming(cluster.types, FACTORY, verifier)
            event, fault = await incoming.blocks(peer, (first, second, third), replica)
            assert fault is None
            assert event.blocks == (first, second, third)
            for name, forged in forgeries.items():
                event, fault = await incoming.blocks(peer, (first, forged, third), replica)
                assert fault is not None, name
                assert event.blocks == (first,), name
        finally:
            verifier.close()

    asyncio.run(scenario())


def test_a_body_with_another_signature_is_checked_although_its_transaction_is_known() -> None:
    """Found by simulated seed 4652: the pool held the good one, so the served one went into the ledger unchecked."""
    cluster = Cluster(batch_max=1)
    good = cluster.transfer("alice", 0)
    cluster.submit(0, good)
    cluster.advance(100)
    block = cluster.nodes[0].disk.sync_block(1)
    other = cluster.types.assemble(good.body, cluster.transfer("bob", 0).signature)
    assert other.id == good.id
    forged = msgspec.structs.replace(block, bodies=(other.raw,))
    cluster.crash(3)
    cluster.nodes[3].disk = type(cluster.nodes[3].disk)()
    cluster.start(3)
    replica = cluster.nodes[3].replica
    assert replica.chain.admit(good, cluster.now_ns)[0] == "accepted"

    async def scenario() -> None:
        verifier = Verifier(cluster.types, 1)
        try:
            incoming = Incoming(cluster.types, FACTORY, verifier)
            event, fault = await incoming.blocks(cluster.epoch.ids[0], (forged,), replica)
            assert (event.blocks, fault) == ((), "bad block 1 in catch-up: a transaction in it has a bad signature")
            event, fault = await incoming.blocks(cluster.epoch.ids[0], (block,), replica)
            assert (event.blocks, fault) == ((block,), None)
        finally:
            verifier.close()

    asyncio.run(scenario())
