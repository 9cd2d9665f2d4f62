"""What happens on Layer 2, as observers bring it back: the contract's events with a gapless event nonce."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from potchain.codec import Canonical
from potchain.primitives import Address, Bytes32, Uint64, Uint256


class DepositSeen(Canonical, frozen=True):
    """Deposit(eventNonce, account, amount)."""

    account: Address
    amount: Uint256


class BatchSeen(Canonical, frozen=True):
    """BatchExecuted(eventNonce, nonce, total, relayer)."""

    nonce: Uint64
    total: Uint256
    relayer: Address


class RootSeen(Canonical, frozen=True):
    """RootCommitted(eventNonce, nonce, root, total, relayer)."""

    nonce: Uint64
    root: Bytes32
    total: Uint256
    relayer: Address


class RotationSeen(Canonical, frozen=True):
    """OwnersRotated(eventNonce, nonce, epoch, ownersHash, threshold)."""

    nonce: Uint64
    epoch: Uint64
    owners_hash: Bytes32
    threshold: Uint64


class PauseSeen(Canonical, frozen=True):
    """PauseSet(eventNonce, nonce, paused)."""

    nonce: Uint64
    paused: bool


EVENT_TYPES: Mapping[str, type[Canonical]] = {
    "deposit": DepositSeen,
    "batch": BatchSeen,
    "root": RootSeen,
    "rotate": RotationSeen,
    "pause": PauseSeen,
}
"""Payload type of each kind of Layer 2 event."""

PAYLOAD_BYTES_MAX = 256
"""Canonical bytes of the longest payload fit easily."""


class Layer2Event(msgspec.Struct, frozen=True, kw_only=True):
    """One event, deep enough below the head of its chain."""

    event_nonce: int
    kind: str
    """A key of `EVENT_TYPES`."""
    payload: bytes
    """Canonical bytes of the kind's type."""
    block_number: int
    block_hash: bytes
    transaction_hash: bytes
    log_index: int
