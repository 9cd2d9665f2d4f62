"""Answers from the ledger: blocks, certificates, inclusions, histories, and what catch-up needs.

Safe on any thread. Every call is one snapshot with a deadline: a query that takes longer raises LedgerError, and no
call returns less than it was asked for. Pages are keyset pages: ask for what comes behind the last row you saw. Blocks
never change, so the last few decoded ones are kept; certificates, which arrive later, are not.

`locate` and `account_history` read projections, which may lag; callers ask the recent blocks too (NodePort).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from potchain.blocks import (
    BlockCertificate,
    BlockHeader,
    Bodies,
    OrderCertificate,
    Proposal,
    Receipts,
    StateChange,
    StateChanges,
    SyncBlock,
)
from potchain.errors import LedgerError
from potchain.genesis import Epoch
from potchain.ledger import schema
from potchain.ledger.database import READ_DEADLINE_NS, Database
from potchain.ledger.evidence import StoredEvidence, evidence_by_id, evidence_page, stored_evidence
from potchain.ledger.history import id_prefix
from potchain.ledger.settlement_reader import SettlementReader
from potchain.ledger.stored import BlockContents, Inclusion, StoredBlock, decode_stored
from potchain.primitives import Digest

PAGE_MAX = 1_000
"""Most rows of one page."""
CONTENTS_CACHED = 16
"""Blocks whose bodies and receipts are kept decoded; a waiting client asks for its block's many receipts at once."""

_b = schema.blocks.c
_c = schema.block_certificates.c
_JOINED = schema.blocks.outerjoin(schema.block_certificates, _c.height == _b.height)
_HEAD = (_b.height, _b.hash, _b.header, _b.order_certificate, _b.proposal, _c.data.label("certificate"))


class Tip(msgspec.Struct, frozen=True):
    """The highest durable block."""

    header: BlockHeader
    hash: Digest
    tx_total: int
    """Inclusions from genesis to here."""

    @property
    def height(self) -> int:
        """Its height."""
        return self.header.height


