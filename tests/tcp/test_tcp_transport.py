"""The transport on real sockets on 127.0.0.1."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Sequence
from hashlib import sha256

import msgspec
import pytest
from tcp_network import (
    GENESIS_HASH,
    HOST,
    LOOPS,
    SMALL_QUEUES,
    Node,
    assert_full_queues_drop_and_count,
    closed,
    eventually,
    free_port,
    node_id_of,
    node_key_of,
    pair,
    run,
    secret_of,
    with_options,
)

from potchain import FRAME_BYTES_MAX, Channel, Peer, PeerStatus, TransportConfig, TransportError, TransportEvents
from potchain_tcp import TcpFactory, TcpOptions, TcpTransport, transports
from potchain_tcp.framing import HEADER, PING_PIECE, READY_PIECE, FrameDecoder, Hello, Kind, hello_piece
from potchain_tcp.tls import NodeIdentity

GREETING = hello_piece(Hello(1, 1, GENESIS_HASH, b"raw peer's boot."))


class RawPeer:
    """The holder of a node key, who writes whatever bytes it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def dial(
        cls, node: Node, secret: bytes, greeting: bytes = GREETING, receive_bytes: int | None = None
    ) -> RawPeer:
        context = NodeIdentity(secret).client_context(node_key_of(node.index))
        connection = socket.socket()
        if receive_bytes is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, (HOST, node.transport.listen_port))
        reader, writer = await asyncio.open_connection(sock=connection, ssl=context, server_hostname="")
        writer.write(greeting)
        return cls(reader, writer)

    async def everything(self) -> FrameDecoder:
        """What the node says until it closes."""
        decoder = FrameDecoder()
        try:
            while data := await self.reader.read(16_384):
                decoder.free_space()[: len(data)] = data
                decoder.received(len(data))
        except OSError:
            pass
        await self.close()
        return decoder

    async def close(self) -> None:
        self.writer.transport.abort()
        await asyncio.sleep(0)


@pytest.mark.parametrize("loop", LOOPS)
def test_two_nodes_exchange_frames_in_order(loop: str) -> None:
    async def scenario() -> None:
        first, second = await pair()
        sent = [b"%d" % number * (number % 7 * 50) for number in range(3_000)]
        for frame in sent:
            assert first.send(1, frame)
            assert second.send(0, frame, Channel.BULK)
        await second.until(lambda: len(second.got(0)) == len(sent))
        await first.until(lambda: len(first.got(1, Channel.BULK)) == len(sent))
        assert second.got(0) == first.got(1, Channel.BULK) == sent
        assert len(second.deliveries) < len(sent) // 10, "frames of one tick come together"
        status = first.transport.peers()[0]
        assert (status.frames_out, status.frames_in, status.frames_dropped) == (3_000, 3_000, 0)
        assert status.connected
        assert status.queued_bytes == 0
        assert status.bytes_out > sum(map(len, sent)) < status.bytes_in
        await closed(first, second)

    run(scenario(), loop)


@pytest.mark.parametrize("loop", LOOPS)
def test_four_nodes_that_all_dial_have_one_session_per_pair(loop: str) -> None:
    async def scenario() -> None:
        ports = [free_port() for _ in range(4)]
        nodes = [Node(index, ports) for index in range(4)]
        await asyncio.gather(*(node.transport.start() for node in nodes))
        for node in nodes:
            await node.connected_to(*(other for other in range(4) if other != node.index))
        for node in nodes:
            for other in range(4):
                assert other == node.index or node.send(other, b"from %d" % node.index)
        for node in nodes:
            others = [other for other in range(4) if other != node.index]
            await node.until(lambda: all(node.got(other) == [b"from %d" % other] for other in others))  # noqa: B023
            await eventually(lambda: len(node.transport.sessions) == 3)  # noqa: B023
            connections = [event for event in node.story if event[0] == "connected"]
            assert sorted(other for _, other, _ in connections) == others, "none was made twice"
        await closed(*nodes)

    run(scenario(), loop)


