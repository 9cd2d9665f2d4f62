"""The shape of every answer of the API, as Structs; `rendering` fills them and the OpenAPI document is made from them.

Rules: amounts are decimal strings of base units, addresses EIP-55, hashes and other bytes 0x-hex, times Unix ms with a
name that ends in `_ms`, heights and counts numbers. A member is always present; what does not apply is null.
A member is never renamed or removed within /v1.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

Hex = Annotated[str, Meta(pattern="^0x([0-9a-f]{2})*$", description="Bytes, 0x-hex.")]
Hash = Annotated[str, Meta(pattern="^0x[0-9a-f]{64}$", description="32 bytes, 0x-hex.")]
Account = Annotated[str, Meta(pattern="^0x[0-9a-fA-F]{40}$", description="Ethereum address, EIP-55.")]
NodeName = Annotated[str, Meta(pattern="^0x[0-9a-f]{40}$", description="Node id: address of the consensus key.")]
Amount = Annotated[str, Meta(pattern="^[0-9]+$", description="Base units, decimal.")]
Members = Annotated[dict[str, Any], Meta(description="Members under their EIP-712 names, in order.")]


class Payload(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all answers."""


class PeerCounts(Payload, frozen=True):
    connected: int
    configured: int


class PoolCounts(Payload, frozen=True):
    count: int
    bytes: int


class StatusPayload(Payload, frozen=True):
    """Where this node is."""

    chain_id: str
    genesis_hash: Hash
    node_id: NodeName
    name: str
    version: str
    engine: str
    engine_version: str
    height: int
    block_hash: Hash
    state_root: Hash
    block_time_ms: int
    certified_height: int
    """Every block up to here is final."""
    stable_height: int
    history_height: int
    """Rows by transaction and account are complete up to here; above, answers come from recent blocks."""
    best_peer_height: int
    syncing: bool
    stalled: str | None
    """In words, what the node waits for longer than it should; null when all is well."""
    peers: PeerCounts
    pool: PoolCounts
    started_at_ms: int


class DomainPayload(Payload, frozen=True):
    """The EIP-712 domain."""

    name: str
    version: str
    salt: Hash


class TypeMember(Payload, frozen=True):
    """One member of an EIP-712 type."""

    name: str
    type: str


class LimitsPayload(Payload, frozen=True):
    base_fee: Amount
    transaction_bytes_max: int
    memo_bytes_max: int
    nonce_gap_max: int
    sender_in_flight_max: int
    submit_batch_max: int
    """Transactions in one array."""
    batch_max: int
    """Transactions in one block."""
    body_bytes_max: int
    """Bytes in one request body."""
    wait_s_max: int
    """Longest `timeout` and `wait`."""


class ChainPayload(Payload, frozen=True):
    """All that a wallet library needs in order to sign."""

    chain_id: str
    genesis_hash: Hash
    domain: DomainPayload
    types: dict[str, dict[str, list[TypeMember]]]
    """Kind to the `types` object of its EIP-712 typed data; the kind is the primary type."""
    limits: LimitsPayload


class SubmittedPayload(Payload, frozen=True):
    """Answer to one transaction: it is durable in this node's pool, or was known."""

    id: Hash
    status: str
    """"accepted" or "known"."""


class BatchEntryPayload(Payload, frozen=True, omit_defaults=True):
    """What became of one transaction of an array."""

    id: Hash | None
    """Null when it could not be read."""
    status: str
    """"accepted", "known" or "refused"."""
    code: str
    """A code of the table of problems when refused, else empty."""
    detail: str | None = None
    """Left out unless refused."""


class PlacePayload(Payload, frozen=True):
    """The block that holds a transaction."""

    height: int
    hash: Hash
    block_time_ms: int


class ReceiptPayload(Payload, frozen=True):
    status: str
    """"ok" or "failed"; a failed one has paid its fee."""
    code: str | None
    fee: Amount


class EventPayload(Payload, frozen=True):
    kind: str
    fields: Members | None
    """Null when this node does not know the kind."""
    data: Hex
    """Canonical bytes, as they are under the events root."""


class TransactionPayload(Payload, frozen=True):
    """A transaction and what became of it."""

    id: Hash
    state: str
    """"pool", "executed" or "dropped"."""
    certified: bool
    """Final: the block's certificate is held."""
    kind: str | None
    message: Members | None
    signature: Hex | None
    """Kind, message and signature are null for a dropped transaction that the node no longer holds."""
    block: PlacePayload | None
    index: int | None
    receipt: ReceiptPayload | None
    events: list[EventPayload]
    code: str | None
    """Why it was dropped."""
    reason: str | None
    """The same in words."""


class DecidedPayload(TransactionPayload, frozen=True):
    """Answer of `POST /v1/transactions?wait=...`."""

    proof: dict[str, Any] | None
    """The document of /v1/transactions/{id}/proof; null with `wait=decided`."""


