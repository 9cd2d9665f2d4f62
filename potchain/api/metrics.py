"""Prometheus metrics, in a registry of their own. Names, types and meanings are listed in the reference.

What the node knows is asked when the page is read (`NodeCollector`); only HTTP requests are counted as they come.
Other rooms may add their collectors to the registry that `build_app` is given.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from potchain.api.ports import ConsensusStatus, NodePort, NodeStatus
from potchain.application.settlement.records import Counters, counters
from potchain.primitives import uint
from potchain.transport import PeerStatus

SECONDS_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 30.0, 120.0)


class Metrics:
    """The counters of the API, and the collector of the node."""

    def __init__(self, port: NodePort, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.requests = Counter(
            "potchain_http_requests", "HTTP requests answered.", ("method", "route", "status"), registry=registry
        )
        self.seconds = Histogram(
            "potchain_http_request_seconds",
            "Time to answer, waiting included.",
            ("method", "route"),
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )
        self.submitted = Counter(
            "potchain_submitted_transactions", "Transactions received over HTTP.", ("status", "code"), registry=registry
        )
        self.waits = Gauge("potchain_http_waits", "HTTP requests that wait now.", registry=registry)
        registry.register(NodeCollector(port))
        ProcessCollector(registry=registry)


class NodeCollector(Collector):
    """Asks the node when it is collected."""

    def __init__(self, port: NodePort) -> None:
        self._port = port

    def describe(self) -> Iterator[Metric]:
        """Nothing: so registering asks the node nothing."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """One reading of everything."""
        status = self._port.status()
        yield from _status_metrics(status)
        yield from _consensus_metrics(self._port.consensus())
        yield from _peer_metrics(self._port.peers())
        yield from _settlement_metrics(counters(self._port.state()))


def _status_metrics(status: NodeStatus) -> Iterator[Metric]:
    info = {
        "node": status.name,
        "node_id": "0x" + status.node_id.hex(),
        "version": status.version,
        "engine": status.engine,
        "engine_version": status.engine_version,
    }
    yield InfoMetricFamily("potchain_node", "Who this node is.", info)
    for name, text, value in (
        ("height", "Highest executed and durable block.", status.height),
        ("certified_height", "Highest height up to which every block is final.", status.certified_height),
        ("stable_height", "Stable checkpoint.", status.stable_height),
        ("history_height", "Height up to which SQL history is complete.", status.history_height),
        ("history_lag_blocks", "Blocks that SQL history is behind.", max(0, status.height - status.history_height)),
        ("sync_lag_blocks", "Blocks behind the best peer.", max(0, status.best_peer_height - status.height)),
        ("block_time_ms", "Block time of the highest block, Unix ms.", status.block_time_ms),
        ("pool_transactions", "Transactions in the pool.", status.pool_count),
        ("pool_bytes", "Bytes in the pool.", status.pool_bytes),
        ("peers_connected", "Peers connected.", status.peers_connected),
        ("peers_configured", "Peers configured.", status.peers_configured),
        ("syncing", "1 while the node catches up.", int(status.syncing)),
        ("stalled", "1 while the node waits for longer than it should.", int(status.stalled is not None)),
        ("start_time_ms", "When the node started, Unix ms.", status.started_at_ms),
    ):
        yield GaugeMetricFamily("potchain_" + name, text, value)
    evidence = CounterMetricFamily("potchain_evidence", "Evidence kept, by the accused member.", labels=("member",))
    for member, count in status.evidence.items():
        evidence.add_metric((member,), count)
    yield evidence


def _consensus_metrics(status: ConsensusStatus) -> Iterator[Metric]:
    engine = status.engine
    for name, text, value in (
        ("epoch", "Current epoch.", status.epoch.number),
        ("view", "Current view.", engine.view),
        ("in_flight", "Sequences in flight.", len(engine.in_flight)),
        ("last_decided", "Every sequence up to here is decided.", engine.last_decided),
        ("uncertified_blocks", "Executed blocks without a certificate.", len(status.block_votes_missing)),
    ):
        yield GaugeMetricFamily("potchain_consensus_" + name, text, value)
    buffers = GaugeMetricFamily("potchain_consensus_buffer_entries", "Entries per buffer.", labels=("part", "buffer"))
    for part, sizes in (("engine", engine.buffers), ("host", status.buffers)):
        for buffer, size in sorted(sizes.items()):
            buffers.add_metric((part, buffer), size)
    yield buffers


def _peer_metrics(peers: tuple[PeerStatus, ...]) -> Iterator[Metric]:
    connected = GaugeMetricFamily("potchain_peer_connected", "1 while connected.", labels=("peer",))
    queued = GaugeMetricFamily("potchain_peer_queued_bytes", "Bytes waiting to be sent.", labels=("peer",))
    frames = CounterMetricFamily("potchain_peer_frames", "Frames per peer.", labels=("peer", "direction"))
    sizes = CounterMetricFamily("potchain_peer_bytes", "Bytes per peer.", labels=("peer", "direction"))
    for peer in peers:
        connected.add_metric((peer.name,), int(peer.connected))
        queued.add_metric((peer.name,), peer.queued_bytes)
        frames.add_metric((peer.name, "in"), peer.frames_in)
        frames.add_metric((peer.name, "out"), peer.frames_out)
        frames.add_metric((peer.name, "dropped"), peer.frames_dropped)
        sizes.add_metric((peer.name, "in"), peer.bytes_in)
        sizes.add_metric((peer.name, "out"), peer.bytes_out)
    yield from (connected, queued, frames, sizes)


def _settlement_metrics(now: Counters) -> Iterator[Metric]:
    """What the ledger says; the settler adds what it does about it."""
    payouts = GaugeMetricFamily("potchain_settlement_payouts", "Payouts by status.", labels=("status",))
    payouts.add_metric(("pending",), now.pending)
    payouts.add_metric(("batched",), now.payouts_open - now.pending)
    payouts.add_metric(("paid",), now.next_payout - now.payouts_open)
    yield payouts
    for name, text, value in (
        ("owed", "Base units of payouts that are not paid.", uint(now.owed)),
        ("actions_open", "Actions that are not executed.", now.actions_open),
        ("stopped", "1 while no batch is formed, by decision or after a surprise.", int(now.paused or now.halted)),
    ):
        yield GaugeMetricFamily("potchain_settlement_" + name, text, value)