@pytest.mark.parametrize("loop", LOOPS)
def test_simultaneous_dialling_gives_one_session_that_stays(loop: str) -> None:
    async def scenario() -> None:
        for _ in range(8):
            ports = [free_port(), free_port()]
            nodes = [Node(0, ports), Node(1, ports)]
            await asyncio.gather(*(node.transport.start() for node in nodes))
            await nodes[0].connected_to(1)
            await nodes[1].connected_to(0)
            for node in nodes:
                await eventually(lambda: len(node.transport.sessions) == 1)  # noqa: B023
                assert [event[0] for event in node.story if event[0] == "connected"] == ["connected"]
                assert node.is_connected(1 - node.index)
                assert not any("in use" in reason for _, _, reason in node.story)
            await closed(*nodes)

    run(scenario(), loop)


@pytest.mark.parametrize("loop", LOOPS)
def test_votes_pass_a_bulk_transfer(loop: str) -> None:
    async def scenario() -> None:
        first, second = await pair()
        arrivals: list[Channel] = []
        second.on_frames = lambda _, channel, frames: arrivals.extend([channel] * len(frames))
        body = os.urandom(5_000_000)
        assert first.send(1, body, Channel.BULK)
        while first.transport.peers()[0].bytes_out < 200_000:
            await asyncio.sleep(0)
        for _ in range(20):
            assert first.send(1, b"vote")
        await second.until(lambda: len(arrivals) == 21)
        assert arrivals == [Channel.VOTES] * 20 + [Channel.BULK]
        assert second.got(0, Channel.BULK) == [body]
        await closed(first, second)

    run(scenario(), loop)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_stranger_is_refused_before_anything_of_it_is_parsed(loop: str) -> None:
    async def scenario() -> None:
        first, second = await pair()
        known_bytes = first.transport.peers()[0].bytes_in
        stranger = await RawPeer.dial(first, sha256(b"stranger").digest())
        decoder = await stranger.everything()
        assert decoder.hello is None, "the node has said nothing either"
        await eventually(lambda: first.transport.refused_handshakes == 1)
        assert len(first.transport.sessions) == 1
        assert first.transport.peers()[0].bytes_in == known_bytes
        nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        nobody.check_hostname, nobody.verify_mode = False, ssl.CERT_NONE
        reader, writer = await asyncio.open_connection(HOST, first.transport.listen_port, ssl=nobody)
        assert (await RawPeer(reader, writer).everything()).hello is None
        await eventually(lambda: first.transport.refused_handshakes == 2)
        reader, writer = await asyncio.open_connection(HOST, first.transport.listen_port)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        assert b"potchain" not in await reader.read()
        writer.close()
        await eventually(lambda: first.transport.refused_handshakes == 3)
        assert first.send(1, b"still here")
        await second.until(lambda: second.got(0) == [b"still here"])
        await closed(first, second)

    run(scenario(), loop)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_node_that_answers_with_another_key_is_not_talked_to(loop: str) -> None:
    async def scenario() -> None:
        impostor = Node(0, [0, 0], secret=sha256(b"impostor").digest())
        await impostor.transport.start()
        node = Node(1, [impostor.transport.listen_port, 0])
        await node.transport.start()
        await node.told("does not hold the configured node key")
        await eventually(lambda: impostor.transport.failed_handshakes >= 1)
        assert not node.is_connected(0)
        assert impostor.story == []
        await closed(node, impostor)

    run(scenario(), loop)


