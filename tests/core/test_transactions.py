"""Transactions, with eth-account as the oracle of EIP-712: any wallet must sign what we hash."""

from __future__ import annotations

from hashlib import sha256
from typing import Annotated

import msgspec
import pytest
from core_network import key, make_genesis
from eth_account import Account as OracleAccount
from eth_account.messages import encode_typed_data
from hypothesis import given, settings
from hypothesis import strategies as st

from potchain.codec import encode
from potchain.crypto import CURVE_ORDER, keccak256
from potchain.errors import InvalidTransaction
from potchain.primitives import (
    STORED_MAX,
    UINT64_MAX,
    UINT256_MAX,
    Address,
    Bytes,
    Bytes32,
    LargeBytes,
    Text,
    Uint64,
    Uint256,
    uint,
    uint256,
)
from potchain.transactions import (
    TRANSACTION_BYTES_MAX,
    SignedTransaction,
    TransactionBody,
    TransactionKind,
    TransactionTypes,
    Transfer,
    members_of,
)
from potchain.typed_data import body_from_json, domain_json, struct_to_json, types_json


class Everything(TransactionBody, frozen=True):
    """One member of each EIP-712 type that we allow."""

    to_address: Address
    small: Uint64
    big: Uint256
    digest: Bytes32
    data: Bytes
    words_: Text


class Deposited(TransactionBody, frozen=True):
    """Has so much to say that only its hash is signed."""

    model: LargeBytes


GENESIS_HASH = make_genesis().hash
TYPES = TransactionTypes((Transfer, Everything, Deposited), GENESIS_HASH)
ALICE, BOB = key("alice"), key("bob")


def transfer(**changes: object) -> Transfer:
    body = Transfer(ALICE.address, 3, uint256(10), 0, BOB.address, uint256(5), b"memo")
    return msgspec.structs.replace(body, **changes)


def oracle_message(body: TransactionBody) -> dict[str, object]:
    """The typed data that a wallet is given, from `/v1/chain` alone."""
    kind = TYPES.kinds[type(body).__name__]
    message = struct_to_json(body)
    for member in kind.members:
        if member.type == "uint256":
            message[member.name] = int(message[member.name])
        elif member.type.startswith("bytes"):
            message[member.name] = bytes.fromhex(message[member.name][2:])
    return {
        "types": types_json(kind),
        "primaryType": kind.name,
        "domain": {**domain_json(GENESIS_HASH), "salt": GENESIS_HASH},
        "message": message,
    }


def check_against_oracle(body: TransactionBody) -> None:
    signed = OracleAccount.sign_message(encode_typed_data(full_message=oracle_message(body)), ALICE.secret)
    assert TYPES.digest(body) == bytes(signed.message_hash)
    transaction = TYPES.assemble(body, bytes(signed.signature))
    TYPES.check_signature(transaction)
    assert TYPES.sign(body, ALICE) == transaction


uint64s = st.sampled_from([0, 1, 2**53, UINT64_MAX]) | st.integers(0, UINT64_MAX)
uint256s = (st.sampled_from([0, 1, 2**64, UINT256_MAX]) | st.integers(0, UINT256_MAX)).map(uint256)
addresses = st.binary(min_size=20, max_size=20)


