"""The authenticated state: records in memory under a compressed sparse Merkle tree, updated once per block.

Theory of operation. A record's leaf stands at sha256(record key), read as bits from the most significant one. An empty
subtree is 32 zero bytes, a subtree with one leaf *is* that leaf, any other is sha256(0x01 || left || right); so the
root follows from the set of records alone, never from the order in which they came.

`SparseTree` keeps the top `depth` levels dense, as flat lists, and below them one bucket per path: the sorted leaves of
that path in one byte string. `depth` follows the number of leaves, so a bucket holds about one leaf. An update replaces
leaves in buckets, then recomputes the dirty nodes level by level; growing by one level touches only the lowest level,
since the hash of a node does not depend on where the dense part ends.

Rule: nothing outside this file changes a level or a bucket. One writer; readers of other threads must be given copies.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterable
from hashlib import sha256

import msgspec

from potchain.blocks import StateChange
from potchain.merkle import EMPTY_SUBTREE

_DEPTH_MIN = 4
_DEPTH_MAX = 26
"""Deeper buckets just grow: 2^26 paths serve some hundred million records, more than memory does."""

_EMPTY, _SINGLE, _MANY = 0, 1, 2
"""What a subtree holds: nothing, one leaf, or more."""

_LEAF_BYTES = 64
"""A leaf in a bucket: key hash, sha256 of the value."""

_LEAF_HASHER = sha256(b"\x00").copy
_INNER_HASHER = sha256(b"\x01").copy
"""Hashers that have taken in the prefix: a copy is cheaper than a new one and a longer input."""


class StateBranch(msgspec.Struct, frozen=True):
    """What `potchain.merkle.verify_state_branch` needs beside key, value and root."""

    siblings: tuple[bytes, ...]
    """From the root downwards."""
    other_leaf: tuple[bytes, bytes] | None
    """For an absent key: (key hash, sha256 of value) of the one leaf that stands where it would be, if any."""


KEY_HASHES_MAX = 50_000
"""Key hashes that are remembered; about 100 bytes each."""


class AuthenticatedState:
    """Records and their root. About 0.5 kB of memory per record."""

    def __init__(self) -> None:
        self._records: dict[bytes, bytes] = {}
        self._key_hashes: dict[bytes, bytes] = {}  # of records that changed: they are likely to change again
        self._tree = SparseTree()

    @classmethod
    def from_records(cls, records: Iterable[tuple[bytes, bytes]]) -> AuthenticatedState:
        """The state of these records; of two with one key the later counts."""
        state = cls()
        state._records = dict(records)
        state._tree = SparseTree(
            [(sha256(key).digest(), sha256(value).digest()) for key, value in state._records.items()]
        )
        return state

    @property
    def root(self) -> bytes:
        """32 bytes; `EMPTY_SUBTREE` without records."""
        return self._tree.root

    def get(self, key: bytes) -> bytes | None:
        """The record's value, or None."""
        return self._records.get(key)

    def apply(self, changes: Iterable[StateChange]) -> bytes:
        """Make these changes in order and return the new root. Call it once per block: the cost is in the paths."""
        records, hashes = self._records, self._key_hashes
        leaves: list[tuple[bytes, bytes]] = []
        for change in changes:
            key, value = change.key, change.value
            if value is None:
                if records.pop(key, None) is not None:
                    leaves.append((hashes.pop(key, b"") or sha256(key).digest(), b""))
            elif records.get(key) != value:
                records[key] = value
                key_hash = hashes.get(key)
                if key_hash is None:
                    key_hash = sha256(key).digest()
                    if len(hashes) < KEY_HASHES_MAX:
                        hashes[key] = key_hash
                leaves.append((key_hash, sha256(value).digest()))
        self._tree.update(leaves)
        return self._tree.root

    def prove(self, key: bytes) -> StateBranch:
        """The branch that shows the record's value under `root`, or that there is none."""
        return self._tree.branch(sha256(key).digest())

    def items(self) -> ItemsView[bytes, bytes]:
        """Every record, in no agreed order."""
        return self._records.items()

    def __len__(self) -> int:
        return len(self._records)


