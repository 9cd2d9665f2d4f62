"""What consensus orders, what every node derives from it, and the certificates of both.

A *proposal* is ordered; it holds neither the view nor a parent, so its digest survives a view change and several can be
in flight. A *block* is a decided proposal plus what execution made of it; it is built at execution and never voted on
before. Certificates are never inside the hashed block: different quorums may certify the same one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec
from coincurve import PublicKey

from potchain import merkle
from potchain.codec import Canonical, encode
from potchain.crypto import digest_of, verify_vote
from potchain.errors import InvalidProof
from potchain.primitives import Bytes32, Digest, Height, NodeId, Signature64, Uint64, Uint256, uint256

PROPOSAL_TAG = b"potchain.proposal.1"
NULL_TAG = b"potchain.null.1"
BLOCK_TAG = b"potchain.block.1"
VOTE_TAG = "potchain.vote.1"
BLOCK_VOTE = "block-vote"
"""Message type of the replica's own vote on an executed block; the same for every engine."""


class ProposalHeader(Canonical, frozen=True):
    """The hashed part of a proposal."""

    genesis_hash: Bytes32
    epoch: Uint64
    sequence: Uint64
    timestamp_ms: Uint64
    """The proposer's clock, Unix ms; voters check it against their own only while the proposal is fresh."""
    proposer: bytes
    """NodeId of the primary that built it; empty for a null request."""
    tx_root: Bytes32
    """RFC 6962 root over the transaction ids."""
    tx_count: Uint64


class Proposal(Canonical, frozen=True):
    """Header and the ids it commits to. Bodies travel by themselves."""

    header: ProposalHeader
    transaction_ids: tuple[Bytes32, ...]


def build_proposal(
    genesis_hash: bytes, epoch: int, sequence: int, timestamp_ms: int, proposer: NodeId, ids: Iterable[bytes]
) -> Proposal:
    """A proposal of these transactions, in this order."""
    listed = tuple(ids)
    header = ProposalHeader(
        genesis_hash=genesis_hash,
        epoch=epoch,
        sequence=sequence,
        timestamp_ms=timestamp_ms,
        proposer=proposer,
        tx_root=merkle.root(listed),
        tx_count=len(listed),
    )
    return Proposal(header=header, transaction_ids=listed)


def null_request(genesis_hash: bytes, epoch: int, sequence: int) -> Proposal:
    """What fills a gap after a view change (OSDI'99 section 4.4): nothing, from nobody."""
    return build_proposal(genesis_hash, epoch, sequence, 0, NodeId(b""), ())


def proposal_digest(header: ProposalHeader) -> Digest:
    """The digest that consensus votes on. A null request's covers only its place."""
    if not header.proposer:
        place = header.epoch.to_bytes(8, "big") + header.sequence.to_bytes(8, "big")
        return digest_of(NULL_TAG, header.genesis_hash + place)
    return digest_of(PROPOSAL_TAG, encode(header))


def proposal_fault(proposal: Proposal) -> str | None:
    """Why the digest of this header would not commit to these ids and fields; None when it does.

    Whoever takes a proposal from a peer because of its digest asks this first: the digest covers the header, the header
    the ids only through `tx_root`, and a null request's digest covers nothing but its place.
    """
    header = proposal.header
    if not header.proposer:
        expected = null_request(header.genesis_hash, header.epoch, header.sequence)
        return None if proposal == expected else "a null request with anything in it"
    if header.tx_count != len(proposal.transaction_ids):
        return f"{len(proposal.transaction_ids)} ids, the header counts {header.tx_count}"
    if header.tx_root != merkle.root(proposal.transaction_ids):
        return "its ids are not those under tx_root"
    return None


class OrderCertificate(Canonical, frozen=True):
    """Proof that a digest was decided at a sequence; opaque here, checked by the engine plug-in's `verify`."""

    engine: str
    version: Uint64
    data: bytes


class VoteSubject(Canonical, frozen=True):
    """What a validator's signature covers. `tag` comes first and separates votes from all else that is signed."""

    tag: str
    genesis_hash: Bytes32
    epoch: Uint64
    kind: str
    """Message type, such as "prepare" or "block-vote"."""
    view: Uint64
    sequence: Uint64
    digest: Bytes32
    sender: bytes


def vote_bytes(
    genesis_hash: bytes, epoch: int, kind: str, view: int, sequence: int, digest: bytes, sender: bytes
) -> bytes:
    """The bytes a validator signs for one vote."""
    return encode(VoteSubject(VOTE_TAG, genesis_hash, epoch, kind, view, sequence, digest, sender))


class BlockHeader(Canonical, frozen=True):
    """The hashed part of a block: the same at every correct node."""

    genesis_hash: Bytes32
    epoch: Uint64
    """Epoch whose validators decided it."""
    height: Uint64
    parent_hash: Bytes32
    """Block hash of height - 1; the genesis block's parent is 32 zero bytes."""
    digest: Bytes32
    """Digest of the decided proposal."""
    proposer: bytes
    block_time_ms: Uint64
    """max(proposal timestamp, parent's block time + 1): the only time an application sees."""
    tx_root: Bytes32
    tx_count: Uint64
    receipts_root: Bytes32
    events_root: Bytes32
    state_root: Bytes32
    """Root of the state after executing this block."""
    next_epoch: bytes
    """Empty, or the 32-byte digest of the epoch that follows this block."""


def block_hash(header: BlockHeader) -> Digest:
    """The hash that block votes and child blocks name."""
    return digest_of(BLOCK_TAG, encode(header))