class LedgerReader:
    """Reads one ledger database."""

    def __init__(self, database: Database, deadline_ns: int = READ_DEADLINE_NS) -> None:
        self.database = database
        self.settlement = SettlementReader(database, deadline_ns)
        self._deadline_ns = deadline_ns
        self._contents = lru_cache(CONTENTS_CACHED)(self._read_contents)
        self._genesis_height: int | None = None

    # --- the chain --------------------------------------------------------------------------------------------------

    def is_made(self) -> bool:
        """Whether the database has a ledger's tables."""
        with self.database.read(self._deadline_ns) as connection:
            return sa.inspect(connection).has_table(schema.chain.name)

    def genesis_hash(self) -> Digest | None:
        """Which network this ledger belongs to; None when it is empty."""
        found = self._scalar(sa.select(schema.chain.c.genesis_hash))
        return None if found is None else Digest(bytes(found))

    def genesis_height(self) -> int:
        """Height of the genesis block: 0, or where a recovered network goes on. 0 while the ledger is empty."""
        if self._genesis_height is None:
            self._genesis_height = self._scalar(sa.select(sa.func.min(_b.height)))
        return self._genesis_height or 0

    def tip(self) -> Tip:
        """The highest block. Raises LedgerError when the ledger is empty."""
        query = sa.select(_b.height, _b.hash, _b.header, _b.tx_total).order_by(_b.height.desc()).limit(1)
        found = self._rows(query)
        if not found:
            raise LedgerError(f"{self.database.place} holds no genesis block; start the node once, or initialise it")
        row = found[0]
        header = decode_stored(BlockHeader, bytes(row.header), row.height)
        return Tip(header, Digest(bytes(row.hash)), row.tx_total)

    def header(self, height: int) -> BlockHeader | None:
        """The header at a height; None above the tip."""
        found = self._scalar(sa.select(_b.header).where(_b.height == height))
        return None if found is None else decode_stored(BlockHeader, bytes(found), height)

    def block(self, height: int) -> StoredBlock | None:
        """The block at a height, with its certificates; None above the tip."""
        rows = self._rows(sa.select(*_HEAD).select_from(_JOINED).where(_b.height == height))
        return _stored_block(rows[0]) if rows else None

    def block_by_hash(self, block_hash: bytes) -> StoredBlock | None:
        """The block of that hash, with its certificates."""
        rows = self._rows(sa.select(*_HEAD).select_from(_JOINED).where(_b.hash == block_hash))
        return _stored_block(rows[0]) if rows else None

    def blocks_page(self, after: int | None, limit: int, *, ascending: bool = False) -> tuple[StoredBlock, ...]:
        """Blocks behind height `after` (None: from the end), newest first or ascending, at most `limit`."""
        query = sa.select(*_HEAD).select_from(_JOINED).limit(_page(limit))
        if ascending:
            query = query.order_by(_b.height)
            query = query if after is None else query.where(_b.height > after)
        else:
            query = query.order_by(_b.height.desc())
            query = query if after is None else query.where(_b.height < after)
        return tuple(_stored_block(row) for row in self._rows(query))

    def contents(self, height: int) -> BlockContents | None:
        """Bodies and receipts of a block, decoded; None above the tip."""
        try:
            return self._contents(height)
        except KeyError:
            return None

    def bodies(self, height: int) -> tuple[bytes, ...] | None:
        """Canonical signed transactions of a block, in order; None above the tip."""
        found = self._scalar(sa.select(_b.bodies).where(_b.height == height))
        return None if found is None else decode_stored(Bodies, bytes(found), height).raw

    def changes(self, height: int) -> tuple[StateChange, ...] | None:
        """State records that a block changed, sorted by key; of height 0, the initial state. None above the tip."""
        found = self._scalar(sa.select(_b.changes).where(_b.height == height))
        return None if found is None else decode_stored(StateChanges, bytes(found), height).changes

    def epochs(self) -> tuple[Epoch, ...]:
        """All known epochs, by number."""
        table = schema.epochs.c
        rows = self._rows(sa.select(table.first_sequence, table.data).order_by(table.number))
        return tuple(decode_stored(Epoch, bytes(row.data), max(0, row.first_sequence - 1)) for row in rows)

    # --- certificates -----------------------------------------------------------------------------------------------

    def certificate(self, height: int) -> BlockCertificate | None:
        """The block certificate of a height; None while it is not here."""
        found = self._scalar(sa.select(_c.data).where(_c.height == height))
        return None if found is None else decode_stored(BlockCertificate, bytes(found), height)

    def heights_without_certificate(self, after: int, limit: int = PAGE_MAX) -> tuple[int, ...]:
        """Heights above `after`, and above genesis, whose certificate is not here, ascending."""
        query = (
            sa.select(_b.height)
            .select_from(_JOINED)
            .where(_b.height > max(self.genesis_height(), after), _c.height.is_(None))
            .order_by(_b.height)
            .limit(_page(limit))
        )
        return tuple(row.height for row in self._rows(query))

    def certified_height(self) -> int:
        """Every block up to here has its certificate: they are final."""
        missing = self.heights_without_certificate(0, 1)
        return missing[0] - 1 if missing else self.tip().height

    def highest_certificate(self) -> BlockCertificate | None:
        """The block certificate of the highest height that has one, whether or not all below have."""
        found = self._rows(sa.select(_c.height, _c.data).order_by(_c.height.desc()).limit(1))
        return decode_stored(BlockCertificate, bytes(found[0].data), found[0].height) if found else None

    def stable_height(self, checkpoint_interval: int) -> int:
        """Highest height divisible by `checkpoint_interval` whose certificate is here; 0 is genesis."""
        found = self._scalar(sa.select(sa.func.max(_c.height)).where(_c.height % checkpoint_interval == 0))
        return int(found or 0)

    # --- transactions -----------------------------------------------------------------------------------------------

    def locate(self, transaction_id: bytes) -> tuple[int, int] | None:
        """(height, position) of the inclusion that executed, as far as the projection has come."""
        index, row = schema.transaction_ids.c, schema.transactions.c
        query = (
            sa.select(index.height, index.position)
            .join_from(
                schema.transaction_ids,
                schema.transactions,
                sa.and_(row.height == index.height, row.position == index.position),
            )
            .where(index.id_prefix == id_prefix(transaction_id), row.id == transaction_id)
            .order_by(index.height.desc(), index.position.desc())
            .limit(1)
        )
        rows = self._rows(query)
        return (rows[0].height, rows[0].position) if rows else None

    def inclusion(self, height: int, position: int) -> Inclusion | None:
        """The transaction at a place, with its receipt; None when there is no such place."""
        contents = self.contents(height)
        if contents is None or not 0 <= position < len(contents.bodies):
            return None
        rows = self._rows(
            sa.select(_b.hash, _c.height.label("certified")).select_from(_JOINED).where(_b.height == height)
        )
        return Inclusion(
            header=contents.header,
            hash=Digest(bytes(rows[0].hash)),
            position=position,
            transaction_id=contents.transaction_ids[position],
            raw=contents.bodies[position],
            receipt=contents.receipts.receipts[position],
            certified=rows[0].certified is not None,
        )

    def account_history(
        self, address: bytes, before: tuple[int, int] | None = None, limit: int = 100
    ) -> tuple[tuple[int, int], ...]:
        """(height, position) of executed inclusions that name an address, newest first, older than `before`."""
        table = schema.account_transactions.c
        query = sa.select(table.height, table.position).where(table.address == address)
        if before is not None:
            height, position = before
            query = query.where(
                sa.or_(table.height < height, sa.and_(table.height == height, table.position < position))
            )
        query = query.order_by(table.height.desc(), table.position.desc()).limit(_page(limit))
        return tuple((row.height, row.position) for row in self._rows(query))

    # --- evidence ---------------------------------------------------------------------------------------------------

    def evidence_page(self, after: int, limit: int) -> tuple[StoredEvidence, ...]:
        """Evidence in the order in which it came here, from behind a number (0: from the first)."""
        return tuple(stored_evidence(row) for row in self._rows(evidence_page(after, _page(limit))))

    def evidence(self, evidence_id: bytes) -> StoredEvidence | None:
        """The piece of that id."""
        rows = self._rows(evidence_by_id(evidence_id))
        return stored_evidence(rows[0]) if rows else None

    # --- catch-up ---------------------------------------------------------------------------------------------------

    def sync_blocks(self, from_height: int, count_max: int, bytes_max: int) -> list[SyncBlock]:
        """Consecutive blocks from a height for a node that was away; one at least, if it exists, whatever its size."""
        query: sa.Select[Any] = sa.select(*_HEAD, _b.bodies).select_from(_JOINED)
        found: list[SyncBlock] = []
        size, genesis = 0, self.genesis_height()
        with self.database.read(self._deadline_ns) as connection:
            first = max(genesis + 1, from_height)  # genesis is not synchronised: everyone has it
            for height in range(first, first + _page(count_max)):
                row = connection.execute(query.where(_b.height == height)).one_or_none()
                if row is None:
                    break
                size += len(row.proposal) + len(row.order_certificate) + len(row.bodies) + len(row.certificate or b"")
                if found and size > bytes_max:
                    break
                found.append(_sync_block(row))
        return found

    # --- private ----------------------------------------------------------------------------------------------------

    def _read_contents(self, height: int) -> BlockContents:
        query = sa.select(_b.header, _b.proposal, _b.bodies, _b.receipts).where(_b.height == height)
        rows = self._rows(query)
        if not rows:
            raise KeyError(height)
        row = rows[0]
        return decode_contents(height, row)

    def _rows(self, query: sa.Select[Any]) -> Sequence[Row[Any]]:
        with self.database.read(self._deadline_ns) as connection:
            return connection.execute(query).all()

    def _scalar(self, query: sa.Select[Any]) -> Any:  # noqa: ANN401 - a column's value, typed by the caller
        with self.database.read(self._deadline_ns) as connection:
            return connection.execute(query).scalar_one_or_none()