class SparseTree:
    """The compressed sparse Merkle tree of (key hash, sha256 of value) pairs."""

    def __init__(self, leaves: Iterable[tuple[bytes, bytes]] = ()) -> None:
        """`leaves` have distinct key hashes."""
        entries = sorted(map(b"".join, leaves))
        self._count = len(entries)
        self._depth = _depth_for(len(entries))
        shift = 64 - self._depth
        buckets = [b""] * (1 << self._depth)
        for entry in entries:
            buckets[int.from_bytes(entry[:8], "big") >> shift] += entry
        self._buckets = buckets
        self._levels = [[EMPTY_SUBTREE] * (1 << depth) for depth in range(self._depth + 1)]
        self._kinds = [bytearray(1 << depth) for depth in range(self._depth + 1)]
        self._levels[-1] = [_bucket_root(bucket, self._depth) for bucket in buckets]
        self._kinds[-1] = _kinds_of(buckets)
        self._hash_levels(list(range(len(buckets))), shape_changed=True)

    @property
    def root(self) -> bytes:
        """32 bytes."""
        return self._levels[0][0]

    def update(self, leaves: Iterable[tuple[bytes, bytes]]) -> None:
        """Set each (key hash, sha256 of value); an empty value hash removes the leaf."""
        leaves = list(leaves)
        if len(leaves) > self._count:
            # A block that creates more than there is: make room first, or its leaves would crowd into a few buckets.
            while self._depth < _depth_for(self._count + len(leaves)):
                self._grow()
        buckets, hashes, kinds, depth = self._buckets, self._levels[-1], self._kinds[-1], self._depth
        shift = 64 - depth
        from_bytes, leaf_hasher = int.from_bytes, _LEAF_HASHER
        dirty: list[int] = []
        size_before = size_after = 0
        moved = False
        for key_hash, value_hash in leaves:
            index = from_bytes(key_hash[:8], "big") >> shift
            dirty.append(index)
            bucket = buckets[index]
            if value_hash and len(bucket) == _LEAF_BYTES and bucket[:32] == key_hash:
                leaf = key_hash + value_hash
                hasher = leaf_hasher()
                hasher.update(leaf)
                buckets[index] = leaf
                hashes[index] = hasher.digest()
                continue
            replaced = _replaced(bucket, key_hash, key_hash + value_hash if value_hash else b"")
            buckets[index] = replaced
            hashes[index] = _bucket_root(replaced, depth)
            if len(replaced) != len(bucket):
                moved = True
                size_before += len(bucket)
                size_after += len(replaced)
                kinds[index] = min(len(replaced) // _LEAF_BYTES, _MANY)
        self._count += (size_after - size_before) // _LEAF_BYTES
        self._hash_levels(sorted(dirty), moved)
        self._resize()

    def branch(self, key_hash: bytes) -> StateBranch:
        """Siblings on the way to a key hash, and the leaf that stands in an absent one's place."""
        path = int.from_bytes(key_hash, "big")
        siblings: list[bytes] = []
        for depth in range(self._depth):
            node = path >> (256 - depth)
            if self._kinds[depth][node] != _MANY:
                return StateBranch(tuple(siblings), self._other_leaf(depth, node, key_hash))
            siblings.append(self._levels[depth + 1][(path >> (255 - depth)) ^ 1])
        leaves = _split(self._buckets[path >> (256 - self._depth)])
        depth = self._depth
        while len(leaves) > 1:
            ones = [leaf for leaf in leaves if _bit(leaf, depth)]
            zeros = leaves[: len(leaves) - len(ones)]
            right = path >> (255 - depth) & 1
            leaves, beside = (ones, zeros) if right else (zeros, ones)
            depth += 1
            siblings.append(_subtree(beside, depth) if beside else EMPTY_SUBTREE)
        other = leaves[0] if leaves and leaves[0][:32] != key_hash else None
        return StateBranch(tuple(siblings), (other[:32], other[32:]) if other else None)

    def _other_leaf(self, depth: int, node: int, key_hash: bytes) -> tuple[bytes, bytes] | None:
        """The leaf of a subtree of at most one, unless it is the key's own."""
        if self._kinds[depth][node] == _EMPTY:
            return None
        while depth < self._depth:
            depth += 1
            node = 2 * node + (self._kinds[depth][2 * node] == _EMPTY)
        leaf = self._buckets[node]
        return None if leaf[:32] == key_hash else (leaf[:32], leaf[32:])

    def _hash_levels(self, dirty: list[int], shape_changed: bool) -> None:
        """Recompute all that stands above these nodes of the lowest dense level.

        Without `shape_changed` no leaf came or went, so every node keeps its kind.
        """
        inner_hasher = _INNER_HASHER
        for depth in range(self._depth - 1, -1, -1):
            dirty = list(dict.fromkeys([index >> 1 for index in dirty]))
            hashes, below, kinds = self._levels[depth], self._levels[depth + 1], self._kinds[depth]
            if shape_changed:
                kinds_below = self._kinds[depth + 1]
                for index in dirty:
                    kinds[index] = min(kinds_below[index + index] + kinds_below[index + index + 1], _MANY)
            for index in dirty:
                left = index + index
                if kinds[index] == 2:  # _MANY, spelled out in the one loop that counts
                    hasher = inner_hasher()
                    hasher.update(below[left] + below[left + 1])
                    hashes[index] = hasher.digest()
                else:
                    found = below[left]
                    hashes[index] = found if found is not EMPTY_SUBTREE else below[left + 1]

    def _resize(self) -> None:
        """Keep 1/6 to 3/4 of a leaf to a bucket, on average; a block that doubles the buckets pays for many."""
        wanted = _depth_for(self._count)
        while self._depth < wanted:
            self._grow()
        while self._depth > wanted + 1:
            self._shrink()

    def _grow(self) -> None:
        bit = self._depth
        buckets: list[bytes] = []
        for bucket in self._buckets:
            if not bucket:
                buckets += (b"", b"")
            elif len(bucket) == _LEAF_BYTES:
                buckets += (b"", bucket) if _bit(bucket, bit) else (bucket, b"")
            else:
                leaves = _split(bucket)
                ones = b"".join([leaf for leaf in leaves if _bit(leaf, bit)])
                buckets += (bucket[: len(bucket) - len(ones)], ones)
        self._depth += 1
        self._buckets = buckets
        self._levels.append([_bucket_root(bucket, self._depth) for bucket in buckets])
        self._kinds.append(_kinds_of(buckets))

    def _shrink(self) -> None:
        pairs = zip(self._buckets[::2], self._buckets[1::2], strict=True)
        self._buckets = [left + right for left, right in pairs]
        self._depth -= 1
        self._levels.pop()
        self._kinds.pop()


def _depth_for(count: int) -> int:
    """Dense levels for that many leaves: the largest power of two of buckets that is at most the count."""
    return min(max((count * 14 // 5).bit_length() - 1, _DEPTH_MIN), _DEPTH_MAX)


def _split(bucket: bytes) -> list[bytes]:
    return [bucket[start : start + _LEAF_BYTES] for start in range(0, len(bucket), _LEAF_BYTES)]


def _bit(leaf: bytes, depth: int) -> int:
    """The key hash's bit that chooses the child of a node at that depth."""
    return leaf[depth >> 3] >> (7 - (depth & 7)) & 1


def _replaced(bucket: bytes, key_hash: bytes, entry: bytes) -> bytes:
    """The bucket with one leaf set (`entry` not empty) or removed."""
    for start in range(0, len(bucket), _LEAF_BYTES):
        found = bucket[start : start + 32]
        if found >= key_hash:
            after = start + _LEAF_BYTES if found == key_hash else start
            return bucket[:start] + entry + bucket[after:]
    return bucket + entry


def _kinds_of(buckets: list[bytes]) -> bytearray:
    return bytearray([min(len(bucket) // _LEAF_BYTES, _MANY) for bucket in buckets])


def _bucket_root(bucket: bytes, depth: int) -> bytes:
    """Hash of the subtree at `depth` whose leaves a bucket holds."""
    return _subtree(_split(bucket), depth) if bucket else EMPTY_SUBTREE


def _subtree(leaves: list[bytes], depth: int) -> bytes:
    """Hash of the subtree at `depth` that holds these sorted leaves, one or more."""
    if len(leaves) == 1:
        return sha256(b"\x00" + leaves[0]).digest()
    first = int.from_bytes(leaves[0][:32], "big")
    # The leaves share all bits above the first one in which the outermost two differ.
    fork = 256 - (first ^ int.from_bytes(leaves[-1][:32], "big")).bit_length()
    if len(leaves) == 2:
        left, right = leaves
        pair = sha256(b"\x00" + left).digest() + sha256(b"\x00" + right).digest()
    else:
        ones = [leaf for leaf in leaves if _bit(leaf, fork)]
        pair = _subtree(leaves[: len(leaves) - len(ones)], fork + 1) + _subtree(ones, fork + 1)
    node = sha256(b"\x01" + pair).digest()
    while fork > depth:
        fork -= 1
        pair = EMPTY_SUBTREE + node if first >> (255 - fork) & 1 else node + EMPTY_SUBTREE
        node = sha256(b"\x01" + pair).digest()
    return node
