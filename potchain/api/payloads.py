"""The shape of every answer of the API, as Structs; `rendering` fills them and the OpenAPI document is made from them.

Here are the answers about transactions, blocks and accounts; those about the node are in `node_payloads`.

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
    """What the transaction did."""

    status: str
    """"ok" or "failed"; a failed one has paid its fee."""
    code: str | None
    fee: Amount


class EventPayload(Payload, frozen=True):
    """Something that happened, in its application's own members."""

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
    """A block in a list."""

    transaction_ids: list[Hash] | None = None
    """Only with `ids=true`."""


class OrderCertificatePayload(Payload, frozen=True):
    """Proof that the proposal was decided."""

    engine: str
    version: int
    data: Hex
    """In the engine's own form."""


class BlockSignaturePayload(Payload, frozen=True):
    """One validator's signature on the block hash."""

    node_id: NodeName
    name: str
    """The member's name in the current epoch, else its id."""
    signature: Hex


class BlockCertificatePayload(Payload, frozen=True):
    """A quorum of signatures: proves results and state."""

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
    """An account after the highest executed block."""

    address: Account
    balance: Amount
    nonce: int
    next_nonce: int
    """The nonce to sign with next, the pool's included."""
    height: int
    """The executed block this is true of."""


class HistoryEntryPayload(Payload, frozen=True):
    """One line of an account's history."""

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
