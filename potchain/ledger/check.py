"""The check at start: nothing a node stored is believed before it has been recomputed.

For every height, genesis included: the checksum of the row, the header's hash, its link to the parent, the columns
repeated from it, the roots of ids, receipts and events, the proposal's digest and the certificates' subjects; and the
state root, by replaying the stored changes over a state that the caller gives and may keep. Signatures are not checked
here and nothing is executed again; `verify` does both. The first height that does not hold is raised as LedgerCorrupt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, Protocol

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Row

from potchain import merkle
from potchain.blocks import (
    BlockCertificate,
    BlockHeader,
    Bodies,
    OrderCertificate,
    Proposal,
    StateChange,
    StateChanges,
    block_hash,
    proposal_digest,
)
from potchain.errors import LedgerCorrupt, LedgerError
from potchain.genesis import Epoch, Genesis, epoch_digest
from potchain.ledger import schema
from potchain.ledger.reader import LedgerReader
from potchain.ledger.stored import BlockBlobs, certificate_checksum, decode_stored
from potchain.primitives import Digest

ROWS_AT_ONCE = 32
"""Block rows fetched together; bounds memory."""

Progress = Callable[[int, int], None]
"""Told (height, tip) after each block."""


class StateReplay(Protocol):
    """An authenticated state, empty at first: `potchain.application.state.AuthenticatedState` is one."""

    def apply(self, changes: Sequence[StateChange], /) -> bytes:
        """Make these changes; the new root."""
        ...


class CheckedBlock(msgspec.Struct, frozen=True, kw_only=True):
    """A block whose stored bytes agree with one another."""

    header: BlockHeader
    hash: Digest
    proposal: Proposal | None
    """None for the genesis block."""
    bodies: tuple[bytes, ...]
    order_certificate: OrderCertificate | None
    """None for the genesis block."""
    block_certificate: BlockCertificate | None
    changes: tuple[StateChange, ...]


class ChainSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What a check went through."""

    height: int
    hash: Digest
    state_root: bytes
    transactions: int
    certificates: int
    """Block certificates found; the newest blocks may lack theirs."""


def check_chain(
    reader: LedgerReader,
    genesis: Genesis,
    genesis_header: BlockHeader,
    state: StateReplay,
    progress: Progress | None = None,
) -> ChainSummary:
    """Check every block and leave `state` as it is after the highest one.

    `genesis_header` is what the genesis file and the rules give. Raises LedgerCorrupt naming the first bad height, and
    LedgerError when the ledger is empty or another network's.
    """
    certificates = 0
    last: CheckedBlock | None = None
    tip = reader.tip().height
    for block in checked_blocks(reader, genesis, genesis_header):
        check_state(block, state)
        certificates += block.block_certificate is not None
        last = block
        if progress is not None:
            progress(block.header.height, tip)
    if last is None or last.header.height != tip:
        missing = genesis.height if last is None else last.header.height + 1
        raise LedgerCorrupt(missing, f"no block; the highest is {tip}")
    return ChainSummary(
        height=tip,
        hash=last.hash,
        state_root=last.header.state_root,
        transactions=reader.tip().tx_total,
        certificates=certificates,
    )


def check_state(block: CheckedBlock, state: StateReplay) -> None:
    """Replay a block's changes and compare the state root. Raises LedgerCorrupt."""
    keys = [change.key for change in block.changes]
    if any(not earlier < later for earlier, later in pairwise(keys)):
        raise LedgerCorrupt(block.header.height, "state changes are not sorted by distinct keys")
    found = state.apply(block.changes)
    _expect(block.header.height, "state root after the stored changes", found, block.header.state_root)


def checked_blocks(reader: LedgerReader, genesis: Genesis, genesis_header: BlockHeader) -> Iterator[CheckedBlock]:
    """Every block from genesis on, each compared with itself and its parent. Raises LedgerCorrupt."""
    stored = reader.genesis_hash()
    if stored is not None and stored != genesis.hash:
        raise LedgerError(
            f"{reader.database.place} belongs to the network with genesis 0x{stored.hex()}, not to "
            f"0x{genesis.hash.hex()}"
        )
    epochs = {epoch.number: epoch for epoch in reader.epochs()}
    first = genesis.first_epoch
    if epochs.get(first.number) != first:
        raise LedgerCorrupt(genesis.height, f"the stored epoch {first.number} is not the genesis file's")
    height, parent, total, epoch = genesis.height, genesis.parent_hash, 0, first.number
    before: CheckedBlock | None = None
    for row in _rows(reader):
        if row.height != height:
            raise LedgerCorrupt(height, f"no block; the next one stored is {row.height}")
        block = _checked(row, genesis, genesis_header)
        header = block.header
        _expect(height, "parent hash", header.parent_hash, parent)
        total += header.tx_count
        _expect(height, "tx_total", row.tx_total, total)
        _expect(height, "epoch", header.epoch, epoch)
        if before is not None and before.header.epoch != epoch and before.block_certificate is None:
            raise LedgerCorrupt(height - 1, f"epoch {epoch} began, but the block before it has no certificate")
        epoch = _following_epoch(header, epochs)
        yield block
        before = block
        height, parent = height + 1, block.hash


