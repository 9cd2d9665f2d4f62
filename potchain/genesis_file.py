"""The genesis file: JSON for people, read into a checked `Genesis` and written from one.

Reading names every fault at once. A genesis that carries on an earlier network has the object `recovered` in place of
`accounts`; whether its signatures and certificate hold is for `potchain.recovery` to say.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec

from potchain.blocks import StateChange, StateChanges
from potchain.canonical_json import from_json, to_json
from potchain.codec import decode, encode
from potchain.crypto import checksum_address, parse_address, parse_public_key
from potchain.errors import CodecError, GenesisError, InvalidProof
from potchain.genesis import (
    ACCOUNTS_MAX,
    CHAIN_ID_LENGTH_MAX,
    VALIDATORS_MAX,
    Genesis,
    InitialBalance,
    Parameters,
    RecoveredGenesis,
    Recovery,
    Validator,
    parameter_faults,
)
from potchain.primitives import UINT256_MAX, uint, uint256

T = TypeVar("T")


def parse_genesis(text: bytes, source: str) -> Genesis:
    """A checked genesis from the bytes of its JSON file; `source` names it in errors.

    A RecoveredGenesis when the file has `recovered`. Raises GenesisError that lists every fault.
    """
    return _read(text, source, _Reader.genesis)


def parse_next_epoch(text: bytes, source: str) -> tuple[tuple[Validator, ...], Parameters | None]:
    """Validators, and parameters if given, from a JSON file with these two members of a genesis file.

    Raises GenesisError that lists every fault.
    """
    return _read(text, source, _Reader.next_epoch)


def parse_state(data: bytes, source: str) -> dict[bytes, bytes]:
    """The records of a state file, which lies beside a recovery; whose they are follows from their root.

    Raises GenesisError.
    """
    try:
        changes = decode(StateChanges, data).changes
    except CodecError as fault:
        raise GenesisError(source, [f"no state file: {fault}"]) from None
    records = {change.key: change.value for change in changes if change.value is not None}
    if [change.key for change in changes] != sorted(records):
        raise GenesisError(source, ["no state file: its records are not sorted by distinct keys"])
    return records


def render_state(records: Mapping[bytes, bytes]) -> bytes:
    """The state file of these records; the same bytes for the same state."""
    return encode(StateChanges(tuple(StateChange(key, value) for key, value in sorted(records.items()))))


def render_genesis(genesis: Genesis) -> bytes:
    """The JSON file of a genesis; `parse_genesis` reads it back to the same value."""
    document: dict[str, Any] = {
        "chain_id": genesis.chain_id,
        "timestamp_ms": genesis.timestamp_ms,
        "validators": [
            {
                "name": validator.name,
                "node_key": "0x" + validator.node_key.hex(),
                "consensus_key": "0x" + validator.consensus_key.hex(),
                "operator": checksum_address(validator.operator),
            }
            for validator in genesis.validators
        ],
        "parameters": {name: getattr(genesis.parameters, name) for name in Parameters.__struct_fields__},
    }
    if isinstance(genesis, RecoveredGenesis):
        document["recovered"] = to_json(genesis.recovery)
    else:
        document["accounts"] = [
            {"address": checksum_address(account.address), "balance": str(uint(account.balance))}
            for account in genesis.accounts
        ]
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def _read(text: bytes, source: str, part: Callable[[_Reader], T]) -> T:
    try:
        document = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as fault:
        raise GenesisError(source, [f"not JSON: {fault}"]) from None
    if not isinstance(document, dict):
        raise GenesisError(source, ["the file must hold one JSON object"])
    reader = _Reader(document)
    found = part(reader)
    if reader.faults:
        raise GenesisError(source, reader.faults)
    return found


class _Reader:
    """Walks the document and collects faults instead of stopping at the first."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        self.faults: list[str] = []

    def genesis(self) -> Genesis:
        recovered = "recovered" in self._document
        content = "recovered" if recovered else "accounts"
        self._known_keys(self._document, "", ("chain_id", "timestamp_ms", "validators", content, "parameters"))
        chain_id = self._text(self._document, "", "chain_id")
        if not 0 < len(chain_id) <= CHAIN_ID_LENGTH_MAX:
            self.faults.append(f"chain_id must have 1 to {CHAIN_ID_LENGTH_MAX} characters")
        timestamp_ms = self._document.get("timestamp_ms")
        if not isinstance(timestamp_ms, int) or isinstance(timestamp_ms, bool) or not 0 <= timestamp_ms < 2**53:
            self.faults.append(f"timestamp_ms must be Unix milliseconds, not {timestamp_ms!r}")
            timestamp_ms = 0
        validators, parameters = self._validators(), self._parameters()
        if not recovered:
            return Genesis(chain_id, timestamp_ms, validators, self._accounts(), parameters)
        try:
            recovery = from_json(Recovery, self._document["recovered"], "recovered")
        except CodecError as fault:
            self.faults.append(str(fault))
            return Genesis(chain_id, timestamp_ms, validators, (), parameters)
        return RecoveredGenesis(chain_id, timestamp_ms, validators, (), parameters, recovery)

    def next_epoch(self) -> tuple[tuple[Validator, ...], Parameters | None]:
        """The validators, and the parameters if they are there: a file for `potchain recover prepare`."""
        self._known_keys(self._document, "", ("validators", "parameters"))
        return self._validators(), self._parameters() if "parameters" in self._document else None

    def _validators(self) -> tuple[Validator, ...]:
        validators = [self._validator(entry, at) for entry, at in self._entries("validators", VALIDATORS_MAX)]
        if not validators and isinstance(self._document.get("validators"), list):
            self.faults.append("validators must name at least one validator")
        for field in ("name", "node_key", "consensus_key", "operator"):
            self._unique("validators", field, [getattr(validator, field) for validator in validators])
        return tuple(validators)

    def _accounts(self) -> tuple[InitialBalance, ...]:
        accounts = [self._account(entry, at) for entry, at in self._entries("accounts", ACCOUNTS_MAX)]
        self._unique("accounts", "address", [account.address for account in accounts])
        if sum(uint(account.balance) for account in accounts) > UINT256_MAX:
            self.faults.append("the sum of all balances exceeds 2^256 - 1")
        return tuple(sorted(accounts, key=lambda account: account.address))

    def _entries(self, name: str, count_max: int) -> list[tuple[dict[str, Any], str]]:
        listed = self._document.get(name)
        if not isinstance(listed, list):
            self.faults.append(f"{name} must be a list")
            return []
        if len(listed) > count_max:
            self.faults.append(f"{name} has {len(listed)} entries, at most {count_max} are allowed")
            return []
        found = []
        for index, entry in enumerate(listed):
            if isinstance(entry, dict):
                found.append((entry, f"{name}[{index}]"))
            else:
                self.faults.append(f"{name}[{index}] must be an object, not {entry!r}")
        return found

    def _validator(self, entry: dict[str, Any], at: str) -> Validator:
        self._known_keys(entry, at + ".", ("name", "node_key", "consensus_key", "operator"))
        name = self._text(entry, at + ".", "name")
        if not 0 < len(name) <= CHAIN_ID_LENGTH_MAX:
            self.faults.append(f"{at}.name must have 1 to {CHAIN_ID_LENGTH_MAX} characters")
        consensus_key = self._hex(entry, at, "consensus_key", 33)
        if consensus_key:
            try:
                parse_public_key(consensus_key)
            except InvalidProof as fault:
                self.faults.append(f"{at}.consensus_key: {fault}")
        return Validator(
            name=name,
            node_key=self._hex(entry, at, "node_key", 32),
            consensus_key=consensus_key,
            operator=self._address(entry, at, "operator"),
        )

    def _account(self, entry: dict[str, Any], at: str) -> InitialBalance:
        self._known_keys(entry, at + ".", ("address", "balance"))
        balance = entry.get("balance")
        if isinstance(balance, str) and balance.isascii() and balance.isdigit() and len(balance) <= 78:
            amount = int(balance)
        else:
            self.faults.append(f"{at}.balance must be a decimal string of base units, not {balance!r}")
            amount = 0
        if amount > UINT256_MAX:
            self.faults.append(f"{at}.balance exceeds 2^256 - 1")
            amount = 0
        return InitialBalance(address=self._address(entry, at, "address"), balance=uint256(amount))

    def _parameters(self) -> Parameters:
        table = self._document.get("parameters", {})
        if not isinstance(table, dict):
            self.faults.append("parameters must be an object")
            return Parameters()
        self._known_keys(table, "parameters.", Parameters.__struct_fields__)
        chosen = {}
        for name in Parameters.__struct_fields__:
            if name not in table:
                continue
            value = table[name]
            if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53:
                chosen[name] = value
            else:
                self.faults.append(f"parameters.{name} must be a whole number from 0, not {value!r}")
        parameters = Parameters(**chosen)
        self.faults.extend(parameter_faults(parameters))
        return parameters

    def _known_keys(self, entry: dict[str, Any], at: str, known: tuple[str, ...]) -> None:
        for key in entry:
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else f" (known: {', '.join(known)})"
                self.faults.append(f"{at}{key} is not a known key{hint}")

    def _unique(self, table: str, field: str, values: list[Any]) -> None:
        seen = set()
        for index, value in enumerate(values):
            if value and value in seen:
                self.faults.append(f"{table}[{index}].{field} repeats an earlier entry's")
            seen.add(value)

    def _text(self, entry: dict[str, Any], at: str, name: str) -> str:
        value = entry.get(name)
        if not isinstance(value, str):
            self.faults.append(f"{at}{name} must be a string, not {value!r}")
            return ""
        return value

    def _hex(self, entry: dict[str, Any], at: str, name: str, size: int) -> bytes:
        value = entry.get(name)
        try:
            if not isinstance(value, str) or not value.startswith("0x"):
                raise ValueError
            data = bytes.fromhex(value[2:])
            if len(data) != size:
                raise ValueError
        except ValueError:
            self.faults.append(f"{at}.{name} must be 0x and {2 * size} hex digits, not {value!r}")
            return b""
        return data

    def _address(self, entry: dict[str, Any], at: str, name: str) -> bytes:
        value = entry.get(name)
        try:
            return parse_address(value if isinstance(value, str) else "")
        except ValueError:
            self.faults.append(f"{at}.{name} must be an Ethereum address (EIP-55 if mixed case), not {value!r}")
            return b""
