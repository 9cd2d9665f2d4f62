"""The link model once more, as simply as it can be said: exact fractions, one event after another, nothing remembered.

`left_at` says when each frame has left, for `potchain.links.Outbound` to be compared with.
"""

from __future__ import annotations

from fractions import Fraction

import msgspec

from potchain.links import LinkProfile
from potchain.primitives import NS_PER_S


class Offer(msgspec.Struct, frozen=True):
    """One frame that a node hands over."""

    at_ns: int
    receiver: str
    size_bytes: int
    urgent: bool


class _Frame(msgspec.Struct, eq=False):
    number: int
    offer: Offer
    left_bits: Fraction


def left_at(profile: LinkProfile, me: str, offers: list[Offer]) -> dict[int, Fraction]:
    """Number of each offer (in order of time; the profile began at 0) to the moment at which it has left."""
    waiting: list[_Frame] = []
    left: dict[int, Fraction] = {}
    now = Fraction(0)
    stops = sorted({offer.at_ns for offer in offers} | {phase.from_ns for phase in profile.phases})
    coming = list(enumerate(offers))
    for stop_ns in [*stops, None]:
        now = _pass(profile, me, waiting, left, now, stop_ns)
        while coming and coming[0][1].at_ns == stop_ns:
            number, offer = coming.pop(0)
            waiting.append(_Frame(number, offer, Fraction(8 * offer.size_bytes)))
    return left


def _pass(
    profile: LinkProfile, me: str, waiting: list[_Frame], left: dict[int, Fraction], now: Fraction, stop_ns: int | None
) -> Fraction:
    """Between two stops nothing comes and conditions stay. Pipes do not touch each other, so each goes by itself."""
    phase = profile.phase_at(int(now))
    shared = bool(profile.phases[phase].up_bits_per_s)
    for pipe in sorted({"" if shared else frame.offer.receiver for frame in waiting}):
        inside = [frame for frame in waiting if shared or frame.offer.receiver == pipe]
        at = now
        for frame in sorted(inside, key=lambda each: (not each.offer.urgent, each.number)):
            rate = Fraction(profile.rate_bits_per_s(phase, me, frame.offer.receiver), NS_PER_S)
            ends = at + frame.left_bits / rate if rate else at
            if stop_ns is not None and ends > stop_ns:
                frame.left_bits -= (stop_ns - at) * rate
                break
            left[frame.number] = at = ends
            waiting.remove(frame)
    return now if stop_ns is None else Fraction(stop_ns)
