"""The shape of the answers about settlement and governance. The rules of `payloads` hold here too."""

from __future__ import annotations

from potchain.api.payloads import Account, Amount, Hash, Hex, Members, Payload


class ContractPayload(Payload, frozen=True):
    """The contract on Layer 2."""

    binding: int
    """1 for the first contract that the ledger was bound to."""
    scheme: str
    """"multisig" or "safe"."""
    chain_id: int
    address: Account
    safe: Account | None
    """The Safe that owns it, with the scheme "safe"."""
    from_block: int


class PersonPayload(Payload, frozen=True):
    """An owner or operator."""

    address: Account
    name: str | None
    """Of the validator whose operator it is; null when it is none's."""


class OwnersPayload(Payload, frozen=True):
    """Who may sign in one epoch of the contract."""

    epoch: int
    threshold: int
    owners: list[PersonPayload]


class TermsPayload(Payload, frozen=True):
    """How the ledger settles; `GovSetParameter` with the key settlement.NAME changes them."""

    batch_max: int
    root_min: int
    root_entries_max: int
    root_accounts_max: int
    open_max: int
    observe_ahead: int
    minimum_withdrawal: Amount
    relay_fee: Amount


class SumPayload(Payload, frozen=True):
    """How many, and how much."""

    count: int
    total: Amount


class PayoutSumsPayload(Payload, frozen=True):
    """All payouts by status."""

    pending: SumPayload
    """No action has them yet."""
    batched: SumPayload
    """In an action that is not executed."""
    paid: SumPayload


class FaultPayload(Payload, frozen=True):
    """What is in the settler's way."""

    code: str
    text: str
    meaning: str
    remedy: str
    """What to do."""
    since_ms: int | None


class RelayPayload(Payload, frozen=True):
    """What this node does about one open action."""

    phase: str
    phase_text: str
    """The phase in words."""
    signed_here: bool
    attempts: int
    """Layer 2 transactions that this node has prepared for it and still follows."""
    transaction_hash: Hash | None
    account_nonce: int | None
    turn: PersonPayload | None
    """Whose turn it is to relay."""
    fault: FaultPayload | None
    retry_in_ms: int | None


class SettlerPayload(Payload, frozen=True):
    """What this node's settler says of itself and of Layer 2."""

    backend: str
    operator: Account | None
    """Account that signs and votes here."""
    relay_account: Account | None
    """Account that pays for gas here."""
    state: str
    """"off", "observing", "idle", "working" or "waiting"."""
    fault: FaultPayload | None
    head_number: int | None
    head_time_s: int | None
    """Unix seconds, as Layer 2 has it."""
    confirmed_number: int | None
    looked_ms: int | None
    next_nonce: int | None
    """Nonce that the contract executes next."""
    events_seen: int | None
    """Events that the contract has emitted."""
    events_behind: int
    """Of these, not applied by the ledger."""
    funds: Amount | None
    """In the contract and not allocated."""
    contract_paused: bool
    under_way: int
    """Own signatures and votes that wait for a block."""
    notes: list[str]
    """Endpoints that the last look left out, and why; and what else an operator should know."""
    reorgs: int
    """Reorganisations of Layer 2 since the start."""
    reorg_text: str | None


class ActionPayload(Payload, frozen=True):
    """Something that the ledger wants done on Layer 2."""

    binding: int
    nonce: int
    kind: str
    """"batch", "root", "rotate" or "pause"."""
    status: str
    """"open" (owners sign it), "signed" (it may be relayed) or "executed"."""
    epoch: int
    """Of the contract, whose owners sign."""
    digest: Hash
    first_payout: int | None
    last_payout: int | None
    """The payouts from the first to the last are paid by it; null for one that pays nobody."""
    payouts: int
    total: Amount
    formed_height: int
    formed_ms: int | None
    """Block time; null for a block of the network before a recovery."""
    signed_height: int | None
    executed_height: int | None
    """The block that knows it to be executed."""
    transaction_hash: Hash | None
    block_number: int | None
    """The Layer 2 transaction and block that executed it."""


