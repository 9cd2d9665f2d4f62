"""The link model on a running transport, on real sockets: what comes, in which order, what is lost. No durations."""

from __future__ import annotations

import asyncio
import os

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
    node_key_of,
    pair,
    run,
    secret_of,
    with_options,
)

from potchain import ANY, OFF, Channel, Conditions, LinkProfile, Phase, Rule
from potchain_tcp.framing import FrameDecoder, Hello, hello_piece
from potchain_tcp.tls import NodeIdentity

MS = 1_000_000


def profile_of(*rules: Rule, seed: int = 3, down_bits_per_s: int = 0, **conditions: object) -> LinkProfile:
    every = Rule(conditions=Conditions(**conditions))  # type: ignore[arg-type]
    return LinkProfile(seed=seed, phases=(Phase(rules=(every, *rules), down_bits_per_s=down_bits_per_s),)).checked()


async def bytes_said(links: LinkProfile) -> bytes:
    """All that a node writes inside TLS after its greeting, for the same calls of `send` each time."""
    node = Node(0, [0, 0], links=links, options=with_options(ping_interval_ms=100_000))
    await node.transport.start()
    assert node.transport.outgoing is None
    assert node.transport.incoming is None
    context = NodeIdentity(secret_of(1)).client_context(node_key_of(0))
    reader, writer = await asyncio.open_connection(HOST, node.transport.listen_port, ssl=context, server_hostname="")
    greeting = hello_piece(Hello(1, 1, GENESIS_HASH, b"reader's boot id"))
    writer.write(greeting)
    await node.connected_to(1)
    for number in range(50):
        assert node.send(1, b"%d" % number * (number % 7 * 50))
        assert node.send(1, bytes(number * 1_000), Channel.BULK)
    reading = asyncio.create_task(reader.read(-1))
    await eventually(lambda: node.transport.peers()[0].queued_bytes == 0)
    await node.transport.close()
    said = await reading
    writer.transport.abort()
    await asyncio.sleep(0)
    decoder = FrameDecoder()
    decoder.free_space()[: len(greeting)] = said[: len(greeting)]
    decoder.received(len(greeting))
    assert decoder.hello is not None
    return said[len(greeting) :]


def test_conditions_that_are_off_leave_every_byte_as_it_is() -> None:
    async def scenario() -> None:
        plain = await bytes_said(OFF)
        zeros = LinkProfile(
            seed=9, phases=(Phase(rules=(Rule(conditions=Conditions(reorder=True)),)), Phase(from_ns=MS))
        )
        assert len(plain) > 1_000_000
        assert await bytes_said(zeros) == plain

    run(scenario())


@pytest.mark.parametrize("loop", LOOPS)
def test_shaped_frames_come_in_order_both_ways(loop: str) -> None:
    async def scenario() -> None:
        first, second = await pair(
            profile_of(bandwidth_bits_per_s=30_000_000, latency_ns=30 * MS, distribution="uniform")
        )
        sent = [b"%d" % number * (number % 7 * 50) for number in range(2_000)]
        for frame in sent:
            assert first.send(1, frame)
            assert second.send(0, frame, Channel.BULK)
        queued = first.transport.peers()[0].queued_bytes
        assert queued > 0, "what the model holds is shown"
        assert first.transport.peers()[0].frames_out < len(sent)
        await second.until(lambda: len(second.got(0)) == len(sent))
        await first.until(lambda: len(first.got(1, Channel.BULK)) == len(sent))
        assert second.got(0) == first.got(1, Channel.BULK) == sent
        status = first.transport.peers()[0]
        assert (status.frames_out, status.frames_dropped, status.queued_bytes) == (2_000, 0, 0)
        await closed(first, second)

    run(scenario(), loop)


