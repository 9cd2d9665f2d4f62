"""Framing and queues, without sockets."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from potchain import FRAME_BYTES_MAX, Channel
from potchain_tcp.framing import (
    HEADER,
    MORE,
    PIECE_BYTES_MAX,
    PING_PIECE,
    READY_PIECE,
    RECEIVE_BUFFER_BYTES,
    FrameDecoder,
    Hello,
    Kind,
    agreed_version,
    close_piece,
    hello_piece,
    refusal_of,
)
from potchain_tcp.queues import SendQueue

HELLO = Hello(1, 1, bytes(range(32)), b"boot" * 4)
GREETING = hello_piece(HELLO)


def feed(decoder: FrameDecoder, data: bytes) -> None:
    """Hand bytes over the way an event loop does: as much as fits, again and again."""
    while data:
        space = decoder.free_space()
        count = min(len(space), len(data))
        assert count > 0
        space[:count] = data[:count]
        decoder.received(count)
        data = data[count:]


def spelled(channel: Channel, *frames: bytes) -> bytes:
    """Frames as a sender writes them."""
    queue = SendQueue(channel, 2**40)
    chunks: list[bytes | memoryview] = []
    for frame in frames:
        assert queue.push(frame)
    assert queue.take(chunks, 2**40, 2**40) == len(frames)
    return b"".join(chunks)


def piece(kind: int, channel: int, flags: int, payload: bytes) -> bytes:
    return HEADER.pack(1, kind, channel, flags, len(payload)) + payload


def fault_of(*parts: bytes) -> str:
    decoder = FrameDecoder()
    feed(decoder, b"".join(parts))
    assert decoder.fault is not None
    return decoder.fault


sizes = st.one_of(
    st.integers(0, 300), st.sampled_from([PIECE_BYTES_MAX - 1, PIECE_BYTES_MAX, PIECE_BYTES_MAX + 1, 40_000])
)


@settings(max_examples=40, deadline=None)
@given(
    written=st.lists(st.tuples(st.sampled_from(Channel), sizes), max_size=12),
    cuts=st.lists(st.integers(20, 50_000), min_size=1, max_size=10),
)
def test_frames_survive_any_chunking(written: list[tuple[Channel, int]], cuts: list[int]) -> None:
    frames = [(channel, bytes([number]) * size) for number, (channel, size) in enumerate(written)]
    stream = GREETING + READY_PIECE + b"".join(spelled(channel, frame) for channel, frame in frames)
    decoder = FrameDecoder()
    read: dict[Channel, list[bytes]] = {Channel.VOTES: [], Channel.BULK: []}
    turn = 0
    while stream:
        size = cuts[turn % len(cuts)]
        turn += 1
        feed(decoder, stream[:size])
        stream = stream[size:]
        for channel in Channel:
            read[channel] += decoder.take(channel)
    assert decoder.fault is None
    assert decoder.hello == HELLO
    assert decoder.ready
    for channel in Channel:
        assert read[channel] == [frame for sent_on, frame in frames if sent_on == channel]


def test_one_byte_at_a_time() -> None:
    decoder = FrameDecoder()
    for byte in GREETING + spelled(Channel.VOTES, b"a", b"", b"bc") + PING_PIECE:
        feed(decoder, bytes([byte]))
    assert decoder.take(Channel.VOTES) == [b"a", b"", b"bc"]
    assert decoder.pinged


def test_the_channels_interleave_piece_by_piece() -> None:
    bulk = SendQueue(Channel.BULK, 2**30)
    bulk.push(bytes(3 * PIECE_BYTES_MAX))
    stream = [GREETING]
    while bulk:
        chunks: list[bytes | memoryview] = []
        bulk.take(chunks, 1, 2**30)
        assert len(b"".join(chunks)) <= 16_384
        stream += [b"".join(chunks), spelled(Channel.VOTES, b"vote")]
    decoder = FrameDecoder()
    feed(decoder, b"".join(stream))
    assert decoder.take(Channel.VOTES) == [b"vote"] * 3
    assert decoder.take(Channel.BULK) == [bytes(3 * PIECE_BYTES_MAX)]


@settings(max_examples=300, deadline=None)
@given(garbage=st.binary(max_size=400), greeted=st.booleans(), cut=st.integers(1, 64))
def test_garbage_never_raises(garbage: bytes, greeted: bool, cut: int) -> None:
    decoder = FrameDecoder()
    stream = (GREETING if greeted else b"") + garbage
    for at in range(0, len(stream), cut):
        feed(decoder, stream[at : at + cut])
    if not greeted and len(garbage) >= HEADER.size:
        assert decoder.take(Channel.VOTES) == []


@settings(max_examples=300, deadline=None)
@given(
    pieces=st.lists(
        st.tuples(st.integers(0, 7), st.integers(0, 2), st.integers(0, 2), st.binary(max_size=70)), max_size=8
    ),
    data=st.data(),
)
def test_near_misses_never_raise(pieces: list[tuple[int, int, int, bytes]], data: st.DataObject) -> None:
    stream = bytearray(GREETING + b"".join(piece(*each) for each in pieces))
    stream[data.draw(st.integers(0, len(stream) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    decoder = FrameDecoder()
    feed(decoder, bytes(stream))
    feed(decoder, bytes(RECEIVE_BUFFER_BYTES + 1))


def test_each_fault_has_a_reason() -> None:
    full = bytes(PIECE_BYTES_MAX)
    assert "framing version 71" in fault_of(b"GET / HTTP/1.1\r\n")
    assert "16377 bytes was announced" in fault_of(GREETING, HEADER.pack(1, Kind.DATA, 0, 0, PIECE_BYTES_MAX + 1))
    assert "before the greeting" in fault_of(piece(Kind.DATA, 0, 0, b"x"))
    assert "before the greeting" in fault_of(READY_PIECE)
    assert "channel 2" in fault_of(GREETING, piece(Kind.DATA, 2, 0, b"x"))
    assert "flags 2" in fault_of(GREETING, piece(Kind.DATA, 0, 2, b"x"))
    assert "not a frame's last" in fault_of(GREETING, piece(Kind.DATA, 1, MORE, b""))
    assert "last piece" in fault_of(GREETING, piece(Kind.DATA, 1, MORE, full), piece(Kind.DATA, 1, 0, b""))
    assert "both must be 0" in fault_of(GREETING, piece(Kind.PING, 1, 0, b""))
    assert "kind 9" in fault_of(GREETING, piece(9, 0, 0, b""))
    assert "kind 4 with 1 bytes" in fault_of(GREETING, piece(Kind.PING, 0, 0, b"x"))
    assert "second greeting" in fault_of(GREETING, GREETING)
    assert "READY came twice" in fault_of(GREETING, READY_PIECE, READY_PIECE)
    assert "greeting of 3 bytes" in fault_of(piece(Kind.HELLO, 0, 0, b"abc"))
    assert "does not begin" in fault_of(piece(Kind.HELLO, 0, 0, bytes(60)))


def test_a_frame_may_have_the_bound_and_no_more() -> None:
    longest = bytes(FRAME_BYTES_MAX)
    decoder = FrameDecoder()
    feed(decoder, GREETING + spelled(Channel.BULK, longest))
    assert decoder.take(Channel.BULK) == [longest]
    pieces = FRAME_BYTES_MAX // PIECE_BYTES_MAX + 1
    assert "longer than 8388608" in fault_of(GREETING, piece(Kind.DATA, 1, MORE, bytes(PIECE_BYTES_MAX)) * pieces)
    assert not SendQueue(Channel.BULK, 2**40).push(longest + b"x")


def test_nothing_after_a_fault_or_a_farewell_is_read() -> None:
    decoder = FrameDecoder()
    feed(decoder, GREETING + close_piece("bye \x1b[31m\xe9") + spelled(Channel.VOTES, b"late"))
    assert decoder.close_reason == "bye ?[31m?"
    assert decoder.take(Channel.VOTES) == []
    feed(decoder, spelled(Channel.VOTES, b"later"))
    assert decoder.take(Channel.VOTES) == []


def test_a_later_greeting_may_be_longer() -> None:
    decoder = FrameDecoder()
    feed(decoder, piece(Kind.HELLO, 0, 0, GREETING[HEADER.size :] + b"a field of wire version 2"))
    assert decoder.hello == HELLO


def test_versions_are_negotiated_and_networks_kept_apart() -> None:
    ours = Hello(2, 4, bytes(32), bytes(16))
    assert refusal_of(ours, Hello(1, 3, bytes(32), bytes(16))) is None
    assert agreed_version(ours, Hello(1, 3, bytes(32), bytes(16))) == 3
    assert agreed_version(ours, Hello(4, 9, bytes(32), bytes(16))) == 4
    assert "no common wire version: it speaks 5 to 9, we 2 to 4" in str(
        refusal_of(ours, Hello(5, 9, bytes(32), bytes(16)))
    )
    assert "another network" in str(refusal_of(ours, Hello(2, 4, b"\x01" * 32, bytes(16))))


@given(frames=st.lists(st.binary(max_size=40)), bytes_max=st.integers(0, 400))
def test_a_queue_keeps_its_bound(frames: list[bytes], bytes_max: int) -> None:
    queue = SendQueue(Channel.VOTES, bytes_max)
    kept = [frame for frame in frames if queue.push(frame)]
    assert queue.bytes_queued == sum(len(frame) + HEADER.size for frame in kept) <= bytes_max
    assert len(queue) == queue.clear() == len(kept)
    assert queue.bytes_queued == 0
