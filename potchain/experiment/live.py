"""Mode "live": n shipping nodes and a client in one process, on real sockets and in real time.

They run on one event loop in one thread. (Two threads with half of the nodes each were tried: they cost 1.7 times the
CPU and took longer, for they wait for the interpreter more than they share the work.) Connections are made first,
without conditions; then all links get theirs at once and the client begins. Every node checks every signature itself.
"""

from __future__ import annotations

import asyncio
import atexit
import gc
import time
from collections.abc import Callable, Sequence

from potchain.crypto import verify_vote
from potchain.driver import verify_worker
from potchain.driver.clock import SystemClock
from potchain.errors import ExperimentError
from potchain.event_loop import loop_factory
from potchain.experiment.lab.client import Client
from potchain.experiment.lab.counting import Counted, Receive, SlowReceiver
from potchain.experiment.lab.node import LabNode, open_laboratory
from potchain.experiment.lab.settings import (
    CLIENT,
    client_id,
    dissemination_options,
    keys_of,
    node_name,
    pool_limits,
    profile_of,
    time_limit_ns,
    view_timeout_ms,
)
from potchain.experiment.lab.traffic import Traffic
from potchain.experiment.measuring import quiet, result_of
from potchain.experiment.point import Point
from potchain.experiment.result import SynchronizeResult
from potchain.links import OFF
from potchain.primitives import NS_PER_MS, NS_PER_S, NodeId
from potchain.tables import decode_table
from potchain.transport import Channel, Peer, Transport, TransportConfig, TransportEvents

MEETING_MOST_S = 180
"""Nodes that have not met by then never will."""
MEASUREMENTS_MAX = 64
"""On one network; each has an account of its own."""
POLL_S = 0.02
LOOPBACK = "127.0.0.1"
TCP_TABLE = {
    "handshake_timeout_ms": 120_000, "handshakes_max": 1_024, "votes_queue_bytes": 1 << 26, "bulk_queue_bytes": 1 << 28,
    "silence_limit_ms": 120_000, "ping_interval_ms": 30_000,
}  # fmt: skip
"""What suits a hundred nodes in one process: they are slow to meet, and nobody dies."""


