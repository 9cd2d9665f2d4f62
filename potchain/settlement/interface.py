"""The contract between the settler and a settlement back end.

A back end *plans* (turns a ready action into a Layer 2 transaction), *signs* it with the relay key, *submits* and
*observes*. It holds no state that a crash may lose: what it prepares is made durable by the settler before it is
submitted, and everything else can be asked of the chain again. All calls are coroutines with a deadline of their own;
they raise `SettlementError` with one of `FAULTS` and nothing else.

The settler calls from one task, one call at a time.
"""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec

from potchain.crypto import SigningKey
from potchain.settlement.actions import Action, Contract
from potchain.settlement.events import Layer2Event

EVENTS_PER_CALL_MAX = 64
"""Events in one answer of `observe`."""

FAULTS: dict[str, str] = {
    "unreachable": "No endpoint answers, or too few to agree.",
    "disagreement": "Endpoints contradict each other about the same block.",
    "rubbish": "An endpoint's answer is no valid answer to the question.",
    "wrong_chain": "The endpoint serves another chain id than the bound one.",
    "wrong_contract": "There is no code, or other code, at the contract's address.",
    "owners_differ": "The contract's owners, threshold or epoch are not those of the ledger.",
    "lagging": "The endpoint's newest block is too old.",
    "empty_wallet": "The relay account cannot pay for gas.",
    "gas_too_dear": "The fee that the chain asks is above the configured cap.",
    "gas_too_much": "The call would need more gas than the configured cap or the block's limit.",
    "would_revert": "The contract refuses the call; the text names its error.",
    "underfunded": "The contract holds less unallocated money than the action pays.",
    "paused": "The contract is paused.",
    "refused": "An endpoint refuses the call; the text has its words.",
    "not_mined": "The transaction was sent, and no block had it within the time allowed; it may still be mined.",
    "safe_moved": "The Safe's nonce is not the bound one plus the contract's: it was used for something else.",
    "unsupported": "The bound contract's scheme has no such action.",
    "not_configured": "The node has no relay key, endpoint or contract.",
}
"""Codes of `SettlementError`, with their meaning; documented in the operator's guide."""


class ContractState(msgspec.Struct, frozen=True, kw_only=True):
    """The contract at the newest block that the endpoints agree on."""

    next_nonce: int
    next_event_nonce: int
    epoch: int
    threshold: int
    owners: tuple[bytes, ...]
    """Sorted."""
    deposited: int
    """Base units ever deposited."""
    allocated: int
    """Base units ever credited."""
    paused: bool


class ChainView(msgspec.Struct, frozen=True, kw_only=True):
    """One look at Layer 2."""

    chain_id: int
    head_number: int
    head_hash: bytes
    head_time_s: int
    confirmed_number: int
    """Highest block that is deep enough; below the deployment's when none is."""
    contract: ContractState
    events: tuple[Layer2Event, ...]
    """Confirmed events from the asked nonce on, in order, without a gap; at most EVENTS_PER_CALL_MAX."""
    notes: tuple[str, ...] = ()
    """What the operator should know though the look succeeded: endpoints left out, and why."""


class ReadyAction(msgspec.Struct, frozen=True, kw_only=True):
    """An action with enough signatures."""

    action: Action
    digest: bytes
    signatures: tuple[tuple[bytes, bytes], ...]
    """(owner, 65-byte signature), sorted by owner, exactly as many as the threshold."""


class Prepared(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """A signed Layer 2 transaction that has not necessarily been sent."""

    action_nonce: int
    attempt: int
    """0, and one more for every replacement with a higher fee."""
    account: bytes
    """The relay account."""
    account_nonce: int
    transaction_hash: bytes
    raw: bytes
    """What `submit` sends; opaque to the settler."""
    fee_per_gas_wei: int
    prepared_ms: int
    """Wall clock, Unix ms, from the settler."""


RelayPhase = Literal["unknown", "pending", "mined", "reverted", "replaced"]
"""unknown: no endpoint has it; pending: in a pool; mined: executed, maybe not deep enough; reverted: mined and refused;
replaced: another transaction of the account took its nonce."""


class RelayState(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a prepared transaction."""

    phase: RelayPhase
    confirmations: int = 0
    detail: str = ""
    """For "reverted": the contract's error."""


class BackendContext(msgspec.Struct, frozen=True, kw_only=True):
    """What the node gives a back end."""

    contract: Contract
    relay_key: SigningKey | None
    """Pays for gas; without it the back end only observes."""
    confirmations: int
    """Blocks above an event before it counts; 0: the head itself."""


class SettlementBackend(Protocol):
    """A running back end for one bound contract."""

    relay_ahead: int
    """Actions in a row that may be under way at once. 1: `prepare` can only do the contract's next one; more: it gives
    the account nonce after those that wait in pools."""

    async def open(self) -> None:
        """Check chain id and code. May be called again after it raised."""
        ...

    async def close(self) -> None:
        """End every connection; never raises."""
        ...

    async def observe(self, next_event_nonce: int) -> ChainView:
        """The chain now, with confirmed events from that nonce on. Endpoints must agree.

        Asked for an earlier nonce than before it may have to search the chain again.
        """
        ...

    async def stands(self, event: Layer2Event) -> bool:
        """Whether the block of an event that was confirmed is still part of the chain. Cheap."""
        ...

    async def prepare(self, ready: ReadyAction, now_ms: int, replaces: Prepared | None = None) -> Prepared:
        """Plan and sign the transaction that executes an action; nothing is sent.

        With `replaces`: the same account nonce at a fee that pools accept as a replacement. Raises `would_revert`,
        `underfunded`, `paused`, `empty_wallet`, `gas_too_dear`, `gas_too_much`.
        """
        ...

    async def submit(self, prepared: Prepared) -> None:
        """Send it to every endpoint; one that knows it already is fine. Raises when none took it."""
        ...

    async def follow(self, prepared: Prepared) -> RelayState:
        """What became of it."""
        ...


class SettlementBackendFactory(Protocol):
    """What a plug-in offers through the hook `settlement_backends`."""

    name: str
    version: str
    scheme: str
    """Which contracts it serves: "multisig" or "safe"; empty for one that needs none."""
    options_type: type[msgspec.Struct]
    """Decoded once from the table [settlement.<name>] of the node's configuration."""

    def create(self, options: msgspec.Struct, context: BackendContext) -> SettlementBackend:
        """A back end that is not open yet. Raises SettlementError(`not_configured`)."""
        ...
