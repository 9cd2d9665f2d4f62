"""What the ledger asks of Layer 2, and the digests that operators sign for it.

Theory of operation. A *contract* is bound to the ledger once, by governance. From then on everything that the ledger
wants done there is an *action* with a nonce; nonces have no gaps, and the contract executes them in their order, so
none can be executed twice. An action is complete when it is made: every node computes the same digest from its own
state, and nothing that a relayer adds is covered by it.

Digests are those of contracts/src/PotSettlement.sol for the scheme "multisig"; for the scheme "safe" they are the
digests of Gnosis Safe 1.4.1 transactions that call contracts/src/PotBook.sol (`potchain.settlement.safe`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from potchain.codec import Canonical
from potchain.crypto import keccak256
from potchain.primitives import Address, Bytes32, Uint64, Uint256, uint
from potchain.settlement.abi import address_word, array, dynamic, type_hash, typed_digest, word

Scheme = Literal["multisig", "safe"]
SCHEMES: tuple[Scheme, ...] = ("multisig", "safe")

ActionKind = Literal["batch", "root", "rotate", "pause"]

ENTRIES_MAX = 500
"""Entries of one batch that the contract accepts."""
OWNERS_MAX = 255
"""Owners that the contract accepts."""

DOMAIN_NAME = "PotSettlement"
DOMAIN_VERSION = "1"

_DOMAIN = type_hash("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")
_BATCH = type_hash("RewardBatch(uint256 nonce,uint256 epoch,bytes32 entriesHash,uint256 total)")
_ROOT = type_hash("MerkleCommit(uint256 nonce,uint256 epoch,bytes32 root,uint256 total)")
_ROTATE = type_hash("RotateOwners(uint256 nonce,uint256 epoch,bytes32 ownersHash,uint256 threshold)")
_PAUSE = type_hash("SetPaused(uint256 nonce,uint256 epoch,bool paused)")


class Contract(Canonical, frozen=True):
    """The contract on Layer 2 that holds the money of this ledger."""

    scheme: str
    """"multisig" or "safe": which digests operators sign."""
    chain_id: Uint64
    address: Address
    """PotSettlement, or PotBook for the scheme "safe"."""
    safe: Address
    """The Safe that owns the book; the zero address for the scheme "multisig"."""
    safe_nonce: Uint64
    """The Safe's own nonce for action 0; 0 for the scheme "multisig"."""
    from_block: Uint64
    """Layer 2 block of the deployment: no event is looked for below it."""


class Owners(Canonical, frozen=True):
    """Who may sign actions of one epoch of the contract. Not an epoch of consensus."""

    epoch: Uint64
    owners: tuple[Address, ...]
    """Distinct, sorted."""
    threshold: Uint64


class Entry(Canonical, frozen=True):
    """One credit of a batch, or one increase of a cumulative root."""

    account: Address
    amount: Uint256


class Action(Canonical, frozen=True, kw_only=True):
    """One thing that the contract shall do. Members that a kind does not use have their defaults."""

    nonce: Uint64
    epoch: Uint64
    """Epoch of the contract whose owners sign."""
    kind: str
    """"batch", "root", "rotate" or "pause"."""
    height: Uint64
    """The block that made it; operators sign once that block is certified."""
    entries: tuple[Entry, ...] = ()
    """batch, root: what each account gets by it, sorted by account, each account once."""
    root: Bytes32 = bytes(32)
    """root: of the cumulative tree."""
    owners: tuple[Address, ...] = ()
    """rotate: the new owners, sorted."""
    threshold: Uint64 = 0
    """rotate: of the new owners."""
    paused: bool = False
    """pause."""

    @property
    def total(self) -> int:
        """Base units that it pays."""
        return sum(uint(entry.amount) for entry in self.entries)


def domain_separator(contract: Contract) -> bytes:
    """EIP-712 domain of PotSettlement at its address."""
    return keccak256(
        _DOMAIN
        + keccak256(DOMAIN_NAME.encode())
        + keccak256(DOMAIN_VERSION.encode())
        + word(contract.chain_id)
        + address_word(contract.address)
    )


def entries_hash(entries: Iterable[Entry]) -> bytes:
    """keccak256(abi.encode(address[],uint256[]))."""
    listed = tuple(entries)
    accounts = array([address_word(entry.account) for entry in listed])
    return keccak256(dynamic(accounts, array([entry.amount for entry in listed])))


def owners_hash(owners: Iterable[bytes]) -> bytes:
    """keccak256(abi.encode(address[]))."""
    return keccak256(dynamic(array([address_word(owner) for owner in owners])))


def multisig_digest(contract: Contract, action: Action) -> bytes:
    """The EIP-712 digest that PotSettlement checks for an action."""
    place = word(action.nonce) + word(action.epoch)
    if action.kind == "batch":
        struct = _BATCH + place + entries_hash(action.entries) + word(action.total)
    elif action.kind == "root":
        struct = _ROOT + place + action.root + word(action.total)
    elif action.kind == "rotate":
        struct = _ROTATE + place + owners_hash(action.owners) + word(action.threshold)
    else:
        struct = _PAUSE + place + word(int(action.paused))
    return typed_digest(domain_separator(contract), keccak256(struct))
