"""Merkle trees of lists, as in RFC 6962 section 2.1, and branches of the compressed sparse tree of state.

A leaf and an inner node are hashed under different prefixes, and a list is split at the largest power of two below its
length, so neither a second preimage nor a duplicated last leaf is possible. Everything here is pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

EMPTY_ROOT = sha256(b"").digest()
"""Root of the empty list (RFC 6962 section 2.1)."""

EMPTY_SUBTREE = bytes(32)
"""Hash of an empty subtree of the sparse tree."""


def leaf_hash(leaf: bytes) -> bytes:
    """Hash of one list entry: sha256(0x00 || entry)."""
    return sha256(b"\x00" + leaf).digest()


def root(leaves: Sequence[bytes]) -> bytes:
    """32-byte root of a list of byte strings; `EMPTY_ROOT` for none.

    >>> root([]) == EMPTY_ROOT
    True
    """
    if not leaves:
        return EMPTY_ROOT
    level = [sha256(b"\x00" + leaf).digest() for leaf in leaves]
    while len(level) > 1:
        level = _parents(level)
    return level[0]


def branch(leaves: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """Sibling hashes from the leaf at `index` up to the root (an audit path, RFC 6962 section 2.1.1).

    Raises IndexError when the list has no such entry.
    """
    if not 0 <= index < len(leaves):
        raise IndexError(f"leaf {index} of {len(leaves)}")
    level = [sha256(b"\x00" + leaf).digest() for leaf in leaves]
    path: list[bytes] = []
    while len(level) > 1:
        sibling = index ^ 1
        if sibling < len(level):
            path.append(level[sibling])
        level = _parents(level)
        index >>= 1
    return tuple(path)


def branches(leaves: Sequence[bytes]) -> list[tuple[bytes, ...]]:
    """`branch` of every entry, each leaf hashed once."""
    level = [sha256(b"\x00" + leaf).digest() for leaf in leaves]
    paths: list[list[bytes]] = [[] for _ in leaves]
    height = 0
    while len(level) > 1:
        for index, path in enumerate(paths):
            sibling = (index >> height) ^ 1
            if sibling < len(level):
                path.append(level[sibling])
        level = _parents(level)
        height += 1
    return [tuple(path) for path in paths]


def verify_branch(leaf: bytes, index: int, count: int, path: Sequence[bytes], expected_root: bytes) -> bool:
    """Whether `leaf` stands at `index` of a list of `count` entries with that root (RFC 9162 section 2.1.3.2)."""
    if not 0 <= index < count:
        return False
    node = leaf_hash(leaf)
    last = count - 1
    steps = iter(path)
    while last > 0:
        # An entry without a right sibling is carried up unchanged: it is the last of an odd level.
        if index & 1 or index < last:
            sibling = next(steps, None)
            if sibling is None or len(sibling) != 32:
                return False
            pair = sibling + node if index & 1 else node + sibling
            node = sha256(b"\x01" + pair).digest()
        index >>= 1
        last >>= 1
    return next(steps, None) is None and node == expected_root


def _parents(level: list[bytes]) -> list[bytes]:
    paired = [
        sha256(b"\x01" + left + right).digest() for left, right in zip(level[::2], level[1::2], strict=False)
    ]
    if len(level) & 1:
        paired.append(level[-1])
    return paired


def state_leaf_hash(key_hash: bytes, value: bytes) -> bytes:
    """Leaf of the sparse tree: sha256(0x00 || key hash || sha256(value))."""
    return sha256(b"\x00" + key_hash + sha256(value).digest()).digest()


def verify_state_branch(
    key: bytes,
    value: bytes | None,
    path: Sequence[bytes],
    expected_root: bytes,
    other_leaf: tuple[bytes, bytes] | None = None,
) -> bool:
    """Whether the state with that root holds `value` under the record key `key` (None: holds nothing).

    `path` are siblings from the root downwards. `other_leaf` = (key hash, sha256 of value) is the one leaf that stands
    where an absent key would be, if any: its key hash must share the path's bits and differ from the key's own.
    """
    key_hash = sha256(key).digest()
    if len(path) > 256 or any(len(sibling) != 32 for sibling in path):
        return False
    if value is not None:
        node = state_leaf_hash(key_hash, value)
    elif other_leaf is None:
        node = EMPTY_SUBTREE
    else:
        other_hash, value_hash = other_leaf
        depth = len(path)
        if len(other_hash) != 32 or len(value_hash) != 32 or other_hash == key_hash:
            return False
        if _bits(other_hash) >> (256 - depth) != _bits(key_hash) >> (256 - depth):
            return False
        node = sha256(b"\x00" + other_hash + value_hash).digest()
    bits = _bits(key_hash)
    for depth in range(len(path) - 1, -1, -1):
        right = bits >> (255 - depth) & 1
        pair = path[depth] + node if right else node + path[depth]
        node = sha256(b"\x01" + pair).digest()
    return node == expected_root


def _bits(key_hash: bytes) -> int:
    return int.from_bytes(key_hash, "big")
