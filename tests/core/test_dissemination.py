"""Bundles and trees as pure arithmetic: any k of n shares, no changed byte, no inconsistent bundle."""

import msgspec
import pytest
from core_network import key
from hypothesis import given, settings
from hypothesis import strategies as st

from potchain import merkle
from potchain.codec import decode, encode
from potchain.dissemination import (
    BUNDLE_BYTES_MAX,
    SHARES_MAX,
    BundleHead,
    Share,
    bundle_digest,
    children,
    needed_shares,
    pieces,
    reassemble,
    share_fault,
    signer_of,
    split,
)
from potchain.errors import CodecError, InvalidProof
from potchain.replica import wire

GENESIS = bytes(range(32))

transactions = st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=12)
sizes = st.integers(1, 20).flatmap(lambda shares: st.tuples(st.just(shares), st.integers(1, shares)))


def cut(raws: list[bytes], shares: int, needed: int) -> tuple[Share, ...]:
    return split(raws, shares=shares, needed=needed, key=key("alice"), genesis_hash=GENESIS, number=7)


def of_blocks(blocks: list[bytes], needed: int, bundle_bytes: int) -> list[Share]:
    """What a liar signs: any blocks, under their own root."""
    head = BundleHead(merkle.root(blocks), needed, len(blocks), bundle_bytes, 0)
    signature = key("mallory").sign_digest(bundle_digest(GENESIS, head))
    return [Share(head, signature, index, merkle.branch(blocks, index), block) for index, block in enumerate(blocks)]


# --- bundles --------------------------------------------------------------------------------------------------------


@given(transactions, sizes, st.randoms(use_true_random=False))
def test_any_k_of_n_shares_give_the_transactions(raws: list[bytes], size: tuple[int, int], dice: object) -> None:
    shares = cut(raws, *size)
    assert all(share_fault(share) is None for share in shares)
    chosen = [(share.index, share.block) for share in shares]
    dice.shuffle(chosen)  # type: ignore[attr-defined]
    found = reassemble(shares[0].head, chosen[: size[1]])
    assert found is not None
    assert list(found.transactions) == raws
    assert list(found.blocks) == [share.block for share in shares]


@settings(max_examples=300)
@given(st.data())
def test_a_flipped_bit_anywhere_in_a_share_is_refused(data: st.DataObject) -> None:
    shares = cut([bytes([number]) * 40 for number in range(5)], 7, 3)
    wire_bytes = bytearray(encode(data.draw(st.sampled_from(shares))))
    place = data.draw(st.integers(0, len(wire_bytes) - 1))
    wire_bytes[place] ^= 1 << data.draw(st.integers(0, 7))
    try:
        share = decode(Share, bytes(wire_bytes))
    except CodecError:
        return
    if share_fault(share) is None:
        # What the branch does not cover, the signature does: it is another's, or no signature at all.
        try:
            assert signer_of(bundle_digest(GENESIS, share.head), share) != key("alice").address
        except InvalidProof:
            return


@given(sizes.filter(lambda size: size[1] < size[0]), st.randoms(use_true_random=False), st.data())
def test_an_inconsistent_bundle_is_refused_from_whatever_shares(
    size: tuple[int, int], dice: object, data: st.DataObject
) -> None:
    shares, needed = size
    blocks = [share.block for share in cut([b"x" * 200, b"y" * 90], shares, needed)]
    changed = data.draw(st.integers(0, shares - 1))
    blocks[changed] = bytes(each ^ 0x55 for each in blocks[changed])
    forged = of_blocks(blocks, needed, 298)
    assert all(share_fault(share) is None for share in forged)
    chosen = [(share.index, share.block) for share in forged]
    dice.shuffle(chosen)  # type: ignore[attr-defined]
    assert reassemble(forged[0].head, chosen[:needed]) is None


def test_a_bundle_padded_with_anything_but_zeros_is_refused() -> None:
    data = b"\0\0\0\5hello"
    assert reassemble(of_blocks([data + b"\1"], 1, 9)[0].head, [(0, data)]) is None