def test_a_peer_cannot_lend_its_name_to_another_key() -> None:
    """Node 1 issues, with its own key, a certificate for a key that is not configured."""

    class Lender(NodeIdentity):
        def __init__(self) -> None:
            from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

            from potchain_tcp import tls

            super().__init__(secret_of(1))
            issuer, lent = self._key, Ed25519PrivateKey.from_private_bytes(sha256(b"lent").digest())
            name = tls._anchor_name(self.public_key)
            self._key = lent
            self._certificate = tls._certificate(
                lent.public_key(), tls._leaf_name(self.public_key), name, issuer, ca=False
            )

    async def scenario() -> None:
        node = Node(0, [0, 0])
        await node.transport.start()
        context = Lender().client_context(node_key_of(0))
        reader, writer = await asyncio.open_connection(
            HOST, node.transport.listen_port, ssl=context, server_hostname=""
        )
        writer.write(GREETING)
        decoder = await RawPeer(reader, writer).everything()
        assert decoder.hello is None
        assert node.story == []
        await closed(node)

    run(scenario())


def test_another_network_is_refused_with_the_reason_on_both_sides() -> None:
    async def scenario() -> None:
        first = Node(0, [0, 0])
        await first.transport.start()
        second = Node(1, [first.transport.listen_port, 0], genesis_hash=bytes(32))
        await second.transport.start()
        await first.told("another network")
        await second.told("another network")
        await eventually(lambda: second.transport.peers()[0].bytes_in > 500)
        assert not first.is_connected(1)
        assert {event[0] for node in (first, second) for event in node.story} == {"disconnected"}
        assert len(set(first.story)) == len(first.story), "a reason is reported once, not with every attempt"
        assert len(set(second.story)) == len(second.story)
        await closed(first, second)

    run(scenario())


def test_garbage_from_a_known_peer_closes_it_and_the_others_go_on() -> None:
    async def scenario() -> None:
        node = Node(0, [0, 0, 0], options=with_options(garbage_limit=3, cooldown_ms=100_000))
        await node.transport.start()
        other = Node(2, [node.transport.listen_port, 0, 0])
        await other.transport.start()
        await node.connected_to(2)
        for _ in range(3):
            raw = await RawPeer.dial(node, secret_of(1), GREETING + HEADER.pack(1, Kind.DATA, 7, 0, 0))
            assert "channel 7" in str((await raw.everything()).close_reason)
        raw = await RawPeer.dial(node, secret_of(1))
        assert "too many unusable frames" in str((await raw.everything()).close_reason)
        assert node.transport.garbage_frames(node_id_of(1)) == 3
        assert other.send(0, b"unmoved")
        await node.until(lambda: node.got(2) == [b"unmoved"])
        await closed(node, other)

    run(scenario())


@pytest.mark.parametrize(
    "bytes_sent",
    [
        b"no frame at all",
        HEADER.pack(1, Kind.DATA, 0, 0, 2**31),
        HEADER.pack(1, Kind.DATA, 0, 0, 0),
        GREETING + READY_PIECE,
        hello_piece(Hello(2, 9, GENESIS_HASH, bytes(16))),
        hello_piece(Hello(1, 1, bytes(32), bytes(16))),
    ],
    ids=["no frame", "too long", "data first", "READY of the wrong side", "wire version", "network"],
)
def test_bad_first_bytes_of_a_known_peer_are_answered_with_a_reason(bytes_sent: bytes) -> None:
    async def scenario() -> None:
        node = Node(0, [0, 0])
        await node.transport.start()
        raw = await RawPeer.dial(node, secret_of(1), bytes_sent)
        assert (await raw.everything()).close_reason
        await eventually(lambda: not node.transport.sessions)
        assert node.got(1) == []
        await closed(node)

    run(scenario())


def test_frames_the_host_cannot_use_cost_the_peer_its_connection() -> None:
    async def scenario() -> None:
        first, second = await pair(garbage_limit=3, cooldown_ms=150)

        def complain(sender: int, channel: Channel, frames: Sequence[bytes]) -> None:
            for frame in frames:
                if frame == b"nonsense":
                    first.transport.misbehaved(node_id_of(sender), "no such message")

        first.on_frames = complain
        for _ in range(3):
            second.send(0, b"nonsense")
        await first.told("too many unusable frames, the last: no such message")
        await second.told("too many unusable frames")
        assert not second.send(0, b"while away")
        await second.connected_to(0)
        await first.connected_to(1)
        assert [event[0] for event in first.story if event[0] == "connected"] == ["connected"] * 2
        assert first.transport.garbage_frames(node_id_of(1)) == 3
        first.transport.misbehaved(node_id_of(7), "nobody")
        await closed(first, second)

    run(scenario())