class BlockPayload(Payload, frozen=True):
    """A block's hashed header."""

    height: int
    hash: Hash
    parent_hash: Hash
    epoch: int
    digest: Hash
    """Digest of the decided proposal."""
    proposer: NodeName | None
    """Null for a null request and the genesis block."""
    block_time_ms: int
    tx_count: int
    tx_root: Hash
    receipts_root: Hash
    events_root: Hash
    state_root: Hash
    next_epoch: Hash | None
    certified: bool


class ListedBlockPayload(BlockPayload, frozen=True, omit_defaults=True):
    transaction_ids: list[Hash] | None = None
    """Only with `ids=true`."""


class OrderCertificatePayload(Payload, frozen=True):
    engine: str
    version: int
    data: Hex
    """In the engine's own form."""


class BlockSignaturePayload(Payload, frozen=True):
    node_id: NodeName
    name: str
    """The member's name in the current epoch, else its id."""
    signature: Hex


class BlockCertificatePayload(Payload, frozen=True):
    epoch: int
    signatures: list[BlockSignaturePayload]


class FullBlockPayload(BlockPayload, frozen=True):
    """A block with its certificates and transaction ids."""

    transaction_ids: list[Hash]
    order_certificate: OrderCertificatePayload | None
    block_certificate: BlockCertificatePayload | None


class BlocksPayload(Payload, frozen=True):
    """A page of blocks."""

    blocks: list[ListedBlockPayload]
    next: int | None
    """`before` or `after` of the next page; null when there is none."""


class AccountPayload(Payload, frozen=True):
    address: Account
    balance: Amount
    nonce: int
    next_nonce: int
    """The nonce to sign with next, the pool's included."""
    height: int
    """The executed block this is true of."""


class HistoryEntryPayload(Payload, frozen=True):
    id: Hash
    height: int
    index: int
    block_time_ms: int
    kind: str
    sender: Account
    nonce: int
    status: str
    """"ok", "failed" (fee taken) or "skipped" (nothing happened; it may be included again)."""
    code: str | None
    certified: bool


class HistoryPayload(Payload, frozen=True):
    """A page of an account's transactions, newest first."""

    address: Account
    transactions: list[HistoryEntryPayload]
    next: str | None
    """`cursor` of the next page."""


class ValidatorPayload(Payload, frozen=True):
    name: str
    node_id: NodeName
    node_key: Hash
    consensus_key: Hex
    operator: Account


class ValidatorsPayload(Payload, frozen=True):
    """The current epoch."""

    epoch: int
    first_sequence: int
    quorum: int
    faults_max: int
    validators: list[ValidatorPayload]
    parameters: dict[str, int]


class PooledPayload(Payload, frozen=True):
    id: Hash
    kind: str
    sender: Account
    nonce: int
    fee: Amount
    valid_until_ms: int | None
    bytes: int
    ready: bool
    """False while an earlier nonce of its sender is missing."""
    age_ms: int


class PoolPayload(Payload, frozen=True):
    """Sizes of the pool and a page of it, in order of id."""

    count: int
    count_max: int
    bytes: int
    bytes_max: int
    ready: int
    senders: int
    transactions: list[PooledPayload]
    next: str | None
    """`cursor` of the next page."""


class MemberPayload(Payload, frozen=True):
    node_id: NodeName
    name: str


class SlotPayload(Payload, frozen=True):
    """A sequence in flight: whose votes are held and missing, by message kind."""

    sequence: int
    phase: str
    digest: Hash | None
    held: dict[str, list[str]]
    missing: dict[str, list[str]]


class MissingVotesPayload(Payload, frozen=True):
    height: int
    missing: list[str]


class ConsensusPayload(Payload, frozen=True):
    """Why the chain does or does not move."""

    epoch: int
    view: int
    primary: MemberPayload
    mode: str
    low_water_mark: int
    high_water_mark: int
    last_decided: int
    in_flight: list[SlotPayload]
    waiting_for: str
    next_timer: str | None
    next_timer_in_ms: int | None
    block_votes_missing: list[MissingVotesPayload]
    buffers: dict[str, int]
    """Sizes of the host's buffers."""
    engine_buffers: dict[str, int]


class PeerPayload(Payload, frozen=True):
    node_id: NodeName
    name: str
    address: str
    connected: bool
    frames_in: int
    frames_out: int
    bytes_in: int
    bytes_out: int
    frames_dropped: int
    queued_bytes: int


class PeersPayload(Payload, frozen=True):
    peers: list[PeerPayload]


class HealthPayload(Payload, frozen=True):
    status: str
    """"ok"."""


class ReadyPayload(Payload, frozen=True):
    ready: bool
    height: int
    certified_height: int
