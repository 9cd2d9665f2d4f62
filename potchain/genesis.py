"""The genesis of a network: who validates, who owns what, and the parameters everyone must agree on.

The genesis hash is over canonical bytes; the JSON form for people is in `potchain.genesis_file`. A `RecoveredGenesis`
carries on a network that stopped for good: it begins at a height above 0, with the state of the block there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

from coincurve import PublicKey

from potchain.blocks import BlockCertificate, BlockHeader, EpochLink, block_hash
from potchain.codec import Canonical, encode
from potchain.crypto import digest_of, node_id_of, parse_public_key
from potchain.errors import InvalidProof
from potchain.primitives import ZERO_DIGEST, Address, Bytes32, Digest, NodeId, Signature65, Uint64, Uint256

GENESIS_TAG = b"potchain.genesis.1"
RECOVERED_TAG = b"potchain.genesis.recovered.1"
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
        """Epoch 0; a recovered network goes on with the number after the last."""
        return Epoch(number=0, first_sequence=1, members=self.validators, parameters=self.parameters)

    @property
    def height(self) -> int:
        """Height of the genesis block, which nobody decided: 0, or the one at which a recovered network goes on."""
        return 0

    @property
    def parent_hash(self) -> Digest:
        """What the genesis block names as its parent."""
        return ZERO_DIGEST


class Predecessor(Canonical, frozen=True, dict=True):
    """The network that a recovered one carries on, with the proof of its last block; see `potchain.recovery`."""

    genesis_hash: Bytes32
    first_epoch: Epoch
    """What its own genesis begins with."""
    links: tuple[EpochLink, ...]
    """For each of its epochs after the first: the boundary header, its certificate and the epoch it names."""
    header: BlockHeader
    """Its last certified block."""
    certificate: BlockCertificate

    @property
    def hash(self) -> Digest:
        """Its genesis hash: what `potchain.proofs` follows from."""
        return Digest(self.genesis_hash)

    @property
    def last_epoch_digest(self) -> Digest:
        """Digest of the epoch in which it stopped, whose operators sign."""
        if self.links:
            return digest_of(EPOCH_TAG, self.links[-1].next_epoch)
        return epoch_digest(self.first_epoch)


class OperatorSignature(Canonical, frozen=True):
    """One operator's consent to a recovery."""

    operator: Address
    signature: Signature65
    """Over the EIP-712 digest of `potchain.recovery.signing_digest`."""


class Recovery(Canonical, frozen=True):
    """What a recovered genesis has in place of initial balances."""

    epoch: Uint64
    """Number of its first epoch."""
    state_root: Bytes32
    """Of the genesis block: the predecessor's last state with the new epoch in it."""
    predecessor: Predecessor
    signatures: tuple[OperatorSignature, ...]
    """Distinct operators, sorted by address."""


class _RecoveredSubject(Canonical, frozen=True):
    chain_id: str
    timestamp_ms: Uint64
    validators: tuple[Validator, ...]
    parameters: Parameters
    epoch: Uint64
    state_root: Bytes32
    old_genesis_hash: Bytes32
    old_epoch: Bytes32
    old_block_hash: Bytes32
    height: Uint64


class RecoveredGenesis(Genesis, frozen=True, dict=True):
    """The beginning of a network that carries on an earlier one. `accounts` is empty: the state is taken over."""

    recovery: Recovery

    @cached_property
    def hash(self) -> Digest:
        """Covers all that is agreed and no signature: whoever signed, it is the same network."""
        before = self.recovery.predecessor
        subject = _RecoveredSubject(
            chain_id=self.chain_id,
            timestamp_ms=self.timestamp_ms,
            validators=self.validators,
            parameters=self.parameters,
            epoch=self.recovery.epoch,
            state_root=self.recovery.state_root,
            old_genesis_hash=before.genesis_hash,
            old_epoch=before.last_epoch_digest,
            old_block_hash=self.parent_hash,
            height=self.height,
        )
        return digest_of(RECOVERED_TAG, encode(subject))

    @cached_property
    def first_epoch(self) -> Epoch:
        """Its validators from the height after the genesis block on."""
        return Epoch(self.recovery.epoch, self.height + 1, self.validators, self.parameters)

    @property
    def height(self) -> int:
        """Height of the predecessor's last certified block, in whose place the genesis block stands."""
        return self.recovery.predecessor.header.height

    @cached_property
    def parent_hash(self) -> Digest:
        """Hash of the predecessor's last certified block."""
        return block_hash(self.recovery.predecessor.header)


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
    faults += [
        f"two validators have one {field}"
        for field in ("name", "node_key", "consensus_key", "operator")
        if len({getattr(member, field) for member in members}) < len(members)
    ]
    return faults