class LiveNetwork:
    """Nodes that have met, and points measured on them one after another."""

    def __init__(self, first: Point) -> None:
        """For points like this one: see `fits`."""
        self._first = first
        self._traffic = Traffic(CLIENT)
        self._laboratory = open_laboratory([first] * MEASUREMENTS_MAX)
        self._up = range(first.nodes - first.crashed)
        self._measured = 0
        self._client = self._make_client(first)
        self._nodes: list[LabNode] = []
        self._transports: dict[str, Counted] = {}
        self._ports: dict[str, int] = {}
        self._connected = 0
        self._progress = asyncio.Event()
        self._slow: SlowReceiver | None = None

    async def open(self) -> None:
        """Start all nodes and let them meet. Raises ExperimentError."""
        names = [CLIENT, *map(node_name, self._up)]
        for name in names:
            transport = self._transports[name] = Counted(name, self._traffic.sent)
            events = self._client_events() if name == CLIENT else self._node(name)
            transport.inner = self._make(name, events)
            await transport.start()
            self._ports[name] = getattr(transport.inner, "listen_port", 0)
        for index, name in enumerate(names):
            # Of two nodes the later one calls, so that they do not both do it.
            peers = tuple(_peer(other, self._ports[other] if place < index else 0)
                          for place, other in enumerate(names) if other != name)  # fmt: skip
            self._transports[name].set_peers(peers)
        await self._meet()

    def fits(self, point: Point) -> bool:
        """Whether a point can be measured here: what the network was built with is the same, or more than enough."""
        mine, others = network_key(self._first), network_key(point)
        patient = view_timeout_ms(point) <= view_timeout_ms(self._first)
        settled = all(node.view == 0 for node in self._nodes)  # the client hands over to the primary of view 0
        return mine == others and patient and settled and self._measured < MEASUREMENTS_MAX and self._has_room(point)

    async def measure(self, point: Point) -> SynchronizeResult:
        """One of the points that fit. Raises ExperimentError when a node fails."""
        await self._rest()
        self._client = self._make_client(point)
        self._measured += 1
        profile = profile_of(point)
        for transport in self._transports.values():
            transport.set_links(profile)
        limit_s = time_limit_ns(point) / NS_PER_S
        began_ns, cpu_ns = time.monotonic_ns(), time.process_time_ns()
        self._traffic.begin(began_ns)
        if self._slow is not None:
            self._slow.is_slow = True
        ends_ns = began_ns + limit_s * NS_PER_S
        while not self._client.done and time.monotonic_ns() < ends_ns:
            self._client.hand_over(self._client_sends)
            try:
                async with asyncio.timeout(limit_s / 8):
                    await self._until(lambda: self._client.done)
            except TimeoutError:
                continue
        cpu_s = (time.process_time_ns() - cpu_ns) / NS_PER_S
        times = self._client.times()
        for transport in self._transports.values():
            transport.set_links(OFF)
        return result_of(point, began_ns, times, self._traffic, self._nodes, cpu_s)

    async def close(self) -> None:
        """End all nodes."""
        for node in self._nodes:
            await node.driver.close()
        await asyncio.gather(*(each.close() for each in self._transports.values() if each.is_made))

    # --- building -----------------------------------------------------------------------------------------------------

    def _make_client(self, point: Point) -> Client:
        ids = [keys_of(node_name(index)).node_id for index in self._up]
        return Client(point, self._laboratory.genesis, ids, verify_vote, self._measured)

    def _has_room(self, point: Point) -> bool:
        here, needed = pool_limits([self._first]), pool_limits([point])
        patience = dissemination_options([self._first]).body_grace_ms
        return patience >= dissemination_options([point]).body_grace_ms and all(
            getattr(needed, name) <= getattr(here, name) for name in here.__struct_fields__
        )

    def _make(self, name: str, events: TransportEvents) -> Transport:
        factory = self._laboratory.registry.transport("tcp")
        keys = keys_of(name)
        config = TransportConfig(
            me=keys.node_id,
            node_key_secret=keys.node_secret,
            genesis_hash=self._laboratory.genesis.hash,
            listen_host=LOOPBACK,
            listen_port=0,
            peers=(),
            name=name,
        )
        return factory.create(config, events, decode_table(TCP_TABLE, factory.options_type, "transport.tcp"))

    def _node(self, name: str) -> TransportEvents:
        index = len(self._nodes)
        node = LabNode(
            self._laboratory,
            index,
            keys=keys_of(node_name(index)),
            clock=SystemClock(),
            run_check=_check_in_thread,
            verify=verify_vote,
            executed=lambda who, block: self._client.block_executed(who, block, time.monotonic_ns()),
        )
        node.driver.failure.add_done_callback(lambda failure: self._progress.set())
        node.start(self._transports[name])
        self._nodes.append(node)
        receive: Receive = node.driver.frames_received
        slow_ms = self._first.slow_primary_ms
        if index == 0 and slow_ms:
            self._slow = SlowReceiver(receive, slow_ms * NS_PER_MS / NS_PER_S)
            receive = self._slow.received

        arrived, client = self._traffic.arrived, client_id()

        def received(sender: NodeId, channel: Channel, frames: Sequence[bytes]) -> None:
            now_ns = time.monotonic_ns()
            for frame in frames:
                arrived(CLIENT if sender == client else node.name, frame, now_ns)
            receive(sender, channel, frames)

        def connected(peer: NodeId) -> None:
            self._connected += 1
            self._progress.set()
            node.driver.peer_connected(peer)

        return TransportEvents(received=received, connected=connected, disconnected=node.driver.peer_disconnected)

    def _client_events(self) -> TransportEvents:
        def received(sender: NodeId, channel: Channel, frames: Sequence[bytes]) -> None:
            now_ns = time.monotonic_ns()
            for frame in frames:
                self._traffic.arrived(node_name(0), frame, now_ns)
                self._client.received(frame, now_ns)
            if self._client.done:
                self._progress.set()

        return TransportEvents(received=received, connected=_ignore, disconnected=_ignore_reason)

    # --- running ------------------------------------------------------------------------------------------------------

    async def _meet(self) -> None:
        links = len(self._nodes) * len(self._nodes)  # each with every other one, and with the client
        try:
            async with asyncio.timeout(MEETING_MOST_S):
                await self._until(lambda: self._connected >= links and all(node.ready for node in self._nodes))
        except TimeoutError:
            raise ExperimentError(
                f"after {MEETING_MOST_S} s only {self._connected} of {links} connections are there; this machine "
                "is too slow for so many nodes in one process: take fewer, or mode 'virtual'"
            ) from None

    async def _rest(self) -> None:
        """Until what the last measurement left behind is done everywhere."""
        try:
            async with asyncio.timeout(MEETING_MOST_S):
                await self._until(self._at_rest)
        except TimeoutError:
            raise ExperimentError("the nodes did not come to rest after the measurement before this one") from None

    def _at_rest(self) -> bool:
        heights = {node.replica.certifier.certified for node in self._nodes}
        return len(heights) == 1 and not any(node.driver.votes_waiting for node in self._nodes)

    async def _until(self, is_so: Callable[[], bool]) -> None:
        while not is_so():
            self._progress.clear()
            try:
                async with asyncio.timeout(POLL_S):
                    await self._progress.wait()
            except TimeoutError:
                pass  # what is waited for does not always tell
            for node in self._nodes:
                if node.driver.failure.done():
                    raise ExperimentError(f"{node.name} failed: {node.driver.failure.result()}")

    def _client_sends(self, to: NodeId, data: bytes) -> None:
        self._transports[CLIENT].send(to, Channel.BULK, data)


