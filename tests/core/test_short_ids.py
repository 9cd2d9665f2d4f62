"""Proposals with short ids on the wire: the receiver puts the very same message together, or asks for it."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import msgspec
import pytest
from core_network import START_MS
from replica_cluster import Cluster, frames_of

from potchain.consensus.interface import ConsensusMessage
from potchain.dissemination import DisseminationOptions
from potchain.driver import short_ids
from potchain.driver.short_ids import ShortIds
from potchain.primitives import NodeId
from potchain.replica import wire
from potchain.replica.actions import Now
from potchain.transport import Channel

COUNT = 40


class Clock:
    """By hand."""

    now_ns = 10**12

    def now(self) -> Now:
        return Now(self.now_ns, START_MS)


class Side:
    """The short ids of one node of a cluster."""

    def __init__(self, cluster: Cluster, index: int) -> None:
        self.delivered: list[ConsensusMessage] = []
        self.sent: list[tuple[NodeId, wire.Frame]] = []
        self.clock = Clock()
        self._tasks: list[Coroutine[Any, Any, None]] = []
        self.node_id = cluster.nodes[index].me
        self.short_ids = ShortIds(
            cluster.nodes[index].replica,
            self.clock,
            deliver=lambda peer, message: self.delivered.append(message),
            send=lambda peer, frame: self.sent.append((peer, frame)),
            spawn=self._tasks.append,
        )

    def run_out(self) -> None:
        """The grace for bodies passes."""

        async def all_of_them() -> None:
            await asyncio.gather(*self._tasks)

        asyncio.run(all_of_them())


class Scene:
    """A primary that has proposed, a backup whose pool has the transactions, and one whose pool has none."""

    def __init__(self) -> None:
        self.cluster = cluster = Cluster(dissemination=DisseminationOptions(short_ids=True, body_grace_ms=0))
        cluster.settle()
        primary, backup, empty = (
            cluster.index[cluster.epoch.ids[(cluster.epoch.ids.index(cluster.epoch.primary(0)) + each) % 4]]
            for each in (0, 1, 2)
        )
        cluster.passes = lambda sender, to, frame: isinstance(frame, wire.Gossip) and to == backup
        self.transactions = [cluster.transfer("alice", nonce) for nonce in range(COUNT)]
        cluster.submit(primary, *self.transactions)
        cluster.settle()
        sent = frames_of(cluster, [ConsensusMessage], primary)
        self.message = next(
            each for each in sent if isinstance(each, ConsensusMessage) and each.kind == "pre-prepare"
        )
        self.primary, self.backup, self.empty = (Side(cluster, each) for each in (primary, backup, empty))
        shortened = self.primary.short_ids.shortened(self.message)
        assert isinstance(shortened, wire.Shortened)
        self.shortened = shortened


def test_who_has_the_transactions_gets_the_very_same_message() -> None:
    scene = Scene()
    scene.backup.short_ids.received(scene.primary.node_id, scene.shortened)
    assert scene.backup.delivered == [scene.message]
    assert not scene.backup.sent
    before, after = (len(wire.encode_frame(frame)) for frame in (scene.message, scene.shortened))
    assert 26 * COUNT - 40 < before - after < 26 * COUNT


def test_who_gets_the_transactions_later_waits_for_them_and_no_longer_than_the_grace() -> None:
    scene = Scene()
    scene.empty.short_ids.received(scene.primary.node_id, scene.shortened)
    scene.empty.short_ids.transactions_came(scene.transactions[1:])
    assert not scene.empty.delivered
    scene.empty.short_ids.transactions_came(scene.transactions[:1])
    assert scene.empty.delivered == [scene.message]
    scene.empty.run_out()
    assert not scene.empty.sent


def test_who_lacks_one_asks_for_the_whole_and_gets_it() -> None:
    scene = Scene()
    scene.empty.short_ids.received(scene.primary.node_id, scene.shortened)
    scene.empty.short_ids.transactions_came(scene.transactions[1:])
    scene.empty.run_out()
    ((peer, ask),) = scene.empty.sent
    assert peer == scene.primary.node_id
    assert isinstance(ask, wire.FetchWhole)
    scene.primary.short_ids.received(scene.empty.node_id, ask)
    assert scene.primary.sent == [(scene.empty.node_id, scene.message)]


def test_what_is_sent_again_after_its_execution_is_put_together_without_asking() -> None:
    scene = Scene()
    scene.cluster.heal()
    scene.cluster.advance(4_000)
    for side in (scene.backup, scene.empty):
        replica = scene.cluster.nodes[scene.cluster.index[side.node_id]].replica
        assert replica.applied == 1
        assert not list(replica.pool.ids())
        side.short_ids.received(scene.primary.node_id, scene.shortened)
        side.clock.now_ns += COUNT * short_ids.SEARCH_REST_NS_PER_ID
        side.short_ids.received(scene.primary.node_id, scene.shortened)
        assert side.delivered == [scene.message] * 2, "soon after the first: no pool was searched"
        assert not side.sent
    assert scene.primary.short_ids.shortened(scene.message) == scene.shortened


def test_ids_that_clash_cost_a_round_trip_and_nothing_else() -> None:
    scene = Scene()
    ids = scene.shortened.ids
    for changed in (ids[8:16] + ids[8:], ids[:-8], ids[8:16] + ids[:8] + ids[16:]):
        scene.backup.clock.now_ns += 10**9
        scene.backup.short_ids.received(scene.primary.node_id, msgspec.structs.replace(scene.shortened, ids=changed))
    assert not scene.backup.delivered
    assert len(scene.backup.sent) == 3


def test_nonsense_is_dropped() -> None:
    scene = Scene()
    replace = msgspec.structs.replace
    frame = scene.shortened
    for peer, bad in (
        (scene.empty.node_id, frame),
        (NodeId(bytes(20)), replace(frame, message=replace(frame.message, sender=bytes(20)))),
        (scene.primary.node_id, replace(frame, ids=frame.ids[:-1])),
        (scene.primary.node_id, replace(frame, ids=bytes(8 * 1_001))),
        (scene.primary.node_id, replace(frame, message=replace(frame.message, body=b"x"))),
    ):
        scene.backup.short_ids.received(peer, bad)
    scene.backup.short_ids.received(scene.primary.node_id, wire.FetchWhole(bytes(64)))
    assert not scene.backup.delivered
    assert not scene.backup.sent


def test_searches_through_the_pool_have_a_rate_and_waiting_messages_a_bound() -> None:
    scene = Scene()
    for number in range(short_ids.PENDING_PER_PEER_MAX + 3):
        message = msgspec.structs.replace(scene.message, body=b"", signature=bytes([number]) * 64)
        frame = msgspec.structs.replace(scene.shortened, message=message)
        scene.empty.clock.now_ns += 10**9
        scene.empty.short_ids.received(scene.primary.node_id, frame)
    assert len(scene.empty.sent) == 3
    scene.empty.run_out()
    scene.backup.short_ids.received(scene.primary.node_id, scene.shortened)
    scene.backup.short_ids.received(scene.primary.node_id, scene.shortened)
    assert len(scene.backup.delivered) == len(scene.backup.sent) == 1


def test_what_carries_no_proposal_that_is_held_here_goes_as_it_is() -> None:
    scene = Scene()
    replace = msgspec.structs.replace
    frames: tuple[wire.Frame, ...] = (
        replace(scene.message, body=b"short"),
        replace(scene.message, body=bytes(len(scene.message.body))),
        replace(scene.message, digest=bytes(32)),
        wire.FetchBodies(1, ()),
    )
    for frame in frames:
        assert scene.primary.short_ids.shortened(frame) is frame


def test_nothing_is_shortened_unless_it_is_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene()
    replica = scene.cluster.nodes[scene.cluster.primary].replica
    monkeypatch.setattr(replica, "dissemination", DisseminationOptions())
    assert scene.primary.short_ids.shortened(scene.message) is scene.message


def test_own_messages_are_remembered_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(short_ids, "SENT_MAX", 1)
    scene = Scene()
    other = msgspec.structs.replace(scene.message, signature=bytes(64))
    scene.primary.short_ids.shortened(other)
    for signature in (scene.message.signature, other.signature):
        scene.primary.short_ids.received(scene.empty.node_id, wire.FetchWhole(signature))
    assert scene.primary.sent == [(scene.empty.node_id, other)]


def test_a_shortened_proposal_is_as_urgent_as_a_vote() -> None:
    scene = Scene()
    data = wire.encode_frame(scene.shortened)
    assert wire.decode_frame(data) == scene.shortened
    assert wire.channel_of(data) is Channel.VOTES
    assert wire.channel_of(wire.encode_frame(wire.FetchWhole(bytes(64)))) is Channel.VOTES


def test_nobody_takes_the_place_of_anothers_message_by_its_signature() -> None:
    scene = Scene()
    liar = scene.empty.node_id
    forged = msgspec.structs.replace(scene.shortened.message, sender=liar)
    scene.backup.short_ids.received(liar, msgspec.structs.replace(scene.shortened, message=forged, ids=bytes(8)))
    scene.backup.short_ids.received(scene.primary.node_id, scene.shortened)
    assert len(scene.backup.delivered) == 1
    scene.backup.run_out()