def decode_contents(height: int, row: Row[Any]) -> BlockContents:
    """Bodies and receipts from a row with header, proposal, bodies and receipts."""
    proposal = bytes(row.proposal)
    return BlockContents(
        header=decode_stored(BlockHeader, bytes(row.header), height),
        transaction_ids=decode_stored(Proposal, proposal, height).transaction_ids if proposal else (),
        bodies=decode_stored(Bodies, bytes(row.bodies), height).raw,
        receipts=decode_stored(Receipts, bytes(row.receipts), height),
    )


def read_changes(connection: Connection, after: int, limit: int) -> list[tuple[int, tuple[StateChange, ...]]]:
    """(height, changes) of blocks above `after`, ascending, on an open snapshot."""
    query = sa.select(_b.height, _b.changes).where(_b.height > after).order_by(_b.height).limit(limit)
    return [
        (row.height, decode_stored(StateChanges, bytes(row.changes), row.height).changes)
        for row in connection.execute(query)
    ]


def _page(limit: int) -> int:
    return max(0, min(limit, PAGE_MAX))


def _stored_block(row: Row[Any]) -> StoredBlock:
    proposal, order = bytes(row.proposal), bytes(row.order_certificate)
    certificate = row.certificate
    return StoredBlock(
        header=decode_stored(BlockHeader, bytes(row.header), row.height),
        hash=Digest(bytes(row.hash)),
        proposal=decode_stored(Proposal, proposal, row.height) if proposal else None,
        order_certificate=decode_stored(OrderCertificate, order, row.height) if order else None,
        block_certificate=(
            None if certificate is None else decode_stored(BlockCertificate, bytes(certificate), row.height)
        ),
    )


def _sync_block(row: Row[Any]) -> SyncBlock:
    certificate = row.certificate
    return SyncBlock(
        proposal=decode_stored(Proposal, bytes(row.proposal), row.height),
        bodies=decode_stored(Bodies, bytes(row.bodies), row.height).raw,
        order_certificate=decode_stored(OrderCertificate, bytes(row.order_certificate), row.height),
        block_certificate=(
            None if certificate is None else decode_stored(BlockCertificate, bytes(certificate), row.height)
        ),
    )
