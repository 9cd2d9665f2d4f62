"""The random numbers of one frame: a pure function of (seed, sender, receiver, number of the frame on that link).

A hash counter, not a generator with state: live processes and the simulator draw alike, in whatever order frames of
different links come, and nobody has to keep the state of n * n generators.
"""

from __future__ import annotations

import struct
from hashlib import sha256

import msgspec

from potchain.links.conditions import PPM, Conditions

_NUMBERS = struct.Struct(">QQQQ")
_SPAN = 2**64


class Fate(msgspec.Struct, frozen=True):
    """What the link does to one frame."""

    latencies_ns: tuple[int, ...]
    """Of each copy that arrives: none, one or two."""


def link_seed(seed: int, sender: str, receiver: str) -> bytes:
    """32 bytes that all draws of a directed link begin with."""
    return sha256(f"potchain link {seed} {len(sender)} {sender} {receiver}".encode()).digest()


def draw(link: bytes, number: int, conditions: Conditions) -> Fate:
    """Of the frame with that number (from 0) on a link. Uniform up to 2^-64 of the range."""
    low_ns, high_ns = conditions.latency_range_ns
    if low_ns == high_ns and not conditions.loss_ppm and not conditions.duplicate_ppm:
        return Fate((low_ns,))  # what any draw would say
    drawn = sha256(link + number.to_bytes(8, "big")).digest()
    if not conditions.loss_ppm and not conditions.duplicate_ppm:
        return Fate((low_ns + (int.from_bytes(drawn[8:16], "big") * (high_ns - low_ns + 1) >> 64),))
    loss, latency, again, latency_again = _NUMBERS.unpack(drawn)
    if loss * PPM < conditions.loss_ppm * _SPAN:
        return Fate(())
    first_ns = low_ns + (latency * (high_ns - low_ns + 1) >> 64)
    if again * PPM < conditions.duplicate_ppm * _SPAN:
        return Fate((first_ns, low_ns + (latency_again * (high_ns - low_ns + 1) >> 64)))
    return Fate((first_ns,))
