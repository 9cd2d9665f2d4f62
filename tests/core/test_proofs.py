"""Proofs hold, and a proof with any one thing changed does not."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from core_network import Chain, certify, key, make_genesis, make_validators, quorum_of

from potchain.application.accounts import TREASURY_KEY, account_key
from potchain.blocks import BlockHeader, EpochLink, TransactionProof, block_hash
from potchain.codec import decode, encode
from potchain.crypto import digest_of, keccak256
from potchain.errors import CodecError, InvalidProof
from potchain.genesis import EPOCH_TAG, Epoch, Parameters, epoch_digest
from potchain.primitives import uint
from potchain.proofs import (
    EPOCHS_MAX,
    StateProof,
    VerifiedInclusion,
    VerifiedRecord,
    build_transaction_proof,
    proof_from_json,
    proof_to_json,
    verify_header,
    verify_state_proof,
    verify_transaction_proof,
)

replace = msgspec.structs.replace
BALANCES = [("alice", 10**6), *[(f"account {number}", 5) for number in range(40)]]
GENESIS = make_genesis(BALANCES)
CHAIN = Chain(GENESIS)
CHAIN.run(CHAIN.transfer("alice", "bob", 1))
BLOCK = CHAIN.run(
    *[CHAIN.transfer("alice", "bob", 5, nonce=nonce) for nonce in range(1, 4)],
    CHAIN.transfer("alice", "bob", 0, nonce=4),
    CHAIN.transfer("alice", "bob", 5, nonce=9),
)
IDS = BLOCK.proposal.transaction_ids
CERTIFICATE = certify(BLOCK.header, GENESIS.first_epoch)
TYPES = CHAIN.executor.types


def transaction_proof(index: int) -> TransactionProof:
    return build_transaction_proof(BLOCK.header, CERTIFICATE, BLOCK.bodies, IDS, BLOCK.receipts, index)


def state_proof(record_key: bytes) -> StateProof:
    branch = CHAIN.state.prove(record_key)
    value = CHAIN.state.get(record_key)
    return StateProof(BLOCK.header, CERTIFICATE, record_key, value, branch.siblings, branch.other_leaf, ())


def verify(proof: TransactionProof | StateProof) -> VerifiedInclusion | VerifiedRecord:
    if isinstance(proof, StateProof):
        return verify_state_proof(proof, GENESIS, quorum_of)
    return verify_transaction_proof(proof, GENESIS, TYPES, quorum_of)


PROOF = transaction_proof(1)
PRESENT = state_proof(account_key(key("account 3").address))


def absent_beside_a_leaf() -> StateProof:
    names = (account_key(key(f"nobody {number}").address) for number in range(99))
    return next(proof for proof in map(state_proof, names) if proof.other_leaf)


def absent_in_the_empty() -> StateProof:
    names = (account_key(key(f"nobody {number}").address) for number in range(99))
    return next(proof for proof in map(state_proof, names) if not proof.other_leaf)


# What holds


@pytest.mark.parametrize("index", range(5))
def test_every_inclusion_of_a_block_is_proved_skips_too(index: int) -> None:
    found = verify(transaction_proof(index))
    assert isinstance(found, VerifiedInclusion)
    assert found.header == BLOCK.header
    assert found.transaction.raw == BLOCK.bodies[index]
    assert found.receipt == BLOCK.receipts[index]
    assert found.receipt.status == ["ok", "ok", "ok", "failed", "skipped"][index]


def test_there_is_no_proof_outside_the_block() -> None:
    with pytest.raises(IndexError):
        transaction_proof(5)


@pytest.mark.parametrize("name", ["alice", "bob", "account 7"])
def test_every_record_is_proved(name: str) -> None:
    found = verify(state_proof(account_key(key(name).address)))
    assert isinstance(found, VerifiedRecord)
    assert found.value is not None
    treasury = verify(state_proof(TREASURY_KEY))
    assert isinstance(treasury, VerifiedRecord)
    assert uint(treasury.value or b"") == 50


@pytest.mark.parametrize("proof", [absent_beside_a_leaf(), absent_in_the_empty()], ids=["other leaf", "empty"])
def test_absence_is_proved(proof: StateProof) -> None:
    found = verify(proof)
    assert isinstance(found, VerifiedRecord)
    assert found.value is None


# What does not


def flipped(data: bytes) -> bytes:
    return bytes((data[0] ^ 1,)) + data[1:] if data else b"\x00"


def variants(value: Any) -> list[Any]:  # noqa: ANN401
    """The value with one thing changed in it, for every thing in it."""
    if isinstance(value, bytes):
        return [flipped(value), value[:-1] + flipped(value[-1:])] if value else [b"\x00"]
    if isinstance(value, bool | int):
        return [value + 1, *([value - 1] if value else [])]
    if isinstance(value, str):
        return [{"ok": "failed", "failed": "ok"}.get(value, value + "x")]
    if isinstance(value, tuple):
        found = [
            (*value[:place], other, *value[place + 1 :])
            for place in range(len(value))
            for other in variants(value[place])
        ]
        return [*found, *([value[:-1], value[1:], (*value, value[-1])] if value else [])]
    if isinstance(value, msgspec.Struct):
        return [
            replace(value, **{name: other})
            for name in value.__struct_fields__
            for other in variants(getattr(value, name))
        ]
    assert value is None
    return []


@pytest.mark.parametrize(
    "proof",
    [PROOF, PRESENT, absent_beside_a_leaf(), absent_in_the_empty()],
    ids=["transaction", "value", "other", "empty"],
)
def test_one_change_anywhere_breaks_a_proof(proof: TransactionProof | StateProof) -> None:
    verify(proof)
    changed = variants(proof)
    assert len(changed) > 50
    for other in changed:
        try:
            found = verify(decode(type(proof), encode(other)))
        except (CodecError, InvalidProof):
            continue
        # One empty place shows the absence of every key that leads to it, which is true of them all.
        assert isinstance(found, VerifiedRecord)
        assert found.key != PRESENT.key
        assert found.value is None
        assert CHAIN.state.get(found.key) is None


def test_absence_cannot_be_turned_into_presence_or_back() -> None:
    for proof in (absent_beside_a_leaf(), absent_in_the_empty()):
        for value in (b"", b"\x00", encode(BLOCK.header)):
            with pytest.raises(InvalidProof):
                verify(replace(proof, value=value))
    for other_leaf in (None, absent_beside_a_leaf().other_leaf):
        with pytest.raises(InvalidProof, match="does not show no record"):
            verify(replace(PRESENT, value=None, other_leaf=other_leaf))
    with pytest.raises(InvalidProof, match="both a value and another leaf"):
        verify(replace(PRESENT, other_leaf=absent_beside_a_leaf().other_leaf))


def test_another_network_s_proof_is_refused_by_name() -> None:
    other = make_genesis(BALANCES[:3])
    with pytest.raises(
        InvalidProof, match=f"network 0x{GENESIS.hash.hex()}, this genesis file is 0x{other.hash.hex()}"
    ):
        verify_state_proof(PRESENT, other, quorum_of)


def test_the_signature_inside_is_checked() -> None:
    foreign = TYPES.assemble(TYPES.parse(PROOF.transaction).body, key("mallory").sign_digest(keccak256(b"x")))
    with pytest.raises(InvalidProof, match="transaction in the proof is not valid: bad_signature"):
        verify(replace(PROOF, transaction=foreign.raw))
    for raw in (b"", PROOF.transaction + b"\x00"):
        with pytest.raises(InvalidProof, match="not valid: malformed"):
            verify(replace(PROOF, transaction=raw))


def test_another_inclusion_s_parts_do_not_fit() -> None:
    other = transaction_proof(2)
    for field in ("transaction", "index", "transaction_branch", "receipt", "receipt_branch"):
        with pytest.raises(InvalidProof):
            verify(replace(PROOF, **{field: getattr(other, field)}))


class TestCertificates:
    epoch = GENESIS.first_epoch

    def check(self, certificate: Any) -> None:  # noqa: ANN401
        verify(replace(PROOF, certificate=certificate))

    def test_a_quorum_is_needed(self) -> None:
        self.check(certify(BLOCK.header, self.epoch, signers=4))
        with pytest.raises(InvalidProof, match="2 signatures, needs 3"):
            self.check(certify(BLOCK.header, self.epoch, signers=2))

    def test_signers_are_distinct_and_sorted(self) -> None:
        signatures = CERTIFICATE.signatures
        for listed in ((signatures[0], *signatures[:2]), signatures[::-1]):
            with pytest.raises(InvalidProof, match="not distinct and sorted"):
                self.check(replace(CERTIFICATE, signatures=listed))

    def test_strangers_do_not_count(self) -> None:
        strangers = replace(self.epoch, members=make_validators(["x", "y", "z", "w"]))
        with pytest.raises(InvalidProof, match="is no member of epoch 0"):
            self.check(certify(BLOCK.header, strangers))

    def test_another_block_s_certificate_does_not_fit(self) -> None:
        with pytest.raises(InvalidProof, match="certificate is of epoch 0 and height 1"):
            self.check(certify(CHAIN.blocks[0].header, self.epoch))
        with pytest.raises(InvalidProof, match="not of this header"):
            self.check(certify(replace(BLOCK.header, state_root=bytes(32)), self.epoch))

    def test_genesis_itself_needs_no_certificate_and_has_none(self) -> None:
        header = CHAIN.executor.genesis_block(bytes(32))
        with pytest.raises(InvalidProof, match="height 0 is before epoch 0, which begins at 1"):
            verify_header(header, certify(header, self.epoch), (), GENESIS, quorum_of)


# Epochs


def make_epoch(number: int, first_sequence: int, names: list[str]) -> Epoch:
    return Epoch(number, first_sequence, make_validators(names), Parameters())


FIRST = GENESIS.first_epoch
SECOND = make_epoch(1, 129, ["v0", "v1", "w0", "w1", "w2"])
THIRD = make_epoch(2, 257, ["x0"])


def header_at(height: int, epoch: Epoch, next_epoch: bytes = b"") -> BlockHeader:
    return replace(BLOCK.header, height=height, epoch=epoch.number, next_epoch=next_epoch)


def link_to(following: Epoch, ending: Epoch) -> EpochLink:
    header = header_at(following.first_sequence - 1, ending, epoch_digest(following))
    return EpochLink(header, certify(header, ending), encode(following))


LINKS = (link_to(SECOND, FIRST), link_to(THIRD, SECOND))


def check_epochs(header: BlockHeader, signers: Epoch, links: tuple[EpochLink, ...]) -> None:
    verify_header(header, certify(header, signers), links, GENESIS, quorum_of)


def test_each_epoch_is_reached_by_its_links() -> None:
    check_epochs(header_at(5, FIRST), FIRST, ())
    check_epochs(header_at(129, SECOND), SECOND, LINKS[:1])
    check_epochs(header_at(256, SECOND, epoch_digest(THIRD)), SECOND, LINKS[:1])
    check_epochs(header_at(9_999, THIRD), THIRD, LINKS)


def test_a_whole_proof_over_epochs() -> None:
    header = replace(BLOCK.header, height=300, epoch=2)
    proof = replace(PROOF, header=header, certificate=certify(header, THIRD), epochs=LINKS)
    assert isinstance(verify(proof), VerifiedInclusion)
    for changed in variants(LINKS):
        with pytest.raises(InvalidProof):
            verify(replace(proof, epochs=changed))


@pytest.mark.parametrize(
    ("reason", "header", "signers", "links"),
    [
        ("links lead to epoch 0", header_at(129, SECOND), SECOND, ()),
        ("links lead to epoch 2", header_at(129, SECOND), SECOND, LINKS),
        ("is of epoch 1, the links lead to epoch 0", header_at(300, THIRD), THIRD, LINKS[::-1]),
        ("no member of epoch 1", header_at(129, SECOND), make_epoch(1, 129, ["x", "y", "z", "u", "v"]), LINKS[:1]),
        ("height 128 is before epoch 1", header_at(128, SECOND), SECOND, LINKS[:1]),
        ("10001 epoch links, at most 10000", header_at(5, FIRST), FIRST, LINKS[:1] * (EPOCHS_MAX + 1)),
    ],
)
def test_epochs_out_of_place(reason: str, header: BlockHeader, signers: Epoch, links: tuple[EpochLink, ...]) -> None:
    with pytest.raises(InvalidProof, match=reason):
        check_epochs(header, signers, links)


@pytest.mark.parametrize(
    ("reason", "following"),
    [
        ("epoch 2 from 129 does not follow 0", make_epoch(2, 129, ["v0"])),
        ("epoch 0 from 129 does not follow 0", make_epoch(0, 129, ["v0"])),
        ("epoch 1 has no members", make_epoch(1, 129, [])),
    ],
)
def test_an_epoch_that_cannot_follow(reason: str, following: Epoch) -> None:
    """Even if a quorum certified it."""
    with pytest.raises(InvalidProof, match=reason):
        check_epochs(header_at(130, following), SECOND, (link_to(following, FIRST),))


def test_a_certified_digest_of_rubbish_is_refused() -> None:
    header = header_at(128, FIRST, digest_of(EPOCH_TAG, b"rubbish"))
    link = EpochLink(header, certify(header, FIRST), b"rubbish")
    with pytest.raises(InvalidProof, match="the epoch after block 128: Epoch:"):
        check_epochs(header_at(129, SECOND), SECOND, (link,))


# JSON

EVERY = [
    PROOF,
    transaction_proof(4),
    PRESENT,
    absent_beside_a_leaf(),
    absent_in_the_empty(),
    replace(PROOF, epochs=LINKS),
]


@pytest.mark.parametrize("proof", EVERY)
def test_json_is_read_back_to_the_same_proof(proof: TransactionProof | StateProof) -> None:
    text = json.dumps(proof_to_json(proof))
    assert proof_from_json(json.loads(text)) == proof
    assert decode(type(proof), encode(proof)) == proof


def test_json_is_for_people_too() -> None:
    document = proof_to_json(PROOF)
    assert document["proof"] == "transaction"
    assert document["header"]["height"] == 2
    assert document["certificate"]["block_hash"] == "0x" + block_hash(BLOCK.header).hex()
    assert document["receipt"]["status"] == "ok"
    assert proof_to_json(absent_in_the_empty())["value"] is None


def changed_json(path: tuple[str | int, ...], value: Any) -> Any:  # noqa: ANN401
    document = json.loads(json.dumps(proof_to_json(PROOF)))
    place = document
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return document


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        "proof",
        {},
        {"proof": "transaction"},
        {"proof": "state"},
        {"proof": ["transaction"]},
        {"proof": "x" * 10_000},
        proof_to_json(PROOF) | {"proof": "state"},
        proof_to_json(PROOF) | {"colour": "red"},
        changed_json(("header",), None),
        changed_json(("header", "extra"), 1),
        changed_json(("header", "height"), "2"),
        changed_json(("header", "height"), -1),
        changed_json(("header", "height"), 2**64),
        changed_json(("header", "height"), 1.5),
        changed_json(("header", "height"), True),
        changed_json(("header", "tx_root"), "0x12"),
        changed_json(("header", "tx_root"), "12" * 32),
        changed_json(("header", "tx_root"), "0x" + "AB" * 32),
        changed_json(("header", "tx_root"), "0x" + "0" * 63),
        changed_json(("header", "tx_root"), "0x" + "zz" * 32),
        changed_json(("header", "tx_root"), 5),
        changed_json(("transaction",), "0x12 34"),
        changed_json(("transaction_branch",), "0x"),
        changed_json(("transaction_branch",), {}),
        changed_json(("transaction_branch",), ["0x"]),
        changed_json(("transaction_branch", 0), None),
        changed_json(("receipt", "status"), "fine"),
        changed_json(("receipt", "code"), 5),
        changed_json(("receipt", "code"), "\ud800"),
        changed_json(("receipt", "events"), [{}]),
        changed_json(("certificate", "signatures", 0), []),
        changed_json(("certificate", "signatures", 0, "signature"), "0x" + "00" * 63),
        changed_json(("epochs",), [None]),
        proof_to_json(absent_beside_a_leaf()) | {"other_leaf": ["0x" + "00" * 32]},
        proof_to_json(absent_beside_a_leaf()) | {"other_leaf": "0x"},
        proof_to_json(PRESENT) | {"value": 5},
    ],
)
def test_rubbish_is_refused(document: object) -> None:
    with pytest.raises(CodecError) as caught:
        proof_from_json(document)
    assert len(str(caught.value)) < 400


def test_refusals_name_the_member() -> None:
    with pytest.raises(CodecError, match=r"\.certificate\.signatures\[0\]\.sender must be 0x and lower-case hex"):
        proof_from_json(changed_json(("certificate", "signatures", 0, "sender"), "x"))
