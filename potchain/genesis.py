"""The genesis of a network: who validates, who owns what, and the parameters everyone must agree on.

The file is JSON for people; the genesis hash is over canonical bytes, so white space and key order do not matter.
Loading names every fault at once.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import msgspec
from coincurve import PublicKey

from potchain.codec import Canonical, encode
from potchain.crypto import checksum_address, digest_of, node_id_of, parse_address, parse_public_key
from potchain.errors import GenesisError, InvalidProof
from potchain.primitives import UINT256_MAX, Address, Digest, NodeId, Uint64, Uint256, uint, uint256

GENESIS_TAG = b"potchain.genesis.1"
EPOCH_TAG = b"potchain.epoch.1"
CHAIN_ID_LENGTH_MAX = 64
VALIDATORS_MAX = 1_000
ACCOUNTS_MAX = 1_000_000
PARAMETER_MAX = 2**32
"""Bound on every parameter but the base fee: arithmetic on heights and times stays inside 64 bits."""


class Parameters(Canonical, frozen=True, kw_only=True):
    """What every node of an epoch must do alike. Names and defaults: one table in the configuration reference."""

    view_timeout_ms: Uint64 = 2_000
    """T: how long work may wait before its primary is accused."""
    view_timeout_cap_ms: Uint64 = 8_000
    """Doubling of the view timeout stops here."""
    checkpoint_interval: Uint64 = 64
    """K: heights between stable checkpoints (OSDI'99 section 4.3)."""
    log_window: Uint64 = 128
    """L: sequences between the water marks; at least 2K."""
    in_flight_max: Uint64 = 8
    """Proposals that a primary may have undecided at once."""
    batch_max: Uint64 = 1_000
    """Transactions in one proposal."""
    batch_bytes_max: Uint64 = 4_194_304
    """Sum of the canonical bytes of one proposal's bodies."""
    batch_delay_ms: Uint64 = 5
    """How long a primary with proposals in flight waits for a fuller batch."""
    clock_bound_ms: Uint64 = 10_000
    """How far a fresh proposal's timestamp may be from a voter's clock."""
    min_block_interval_ms: Uint64 = 1_000
    """Least time between empty blocks."""
    heartbeat_ms: Uint64 = 1_000
    """Longest time between blocks while the application waits for time to pass."""
    base_fee: Uint64 = 10
    """Least fee of a transaction, base units."""
    rules_version: Uint64 = 1
    """Version of the execution rules; raised by governance."""


class Validator(Canonical, frozen=True):
    """A member of the validator set, with its three keys (design section 6)."""

    name: str
    """For people; unique in the set."""
    node_key: bytes
    """32-byte Ed25519 public key: TLS identity, nothing else."""
    consensus_key: bytes
    """33-byte compressed secp256k1 public key: every vote."""
    operator: Address
    """Account for governance and duties."""

    @property
    def node_id(self) -> NodeId:
        """Name inside consensus."""
        return node_id_of(self.consensus_key)


class Epoch(Canonical, frozen=True, dict=True):
    """A stretch of sequences with one validator set and one set of parameters."""

    number: Uint64
    first_sequence: Uint64
    members: tuple[Validator, ...]
    parameters: Parameters

    @cached_property
    def ids(self) -> tuple[NodeId, ...]:
        """Node ids in member order: primary of view v is ids[(epoch + v) mod n]."""
        return tuple(member.node_id for member in self.members)

    @cached_property
    def keys(self) -> Mapping[NodeId, PublicKey]:
        """Parsed consensus keys by node id."""
        return {node: parse_public_key(m.consensus_key) for node, m in zip(self.ids, self.members, strict=True)}

    def primary(self, view: int) -> NodeId:
        """The primary of a view of this epoch."""
        return self.ids[(self.number + view) % len(self.ids)]

    def name_of(self, node: bytes) -> str:
        """The member's name for people; a stranger's id in hex."""
        for member, node_id in zip(self.members, self.ids, strict=True):
            if node_id == node:
                return member.name
        return "0x" + node.hex()


def epoch_digest(epoch: Epoch) -> Digest:
    """What a block header's `next_epoch` names."""
    return digest_of(EPOCH_TAG, encode(epoch))


class InitialBalance(Canonical, frozen=True):
    """Money that exists from the start."""

    address: Address
    balance: Uint256


class Genesis(Canonical, frozen=True, dict=True):
    """The agreed beginning, checked."""

    chain_id: str
    timestamp_ms: Uint64
    """Block time of height 0, Unix ms."""
    validators: tuple[Validator, ...]
    accounts: tuple[InitialBalance, ...]
    """Sorted by address."""
    parameters: Parameters

    @cached_property
    def hash(self) -> Digest:
        """The genesis hash: the name of this network in everything that is signed."""
        return digest_of(GENESIS_TAG, encode(self))

    @cached_property
    def first_epoch(self) -> Epoch:
        """Epoch 0."""
        return Epoch(number=0, first_sequence=1, members=self.validators, parameters=self.parameters)


def parameter_faults(parameters: Parameters) -> list[str]:
    """What is contradictory or out of range in a set of parameters, in words."""
    faults = [
        f"parameters.{name} must be at least 1"
        for name in Parameters.__struct_fields__
        if name != "base_fee" and getattr(parameters, name) < 1
    ]
    faults += [
        f"parameters.{name} exceeds {PARAMETER_MAX}"
        for name in Parameters.__struct_fields__
        if name != "base_fee" and getattr(parameters, name) > PARAMETER_MAX
    ]
    if parameters.log_window < 2 * parameters.checkpoint_interval:
        faults.append(
            f"parameters.log_window {parameters.log_window} must be at least twice checkpoint_interval "
            f"{parameters.checkpoint_interval}, or the log fills before a checkpoint is stable"
        )
    if parameters.in_flight_max > parameters.log_window:
        faults.append(f"parameters.in_flight_max {parameters.in_flight_max} exceeds log_window")
    if parameters.view_timeout_cap_ms < parameters.view_timeout_ms:
        faults.append(f"parameters.view_timeout_cap_ms {parameters.view_timeout_cap_ms} is below view_timeout_ms")
    if parameters.batch_max > 10_000:
        faults.append(f"parameters.batch_max {parameters.batch_max} exceeds 10000")
    return faults


def member_faults(members: Sequence[Validator]) -> list[str]:
    """What is wrong with a validator set, in words."""
    if not 0 < len(members) <= VALIDATORS_MAX:
        return [f"{len(members)} validators, 1 to {VALIDATORS_MAX} are allowed"]
    faults = []
    for member in members:
        if not 0 < len(member.name) <= CHAIN_ID_LENGTH_MAX:
            faults.append(f"a validator's name must have 1 to {CHAIN_ID_LENGTH_MAX} characters")
        if len(member.node_key) != 32:
            faults.append(f"validator {member.name}: a node key has 32 bytes, not {len(member.node_key)}")
        try:
            parse_public_key(member.consensus_key)
        except InvalidProof as fault:
            faults.append(f"validator {member.name}: consensus key: {fault}")
    for field in ("name", "node_key", "consensus_key", "operator"):
        if len({getattr(member, field) for member in members}) < len(members):
            faults.append(f"two validators have one {field}")
    return faults


def parse_genesis(text: bytes, source: str) -> Genesis:
    """A checked genesis from the bytes of its JSON file; `source` names it in errors.

    Raises GenesisError that lists every fault.
    """
    try:
        document = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as fault:
        raise GenesisError(source, [f"not JSON: {fault}"]) from None
    if not isinstance(document, dict):
        raise GenesisError(source, ["the file must hold one JSON object"])
    reader = _Reader(document)
    genesis = reader.genesis()
    if reader.faults:
        raise GenesisError(source, reader.faults)
    return genesis


def render_genesis(genesis: Genesis) -> bytes:
    """The JSON file of a genesis; `parse_genesis` reads it back to the same value."""
    document = {
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
        "accounts": [
            {"address": checksum_address(account.address), "balance": str(uint(account.balance))}
            for account in genesis.accounts
        ],
        "parameters": {name: getattr(genesis.parameters, name) for name in Parameters.__struct_fields__},
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


class _Reader:
    """Walks the document and collects faults instead of stopping at the first."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        self.faults: list[str] = []

    def genesis(self) -> Genesis:
        self._known_keys(self._document, "", ("chain_id", "timestamp_ms", "validators", "accounts", "parameters"))
        chain_id = self._text(self._document, "", "chain_id")
        if not 0 < len(chain_id) <= CHAIN_ID_LENGTH_MAX:
            self.faults.append(f"chain_id must have 1 to {CHAIN_ID_LENGTH_MAX} characters")
        timestamp_ms = self._document.get("timestamp_ms")
        if not isinstance(timestamp_ms, int) or isinstance(timestamp_ms, bool) or not 0 <= timestamp_ms < 2**53:
            self.faults.append(f"timestamp_ms must be Unix milliseconds, not {timestamp_ms!r}")
            timestamp_ms = 0
        validators = [self._validator(entry, at) for entry, at in self._entries("validators", VALIDATORS_MAX)]
        if not validators and isinstance(self._document.get("validators"), list):
            self.faults.append("validators must name at least one validator")
        for field in ("name", "node_key", "consensus_key", "operator"):
            self._unique("validators", field, [getattr(validator, field) for validator in validators])
        accounts = [self._account(entry, at) for entry, at in self._entries("accounts", ACCOUNTS_MAX)]
        self._unique("accounts", "address", [account.address for account in accounts])
        if sum(uint(account.balance) for account in accounts) > UINT256_MAX:
            self.faults.append("the sum of all balances exceeds 2^256 - 1")
        return Genesis(
            chain_id=chain_id,
            timestamp_ms=timestamp_ms,
            validators=tuple(validators),
            accounts=tuple(sorted(accounts, key=lambda account: account.address)),
            parameters=self._parameters(),
        )

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
