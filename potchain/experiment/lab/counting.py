"""Around a node's real transport: every frame is told of, and a slow node gets its frames one after another."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence

from potchain.links import LinkProfile
from potchain.primitives import NodeId
from potchain.transport import Channel, Peer, PeerStatus, Transport

Receive = Callable[[NodeId, Channel, Sequence[bytes]], None]
"""As `TransportEvents.received`."""


class Counted:
    """A node's transport, with every frame counted: `potchain.transport.Transport`."""

    def __init__(self, name: str, sent: Callable[[str, bytes, int], None]) -> None:
        """`sent` is told of every frame, with the name and monotonic nanoseconds."""
        self._name = name
        self._sent = sent
        self.inner: Transport

    @property
    def is_made(self) -> bool:
        """Whether there is anything to close."""
        return hasattr(self, "inner")

    async def start(self) -> None:
        """Listen and begin to connect."""
        await self.inner.start()

    def send(self, to: NodeId, channel: Channel, frame: bytes) -> bool:
        """Queue a frame."""
        self._sent(self._name, frame, time.monotonic_ns())
        return self.inner.send(to, channel, frame)

    def misbehaved(self, peer: NodeId, reason: str) -> None:
        """Count an unusable frame."""
        self.inner.misbehaved(peer, reason)

    def peers(self) -> tuple[PeerStatus, ...]:
        """All peers of now."""
        return self.inner.peers()

    def set_peers(self, peers: Sequence[Peer]) -> None:
        """These are the peers."""
        self.inner.set_peers(peers)

    def set_links(self, links: LinkProfile) -> None:
        """Emulate these conditions."""
        self.inner.set_links(links)

    async def close(self) -> None:
        """Close every connection."""
        await self.inner.close()


class SlowReceiver:
    """Hands frames over one after another, each after some time: a node that is slow."""

    def __init__(self, receive: Receive, step_s: float) -> None:
        self._receive = receive
        self._step_s = step_s
        self._waiting: deque[tuple[NodeId, Channel, bytes]] = deque()
        self._busy = False
        self.is_slow = False
        """From the measurement on: the meeting is not what is measured."""

    def received(self, sender: NodeId, channel: Channel, frames: Sequence[bytes]) -> None:
        """As `TransportEvents.received`."""
        if not self.is_slow:
            self._receive(sender, channel, frames)
            return
        self._waiting.extend((sender, channel, frame) for frame in frames)
        self._next()

    def _next(self) -> None:
        if self._waiting and not self._busy:
            self._busy = True
            asyncio.get_running_loop().call_later(self._step_s, self._hand_over)

    def _hand_over(self) -> None:
        self._busy = False
        sender, channel, frame = self._waiting.popleft()
        self._receive(sender, channel, (frame,))
        self._next()
