"""The JSON edge of transactions: what is written, what is read back, and the code of every refusal."""

from __future__ import annotations

from typing import Any

import pytest
from core_network import key, make_genesis
from hypothesis import given
from hypothesis import strategies as st

from potchain.application.accounts import Transferred
from potchain.crypto import checksum_address
from potchain.errors import InvalidTransaction
from potchain.primitives import UINT64_MAX, UINT256_MAX, Bytes32, Text, uint256
from potchain.transactions import TransactionBody, TransactionKind, Transfer
from potchain.typed_data import body_from_json, domain_json, struct_to_json, types_json


class Sealed(TransactionBody, frozen=True):
    """Has the member types that a transfer lacks."""

    seal: Bytes32
    remark: Text


TRANSFER, SEALED = TransactionKind(Transfer), TransactionKind(Sealed)
ALICE, BOB = key("alice").address, key("bob").address
BODY = Transfer(ALICE, 3, uint256(10), 0, BOB, uint256(UINT256_MAX), b"\x00hi")
MESSAGE: dict[str, Any] = {
    "from": checksum_address(ALICE),
    "nonce": 3,
    "fee": "10",
    "validUntil": 0,
    "to": checksum_address(BOB),
    "amount": str(UINT256_MAX),
    "memo": "0x006869",
}


def test_a_body_is_written_under_its_eip_712_names() -> None:
    assert struct_to_json(BODY) == MESSAGE
    assert list(struct_to_json(BODY)) == list(MESSAGE), "in the order of the members"


def test_an_event_is_written_the_same_way() -> None:
    event = Transferred(ALICE, BOB, uint256(7), b"")
    assert struct_to_json(event) == {
        "from": checksum_address(ALICE),
        "to": checksum_address(BOB),
        "amount": "7",
        "memo": "0x",
    }


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"nonce": "3"},
        {"fee": 10},
        {"amount": UINT256_MAX},
        {"from": "0x" + ALICE.hex(), "to": "0x" + BOB.hex().upper()},
        {"memo": "0x006869".upper().replace("X", "x")},
        {"fee": "0010"},
    ],
)
def test_every_accepted_spelling_means_the_same(changes: dict[str, Any]) -> None:
    assert body_from_json(TRANSFER, MESSAGE | changes) == BODY


@given(
    st.builds(
        Transfer,
        st.binary(min_size=20, max_size=20),
        st.integers(0, UINT64_MAX),
        st.integers(0, UINT256_MAX).map(uint256),
        st.integers(0, UINT64_MAX),
        st.binary(min_size=20, max_size=20),
        st.integers(0, UINT256_MAX).map(uint256),
        st.binary(max_size=70),
    )
)
def test_what_is_written_is_read_back(body: Transfer) -> None:
    assert body_from_json(TRANSFER, struct_to_json(body)) == body


def test_what_else_a_body_may_hold() -> None:
    body = Sealed(ALICE, 0, uint256(1), 0, bytes(range(32)), "grüezi")
    assert struct_to_json(body)["seal"] == "0x" + bytes(range(32)).hex()
    assert body_from_json(SEALED, struct_to_json(body)) == body