class BlockSignature(Canonical, frozen=True):
    """One validator's signature on a block vote."""

    sender: bytes
    signature: Signature64


class BlockCertificate(Canonical, frozen=True):
    """A quorum of signatures over (genesis hash, epoch, height, block hash): proves results and state."""

    epoch: Uint64
    height: Uint64
    block_hash: Bytes32
    signatures: tuple[BlockSignature, ...]
    """Distinct members, sorted by sender, exactly as many as were needed."""


def verify_block_certificate(
    certificate: BlockCertificate, genesis_hash: bytes, keys: Mapping[NodeId, PublicKey], quorum: int
) -> None:
    """Check signers and signatures against one epoch's members. Raises InvalidProof with the reason."""
    senders = [entry.sender for entry in certificate.signatures]
    if len(senders) < quorum:
        raise InvalidProof(f"block certificate has {len(senders)} signatures, needs {quorum}")
    if senders != sorted(set(senders)):
        raise InvalidProof("block certificate's signers are not distinct and sorted")
    for entry in certificate.signatures:
        key = keys.get(NodeId(entry.sender))
        if key is None:
            raise InvalidProof(f"0x{entry.sender.hex()} is no member of epoch {certificate.epoch}")
        message = vote_bytes(
            genesis_hash, certificate.epoch, BLOCK_VOTE, 0, certificate.height, certificate.block_hash, entry.sender
        )
        if not verify_vote(key, message, entry.signature):
            raise InvalidProof(f"bad block signature by 0x{entry.sender.hex()} at height {certificate.height}")


class Event(Canonical, frozen=True):
    """Something that happened, in the application's own type `kind` and canonical bytes `data`."""

    kind: str
    data: bytes


OK: Literal["ok"] = "ok"
FAILED: Literal["failed"] = "failed"
SKIPPED: Literal["skipped"] = "skipped"


class Receipt(Canonical, frozen=True):
    """What one inclusion did. Keyed (height, index): a transaction may be included again after a skip."""

    transaction_id: Bytes32
    index: Uint64
    status: Literal["ok", "failed", "skipped"]
    code: str
    """Empty when ok; else the stable code of the failure or of the skip."""
    fee: Uint256
    """What was taken; zero when skipped."""
    events: tuple[Event, ...] = ()


def skipped_receipt(transaction_id: bytes, index: int, code: str) -> Receipt:
    """The receipt of an inclusion that changed nothing and paid nothing."""
    return Receipt(transaction_id, index, SKIPPED, code, uint256(0))


class StateChange(Canonical, frozen=True):
    """One record after a block; `value` None means that it was removed."""

    key: bytes
    value: bytes | None


class ExecutedBlock(msgspec.Struct, frozen=True):
    """A block with everything that came of it: the unit of the decide transaction."""

    header: BlockHeader
    hash: Digest
    proposal: Proposal
    bodies: tuple[bytes, ...]
    """Canonical signed transactions, in the proposal's order."""
    receipts: tuple[Receipt, ...]
    end_events: tuple[Event, ...]
    """Events of the end of the block, of no transaction."""
    changes: tuple[StateChange, ...]
    """Sorted by key."""
    order_certificate: OrderCertificate
    next_epoch: bytes = b""
    """Canonical bytes of the epoch that the header names, when this block is the last of its own."""

    @property
    def height(self) -> Height:
        """Equal to the sequence that decided it."""
        return Height(self.header.height)


class Receipts(Canonical, frozen=True):
    """A block's receipts and end events as one stored blob."""

    receipts: tuple[Receipt, ...]
    end_events: tuple[Event, ...]


class StateChanges(Canonical, frozen=True):
    """A block's state diff as one stored blob."""

    changes: tuple[StateChange, ...]


class Bodies(Canonical, frozen=True):
    """Signed transactions as one stored blob."""

    raw: tuple[bytes, ...]


def receipts_root(receipts: Iterable[Receipt]) -> bytes:
    """RFC 6962 root over the canonical receipts."""
    return merkle.root([encode(receipt) for receipt in receipts])


def event_leaves(receipts: Iterable[Receipt], end_events: Iterable[Event]) -> list[bytes]:
    """Leaves of the events tree: every transaction's events in order, then the block's own."""
    leaves = [encode(event) for receipt in receipts for event in receipt.events]
    leaves.extend(encode(event) for event in end_events)
    return leaves


class SyncBlock(Canonical, frozen=True):
    """All that a node which was away needs of one height: it re-executes, and never imports results."""

    proposal: Proposal
    bodies: tuple[bytes, ...]
    order_certificate: OrderCertificate
    block_certificate: BlockCertificate | None


class EpochLink(Canonical, frozen=True):
    """The end of one epoch and the canonical bytes of the next."""

    header: BlockHeader
    certificate: BlockCertificate
    next_epoch: bytes


class TransactionProof(Canonical, frozen=True):
    """Proof that a transaction took its place, what came of it, and that a quorum certified it.

    Checked offline against the genesis file by `potchain.proofs`.
    """

    header: BlockHeader
    certificate: BlockCertificate
    transaction: bytes
    """Canonical signed transaction."""
    index: Uint64
    transaction_branch: tuple[Bytes32, ...]
    receipt: Receipt
    receipt_branch: tuple[Bytes32, ...]
    epochs: tuple[EpochLink, ...]
    """For each epoch after 0 up to the block's: the boundary header, its certificate and the epoch it names."""