@pytest.mark.parametrize("loop", LOOPS)
def test_a_peer_that_comes_back_is_connected_again(loop: str) -> None:
    async def scenario() -> None:
        ports = [free_port(), free_port()]
        first, second = Node(0, ports), Node(1, ports)
        await first.transport.start()
        await first.told("cannot connect")
        await second.transport.start()
        await first.connected_to(1)
        await second.transport.close()
        await first.told("the node stops")
        assert not first.send(1, b"lost")
        assert first.transport.peers()[0].frames_dropped == 1
        again = Node(1, ports)
        await again.transport.start()
        await first.connected_to(1)
        await again.connected_to(0)
        assert again.send(0, b"back")
        await first.until(lambda: first.got(1) == [b"back"])
        await closed(first, again)

    run(scenario(), loop)


def test_the_deciding_node_keeps_its_session_when_its_own_call_comes_through_later() -> None:
    async def scenario() -> None:
        calls: asyncio.Queue[RawPeer] = asyncio.Queue()
        context = NodeIdentity(secret_of(1)).server_context([node_key_of(0)])
        server = await asyncio.start_server(
            lambda reader, writer: calls.put_nowait(RawPeer(reader, writer)), HOST, 0, ssl=context
        )
        node = Node(0, [0, server.sockets[0].getsockname()[1]])
        await node.transport.start()
        called = await calls.get()
        caller = await RawPeer.dial(node, secret_of(1))
        await node.connected_to(1)
        called.writer.write(GREETING)
        decoder = await called.everything()
        assert decoder.close_reason == "another connection of this pair is in use"
        assert not decoder.ready
        assert node.story == [("connected", 1, "")]
        assert node.send(1, b"on the one that was first")
        while not (said := await caller.reader.read(16_384)).endswith(b"on the one that was first"):
            assert said
        await caller.close()
        server.close()
        await closed(node)

    run(scenario())


def test_a_restarted_peer_takes_the_place_of_a_connection_that_we_made() -> None:
    async def scenario() -> None:
        calls: asyncio.Queue[RawPeer] = asyncio.Queue()
        context = NodeIdentity(secret_of(1)).server_context([node_key_of(0)])
        server = await asyncio.start_server(
            lambda reader, writer: calls.put_nowait(RawPeer(reader, writer)), HOST, 0, ssl=context
        )
        node = Node(0, [0, server.sockets[0].getsockname()[1]])
        await node.transport.start()
        called = await calls.get()
        called.writer.write(GREETING)
        await node.connected_to(1)
        caller = await RawPeer.dial(node, secret_of(1), hello_piece(Hello(1, 1, GENESIS_HASH, b"another boot id!")))
        assert (await called.everything()).ready
        assert [event[0] for event in node.story] == ["connected", "disconnected", "connected"]
        await caller.close()
        server.close()
        await closed(node)

    run(scenario())


def test_the_other_node_waits_for_ready() -> None:
    async def scenario() -> None:
        node = Node(1, [0, 0])
        await node.transport.start()
        first = await RawPeer.dial(node, secret_of(0))
        second = await RawPeer.dial(node, secret_of(0))
        await eventually(lambda: len(node.transport.sessions) == 2)
        assert not node.is_connected(0)
        second.writer.write(READY_PIECE)
        await node.connected_to(0)
        first.writer.write(HEADER.pack(1, Kind.DATA, 0, 0, 0))
        assert "data came before READY" in str((await first.everything()).close_reason)
        assert node.story == [("connected", 0, "")]
        await second.close()
        await closed(node)

    run(scenario())


