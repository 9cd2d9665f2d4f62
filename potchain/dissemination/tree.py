"""Relays: bodies run from their root down a tree of all members, each passing them on to a few children.

The tree of a root is the complete tree of that fan-out over the members in their order, turned so that the root comes
first. So every root has another tree over the same members, and their work as relays spreads with the roots: with
fan-out d a tree has about n / d relays, and each member relays for about one root in d.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

PIECE_BYTES_MAX = 16 * 1024
"""A root cuts what it sends into pieces of this size, so that relays pass one on while they receive the next."""


def children(members: int, fanout: int, root: int, place: int) -> tuple[int, ...]:
    """Places of the members to which the member at `place` passes on what comes from the member at `root`.

    Both places are from 0 to members - 1; `fanout` is at least 1.

    >>> children(10, 3, 0, 0), children(10, 3, 0, 2), children(10, 3, 8, 9)
    ((1, 2, 3), (7, 8, 9), (2, 3, 4))
    """
    distance = (place - root) % members
    first = distance * fanout + 1
    return tuple((root + each) % members for each in range(first, min(first + fanout, members)))


def pieces(raws: Sequence[bytes], bytes_max: int = PIECE_BYTES_MAX) -> Iterator[tuple[bytes, ...]]:
    """The byte strings in their order, in groups of at most so many bytes; a longer one makes a group of its own."""
    group: list[bytes] = []
    size = 0
    for raw in raws:
        if group and size + len(raw) > bytes_max:
            yield tuple(group)
            group, size = [], 0
        group.append(raw)
        size += len(raw)
    if group:
        yield tuple(group)
