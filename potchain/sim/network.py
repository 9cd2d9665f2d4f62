"""Frames between simulated nodes: delay, loss, duplication, reordering, partitions, one-way cuts, sessions.

Nodes are numbered; a frame is addressed to an identity and reaches every copy of it (twins) that has a session with
the sender. A session between two nodes is what a TCP connection is: it comes up a while after both are up and hear
each other, both are told, and it ends when one of them goes down or nothing passes between them in either direction;
what was in flight is lost then. A cut in one direction loses frames and leaves the session, which is worse than TCP.

Every link and direction draws from a generator of its own, the same number of draws for each frame whatever becomes of
it, so that leaving one fault out of a plan does not reshuffle all others.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Protocol

import msgspec

from potchain.links import LinkProfile, Outbound
from potchain.primitives import NodeId
from potchain.sim.plan import Link
from potchain.sim.scheduler import Scheduler, VirtualLoop
from potchain.transport import FRAME_OVERHEAD_BYTES, Channel

PPM = 1_000_000
CONNECT_MIN_NS = 5_000_000
CONNECT_MAX_NS = 150_000_000
"""A session comes up at a time between the two after it became possible."""


Lose = Callable[[int, int, bytes, int], bool]
"""Sender, receiver, a frame's bytes, virtual time: whether the network loses this very frame."""


class Port(Protocol):
    """A node as the network sees it."""

    index: int
    name: str
    node_id: NodeId

    @property
    def loop(self) -> VirtualLoop:
        """Where its events run; only while it is attached."""
        ...

    def frame_arrived(self, sender: int, sender_id: NodeId, data: bytes) -> None:
        """A frame, in bytes."""
        ...

    def peer_up(self, peer: NodeId) -> None:
        """A session with a peer is up: its first, if the peer has copies."""
        ...

    def peer_down(self, peer: NodeId, reason: str) -> None:
        """The last session with a peer is gone."""
        ...


class _Session(msgspec.Struct, eq=False):
    """One life of a connection between two nodes."""


class _Way(msgspec.Struct, eq=False):
    """One direction of a link."""

    rng: random.Random
    cuts: int = 0
    """Faults that hold it cut now."""
    last_ns: int = 0
    """When the newest frame that keeps its order arrives."""


class _Shaped(msgspec.Struct, frozen=True):
    """A frame on a shaped link."""

    receiver: int
    session: _Session
    data: bytes
    after_ns: int
    """What the plan's own link adds."""


