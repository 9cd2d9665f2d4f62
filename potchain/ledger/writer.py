"""Makes blocks durable: the decide transaction, and block certificates after it.

One SQL transaction per call, blobs and the few rows of settlement: rows keyed by random bytes would cost twenty times
more here, and are the projection's business. One thread calls this, with nobody else writing; what has been applied is
never changed again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from potchain.application.interface import EventData
from potchain.blocks import BlockCertificate, BlockHeader, ExecutedBlock, StateChange
from potchain.codec import encode
from potchain.errors import LedgerCorrupt, LedgerError
from potchain.genesis import Epoch, Genesis, epoch_digest
from potchain.ledger import schema
from potchain.ledger.database import Database
from potchain.ledger.evidence import FoundEvidence, store_evidence
from potchain.ledger.rows import Row, insert_rows, upsert_rows
from potchain.ledger.settlement import SettlementDeriver, binding_of, taken_over_rows, write_settlement
from potchain.ledger.stored import BlockRow, certificate_checksum, decode_stored, genesis_row, row_of
from potchain.primitives import ZERO_DIGEST, Digest


class LedgerWriter:
    """The only writer of blocks and certificates."""

    def __init__(self, database: Database, event_types: Mapping[str, type[EventData]] | None = None) -> None:
        """`database` has its tables already: `migrate.upgrade`. `event_types` of the network, by `Event.kind`; None:
        those of the core."""
        self._database = database
        self._settlement = SettlementDeriver(event_types)
        self._height = -1
        self._hash = ZERO_DIGEST
        self._total = 0
        self._binding = 0
        """Number of the contract that settlement's rows are of."""

    @property
    def height(self) -> int:
        """Highest durable block; -1 before `initialise`."""
        return self._height

    @property
    def hash(self) -> Digest:
        """Its hash."""
        return self._hash

    def tip(self) -> tuple[int, int]:
        """Highest durable block, and the count of inclusions up to it."""
        return self._height, self._total

    def initialise(
        self, genesis: Genesis, genesis_header: BlockHeader, state_records: Iterable[tuple[bytes, bytes]]
    ) -> bool:
        """Write the genesis block into an empty ledger, or check that this ledger is the network's; whether written.

        `state_records` are the initial state, read only when the ledger is empty. Raises LedgerError when the ledger
        belongs to another network, LedgerCorrupt when its genesis block differs.
        """
        with self._database.write() as connection:
            stored = connection.execute(sa.select(schema.chain.c.genesis_hash)).scalar_one_or_none()
            created = stored is None
            if stored is None:
                self._write_genesis(connection, genesis, genesis_header, state_records)
            elif bytes(stored) != genesis.hash:
                raise LedgerError(
                    f"{self._database.place} belongs to the network with genesis 0x{bytes(stored).hex()}, not to "
                    f"0x{genesis.hash.hex()}; use another home folder, or the genesis file this ledger began with"
                )
            else:
                self._check_genesis(connection, genesis_header)
            self._read_tip(connection)
        return created

    def apply(self, blocks: Sequence[ExecutedBlock], certificates: Sequence[BlockCertificate] = ()) -> None:
        """The decide transaction: consecutive blocks above the tip, and the epochs that they name.

        `certificates` are those of earlier blocks that happen to be ready: they share the commit.

        All are durable when it returns. Raises LedgerError when one does not follow the tip or the database fails;
        nothing is stored then.
        """
        if not blocks:
            return
        height, parent, total = self._height, self._hash, self._total
        rows: list[BlockRow] = []
        epochs: list[Row] = []
        for block in blocks:
            if block.height != height + 1:
                raise LedgerError(f"block {block.height} does not follow the ledger's tip {height}; nothing was stored")
            if block.header.parent_hash != parent:
                raise LedgerError(
                    f"block {block.height} names parent 0x{block.header.parent_hash.hex()}, but block {height} is "
                    f"0x{parent.hex()}; nothing was stored"
                )
            rows.append(row_of(block, total))
            if block.next_epoch:
                epochs.append(_epoch_row(decode_stored(Epoch, block.next_epoch, block.height)))
            height, parent, total = block.height, block.hash, total + block.header.tx_count
        settlement = self._settlement.derive_blocks(blocks, self._binding)
        with self._database.write() as connection:
            insert_rows(connection, schema.blocks, rows)
            insert_rows(connection, schema.epochs, epochs)
            write_settlement(connection, settlement)
            upsert_rows(connection, schema.block_certificates, self._certificate_rows(certificates), ())
        self._height, self._hash, self._total = height, parent, total
        self._binding = settlement.binding

    def store_certificates(self, certificates: Sequence[BlockCertificate]) -> None:
        """Keep block certificates of stored blocks, already verified; one that is there stays as it is."""
        rows = self._certificate_rows(certificates)
        if rows:
            with self._database.write() as connection:
                upsert_rows(connection, schema.block_certificates, rows, ())

    def store_evidence(self, found: Sequence[FoundEvidence]) -> None:
        """Keep checked evidence; a second piece for an accused slot is left out. Raises LedgerError."""
        with self._database.write() as connection:
            store_evidence(connection, found)

    def _certificate_rows(self, certificates: Sequence[BlockCertificate]) -> list[Row]:
        rows: list[Row] = []
        for certificate in certificates:
            if not 0 < certificate.height <= self._height:
                raise LedgerError(
                    f"block certificate for height {certificate.height}, but the ledger ends at {self._height}"
                )
            data = encode(certificate)
            rows.append((certificate.height, certificate_checksum(data), data))
        return rows

    def _write_genesis(
        self,
        connection: Connection,
        genesis: Genesis,
        header: BlockHeader,
        records: Iterable[tuple[bytes, bytes]],
    ) -> None:
        changes = tuple(StateChange(key, value) for key, value in sorted(records))
        insert_rows(connection, schema.chain, [(1, genesis.hash, encode(genesis), schema.LEDGER_FORMAT)])
        insert_rows(connection, schema.epochs, [_epoch_row(genesis.first_epoch)])
        insert_rows(connection, schema.blocks, [genesis_row(header, changes)])
        write_settlement(connection, taken_over_rows(header.height, changes))

    def _check_genesis(self, connection: Connection, header: BlockHeader) -> None:
        height = header.height
        stored = connection.execute(sa.select(schema.blocks.c.header).where(schema.blocks.c.height == height)).scalar()
        if stored is None or bytes(stored) != encode(header):
            raise LedgerCorrupt(height, "the stored genesis block is not the one that the genesis file and rules give")

    def _read_tip(self, connection: Connection) -> None:
        table = schema.blocks.c
        row = connection.execute(
            sa.select(table.height, table.hash, table.tx_total, table.header).order_by(table.height.desc()).limit(1)
        ).one()
        self._height, self._hash, self._total = row.height, Digest(bytes(row.hash)), row.tx_total
        self._binding = binding_of(connection)


def _epoch_row(epoch: Epoch) -> Row:
    return (epoch.number, epoch.first_sequence, epoch_digest(epoch), encode(epoch))
