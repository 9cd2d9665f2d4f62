"""The words the whole code base is written in, as types.

Sizes are checked where bytes enter (codec, JSON, files); inside, the types are trusted.
"""

from __future__ import annotations

from typing import Annotated, NewType

from msgspec import Meta

NodeId = NewType("NodeId", bytes)
"""20 bytes: the Ethereum-style address of a validator's consensus key."""

View = NewType("View", int)
"""A view of the current epoch, from 0 (OSDI'99 section 4)."""

Sequence = NewType("Sequence", int)
"""A slot that consensus fills, from 1 (OSDI'99 section 4.2). Genesis is 0."""

Height = NewType("Height", int)
"""A block's place in the ledger; equal to the sequence that decided it. Genesis is 0."""

Digest = NewType("Digest", bytes)
"""32 bytes: a sha256, unless a field says keccak-256."""

Nanoseconds = NewType("Nanoseconds", int)
"""A reading of, or a span on, a monotonic clock."""

UnixMs = NewType("UnixMs", int)
"""Milliseconds since 1970 UTC. Block time is one."""

# The types below are used as annotations of wire structs. Their `title` is the EIP-712 type of the member.
Address = Annotated[bytes, Meta(min_length=20, max_length=20, title="address")]
"""An Ethereum address, raw; shown EIP-55."""

Bytes32 = Annotated[bytes, Meta(min_length=32, max_length=32, title="bytes32")]
"""A hash or other 32 opaque bytes."""

Uint64 = Annotated[int, Meta(ge=0, title="uint64")]
"""0 to 2^64 - 1; the codec refuses what does not fit."""

STORED_MAX = 2**63 - 1
"""Largest integer that a column of SQLite or Postgres holds; what goes there as a number is bounded by it."""

StoredUint64 = Annotated[int, Meta(ge=0, le=STORED_MAX, title="uint64")]
"""0 to 2^63 - 1: of what wallets sign as uint64, as much as the ledger can store as a number."""

Uint256 = Annotated[bytes, Meta(min_length=32, max_length=32, title="uint256")]
"""0 to 2^256 - 1 as 32 bytes big-endian, the only canonical form on the wire."""

Bytes = Annotated[bytes, Meta(title="bytes")]
"""Opaque bytes, bounded by the struct that carries them."""

LargeBytes = Annotated[bytes, Meta(title="bytes", extra={"signed_as": "bytes32"})]
"""As `Bytes`, for much: what is signed is their sha256, as a bytes32, which takes a sixth of the time of keccak-256.

The JSON form has the bytes themselves, the typed data that a wallet signs their hash."""

Text = Annotated[str, Meta(title="string")]
"""UTF-8 text, bounded by the struct that carries it."""

Signature64 = Annotated[bytes, Meta(min_length=64, max_length=64)]
"""A secp256k1 ECDSA signature, r then s, low-s: what validators sign votes with."""

Signature65 = Annotated[bytes, Meta(min_length=65, max_length=65)]
"""A recoverable secp256k1 ECDSA signature, r, s, v with v in {27, 28}: what accounts sign with."""

UINT64_MAX = 2**64 - 1
UINT256_MAX = 2**256 - 1
ZERO_DIGEST = Digest(bytes(32))
ZERO_ADDRESS = bytes(20)

NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000


def uint256(value: int) -> bytes:
    """Wire form of an amount.

    >>> uint256(1)[-1]
    1
    """
    return value.to_bytes(32, "big")


def uint(value: bytes) -> int:
    """Amount from its wire form."""
    return int.from_bytes(value, "big")
