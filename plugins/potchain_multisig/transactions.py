"""Signed EVM transactions of the relay account: EIP-1559, and EIP-155 on chains without a base fee.

Imports eth-account; see `calls`.
"""

from __future__ import annotations

import msgspec
import rlp
from eth_account import Account

from potchain import SigningKey
from potchain_multisig.endpoints import Call
from potchain_multisig.fees import Offer

FIRST_LEGACY_BYTE = 0xC0
"""A transaction that begins with this or more is an RLP list: legacy (EIP-2718)."""


class Signed(msgspec.Struct, frozen=True):
    """A transaction as it is sent."""

    raw: bytes
    hash: bytes


def signed(key: SigningKey, chain_id: int, account_nonce: int, call: Call, gas: int, offer: Offer) -> Signed:
    """The call as a transaction of the key's account, with no value."""
    members: dict[str, object] = {
        "chainId": chain_id,
        "nonce": account_nonce,
        "to": call.to,
        "value": 0,
        "gas": gas,
        "data": call.data,
    }
    if offer.tip_per_gas is None:
        members["gasPrice"] = offer.fee_per_gas
    else:
        members |= {"type": 2, "maxFeePerGas": offer.fee_per_gas, "maxPriorityFeePerGas": offer.tip_per_gas}
    found = Account.sign_transaction(members, key.secret)
    return Signed(bytes(found.raw_transaction), bytes(found.hash))


class Told(msgspec.Struct, frozen=True):
    """What a signed transaction says, read back from its bytes."""

    call: Call
    gas: int
    offer: Offer


def read_back(raw: bytes) -> Told:
    """The members of one of our own transactions."""
    if raw[0] >= FIRST_LEGACY_BYTE:
        _, price, gas, to, _, data, *_ = rlp.decode(raw)
        return Told(Call(to, data), _uint(gas), Offer(_uint(price), None))
    _, _, tip, fee, gas, to, _, data, *_ = rlp.decode(raw[1:])
    return Told(Call(to, data), _uint(gas), Offer(_uint(fee), _uint(tip)))


def _uint(data: bytes) -> int:
    return int.from_bytes(data, "big")