@pytest.mark.parametrize("loop", LOOPS)
def test_votes_overtake_bulk_on_a_slow_link(loop: str) -> None:
    async def scenario() -> None:
        first, second = await pair(profile_of(bandwidth_bits_per_s=4_000_000))
        arrivals: list[Channel] = []
        second.on_frames = lambda _, channel, frames: arrivals.extend([channel] * len(frames))
        body = os.urandom(100_000)
        assert first.send(1, body, Channel.BULK)
        for _ in range(20):
            assert first.send(1, b"vote")
        await second.until(lambda: len(arrivals) == 21)
        assert arrivals == [Channel.VOTES] * 20 + [Channel.BULK]
        assert second.got(0, Channel.BULK) == [body]
        await closed(first, second)

    run(scenario(), loop)


def test_full_queues_drop_and_count() -> None:
    async def scenario() -> None:
        first, second = await pair(profile_of(bandwidth_bits_per_s=100_000), **SMALL_QUEUES)
        await assert_full_queues_drop_and_count(first, second)
        await closed(first, second)

    run(scenario())


@pytest.mark.parametrize("loop", LOOPS)
def test_who_gets_lost_and_who_comes_twice_depends_on_the_seed_and_the_link_only(loop: str) -> None:
    async def outcome(seed: int) -> tuple[list[bytes], list[bytes]]:
        first, second = await pair(profile_of(seed=seed, loss_ppm=100_000, duplicate_ppm=100_000, latency_ns=MS))
        for number in range(500):
            assert first.send(1, b"%d" % number)
            assert second.send(0, b"%d" % number)
            if number % 50 == seed:
                await asyncio.sleep(0)
        for node in (first, second):
            await eventually(lambda: node.transport.peers()[0].queued_bytes == 0)  # noqa: B023
            node.send(1 - node.index, b"last", Channel.BULK)
        # What is said last on a link may be lost; with conditions off it is not.
        for node in (first, second):
            node.transport.set_links(OFF)
            node.send(1 - node.index, b"end")
        await first.until(lambda: first.got(1)[-1:] == [b"end"])
        await second.until(lambda: second.got(0)[-1:] == [b"end"])
        await closed(first, second)
        return second.got(0), first.got(1)

    async def scenario() -> None:
        forth, back = await outcome(1)
        assert (forth, back) == await outcome(1)
        assert forth != back
        assert (forth, back) != await outcome(2)
        assert len(set(forth)) < 500 < len(forth) + 100
        assert len(forth) > len(set(forth))

    run(scenario(), loop)


@pytest.mark.parametrize("loop", LOOPS)
def test_rules_are_by_name_and_direction(loop: str) -> None:
    async def scenario() -> None:
        lossy = Rule(sender="node1", receiver=ANY, conditions=Conditions(loss_ppm=999_999))
        first, second = await pair(profile_of(lossy, latency_ns=MS))
        for number in range(20):
            assert first.send(1, b"%d" % number)
            assert second.send(0, b"%d" % number)
        await second.until(lambda: len(second.got(0)) == 20)
        await eventually(lambda: second.transport.peers()[0].queued_bytes == 0)
        assert second.transport.outgoing is not None
        assert second.transport.outgoing.frames_lost == 20
        assert second.transport.peers()[0].frames_out == 0
        assert first.got(1) == []
        await closed(first, second)

    run(scenario(), loop)


@pytest.mark.parametrize("loop", LOOPS)
def test_what_waits_and_flies_is_lost_with_the_session(loop: str) -> None:
    async def scenario() -> None:
        first, second = await pair(
            profile_of(bandwidth_bits_per_s=10_000_000, latency_ns=600_000 * MS, loss_ppm=300_000),
            garbage_limit=1,
            cooldown_ms=10,
        )
        assert first.transport.outgoing is not None
        for _ in range(30):
            assert first.send(1, bytes(1_000), Channel.BULK)
        second.transport.misbehaved(first.transport._config.me, "to end the session")
        await first.until(lambda: not first.is_connected(1))
        status = first.transport.peers()[0]
        assert status.frames_dropped + first.transport.outgoing.frames_lost == 30
        assert (status.queued_bytes, status.frames_out) == (0, 0)
        await first.until(lambda: [what for what, _, _ in first.story].count("connected") == 2)
        first.transport.set_links(profile_of(latency_ns=MS))
        assert first.send(1, b"of the next session")
        await second.until(lambda: bool(second.got(0)))
        assert second.got(0) == [b"of the next session"]
        assert second.got(0, Channel.BULK) == []
        await closed(first, second)

    run(scenario(), loop)