class LiveBench:
    """Keeps the network of the last point for the next one: meeting takes longer than measuring."""

    def __init__(self) -> None:
        self._runner: asyncio.Runner | None = None
        self._network: LiveNetwork | None = None

    def measure(self, point: Point) -> SynchronizeResult:
        """On the network at hand, or on a new one. Raises ExperimentError, TransportError."""
        measured = False
        with quiet():
            try:
                if self._network is None or not self._network.fits(point):
                    self.close()
                    self._runner = asyncio.Runner(loop_factory=loop_factory())
                    self._network = LiveNetwork(point)
                    self._runner.run(self._network.open())
                assert self._runner is not None
                # What earlier measurements left behind is looked through now, and not in the middle of this one.
                gc.collect()
                gc.freeze()
                gc.disable()
                result = self._runner.run(self._network.measure(point))
                measured = True
                return result
            finally:
                gc.enable()
                gc.unfreeze()
                if not measured:
                    self.close()  # nobody knows what state it is in

    def close(self) -> None:
        """End the network."""
        runner, network, self._runner, self._network = self._runner, self._network, None, None
        if runner is not None:
            with quiet():
                if network is not None:
                    runner.run(network.close())
                runner.close()


_bench = LiveBench()
atexit.register(_bench.close)


def measure_live(point: Point) -> SynchronizeResult:
    """Run a point in real time. Raises ExperimentError, TransportError."""
    return _bench.measure(point)


def network_key(point: Point) -> tuple[object, ...]:
    """What points that are measured on one network agree in."""
    return point.nodes, point.crashed, point.engine, point.slow_primary_ms, point.dissemination == "tree"


async def _check_in_thread(entries: bytes) -> bytes:
    return await asyncio.get_running_loop().run_in_executor(None, verify_worker.check_signatures, entries)


def _peer(name: str, port: int) -> Peer:
    keys = keys_of(name)
    return Peer(node_id=keys.node_id, name=name, node_key=keys.node_public, host=LOOPBACK, port=port)


def _ignore(peer: NodeId) -> None:
    """The client has nothing to tell."""


def _ignore_reason(peer: NodeId, reason: str) -> None:
    """The client has nothing to do."""
