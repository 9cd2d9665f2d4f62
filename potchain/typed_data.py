"""JSON forms of transaction bodies and events, and the EIP-712 description that wallets sign from.

Amounts are decimal strings, addresses EIP-55, bytes 0x-hex. Reading accepts whole numbers for amounts too, and
addresses in one case. Every refusal is an InvalidTransaction with a stable code that names the member and its value.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import msgspec

from potchain.crypto import checksum_address, parse_address
from potchain.errors import InvalidTransaction
from potchain.primitives import UINT64_MAX, UINT256_MAX, uint, uint256
from potchain.transactions import (
    DOMAIN_NAME,
    DOMAIN_VERSION,
    TransactionBody,
    TransactionKind,
    members_of,
)

JsonObject = dict[str, Any]
"""A JSON object at the edge of the system; never passed inwards."""

Reader = Callable[[str, Any], Any]
"""From a member's name and JSON value to its value in a body; raises InvalidTransaction."""


def domain_json(genesis_hash: bytes) -> JsonObject:
    """The EIP-712 domain."""
    return {"name": DOMAIN_NAME, "version": DOMAIN_VERSION, "salt": "0x" + genesis_hash.hex()}


def types_json(kind: TransactionKind) -> JsonObject:
    """The `types` object of EIP-712 typed data for one kind, domain included."""
    return {
        "EIP712Domain": [
            {"name": "name", "type": "string"},
            {"name": "version", "type": "string"},
            {"name": "salt", "type": "bytes32"},
        ],
        kind.name: [{"name": member.name, "type": member.signed_as} for member in kind.members],
    }


def struct_to_json(struct: msgspec.Struct) -> JsonObject:
    """A body or event as JSON, members in order, under their EIP-712 names."""
    rendered: JsonObject = {}
    for member in members_of(type(struct)):
        value = getattr(struct, member.field)
        if member.type == "address":
            rendered[member.name] = checksum_address(value)
        elif member.type == "uint256":
            rendered[member.name] = str(uint(value))
        elif member.type in ("bytes", "bytes32"):
            rendered[member.name] = "0x" + value.hex()
        else:
            rendered[member.name] = value
    return rendered


def body_from_json(kind: TransactionKind, message: object) -> TransactionBody:
    """A body from the `message` of a submission.

    Raises InvalidTransaction: `unknown_field`, `missing_field`, `bad_address`, `bad_amount`, `bad_bytes`, `malformed`.
    """
    readers = _readers(kind.body_type)
    if not isinstance(message, dict) or len(message) != len(readers):
        raise _misfit(kind, message)
    try:
        values = [read(name, message[name]) for name, read in readers]
    except KeyError:
        raise _misfit(kind, message) from None
    return kind.body_type(*values)


@cache
def _readers(body_type: type[TransactionBody]) -> tuple[tuple[str, Reader], ...]:
    """How to read each member. Filled once per type: submissions are read at thousands per second."""
    return tuple((member.name, _READERS[member.type]) for member in members_of(body_type))


def _misfit(kind: TransactionKind, message: object) -> InvalidTransaction:
    """Why a message does not have exactly the members of its kind."""
    if not isinstance(message, dict):
        return InvalidTransaction("malformed", f"message must be an object, not {_shown(message)}")
    names = {member.name for member in kind.members}
    for name in message:
        if name not in names:
            known = ", ".join(member.name for member in kind.members)
            return InvalidTransaction("unknown_field", f"message has no member {_shown(name)} (known: {known})")
    lacking = next(member for member in kind.members if member.name not in message)
    return InvalidTransaction("missing_field", f"message lacks {lacking.name!r} ({lacking.type})")


def _address(name: str, value: Any) -> bytes:  # noqa: ANN401 - the edge: JSON in, typed value out
    if not isinstance(value, str):
        raise InvalidTransaction(
            "bad_address", f"{name}: an address is 0x and 40 hex digits as a string, not {_shown(value)}"
        )
    try:
        return parse_address(value)
    except ValueError as fault:
        raise InvalidTransaction("bad_address", f"{name}: {_cut(str(fault))}") from None


def _uint256(name: str, value: Any) -> bytes:  # noqa: ANN401
    if type(value) is str and len(value) <= 77 and value.isdigit() and value.isascii():  # 10^77 < 2^256
        return int(value).to_bytes(32, "big")
    return uint256(_integer(name, value, UINT256_MAX))


def _uint64(name: str, value: Any) -> int:  # noqa: ANN401
    if type(value) is int and 0 <= value <= UINT64_MAX:
        return value
    return _integer(name, value, UINT64_MAX)


def _text(name: str, value: Any) -> str:  # noqa: ANN401
    if not isinstance(value, str):
        raise InvalidTransaction("malformed", f"{name} must be a string, not {_shown(value)}")
    return value


def _integer(name: str, value: Any, most: int) -> int:  # noqa: ANN401
    if isinstance(value, str) and 0 < len(value) <= 80 and value.isascii() and value.removeprefix("-").isdigit():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidTransaction(
            "bad_amount", f"{name} must be a whole number as a decimal string, not {_shown(value)}"
        )
    if value < 0:
        raise InvalidTransaction("bad_amount", f"{name} must not be negative, got {_shown(value)}")
    if value > most:
        raise InvalidTransaction("bad_amount", f"{name} must be at most {most}, got {_shown(value)}")
    return value


def _opaque(name: str, value: Any) -> bytes:  # noqa: ANN401
    return _bytes(name, value, None)


def _bytes32(name: str, value: Any) -> bytes:  # noqa: ANN401
    return _bytes(name, value, 32)


def _bytes(name: str, value: Any, size: int | None) -> bytes:  # noqa: ANN401
    if isinstance(value, str) and value.startswith("0x"):
        try:
            data = bytes.fromhex(value[2:])
        except ValueError:
            data = None
        if data is not None and (size is None or len(data) == size) and len(value) == 2 + 2 * len(data):
            return data
    wanted = "0x and hex digits" if size is None else f"0x and {2 * size} hex digits"
    raise InvalidTransaction("bad_bytes", f"{name} must be {wanted}, not {_shown(value)}")


def _shown(value: object) -> str:
    if isinstance(value, (dict, list)):  # may be deep and long
        return "an object" if isinstance(value, dict) else "an array"
    return _cut(repr(value))


def _cut(text: str) -> str:
    return text if len(text) <= 120 else text[:117] + "..."


_READERS: dict[str, Reader] = {
    "address": _address,
    "uint64": _uint64,
    "uint256": _uint256,
    "bytes32": _bytes32,
    "bytes": _opaque,
    "string": _text,
}
"""How the value of each EIP-712 type we allow is read from JSON."""