@pytest.mark.parametrize("loop", LOOPS)
def test_conditions_come_and_go_while_frames_are_under_way(loop: str) -> None:
    async def scenario() -> None:
        first, second = await pair(OFF)
        frames = iter([b"%d" % number for number in range(10_000)])
        sent: list[bytes] = []

        def say(count: int) -> None:
            for _ in range(count):
                sent.append(next(frames))
                assert first.send(1, sent[-1])

        say(100)
        assert first.transport.outgoing is None
        first.transport.set_links(profile_of(bandwidth_bits_per_s=1_000, latency_ns=600_000 * MS))
        say(100)
        await second.until(lambda: len(second.got(0)) == 100)
        first.transport.set_links(profile_of(bandwidth_bits_per_s=2_000))
        say(100)
        assert first.transport.outgoing is not None
        first.transport.set_links(OFF)
        say(100)
        assert first.transport.outgoing is None
        await second.until(lambda: len(second.got(0)) == 400)
        first.transport.set_links(profile_of(latency_ns=2 * MS))
        say(100)
        await second.until(lambda: len(second.got(0)) == 500)
        assert second.got(0) == sent
        assert first.transport.peers()[0].frames_dropped == 0
        await closed(first, second)
        first.transport.set_links(profile_of(latency_ns=MS))
        assert not first.send(1, b"it is closed")

    run(scenario(), loop)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_shared_downlink_holds_what_comes_and_pushes_back(loop: str) -> None:
    async def scenario() -> None:
        links = profile_of(down_bits_per_s=8_000_000)
        node = Node(0, [0, 0, 0], links=links, options=with_options(bulk_queue_bytes=100_000, ping_interval_ms=20,
                                                                    silence_limit_ms=150))  # fmt: skip
        await node.transport.start()
        port = node.transport.listen_port
        others = [Node(1, [port, 0]), Node(2, [port, 0, 0])]
        for other in others:
            await other.transport.start()
        await node.connected_to(1, 2)
        sent = [number.to_bytes(4_000, "big") for number in range(100)]
        for other in others:
            await other.connected_to(0)
            for frame in sent:
                assert other.send(0, frame, Channel.BULK)
        await eventually(lambda: any(session.reading_paused for session in node.transport.sessions))
        await node.until(lambda: all(len(node.got(index, Channel.BULK)) == 100 for index in (1, 2)))
        assert node.got(1, Channel.BULK) == node.got(2, Channel.BULK) == sent
        assert not any(session.reading_paused for session in node.transport.sessions)
        assert [what for what, _, _ in node.story] == ["connected"] * 2, "a peer that is not read is not silent"
        for other in others:
            assert [what for what, _, _ in other.story] == ["connected"]
            for frame in sent:
                assert other.send(0, frame)
        await eventually(lambda: any(session.reading_paused for session in node.transport.sessions))
        node.transport.set_links(OFF)
        await node.until(lambda: all(node.got(index) == sent for index in (1, 2)))
        assert node.transport.incoming is None
        await closed(node, *others)

    run(scenario(), loop)


@pytest.mark.parametrize("loop", LOOPS)
def test_close_with_frames_everywhere(loop: str) -> None:
    async def scenario() -> None:
        for ticks in range(0, 12, 3):
            first, second = await pair(
                profile_of(bandwidth_bits_per_s=10_000_000, latency_ns=MS, down_bits_per_s=5_000_000)
            )
            for number in range(50):
                first.send(1, bytes(number * 100), Channel.BULK)
                second.send(0, bytes(number))
            for _ in range(ticks):
                await asyncio.sleep(0.002)
            await closed(second, first)
            heard = len(second.deliveries)
            await asyncio.sleep(0.02)
            assert len(second.deliveries) == heard

    run(scenario(), loop)
