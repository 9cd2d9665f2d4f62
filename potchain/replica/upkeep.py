"""What a replica does as time passes: tells where it is, asks for what it lacks, sends again what got lost.

Host rule (h). Every second, and on every connection, peers hear of this node's progress; without progress of its own it
sends its own messages again and asks for blocks, certificates and proposals. A node that is no validator of the current
epoch follows in this way alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from potchain.primitives import NS_PER_MS, NS_PER_S, NodeId
from potchain.replica import wire
from potchain.replica.actions import Now, Transmit
from potchain.replica.rooms import Rooms

TOLD_MAX = 24
"""Peers that hear of a node's progress in one second: with more, n * n such frames would cost more than votes."""
LATE_NS = 750 * NS_PER_MS
"""How long after the first tick that finds work a node without progress re-sends: well before the view timeout."""
TICK_NS = NS_PER_S
"""How often a node without progress re-sends and asks (host rule (h))."""


class Upkeep:
    """Re-sending, asking and telling, over the rooms of one replica."""

    def __init__(self, rooms: Rooms) -> None:
        self.progress_ns = 0
        """Monotonic time of the last executed block or certificate, or of the last look at an idle node."""
        self._me = rooms.me
        self._epochs = rooms.epochs
        self._pool = rooms.pool
        self._outbox = rooms.outbox
        self._timers = rooms.timers
        self._own = rooms.own
        self._host = rooms.host
        self._certifier = rooms.certifier
        self._catch_up = rooms.catch_up
        self._neglect = rooms.neglect
        self._desk = rooms.desk
        self._chain = rooms.chain
        self._exchange = rooms.exchange
        self._returning = rooms.returning
        self._connected = rooms.connected
        self._idle = True
        self._changing = False
        """At the last look a view change was under way."""
        self._told = 0

    @property
    def connected(self) -> Sequence[NodeId]:
        """Peers that are connected now."""
        return tuple(self._connected)

    @property
    def has_work(self) -> bool:
        """Whether something should be moving: a proposable transaction, an epoch that ends, a sequence in flight, a
        view change, a block to certify."""
        engine = self._host.engine.status()
        return (
            self._pool.proposable()[0] > 0
            or self._epochs.pending is not None
            or self._certifier.certified < self._chain.tip.height
            or bool(engine.in_flight)
            or engine.view_change is not None
        )

    def begin(self, now: Now) -> None:
        """Start ticking."""
        self.progress_ns = now.monotonic_ns
        self._timers.start("tick", now.monotonic_ns, TICK_NS)

    def peer_connected(self, peer: NodeId, now: Now) -> None:
        """Tell a new peer where this node is, and what it may have missed."""
        self._connected[peer] = None
        self._outbox.then(Transmit(peer, self._progress(now)))
        self._returning.peer_connected(peer)
        self._exchange.peer_connected(peer)
        self._own.resend(peer, self._certifier.certified)
        self._forward(peer, now)  # gossip from before the connection did not reach it

    def peer_gone(self, peer: NodeId, now: Now) -> None:
        """A peer is disconnected."""
        self._connected.pop(peer, None)
        self._returning.peer_gone(peer, now)
        self._catch_up.gone(peer)

    def ask_for_blocks(self, now: Now, *, stuck: bool) -> None:
        """Ask a peer for blocks if this node is behind. What comes after its epoch it cannot check yet."""
        last = self._epochs.last_height
        if last is not None and self._chain.gap > last:
            return
        # What peers hold certified and this node skipped while it caught up comes by itself no more.
        stuck = stuck or (self._chain.has_gap and self._catch_up.credible_height >= self._chain.gap)
        wanted = self._catch_up.blocks_wanted(self._chain.gap - 1, now.monotonic_ns, stuck=stuck)
        if wanted is not None:
            self._outbox.then(Transmit(*wanted))

    def tick(self, now: Now) -> None:
        """Once a second."""
        now_ns = now.monotonic_ns
        self._timers.start("tick", now_ns, TICK_NS)
        self._outbox.flush()
        # Our clock may be ahead of the network's by the bound that proposals are checked with, not by more.
        latest_ms = now.unix_ms - self._epochs.current.parameters.clock_bound_ms
        self._pool.expire(now_ns, max(self._chain.tip.block_time_ms, latest_ms))
        self._outbox.forget(self._pool.drain_forgotten())
        # To every peer and not to validators only: who is none yet, or none any more, follows by it.
        progress = self._progress(now)
        for peer in self._told_next():
            self._outbox.then(Transmit(peer, progress))
        self._returning.tick(tuple(self._connected), now)
        behind = self._catch_up.credible_height > self._chain.tip.height
        idle, self._idle = self._idle, not self.has_work and not behind
        if self._idle:
            self.progress_ns = now_ns
        elif idle:
            # What has begun since the last look is not late yet, but may be before the next one.
            self._timers.start("late", now_ns, LATE_NS)
        elif now_ns - self.progress_ns >= TICK_NS:
            self._again(now)
        wanted = self._catch_up.certificates_wanted(self._certifier.certified, self._chain.applied.height, now_ns)
        if wanted is not None:
            self._outbox.then(Transmit(*wanted))
        self.forward_waiting(now)
        self._host.report_work(now)

    def _told_next(self) -> list[NodeId]:
        """Whom to tell this second where this node is: all peers, or with many of them some, all in turn."""
        peers = list(self._connected)
        count = max(TOLD_MAX, -(-len(peers) // 2))  # every two seconds: the watch for copies counts on it
        if len(peers) <= count:
            return peers
        begin = self._told % len(peers)
        self._told = begin + count
        return (peers + peers)[begin : begin + count]

    def late(self, now: Now) -> None:
        """Work has waited since before the last tick."""
        if not self._idle and now.monotonic_ns - self.progress_ns >= TICK_NS:
            self._again(now)

    def _again(self, now: Now) -> None:
        """Without progress: send and ask again."""
        self._own.resend_to_all(self._certifier.certified)
        self.ask_for_blocks(now, stuck=True)
        self._exchange.fetch_again(self._catch_up.credible_height, now.monotonic_ns)

    def _progress(self, now: Now) -> wire.PeerProgress:
        height, certified = self._chain.applied.height, self._certifier.certified
        return self._returning.progress(height, certified, self._host.low, now)

    def forward_waiting(self, now: Now) -> None:
        """Half a view timeout without being proposed: make sure that the primary has it (design, timers (b)).

        From a view timeout on, and in a view change, everyone gets it: who does not know that work waits would never
        join those who leave an idle primary. In a view change that includes what is in proposals of earlier views: it
        waits as well, and others may know nothing of those proposals.
        """
        changing = self._host.engine.status().view_change is not None
        if changing and self._changing:
            self._forward(None, now, held=True)
        self._changing = changing
        since_ns = self._neglect.work_waiting().neglected_ns
        half_ns = self._epochs.current.parameters.view_timeout_ms * NS_PER_MS // 2
        if since_ns is None or now.monotonic_ns - since_ns < half_ns:
            return
        engine = self._host.engine.status()
        if engine.view_change is not None or now.monotonic_ns - since_ns >= 2 * half_ns:
            self._forward(None, now)
        elif engine.primary != self._me:
            self._forward(engine.primary, now)

    def _forward(self, to: NodeId | None, now: Now, *, held: bool = False) -> None:
        waiting = self._desk.held() if held else self._desk.waiting(now)
        if waiting:
            self._outbox.then(Transmit(to, wire.Gossip(tuple(each.raw for each in waiting))))
