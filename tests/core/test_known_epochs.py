"""Which epoch a height or a message belongs to, and what is checked against whom around a boundary."""

from __future__ import annotations

import asyncio

import msgspec
from core_network import key, make_genesis, make_validators
from epoch_application import EpochApplication, change
from replica_cluster import FACTORY, Cluster, frames_of

from potchain.application.accounts import AccountsApplication
from potchain.blocks import BLOCK_VOTE, BlockCertificate, SyncBlock, null_request, vote_bytes
from potchain.consensus.interface import ConsensusMessage
from potchain.driver.incoming import Incoming
from potchain.driver.verifier import SignatureChecks
from potchain.genesis import Epoch
from potchain.pool import PoolLimits, TransactionPool
from potchain.primitives import Digest
from potchain.replica.certifying import Certifier
from potchain.replica.epochs import KnownEpochs
from potchain.replica.neglect import NeglectJudge

GENESIS = make_genesis(validators=4, checkpoint_interval=4, log_window=8)
EVERYBODY = make_validators([f"v{number}" for number in range(8)])
FIRST = GENESIS.first_epoch
SECOND = Epoch(1, 13, EVERYBODY[2:6], FIRST.parameters)
THIRD = Epoch(2, 29, EVERYBODY[4:8], FIRST.parameters)


def hash_of(height: int) -> Digest:
    return Digest(height.to_bytes(32, "big"))


def block_vote(epoch: Epoch, member: int, height: int) -> ConsensusMessage:
    validator = epoch.members[member]
    signed = vote_bytes(GENESIS.hash, epoch.number, BLOCK_VOTE, 0, height, hash_of(height), validator.node_id)
    signature = key("consensus " + validator.name).sign_vote(signed)
    return ConsensusMessage(epoch.number, BLOCK_VOTE, 0, height, hash_of(height), validator.node_id, b"", signature)


def test_a_height_belongs_to_the_epoch_that_decides_it() -> None:
    epochs = KnownEpochs([FIRST])
    assert epochs.at(1) == epochs.at(10_000) == FIRST, "no end is in sight"
    assert (epochs.previous, epochs.last_height, epochs.near) == (None, None, (FIRST,))
    epochs.pending = SECOND
    assert epochs.last_height == 12
    assert [epochs.at(height) for height in (12, 13, 99)] == [FIRST, None, None], "not before it has begun"
    epochs.begin(SECOND)
    assert [epochs.at(height) for height in (12, 13)] == [FIRST, SECOND]
    assert (epochs.previous, epochs.current, epochs.pending) == (FIRST, SECOND, None)


def test_only_epochs_that_somebody_may_need_are_remembered() -> None:
    epochs = KnownEpochs([FIRST, SECOND])
    epochs.begin(THIRD)
    epochs.forget(certified=11)
    assert (len(epochs), epochs.at(12)) == (3, FIRST), "block 12 needs its validators' votes"
    epochs.forget(certified=12)
    assert (len(epochs), epochs.at(12), epochs.at(13)) == (2, None, SECOND)
    epochs.forget(certified=1_000)
    assert epochs.near == (SECOND, THIRD)


def test_whose_signature_a_message_may_bear() -> None:
    epochs = KnownEpochs([FIRST, SECOND])
    assert epochs.of_message("prepare", 1, 14) == SECOND
    assert epochs.of_message("view-change", 0, 0) is None, "that epoch is over"
    assert epochs.of_message("prepare", 2, 30) is None, "nothing is known of that one"
    assert epochs.of_message(BLOCK_VOTE, 0, 12) == FIRST, "its certificate may still be lacking"
    assert epochs.of_message(BLOCK_VOTE, 1, 12) is None
    assert epochs.of_message(BLOCK_VOTE, 0, 13) is None
    epochs.pending = THIRD
    assert epochs.of_message("prepare", 2, 30) == epochs.of_message(BLOCK_VOTE, 2, 30) == THIRD
    assert epochs.of_message(BLOCK_VOTE, 1, 29) is None, "no vote of this epoch lies above its end"
    assert epochs.name_of(EVERYBODY[0].node_id) == "v0"
    assert epochs.name_of(EVERYBODY[7].node_id) == "v7"
    assert epochs.name_of(bytes(20)) == "0x" + "00" * 20


