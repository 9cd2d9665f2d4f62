"""Faults with a plan: the schedules that tear a protocol's quorums apart, which pure chance seldom meets.

In each round every kind of message reaches some hosts and no others, so that a proposal is prepared at one, committed
at two, decided at a third; then a group of hosts, a quorum or less, changes the view among themselves, and the others
hear nothing of it.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from pbft_cluster import NS_PER_MS, Packet

from potchain.consensus.interface import WorkWaiting

if TYPE_CHECKING:
    from pbft_random import World

NORMAL = ("pre-prepare", "prepare", "commit")
OF_VIEWS = ("view-change", "new-view")


def play_rounds(world: World) -> None:
    """Some rounds, one view change after most of them."""
    rng, cluster = world.rng, world.cluster
    lossy = rng.choice((0.2, 0.5, 0.8))
    for _ in range(rng.randint(2, 8)):
        cluster.work(1)
        _lie(world)
        for _ in range(rng.randint(1, 3)):
            _agree(world, lossy)
        if rng.random() < 0.8:
            _change_view(world)
        if rng.random() < 0.3:
            world.certify()
        if rng.random() < 0.3:
            host = rng.choice(cluster.hosts)
            host.crash()
            world.restart(host)
        if rng.random() < 0.5:
            cluster.wire.clear()


def _agree(world: World, lossy: float) -> None:
    """The normal case; of each kind some hosts hear nothing in this round."""
    rng = world.rng
    for host in world.cluster.hosts:
        if rng.random() < 0.3:
            host.resend()
    for kind in NORMAL:
        for _ in range(2):
            listening = [host.index for host in world.cluster.hosts if rng.random() >= lossy]
            _deliver(world, (kind,), listening)


def _change_view(world: World) -> None:
    """Some hosts leave the view and begin the next; a quorum of them can."""
    rng, cluster = world.rng, world.cluster
    count = rng.choice((cluster.quorum.quorum, cluster.quorum.quorum, len(cluster.epoch.members), 1))
    group = rng.sample(range(len(cluster.hosts)), count)
    cluster.now_ns += 9_000 * NS_PER_MS  # and nobody's timer has fired yet
    for index in group:
        cluster.hosts[index].feed(WorkWaiting(1, 0))
    for _ in range(3):
        for index in group:
            if rng.random() < 0.5:
                cluster.hosts[index].resend()
        _deliver(world, OF_VIEWS, group)
        _lie(world)
        cluster.answer_all(group)
    if rng.random() < 0.5:
        listening = [host.index for host in cluster.hosts if rng.random() < 0.5]
        _deliver(world, OF_VIEWS, listening)


def _deliver(world: World, kinds: Collection[str], listening: Collection[int]) -> None:
    """Packets of these kinds to those who listen; to the others they are lost, or only late."""
    wire, late = world.cluster.wire, world.rng.random() < 0.3
    chosen: list[Packet] = [packet for packet in wire if packet.message.kind in kinds]
    world.cluster.wire = [packet for packet in wire if packet.message.kind not in kinds]
    for packet in chosen:
        if packet.to in listening:
            world.hand_over(packet)
            while (host := world.cluster.hosts[packet.to]).checks and host.engine is not None:
                host.answer_check()
        elif late:
            world.cluster.wire.append(packet)


def _lie(world: World) -> None:
    for liar in world.liars:
        for _ in range(world.rng.randint(0, 3)):
            liar.lie()
