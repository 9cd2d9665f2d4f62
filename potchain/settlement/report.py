"""What a settler says of itself: values for the API, the command line and metrics. Data only."""

from __future__ import annotations

from typing import Literal

import msgspec

SettlerState = Literal["off", "observing", "idle", "working", "waiting"]
"""off: no back end, or no contract is bound; observing: no operator key, the chain is only watched; idle: nothing to
do; working: something is under way; waiting: something is to be done and a fault, or another, is in the way."""

ActionPhase = Literal[
    "uncertified", "collecting", "ordered", "turn", "blocked", "sending", "pending", "dropped", "reverted", "mined",
    "executed",
]  # fmt: skip
"""How far one action is, as this node sees it.

uncertified: the block that made it is not certified; collecting: signatures are missing; ordered: an earlier nonce
comes first; turn: another operator's turn to relay; blocked: `code` says why it is not sent; sending: prepared and
not seen by any endpoint yet; pending: in a pool; dropped: was sent and no endpoint has it, sent again; reverted: mined
and refused, prepared anew later; mined: this node's transaction executed it; executed: another's did. The last two
wait for confirmations and for the votes of observers."""


class SettlerFault(msgspec.Struct, frozen=True, kw_only=True):
    """What is in the way."""

    code: str
    """A key of `potchain.settlement.interface.FAULTS` or of `SETTLER_FAULTS`."""
    text: str
    since_ms: int
    """Unix ms, when it was first seen without a break."""


SETTLER_FAULTS: dict[str, str] = {
    "reorg_beyond_confirmations": "Layer 2 no longer has an event that the ledger has applied. Relayers send what "
    "they had executed once more; nothing else is relayed or voted until it is there again, or the node is started "
    "anew; pause the contract and decide by governance.",
    "digest_differs": "The digest that the ledger records for an action is not the one of its contents; not signed.",
    "ledger_behind": "The contract has executed actions that this node's ledger does not have yet.",
    "catching_up": "This node lacks blocks; it signs, votes and relays when it has them.",
    "too_few_validators": "Fewer than four validators tolerate no fault, and the chain has real value.",
    "submission": "The node's own pool refuses the settler's transactions.",
    "storage": "The intents in the vote database cannot be read or written; nothing is relayed.",
    "reverted": "The transaction was mined and refused.",
}
"""Codes of faults that the settler itself finds, with their meaning."""


class ActionReport(msgspec.Struct, frozen=True, kw_only=True):
    """One action that is not executed for the ledger yet."""

    nonce: int
    kind: str
    epoch: int
    """Of the contract."""
    total: int
    """Base units that it pays."""
    signatures: int
    threshold: int
    signed_here: bool
    """Whether this node's operator has signed it."""
    phase: ActionPhase
    attempts: int = 0
    """Transactions that this node has prepared for it and still follows."""
    transaction_hash: bytes = b""
    """Of the newest of them; empty when there is none."""
    account_nonce: int | None = None
    turn: bytes = b""
    """Operator whose turn it is to relay; empty when nobody's is."""
    code: str = ""
    text: str = ""
    """Why it is blocked, or was reverted."""
    retry_in_ms: int = 0
    """Time until the next try, when it is blocked."""


class SettlerReport(msgspec.Struct, frozen=True, kw_only=True):
    """The settler after its last tick."""

    state: SettlerState
    fault: SettlerFault | None = None
    head_number: int | None = None
    """Newest block of Layer 2 that the endpoints agree on; None before the first look."""
    head_time_s: int | None = None
    confirmed_number: int | None = None
    looked_ms: int | None = None
    """Unix ms of the last look that succeeded."""
    next_action: int = 0
    """Nonce that the ledger gives the next action."""
    next_nonce: int | None = None
    """Nonce that the contract executes next."""
    next_event: int = 0
    """Event nonce that the ledger applies next."""
    events_seen: int | None = None
    """Events that the contract has emitted."""
    funds: int | None = None
    """Base units in the contract that are not allocated."""
    paused: bool = False
    """The contract is paused."""
    under_way: int = 0
    """Own transactions of the ledger (signatures and votes) that wait for a block."""
    actions: tuple[ActionReport, ...] = ()
    notes: tuple[str, ...] = ()
    """Endpoints that the last look left out, and why."""
    reorgs: int = 0
    """Reorganisations of Layer 2 noticed since the start."""
    reorg_text: str = ""
    """The last of them."""

    @property
    def events_behind(self) -> int:
        """Events of Layer 2 that the ledger has not applied, unconfirmed ones included."""
        return max(0, (self.events_seen or 0) - self.next_event)
