"""Links between the nodes of an experiment in virtual time: `potchain.links` and nothing else.

Until conditions are applied a frame arrives a microsecond after it was sent, so that nodes can meet quickly.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from potchain.experiment.lab.traffic import Traffic
from potchain.links import Inbound, LinkProfile, Outbound
from potchain.primitives import NodeId
from potchain.sim.scheduler import Scheduler, VirtualLoop
from potchain.transport import FRAME_OVERHEAD_BYTES, Channel

MEETING_NS = 1_000


class Endpoint(msgspec.Struct, eq=False):
    """A node or the client."""

    name: str
    node_id: NodeId
    loop: VirtualLoop | None
    """Where what arrives is handled; None: by the world itself."""
    received: Callable[[NodeId, Channel, bytes], None]
    outbound: Outbound | None = None
    inbound: Inbound | None = None
    wake_ns: int | None = None
    """When its way out is looked at next."""


class _Frame(msgspec.Struct, frozen=True):
    to: Endpoint
    channel: Channel
    data: bytes


class LinkNetwork:
    """All links of a run."""

    def __init__(self, scheduler: Scheduler, traffic: Traffic) -> None:
        self._scheduler = scheduler
        self._traffic = traffic
        self._by_id: dict[NodeId, Endpoint] = {}
        self._by_name: dict[str, Endpoint] = {}

    def add(self, endpoint: Endpoint) -> None:
        """Somebody who sends and receives."""
        self._by_id[endpoint.node_id] = endpoint
        self._by_name[endpoint.name] = endpoint

    def apply(self, profile: LinkProfile) -> None:
        """These conditions hold for what is sent from now on."""
        if profile.off:
            return
        now_ns = self._scheduler.now_ns
        for endpoint in self._by_id.values():
            endpoint.outbound = Outbound(profile, endpoint.name, now_ns)
            endpoint.inbound = Inbound(profile, now_ns)

    def send(self, sender: Endpoint, to: NodeId, channel: Channel, data: bytes) -> bool:
        """Put a frame on a link; False when nobody has that id."""
        receiver = self._by_id.get(to)
        if receiver is None:
            return False
        now_ns = self._scheduler.now_ns
        self._traffic.sent(sender.name, data, now_ns)
        if sender.outbound is None:
            self._at(now_ns + MEETING_NS, sender, receiver, channel, data)
            return True
        frame = _Frame(receiver, channel, data)
        size = len(data) + FRAME_OVERHEAD_BYTES
        sender.outbound.offer(receiver.name, frame, size, urgent=channel == Channel.VOTES, now_ns=now_ns)
        self._advance(sender)
        return True

    def _advance(self, sender: Endpoint) -> None:
        """Let what has left arrive; look again when the next frame leaves."""
        assert sender.outbound is not None
        now_ns = self._scheduler.now_ns
        for left in sender.outbound.collect(now_ns):
            frame = left.item
            assert isinstance(frame, _Frame)
            for arrives_ns in left.arrives_ns:
                self._schedule(
                    frame.to, arrives_ns, self._come, sender, frame, left.size_bytes, left.sending_ns
                )
        due_ns = sender.outbound.next_ns(now_ns)
        if due_ns is not None and (sender.wake_ns is None or due_ns < sender.wake_ns):
            sender.wake_ns = due_ns
            self._scheduler.at(due_ns, self._wake, sender, due_ns)

    def _wake(self, sender: Endpoint, due_ns: int) -> None:
        if sender.wake_ns == due_ns:
            sender.wake_ns = None
            self._advance(sender)

    def _come(self, sender: Endpoint, frame: _Frame, size_bytes: int, sending_ns: int) -> None:
        """Its last bit is here; through the downlink that all senders share it may take longer."""
        assert frame.to.inbound is not None
        now_ns = self._scheduler.now_ns
        through_ns = frame.to.inbound.through_ns(size_bytes, sending_ns, now_ns)
        if through_ns <= now_ns:
            self._hand_over(sender, frame.to, frame.channel, frame.data)
        else:
            self._at(through_ns, sender, frame.to, frame.channel, frame.data)

    def _at(self, time_ns: int, sender: Endpoint, receiver: Endpoint, channel: Channel, data: bytes) -> None:
        self._schedule(receiver, time_ns, self._hand_over, sender, receiver, channel, data)

    def _schedule(self, receiver: Endpoint, time_ns: int, callback: Callable[..., None], *args: object) -> None:
        if receiver.loop is None:
            self._scheduler.at(time_ns, callback, *args)
        else:
            receiver.loop.outside(time_ns, callback, *args)

    def _hand_over(self, sender: Endpoint, receiver: Endpoint, channel: Channel, data: bytes) -> None:
        self._traffic.arrived(sender.name, data, self._scheduler.now_ns)
        receiver.received(sender.node_id, channel, data)
