"""Mode "virtual": the shipping nodes on virtual time, over `potchain.links`. The same point gives the same bytes.

Nothing takes time but the links: a node answers in the moment in which a frame arrives, and signature checks, which are
really made, are remembered over all nodes. So the result is what the links and the protocol cost, and no machine.
"""

from __future__ import annotations

import gc
from collections.abc import Sequence
from typing import Any

import msgspec

from potchain.errors import ExperimentError
from potchain.experiment.lab.client import Client
from potchain.experiment.lab.network import Endpoint, LinkNetwork
from potchain.experiment.lab.node import LabNode, Laboratory, open_laboratory
from potchain.experiment.lab.settings import (
    CLIENT,
    GENESIS_MS,
    client_id,
    keys_of,
    node_name,
    profile_of,
    time_limit_ns,
)
from potchain.experiment.lab.traffic import Traffic
from potchain.experiment.measuring import quiet, result_of
from potchain.experiment.point import Point
from potchain.experiment.result import SynchronizeResult
from potchain.links import LinkProfile
from potchain.primitives import NS_PER_MS, NS_PER_S, NodeId
from potchain.replica.actions import Now
from potchain.sim.scheduler import Scheduler, VirtualLoop
from potchain.sim.verification import VerificationMemory
from potchain.transport import Channel, Peer, PeerStatus

MEETING_MOST_NS = 30 * NS_PER_S
"""Nodes that have not met by then never will."""
START_AFTER_NS = 500 * NS_PER_MS
"""The client begins half-way between two ticks of the nodes, which all began at the same moment."""


class VirtualClock:
    """The clock of all nodes."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    def now(self) -> Now:
        """Both readings."""
        now_ns = self._scheduler.now_ns
        return Now(now_ns, GENESIS_MS + now_ns // NS_PER_MS)


class VirtualLinks:
    """A node's transport: `potchain.transport.Transport`."""

    def __init__(self, network: LinkNetwork, endpoint: Endpoint) -> None:
        self._network = network
        self._endpoint = endpoint

    async def start(self) -> None:
        """Nothing to bind."""

    def send(self, to: NodeId, channel: Channel, frame: bytes) -> bool:
        """Put a frame on a link."""
        return self._network.send(self._endpoint, to, channel, frame)

    def misbehaved(self, peer: NodeId, reason: str) -> None:
        """Nobody lies in an experiment."""
        raise ExperimentError(f"{self._endpoint.name} blames a peer: {reason}; this is a bug of potchain")

    def peers(self) -> tuple[PeerStatus, ...]:
        """Nobody asks."""
        return ()

    def set_peers(self, peers: Sequence[Peer]) -> None:
        """Everybody is let in."""

    def set_links(self, links: LinkProfile) -> None:
        """The run applies its conditions to all links at once."""

    async def close(self) -> None:
        """Nothing to release."""


class VirtualRun:
    """One point, from the nodes' first meeting to the client's last reply."""

    def __init__(self, point: Point) -> None:
        self._point = point
        self._scheduler = Scheduler()
        self._traffic = Traffic(CLIENT)
        self._network = LinkNetwork(self._scheduler, self._traffic)
        self._memory = VerificationMemory()
        self._laboratory = open_laboratory([point])
        self._nodes: list[LabNode] = []
        self._faults: list[str] = []
        up = range(point.nodes - point.crashed)
        ids = [keys_of(node_name(index)).node_id for index in up]
        self._client = Client(point, self._laboratory.genesis, ids, self._memory.verify_vote)
        self._endpoint = Endpoint(CLIENT, client_id(), None, self._client_received)
        self._network.add(self._endpoint)
        loops = [self._scheduler.make_loop(self._fault) for _ in up]
        self._primary_loop = loops[0]
        for index in up:
            self._build(self._laboratory, index, loops[index])
        self._retry_ns = 0

    def measure(self) -> SynchronizeResult:
        """Raises ExperimentError when a node fails."""
        scheduler, client = self._scheduler, self._client
        for node in self._nodes:
            for other in self._nodes:
                if other is not node:
                    node.driver.peer_connected(other.node_id)
            node.driver.peer_connected(client_id())
        while not all(node.ready for node in self._nodes):
            if scheduler.now_ns > MEETING_MOST_NS or self._faults:
                raise ExperimentError(f"the nodes did not come together: {self._faults[:1]}")
            scheduler.run(scheduler.now_ns + NS_PER_S // 10, lambda: False)
        began_ns = -(-scheduler.now_ns // NS_PER_S) * NS_PER_S + START_AFTER_NS
        scheduler.run(began_ns, lambda: False)
        self._network.apply(profile_of(self._point))
        # Only now, or the client would wait for what the primary still has to read of the nodes' meeting.
        self._primary_loop.step_ns = round(self._point.slow_primary_ms * NS_PER_MS)
        self._traffic.begin(began_ns)
        limit_ns = time_limit_ns(self._point)
        self._retry_ns = limit_ns // 8
        scheduler.at(began_ns, self._hand_over)
        scheduler.run(began_ns + limit_ns, lambda: client.done or bool(self._faults))
        if self._faults:
            raise ExperimentError(self._faults[0])
        return self._result(began_ns)

    def close(self) -> None:
        """Give everything back."""
        self._scheduler.clear()

    def _build(self, laboratory: Laboratory, index: int, loop: VirtualLoop) -> None:
        endpoint = Endpoint(node_name(index), keys_of(node_name(index)).node_id, loop, _nobody)
        self._network.add(endpoint)
        keys = keys_of(node_name(index))

        def build() -> None:
            node = LabNode(
                laboratory,
                index,
                keys=msgspec.structs.replace(keys, consensus=self._memory.key(keys.consensus.secret)),
                clock=VirtualClock(self._scheduler),
                run_check=self._memory.check_signatures,
                verify=self._memory.verify_vote,
                executed=lambda name, block: self._client.block_executed(name, block, self._scheduler.now_ns),
            )
            endpoint.received = lambda sender, channel, data: node.driver.frames_received(sender, channel, (data,))
            node.driver.failure.add_done_callback(lambda failure: self._faults.append(str(failure.result())))
            node.start(VirtualLinks(self._network, endpoint))
            self._nodes.append(node)

        loop.call_soon(build)
        self._scheduler.run(self._scheduler.now_ns, lambda: False)

    def _hand_over(self) -> None:
        if not self._client.done:
            self._client.hand_over(self._client_sends)
            self._scheduler.at(self._scheduler.now_ns + self._retry_ns, self._hand_over)

    def _client_sends(self, to: NodeId, data: bytes) -> None:
        self._network.send(self._endpoint, to, Channel.BULK, data)

    def _client_received(self, sender: NodeId, channel: Channel, data: bytes) -> None:
        self._client.received(data, self._scheduler.now_ns)

    def _fault(self, context: dict[str, Any]) -> None:
        fault = context.get("exception")
        self._faults.append(f"{type(fault).__name__}: {fault}" if fault else str(context.get("message")))

    def _result(self, began_ns: int) -> SynchronizeResult:
        times = self._client.times()
        return result_of(self._point, began_ns, times, self._traffic, self._nodes, None)


def measure_virtual(point: Point) -> SynchronizeResult:
    """Run a point in virtual time. Raises ExperimentError."""
    with quiet():
        run = VirtualRun(point)
        try:
            return run.measure()
        finally:
            run.close()
            del run
            gc.collect()  # a run is full of cycles, and its bodies are large: the next one needs the room


def _nobody(sender: NodeId, channel: Channel, data: bytes) -> None:
    raise AssertionError("nothing is sent to a node before it is built")
