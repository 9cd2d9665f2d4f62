"""Beginnings and turns of stories about view changes."""

from __future__ import annotations

from pbft_cluster import NS_PER_MS, Cluster
from pbft_host import Host
from pbft_members import block_certificate, sign, test_key

from potchain.codec import encode
from potchain.consensus.interface import ConsensusMessage, EngineStatus, MessageName, WorkWaiting
from potchain_pbft.view_messages import NEW_VIEW, VIEW_CHANGE, NewView, ViewChange, body_digest

TIMEOUT_NS = 2_000 * NS_PER_MS
CAP_NS = 8_000 * NS_PER_MS
HUGE = 1 << 50


def status(host: Host) -> EngineStatus:
    assert host.engine is not None
    return host.engine.status()


def views(cluster: Cluster) -> list[tuple[int, str]]:
    """View and mode of every node that is up."""
    return [(status(host).view, status(host).mode) for host in cluster.hosts if host.engine is not None]


def busy(nodes: int = 4, **parameters: int) -> Cluster:
    """A proposal is accepted everywhere and prepared nowhere: every backup's time runs."""
    cluster = Cluster(nodes, **parameters)
    cluster.start()
    cluster.work(1)
    cluster.deliver(lambda packet: packet.message.kind == "pre-prepare")
    cluster.wire.clear()
    return cluster


def wait(cluster: Cluster, duration_ns: int = TIMEOUT_NS) -> None:
    """Time passes and everything is delivered as it comes."""
    cluster.advance(duration_ns, cluster.run)
    cluster.run()


def accuse(cluster: Cluster, *indexes: int) -> None:
    """The hosts of these nodes (none named: of all) say that work has been left out for long; no other timer fires."""
    cluster.now_ns += 2 * CAP_NS
    for host in cluster.hosts:
        if not indexes or host.index in indexes:
            host.feed(WorkWaiting(1, 0))


def resend_all(cluster: Cluster) -> None:
    for host in cluster.hosts:
        host.resend()
    cluster.run()


def empty_view_change(sender: int, view: int, stable: int = 0) -> ConsensusMessage:
    certificate = encode(block_certificate(stable, 0, 1, 2)) if stable else b""
    body = encode(ViewChange(stable, certificate, ()))
    return sign(sender, VIEW_CHANGE, view, 0, body_digest(body), body)


def bogus_new_view(sender: int, view: int, nodes: int = 4, salt: int = 7) -> ConsensusMessage:
    """Names view changes that do not exist."""
    members = sorted(test_key(index).address for index in range(nodes))[: Cluster(nodes).quorum.quorum]
    body = encode(NewView(tuple(MessageName(member, bytes([salt]) * 32) for member in members)))
    return sign(sender, NEW_VIEW, view, 0, body_digest(body), body)


def tell(cluster: Cluster, message: ConsensusMessage) -> None:
    """A faulty member's message reaches everyone else."""
    for host in cluster.hosts:
        if host.engine is not None and host.node != message.sender:
            host.receive(message)
