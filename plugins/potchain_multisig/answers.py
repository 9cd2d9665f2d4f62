"""Shapes of JSON-RPC answers (execution-apis), and the values that are read from them.

Every answer is foreign: shapes refuse what has another type or length, readers what is out of range. What comes out is
frozen and comparable, so that endpoints can be held against each other.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from potchain import SettlementError

HexQuantity = Annotated[str, Meta(pattern=r"^0x[0-9a-fA-F]{1,64}\Z")]
HexHash = Annotated[str, Meta(pattern=r"^0x[0-9a-fA-F]{64}\Z")]
HexAddress = Annotated[str, Meta(pattern=r"^0x[0-9a-fA-F]{40}\Z")]
HexData = Annotated[str, Meta(pattern=r"^0x([0-9a-fA-F]{2})*\Z")]

UINT64_MAX = 2**64 - 1


class BlockShape(msgspec.Struct, frozen=True, rename="camel"):
    """What eth_getBlockByNumber gives, as far as it is used."""

    number: HexQuantity
    hash: HexHash
    timestamp: HexQuantity
    gas_limit: HexQuantity
    base_fee_per_gas: HexQuantity | None = None


class LogShape(msgspec.Struct, frozen=True, rename="camel"):
    """One log of eth_getLogs."""

    address: HexAddress
    topics: tuple[HexHash, ...]
    data: HexData
    block_number: HexQuantity
    block_hash: HexHash
    transaction_hash: HexHash
    log_index: HexQuantity
    removed: bool = False


class ReceiptShape(msgspec.Struct, frozen=True, rename="camel"):
    """What eth_getTransactionReceipt gives, as far as it is used."""

    transaction_hash: HexHash
    block_number: HexQuantity
    block_hash: HexHash
    status: HexQuantity
    gas_used: HexQuantity


class TransactionShape(msgspec.Struct, frozen=True):
    """What eth_getTransactionByHash gives: only that there is one."""

    hash: HexHash


class ErrorShape(msgspec.Struct, frozen=True):
    """The error object of JSON-RPC 2.0; `data` is whatever the endpoint likes."""

    code: int
    message: str = ""
    data: object = None


class Envelope(msgspec.Struct, frozen=True):
    """A JSON-RPC 2.0 response."""

    id: int | str | None = None
    result: msgspec.Raw = msgspec.Raw(b"")
    error: ErrorShape | None = None


class Block(msgspec.Struct, frozen=True):
    """A block's head."""

    number: int
    hash: bytes
    time_s: int
    gas_limit: int
    base_fee_wei: int | None
    """None on chains without EIP-1559."""


class Log(msgspec.Struct, frozen=True):
    """One log of a contract."""

    topics: tuple[bytes, ...]
    data: bytes
    block_number: int
    block_hash: bytes
    transaction_hash: bytes
    log_index: int


class Receipt(msgspec.Struct, frozen=True):
    """What a mined transaction did."""

    succeeded: bool
    block_number: int
    block_hash: bytes
    gas_used: int


class Reverted(msgspec.Struct, frozen=True):
    """A call that the contract refused: a proper answer, on which endpoints can agree."""

    data: bytes
    """Selector and arguments of the contract's error; empty when the endpoint gives none."""


def small(text: str, what: str) -> int:
    """A quantity of at most 64 bits. Raises SettlementError(`rubbish`)."""
    value = int(text, 16)
    if value > UINT64_MAX:
        raise SettlementError("rubbish", f"{what} {text} has more than 64 bits")
    return value


def raw(text: str) -> bytes:
    """Bytes of hex data whose form was checked."""
    return bytes.fromhex(text[2:])


def block_from(shape: BlockShape) -> Block:
    """Raises SettlementError(`rubbish`) for numbers out of range."""
    fee = shape.base_fee_per_gas
    return Block(
        number=small(shape.number, "block number"),
        hash=raw(shape.hash),
        time_s=small(shape.timestamp, "timestamp"),
        gas_limit=small(shape.gas_limit, "gas limit"),
        base_fee_wei=None if fee is None else int(fee, 16),
    )


def log_from(shape: LogShape, contract: bytes) -> Log:
    """Raises SettlementError(`rubbish`) for a log of another contract, a removed one, or numbers out of range."""
    if raw(shape.address) != contract:
        raise SettlementError("rubbish", f"a log of {shape.address} was not asked for")
    if shape.removed:
        raise SettlementError("rubbish", f"the log {shape.log_index} of {shape.transaction_hash} is marked as removed")
    return Log(
        topics=tuple([raw(topic) for topic in shape.topics]),
        data=raw(shape.data),
        block_number=small(shape.block_number, "block number"),
        block_hash=raw(shape.block_hash),
        transaction_hash=raw(shape.transaction_hash),
        log_index=small(shape.log_index, "log index"),
    )


def receipt_from(shape: ReceiptShape, transaction_hash: bytes) -> Receipt:
    """Raises SettlementError(`rubbish`) for the receipt of another transaction."""
    if raw(shape.transaction_hash) != transaction_hash:
        raise SettlementError("rubbish", f"the receipt of {shape.transaction_hash} was not asked for")
    status = int(shape.status, 16)
    if status not in (0, 1):
        raise SettlementError("rubbish", f"a receipt's status is 0 or 1, not {status}")
    return Receipt(
        succeeded=status == 1,
        block_number=small(shape.block_number, "block number"),
        block_hash=raw(shape.block_hash),
        gas_used=small(shape.gas_used, "gas used"),
    )


def revert_data(error: ErrorShape) -> bytes | None:
    """What a refused call returned: None when the error is no refusal by a contract.

    Code 3 is what execution-apis ask for; older nodes say -32000 or -32015 and "revert" in their text. The data come
    as a string, or one or two objects deep.
    """
    if error.code != 3 and "revert" not in error.message.lower():
        return None
    found = error.data
    for _ in range(2):
        if isinstance(found, dict):
            found = found.get("data", found.get("result"))
    if not isinstance(found, str):
        return b""
    text = found.removeprefix("Reverted ")
    try:
        return bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        return b""
