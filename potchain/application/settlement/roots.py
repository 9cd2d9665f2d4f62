"""The cumulative Merkle tree: for each account, all that roots ever promised to it on the bound contract.

Theory of operation. Leaves stand in the order in which accounts came, and never move; a leaf is
keccak256(keccak256(abi.encode(account, cumulative))), a node keccak256 of its two children, the lower one first
(OpenZeppelin MerkleProof, StandardMerkleTree), and a child without a sibling takes its parent's place. So a branch is
just the siblings on the way up, whatever shape the tree has.

The state holds the tree of the last *executed* root, since claims are made against that one; forming a root only
computes what it will be. Leaves are kept in segments of SEGMENT_LEAVES, and the segments' roots in one record: a root
of a thousand payouts touches some hundred records of about a kilobyte. Each bound contract has a tree of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from potchain.application.interface import StateReader, StateWriter
from potchain.application.settlement.records import PREFIX, counters
from potchain.codec import Canonical, decode, encode
from potchain.crypto import keccak256
from potchain.primitives import Bytes, Uint64, Uint256, uint, uint256
from potchain.settlement.abi import address_word, word
from potchain.settlement.actions import Entry

TREE_PREFIX = PREFIX + b"tree/"
SEGMENT_LEAVES = 32
"""A power of two, so that a segment is a whole subtree."""
_HASH_BYTES = 32


class TreeTop(Canonical, frozen=True):
    """What stands above the segments."""

    accounts: Uint64 = 0
    """Leaves of the tree."""
    segment_roots: Bytes = b""
    """32 bytes each."""


class TreeAccount(Canonical, frozen=True):
    """Where an account's leaf stands, and what it says."""

    index: Uint64
    cumulative: Uint256


class RootClaim(msgspec.Struct, frozen=True):
    """What an account needs to claim what roots promise it."""

    root: bytes
    """The executed root."""
    account: bytes
    cumulative: int
    """Base units ever promised to the account by roots."""
    branch: tuple[bytes, ...]
    """Siblings, from the leaf upwards: the contract's `proof`."""


class TreeUpdate(msgspec.Struct, frozen=True):
    """What a tree would be after a root's entries."""

    root: bytes
    binding: int
    top: TreeTop
    segments: tuple[tuple[int, bytes], ...]
    """(number, leaves) of every segment that changes."""
    accounts: tuple[tuple[bytes, TreeAccount], ...]
    """Every account that changes."""


def leaf_hash(account: bytes, cumulative: int) -> bytes:
    """keccak256(bytes.concat(keccak256(abi.encode(account, cumulative))))."""
    return keccak256(keccak256(address_word(account) + word(cumulative)))


def pair_hash(one: bytes, other: bytes) -> bytes:
    """The node above two nodes, whichever is left."""
    return keccak256(one + other if one < other else other + one)


def root_of(nodes: Sequence[bytes]) -> bytes:
    """Root over one or more nodes."""
    level = list(nodes)
    while len(level) > 1:
        level = _above(level)
    return level[0]


def updated(state: StateReader, entries: Iterable[Entry], accounts_max: int) -> TreeUpdate | None:
    """The tree with each account's sum increased, or None when it would have more than `accounts_max` accounts."""
    binding = counters(state).binding
    top = _top(state, binding)
    count = top.accounts
    accounts: list[tuple[bytes, TreeAccount]] = []
    for entry in entries:
        data = state.get(_account_key(binding, entry.account))
        if data is None:
            accounts.append((entry.account, TreeAccount(count, entry.amount)))
            count += 1
        else:
            before = decode(TreeAccount, data)
            sum_ = uint(before.cumulative) + uint(entry.amount)
            accounts.append((entry.account, TreeAccount(before.index, uint256(sum_))))
    if count > accounts_max:
        return None
    segments: dict[int, bytearray] = {}
    for account, placed in sorted(accounts, key=lambda each: each[1].index):
        number, place = divmod(placed.index, SEGMENT_LEAVES)
        if number not in segments:
            segments[number] = bytearray(state.get(_segment_key(binding, number)) or b"")
        start = place * _HASH_BYTES
        segments[number][start : start + _HASH_BYTES] = leaf_hash(account, uint(placed.cumulative))
    roots = bytearray(top.segment_roots)
    for number in sorted(segments):
        start = number * _HASH_BYTES
        roots[start : start + _HASH_BYTES] = root_of(_split(segments[number]))
    changed = tuple([(number, bytes(segments[number])) for number in sorted(segments)])
    return TreeUpdate(root_of(_split(roots)), binding, TreeTop(count, bytes(roots)), changed, tuple(accounts))


def write_tree(state: StateWriter, update: TreeUpdate) -> None:
    """Make it the executed tree."""
    state.put(_top_key(update.binding), encode(update.top))
    for number, leaves in update.segments:
        state.put(_segment_key(update.binding, number), leaves)
    for account, placed in update.accounts:
        state.put(_account_key(update.binding, account), encode(placed))


def executed_root(state: StateReader) -> bytes | None:
    """The root in force on the bound contract, or None while there is none."""
    roots = _top(state, counters(state).binding).segment_roots
    return root_of(_split(roots)) if roots else None


def root_claim(state: StateReader, account: bytes, binding: int | None = None) -> RootClaim | None:
    """What an account can claim under the executed root of the bound contract, or of that of an earlier binding.

    None when roots promise it nothing there.
    """
    binding = counters(state).binding if binding is None else binding
    data = state.get(_account_key(binding, account))
    if data is None:
        return None
    placed = decode(TreeAccount, data)
    number, place = divmod(placed.index, SEGMENT_LEAVES)
    segment = state.get(_segment_key(binding, number))
    assert segment is not None, "it was written with the account"
    roots = _split(_top(state, binding).segment_roots)
    branch = _siblings(_split(segment), place) + _siblings(roots, number)
    return RootClaim(root_of(roots), account, uint(placed.cumulative), tuple(branch))


def _above(level: Sequence[bytes]) -> list[bytes]:
    """The next level; a node without a sibling moves up as it is."""
    pairs = [pair_hash(level[index], level[index + 1]) for index in range(0, len(level) - 1, 2)]
    return [*pairs, level[-1]] if len(level) % 2 else pairs


def _siblings(level: Sequence[bytes], index: int) -> list[bytes]:
    found = []
    while len(level) > 1:
        beside = index ^ 1
        if beside < len(level):
            found.append(level[beside])
        level = _above(level)
        index >>= 1
    return found


def _split(hashes: bytes | bytearray) -> list[bytes]:
    return [bytes(hashes[start : start + _HASH_BYTES]) for start in range(0, len(hashes), _HASH_BYTES)]


def _top(state: StateReader, binding: int) -> TreeTop:
    data = state.get(_top_key(binding))
    return TreeTop() if data is None else decode(TreeTop, data)


def _tree_key(binding: int) -> bytes:
    return TREE_PREFIX + binding.to_bytes(8, "big")


def _top_key(binding: int) -> bytes:
    return _tree_key(binding) + b"/top"


def _segment_key(binding: int, number: int) -> bytes:
    return _tree_key(binding) + b"/segment/" + number.to_bytes(8, "big")


def _account_key(binding: int, account: bytes) -> bytes:
    return _tree_key(binding) + b"/account/" + account
