"""The few Solidity encodings that the ledger itself must compute: static words, arrays of words, EIP-712 digests.

The state machine checks operators' signatures over Layer 2 digests, so every node must derive them alike and without an
EVM library. Only what `contracts/src` hashes is here; calls and logs are the back ends' business.
"""

from __future__ import annotations

from collections.abc import Sequence

from potchain.crypto import keccak256

WORD_BYTES = 32


def word(value: int) -> bytes:
    """A uint256; `value` in [0, 2^256)."""
    return value.to_bytes(WORD_BYTES, "big")


def address_word(address: bytes) -> bytes:
    """An address, left-padded."""
    return address.rjust(WORD_BYTES, b"\x00")


def array(words: Sequence[bytes]) -> bytes:
    """The tail of a dynamic array of one-word elements: its length, then its elements."""
    return word(len(words)) + b"".join(words)


def dynamic(*tails: bytes) -> bytes:
    """abi.encode of several dynamic arguments: an offset each, then the tails."""
    heads, offset = b"", WORD_BYTES * len(tails)
    for tail in tails:
        heads += word(offset)
        offset += len(tail)
    return heads + b"".join(tails)


def type_hash(declaration: str) -> bytes:
    """keccak-256 of an EIP-712 encodeType."""
    return keccak256(declaration.encode())


def typed_digest(domain_separator: bytes, struct_hash: bytes) -> bytes:
    """What is signed: EIP-712, "Specification of the eth_signTypedData JSON RPC"."""
    return keccak256(b"\x19\x01" + domain_separator + struct_hash)
