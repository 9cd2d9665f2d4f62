"""One configured peer: its one session, its send queues, its counters, its cool-down.

Which connection is the session? Both nodes dial, so two connections may come up at once. One of the two nodes decides:
the one with the smaller node id. It answers the greeting of the connection that it takes with READY, and refuses
others; the other node waits for READY. With one node deciding there is nothing to disagree about, and no session is
ever given up for a twin of itself. The deciding node takes a new connection in place of the session it has when the
new one proves that the old one is dead: the peer has restarted (another boot id), or the peer, which dials only while
it has no session, has dialled again. Otherwise it refuses, and asks the old one for a sign of life within
`handshake_timeout_ms`, so that a session that only we believe in does not live long.

Rule 1: only this file sets `session`. Rule 2: `connected` and `disconnected` alternate for a peer, but for faults of
attempts that led to no session, which are reported through `disconnected` too, each reason once until one succeeds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Protocol

from potchain import Channel, NodeId, Peer, PeerStatus, TransportEvents
from potchain_tcp.downlink import Incoming
from potchain_tcp.framing import Hello, refusal_of
from potchain_tcp.options import TcpOptions
from potchain_tcp.queues import SendQueue
from potchain_tcp.session import Session
from potchain_tcp.shaping import Outgoing

VOTES = Channel.VOTES
"""Looked up once: an attribute of an enumeration is slow for what happens with every frame."""
DUPLICATE = "another connection of this pair is in use"
REASONS_MAX = 16
"""Bound on reasons reported between two sessions with a peer; part of a reason is the peer's own text."""


class RemoteHost(Protocol):
    """What all peers of a transport share."""

    options: TcpOptions
    hello: Hello
    """Our greeting."""
    outgoing: Outgoing | None
    """The link model, where frames pass through it on their way out."""
    incoming: Incoming | None
    """And on their way in."""

    def flush_soon(self, remote: Remote) -> None:
        """Let a peer's queues be written out in the next tick."""
        ...


