"""Logs of the settlement contract into events of the ledger, and the proof that none is missing.

All members of these events are static, so that a log is its topics and words, checked here one by one: an endpoint may
have made them up. The indexed event nonce has no gaps, and the contract says how many there are: what an endpoint
withholds is noticed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from potchain import (
    BatchSeen,
    Canonical,
    DepositSeen,
    Layer2Event,
    PauseSeen,
    RootSeen,
    RotationSeen,
    SettlementError,
    encode,
    keccak256,
)
from potchain_multisig.answers import UINT64_MAX, Log

WORD_BYTES = 32

Word = Literal["uint64", "uint256", "address", "bytes32", "bool"]


class Form(msgspec.Struct, frozen=True):
    """How an event is logged: name, and what follows its nonce, first the indexed members."""

    kind: str
    payload: type[Canonical]
    indexed: tuple[Word, ...]
    words: tuple[Word, ...]


def _topic(declaration: str) -> bytes:
    return keccak256(declaration.encode())


FORMS: Mapping[bytes, Form] = {
    _topic("Deposit(uint256,address,uint256)"): Form("deposit", DepositSeen, ("address",), ("uint256",)),
    _topic("BatchExecuted(uint256,uint256,uint256,address)"): Form(
        "batch", BatchSeen, ("uint64",), ("uint256", "address")
    ),
    _topic("RootCommitted(uint256,uint256,bytes32,uint256,address)"): Form(
        "root", RootSeen, ("uint64",), ("bytes32", "uint256", "address")
    ),
    _topic("OwnersRotated(uint256,uint256,uint256,bytes32,uint256)"): Form(
        "rotate", RotationSeen, ("uint64",), ("uint64", "bytes32", "uint64")
    ),
    _topic("PauseSet(uint256,uint256,bool)"): Form("pause", PauseSeen, ("uint64",), ("bool",)),
}
"""By the first topic (contracts/src/PotVault.sol and PotSettlement.sol)."""


def event_topics(first: int, count: int) -> tuple[tuple[bytes, ...], ...]:
    """The filter for events of `count` nonces from `first` on."""
    return tuple(FORMS), tuple((nonce).to_bytes(WORD_BYTES, "big") for nonce in range(first, first + count))


def event_from(log: Log) -> Layer2Event:
    """The event that a log tells. Raises SettlementError(`rubbish`) when it cannot be one of the contract's."""
    form = FORMS.get(log.topics[0]) if log.topics else None
    if form is None or len(log.topics) != 2 + len(form.indexed) or len(log.data) != WORD_BYTES * len(form.words):
        raise _rubbish(log, "its topics and length are none of the contract's events'")
    words = [*log.topics[2:], *(log.data[at : at + WORD_BYTES] for at in range(0, len(log.data), WORD_BYTES))]
    members = [_member(log, kind, word) for kind, word in zip(form.indexed + form.words, words, strict=True)]
    return Layer2Event(
        event_nonce=int(_number(log, log.topics[1])),
        kind=form.kind,
        payload=encode(form.payload(*members)),
        block_number=log.block_number,
        block_hash=log.block_hash,
        transaction_hash=log.transaction_hash,
        log_index=log.log_index,
    )


def consecutive(events: Sequence[Layer2Event], first: int) -> tuple[Layer2Event, ...]:
    """The events, when their nonces run from `first` without a gap, in the order of the chain.

    Raises SettlementError(`rubbish`) otherwise: the contract cannot have done that.
    """
    place = (-1, -1)
    for expected, event in enumerate(events, first):
        if event.event_nonce != expected:
            raise SettlementError(
                "rubbish", f"an endpoint tells event {event.event_nonce} where {expected} must come; one is withheld"
            )
        here = (event.block_number, event.log_index)
        if here <= place:
            raise SettlementError("rubbish", f"event {expected} is not after the one before it")
        place = here
    return tuple(events)


def _member(log: Log, kind: Word, word: bytes) -> bytes | int | bool:
    if kind in ("uint256", "bytes32"):
        return word
    if kind == "uint64":
        return _number(log, word)
    if kind == "address":
        if any(word[:12]):
            raise _rubbish(log, "an address has more than 20 bytes")
        return word[12:]
    value = _number(log, word)
    if value > 1:
        raise _rubbish(log, "a truth value is neither 0 nor 1")
    return bool(value)


def _number(log: Log, word: bytes) -> int:
    value = int.from_bytes(word, "big")
    if value > UINT64_MAX:
        raise _rubbish(log, "a nonce has more than 64 bits")
    return value


def _rubbish(log: Log, why: str) -> SettlementError:
    return SettlementError("rubbish", f"log {log.log_index} of transaction 0x{log.transaction_hash.hex()}: {why}")
