"""What lies in a row of `blocks`, and what the reader hands out.

A stored block is six canonical blobs and a few columns repeated from its header for queries. `checksum` covers the
blobs, signature bytes included, so that damage is found at start without checking signatures.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TypeVar

import msgspec

from potchain.blocks import (
    BlockCertificate,
    BlockHeader,
    Bodies,
    ExecutedBlock,
    OrderCertificate,
    Proposal,
    Receipt,
    Receipts,
    StateChange,
    StateChanges,
    block_hash,
)
from potchain.codec import Canonical, decode, encode
from potchain.errors import CodecError, LedgerCorrupt
from potchain.primitives import Digest, Height

S = TypeVar("S", bound=Canonical)


class StoredBlock(msgspec.Struct, frozen=True, kw_only=True):
    """A block without its bodies, receipts and changes."""

    header: BlockHeader
    hash: Digest
    proposal: Proposal | None
    """None for the genesis block, which nobody proposed."""
    order_certificate: OrderCertificate | None
    """None for the genesis block."""
    block_certificate: BlockCertificate | None
    """None while no quorum's signatures are here."""

    @property
    def height(self) -> Height:
        """Place in the chain; 0 is genesis."""
        return Height(self.header.height)

    @property
    def transaction_ids(self) -> tuple[bytes, ...]:
        """Ids of its inclusions, in order."""
        return self.proposal.transaction_ids if self.proposal else ()


class BlockContents(msgspec.Struct, frozen=True, kw_only=True):
    """The bulk of a block: what was included and what came of it."""

    header: BlockHeader
    transaction_ids: tuple[bytes, ...]
    bodies: tuple[bytes, ...]
    receipts: Receipts


class Inclusion(msgspec.Struct, frozen=True, kw_only=True):
    """One transaction in its place."""

    header: BlockHeader
    hash: Digest
    position: int
    transaction_id: bytes
    raw: bytes
    """Canonical signed transaction."""
    receipt: Receipt
    certified: bool
    """Whether the block's certificate is here: the result is final and provable."""


class BlockBlobs(msgspec.Struct, frozen=True):
    """The six blobs of a block row, in the order the checksum covers them."""

    header: bytes
    order_certificate: bytes
    proposal: bytes
    bodies: bytes
    receipts: bytes
    changes: bytes

    def checksum(self) -> bytes:
        """sha256 over the blobs, each under its length."""
        state = sha256()
        for blob in (
            self.header, self.order_certificate, self.proposal, self.bodies, self.receipts, self.changes,
        ):  # fmt: skip
            state.update(len(blob).to_bytes(8, "big"))
            state.update(blob)
        return state.digest()


BlockRow = tuple[int, bytes, bytes, int, int, bytes, int, int, bytes, bytes, bytes, bytes, bytes, bytes, bytes]
"""Values of `schema.blocks`, in column order."""


def row_of(block: ExecutedBlock, total_before: int) -> BlockRow:
    """The row of a block; `total_before` counts the inclusions of all earlier ones."""
    blobs = BlockBlobs(
        header=encode(block.header),
        order_certificate=encode(block.order_certificate),
        proposal=encode(block.proposal),
        bodies=encode(Bodies(block.bodies)),
        receipts=encode(Receipts(block.receipts, block.end_events)),
        changes=encode(StateChanges(block.changes)),
    )
    return _row(block.header, block.hash, total_before, blobs)


def genesis_row(header: BlockHeader, changes: tuple[StateChange, ...]) -> BlockRow:
    """The row of height 0: no proposal, no certificate; its changes are the initial state."""
    blobs = BlockBlobs(
        header=encode(header),
        order_certificate=b"",
        proposal=b"",
        bodies=encode(Bodies(())),
        receipts=encode(Receipts((), ())),
        changes=encode(StateChanges(changes)),
    )
    return _row(header, block_hash(header), 0, blobs)


def _row(header: BlockHeader, hash_: Digest, total_before: int, blobs: BlockBlobs) -> BlockRow:
    return (
        header.height,
        hash_,
        header.digest,
        header.epoch,
        header.block_time_ms,
        header.proposer,
        header.tx_count,
        total_before + header.tx_count,
        blobs.checksum(),
        blobs.header,
        blobs.order_certificate,
        blobs.proposal,
        blobs.bodies,
        blobs.receipts,
        blobs.changes,
    )


def certificate_checksum(data: bytes) -> bytes:
    """Checksum of a block certificate's row."""
    return sha256(data).digest()


def decode_stored(kind: type[S], data: bytes, height: int) -> S:
    """A structure out of a row. Raises LedgerCorrupt, naming the height, when it is not canonical."""
    try:
        return decode(kind, data)
    except CodecError as fault:
        raise LedgerCorrupt(height, str(fault)) from None
