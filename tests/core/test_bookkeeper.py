"""The ledger's thread on a real SQLite file: blocks first, history when there is time, or when it lags too far."""

import queue
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from core_network import make_genesis
from double_votes import double_vote
from ledger_chain import Chain, StoredChain

from potchain.blocks import BlockCertificate
from potchain.driver.bookkeeper import Bookkeeper
from potchain.errors import LedgerError
from potchain.ledger import schema
from potchain.ledger.database import open_database
from potchain.ledger.evidence import FoundEvidence
from potchain.ledger.migrate import upgrade

WAIT_S = 20


class Desk:
    """A bookkeeper over a ledger, and what it reported."""

    def __init__(self, path: Path, lag_max: int = 100_000, stored: int = 0) -> None:
        """`stored`: blocks that are in the ledger, and not in its history, before the start."""
        self.database = open_database(str(path), role="ledger")
        upgrade(self.database)
        self.chain = Chain()
        self.stored = StoredChain(self.database, self.chain)
        self.stored.grow_mixed(stored)
        self.lag_when_applied: list[int] = []
        self.applied: queue.Queue[int] = queue.Queue()
        self.certified: queue.Queue[tuple[BlockCertificate, ...]] = queue.Queue()
        self.failures: queue.Queue[LedgerError] = queue.Queue()
        self.bookkeeper = Bookkeeper(
            self.stored.writer,
            self.stored.projector,
            lag_max=lag_max,
            applied=self._applied,
            certified=self.certified.put,
            failed=self.failures.put,
        )

    def caught_up(self) -> None:
        """Wait until no inclusion lacks its rows."""
        deadline = time.monotonic() + WAIT_S
        while self.bookkeeper.lag:
            assert time.monotonic() < deadline, self.bookkeeper.lag

    def _applied(self, height: int) -> None:
        self.lag_when_applied.append(self.bookkeeper.lag)
        self.applied.put(height)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path / "ledger.db")
    yield made
    made.database.close()


def test_queued_blocks_share_a_commit_and_certificates_follow_their_blocks(desk: Desk) -> None:
    blocks = desk.chain.grow_mixed(4)
    for block in blocks:
        desk.bookkeeper.put(block)
    assert desk.bookkeeper.depth == 4
    desk.bookkeeper.start()
    assert desk.applied.get(timeout=WAIT_S) == 4
    (fifth,) = desk.chain.grow_mixed(1)
    for block in blocks:
        desk.bookkeeper.put(desk.chain.certificate(block.height))
    desk.bookkeeper.put(fifth)
    assert desk.applied.get(timeout=WAIT_S) == 5
    desk.bookkeeper.close()
    told = [each.height for _ in range(desk.certified.qsize()) for each in desk.certified.get_nowait()]
    assert told == [1, 2, 3, 4]
    assert desk.stored.reader.tip().height == 5
    assert desk.stored.reader.certified_height() == 4
    assert desk.applied.empty()


def test_closing_writes_what_is_queued(desk: Desk) -> None:
    for block in desk.chain.grow_mixed(3):
        desk.bookkeeper.put(block)
    desk.bookkeeper.start()
    desk.bookkeeper.close()
    assert desk.stored.reader.tip().height == 3
    assert desk.failures.empty()


def test_a_block_that_does_not_follow_stops_the_thread_with_nothing_stored(desk: Desk) -> None:
    blocks = desk.chain.grow_mixed(2)
    desk.bookkeeper.put(blocks[1])
    desk.bookkeeper.start()
    assert "does not follow" in str(desk.failures.get(timeout=WAIT_S))
    desk.bookkeeper.close()
    assert desk.applied.empty()
    assert desk.stored.reader.tip().height == 0


def test_history_is_appended_when_there_is_nothing_else_to_do(desk: Desk) -> None:
    blocks = desk.chain.grow_mixed(5)
    desk.bookkeeper.start()
    for block in blocks:
        desk.bookkeeper.put(block)
    while desk.applied.get(timeout=WAIT_S) < 5:
        pass
    desk.caught_up()
    assert desk.bookkeeper.lag == 0
    desk.bookkeeper.close()
    inclusions = sum(len(block.receipts) for block in blocks)
    assert len(desk.stored.dump(schema.transactions)["transactions"]) == inclusions


def test_beyond_the_bound_history_goes_before_blocks(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "ledger.db", lag_max=6, stored=4)
    assert desk.bookkeeper.lag > 6
    (block,) = desk.chain.grow_mixed(1)
    desk.bookkeeper.put(block)
    desk.bookkeeper.start()
    assert desk.applied.get(timeout=WAIT_S) == 5
    assert desk.lag_when_applied[0] <= 6 + len(block.receipts) + 1, "it had caught up to the bound before"
    desk.bookkeeper.close()
    assert desk.stored.reader.tip().height == 5
    desk.database.close()


def test_evidence_is_written_with_the_blocks_and_without(desk: Desk) -> None:
    genesis = make_genesis(validators=4)
    pieces = [double_vote(genesis, 1, sequence) for sequence in (1, 2, 3)]
    (block,) = desk.chain.grow_mixed(1)
    for item in (FoundEvidence(pieces[0], 10), block, FoundEvidence(pieces[1], 11), FoundEvidence(pieces[0], 12)):
        desk.bookkeeper.put(item)
    desk.bookkeeper.start()
    assert desk.applied.get(timeout=WAIT_S) == 1
    desk.bookkeeper.put(FoundEvidence(pieces[2], 13))
    desk.bookkeeper.close()
    kept = desk.stored.reader.evidence_page(0, 10)
    assert [(stored.evidence, stored.seen_ms) for stored in kept] == [(pieces[0], 10), (pieces[1], 11), (pieces[2], 13)]
    assert desk.failures.empty()
