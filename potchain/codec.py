"""Canonical bytes of every structure that is signed, hashed, sent or stored.

The form is MessagePack of positional structs. MessagePack itself allows several spellings of one value, so a decoder
here re-encodes what it read and refuses bytes that differ: one value, one spelling. A field is never reordered once
released; new fields go to the end with a new wire version.
"""

from __future__ import annotations

from functools import cache
from typing import TypeVar

import msgspec

from potchain.errors import CodecError

S = TypeVar("S", bound="Canonical")


class Canonical(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Base of structures that have canonical bytes. Fields may not be dicts, sets or floats."""


_encoder = msgspec.msgpack.Encoder()


def encode(value: Canonical) -> bytes:
    """The canonical bytes of a structure."""
    return _encoder.encode(value)


def decode(kind: type[S], data: bytes, *, size_max: int | None = None) -> S:
    """The structure of type `kind` whose canonical bytes are `data`.

    Raises CodecError when `data` is longer than `size_max` bytes, is no MessagePack, has another shape, or spells its
    value in any but the canonical way.
    """
    if size_max is not None and len(data) > size_max:
        raise CodecError(f"{kind.__name__}: {len(data)} bytes, at most {size_max} are allowed")
    try:
        value: S = _decoder(kind).decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as fault:
        raise CodecError(f"{kind.__name__}: {fault}") from None
    if _encoder.encode(value) != data:
        raise CodecError(f"{kind.__name__}: bytes are not in canonical form")
    return value


@cache
def _decoder(kind: type[S]) -> msgspec.msgpack.Decoder[S]:
    return msgspec.msgpack.Decoder(kind)