@pytest.mark.parametrize("size", [0, 1, 31, 32, 33, 64, 1000])
def test_a_wallet_signs_what_we_hash_for_every_memo_length(size: int) -> None:
    check_against_oracle(transfer(memo=bytes(range(256))[:size] * (size // 256 + 1)))


@settings(max_examples=25, deadline=None)
@given(
    st.builds(Transfer, st.just(ALICE.address), uint64s, uint256s, uint64s, addresses, uint256s, st.binary(max_size=64))
)
def test_a_wallet_signs_what_we_hash_for_any_transfer(body: Transfer) -> None:
    check_against_oracle(body)


@settings(max_examples=25, deadline=None)
@given(
    st.builds(
        Everything, st.just(ALICE.address), uint64s, uint256s, uint64s, addresses, uint64s, uint256s,
        st.binary(min_size=32, max_size=32), st.binary(max_size=100), st.text(max_size=20),
    )
)  # fmt: skip
def test_a_wallet_signs_what_we_hash_for_every_member_type(body: Everything) -> None:
    check_against_oracle(body)


@pytest.mark.parametrize("size", [0, 1, 40_000])
def test_a_wallet_signs_the_hash_of_what_is_large(size: int) -> None:
    body = Deposited(ALICE.address, 1, uint256(2), 0, b"m" * size)
    message = oracle_message(body)
    message["message"]["model"] = sha256(body.model).digest()
    signed = OracleAccount.sign_message(encode_typed_data(full_message=message), ALICE.secret)
    transaction = TYPES.assemble(body, bytes(signed.signature))
    TYPES.check_signature(transaction)
    assert TYPES.parse(transaction.raw) == transaction
    assert body_from_json(TYPES.kinds["Deposited"], struct_to_json(body)) == body
    assert TYPES.kinds["Deposited"].encode_type.endswith("uint64 validUntil,bytes32 model)")


def test_the_type_string_shows_every_member() -> None:
    assert TransactionKind(Transfer).encode_type == (
        "Transfer(address from,uint64 nonce,uint256 fee,uint64 validUntil,address to,uint256 amount,bytes memo)"
    )
    names = [member.name for member in members_of(Everything)]
    assert names == ["from", "nonce", "fee", "validUntil", "toAddress", "small", "big", "digest", "data", "words"]


def test_a_member_without_an_eip_712_type_is_the_author_s_mistake() -> None:
    class Bad(TransactionBody, frozen=True):
        count: int

    class Odd(TransactionBody, frozen=True):
        count: Annotated[int, msgspec.Meta(title="uint8")]

    for body_type in (Bad, Odd):
        with pytest.raises(TypeError, match=rf"{body_type.__name__}\.count: annotate it"):
            TransactionKind(body_type)


def test_parsing_gives_back_what_was_signed() -> None:
    transaction = TYPES.sign(transfer(), ALICE)
    parsed = TYPES.parse(transaction.raw)
    assert parsed == transaction
    TYPES.check_signature(parsed)
    assert (parsed.sender, parsed.nonce, parsed.fee, parsed.valid_until) == (ALICE.address, 3, 10, 0)
    assert parsed.kind == "Transfer"
    assert uint(parsed.body.amount) == 5  # type: ignore[attr-defined]


def test_the_id_is_the_digest_and_holds_no_signature() -> None:
    transaction = TYPES.sign(transfer(), ALICE)
    assert transaction.id == TYPES.digest(transfer())
    other = TYPES.assemble(transfer(), bytes(64) + b"\x1b")
    assert other.id == transaction.id
    assert other.raw != transaction.raw


def test_another_network_has_other_ids() -> None:
    elsewhere = TransactionTypes((Transfer,), keccak256(b"elsewhere"))
    transaction = elsewhere.sign(transfer(), ALICE)
    with pytest.raises(InvalidTransaction, match="a signature for another network") as caught:
        TYPES.check_signature(TYPES.parse(transaction.raw))
    assert caught.value.code == "bad_signature"


def refused(raw: bytes) -> str:
    with pytest.raises(InvalidTransaction) as caught:
        TYPES.check_signature(TYPES.parse(raw))
    return caught.value.code


@pytest.mark.parametrize("field", ["nonce", "fee", "valid_until", "to", "amount", "memo"])
def test_a_changed_member_breaks_the_signature(field: str) -> None:
    value = getattr(transfer(), field)
    other = value + 1 if isinstance(value, int) else value[:-1] + bytes((value[-1] ^ 1,))
    signature = ALICE.sign_digest(TYPES.digest(transfer()))
    changed = SignedTransaction("Transfer", encode(transfer(**{field: other})), signature)
    assert refused(encode(changed)) == "bad_signature"


def test_somebody_else_s_signature_is_refused() -> None:
    signature = BOB.sign_digest(TYPES.digest(transfer()))
    assert refused(encode(SignedTransaction("Transfer", encode(transfer()), signature))) == "bad_signature"
    with pytest.raises(InvalidTransaction, match="bad_signature: key 0x"):
        TYPES.sign(transfer(), BOB)


def test_the_high_s_twin_is_refused() -> None:
    signature = ALICE.sign_digest(TYPES.digest(transfer()))
    high = (CURVE_ORDER - int.from_bytes(signature[32:64], "big")).to_bytes(32, "big")
    twin = signature[:32] + high + bytes((55 - signature[64],))
    assert refused(encode(SignedTransaction("Transfer", encode(transfer()), twin))) == "bad_signature"


@pytest.mark.parametrize(
    ("code", "raw"),
    [
        ("malformed", b""),
        ("malformed", b"\x00"),
        ("malformed", b"{}"),
        ("malformed", encode(SignedTransaction("Transfer", b"", bytes(65)))),
        ("malformed", encode(SignedTransaction("Transfer", encode(transfer()) + b"\x00", bytes(65)))),
        ("malformed", encode(SignedTransaction("Everything", encode(transfer()), bytes(65)))),
        ("malformed", encode(SignedTransaction("Transfer", encode(transfer()), bytes(64)))),
        ("unknown_kind", encode(SignedTransaction("Mint", encode(transfer()), bytes(65)))),
        ("unknown_kind", encode(SignedTransaction("", encode(transfer()), bytes(65)))),
        ("oversize", bytes(TRANSACTION_BYTES_MAX + 1)),
        ("bad_signature", encode(SignedTransaction("Transfer", encode(transfer()), bytes(65)))),
    ],
)
def test_bad_bytes_have_a_code_each(code: str, raw: bytes) -> None:
    assert refused(raw) == code


def test_a_nonce_that_no_column_holds_is_refused_before_anybody_could_propose_it() -> None:
    fits = TYPES.sign(transfer(nonce=STORED_MAX), ALICE)
    assert TYPES.parse(fits.raw) == fits
    assert refused(TYPES.sign(transfer(nonce=STORED_MAX + 1), ALICE).raw) == "malformed"


def test_the_size_bound_is_exact() -> None:
    room = TRANSACTION_BYTES_MAX - len(TYPES.sign(transfer(memo=bytes(60_000)), ALICE).raw)
    largest = TYPES.sign(transfer(memo=bytes(60_000 + room)), ALICE)
    assert len(largest.raw) == TRANSACTION_BYTES_MAX
    assert TYPES.parse(largest.raw) == largest
    with pytest.raises(InvalidTransaction, match="oversize: 65537 bytes, at most 65536"):
        TYPES.sign(transfer(memo=bytes(60_001 + room)), ALICE)


def test_a_signature_of_another_length_is_refused_when_assembled() -> None:
    with pytest.raises(InvalidTransaction, match="bad_signature: a signature has 65 bytes, this one 64"):
        TYPES.assemble(transfer(), bytes(64))


@given(st.binary(max_size=200))
def test_rubbish_raises_nothing_but_invalid_transaction(tail: bytes) -> None:
    raw = TYPES.sign(transfer(), ALICE).raw
    for data in (tail, raw[: len(tail)] + tail, tail + raw):
        if data != raw:
            refused(data)
