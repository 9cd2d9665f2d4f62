"""Calls to the contracts by their committed ABI, and what their answers and errors mean.

eth-abi, eth-account and eth-utils (the parts of web3 that need no connection) take the better part of a second to
import: this module and `transactions` do it, and the plug-in imports both only when a back end is created.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import msgspec
from eth_abi.abi import decode as abi_decode
from eth_abi.abi import encode as abi_encode
from eth_abi.exceptions import DecodingError

from potchain import SettlementError, keccak256

ERROR_STRING = keccak256(b"Error(string)")[:4]
PANIC = keccak256(b"Panic(uint256)")[:4]
PANICS = {
    0x01: "an assertion failed",
    0x11: "arithmetic overflow",
    0x12: "division by zero",
    0x21: "no such enum value",
    0x31: "pop of an empty array",
    0x32: "index out of bounds",
    0x41: "out of memory",
}
"""Solidity documentation, "Panic via assert and Error via require"."""

FAULT_OF_ERROR = {"Paused": "paused", "ExceedsDeposits": "underfunded"}
"""Errors of the contract that are states of their own to an operator."""
ARGUMENT_CHARACTERS_MAX = 80


class Parameter(msgspec.Struct, frozen=True):
    """A parameter in an ABI; none of these contracts has tuples where they are called."""

    type: str
    name: str = ""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A function, event or error in an ABI."""

    type: str
    name: str = ""
    inputs: tuple[Parameter, ...] = ()
    outputs: tuple[Parameter, ...] = ()

    @property
    def selector(self) -> bytes:
        """First 4 bytes of the signature's keccak-256."""
        return keccak256(f"{self.name}({','.join(item.type for item in self.inputs)})".encode())[:4]


class Stretch(msgspec.Struct, frozen=True):
    """Bytes of the runtime code that the constructor fills in (immutable variables)."""

    start: int
    length: int


class Artifact(msgspec.Struct, frozen=True, rename="camel"):
    """A compiled contract as `make contracts` writes it; what a back end uses of it."""

    abi: tuple[Entry, ...]
    bytecode: str
    deployed_bytecode: str
    immutable_references: tuple[Stretch, ...] = ()

    def is_code(self, code: bytes) -> bool:
        """Whether `code` is this contract's, whatever its immutable variables."""
        expected = bytearray.fromhex(self.deployed_bytecode.removeprefix("0x"))
        if len(code) != len(expected):
            return False
        found = bytearray(code)
        for stretch in self.immutable_references:
            blank = bytes(stretch.length)
            found[stretch.start : stretch.start + stretch.length] = blank
            expected[stretch.start : stretch.start + stretch.length] = blank
        return found == expected


class ContractError(msgspec.Struct, frozen=True):
    """An error that a contract reverted with."""

    name: str
    """Empty for none that is known."""
    text: str
    """Name and values, for people."""

    @property
    def fault(self) -> str:
        """Its code in FAULTS."""
        return FAULT_OF_ERROR.get(self.name, "would_revert")


class Interface:
    """Encodes calls to one contract, and decodes its answers and errors."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._functions: dict[str, Entry] = {}
        self._errors: dict[bytes, Entry] = {}
        for entry in entries:
            if entry.type == "function":
                self._functions.setdefault(entry.name, entry)
            elif entry.type == "error":
                self._errors[entry.selector] = entry

    def encode(self, name: str, *arguments: object) -> bytes:
        """Call data; addresses may be 20 bytes. None of the functions that are called is overloaded."""
        entry = self._functions[name]
        return entry.selector + abi_encode([item.type for item in entry.inputs], list(arguments))

    def decode(self, name: str, answer: bytes) -> tuple[Any, ...]:
        """The values that a function returned; addresses as "0x" and 40 small digits.

        Raises SettlementError: `wrong_contract` for no answer, which is what an address without code gives; `rubbish`
        for one that does not fit the function.
        """
        if not answer:
            raise SettlementError("wrong_contract", f"{name}() returns nothing: there is no such contract")
        try:
            return abi_decode([item.type for item in self._functions[name].outputs], answer, strict=True)
        except (DecodingError, OverflowError, UnicodeDecodeError) as fault:
            raise SettlementError("rubbish", f"the answer to {name}() cannot be decoded: {fault}") from None

    def arguments(self, name: str, data: bytes) -> tuple[Any, ...]:
        """The arguments in call data that `encode` made."""
        return abi_decode([item.type for item in self._functions[name].inputs], data[4:])

    def error(self, data: bytes) -> ContractError:
        """What the contract said when it reverted."""
        selector, body = data[:4], data[4:]
        entry = self._errors.get(selector)
        try:
            if entry is not None:
                values = abi_decode([item.type for item in entry.inputs], body)
                pairs = zip(entry.inputs, values, strict=True)
                shown = ", ".join(f"{item.name}={_value(value)}" for item, value in pairs)
                return ContractError(entry.name, f"{entry.name}({shown})")
            if selector == ERROR_STRING:
                (text,) = abi_decode(["string"], body)
                return ContractError("Error", _value(text))
            if selector == PANIC:
                (code,) = abi_decode(["uint256"], body)
                return ContractError("Panic", f"panic 0x{code:02x}: {PANICS.get(code, 'unknown')}")
        except (DecodingError, OverflowError, UnicodeDecodeError):
            pass
        return ContractError("", f"unknown error 0x{data[:36].hex()}" if data else "it reverts without a reason")


def load_artifact(name: str) -> Artifact:
    """The committed artifact of a contract."""
    text = (files("potchain_multisig") / "artifacts" / f"{name}.json").read_bytes()
    return msgspec.json.decode(text, type=Artifact)


def _value(value: object) -> str:
    text = "0x" + value.hex() if isinstance(value, bytes) else str(value)
    plain = "".join(letter if letter.isprintable() else " " for letter in text)
    return plain if len(plain) <= ARGUMENT_CHARACTERS_MAX else plain[:ARGUMENT_CHARACTERS_MAX] + "…"
