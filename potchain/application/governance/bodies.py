"""Transaction kinds and events of governance: one kind per thing that can be decided, and the vote."""

from __future__ import annotations

from potchain.application.interface import EventData
from potchain.primitives import Address, Bytes, Bytes32, Text, Uint64, Uint256
from potchain.transactions import TransactionBody


class GovBindContract(TransactionBody, frozen=True):
    """Settle through this contract, whose action and event nonces are 0; or move on with the Safe that owns it."""

    scheme: Text
    """"multisig" or "safe"."""
    chain_id: Uint64
    contract: Address
    safe: Address
    """The Safe that owns the contract; the zero address for the scheme "multisig"."""
    safe_nonce: Uint64
    """The Safe's own nonce for the next action: what it is now. 0 for the scheme "multisig"."""
    from_block: Uint64
    """Layer 2 block of the deployment."""
    owners: Bytes
    """Addresses of 20 bytes, sorted, each once: the contract's owners as they are."""
    threshold: Uint64
    """How many of them must sign."""


class GovSetParameter(TransactionBody, frozen=True):
    """Change a parameter of the network, or of settlement."""

    key: Text
    """A name of genesis `Parameters`, or settlement.<name> with a name of `Terms`."""
    value: Uint256


class GovRotateOwners(TransactionBody, frozen=True):
    """Ask the contract for these owners."""

    owners: Bytes
    """Addresses of 20 bytes, sorted, each once."""
    threshold: Uint64


class GovPause(TransactionBody, frozen=True):
    """Stop settlement, here and on the contract, or go on."""

    paused: Uint64
    """1 to stop, 0 to go on."""


class GovVote(TransactionBody, frozen=True):
    """One operator's vote; the proposer's own yes is in the proposal."""

    proposal: Bytes32
    """Id of the transaction that proposes."""
    approve: Uint64
    """1 for yes, 0 for no."""


class GovProposed(EventData, frozen=True):
    """There is something to vote on."""

    proposal: Bytes32
    kind: Text
    """Of the transaction, which says what is proposed."""


class GovVoted(EventData, frozen=True):
    """An operator said yes (1) or no (0)."""

    proposal: Bytes32
    operator: Address
    approve: Uint64


class GovApplied(EventData, frozen=True):
    """A quorum said yes, and it is done."""

    proposal: Bytes32


class GovRejected(EventData, frozen=True):
    """It will not be done."""

    proposal: Bytes32
    reason: Text
    """"votes" (no quorum can say yes any more), "expired", or the code that stood against it when it was accepted."""


GOVERNANCE_BODIES: tuple[type[TransactionBody], ...] = (
    GovBindContract, GovSetParameter, GovRotateOwners, GovPause, GovVote,
)  # fmt: skip
GOVERNANCE_EVENTS: tuple[type[EventData], ...] = (GovProposed, GovVoted, GovApplied, GovRejected)