def _rows(reader: LedgerReader) -> Iterator[Row[Any]]:
    blocks, certificates = schema.blocks, schema.block_certificates
    query = (
        sa.select(blocks, certificates.c.data.label("certificate"), certificates.c.checksum.label("certificate_sum"))
        .select_from(blocks.outerjoin(certificates, certificates.c.height == blocks.c.height))
        .order_by(blocks.c.height)
        .limit(ROWS_AT_ONCE)
    )
    after = -1
    while True:
        with reader.database.read(None) as connection:
            rows = connection.execute(query.where(blocks.c.height > after)).all()
        if not rows:
            return
        yield from rows
        after = rows[-1].height


def _checked(row: Row[Any], genesis: Genesis, genesis_header: BlockHeader) -> CheckedBlock:
    height: int = row.height
    blobs = BlockBlobs(row.header, row.order_certificate, row.proposal, row.bodies, row.receipts, row.changes)
    _expect(height, "checksum of the stored bytes", blobs.checksum(), row.checksum)
    header = decode_stored(BlockHeader, row.header, height)
    hash_ = block_hash(header)
    _expect(height, "block hash", hash_, row.hash)
    _expect(height, "genesis hash", header.genesis_hash, genesis.hash)
    for name in ("height", "digest", "epoch", "block_time_ms", "proposer", "tx_count"):
        _expect(height, name, getattr(row, name), getattr(header, name))
    _check_results(height, header, row.receipts)
    bodies = decode_stored(Bodies, row.bodies, height).raw
    _expect(height, "count of bodies", len(bodies), header.tx_count)
    return CheckedBlock(
        header=header,
        hash=hash_,
        proposal=_checked_proposal(row, header, genesis_header),
        bodies=bodies,
        order_certificate=(
            decode_stored(OrderCertificate, row.order_certificate, height) if height > genesis_header.height else None
        ),
        block_certificate=_checked_certificate(row, header, hash_),
        changes=decode_stored(StateChanges, row.changes, height).changes,
    )


def _checked_proposal(row: Row[Any], header: BlockHeader, genesis_header: BlockHeader) -> Proposal | None:
    height = header.height
    if height == genesis_header.height:
        if header != genesis_header:
            raise LedgerCorrupt(height, "the stored genesis block is not the one that the genesis file and rules give")
        _expect(height, "proposal and order certificate", row.proposal + row.order_certificate, b"")
        return None
    proposal = decode_stored(Proposal, row.proposal, height)
    head = proposal.header
    _expect(height, "digest of the proposal", proposal_digest(head), header.digest)
    _expect(height, "sequence of the proposal", head.sequence, height)
    for name in ("genesis_hash", "epoch", "proposer", "tx_root", "tx_count"):
        _expect(height, f"{name} of the proposal", getattr(head, name), getattr(header, name))
    _expect(height, "root of the transaction ids", merkle.root(proposal.transaction_ids), header.tx_root)
    _expect(height, "count of transaction ids", len(proposal.transaction_ids), header.tx_count)
    return proposal


def _checked_certificate(row: Row[Any], header: BlockHeader, hash_: Digest) -> BlockCertificate | None:
    height = header.height
    if row.certificate is None:
        return None
    _expect(height, "checksum of the block certificate", certificate_checksum(row.certificate), row.certificate_sum)
    certificate = decode_stored(BlockCertificate, row.certificate, height)
    _expect(height, "height in the block certificate", certificate.height, height)
    _expect(height, "epoch in the block certificate", certificate.epoch, header.epoch)
    _expect(height, "hash in the block certificate", certificate.block_hash, hash_)
    return certificate


class _RawReceipt(msgspec.Struct, array_like=True, frozen=True, gc=False):
    transaction_id: bytes
    index: int
    status: str
    code: str
    fee: bytes
    events: list[msgspec.Raw]


class _RawReceipts(msgspec.Struct, array_like=True, frozen=True):
    receipts: list[msgspec.Raw]
    end_events: list[msgspec.Raw]


_decode_receipts = msgspec.msgpack.Decoder(_RawReceipts).decode
_decode_receipt = msgspec.msgpack.Decoder(_RawReceipt).decode


def _check_results(height: int, header: BlockHeader, blob: bytes) -> None:
    # The leaves are slices of the blob: hashing what lies there, instead of decoding and encoding it again.
    try:
        outer = _decode_receipts(blob)
        receipts = [_decode_receipt(raw) for raw in outer.receipts]
    except (msgspec.MsgspecError, UnicodeDecodeError) as fault:
        raise LedgerCorrupt(height, f"receipts: {fault}") from None
    _expect(height, "count of receipts", len(receipts), header.tx_count)
    _expect(height, "root of the receipts", merkle.root([bytes(raw) for raw in outer.receipts]), header.receipts_root)
    events = [bytes(event) for receipt in receipts for event in receipt.events]
    events.extend(bytes(event) for event in outer.end_events)
    _expect(height, "root of the events", merkle.root(events), header.events_root)


def _following_epoch(header: BlockHeader, epochs: dict[int, Epoch]) -> int:
    if not header.next_epoch:
        return header.epoch
    following = epochs.get(header.epoch + 1)
    ends = following is not None and following.first_sequence == header.height + 1
    if following is None or not ends or epoch_digest(following) != header.next_epoch:
        raise LedgerCorrupt(header.height, f"the epoch that it names, {header.epoch + 1}, is missing or another")
    return header.epoch + 1


def _expect(height: int, what: str, found: object, expected: object) -> None:
    if found != expected:
        raise LedgerCorrupt(height, f"{what} is {_shown(found)}, expected {_shown(expected)}")


def _shown(value: object) -> str:
    return "0x" + value.hex() if isinstance(value, bytes) else repr(value)