REFUSALS: list[tuple[str, dict[str, Any], str]] = [
    ("unknown_field", {"colour": "red"}, "no member 'colour' (known: from, nonce,"),
    ("unknown_field", {"valid_until": 0}, "no member 'valid_until'"),
    ("bad_address", {"to": "0x12"}, "to: an address is 0x and 40 hex digits, not '0x12'"),
    ("bad_address", {"to": None}, "to: an address"),
    ("bad_address", {"to": 5}, "to: an address"),
    ("bad_address", {"from": checksum_address(ALICE).swapcase().replace("X", "x")}, "EIP-55"),
    ("bad_amount", {"amount": "-1"}, "amount must not be negative, got -1"),
    ("bad_amount", {"amount": -1}, "amount must not be negative"),
    ("bad_amount", {"amount": str(UINT256_MAX + 1)}, f"amount must be at most {UINT256_MAX}"),
    ("bad_amount", {"amount": "9" * 81}, "amount must be a whole number"),
    ("bad_amount", {"amount": "1.5"}, "not '1.5'"),
    ("bad_amount", {"amount": 1.0}, "not 1.0"),
    ("bad_amount", {"amount": "1e3"}, "not '1e3'"),
    ("bad_amount", {"amount": " 1"}, "not ' 1'"),
    ("bad_amount", {"amount": "1_000"}, "not '1_000'"),
    ("bad_amount", {"amount": "0x10"}, "not '0x10'"),
    ("bad_amount", {"amount": "٣"}, "not '٣'"),
    ("bad_amount", {"amount": "--1"}, "not '--1'"),
    ("bad_amount", {"amount": "-"}, "not '-'"),
    ("bad_amount", {"amount": ""}, "not ''"),
    ("bad_amount", {"amount": True}, "not True"),
    ("bad_amount", {"amount": None}, "not None"),
    ("bad_amount", {"amount": [1]}, "amount must be a whole number as a decimal string"),
    ("bad_amount", {"nonce": UINT64_MAX + 1}, f"nonce must be at most {UINT64_MAX}"),
    ("bad_amount", {"nonce": -1}, "nonce must not be negative"),
    ("bad_amount", {"validUntil": "soon"}, "validUntil must be a whole number"),
    ("bad_bytes", {"memo": "6869"}, "memo must be 0x and hex digits, not '6869'"),
    ("bad_bytes", {"memo": "0x686"}, "memo must be"),
    ("bad_bytes", {"memo": "0x68 69"}, "memo must be"),
    ("bad_bytes", {"memo": "0xzz"}, "memo must be"),
    ("bad_bytes", {"memo": None}, "memo must be"),
]


@pytest.mark.parametrize(("code", "changes", "detail"), REFUSALS)
def test_every_refusal_has_its_code_and_names_the_value(code: str, changes: dict[str, Any], detail: str) -> None:
    with pytest.raises(InvalidTransaction) as caught:
        body_from_json(TRANSFER, MESSAGE | changes)
    assert caught.value.code == code
    assert detail in caught.value.detail


@pytest.mark.parametrize("name", MESSAGE)
def test_every_member_is_needed(name: str) -> None:
    with pytest.raises(InvalidTransaction, match=f"message lacks '{name}'") as caught:
        body_from_json(TRANSFER, {member: value for member, value in MESSAGE.items() if member != name})
    assert caught.value.code == "missing_field"


@pytest.mark.parametrize("message", [None, [], "text", 5])
def test_a_message_is_an_object(message: Any) -> None:  # noqa: ANN401
    with pytest.raises(InvalidTransaction, match="malformed: message must be an object"):
        body_from_json(TRANSFER, message)


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("bad_bytes", {"seal": "0x" + "00" * 31}),
        ("bad_bytes", {"seal": "0x" + "00" * 33}),
        ("malformed", {"remark": 5}),
        ("malformed", {"remark": None}),
    ],
)
def test_refusals_of_the_other_member_types(code: str, changes: dict[str, Any]) -> None:
    message = struct_to_json(Sealed(ALICE, 0, uint256(1), 0, bytes(32), "")) | changes
    with pytest.raises(InvalidTransaction) as caught:
        body_from_json(SEALED, message)
    assert caught.value.code == code


def test_long_values_are_cut_in_messages() -> None:
    with pytest.raises(InvalidTransaction) as caught:
        body_from_json(TRANSFER, MESSAGE | {"memo": "x" * 100_000})
    assert len(caught.value.detail) < 200


def test_what_a_wallet_is_told() -> None:
    genesis_hash = make_genesis().hash
    assert domain_json(genesis_hash) == {"name": "potchain", "version": "1", "salt": "0x" + genesis_hash.hex()}
    assert types_json(TRANSFER) == {
        "EIP712Domain": [
            {"name": "name", "type": "string"},
            {"name": "version", "type": "string"},
            {"name": "salt", "type": "bytes32"},
        ],
        "Transfer": [
            {"name": "from", "type": "address"},
            {"name": "nonce", "type": "uint64"},
            {"name": "fee", "type": "uint256"},
            {"name": "validUntil", "type": "uint64"},
            {"name": "to", "type": "address"},
            {"name": "amount", "type": "uint256"},
            {"name": "memo", "type": "bytes"},
        ],
    }
