"""Compressed frames: smaller or left alone, and rubbish is refused without filling the memory."""

from __future__ import annotations

from hashlib import shake_256

import pytest
import zstandard

from potchain.errors import CodecError
from potchain.replica import wire
from potchain.replica.compression import COMPRESS_FROM_BYTES
from potchain.transport import FRAME_BYTES_MAX, Channel

SAME = wire.Gossip(tuple(b"the same transaction again and again %d" % number for number in range(200)))
NOISE = wire.Gossip((shake_256(b"noise").digest(50_000),))
SMALL = wire.Gossip((b"a" * (COMPRESS_FROM_BYTES - 100),))


@pytest.mark.parametrize("frame", [SAME, NOISE, SMALL])
def test_a_frame_comes_out_as_it_went_in_and_is_never_longer(frame: wire.Frame) -> None:
    plain, small = wire.encode_frame(frame), wire.encode_frame(frame, compress=True)
    assert wire.decode_frame(small) == wire.decode_frame(plain) == frame
    assert wire.type_of(small) is wire.type_of(plain) is wire.Gossip
    assert wire.channel_of(small) == Channel.BULK
    assert len(small) <= len(plain)
    assert (small != plain) == (frame is SAME)
    assert frame is not SAME or len(small) * 5 < len(plain)


def of_kind(body: bytes) -> bytes:
    return b"\xff" + wire.encode_frame(SAME)[:1] + body


@pytest.mark.parametrize(
    "data",
    [
        b"\xff",
        b"\xff\xff",
        of_kind(b""),
        of_kind(b"rubbish"),
        of_kind(zstandard.ZstdCompressor().compress(bytes(FRAME_BYTES_MAX + 1))),
        of_kind(zstandard.ZstdCompressor(write_content_size=False).compress(bytes(5_000))),
        of_kind(zstandard.ZstdCompressor().compress(b"no gossip" * 500)),
        wire.encode_frame(SAME, compress=True)[:-1],
    ],
)
def test_rubbish_is_refused(data: bytes) -> None:
    with pytest.raises(CodecError):
        wire.decode_frame(data)
