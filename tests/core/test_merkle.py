"""RFC 6962 trees of lists: known vectors, every branch of every small list, and tampering."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from potchain.merkle import EMPTY_ROOT, EMPTY_SUBTREE, branch, leaf_hash, root, verify_branch, verify_state_branch

VECTOR_LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
VECTOR_ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
"""Roots of the first 1 to 8 leaves: the reference vectors of Certificate Transparency's own implementation."""

LISTS = [[b"leaf %d" % place for place in range(count)] for count in range(71)]


def dumb_root(leaves: Sequence[bytes]) -> bytes:
    """The definition of RFC 6962 section 2.1, word for word."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return sha256(b"\x00" + leaves[0]).digest()
    split = 1
    while 2 * split < len(leaves):
        split *= 2
    return sha256(b"\x01" + dumb_root(leaves[:split]) + dumb_root(leaves[split:])).digest()


def test_the_empty_list_has_the_hash_of_nothing() -> None:
    assert root([]) == EMPTY_ROOT
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize("count", range(1, 9))
def test_the_vectors_of_certificate_transparency(count: int) -> None:
    assert root(VECTOR_LEAVES[:count]).hex() == VECTOR_ROOTS[count - 1]


@pytest.mark.parametrize("leaves", LISTS, ids=len)
def test_roots_and_every_branch(leaves: list[bytes]) -> None:
    expected = root(leaves)
    assert expected == dumb_root(leaves)
    for index, leaf in enumerate(leaves):
        path = branch(leaves, index)
        assert verify_branch(leaf, index, len(leaves), path, expected)
        assert not verify_branch(leaf + b".", index, len(leaves), path, expected)
        assert not verify_branch(leaf, index, len(leaves), (*path, EMPTY_ROOT), expected)
        assert not path or not verify_branch(leaf, index, len(leaves), path[:-1], expected)
        for other in range(len(leaves)):
            assert (other == index) == verify_branch(leaf, other, len(leaves), path, expected)


@pytest.mark.parametrize("index", [-1, 3, 4])
def test_there_is_no_branch_outside_the_list(index: int) -> None:
    with pytest.raises(IndexError, match=f"leaf {index} of 3"):
        branch(LISTS[3], index)
    assert not verify_branch(b"leaf 0", index, 3, branch(LISTS[3], 0), root(LISTS[3]))


def test_nothing_is_in_the_empty_list() -> None:
    assert not verify_branch(b"", 0, 0, (), EMPTY_ROOT)


@given(st.integers(1, 40), st.data())
def test_a_tampered_branch_fails(count: int, data: st.DataObject) -> None:
    leaves = LISTS[count]
    index = data.draw(st.integers(0, count - 1))
    path = list(branch(leaves, index))
    expected = bytearray(root(leaves))
    if bool(path) and data.draw(st.booleans()):
        step = data.draw(st.integers(0, len(path) - 1))
        bit = data.draw(st.integers(0, 255))
        changed = bytearray(path[step])
        changed[bit // 8] ^= 1 << bit % 8
        path[step] = bytes(changed)
    else:
        bit = data.draw(st.integers(0, 255))
        expected[bit // 8] ^= 1 << bit % 8
    assert not verify_branch(leaves[index], index, count, path, bytes(expected))


def test_an_inner_node_passes_for_no_leaf() -> None:
    """A list of two is not a list of one whose entry is the two hashes: leaves and nodes differ in their prefix."""
    pair = leaf_hash(b"leaf 0") + leaf_hash(b"leaf 1")
    assert root([pair]) != root(LISTS[2])
    assert root([*LISTS[3], LISTS[3][-1]]) != root(LISTS[3]), "the last entry is not doubled"


@pytest.mark.parametrize("sibling", [b"", bytes(31), bytes(33), bytes(64)])
def test_siblings_have_32_bytes(sibling: bytes) -> None:
    assert not verify_branch(b"leaf 0", 0, 2, (sibling,), root(LISTS[2]))
    assert not verify_state_branch(b"key", None, (sibling,), EMPTY_SUBTREE)


class TestStateBranch:
    def test_an_empty_state_holds_nothing(self) -> None:
        assert verify_state_branch(b"key", None, (), EMPTY_SUBTREE)
        assert not verify_state_branch(b"key", b"", (), EMPTY_SUBTREE)

    def test_a_branch_has_at_most_256_siblings(self) -> None:
        assert not verify_state_branch(b"key", None, (EMPTY_SUBTREE,) * 257, EMPTY_SUBTREE)

    def test_a_leaf_of_the_key_itself_shows_no_absence(self) -> None:
        key_hash, value_hash = sha256(b"key").digest(), sha256(b"value").digest()
        expected = sha256(b"\x00" + key_hash + value_hash).digest()
        assert verify_state_branch(b"key", b"value", (), expected)
        assert not verify_state_branch(b"key", None, (), expected, (key_hash, value_hash))
        assert verify_state_branch(b"absent", None, (), expected, (key_hash, value_hash))
        assert not verify_state_branch(b"absent", None, (), expected, (key_hash, value_hash[1:]))
        assert not verify_state_branch(b"absent", None, (), expected, (key_hash + b"\x00", value_hash))

    def test_another_leaf_must_stand_on_the_key_s_path(self) -> None:
        """Else any leaf of the state would show the absence of any key."""
        key_hash, value_hash = sha256(b"key").digest(), sha256(b"value").digest()
        node = sha256(b"\x00" + key_hash + value_hash).digest()
        beside = bytes(32)
        stray = next(
            name for name in (b"%d" % n for n in range(99)) if sha256(name).digest()[0] >> 7 != key_hash[0] >> 7
        )
        same = next(
            name for name in (b"%d" % n for n in range(99)) if sha256(name).digest()[0] >> 7 == key_hash[0] >> 7
        )
        pair = beside + node if key_hash[0] >> 7 else node + beside
        expected = sha256(b"\x01" + pair).digest()
        assert verify_state_branch(same, None, (beside,), expected, (key_hash, value_hash))
        assert not verify_state_branch(stray, None, (beside,), expected, (key_hash, value_hash))