def test_each_height_is_certified_by_its_own_validators() -> None:
    epochs = KnownEpochs([FIRST])
    epochs.pending = SECOND
    certifier = Certifier(epochs, 11)
    for height in (12, 13):
        certifier.block_executed(height, hash_of(height))
    assert "stranger" in str(certifier.vote(block_vote(SECOND, 0, 13))), "not before the epoch has begun here"
    assert "stranger" in str(certifier.vote(msgspec.structs.replace(block_vote(FIRST, 0, 12), epoch=1)))
    assert certifier.vote(block_vote(FIRST, 0, 12)) is None
    epochs.begin(SECOND)
    assert "stranger" in str(certifier.vote(block_vote(SECOND, 3, 12)))
    assert certifier.missing() == {12: ["v1", "v2", "v3"], 13: ["v2", "v3", "v4", "v5"]}
    old = [certifier.vote(block_vote(FIRST, member, 12)) for member in (1, 2)][1]
    new = [certifier.vote(block_vote(SECOND, member, 13)) for member in (1, 2, 3)][2]
    assert isinstance(old, BlockCertificate)
    assert isinstance(new, BlockCertificate)
    assert (old.epoch, new.epoch) == (0, 1)


def test_an_epoch_that_nobody_fills_up_is_the_primarys_neglect() -> None:
    lacks_blocks = False
    judge = NeglectJudge(KnownEpochs([FIRST]), TransactionPool(PoolLimits()), lambda: lacks_blocks)
    assert judge.work_waiting().neglected_ns is None
    judge.fill_up(100)
    judge.fill_up(200)
    assert judge.work_waiting().neglected_ns == 100, "since it is known"
    judge.proposal_seen(null_request(GENESIS.hash, 0, 7), (), 300)
    assert judge.work_waiting().neglected_ns == 300, "any proposal at all is one step"
    lacks_blocks = True
    assert judge.work_waiting().neglected_ns is None
    lacks_blocks = False
    judge.fill_up(None)
    assert judge.work_waiting().neglected_ns is None


def turned_cluster() -> Cluster:
    """Node 3 is behind at height 1; the others have turned at 12 and gone on."""
    applications = (AccountsApplication(), EpochApplication(EVERYBODY))
    cluster = Cluster(4, applications=applications, checkpoint_interval=4, log_window=8)
    cluster.settle()
    cluster.submit(0, change(cluster.types, "alice", 0, ["v0", "v1", "v2"]))
    cluster.advance(100)
    cluster.submit(0, cluster.transfer("bob", 0))
    cluster.advance(3_000)
    assert [node.replica.epoch.number for node in cluster.nodes] == [1] * 4
    return cluster


def test_an_answer_that_reaches_beyond_the_own_epoch_is_taken_as_far_as_it_can_be_checked() -> None:
    cluster = turned_cluster()
    blocks = tuple(cluster.nodes[0].disk.sync_block(height) for height in range(1, 14))
    other = Cluster(4, applications=cluster._applications, checkpoint_interval=4, log_window=8)
    fresh = other.nodes[3].replica
    assert fresh.epoch.number == 0
    assert fresh.genesis == cluster.genesis
    certificates = tuple(block.block_certificate for block in blocks if block.block_certificate is not None)
    lying = msgspec.structs.replace(blocks[11].block_certificate, epoch=0, height=13)  # type: ignore[type-var]

    async def scenario() -> None:
        incoming = Incoming(cluster.types, FACTORY, SignatureChecks(cluster.types, _all_good))
        event, fault = await incoming.blocks(cluster.nodes[0].me, blocks, fresh)
        assert fault is None, "who served them has done nothing wrong"
        assert event.blocks == blocks[:12]
        known, fault = await incoming.certificates(certificates, fresh)
        assert fault is None
        assert [each.height for each in known.certificates] == list(range(1, 13))
        # An old block with a new label, or a new one with an old label, is a lie.
        relabelled = _with_epoch(blocks[12], 0)
        event, fault = await incoming.blocks(cluster.nodes[0].me, (*blocks[:12], relabelled), fresh)
        assert fault is not None
        assert event.blocks == blocks[:12]
        turned = cluster.nodes[0].replica
        event, fault = await incoming.blocks(cluster.nodes[1].me, (_with_epoch(blocks[3], 1),), turned)
        assert not event.blocks
        _, fault = await incoming.certificates((lying,), turned)
        assert fault is not None

    asyncio.run(scenario())


def _with_epoch(block: SyncBlock, epoch: int) -> SyncBlock:
    header = msgspec.structs.replace(block.proposal.header, epoch=epoch)
    return msgspec.structs.replace(block, proposal=msgspec.structs.replace(block.proposal, header=header))


async def _all_good(entries: bytes) -> bytes:
    return bytes([1]) * (len(entries) // 117)


def test_no_message_of_another_epoch_is_anybodys_fault() -> None:
    cluster = turned_cluster()
    assert not [action for node in cluster.nodes for action in node.others if type(action).__name__ == "Blame"]
    old = [frame for frame in frames_of(cluster, [ConsensusMessage]) if isinstance(frame, ConsensusMessage)]
    epochs = cluster.nodes[0].replica.epochs
    assert {epochs.of_message(m.kind, m.epoch, m.sequence) is None for m in old if m.epoch == 0} == {True, False}