class Network:
    """All links of a run."""

    def __init__(
        self,
        scheduler: Scheduler,
        seed: int,
        link: Link,
        report: Callable[[str], None],
        lose: Lose | None = None,
    ) -> None:
        """`report` is told what happens to sessions, for the trace; `lose` may lose chosen frames, besides `link`."""
        self._lose = lose
        self._scheduler = scheduler
        self._seed = seed
        self._link = link
        self._report = report
        self._ports: dict[int, Port] = {}
        self._attached: dict[int, None] = {}
        self._by_id: dict[NodeId, list[int]] = {}
        self._ways: dict[tuple[int, int], _Way] = {}
        self._sessions: dict[tuple[int, int], _Session] = {}
        self._attempts: dict[tuple[int, int], _Session] = {}
        self._connect_rng: dict[tuple[int, int], random.Random] = {}
        self._outbound: dict[int, Outbound] = {}
        """Of nodes whose links are shaped, besides what the plan does to them."""
        self._wakes_ns: dict[int, int] = {}
        self.frames = 0
        """Frames that were given to it, one for each receiver."""

    # --- who is there -------------------------------------------------------------------------------------------------

    def add(self, port: Port) -> None:
        """A node exists; it is not up yet."""
        for other in self._ports.values():
            if other.node_id == port.node_id:
                continue
            for a, b in ((other.index, port.index), (port.index, other.index)):
                self._ways[a, b] = _Way(random.Random(f"{self._seed}/link/{a}/{b}"))
            pair = _pair(other.index, port.index)
            self._connect_rng[pair] = random.Random(f"{self._seed}/connect/{pair[0]}/{pair[1]}")
        self._ports[port.index] = port
        self._by_id.setdefault(port.node_id, []).append(port.index)

    def attach(self, index: int) -> None:
        """The node is up: its sessions come up as far as the faults let them."""
        self._attached[index] = None
        self._reconsider()

    def detach(self, index: int) -> None:
        """The node went down: its sessions are gone."""
        self._attached.pop(index, None)
        self._reconsider()

    def peers_of(self, index: int) -> dict[NodeId, bool]:
        """All other identities, and whether a session with one copy is up."""
        mine = self._ports[index].node_id
        return {node: self._copies_up(index, node) > 0 for node in self._by_id if node != mine}

    # --- faults -------------------------------------------------------------------------------------------------------

    def set_link(self, link: Link) -> None:
        """Other conditions on every link, for frames from now on."""
        self._link = link

    def shape(self, index: int, profile: LinkProfile) -> None:
        """What one node sends from now on passes links like these first; what waits or is under way goes on."""
        outbound, now_ns = self._outbound.get(index), self._scheduler.now_ns
        if outbound is None and not profile.off:
            self._outbound[index] = Outbound(profile, self._ports[index].name, now_ns)
        elif outbound is not None:
            outbound.change(profile, now_ns)
            self._advance(index)

    def cut(self, ways: Iterable[tuple[int, int]], by: int) -> None:
        """Cut directions (`by` 1) or end a cut of them (-1); cuts of several faults add up."""
        for way in ways:
            if way in self._ways:
                self._ways[way].cuts = max(0, self._ways[way].cuts + by)  # healing may have ended it already
        self._reconsider()

    def ways_between(self, groups: Iterable[Iterable[int]]) -> list[tuple[int, int]]:
        """Both directions of every link between two of the groups."""
        group_of = {node: number for number, group in enumerate(groups) for node in group}
        return [
            (a, b) for a, b in self._ways if a in group_of and b in group_of and group_of[a] != group_of[b]
        ]

    def heal(self) -> None:
        """End every cut."""
        for way in self._ways.values():
            way.cuts = 0
        self._reconsider()

    # --- frames -------------------------------------------------------------------------------------------------------

    def send(self, sender: int, to: NodeId, channel: Channel, data: bytes) -> list[tuple[int, str]]:
        """Send to every copy of an identity that has a session; for each, what becomes of the frame, in words."""
        fates = []
        for receiver in self._by_id.get(to, ()):
            session = self._sessions.get(_pair(sender, receiver))
            if session is not None:
                self.frames += 1
                fates.append((receiver, self._send(sender, receiver, session, channel, data)))
        return fates

    def _send(self, sender: int, receiver: int, session: _Session, channel: Channel, data: bytes) -> str:
        way, link, now_ns = self._ways[sender, receiver], self._link, self._scheduler.now_ns
        draws = [way.rng.random() for _ in range(4)]
        if way.cuts:
            return "cut"
        if draws[0] * PPM < link.loss_ppm or (self._lose is not None and self._lose(sender, receiver, data, now_ns)):
            return "lost"
        span_ns = link.latency_max_ns - link.latency_min_ns
        after_ns = link.latency_min_ns + int(draws[1] * span_ns)
        outbound = self._outbound.get(sender)
        if outbound is not None:
            frame = _Shaped(receiver, session, data, after_ns)
            size = len(data) + FRAME_OVERHEAD_BYTES
            urgent = channel is Channel.VOTES
            outbound.offer(self._ports[receiver].name, frame, size, urgent=urgent, now_ns=now_ns)
            self._advance(sender)
            return "on a shaped link"
        arrives_ns = now_ns + after_ns
        if not link.reorder:
            arrives_ns = way.last_ns = max(arrives_ns, way.last_ns)
        self._arrive(arrives_ns, sender, receiver, session, data)
        fate = f"+{(arrives_ns - now_ns) // 1_000}us"
        if draws[2] * PPM < link.duplicate_ppm:
            again_ns = arrives_ns + link.latency_min_ns + int(draws[3] * span_ns)
            self._arrive(again_ns, sender, receiver, session, data)
            fate += " twice"
        return fate

    def _advance(self, sender: int) -> None:
        """Let what has left a shaped way out arrive, and look again when the next frame leaves."""
        outbound, now_ns = self._outbound[sender], self._scheduler.now_ns
        for left in outbound.collect(now_ns):
            frame = left.item
            assert isinstance(frame, _Shaped)
            for arrives_ns in left.arrives_ns:
                self._arrive(arrives_ns + frame.after_ns, sender, frame.receiver, frame.session, frame.data)
        due_ns = outbound.next_ns(now_ns)
        if due_ns is not None and self._wakes_ns.get(sender) != due_ns:
            self._wakes_ns[sender] = due_ns
            self._scheduler.at(due_ns, self._wake, sender, due_ns)

    def _wake(self, sender: int, due_ns: int) -> None:
        if self._wakes_ns.get(sender) == due_ns:
            del self._wakes_ns[sender]
            self._advance(sender)

    def _arrive(self, time_ns: int, sender: int, receiver: int, session: _Session, data: bytes) -> None:
        self._ports[receiver].loop.outside(time_ns, self._arrived, sender, receiver, session, data)

    def _arrived(self, sender: int, receiver: int, session: _Session, data: bytes) -> None:
        if self._sessions.get(_pair(sender, receiver)) is session and not self._ways[sender, receiver].cuts:
            self._ports[receiver].frame_arrived(sender, self._ports[sender].node_id, data)

    # --- sessions -----------------------------------------------------------------------------------------------------

    def _reconsider(self) -> None:
        """After any change: end sessions that cannot be, and begin those that can."""
        for pair, rng in self._connect_rng.items():
            a, b = pair
            up = a in self._attached and b in self._attached
            cuts = bool(self._ways[a, b].cuts) + bool(self._ways[b, a].cuts)
            if pair in self._sessions:
                if not up or cuts == 2:
                    del self._sessions[pair]
                    self._report(f"node{a} and node{b} lost each other")
                    self._tell_down(a, b, "no answer" if up else "connection lost")
            elif not up or cuts:
                self._attempts.pop(pair, None)
            elif pair not in self._attempts:
                attempt = self._attempts[pair] = _Session()
                after_ns = CONNECT_MIN_NS + int(rng.random() * (CONNECT_MAX_NS - CONNECT_MIN_NS))
                self._scheduler.at(self._scheduler.now_ns + after_ns, self._connect, pair, attempt)

    def _connect(self, pair: tuple[int, int], attempt: _Session) -> None:
        if self._attempts.get(pair) is not attempt:
            return
        del self._attempts[pair]
        self._sessions[pair] = attempt
        a, b = pair
        self._report(f"node{a} and node{b} are connected")
        for me, peer in ((a, b), (b, a)):
            port, peer_id = self._ports[me], self._ports[peer].node_id
            if self._copies_up(me, peer_id) == 1:
                port.loop.outside(self._scheduler.now_ns, port.peer_up, peer_id)

    def _tell_down(self, a: int, b: int, reason: str) -> None:
        for me, peer in ((a, b), (b, a)):
            port, peer_id = self._ports[me], self._ports[peer].node_id
            if me in self._attached and not self._copies_up(me, peer_id):
                port.loop.outside(self._scheduler.now_ns, port.peer_down, peer_id, reason)

    def _copies_up(self, index: int, peer: NodeId) -> int:
        return sum(_pair(index, copy) in self._sessions for copy in self._by_id[peer])


def _pair(a: int, b: int) -> tuple[int, int]:
    return (a, b) if a < b else (b, a)
