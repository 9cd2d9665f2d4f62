"""Evidence: what is checked, what is kept, and how much of it."""

from __future__ import annotations

from hashlib import sha256

import msgspec
import pytest
from core_network import certify, key, make_genesis, make_validators, quorum_of
from double_votes import double_vote, vote
from hypothesis import given
from hypothesis import strategies as st

from potchain.blocks import BlockHeader, EpochLink
from potchain.codec import decode, encode
from potchain.consensus.interface import Misbehaviour
from potchain.crypto import digest_of
from potchain.errors import CodecError, InvalidProof
from potchain.evidence import (
    Evidence,
    EvidenceProof,
    SignedDigest,
    check_evidence,
    evidence_id,
    signed_messages,
    slot_digest,
    verify_evidence_proof,
)
from potchain.genesis import EPOCH_TAG
from potchain.primitives import UINT64_MAX, NodeId
from potchain.replica import actions, wire
from potchain.replica.accusing import PIECES_PER_MEMBER_MAX, Accusations, evidence_of
from potchain.replica.epochs import KnownEpochs
from potchain.replica.outbox import Outbox

GENESIS = make_genesis(validators=4)
EPOCH = GENESIS.first_epoch
EPOCHS = {0: EPOCH}
PIECE = double_vote(GENESIS, 1, 7)


class Room:
    """Accusations with their outbox."""

    def __init__(self, me: int = 0, kept: tuple[Evidence, ...] = ()) -> None:
        self.outbox = Outbox()
        self.accusations = Accusations(GENESIS, KnownEpochs((EPOCH,)), EPOCH.ids[me], self.outbox)
        self.accusations.restore(kept)

    def offer(self, *pieces: Evidence, sender: int = 2) -> list[actions.ReplicaAction]:
        for piece in pieces:
            self.accusations.offered(EPOCH.ids[sender], piece)
        return self.outbox.drain()

    def witness(self, *pairs: Misbehaviour) -> list[actions.ReplicaAction]:
        for pair in pairs:
            self.accusations.witnessed(pair)
        return self.outbox.drain()


def test_two_votes_for_one_slot_convict_whatever_their_order() -> None:
    first, second = vote(GENESIS, 1, 7, "a"), vote(GENESIS, 1, 7, "b")
    assert evidence_of(first, second) == evidence_of(second, first) == PIECE
    check_evidence(PIECE, GENESIS, EPOCHS)
    for vote_, signed in zip((PIECE.first, PIECE.second), signed_messages(PIECE, GENESIS.hash), strict=True):
        assert EPOCH.keys[NodeId(PIECE.accused)].verify(_der(vote_.signature), sha256(signed).digest(), hasher=None), (
            "what is shown to a stranger is what was signed"
        )


def _der(signature: bytes) -> bytes:
    from coincurve.ecdsa import cdata_to_der, deserialize_compact

    der: bytes = cdata_to_der(deserialize_compact(signature))
    return der


@pytest.mark.parametrize(
    "other",
    [
        vote(GENESIS, 1, 7, "a"),
        vote(GENESIS, 2, 7, "b"),
        vote(GENESIS, 1, 8, "b"),
        vote(GENESIS, 1, 7, "b", kind="prepare"),
        vote(GENESIS, 1, 7, "b", view=1),
        vote(GENESIS, 1, 7, "b", epoch=1),
    ],
    ids=["same digest", "other member", "other sequence", "other kind", "other view", "other epoch"],
)
def test_votes_that_a_correct_node_may_make_are_no_evidence(other: object) -> None:
    assert isinstance(other, type(vote(GENESIS, 1, 7, "a")))
    assert evidence_of(vote(GENESIS, 1, 7, "a"), other) is None


def changed(**fields: object) -> Evidence:
    return msgspec.structs.replace(PIECE, **fields)


FORGED = {
    "another member": changed(accused=EPOCH.ids[2]),
    "a stranger": changed(accused=bytes(20)),
    "another sequence": changed(sequence=8),
    "another view": changed(view=1),
    "another kind": changed(kind="prepare"),
    "an unknown epoch": changed(epoch=1),
    "one digest twice": changed(second=PIECE.first),
    "the wrong order": changed(first=PIECE.second, second=PIECE.first),
    "an invented digest": changed(second=SignedDigest(b"\xff" * 32, PIECE.second.signature)),
    "signatures swapped": changed(
        first=SignedDigest(PIECE.first.digest, PIECE.second.signature),
        second=SignedDigest(PIECE.second.digest, PIECE.first.signature),
    ),
    "no kind": changed(kind=""),
    "a kind that plays with the terminal": changed(kind="\x1b[2J"),
    "a kind without end": changed(kind="k" * 65),
}


@pytest.mark.parametrize("piece", FORGED.values(), ids=FORGED)
def test_false_evidence_is_refused(piece: Evidence) -> None:
    with pytest.raises(InvalidProof):
        check_evidence(piece, GENESIS, EPOCHS)


def test_evidence_of_another_network_is_refused() -> None:
    with pytest.raises(InvalidProof, match="not by v1"):
        check_evidence(PIECE, make_genesis([("alice", 1)]), EPOCHS)


@given(st.integers(0, len(encode(PIECE)) - 1), st.integers(1, 255))
def test_no_changed_byte_convicts_anybody(at: int, flip: int) -> None:
    data = bytearray(encode(PIECE))
    data[at] ^= flip
    try:
        piece = decode(Evidence, bytes(data))
        check_evidence(piece, GENESIS, EPOCHS)
    except (CodecError, InvalidProof):
        return
    raise AssertionError("a changed piece holds")


