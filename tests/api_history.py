"""A ledger in memory for tests of the API: what it calls a HistoryPort, over the blocks of a Chain."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock

from core_network import Chain

from potchain.blocks import BlockCertificate, BlockHeader, ExecutedBlock, Receipts, block_hash
from potchain.errors import LedgerError
from potchain.evidence import evidence_id
from potchain.genesis import Epoch
from potchain.ledger.database import READ_DEADLINE_NS, Database, open_database
from potchain.ledger.evidence import StoredEvidence
from potchain.ledger.migrate import upgrade
from potchain.ledger.settlement import SettlementDeriver, write_settlement
from potchain.ledger.settlement_reader import SettlementReader
from potchain.ledger.stored import BlockContents, Inclusion, StoredBlock
from potchain.transactions import Transfer


class PaperHistory:
    """Blocks in a dict."""

    def __init__(self, chain: Chain) -> None:
        self.chain = chain
        self.genesis_header = chain.tip
        self.certificates: dict[int, BlockCertificate] = {}
        self.rows_height = 0
        self.broken = False
        self.pieces: list[StoredEvidence] = []
        self._lock = Lock()
        self._rows: tuple[TemporaryDirectory[str], Database] | None = None
        self._rows_height = 0
        self._binding = 0

    @property
    def settlement(self) -> SettlementReader:
        """The real rows of all blocks so far, in a database of their own."""
        with self._lock:
            if self._rows is None:
                folder = TemporaryDirectory()
                self._rows = folder, open_database(Path(folder.name) / "rows.db", role="ledger")
                upgrade(self._rows[1])
            database = self._rows[1]
            blocks = self.chain.blocks[self._rows_height :]
            rows = SettlementDeriver().derive_blocks(blocks, self._binding)
            with database.write() as connection:
                write_settlement(connection, rows)
            self._rows_height, self._binding = self._rows_height + len(blocks), rows.binding
        return SettlementReader(database, READ_DEADLINE_NS)

    def header(self, height: int) -> BlockHeader | None:
        stored = self.block(height)
        return None if stored is None else stored.header

    def block(self, height: int) -> StoredBlock | None:
        if self.broken:
            raise LedgerError("disk image /secret/path is malformed")
        if height == 0:
            return StoredBlock(
                header=self.genesis_header,
                hash=block_hash(self.genesis_header),
                proposal=None,
                order_certificate=None,
                block_certificate=None,
            )
        found = self._executed(height)
        if found is None:
            return None
        return StoredBlock(
            header=found.header,
            hash=found.hash,
            proposal=found.proposal,
            order_certificate=found.order_certificate,
            block_certificate=self.certificates.get(height),
        )

    def block_by_hash(self, hash_: bytes) -> StoredBlock | None:
        for height in range(len(self.chain.blocks) + 1):
            stored = self.block(height)
            if stored is not None and stored.hash == hash_:
                return stored
        return None

    def blocks_page(self, after: int | None, limit: int, *, ascending: bool = False) -> Sequence[StoredBlock]:
        heights = list(range(len(self.chain.blocks) + 1))
        if ascending:
            chosen = [height for height in heights if after is None or height > after]
        else:
            chosen = [height for height in reversed(heights) if after is None or height < after]
        return [stored for stored in map(self.block, chosen[:limit]) if stored is not None]

    def contents(self, height: int) -> BlockContents | None:
        found = self._executed(height)
        if found is None:
            return None
        return BlockContents(
            header=found.header,
            transaction_ids=found.proposal.transaction_ids,
            bodies=found.bodies,
            receipts=Receipts(found.receipts, found.end_events),
        )

    def certificate(self, height: int) -> BlockCertificate | None:
        return self.certificates.get(height)

    def epochs(self) -> Sequence[Epoch]:
        return (self.chain.genesis.first_epoch,)

    def evidence_page(self, after: int, limit: int) -> Sequence[StoredEvidence]:
        return [piece for piece in self.pieces if piece.number > after][:limit]

    def evidence(self, evidence_id_: bytes) -> StoredEvidence | None:
        return next((piece for piece in self.pieces if evidence_id(piece.evidence) == evidence_id_), None)

    def locate(self, transaction_id: bytes) -> tuple[int, int] | None:
        return self.find(transaction_id, 1, self.rows_height)

    def inclusion(self, height: int, position: int) -> Inclusion | None:
        found = self._executed(height)
        if found is None:
            return None
        return Inclusion(
            header=found.header,
            hash=found.hash,
            position=position,
            transaction_id=found.proposal.transaction_ids[position],
            raw=found.bodies[position],
            receipt=found.receipts[position],
            certified=height in self.certificates,
        )

    def account_history(
        self, address: bytes, before: tuple[int, int] | None = None, limit: int = 100
    ) -> Sequence[tuple[int, int]]:
        places = self.places_of(address, 1, self.rows_height)
        return [place for place in places if before is None or place < before][:limit]

    def find(self, transaction_id: bytes, first: int, last: int) -> tuple[int, int] | None:
        for block in reversed(self.chain.blocks[first - 1 : last]):
            for receipt in block.receipts:
                if receipt.transaction_id == transaction_id and receipt.status != "skipped":
                    return block.height, receipt.index
        return None

    def places_of(self, address: bytes, first: int, last: int) -> list[tuple[int, int]]:
        """Newest first."""
        found: list[tuple[int, int]] = []
        for block in self.chain.blocks[first - 1 : last]:
            for index, raw in enumerate(block.bodies):
                body = self.chain.executor.types.parse(raw).body
                assert isinstance(body, Transfer)
                if address in (body.from_, body.to):
                    found.append((block.height, index))
        return found[::-1]

    def _executed(self, height: int) -> ExecutedBlock | None:
        return self.chain.blocks[height - 1] if 1 <= height <= len(self.chain.blocks) else None
