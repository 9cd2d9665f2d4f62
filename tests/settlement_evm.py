"""An Ethereum virtual machine in this process (revm through `pyrevm`), and contracts in it called by their ABI.

Enough for tests of a contract: one transaction after the other, a block of its own for each, what it returned, logged
or was refused with. Gas is free. Transient storage ends with the transaction, as EIP-1153 says; revm's journal would
keep it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eth_abi.abi import decode, encode
from pyrevm import EVM, AccountInfo, BlockEnv, CfgEnv, Env

from potchain.crypto import keccak256

BLOCK_GAS = 60_000_000
CALL_GAS = 30_000_000
RICH_WEI = 10**30
"""What an account that deploys or calls has, unless the test says otherwise."""

PANIC = "Panic"
"""Name under which Solidity's own Panic(uint256) is reported; no test expects one."""

_REVERT = re.compile(r"Revert \{ gas_used: (\d+), output: 0x([0-9a-f]*) \}")
_HALT = re.compile(r"Halt \{ reason: (\w+)")

Json = Mapping[str, Any]


def type_name(parameter: Json) -> str:
    """The canonical type of an ABI parameter; this project's contracts take no structs."""
    return str(parameter["type"])


@dataclass(frozen=True)
class Logged:
    """One event, decoded."""

    name: str
    values: tuple[Any, ...]
    """In the order of the declaration; addresses as bytes."""


@dataclass(frozen=True)
class Outcome:
    """What became of one call: `error` is "" when it went through."""

    error: str
    arguments: tuple[Any, ...]
    """Of the error."""
    output: bytes
    events: tuple[Logged, ...]
    gas: int


def plain(value: object) -> Any:  # noqa: ANN401 - any ABI value
    """eth_abi's value with addresses as 20 bytes and lists as tuples."""
    if isinstance(value, str) and value.startswith("0x") and len(value) == 42:
        return bytes.fromhex(value[2:])
    if isinstance(value, list | tuple):
        return tuple(plain(each) for each in value)
    return value


class Interface:
    """What an ABI declares: calls by signature, events by topic, errors by selector."""

    def __init__(self, abi: Sequence[Json]) -> None:
        self.functions: dict[str, tuple[bytes, list[str], list[str]]] = {}
        self.errors: dict[bytes, tuple[str, list[str]]] = {
            keccak256(b"Error(string)")[:4]: ("Error", ["string"]),
            keccak256(b"Panic(uint256)")[:4]: (PANIC, ["uint256"]),
        }
        self.events: dict[bytes, tuple[str, list[tuple[str, bool]]]] = {}
        self._constructor: list[str] = []
        for entry in abi:
            types = [type_name(each) for each in entry.get("inputs", [])]
            signature = f"{entry.get('name', '')}({','.join(types)})"
            if entry["type"] == "function":
                returned = [type_name(each) for each in entry["outputs"]]
                self.functions[signature] = (keccak256(signature.encode())[:4], types, returned)
            elif entry["type"] == "constructor":
                self._constructor = types
            elif entry["type"] == "error":
                self.errors[keccak256(signature.encode())[:4]] = (entry["name"], types)
            elif entry["type"] == "event":
                indexed = [bool(each["indexed"]) for each in entry["inputs"]]
                self.events[keccak256(signature.encode())] = (entry["name"], list(zip(types, indexed, strict=True)))

    @property
    def error_names(self) -> set[str]:
        """The custom errors that the ABI declares."""
        return {name for name, _ in self.errors.values()} - {"Error", PANIC}

    def calldata(self, signature: str, *arguments: object) -> bytes:
        """A call of a function by its full signature."""
        selector, types, _ = self.functions[signature]
        return selector + encode(types, arguments)

    def constructor(self, *arguments: object) -> bytes:
        """What follows the code at a deployment."""
        return encode(self._constructor, arguments)

    def result(self, signature: str, output: bytes) -> Any:  # noqa: ANN401 - any ABI value
        """What a function returned: the value itself when it is one."""
        values = plain(decode(self.functions[signature][2], output))
        return values[0] if len(values) == 1 else values

    def refusal(self, output: bytes) -> tuple[str, tuple[Any, ...]]:
        """Name and arguments of an error; the raw bytes' hex when no ABI knows it."""
        found = self.errors.get(output[:4])
        return (found[0], plain(decode(found[1], output[4:]))) if found else ("0x" + output.hex(), ())

    def logged(self, topics: Sequence[bytes], data: bytes) -> Logged:
        """A log of this contract; one that the ABI does not declare raises KeyError."""
        name, inputs = self.events[topics[0]]
        from_data = iter(decode([kind for kind, indexed in inputs if not indexed], data))
        from_topics = iter(topics[1:])
        values = [decode([kind], next(from_topics))[0] if indexed else next(from_data) for kind, indexed in inputs]
        return Logged(name, plain(values))


