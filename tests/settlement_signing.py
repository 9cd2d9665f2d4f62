"""Owners of a settlement contract who sign, and everything that can be wrong with what they sign."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import msgspec
from settlement_model import SettlementModel

from potchain.crypto import CURVE_ORDER, SigningKey, keccak256
from potchain.settlement.actions import ActionKind

POOL = 48
"""Keys that owners and strangers are drawn from."""

SIGNATURE_BYTES = 65
FUNCTIONS: dict[ActionKind, str] = {
    "batch": "executeBatch(uint256,address[],uint256[],bytes)",
    "root": "commitRoot(uint256,bytes32,uint256,bytes)",
    "rotate": "rotateOwners(uint256,address[],uint256,bytes)",
    "pause": "setPaused(uint256,bool,bytes)",
}


@cache
def pool() -> dict[bytes, SigningKey]:
    """Keys by address."""
    keys = [SigningKey(keccak256(b"keyOwner%d" % number)) for number in range(POOL)]
    return {key.address: key for key in keys}


def joined(digest: bytes, signers: Sequence[bytes]) -> bytes:
    """Their signatures, in the order that they are given."""
    return b"".join(pool()[signer].sign_digest(digest) for signer in signers)


def split(signatures: bytes) -> list[bytes]:
    """One by one."""
    return [signatures[at : at + SIGNATURE_BYTES] for at in range(0, len(signatures), SIGNATURE_BYTES)]


def signed(model: SettlementModel, dice: random.Random, kind: ActionKind, arguments: Sequence[Any]) -> bytes:
    """As the contract wants it, by as many owners as it needs, now and then by more."""
    known = [owner for owner in model.owners if owner in pool()]
    count = model.threshold if dice.random() < 0.8 else dice.randint(model.threshold, max(model.threshold, len(known)))
    digest = model.digest(kind, arguments, model.contract, model.epoch)
    return joined(digest, sorted(dice.sample(known, min(count, len(known)))))


def too_few(model: SettlementModel, dice: random.Random, kind: ActionKind, arguments: Sequence[Any]) -> bytes:
    """One signature less than the threshold."""
    digest = model.digest(kind, arguments, model.contract, model.epoch)
    return joined(digest, sorted(dice.sample(_known(model), model.threshold))[1:])


def none(model: SettlementModel, dice: random.Random, kind: ActionKind, arguments: Sequence[Any]) -> bytes:
    """No bytes at all."""
    return b""


def truncated(model: SettlementModel, dice: random.Random, kind: ActionKind, arguments: Sequence[Any]) -> bytes:
    """A byte is missing at the end, or there is one more."""
    whole = signed(model, dice, kind, arguments)
    return whole[:-1] if dice.random() < 0.5 else whole + b"\x1b"


def unsorted(model: SettlementModel, dice: random.Random, kind: ActionKind, arguments: Sequence[Any]) -> bytes:
    """The largest signer first; with one signer alone, it signs twice."""
    parts = split(signed(model, dice, kind, arguments))
    return b"".join(parts[::-1] if len(parts) > 1 else parts * 2)


def duplicate(model: SettlementModel, dice: random.Random, kind: ActionKind, arguments: Sequence[Any]) -> bytes:
    """As many signatures as needed, but one of them twice."""
    parts = split(signed(model, dice, kind, arguments))
    place = dice.randrange(len(parts))
    return b"".join([*parts[:place], parts[place], *parts[place:]][: max(2, len(parts))])


def one_for_all(model: SettlementModel, dice: random.Random, kind: ActionKind, arguments: Sequence[Any]) -> bytes:
    """One owner signs for the whole threshold."""
    return split(signed(model, dice, kind, arguments))[0] * max(2, model.threshold)


def high_s(model: SettlementModel, dice: random.Random, kind: ActionKind, arguments: Sequence[Any]) -> bytes:
    """The malleable twin of one signature."""
    parts = split(signed(model, dice, kind, arguments))
    place = dice.randrange(len(parts))
    twin = CURVE_ORDER - int.from_bytes(parts[place][32:64], "big")
    parts[place] = parts[place][:32] + twin.to_bytes(32, "big") + bytes((55 - parts[place][64],))
    return b"".join(parts)


def bad_v(model: SettlementModel, dice: random.Random, kind: ActionKind, arguments: Sequence[Any]) -> bytes:
    """A recovery byte of another convention."""
    whole = signed(model, dice, kind, arguments)
    return whole[:-1] + bytes((dice.choice((0, 1, 26, 29, 255)),))


def no_point(model: SettlementModel, dice: random.Random, kind: ActionKind, arguments: Sequence[Any]) -> bytes:
    """No signature of anybody, wherever it stands: the precompiled contract answers nothing."""
    parts = split(signed(model, dice, kind, arguments))
    parts[dice.randrange(len(parts))] = bytes(64) + b"\x1b"
    return b"".join(parts)


def foreign(model: SettlementModel, dice: random.Random, kind: ActionKind, arguments: Sequence[Any]) -> bytes:
    """One of the signers is no owner."""
    strangers = [address for address in pool() if address not in model.owners]
    signers = [*dice.sample(_known(model), model.threshold)[1:], dice.choice(strangers)]
    return joined(model.digest(kind, arguments, model.contract, model.epoch), sorted(signers))


def foreign_extra(model: SettlementModel, dice: random.Random, kind: ActionKind, arguments: Sequence[Any]) -> bytes:
    """Enough owners, and a stranger besides."""
    strangers = [address for address in pool() if address not in model.owners]
    signers = [*dice.sample(_known(model), model.threshold), dice.choice(strangers)]
    return joined(model.digest(kind, arguments, model.contract, model.epoch), sorted(signers))


def _elsewhere(**changed: object) -> Callable[..., bytes]:
    def sign(model: SettlementModel, dice: random.Random, kind: ActionKind, arguments: Sequence[Any]) -> bytes:
        contract = msgspec.structs.replace(model.contract, **changed)
        digest = model.digest(kind, arguments, contract, model.epoch)
        return joined(digest, sorted(dice.sample(_known(model), model.threshold)))

    return sign


def wrong_epoch(model: SettlementModel, dice: random.Random, kind: ActionKind, arguments: Sequence[Any]) -> bytes:
    """Signed for the epoch before or after."""
    epoch = model.epoch + 1 if model.epoch == 0 or dice.random() < 0.5 else model.epoch - 1
    digest = model.digest(kind, arguments, model.contract, epoch)
    return joined(digest, sorted(dice.sample(_known(model), model.threshold)))


def other_nonce(model: SettlementModel, dice: random.Random, kind: ActionKind, arguments: Sequence[Any]) -> bytes:
    """Signed for another nonce than the one that is sent."""
    return signed(model, dice, kind, [arguments[0] + dice.choice((1, 2**64)), *arguments[1:]])


def other_content(model: SettlementModel, dice: random.Random, kind: ActionKind, arguments: Sequence[Any]) -> bytes:
    """The same nonce, other content."""
    nonce = arguments[0]
    if kind == "batch":
        accounts, amounts = list(arguments[1]), list(arguments[2])
        place = dice.randrange(len(accounts))
        if dice.random() < 0.5:
            accounts[place] = bytes(19) + b"\x07"
        else:
            amounts[place] += 1
        return signed(model, dice, kind, [nonce, accounts, amounts])
    if kind == "root":
        changed = [nonce, keccak256(arguments[1]), arguments[2]]
        return signed(model, dice, kind, changed if dice.random() < 0.5 else [nonce, arguments[1], arguments[2] + 1])
    if kind == "rotate":
        others = [*arguments[1][::-1], bytes(20)]
        changed = dice.choice(([nonce, arguments[1], arguments[2] + 1], [nonce, others, arguments[2]]))
        return signed(model, dice, kind, changed)
    return signed(model, dice, kind, [nonce, not arguments[1]])


def other_kind(model: SettlementModel, dice: random.Random, kind: ActionKind, arguments: Sequence[Any]) -> bytes:
    """Signatures for an action of another kind with the same nonce."""
    if kind == "pause":
        return signed(model, dice, "root", [arguments[0], bytes(31) + b"\1", 1])
    return signed(model, dice, "pause", [arguments[0], True])


def _known(model: SettlementModel) -> list[bytes]:
    return [owner for owner in model.owners if owner in pool()]


INJURIES: dict[str, Callable[[SettlementModel, random.Random, ActionKind, Sequence[Any]], bytes]] = {
    "too few": too_few,
    "none": none,
    "truncated": truncated,
    "unsorted": unsorted,
    "duplicate": duplicate,
    "one for all": one_for_all,
    "high s": high_s,
    "bad v": bad_v,
    "no point": no_point,
    "foreign": foreign,
    "foreign extra": foreign_extra,
    "wrong chain": _elsewhere(chain_id=1),
    "wrong contract": _elsewhere(address=b"\x22" * 20),
    "wrong epoch": wrong_epoch,
    "other nonce": other_nonce,
    "other content": other_content,
    "other kind": other_kind,
}
"""Every way to sign wrongly. The contract must refuse each, unless it is right by chance, which the model knows."""
