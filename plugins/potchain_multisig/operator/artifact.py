"""A compiled contract as operators use it: created, called by signature, and with the events that commands tell of.

The encodings are those of `potchain_multisig.calls`, which is imported when an artifact is loaded, because eth-abi
takes half a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

import msgspec

from potchain import PluginError, SettlementError, keccak256

if TYPE_CHECKING:
    from potchain_multisig.calls import ContractError, Entry, Interface

EXTRA_MISSING: Final = "the EVM libraries are not installed: pip install 'potchain[evm]'"


class _EventParameter(msgspec.Struct, frozen=True):
    type: str
    name: str
    indexed: bool = False


class _EventEntry(msgspec.Struct, frozen=True):
    type: str
    name: str = ""
    inputs: tuple[Any, ...] = ()


class _File(msgspec.Struct, frozen=True):
    """What `potchain_multisig.calls.Artifact` does not read."""

    contract: str
    compiler: str
    abi: tuple[_EventEntry, ...]


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One decoded log."""

    name: str
    values: dict[str, Any]


class Artifact:
    """One contract."""

    def __init__(self, text: bytes) -> None:
        """Raises msgspec.DecodeError when this is no artifact, PluginError when the extra `evm` is missing."""
        try:
            from potchain_multisig import calls
        except ImportError:
            raise PluginError(EXTRA_MISSING) from None
        self._code = msgspec.json.decode(text, type=calls.Artifact)
        file = msgspec.json.decode(text, type=_File)
        self.name = file.contract
        self.compiler = file.compiler
        self.hash = "0x" + sha256(text).hexdigest()
        """sha256 of the artifact's file."""
        self._whole = calls.Interface(self._code.abi)
        self._functions: dict[str, Interface] = {
            _signature(entry): calls.Interface([entry]) for entry in self._code.abi if entry.type == "function"
        }  # one each, because a name may be overloaded
        self._events = {
            keccak256(f"{entry.name}({','.join(part.type for part in parts)})".encode()): (entry.name, parts)
            for entry, parts in (
                (entry, msgspec.convert(entry.inputs, tuple[_EventParameter, ...]))
                for entry in file.abi
                if entry.type == "event"
            )
        }

    @property
    def functions(self) -> tuple[str, ...]:
        """Signatures, sorted."""
        return tuple(sorted(self._functions))

    def creation(self, *values: object) -> bytes:
        """What a deploying transaction carries: the code and the constructor's arguments."""
        from eth_abi.abi import encode

        (constructor,) = [entry for entry in self._code.abi if entry.type == "constructor"]
        code = bytes.fromhex(self._code.bytecode.removeprefix("0x"))
        return code + bytes(encode([part.type for part in constructor.inputs], values))

    def call(self, signature: str, *values: object) -> bytes:
        """Selector and arguments of a function, such as "withdraw(uint256)"."""
        return self._functions[signature].encode(signature.partition("(")[0], *values)

    def result(self, signature: str, data: bytes) -> tuple[Any, ...]:
        """What a function returned; addresses are 20 bytes. Raises SettlementError(`rubbish` or `wrong_contract`)."""
        name = signature.partition("(")[0]
        (entry,) = [each for each in self._code.abi if each.type == "function" and _signature(each) == signature]
        values = self._functions[signature].decode(name, data)
        return tuple(_plain(part.type, value) for part, value in zip(entry.outputs, values, strict=True))

    def error(self, data: bytes) -> ContractError:
        """What a revert means: name and values of the custom error, else the reason, else the bytes."""
        return self._whole.error(data)

    def event(self, topics: Sequence[bytes], data: bytes) -> Event | None:
        """A log of this contract; None when it is none that the artifact knows.

        Raises SettlementError(`rubbish`) on damaged data.
        """
        from eth_abi.abi import decode
        from eth_abi.exceptions import DecodingError

        name, parts = self._events.get(topics[0] if topics else b"", ("", ()))
        if not name:
            return None
        indexed = [part for part in parts if part.indexed]
        plain = [part for part in parts if not part.indexed]
        try:
            values = [decode([part.type], topic)[0] for part, topic in zip(indexed, topics[1:], strict=True)]
            values += decode([part.type for part in plain], data)
        except (DecodingError, OverflowError, ValueError) as fault:
            raise SettlementError("rubbish", f"a log {name} is damaged: {fault}") from None
        pairs = zip([*indexed, *plain], values, strict=True)
        return Event(name=name, values={part.name: _plain(part.type, value) for part, value in pairs})

    def is_code(self, code: bytes) -> bool:
        """Whether deployed code is ours; what the constructor filled in does not count."""
        return self._code.is_code(code)


def load_artifact(name: str) -> Artifact:
    """`PotSettlement` or `PotBook`. Raises PluginError when the package is damaged or the extra `evm` is missing."""
    try:
        return Artifact((files("potchain_multisig") / "artifacts" / f"{name}.json").read_bytes())
    except (OSError, msgspec.DecodeError) as fault:
        raise PluginError(
            f"the compiled contract {name}.json cannot be read: {fault}; install the package again"
        ) from None


def _signature(entry: Entry) -> str:
    return f"{entry.name}({','.join(part.type for part in entry.inputs)})"


def _plain(kind: str, value: Any) -> Any:  # noqa: ANN401 - any ABI value
    """Addresses as 20 bytes."""
    if kind == "address[]":
        return tuple(bytes.fromhex(item.removeprefix("0x")) for item in value)
    return bytes.fromhex(value.removeprefix("0x")) if kind == "address" else value