def hexed(address: bytes) -> str:
    """As pyrevm wants it."""
    return "0x" + address.hex()


class Machine:
    """One chain with a clock."""

    def __init__(self, chain_id: int, time_s: int = 1_800_000_000) -> None:
        self.chain_id = chain_id
        self.time_s = time_s
        self.number = 1
        environment = Env(cfg=CfgEnv(chain_id=chain_id, limit_contract_code_size=2**20), block=self._block())
        self.evm = EVM(env=environment, gas_limit=CALL_GAS, spec_id="CANCUN")

    def _block(self) -> BlockEnv:
        return BlockEnv(number=self.number, timestamp=self.time_s, gas_limit=BLOCK_GAS)

    def advance(self, seconds: int = 1) -> None:
        """One block later."""
        self.number += 1
        self.time_s += seconds
        self.evm.set_block_env(self._block())

    def fund(self, account: bytes, wei: int = RICH_WEI) -> None:
        """Set what an account has."""
        self.evm.set_balance(hexed(account), wei)

    def balance(self, account: bytes) -> int:
        """In wei."""
        return int(self.evm.get_balance(hexed(account)))

    def deploy(self, sender: bytes, code: bytes) -> tuple[bytes, str]:
        """(address, "") of a new contract, or (b"", revert data or reason in hex)."""
        self._end_transaction()
        try:
            address = self.evm.deploy(hexed(sender), code)
        except RuntimeError as fault:
            found = _REVERT.search(str(fault))
            return b"", found[2] if found else str(fault)
        return bytes.fromhex(address[2:]), ""

    def place(self, address: bytes, code: bytes) -> None:
        """Run a constructor *at* a chosen address: its code is first the constructor's, then what that returns."""
        self.evm.insert_account_info(hexed(address), AccountInfo(nonce=1, code=code))  # EIP-161: contracts begin at 1
        runtime = self.evm.message_call(hexed(bytes(20)), hexed(address))
        self._end_transaction()
        nonce = self.evm.basic(hexed(address)).nonce  # of the next contract that it creates
        self.evm.insert_account_info(hexed(address), AccountInfo(nonce=nonce, code=bytes(runtime)))

    def call(
        self, interface: Interface, sender: bytes, to: bytes, data: bytes, *, wei: int = 0, emitter: bytes = b""
    ) -> Outcome:
        """One transaction, and the events of `emitter` (by default `to`) in it."""
        self._end_transaction()
        try:
            output = bytes(self.evm.message_call(hexed(sender), hexed(to), calldata=data, value=wei))
        except RuntimeError as fault:
            return self._refused(interface, str(fault))
        result = self.evm.result
        assert result is not None
        events = []
        for log in result.logs:
            if log.address.lower() == hexed(emitter or to):
                topics, payload = log.data
                events.append(interface.logged([bytes(topic) for topic in topics], bytes(payload)))
        return Outcome("", (), output, tuple(events), int(result.gas_used))

    def _refused(self, interface: Interface, fault: str) -> Outcome:
        found = _REVERT.search(fault)
        if found is None:
            halted = _HALT.search(fault)
            return Outcome(halted[1] if halted else fault, (), b"", (), 0)
        output = bytes.fromhex(found[2])
        name, arguments = interface.refusal(output)
        return Outcome(name, arguments, output, (), int(found[1]))

    def view(self, to: bytes, data: bytes) -> bytes:
        """What a call returns without changing anything; a refusal raises RuntimeError."""
        return bytes(self.evm.message_call(hexed(bytes(20)), hexed(to), calldata=data, is_static=True))

    def _end_transaction(self) -> None:
        self.evm.reset_transient_storage()


@dataclass(frozen=True)
class At:
    """A contract at its address."""

    machine: Machine
    interface: Interface
    address: bytes

    def send(self, sender: bytes, signature: str, *arguments: object, wei: int = 0) -> Outcome:
        """A transaction to it."""
        data = self.interface.calldata(signature, *arguments)
        return self.machine.call(self.interface, sender, self.address, data, wei=wei)

    def read(self, signature: str, *arguments: object) -> Any:  # noqa: ANN401 - any ABI value
        """A view of it."""
        output = self.machine.view(self.address, self.interface.calldata(signature, *arguments))
        return self.interface.result(signature, output)
