"""The signer's guard: the three rules of potchain/consensus/signer.py, before and after a restart."""

from __future__ import annotations

from hashlib import sha256

import pytest

from potchain.blocks import BLOCK_VOTE, vote_bytes
from potchain.codec import decode, encode
from potchain.consensus.signer import GuardEntry, Signer, guard_entry
from potchain.crypto import SigningKey, parse_public_key, verify_vote
from potchain.errors import GuardRefusal

KEY = SigningKey(sha256(b"signer test").digest())
GENESIS_HASH = sha256(b"signer test network").digest()
ONE = sha256(b"one").digest()
TWO = sha256(b"two").digest()


def fresh() -> Signer:
    return Signer(KEY, GENESIS_HASH)


def test_the_signature_covers_the_whole_place() -> None:
    message = fresh().sign(3, "prepare", 2, 9, ONE, b"")
    public_key = parse_public_key(KEY.public_key)
    assert message.sender == KEY.address
    signed = vote_bytes(GENESIS_HASH, 3, "prepare", 2, 9, ONE, KEY.address)
    assert verify_vote(public_key, signed, message.signature)
    for other in (
        vote_bytes(bytes(32), 3, "prepare", 2, 9, ONE, KEY.address),
        vote_bytes(GENESIS_HASH, 4, "prepare", 2, 9, ONE, KEY.address),
        vote_bytes(GENESIS_HASH, 3, "commit", 2, 9, ONE, KEY.address),
        vote_bytes(GENESIS_HASH, 3, "prepare", 1, 9, ONE, KEY.address),
        vote_bytes(GENESIS_HASH, 3, "prepare", 2, 8, ONE, KEY.address),
        vote_bytes(GENESIS_HASH, 3, "prepare", 2, 9, TWO, KEY.address),
        vote_bytes(GENESIS_HASH, 3, "prepare", 2, 9, ONE, bytes(20)),
    ):
        assert not verify_vote(public_key, other, message.signature)


def test_the_same_digest_again_gives_the_same_bytes() -> None:
    signer = fresh()
    assert encode(signer.sign(0, "commit", 0, 1, ONE, b"")) == encode(signer.sign(0, "commit", 0, 1, ONE, b""))
    assert signer.size == 1


def test_rule_1_refuses_a_second_digest_for_a_slot() -> None:
    signer = fresh()
    signer.sign(0, "prepare", 0, 1, ONE, b"")
    with pytest.raises(GuardRefusal, match="already signed prepare"):
        signer.sign(0, "prepare", 0, 1, TWO, b"")


def test_rule_1_is_for_each_epoch_view_sequence_and_kind() -> None:
    signer = fresh()
    signer.sign(0, "prepare", 0, 1, ONE, b"")
    for epoch, kind, view, sequence in (
        (1, "prepare", 0, 1),
        (0, "commit", 0, 1),
        (0, "prepare", 1, 1),
        (0, "prepare", 0, 2),
    ):
        assert signer.sign(epoch, kind, view, sequence, TWO, b"").digest == TWO


def test_rule_1_holds_for_block_votes() -> None:
    signer = fresh()
    signer.sign(0, BLOCK_VOTE, 0, 5, ONE, b"")
    with pytest.raises(GuardRefusal):
        signer.sign(0, BLOCK_VOTE, 0, 5, TWO, b"")


def test_a_refusal_leaves_no_trace() -> None:
    signer = fresh()
    signer.sign(0, "prepare", 0, 1, ONE, b"")
    with pytest.raises(GuardRefusal):
        signer.sign(0, "prepare", 0, 1, TWO, b"")
    assert signer.size == 1
    assert signer.sign(0, "prepare", 0, 1, ONE, b"").digest == ONE


def test_rule_2_refuses_what_lies_at_or_below_the_stable_checkpoint() -> None:
    signer = fresh()
    signer.forget_below(64)
    for sequence in (1, 64):
        with pytest.raises(GuardRefusal, match="stable checkpoint 64"):
            signer.sign(0, "commit", 0, sequence, ONE, b"")
    assert signer.sign(0, "commit", 0, 65, ONE, b"").sequence == 65


def test_forgotten_slots_stay_shut() -> None:
    """Rule 2 covers what rule 1 forgets."""
    signer = fresh()
    signer.sign(0, "prepare", 0, 3, ONE, b"")
    signer.sign(0, "prepare", 0, 9, ONE, b"")
    signer.forget_below(4)
    assert signer.size == 1
    for digest in (ONE, TWO):
        with pytest.raises(GuardRefusal):
            signer.sign(0, "prepare", 0, 3, digest, b"")
    with pytest.raises(GuardRefusal):
        signer.sign(0, "prepare", 0, 9, TWO, b"")


def test_the_stable_checkpoint_never_goes_back() -> None:
    signer = fresh()
    signer.forget_below(64)
    signer.forget_below(8)
    with pytest.raises(GuardRefusal):
        signer.sign(0, "commit", 0, 10, ONE, b"")


def test_rule_3_refuses_lower_views_once_a_view_is_announced() -> None:
    signer = fresh()
    signer.sign(0, "view-change", 3, 0, ONE, b"")
    for kind, sequence in (("pre-prepare", 5), ("prepare", 5), ("commit", 5), ("view-change", 0), ("new-view", 0)):
        with pytest.raises(GuardRefusal, match="announced view 3"):
            signer.sign(0, kind, 2, sequence, ONE, b"")
        assert signer.sign(0, kind, 3, sequence, ONE, b"").view == 3


def test_rule_3_spares_block_votes_and_other_epochs() -> None:
    signer = fresh()
    signer.sign(0, "view-change", 3, 0, ONE, b"")
    assert signer.sign(0, BLOCK_VOTE, 0, 7, ONE, b"").kind == BLOCK_VOTE
    assert signer.sign(1, "prepare", 0, 70, ONE, b"").epoch == 1


def test_announcements_survive_truncation() -> None:
    signer = fresh()
    signer.sign(0, "view-change", 3, 0, ONE, b"")
    signer.forget_below(1_000)
    with pytest.raises(GuardRefusal):
        signer.sign(0, "view-change", 3, 0, TWO, b"")
    with pytest.raises(GuardRefusal):
        signer.sign(0, "prepare", 2, 1_001, ONE, b"")


def test_the_guard_comes_back_from_its_entries() -> None:
    before = fresh()
    messages = [
        before.sign(0, "prepare", 0, 70, ONE, b""),
        before.sign(0, "commit", 0, 70, ONE, b""),
        before.sign(0, "view-change", 1, 0, TWO, b""),
    ]
    stored = [encode(guard_entry(message)) for message in messages]
    after = Signer(KEY, GENESIS_HASH, [decode(GuardEntry, data) for data in stored], stable=64)
    assert after.size == before.size == 3
    with pytest.raises(GuardRefusal, match="already signed"):
        after.sign(0, "prepare", 0, 70, TWO, b"")
    with pytest.raises(GuardRefusal, match="stable checkpoint"):
        after.sign(0, "prepare", 1, 64, TWO, b"")
    with pytest.raises(GuardRefusal, match="announced view 1"):
        after.sign(0, "prepare", 0, 71, TWO, b"")
    assert after.sign(0, "prepare", 1, 70, TWO, b"").digest == TWO