def test_a_restarted_peer_takes_the_place_of_its_dead_connection() -> None:
    async def scenario() -> None:
        node = Node(0, [0, 0])
        await node.transport.start()
        dead = await RawPeer.dial(node, secret_of(1))
        await node.connected_to(1)
        live = await RawPeer.dial(node, secret_of(1), hello_piece(Hello(1, 1, GENESIS_HASH, b"another boot id!")))
        await node.told("replaced by a new connection")
        assert [event[0] for event in node.story] == ["connected", "disconnected", "connected"]
        await eventually(lambda: len(node.transport.sessions) == 1)
        await dead.close()
        await live.close()
        await closed(node)

    run(scenario())


def test_a_silent_peer_is_noticed() -> None:
    async def scenario() -> None:
        node = Node(0, [0, 0], options=with_options(ping_interval_ms=40, silence_limit_ms=200))
        await node.transport.start()
        raw = await RawPeer.dial(node, secret_of(1))
        await node.connected_to(1)
        await node.told("silent for")
        await raw.close()
        await closed(node)

    run(scenario())


def test_idle_peers_keep_each_other_alive() -> None:
    async def scenario() -> None:
        first, second = await pair(ping_interval_ms=5, silence_limit_ms=100)
        enough = first.transport.peers()[0].bytes_in + 40 * HEADER.size
        await eventually(lambda: first.transport.peers()[0].bytes_in > enough)
        now = asyncio.get_running_loop().time
        stalled_until = now() + 0.15  # longer than the limit: our own standstill is not the peer's silence
        while now() < stalled_until:
            pass
        enough += 20 * HEADER.size
        await eventually(lambda: first.transport.peers()[0].bytes_in > enough)
        assert [event[0] for node in (first, second) for event in node.story] == ["connected"] * 2
        await closed(first, second)

    run(scenario())


def test_who_never_greets_is_closed() -> None:
    async def scenario() -> None:
        node = Node(0, [0, 0], options=with_options(handshake_timeout_ms=300))
        await node.transport.start()
        raw = await RawPeer.dial(node, secret_of(1), b"")
        assert "no greeting within 300 ms" in str((await raw.everything()).close_reason)
        with socket.create_connection((HOST, node.transport.listen_port)):
            await eventually(lambda: node.transport.failed_handshakes == 1)
        await closed(node)

    run(scenario())


def test_full_queues_drop_and_count() -> None:
    async def scenario() -> None:
        first, second = await pair(**SMALL_QUEUES)
        await assert_full_queues_drop_and_count(first, second)
        await closed(first, second)

    run(scenario())


@pytest.mark.parametrize("loop", LOOPS)
def test_a_peer_that_does_not_read_fills_its_queue_and_nothing_else(loop: str) -> None:
    async def scenario() -> None:
        node = Node(0, [0, 0, 0], options=with_options(bulk_queue_bytes=1_000_000))
        await node.transport.start()
        other = Node(2, [node.transport.listen_port, 0, 0])
        await other.transport.start()
        raw = await RawPeer.dial(node, secret_of(1), receive_bytes=16_384)
        raw.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await node.connected_to(1, 2)

        def status() -> PeerStatus:
            return node.transport.peers()[0]

        for _ in range(1_000):
            node.send(1, bytes(100_000), Channel.BULK)
            await asyncio.sleep(0)
        stuck = status().bytes_out
        assert status().frames_dropped > 0
        assert status().queued_bytes <= 1_000_000
        assert stuck < 800_000, "little waits in our own and the kernel's buffers"
        heard = status().bytes_in
        for _ in range(20):
            raw.writer.write(PING_PIECE)
            await eventually(lambda: status().bytes_in > heard)  # noqa: B023
            heard = status().bytes_in
        assert status().bytes_out == stuck, "answers would pile up"
        assert node.send(2, b"flows")
        await other.until(lambda: other.got(0) == [b"flows"])
        await raw.close()
        await closed(node, other)

    run(scenario(), loop)