class Remote:
    """See the module's text. All times are loop times in seconds."""

    def __init__(
        self, host: RemoteHost, peer: Peer, me: NodeId, events: TransportEvents, now: Callable[[], float]
    ) -> None:
        options = host.options
        self.peer = peer
        self._host = host
        self._me = me
        self._events = events
        self._options = options
        self._now = now
        self._decides = me < peer.node_id
        self._votes = SendQueue(Channel.VOTES, options.votes_queue_bytes)
        self._bulk = SendQueue(Channel.BULK, options.bulk_queue_bytes)
        self._garbage = 0
        self._garbage_since = 0.0
        self._cool_until = 0.0
        self._reported: set[str] = set()
        """Reasons of failed attempts since the last session that the host has heard."""
        self._ended_bytes_in = 0
        self._ended_bytes_out = 0
        self._frames_in = 0
        self._frames_out = 0
        self._frames_dropped = 0
        self._settled_at = 0.0
        self.session: Session | None = None
        self.absent = asyncio.Event()
        """Set while there is no session."""
        self.absent.set()
        self.flush_wanted = False
        self.attempts = 0
        """Attempts to connect since the last stable session."""
        self.garbage_frames = 0
        """Unusable frames ever."""
        self.silenced = False
        """The transport is closing: report nothing more."""

    # Sending

    def send(self, channel: Channel, frame: bytes) -> bool:
        """Queue a frame; False when it was dropped."""
        queue = self._votes if channel is VOTES else self._bulk
        if self.session is None or not queue.push(frame):
            self._frames_dropped += 1
            return False
        if not self.flush_wanted:
            self._host.flush_soon(self)
        return True

    def reserve(self, channel: Channel, frame: bytes) -> bool:
        """As `send`, but the frame comes later, through `arrived`, or never, through `release`."""
        queue = self._votes if channel is VOTES else self._bulk
        if self.session is None or not queue.reserve(frame):
            self._frames_dropped += 1
            return False
        return True

    def arrived(self, channel: Channel, frame: bytes) -> None:
        """The link model is through with a frame."""
        (self._votes if channel is VOTES else self._bulk).enter(frame)
        if not self.flush_wanted:
            self._host.flush_soon(self)

    def release(self, channel: Channel, frame: bytes) -> None:
        """The link model lost a frame."""
        (self._votes if channel is VOTES else self._bulk).release(frame)

    def pause_reading(self) -> None:
        """Take no more from the peer for now."""
        if self.session is not None:
            self.session.pause_reading()

    def resume_reading(self) -> None:
        """Take from the peer again."""
        if self.session is not None:
            self.session.resume_reading()

    def flush(self) -> bool:
        """Write one tick's share of the queues at once; whether more could go out in the next tick."""
        session, options = self.session, self._options
        if session is None or session.paused:
            return False
        chunks: list[bytes | memoryview] = []
        if self._votes.frames:
            self._frames_out += self._votes.take(chunks, options.frames_per_tick, options.votes_queue_bytes)
        if self._bulk.frames:
            self._frames_out += self._bulk.take(chunks, options.frames_per_tick, options.bulk_bytes_per_tick)
        if chunks:
            session.write(b"".join(chunks))
        return self._waits and not session.paused

    @property
    def _waits(self) -> bool:
        return bool(self._votes.frames or self._bulk.frames)

    # What the sessions tell

    def greeted(self, session: Session, hello: Hello) -> None:
        """Refuse the connection, take it, or leave that to the peer."""
        refusal = refusal_of(self._host.hello, hello)
        if refusal is not None:
            session.close(refusal)
        elif self.cooling():
            session.close(f"refused for {self._options.cooldown_ms} ms after too many unusable frames")
        elif self._decides:
            self._decide(session)

    def _decide(self, session: Session) -> None:
        old = self.session
        restarted = old is not None and old.boot_id != session.boot_id
        dialled_again = old is not None and old.dialled is None and session.dialled is None
        if old is None or restarted or dialled_again:
            session.open_for_data()
            self._settle(session)
            return
        session.close(DUPLICATE)
        old.hear_by = self._now() + self._options.handshake_timeout_ms / 1000
        old.ping()

    def ready(self, session: Session) -> None:
        """The peer, which decides, has taken this connection."""
        if self._decides:
            self.faulted(session, "READY came from the node that does not decide")
        else:
            self._settle(session)

    def _settle(self, session: Session) -> None:
        old, self.session = self.session, session
        if old is not None:
            self._gone(old, "replaced by a new connection of the peer")
            old.close(DUPLICATE)
        session.settled()
        self._settled_at = self._now()
        self._reported.clear()
        self.absent.clear()
        if not self.silenced:
            self._events.connected(self.peer.node_id)

    def frames(self, session: Session, channel: Channel, frames: Sequence[bytes]) -> None:
        """Pass frames of the one session to the host."""
        if session is not self.session:
            self.faulted(session, "data came before READY")
            return
        self._frames_in += len(frames)
        if self.silenced:
            return
        if self._host.incoming is None:
            self._events.received(self.peer.node_id, channel, frames)
        else:
            self._host.incoming.received(self, channel, frames)

    def faulted(self, session: Session, fault: str) -> None:
        """A stream that cannot be decoded any further ends at once."""
        self._count_garbage()
        session.close(f"unusable bytes: {fault}")

    def writable(self, session: Session) -> None:
        """The connection takes more again."""
        if session is self.session and self._waits:
            self._host.flush_soon(self)

    def lost(self, session: Session, reason: str) -> None:
        """A session is over, the one or another."""
        if session is self.session:
            self.session = None
            self.absent.set()
            if self._now() - self._settled_at >= self._options.session_stable_ms / 1000:
                self.attempts = 0
            self._gone(session, reason)
        else:
            self._ended_bytes_in += session.bytes_in
            self._ended_bytes_out += session.bytes_out
            if not reason.endswith(DUPLICATE):
                self.attempt_failed(reason)

    def _gone(self, session: Session, reason: str) -> None:
        # The link model first: it may still give room back.
        if self._host.outgoing is not None:
            self._frames_dropped += self._host.outgoing.forget(self)
        if self._host.incoming is not None:
            self._host.incoming.forget(self)
        self._frames_dropped += self._votes.clear() + self._bulk.clear()
        self._ended_bytes_in += session.bytes_in
        self._ended_bytes_out += session.bytes_out
        session.bytes_in = session.bytes_out = 0
        if not self.silenced:
            self._events.disconnected(self.peer.node_id, reason)

    def attempt_failed(self, reason: str) -> None:
        """An attempt led to no session; the host hears of a reason when it is new."""
        new = reason not in self._reported and len(self._reported) < REASONS_MAX
        if self.session is None and new and not self.silenced:
            self._reported.add(reason)
            self._events.disconnected(self.peer.node_id, reason)

    # Misbehaviour

    def misbehaved(self) -> bool:
        """Count an unusable frame; whether the peer has passed the limit and must go."""
        self._count_garbage()
        return self.cooling() and self.session is not None

    def _count_garbage(self) -> None:
        now = self._now()
        if now - self._garbage_since > self._options.garbage_window_ms / 1000:
            self._garbage_since = now
            self._garbage = 0
        self.garbage_frames += 1
        self._garbage += 1
        if self._garbage >= self._options.garbage_limit:
            self._garbage = 0
            self._cool_until = now + self._options.cooldown_ms / 1000

    def cooling(self) -> bool:
        """Whether the peer is refused for now."""
        return self._now() < self._cool_until

    # Time

    def wait_s(self) -> float:
        """Seconds before the next attempt to connect: exponential, capped, drawn from the pair and the attempt."""
        options = self._options
        whole_ms = min(options.reconnect_cap_ms, options.reconnect_start_ms << min(self.attempts, 32))
        draw = sha256(self._me + self.peer.node_id + self.attempts.to_bytes(8, "big")).digest()
        half_ms = whole_ms // 2
        wait_s = (half_ms + int.from_bytes(draw[:4], "big") % (whole_ms - half_ms + 1)) / 1000
        return max(wait_s, self._cool_until - self._now())

    def check_life(self) -> None:
        """Ask a silent peer for a sign of life; give up one that is silent for too long."""
        session = self.session
        if session is None:
            return
        now = self._now()
        silent_s = now - session.heard_at
        overdue = session.hear_by is not None and now > session.hear_by
        if session.reading_paused:
            # We would not hear the peer; it shall hear that we live.
            session.ping()
        elif overdue or silent_s >= self._options.silence_limit_ms / 1000:
            session.abort(f"silent for {int(silent_s * 1000)} ms")
        elif silent_s >= self._options.ping_interval_ms / 1000:
            session.ping()

    def excuse_silence(self) -> None:
        """Our own loop stood still: the peer's silence proves nothing."""
        if self.session is not None:
            self.session.heard_at = self._now()
            self.session.hear_by = None

    def status(self) -> PeerStatus:
        """What is known now."""
        live = self.session
        return PeerStatus(
            node_id=self.peer.node_id,
            name=self.peer.name,
            address=f"{self.peer.host}:{self.peer.port}",
            connected=live is not None,
            frames_in=self._frames_in,
            frames_out=self._frames_out,
            bytes_in=self._ended_bytes_in + (live.bytes_in if live else 0),
            bytes_out=self._ended_bytes_out + (live.bytes_out if live else 0),
            frames_dropped=self._frames_dropped,
            queued_bytes=self._votes.bytes_queued + self._bulk.bytes_queued,
        )
