"""What the HTTP handlers may ask of a running node. `node.py` hands implementations in; handlers know nothing else.

`NodePort` is the running node: its calls run on the event loop and return at once unless they are coroutines.
`HistoryPort` is the ledger on disk: its calls block, and run on the API's own threads, several at once.

A block is visible through `NodePort` only once it is durable and `HistoryPort` can read it by height. Rows that are
found by transaction id or by account may lag behind (`NodeStatus.history_height`): `NodePort.recently_included` and
`recent_history` answer for the blocks above, and forget a block only after its rows can be read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from potchain.application.interface import EventData, StateReader
from potchain.blocks import BlockCertificate, BlockHeader
from potchain.consensus.interface import EngineStatus
from potchain.genesis import Epoch, Genesis
from potchain.ledger.evidence import StoredEvidence
from potchain.ledger.settlement_reader import SettlementReader
from potchain.ledger.stored import BlockContents, Inclusion, StoredBlock
from potchain.links import LinkProfile, LinkSpec
from potchain.proofs import StateProof
from potchain.settlement import Contract
from potchain.settlement.report import SettlerReport
from potchain.transactions import Transaction, TransactionTypes
from potchain.transport import PeerStatus


class NodeStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Where this node is."""

    node_id: bytes
    name: str
    version: str
    engine: str
    engine_version: str
    height: int
    """Highest executed and durable block."""
    block_hash: bytes
    state_root: bytes
    block_time_ms: int
    certified_height: int
    """Every block up to here is final."""
    stable_height: int
    history_height: int
    """SQL history rows are complete up to here."""
    best_peer_height: int
    pool_count: int
    pool_bytes: int
    peers_connected: int
    peers_configured: int
    syncing: bool
    stalled: str | None
    """In words, what the node has been waiting for longer than the view timeout; None when all is well."""
    started_at_ms: int
    evidence: dict[str, int]
    """Pieces of evidence kept here, by the name of the accused member."""