def test_numbers_up_to_the_end_of_the_wire_are_evidence_like_others() -> None:
    piece = double_vote(GENESIS, 1, UINT64_MAX, kind="prepare", view=UINT64_MAX)
    check_evidence(piece, GENESIS, EPOCHS)
    assert slot_digest(piece) != slot_digest(double_vote(GENESIS, 1, UINT64_MAX, kind="prepare"))
    assert evidence_id(piece) != evidence_id(PIECE)


def test_a_later_epoch_is_tied_to_genesis_by_its_links() -> None:
    following = msgspec.structs.replace(
        EPOCH, number=1, first_sequence=11, members=make_validators(["w0", "w1", "w2", "w3"])
    )
    header = BlockHeader(
        genesis_hash=GENESIS.hash, epoch=0, height=10, parent_hash=bytes(32), digest=bytes(32), proposer=b"",
        block_time_ms=0, tx_count=0, tx_root=bytes(32), receipts_root=bytes(32), events_root=bytes(32),
        state_root=bytes(32), next_epoch=digest_of(EPOCH_TAG, encode(following)),
    )  # fmt: skip
    link = EpochLink(header, certify(header, EPOCH), encode(following))
    accused = following.members[1]
    votes = []
    for salt in ("a", "b"):
        digest = sha256(salt.encode()).digest()
        unsigned = Evidence(accused.node_id, 1, "prepare", 3, 12, *[SignedDigest(digest, bytes(64))] * 2)
        signed, _ = signed_messages(unsigned, GENESIS.hash)
        votes.append(SignedDigest(digest, key("consensus w1").sign_vote(signed)))
    votes.sort(key=lambda each: each.digest)
    piece = Evidence(accused.node_id, 1, "prepare", 3, 12, *votes)
    assert verify_evidence_proof(EvidenceProof(piece, (link,)), GENESIS, quorum_of) == following
    with pytest.raises(InvalidProof, match="lead to epoch 0"):
        verify_evidence_proof(EvidenceProof(piece, ()), GENESIS, quorum_of)
    unsigned_link = msgspec.structs.replace(link, certificate=certify(header, EPOCH, signers=2))
    with pytest.raises(InvalidProof):
        verify_evidence_proof(EvidenceProof(piece, (unsigned_link,)), GENESIS, quorum_of)


def test_what_a_node_sees_is_logged_stored_and_told_to_all_once() -> None:
    room = Room()
    pair = Misbehaviour(vote(GENESIS, 1, 7, "a"), vote(GENESIS, 1, 7, "b"))
    told = actions.Transmit(None, wire.EvidenceFound(PIECE))
    assert room.witness(pair) == [actions.Evidence(pair), actions.StoreEvidence(PIECE), told]
    assert room.witness(pair) == [actions.Evidence(pair)]
    assert room.offer(PIECE) == []
    assert room.accusations.counts == {EPOCH.ids[1]: 1}
    assert decode(Evidence, encode(PIECE)) == PIECE
    assert wire.decode_frame(wire.encode_frame(wire.EvidenceFound(PIECE))) == wire.EvidenceFound(PIECE)


def test_what_a_peer_brings_is_checked_stored_and_passed_on_once() -> None:
    room = Room()
    assert room.offer(PIECE) == [
        actions.StoreEvidence(PIECE), actions.Transmit(None, wire.EvidenceFound(PIECE)),
    ]  # fmt: skip
    assert room.offer(PIECE, sender=3) == []
    assert Room(kept=(PIECE,)).offer(PIECE) == [], "it was stored before the restart"


@pytest.mark.parametrize("piece", FORGED.values(), ids=FORGED)
def test_a_peer_with_false_evidence_is_blamed(piece: Evidence) -> None:
    done = Room().offer(piece)
    if piece.epoch != 0:
        assert done == [], "this node may only be behind"
        return
    (blame,) = done
    assert isinstance(blame, actions.Blame)
    assert blame.peer == EPOCH.ids[2]
    assert blame.reason.startswith("false evidence: ")


def test_one_piece_of_each_slot_and_a_bounded_number_of_each_member() -> None:
    room = Room()
    twice = evidence_of(vote(GENESIS, 1, 7, "a"), vote(GENESIS, 1, 7, "c"))
    assert twice is not None
    room.offer(PIECE)
    assert room.offer(twice) == []
    room.offer(*(double_vote(GENESIS, 1, sequence) for sequence in range(100, 100 + 3 * PIECES_PER_MEMBER_MAX)))
    assert room.accusations.sizes() == {"evidence": PIECES_PER_MEMBER_MAX}
    assert room.offer(double_vote(GENESIS, 3, 7)), "another member has room of his own"


def test_a_contradiction_that_only_the_engine_understands_is_logged_and_not_kept() -> None:
    room = Room()
    pair = Misbehaviour(vote(GENESIS, 1, 7, "a", kind="pre-prepare"), vote(GENESIS, 1, 7, "b", kind="prepare"))
    assert room.witness(pair) == [actions.Evidence(pair)]
    unsigned = msgspec.structs.replace(vote(GENESIS, 1, 7, "b"), signature=bytes(64))
    done = room.witness(Misbehaviour(vote(GENESIS, 1, 7, "a"), unsigned))
    assert [type(action) for action in done] == [actions.Evidence, actions.Notice]
    assert room.accusations.counts == {}


def test_evidence_against_this_node_says_that_its_key_is_used_elsewhere() -> None:
    notices = [action for action in Room(me=1).offer(PIECE) if isinstance(action, actions.Notice)]
    assert [notice.level for notice in notices] == ["error"]
    assert "its key is used elsewhere" in notices[0].text
