"""Keys, addresses and both kinds of signature, against known vectors and eth-account."""

from __future__ import annotations

import contextlib

import pytest
from coincurve import PublicKey
from eth_account import Account as OracleAccount
from hypothesis import given
from hypothesis import strategies as st

from potchain.crypto import (
    CURVE_ORDER,
    SigningKey,
    address_of,
    checksum_address,
    digest_of,
    keccak256,
    node_id_of,
    parse_address,
    parse_public_key,
    recover_address,
    verify_vote,
)
from potchain.errors import InvalidProof

KEY = SigningKey(bytes(31) + b"\x01")
OTHER = SigningKey(bytes(31) + b"\x02")
MESSAGE = b"a vote"
DIGEST = keccak256(b"a body")

EIP55 = [
    "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
    "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
    "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
    "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
    "0x52908400098527886E0F7030069857D2E4169EE7",
    "0x8617E340B3D01FA5F11F306F4090FD50E238070D",
    "0xde709f2102306220921060314715629080e2fb77",
    "0x27b1fdb04752bbc536007a920d24acb045561c26",
]
"""The vectors of EIP-55."""


def test_keccak_is_not_sha3() -> None:
    assert keccak256(b"").hex() == "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"


def test_the_address_of_key_one() -> None:
    assert checksum_address(KEY.address) == "0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf"
    assert OracleAccount.from_key(KEY.secret).address == checksum_address(KEY.address)
    assert node_id_of(KEY.public_key) == KEY.address


@pytest.mark.parametrize("secret", [b"", bytes(32), CURVE_ORDER.to_bytes(32, "big"), b"\xff" * 32, b"\x01" * 31])
def test_a_private_key_is_in_range(secret: bytes) -> None:
    with pytest.raises(InvalidProof, match="between 1 and the curve order"):
        SigningKey(secret)


def test_a_key_never_shows_its_secret() -> None:
    assert KEY.secret.hex() not in repr(KEY)
    assert SigningKey.generate().secret != SigningKey.generate().secret


@pytest.mark.parametrize("data", [b"", b"\x02" + bytes(31), b"\x02" + b"\xff" * 32, b"\x05" + bytes(32), bytes(65)])
def test_rubbish_is_no_public_key(data: bytes) -> None:
    with pytest.raises(InvalidProof, match="not a secp256k1 public key"):
        parse_public_key(data)


def test_rubbish_has_no_address() -> None:
    with pytest.raises(InvalidProof):
        address_of(b"\x02" + b"\xff" * 32)


def test_tags_separate_digests() -> None:
    assert digest_of(b"a", b"x") != digest_of(b"b", b"x")
    assert digest_of(b"a", b"bx") != digest_of(b"ab", b"x")


