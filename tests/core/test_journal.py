"""The vote log's thread, on a real SQLite file: order, group commit, and what is forgotten when."""

import queue
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from ledger_chain import Chain

from potchain.blocks import BLOCK_VOTE
from potchain.consensus.interface import ConsensusMessage, Record
from potchain.consensus.signer import Signer
from potchain.crypto import SigningKey
from potchain.driver.journal import Journal
from potchain.errors import LedgerError
from potchain.ledger.database import Database, open_database
from potchain.ledger.migrate import upgrade
from potchain.ledger.votes import VoteLog, VoteLogContents
from potchain.primitives import Digest
from potchain.replica.actions import DurableBatch, ForgetBodies, Persist, TruncateVotes
from potchain.transactions import Transaction

GENESIS_HASH = bytes(range(32))
WAIT_S = 20


class Desk:
    """A journal, what it reported, and a way to look at the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.database = self._open()
        self.log = VoteLog(self.database, GENESIS_HASH)
        self.log.load()
        self.tokens: queue.Queue[int] = queue.Queue()
        self.failures: queue.Queue[LedgerError] = queue.Queue()
        self.journal = Journal(self.log, persisted=self.tokens.put, failed=self.failures.put)
        self.signer = Signer(SigningKey(bytes(31) + b"\1"), GENESIS_HASH)
        self.token = 0

    def persist(self, *bodies: Transaction, sequence: int | None = None) -> Persist:
        self.token += 1
        record = () if sequence is None else (Record("test", 0, sequence, b""),)
        return Persist(self.token, DurableBatch(records=record, bodies=bodies))

    def vote(self, kind: str, sequence: int, digest: bytes = bytes(32)) -> ConsensusMessage:
        return self.signer.sign(0, kind, 0, sequence, digest, b"")

    def run(self, *items: Persist | TruncateVotes | ForgetBodies) -> None:
        """Queue all of it, then let the thread work until it is done."""
        for item in items:
            self.journal.put(item)
        self.journal.start()
        self.journal.close()

    def contents(self) -> VoteLogContents:
        database = self._open()
        try:
            return VoteLog(database, GENESIS_HASH).load()
        finally:
            database.close()

    def reported(self) -> list[int]:
        return [self.tokens.get_nowait() for _ in range(self.tokens.qsize())]

    def again(self) -> "Desk":
        """The next run of the node on the same file."""
        self.database.close()
        desk = Desk(self.path)
        batches = desk.log.load().bodies
        types = Chain().types
        desk.journal.restore({batch.id: tuple(types.parse(raw).id for raw in batch.raw) for batch in batches})
        return desk

    def _open(self) -> Database:
        database = open_database(str(self.path), role="votes")
        upgrade(database)
        return database


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path / "votes.db")
    yield made
    made.database.close()


def raws(contents: VoteLogContents) -> list[bytes]:
    return [raw for batch in contents.bodies for raw in batch.raw]


def test_what_queued_up_shares_one_commit_and_one_report(desk: Desk) -> None:
    chain = Chain()
    bodies = [chain.transfer() for _ in range(3)]
    desk.run(*[desk.persist(body, sequence=number) for number, body in enumerate(bodies, 1)])
    assert desk.reported() == [3]
    contents = desk.contents()
    assert [record.sequence for record in contents.records] == [1, 2, 3]
    assert len(contents.bodies) == 1
    assert raws(contents) == [body.raw for body in bodies]


def test_reports_come_in_order_and_after_the_write(desk: Desk) -> None:
    desk.journal.start()
    for number in range(1, 6):
        desk.journal.put(desk.persist(sequence=number))
        assert desk.tokens.get(timeout=WAIT_S) == number
        assert len(desk.contents().records) == number
    desk.journal.close()
    assert desk.journal.depth == 0


def test_a_batch_of_bodies_goes_when_its_last_body_is_not_needed(desk: Desk) -> None:
    chain = Chain()
    first, second, third = (chain.transfer() for _ in range(3))
    desk.run(desk.persist(first, second), desk.persist(third))
    desk = desk.again()
    desk.run(ForgetBodies((first.id,)), desk.persist(sequence=1))
    assert len(raws(desk.contents())) == 3, "its neighbours are still needed"
    desk = desk.again()
    desk.run(ForgetBodies((first.id, second.id, third.id)), desk.persist(sequence=2))
    assert raws(desk.contents()) == []
    desk.database.close()


def test_a_body_that_comes_again_stays_and_leaves_no_batch_behind(desk: Desk) -> None:
    body = Chain().transfer()
    desk.run(desk.persist(body))
    desk = desk.again()
    desk.run(desk.persist(body))
    assert raws(desk.contents()) != [], "promised anew"
    desk = desk.again()
    desk.run(ForgetBodies((body.id,)), desk.persist(sequence=1))
    assert raws(desk.contents()) == []
    desk.database.close()


def test_ids_that_are_not_in_the_log_are_ignored(desk: Desk) -> None:
    desk.run(ForgetBodies((Digest(bytes(32)),)), desk.persist(sequence=1))
    assert desk.reported() == [1]


def test_truncation_keeps_votes_for_blocks_without_certificate(desk: Desk) -> None:
    messages = tuple(desk.vote(kind, height) for height in (1, 2, 3) for kind in ("commit", BLOCK_VOTE))
    batch = DurableBatch(records=(Record("test", 0, 2, b""), Record("test", 0, 3, b"")), messages=messages)
    desk.run(Persist(1, batch), TruncateVotes(2, (1,)))
    contents = desk.contents()
    assert [(each.kind, each.sequence) for each in contents.own_messages] == [
        (BLOCK_VOTE, 1),
        ("commit", 3),
        (BLOCK_VOTE, 3),
    ]
    assert [record.sequence for record in contents.records] == [3]
    assert contents.marks.stable == 2


def test_a_vote_that_contradicts_the_durable_guard_stops_the_thread_before_any_report(desk: Desk) -> None:
    desk.run(Persist(1, DurableBatch(messages=(desk.vote("commit", 1),))))
    desk = desk.again()
    other = desk.vote("commit", 1, bytes([1]) * 32)
    for item in (Persist(1, DurableBatch(messages=(other,))), Persist(2, DurableBatch())):
        desk.journal.put(item)
    desk.journal.start()
    assert "another digest" in str(desk.failures.get(timeout=WAIT_S))
    assert desk.reported() == []
    assert [each.digest for each in desk.contents().own_messages] == [bytes(32)]
    desk.journal.close()
    assert not any(thread.name == "journal" for thread in threading.enumerate())
    desk.database.close()
