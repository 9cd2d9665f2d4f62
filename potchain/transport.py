"""What a transport plug-in is: authenticated, encrypted, ordered byte frames between nodes known by key.

The transport knows peers by `NodeId` and pins each to its Ed25519 node key before a byte of it is parsed. It drops and
counts rather than grows: every queue is bounded, and a frame to a peer that is away is dropped, because the host
re-sends what matters (host rule (h)). Frames of channel VOTES go ahead of BULK.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from potchain.links import OFF, LinkProfile
from potchain.primitives import NodeId

FRAME_BYTES_MAX = 8 * 1024 * 1024
"""Bound on one frame, both ways; a longer announced one closes the connection."""


FRAME_OVERHEAD_BYTES = 8
"""What the link model counts for a frame besides its bytes."""


class Channel(enum.IntEnum):
    """Priority class of a frame."""

    VOTES = 0
    """Small consensus messages; never waits behind BULK."""
    BULK = 1
    """Transaction gossip, bodies, catch-up; cut into pieces so that votes pass between them."""


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """Another node, as configured."""

    node_id: NodeId
    name: str
    node_key: bytes
    """32-byte Ed25519 public key that its certificate must show."""
    host: str
    port: int
    """0: its address is not known here; it is expected to call."""


class PeerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What the transport knows of a peer now."""

    node_id: NodeId
    name: str
    address: str
    connected: bool
    frames_in: int
    frames_out: int
    bytes_in: int
    bytes_out: int
    frames_dropped: int
    """Frames not sent because the peer was away or its queue was full."""
    queued_bytes: int


class TransportEvents(msgspec.Struct, frozen=True, kw_only=True):
    """Where the transport reports; called on the event loop, never re-entrantly from `send`."""

    received: Callable[[NodeId, Channel, Sequence[bytes]], None]
    """Whole frames of one loop tick from one peer and channel, in order."""
    connected: Callable[[NodeId], None]
    disconnected: Callable[[NodeId, str], None]
    """With the reason, for the log."""


class TransportConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What the node gives a transport."""

    me: NodeId
    node_key_secret: bytes
    """32-byte Ed25519 private key."""
    genesis_hash: bytes
    listen_host: str
    listen_port: int
    peers: tuple[Peer, ...]
    name: str = ""
    """This node's own name: what rules of `links` call it."""
    links: LinkProfile = OFF
    """Network conditions to emulate on frames of the host; off: nothing is emulated."""


class Transport(Protocol):
    """A running transport."""

    async def start(self) -> None:
        """Listen and begin to connect. Raises TransportError when the address cannot be bound."""
        ...

    def send(self, to: NodeId, channel: Channel, frame: bytes) -> bool:
        """Queue a frame; False when it was dropped (peer away, queue full). Never blocks, never raises for a peer."""
        ...

    def misbehaved(self, peer: NodeId, reason: str) -> None:
        """The host could not use a frame of this peer: count it; past the limit close the connection for a while."""
        ...

    def peers(self) -> tuple[PeerStatus, ...]:
        """All peers of now."""
        ...

    def set_peers(self, peers: Sequence[Peer]) -> None:
        """From now on these are the peers, and nobody else is let in: validators come and go with the epochs.

        Sessions with peers that stay as they are go on; those with others end. Raises TransportError, with nothing
        changed, for peers that could not be told apart.
        """
        ...

    def set_links(self, links: LinkProfile) -> None:
        """Emulate these conditions from now on; the phases of the profile count from now.

        Frames that wait under the old conditions go on under the new ones, in their order.
        """
        ...

    async def close(self) -> None:
        """Stop listening, close every connection, release the port."""
        ...


class TransportFactory(Protocol):
    """What a transport plug-in offers through the hook `transports`."""

    name: str
    version: str
    options_type: type[msgspec.Struct]
    """Decoded once from the table [transport.<name>] of the node's configuration."""

    def create(self, config: TransportConfig, events: TransportEvents, options: msgspec.Struct) -> Transport:
        """A transport that is not started yet."""
        ...