class TestVotes:
    key = parse_public_key(KEY.public_key)

    def test_a_vote_verifies_and_is_deterministic(self) -> None:
        signature = KEY.sign_vote(MESSAGE)
        assert len(signature) == 64
        assert signature == KEY.sign_vote(MESSAGE)
        assert verify_vote(self.key, MESSAGE, signature)

    def test_another_message_or_key_does_not(self) -> None:
        signature = KEY.sign_vote(MESSAGE)
        assert not verify_vote(self.key, MESSAGE + b".", signature)
        assert not verify_vote(parse_public_key(OTHER.public_key), MESSAGE, signature)

    def test_the_high_s_twin_is_refused(self) -> None:
        signature = KEY.sign_vote(MESSAGE)
        twin = signature[:32] + (CURVE_ORDER - int.from_bytes(signature[32:], "big")).to_bytes(32, "big")
        assert not verify_vote(self.key, MESSAGE, twin)

    @pytest.mark.parametrize(
        "signature", [b"", bytes(63), bytes(64), bytes(65), b"\xff" * 64, b"\xff" * 32 + bytes(32)]
    )
    def test_rubbish_is_no_vote(self, signature: bytes) -> None:
        assert not verify_vote(self.key, MESSAGE, signature)

    @given(st.integers(0, 511))
    def test_every_bit_counts(self, bit: int) -> None:
        signature = bytearray(KEY.sign_vote(MESSAGE))
        signature[bit // 8] ^= 1 << bit % 8
        assert not verify_vote(self.key, MESSAGE, bytes(signature))


class TestRecovery:
    def test_the_signer_is_recovered(self) -> None:
        assert recover_address(DIGEST, KEY.sign_digest(DIGEST)) == KEY.address

    @given(st.integers(1, CURVE_ORDER - 1), st.binary(min_size=32, max_size=32))
    def test_eth_account_makes_the_same_signature(self, secret: int, digest: bytes) -> None:
        mine = SigningKey(secret.to_bytes(32, "big")).sign_digest(digest)
        theirs = OracleAccount.unsafe_sign_hash(digest, secret.to_bytes(32, "big"))
        assert mine == bytes(theirs.signature)

    @pytest.mark.parametrize("v", [0, 1, 26, 29, 30, 37, 255])
    def test_v_is_27_or_28(self, v: int) -> None:
        with pytest.raises(InvalidProof, match=f"v must be 27 or 28, not {v}"):
            recover_address(DIGEST, KEY.sign_digest(DIGEST)[:64] + bytes((v,)))

    def test_the_high_s_twin_is_refused(self) -> None:
        signature = KEY.sign_digest(DIGEST)
        high = (CURVE_ORDER - int.from_bytes(signature[32:64], "big")).to_bytes(32, "big")
        twin = signature[:32] + high + bytes((55 - signature[64],))
        recoverable = twin[:64] + bytes((twin[64] - 27,))
        point = PublicKey.from_signature_and_message(recoverable, DIGEST, hasher=None)
        assert address_of(point.format(compressed=False)) == KEY.address, "the library itself would accept the twin"
        with pytest.raises(InvalidProof, match="low-s"):
            recover_address(DIGEST, twin)

    @pytest.mark.parametrize("size", [0, 64, 66])
    def test_the_length_is_65(self, size: int) -> None:
        with pytest.raises(InvalidProof, match=f"65 bytes, this one {size}"):
            recover_address(DIGEST, bytes(size))

    @pytest.mark.parametrize("parts", [bytes(64), b"\xff" * 32 + bytes(31) + b"\x01", bytes(63) + b"\x01"])
    def test_rubbish_recovers_nobody(self, parts: bytes) -> None:
        with pytest.raises(InvalidProof, match="no public key fits"):
            recover_address(DIGEST, parts + b"\x1b")

    @given(st.binary(min_size=65, max_size=65))
    def test_rubbish_raises_nothing_else(self, signature: bytes) -> None:
        with contextlib.suppress(InvalidProof):
            assert recover_address(DIGEST, signature) != KEY.address


class TestAddresses:
    @pytest.mark.parametrize("text", EIP55)
    def test_the_vectors_of_eip_55(self, text: str) -> None:
        assert checksum_address(bytes.fromhex(text[2:])) == text
        assert checksum_address(parse_address(text)) == text

    @pytest.mark.parametrize("text", EIP55[:4])
    def test_one_case_is_accepted_and_a_wrong_case_is_not(self, text: str) -> None:
        assert parse_address(text.lower()) == parse_address("0x" + text[2:].upper()) == parse_address(text)
        with pytest.raises(ValueError, match="EIP-55 checksum"):
            parse_address("0x" + text[2:].swapcase())

    @pytest.mark.parametrize(
        "text", ["", "0x", EIP55[0][2:], EIP55[0] + "0", EIP55[0][:-1], "0x" + "g" * 40, "0X" + "0" * 40]
    )
    def test_anything_else_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match="an address is 0x and 40 hex digits"):
            parse_address(text)

    def test_white_space_is_refused(self) -> None:
        with pytest.raises(ValueError, match="an address"):
            parse_address("0x" + "00 " * 12 + "0000")
