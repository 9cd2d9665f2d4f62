"""Transaction kinds and events of settlement."""

from __future__ import annotations

from potchain.application.interface import EventData
from potchain.primitives import Address, Bytes, Bytes32, Text, Uint64, Uint256
from potchain.transactions import TransactionBody


class Withdraw(TransactionBody, frozen=True):
    """Moves an amount from the sender's balance to a payout to the same address on Layer 2."""

    amount: Uint256
    """Base units; at least `Terms.minimum_withdrawal`."""


class SignBatch(TransactionBody, frozen=True):
    """Duty of an owner: the signature that Layer 2 asks for. For every kind of action, whatever the name says."""

    action_nonce: Uint64
    signature: Bytes
    """65 bytes over the action's digest, low-s, v 27 or 28."""


class ObserveL2(TransactionBody, frozen=True):
    """Duty of an operator: one event of the bound contract, deep enough below the head of its chain."""

    event_nonce: Uint64
    kind: Text
    """A key of `potchain.settlement.events.EVENT_TYPES`."""
    payload: Bytes
    """Canonical bytes of the kind's type."""
    block_number: Uint64
    block_hash: Bytes32
    transaction_hash: Bytes32
    log_index: Uint64


class PayoutCreated(EventData, frozen=True):
    """The ledger owes something on Layer 2."""

    id: Uint64
    kind: Text
    reference: Bytes32
    account: Address
    amount: Uint256


class ActionFormed(EventData, frozen=True):
    """There is something for Layer 2 to do, and for owners to sign."""

    nonce: Uint64
    kind: Text
    """"batch", "root", "rotate" or "pause"."""
    epoch: Uint64
    """Of the contract, whose owners sign."""
    digest: Bytes32
    first_payout: Uint64
    """Payouts first_payout to last_payout are paid by it, when the kind is batch or root."""
    last_payout: Uint64
    total: Uint256


class ActionSigned(EventData, frozen=True):
    """An action has as many signatures as the contract asks for."""

    nonce: Uint64


class ActionExecuted(EventData, frozen=True):
    """The contract executed an action."""

    nonce: Uint64
    transaction_hash: Bytes32
    """On Layer 2."""
    block_number: Uint64
    """On Layer 2."""


class Layer2Applied(EventData, frozen=True):
    """A quorum of operators saw this event of the contract, and what it means was done."""

    event_nonce: Uint64
    kind: Text
    transaction_hash: Bytes32
    """On Layer 2."""


class Layer2Mismatch(EventData, frozen=True):
    """An event does not fit the ledger. It is counted and does nothing; no batch is formed until governance acts."""

    event_nonce: Uint64
    nonce: Uint64
    """Of the action that the contract says it executed; 0 for a deposit."""
    reason: Text


class DepositCredited(EventData, frozen=True):
    """Money came from Layer 2."""

    account: Address
    amount: Uint256


class RelayPaid(EventData, frozen=True):
    """The treasury paid who relayed an action."""

    nonce: Uint64
    relayer: Address
    amount: Uint256


class ContractBound(EventData, frozen=True):
    """The ledger settles through this contract from now on."""

    binding: Uint64
    """1 for the first contract, and so on; action nonces and event nonces begin at 0 with each number."""
    scheme: Text
    chain_id: Uint64
    contract: Address
    safe: Address
    safe_nonce: Uint64
    from_block: Uint64
    epoch: Uint64
    """Epoch of the contract that its owners sign in."""
    owners_hash: Bytes32
    """keccak256(abi.encode(address[]))."""
    threshold: Uint64


SETTLEMENT_BODIES: tuple[type[TransactionBody], ...] = (Withdraw, SignBatch, ObserveL2)
SETTLEMENT_EVENTS: tuple[type[EventData], ...] = (
    PayoutCreated, ActionFormed, ActionSigned, ActionExecuted, Layer2Applied, Layer2Mismatch, DepositCredited,
    RelayPaid, ContractBound,
)  # fmt: skip