class Wait(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that the node waits for."""

    kind: str
    """"standing" (it may not vote yet), "blocks" (it is behind), "view", "sequence", "proposal", "epoch" (it ends),
    "certificates", "disk" or "peers"."""
    text: str
    """A phrase that fits behind "waiting for"."""
    missing: tuple[str, ...] = ()
    """Names of the members that something is missing from."""
    sequence: int | None = None
    """Sequence or first height that it is about."""
    since_ms: int | None = None
    """How long it has waited, where that is known."""


class ConsensusStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The engine's own status and the host's around it."""

    engine: EngineStatus
    epoch: Epoch
    standing: str
    """"voting", "observer", or in words what keeps the node from voting."""
    stalled: str | None
    """As in NodeStatus."""
    waiting_for: str
    """The text of the first wait, or that there is none."""
    waits: tuple[Wait, ...]
    """Everything that is missing; what explains the rest comes first."""
    timers: tuple[tuple[str, int], ...]
    """Name and milliseconds until it fires, the next one first; the engine's begin with "engine:"."""
    block_votes_missing: dict[int, list[str]]
    """For executed heights without certificate: the members whose block vote is not held."""
    buffers: dict[str, int]


class SubmitOutcome(msgspec.Struct, frozen=True):
    """What became of one submitted transaction, in the order of submission."""

    id: bytes
    status: str
    """"accepted" (durable in the pool), "known" (pooled or executed already) or "refused"."""
    code: str
    detail: str


class AccountView(msgspec.Struct, frozen=True, kw_only=True):
    """An account as of the highest executed block."""

    height: int
    nonce: int
    next_nonce: int
    """The nonce to sign with next: the pool's contiguous run included."""
    balance: int


class PoolEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One pooled transaction."""

    transaction: Transaction
    ready: bool
    """False while an earlier nonce of its sender is missing."""
    age_ms: int


class PoolStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes and bounds of the pool."""

    count: int
    count_max: int
    bytes: int
    bytes_max: int
    ready: int
    senders: int


class PendingState(msgspec.Struct, frozen=True):
    """State of a transaction that is not in a block: "pool" or "dropped" with code and reason."""

    state: str
    code: str
    reason: str


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a client should know before it sends."""

    base_fee: int
    transaction_bytes_max: int
    memo_bytes_max: int
    nonce_gap_max: int
    sender_in_flight_max: int
    submit_batch_max: int
    batch_max: int


class LinkStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The network conditions that the node emulates."""

    profile: LinkProfile
    source: str
    """"links" (the node's [links]), "engine" (its options), "api" or "none"."""
    since_ms: int
    """When they were applied."""
    phase: int
    """Index of the phase that holds now."""
    control: bool
    """Whether other conditions are taken."""


class SettlementStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What this node does about settlement, beside what the ledger says."""

    backend: str
    """Name of the chosen back end."""
    operator: bytes | None
    """Account that signs and votes; None when this node has no operator key."""
    relay_account: bytes | None
    """Account that pays for gas; None when this node does not relay."""
    contract: Contract | None
    """The bound contract."""
    report: SettlerReport


class NodePort(Protocol):
    """A running node as the API sees it."""

    genesis: Genesis
    types: TransactionTypes
    event_types: dict[str, type[EventData]]

    def status(self) -> NodeStatus: ...

    def consensus(self) -> ConsensusStatus: ...

    def epoch(self) -> Epoch: ...

    def peers(self) -> tuple[PeerStatus, ...]: ...

    def limits(self) -> Limits: ...

    def links(self) -> LinkStatus: ...

    async def set_links(self, spec: LinkSpec) -> LinkStatus:
        """Emulate these conditions from now on. Raises LinkError for what makes no sense, or without leave."""
        ...

    def settlement(self) -> SettlementStatus: ...

    def state(self) -> StateReader:
        """The state after the highest executed block; read it without awaiting anything in between."""
        ...

    async def submit(self, transactions: Sequence[Transaction]) -> tuple[SubmitOutcome, ...]:
        """Verify, admit, make durable, gossip: one outcome each, in order. Signatures are checked here, off the loop.

        The same id may come twice with different signatures; a wrong signature must not refuse the right one.
        """
        ...

    def account(self, address: bytes) -> AccountView: ...

    async def state_proof(self, address: bytes) -> StateProof | None:
        """Proof of the account's record, or of its absence, under a certified state root; None while none is here."""
        ...

    def pool(self) -> PoolStatus: ...

    def pool_page(self, after: bytes | None, limit: int) -> tuple[PoolEntry, ...]:
        """Pooled transactions in id order, from behind `after`."""
        ...

    def pending(self, transaction_id: bytes) -> PendingState | None:
        """Pool or recently dropped; None when it is neither."""
        ...

    def pooled_transaction(self, transaction_id: bytes) -> Transaction | None: ...

    def recently_included(self, transaction_id: bytes) -> tuple[int, int] | None:
        """(height, index) of the newest non-skipped inclusion in blocks that SQL history has not reached yet."""
        ...

    def recent_history(self, address: bytes) -> tuple[tuple[int, int], ...]:
        """(height, index) of the address's inclusions in blocks that SQL history has not reached, newest first."""
        ...

    async def wait_transaction(self, transaction_id: bytes, *, certified: bool, timeout_s: float) -> bool:
        """Until it is executed (and its block's certificate is durable).

        False when the time ran out, or as soon as it is dropped.
        """
        ...

    async def wait_height(self, height: int, *, certified: bool, timeout_s: float) -> bool:
        """Until `NodeStatus.height` (`certified_height`) is at least `height`; False when the time ran out."""
        ...


class HistoryPort(Protocol):
    """The ledger on disk: what the API needs of `ledger.reader.LedgerReader`, which is one.

    Calls block; they run on threads and must be safe to use from several at once. LedgerError when the database
    cannot be read, or not in time.
    """

    @property
    def settlement(self) -> SettlementReader:
        """Payouts, actions and proposals, which never lag."""
        ...

    def header(self, height: int) -> BlockHeader | None:
        """The header at a height; None above the tip."""
        ...

    def block(self, height: int) -> StoredBlock | None:
        """The block at a height, with its certificates; None above the tip."""
        ...

    def block_by_hash(self, block_hash: bytes) -> StoredBlock | None:
        """The block of that hash, with its certificates."""
        ...

    def blocks_page(self, after: int | None, limit: int, *, ascending: bool = False) -> Sequence[StoredBlock]:
        """Blocks behind height `after` (None: from the end), newest first or ascending, at most `limit`."""
        ...

    def contents(self, height: int) -> BlockContents | None:
        """Bodies and receipts of a block; None above the tip."""
        ...

    def certificate(self, height: int) -> BlockCertificate | None:
        """The block certificate of a height; None while it is not here."""
        ...

    def epochs(self) -> Sequence[Epoch]:
        """All known epochs, by number."""
        ...

    def evidence_page(self, after: int, limit: int) -> Sequence[StoredEvidence]:
        """Evidence in the order in which it came here, from behind a number (0: from the first)."""
        ...

    def evidence(self, evidence_id: bytes) -> StoredEvidence | None:
        """The piece of that id."""
        ...

    def locate(self, transaction_id: bytes) -> tuple[int, int] | None:
        """(height, position) of the inclusion that executed, as far as the rows have come."""
        ...

    def inclusion(self, height: int, position: int) -> Inclusion | None:
        """The transaction at a place, with its receipt, from the block itself: never lags."""
        ...

    def account_history(
        self, address: bytes, before: tuple[int, int] | None = None, limit: int = 100
    ) -> Sequence[tuple[int, int]]:
        """(height, position) of inclusions that name an address, newest first, older than `before`."""
        ...
