"""Makes small networks of `TcpTransport` on 127.0.0.1 for the tests in tests/tcp."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import socket
from collections.abc import Callable, Coroutine, Sequence
from hashlib import sha256

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from potchain import OFF, Channel, LinkProfile, NodeId, Peer, TransportConfig, TransportEvents
from potchain_tcp import TcpOptions, TcpTransport

HOST = "127.0.0.1"
GENESIS_HASH = sha256(b"the network of these tests").digest()
WAIT_S = 8.0
"""Bound on every wait; nothing here takes a tenth of it on a free machine."""
FAST = TcpOptions(reconnect_start_ms=10, reconnect_cap_ms=80, session_stable_ms=20, close_timeout_ms=300)
LOOPS = ("asyncio", "uvloop") if importlib.util.find_spec("uvloop") else ("asyncio",)
"""Event loops that are installed."""


def secret_of(index: int) -> bytes:
    """Node key secret of node `index`."""
    return sha256(b"node key %d" % index).digest()


def node_key_of(index: int) -> bytes:
    """Node key of node `index`."""
    return Ed25519PrivateKey.from_private_bytes(secret_of(index)).public_key().public_bytes_raw()


def node_id_of(index: int) -> NodeId:
    """Ids grow with the index, so node 0 decides for every pair that it is in."""
    return NodeId(bytes([index + 1]) * 20)


_PORTS = iter(range(10_000 + os.getpid() % 50 * 100, 18_000))
"""Below the ports that systems give to callers, so that no connection of this process takes one of them."""


def free_port() -> int:
    """A port that was free a moment ago and that no earlier call gave."""
    for port in _PORTS:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((HOST, port))
            return port
    raise AssertionError("no free port is left")


def run(work: Coroutine[None, None, None], loop: str = "asyncio") -> None:
    """Run a test on an event loop; anything that reaches the loop's exception handler fails it."""
    faults: list[dict[str, object]] = []

    async def watched() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
        async with asyncio.timeout(2 * WAIT_S):
            await work
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    if loop == "uvloop":
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(watched())
    else:
        with asyncio.Runner() as runner:
            runner.run(watched())
    assert not faults, faults


class Node:
    """A transport and all that it reported."""

    def __init__(
        self,
        index: int,
        ports: Sequence[int],
        *,
        options: TcpOptions = FAST,
        genesis_hash: bytes = GENESIS_HASH,
        secret: bytes | None = None,
        links: LinkProfile = OFF,
    ) -> None:
        """Node `index` of len(ports); a peer whose port is 0 is not dialled."""
        self.index = index
        self.frames: dict[tuple[int, Channel], list[bytes]] = {}
        self.deliveries: list[tuple[int, Channel, int]] = []
        self.story: list[tuple[str, int, str]] = []
        self._changed = asyncio.Event()
        peers = tuple(
            Peer(node_id=node_id_of(i), name=f"node{i}", node_key=node_key_of(i), host=HOST, port=port)
            for i, port in enumerate(ports)
            if i != index
        )
        config = TransportConfig(
            me=node_id_of(index),
            node_key_secret=secret or secret_of(index),
            genesis_hash=genesis_hash,
            listen_host=HOST,
            listen_port=ports[index],
            peers=peers,
            name=f"node{index}",
            links=links,
        )
        events = TransportEvents(received=self._received, connected=self._connected, disconnected=self._disconnected)
        self.transport = TcpTransport(config, events, options)
        self.on_frames: Callable[[int, Channel, Sequence[bytes]], None] | None = None

    def _received(self, peer: NodeId, channel: Channel, frames: Sequence[bytes]) -> None:
        sender = peer[0] - 1
        self.frames.setdefault((sender, channel), []).extend(frames)
        self.deliveries.append((sender, channel, len(frames)))
        if self.on_frames is not None:
            self.on_frames(sender, channel, frames)
        self._changed.set()

    def _connected(self, peer: NodeId) -> None:
        self.story.append(("connected", peer[0] - 1, ""))
        self._changed.set()

    def _disconnected(self, peer: NodeId, reason: str) -> None:
        self.story.append(("disconnected", peer[0] - 1, reason))
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that a report makes true."""
        async with asyncio.timeout(WAIT_S):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def connected_to(self, *others: int) -> None:
        """Wait for sessions."""
        await self.until(lambda: all(self.is_connected(other) for other in others))

    async def told(self, text: str) -> None:
        """Wait for a disconnection whose reason contains `text`."""
        await self.until(lambda: any(text in reason for _, _, reason in self.story))

    def is_connected(self, other: int) -> bool:
        """Whether there is a session with a node now."""
        return any(status.connected for status in self.transport.peers() if status.node_id == node_id_of(other))

    def send(self, other: int, frame: bytes, channel: Channel = Channel.VOTES) -> bool:
        """Send a frame to a node."""
        return self.transport.send(node_id_of(other), channel, frame)

    def got(self, other: int, channel: Channel = Channel.VOTES) -> list[bytes]:
        """Frames that came from a node."""
        return self.frames.get((other, channel), [])


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait for something that no report announces."""
    async with asyncio.timeout(WAIT_S):
        while not condition():
            await asyncio.sleep(0.002)


def with_options(**changes: int) -> TcpOptions:
    """FAST with changes."""
    return msgspec.structs.replace(FAST, **changes)


async def pair(links: LinkProfile = OFF, **changes: int) -> tuple[Node, Node]:
    """Two nodes, connected, both with these conditions; node 1 dials."""
    options = with_options(**changes)
    first = Node(0, [0, 0], options=options, links=links)
    await first.transport.start()
    second = Node(1, [first.transport.listen_port, 0], options=options, links=links)
    await second.transport.start()
    await first.connected_to(1)
    await second.connected_to(0)
    return first, second


async def closed(*nodes: Node) -> None:
    """Close transports; nothing of theirs is left."""
    await asyncio.gather(*(node.transport.close() for node in nodes))
    assert not any(node.transport.sessions for node in nodes)


SMALL_QUEUES = {"votes_queue_bytes": 1_000, "bulk_queue_bytes": 50_000}


async def assert_full_queues_drop_and_count(first: Node, second: Node) -> None:
    """With `SMALL_QUEUES`: what finds no room is dropped and counted, whatever the links are like."""
    assert [first.send(1, bytes(100)) for _ in range(20)] == [True] * 9 + [False] * 11
    assert not first.send(1, bytes(60_000), Channel.BULK)
    assert not first.send(5, b"nobody")
    assert first.transport.peers()[0].frames_dropped == 12
    assert first.transport.peers()[0].queued_bytes == 9 * 108
    await second.until(lambda: len(second.got(0)) == 9)
    assert first.send(1, b"room again")
