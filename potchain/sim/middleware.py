"""What stands between a Byzantine node and the network: the contract, and what an attacker has to work with."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Protocol

import msgspec

from potchain.consensus.interface import EngineFactory
from potchain.crypto import SigningKey
from potchain.errors import CodecError
from potchain.genesis import Genesis
from potchain.primitives import NodeId
from potchain.replica import wire


class Middleware(Protocol):
    """What a Byzantine node's frames pass through. The node itself is the shipping one and knows nothing of it."""

    def outgoing(self, to: NodeId, frame: wire.Frame, now_ns: int) -> Iterable[tuple[NodeId, wire.Frame | bytes]]:
        """What is sent instead of this frame, once for each of its receivers; nothing, to swallow it.

        Bytes go on the wire as they are, whether or not they are a frame.
        """
        ...

    def incoming(self, sender: NodeId, frame: wire.Frame, now_ns: int) -> Iterable[wire.Frame]:
        """What the node gets instead of this frame."""
        ...


class Attacker(msgspec.Struct, frozen=True, kw_only=True):
    """What middleware has to work with."""

    index: int
    key: SigningKey
    """The node's consensus key: it can sign anything."""
    node_id: NodeId
    genesis: Genesis
    engine: EngineFactory
    rng: random.Random
    """Its own generator: draw from no other."""
    peers: tuple[NodeId, ...]
    """All other identities."""
    inject: Callable[[NodeId, wire.Frame], None]
    """Send a frame of its own making, past `outgoing`."""


def decoded(data: bytes) -> wire.Frame | None:
    """The frame, or None for bytes that are none."""
    try:
        return wire.decode_frame(data)
    except CodecError:
        return None


def encoded(frame: wire.Frame | bytes) -> bytes:
    """Bytes of a frame; rubbish is bytes already."""
    return frame if isinstance(frame, bytes) else wire.encode_frame(frame)