class OpenActionPayload(ActionPayload, frozen=True):
    """An action with its signatures and what this node does about it."""

    threshold: int | None
    """Signatures that it needs; null when it is executed."""
    signers: list[PersonPayload]
    missing: list[PersonPayload]
    """Owners who have not signed, while it needs signatures."""
    relay: RelayPayload | None
    text: list[str]
    """All of this in sentences."""


class EntryPayload(Payload, frozen=True):
    """What one account gets."""

    account: Account
    amount: Amount


class ActionDetailPayload(OpenActionPayload, frozen=True):
    """One action with all that it says."""

    entries: list[EntryPayload] | None
    """What a batch or root pays, while it is not executed; afterwards see the payouts."""
    root: Hash | None
    """Of the cumulative tree, for a root."""
    new_owners: OwnersPayload | None
    """For a rotation."""
    paused: bool | None
    """For a pause."""
    event_nonce: int | None
    """Number of the contract's event that says so, when it is executed."""


class ActionsPayload(Payload, frozen=True):
    """A page of actions, newest first."""

    actions: list[ActionPayload]
    next: str | None
    """`cursor` of the next page."""


class SettlementPayload(Payload, frozen=True):
    """Where settlement stands."""

    height: int
    """The executed block that this is true of."""
    contract: ContractPayload | None
    """Null while no contract is bound: withdrawals are refused, and what is owed stays on the books."""
    owners: list[OwnersPayload]
    """Of every epoch of the contract that has or may get actions to sign, oldest first."""
    terms: TermsPayload
    paused: bool
    """Governance decided to form no batch."""
    halted: bool
    """The contract did what it was not asked for; nothing is formed until governance goes on."""
    next_action: int
    next_executed: int
    next_event: int
    """Nonces: of the next action, of the oldest that is not executed, of the event to be applied next."""
    credited: Amount
    """All deposits."""
    withdrawable: Amount
    """Deposits into the bound contract that nobody is owed: the most that a `Withdraw` can be now."""
    uncovered: Amount
    """What is owed beyond the deposits into the bound contract; it waits for deposits."""
    payouts: PayoutSumsPayload
    actions: list[OpenActionPayload]
    """Those that are not executed, by nonce."""
    settler: SettlerPayload


class PayoutPayload(Payload, frozen=True):
    """Something that the ledger owes, or owed, on Layer 2."""

    id: int
    status: str
    """"pending", "batched" or "paid"."""
    kind: str
    reference: Hex
    """For a withdrawal the id of its transaction."""
    account: Account
    amount: Amount
    height: int
    block_time_ms: int | None
    action: int | None
    """Nonce of the action that pays it."""
    executed_height: int | None
    transaction_hash: Hash | None
    """The Layer 2 transaction that paid it."""


class PayoutsPayload(Payload, frozen=True):
    """A page of payouts, newest first."""

    payouts: list[PayoutPayload]
    next: str | None
    """`cursor` of the next page."""


class ClaimPayload(Payload, frozen=True):
    """Arguments of the contract's `claim`: all that roots promised an account, with the branch to the executed root."""

    account: Account
    cumulative: Amount
    proof: list[Hash]
    root: Hash
    """`committedRoot()` of the contract, unless a newer one was executed that the ledger does not know yet."""
    contract: Account
    chain_id: int


class ProposalPayload(Payload, frozen=True):
    """Something that operators vote on, or voted on."""

    id: Hash
    """Of the transaction that proposed it."""
    kind: str
    message: Members | None
    """What is proposed; null when the transaction is not at hand here."""
    status: str
    """"open", "applied" or "rejected"."""
    outcome: str | None
    """Why it was rejected: "votes", "expired", or the code that stood against it."""
    height: int
    decided_height: int | None
    proposer: PersonPayload | None
    yes: list[PersonPayload]
    no: list[PersonPayload]
    missing: list[PersonPayload]
    """Operators who have not voted. All four are those of an open proposal."""
    quorum: int
    """Votes that it needs."""
    expires_ms: int | None
    """Block time after which it is rejected."""


class ProposalsPayload(Payload, frozen=True):
    """A page of proposals, newest first."""

    proposals: list[ProposalPayload]
    next: str | None
    """`cursor` of the next page."""