def test_the_largest_frame_passes_and_a_larger_one_is_dropped() -> None:
    async def scenario() -> None:
        first, second = await pair()
        longest = bytes(FRAME_BYTES_MAX)
        assert not first.send(1, longest + b"x", Channel.BULK)
        assert first.send(1, longest, Channel.BULK)
        await second.until(lambda: second.got(0, Channel.BULK) == [longest])
        await closed(first, second)

    run(scenario())


def test_close_releases_the_port_and_may_be_repeated() -> None:
    async def scenario() -> None:
        first, second = await pair()
        port = first.transport.listen_port
        busy = Node(0, [port, 0])
        with pytest.raises(TransportError, match=f"cannot listen on 127.0.0.1:{port}"):
            await busy.transport.start()
        await busy.transport.close()
        with pytest.raises(TransportError, match="started before"):
            await first.transport.start()
        first.send(1, b"last words")
        await first.transport.close()
        await first.transport.close()
        await second.told("the node stops")
        assert second.got(0) == [b"last words"]
        again = Node(0, [port, 0])
        await again.transport.start()
        await closed(again, second)
        await Node(0, [0, 0]).transport.close()

    run(scenario())


def test_close_in_the_middle_of_everything() -> None:
    async def scenario() -> None:
        for ticks in range(0, 30, 3):
            ports = [free_port() for _ in range(3)]
            nodes = [Node(index, ports) for index in range(3)]
            for node in nodes:
                await node.transport.start()
            for _ in range(ticks):
                await asyncio.sleep(0)
            await closed(*nodes)

    run(scenario())


def config_with(*peers: Peer, secret: bytes = secret_of(0), genesis_hash: bytes = GENESIS_HASH) -> TransportConfig:
    return TransportConfig(
        me=node_id_of(0),
        node_key_secret=secret,
        genesis_hash=genesis_hash,
        listen_host=HOST,
        listen_port=0,
        peers=peers,
    )


EVENTS = TransportEvents(received=lambda *_: None, connected=lambda _: None, disconnected=lambda *_: None)


def test_what_cannot_work_is_refused_at_once() -> None:
    good = Peer(node_id=node_id_of(1), name="node1", node_key=node_key_of(1), host=HOST, port=1)

    def refuses(config: TransportConfig, text: str) -> None:
        with pytest.raises(TransportError, match=text):
            TcpTransport(config, EVENTS, TcpOptions())

    change = msgspec.structs.replace
    refuses(config_with(good, secret=b"short"), "node key has 32 bytes")
    refuses(config_with(good, genesis_hash=b""), "genesis hash has 32 bytes")
    refuses(config_with(change(good, node_key=b"x")), "no Ed25519 public key")
    refuses(config_with(good, good), "node id or node key of another peer")
    refuses(config_with(change(good, node_key=node_key_of(0))), "or of this node")
    refuses(config_with(change(good, host="a..b")), "no host name")
    refuses(config_with(change(good, port=65_536)), "not between 0 and 65535")
    own = change(good, node_id=node_id_of(0))
    assert TcpTransport(config_with(own), EVENTS, TcpOptions()).peers() == ()


def test_the_plug_in_offers_tcp() -> None:
    (factory,) = transports()
    assert isinstance(factory, TcpFactory)
    assert factory.name == "tcp"
    assert factory.options_type is TcpOptions
    options = msgspec.convert({"garbage_limit": 5}, factory.options_type)
    assert isinstance(factory.create(config_with(), EVENTS, options), TcpTransport)
    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        msgspec.convert({"garbage_limits": 5}, factory.options_type)
    with pytest.raises(msgspec.ValidationError, match=">= 1"):
        msgspec.convert({"ping_interval_ms": 0}, factory.options_type)