@pytest.mark.parametrize(
    "data",
    [b"\0\0\0\6hello", b"\0\0\0\5hello\0", b"\0\0\0\0", b"\xff\xff\xff\xffhello", b"\0\0"],
    ids=["too long", "a rest", "empty", "absurd", "cut short"],
)
def test_bytes_that_are_no_list_of_transactions_are_refused(data: bytes) -> None:
    assert reassemble(of_blocks([data], 1, len(data))[0].head, [(0, data)]) is None


@pytest.mark.parametrize(
    ("shares", "needed", "bundle_bytes", "words"),
    [
        (0, 0, 10, "shares"),
        (4, 0, 10, "shares"),
        (4, 5, 10, "shares"),
        (SHARES_MAX + 1, 3, 10, "shares"),
        (4, 2, 0, "bytes"),
        (4, 2, BUNDLE_BYTES_MAX + 1, "bytes"),
        (4, 2, 2**63, "bytes"),
    ],
)
def test_heads_of_impossible_bundles(shares: int, needed: int, bundle_bytes: int, words: str) -> None:
    share = Share(BundleHead(bytes(32), needed, shares, bundle_bytes, 0), bytes(65), 0, (), b"")
    assert words in str(share_fault(share))


def test_a_share_of_another_length_or_place_is_refused() -> None:
    shares = cut([b"a" * 100], 4, 2)
    assert "52" in str(share_fault(msgspec.structs.replace(shares[0], block=b"a")))
    assert "signed root" in str(share_fault(msgspec.structs.replace(shares[0], index=1)))
    assert "signed root" in str(share_fault(msgspec.structs.replace(shares[0], index=2**64 - 1)))


def test_what_cannot_be_split() -> None:
    for raws in ([], [b""], [b"x" * BUNDLE_BYTES_MAX]):
        with pytest.raises(ValueError, match=r"bytes|empty"):
            cut(raws, 4, 2)
    with pytest.raises(ValueError, match="shares"):
        cut([b"x"], 4, 5)


def test_the_same_transactions_under_another_number_are_another_bundle() -> None:
    first, second = (
        split([b"x"], shares=4, needed=2, key=key("alice"), genesis_hash=GENESIS, number=number)[0].head
        for number in (0, 1)
    )
    assert bundle_digest(GENESIS, first) != bundle_digest(GENESIS, second)
    assert bundle_digest(GENESIS, first) != bundle_digest(bytes(32), first)


@pytest.mark.parametrize(("members", "overhead"), [(4, 186), (10, 254), (50, 322), (100, 356), (256, 392)])
def test_what_a_share_costs_beside_its_block(members: int, overhead: int) -> None:
    shares = cut([bytes(300) for _ in range(100)], members, needed_shares(members, members // 2))
    most = max(len(wire.encode_frame(wire.BundleShare(share))) - len(share.block) for share in shares)
    assert overhead - 8 <= most <= overhead + 4


@pytest.mark.parametrize("members", range(1, 20))
def test_all_branches_at_once_are_the_branches(members: int) -> None:
    leaves = [bytes([number]) for number in range(members)]
    assert merkle.branches(leaves) == [merkle.branch(leaves, index) for index in range(members)]


# --- trees ----------------------------------------------------------------------------------------------------------


@given(st.integers(1, 60), st.integers(1, 8), st.data())
def test_a_tree_reaches_every_member_once_and_nobody_has_too_many_children(
    members: int, fanout: int, data: st.DataObject
) -> None:
    root = data.draw(st.integers(0, members - 1))
    reached = [root]
    for place in reached:
        below = children(members, fanout, root, place)
        assert len(below) <= fanout
        reached += below
    assert sorted(reached) == list(range(members))


def test_the_work_of_relays_spreads_over_the_roots() -> None:
    uploads = [sum(len(children(10, 3, root, place)) for root in range(10)) for place in range(10)]
    assert uploads == [9] * 10


@given(st.lists(st.binary(max_size=50), max_size=30), st.integers(1, 100))
def test_pieces_keep_order_and_size(raws: list[bytes], bytes_max: int) -> None:
    cut_up = list(pieces(raws, bytes_max))
    assert [raw for piece in cut_up for raw in piece] == raws
    assert all(len(piece) == 1 or sum(map(len, piece)) <= bytes_max for piece in cut_up)
