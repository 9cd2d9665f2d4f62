"""The authenticated state against a deliberately dumb definition of its root, and its branches."""

from __future__ import annotations

import random
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from potchain.application.state import AuthenticatedState, SparseTree
from potchain.blocks import StateChange
from potchain.merkle import EMPTY_SUBTREE, state_leaf_hash, verify_state_branch


def dumb_root(records: dict[bytes, bytes]) -> bytes:
    """The root by its definition, one bit of the key hash at a time."""
    leaves = {sha256(key).digest(): state_leaf_hash(sha256(key).digest(), value) for key, value in records.items()}
    return dumb_subtree(leaves, 0)


def dumb_subtree(leaves: dict[bytes, bytes], depth: int) -> bytes:
    if not leaves:
        return bytes(32)
    if len(leaves) == 1:
        return next(iter(leaves.values()))
    sides: tuple[dict[bytes, bytes], dict[bytes, bytes]] = ({}, {})
    for key_hash, leaf in leaves.items():
        sides[int.from_bytes(key_hash, "big") >> (255 - depth) & 1][key_hash] = leaf
    return sha256(b"\x01" + dumb_subtree(sides[0], depth + 1) + dumb_subtree(sides[1], depth + 1)).digest()


def check(state: AuthenticatedState, records: dict[bytes, bytes]) -> None:
    assert state.root == dumb_root(records)
    assert dict(state.items()) == records
    assert len(state) == len(records)


keys = st.integers(0, 60).map(lambda number: b"record/%d" % number)
changes = st.lists(st.builds(StateChange, keys, st.none() | st.binary(max_size=3)), max_size=60)


@given(st.dictionaries(keys, st.binary(max_size=3)), st.lists(changes, max_size=5))
def test_the_root_is_the_definition_s_after_any_batches(
    records: dict[bytes, bytes], batches: list[list[StateChange]]
) -> None:
    state = AuthenticatedState.from_records(records.items())
    check(state, records)
    for batch in batches:
        for change in batch:
            if change.value is None:
                records.pop(change.key, None)
            else:
                records[change.key] = change.value
        assert state.apply(batch) == state.root
        check(state, records)
    for key in [b"record/%d" % number for number in range(61)]:
        proof = state.prove(key)
        assert verify_state_branch(key, records.get(key), proof.siblings, state.root, proof.other_leaf)
        assert not verify_state_branch(key, b"no such value", proof.siblings, state.root, proof.other_leaf)


@pytest.mark.parametrize("seed", range(3))
def test_growing_and_shrinking_through_every_depth(seed: int) -> None:
    rng = random.Random(seed)
    state = AuthenticatedState()
    records: dict[bytes, bytes] = {}
    names = [b"account/%d" % number for number in range(700)]
    for batch in (1, 1, 2, 5, 20, 70, 200, 400):
        chosen = {rng.choice(names): rng.randbytes(4) for _ in range(batch)}
        records |= chosen
        state.apply([StateChange(key, value) for key, value in chosen.items()])
        check(state, records)
    deepest = state._tree._depth
    while records:
        gone = rng.sample(sorted(records), min(len(records), 60))
        for key in gone:
            del records[key]
        state.apply([StateChange(key, None) for key in gone])
        check(state, records)
    assert state.root == EMPTY_SUBTREE
    assert state._tree._depth < deepest, "memory is given back"


def test_the_root_does_not_depend_on_order_or_history() -> None:
    rng = random.Random(7)
    records = [(b"k%d" % number, rng.randbytes(8)) for number in range(300)]
    built = AuthenticatedState.from_records(records)
    for _ in range(3):
        rng.shuffle(records)
        state = AuthenticatedState()
        for key, value in records:
            state.apply([StateChange(key, b"first"), StateChange(b"x" + key, b"soon gone")])
            state.apply([StateChange(b"x" + key, None), StateChange(key, value)])
        assert state.root == built.root


def test_a_large_state_equals_the_definition_and_proves_everything() -> None:
    rng = random.Random(3)
    records = {b"account/" + rng.randbytes(20): rng.randbytes(36) for _ in range(3_000)}
    state = AuthenticatedState.from_records(records.items())
    updated = dict.fromkeys(rng.sample(sorted(records), 500), b"updated")
    records |= updated
    state.apply([StateChange(key, value) for key, value in updated.items()])
    check(state, records)
    for key in [*rng.sample(sorted(records), 300), *[rng.randbytes(28) for _ in range(300)]]:
        proof = state.prove(key)
        value = records.get(key)
        assert verify_state_branch(key, value, proof.siblings, state.root, proof.other_leaf)
        other = b"forged" if value is None else None
        assert not verify_state_branch(key, other, proof.siblings, state.root, proof.other_leaf)
        assert (proof.other_leaf is None) or value is None


def test_changes_without_a_difference_change_nothing() -> None:
    state = AuthenticatedState.from_records([(b"a", b"1")])
    before = state.root
    assert state.apply([StateChange(b"a", b"1"), StateChange(b"b", None)]) == before
    assert state.apply([]) == before
    assert state.apply([StateChange(b"a", b"2"), StateChange(b"a", b"1")]) == before


def test_an_empty_value_is_a_value() -> None:
    state = AuthenticatedState.from_records([(b"a", b"")])
    assert state.get(b"a") == b""
    assert state.root == state_leaf_hash(sha256(b"a").digest(), b"")
    assert state.get(b"b") is None


close = st.lists(st.integers(0, 255), max_size=12, unique=True)


@settings(max_examples=60)
@given(close, close, st.integers(0, 240), st.integers(0, 40))
def test_key_hashes_that_share_long_prefixes(first: list[int], second: list[int], shift: int, spread: int) -> None:
    """Real key hashes hardly share 40 bits; the tree must be right if they do."""

    def hashes(numbers: list[int]) -> dict[bytes, bytes]:
        return {
            ((number << shift) + (1 << 255)).to_bytes(32, "big"): sha256(b"%d" % number).digest() for number in numbers
        }

    padding = {sha256(b"pad %d" % number).digest(): bytes(32) for number in range(spread)}
    leaves = padding | hashes(first)
    tree = SparseTree(leaves.items())
    for batch in (hashes(second), dict.fromkeys(hashes(first), b""), dict.fromkeys(hashes(second), b"")):
        tree.update(batch.items())
        for key_hash, value_hash in batch.items():
            leaves[key_hash] = value_hash
            if not value_hash:
                del leaves[key_hash]
        expected = {key: sha256(b"\x00" + key + value).digest() for key, value in leaves.items()}
        assert tree.root == dumb_subtree(expected, 0)
        for key_hash in hashes(list(range(8))):
            proof = tree.branch(key_hash)
            node = expected.get(key_hash, EMPTY_SUBTREE)
            if proof.other_leaf:
                assert key_hash not in leaves
                node = sha256(b"\x00" + b"".join(proof.other_leaf)).digest()
            for depth in range(len(proof.siblings) - 1, -1, -1):
                right = int.from_bytes(key_hash, "big") >> (255 - depth) & 1
                pair = proof.siblings[depth] + node if right else node + proof.siblings[depth]
                node = sha256(b"\x01" + pair).digest()
            assert node == tree.root
