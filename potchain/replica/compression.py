"""Frames made smaller where that pays: zstd (RFC 8878), level 1.

Only large frames are tried: votes are small, and signatures do not shrink. A frame that does not get a tenth smaller is
sent as it is, so incompressible payloads cost one attempt and no byte. What a peer sends must say how long it is, and
may not be longer than any frame: a few bytes cannot be made to fill the memory.
"""

from __future__ import annotations

import zstandard

from potchain.errors import CodecError

COMPRESS_FROM_BYTES = 1_024
"""Shorter frames are sent as they are."""
RATIO_MAX = 64
"""No frame is sent, or taken, that shrinks further: transactions do not, and few bytes shall not make much work."""
LEVEL = 1
"""More saves a few per cent on transactions, for several times the work."""


def compressed(body: bytes) -> bytes | None:
    """The body in fewer bytes, or None where that does not pay."""
    if len(body) < COMPRESS_FROM_BYTES:
        return None
    smaller = zstandard.compress(body, LEVEL)
    pays = len(smaller) * 10 <= len(body) * 9
    return smaller if pays and len(body) <= RATIO_MAX * len(smaller) else None


def decompressed(data: bytes, size_max: int) -> bytes:
    """The body again. Raises CodecError for rubbish, and for what is longer than `size_max`."""
    try:
        size = zstandard.get_frame_parameters(data).content_size
        most = min(size_max, RATIO_MAX * len(data))
        if not 0 < size <= most:  # "unknown" is a huge number
            raise CodecError(f"{len(data)} compressed bytes for a frame of {size}; from 1 to {most} are allowed")
        return zstandard.decompress(data, max_output_size=size)
    except zstandard.ZstdError as fault:
        raise CodecError(f"not a compressed frame: {fault}") from None
