"""The vote log: found again, truncated, never silently damaged."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa
from ledger_chain import make_genesis

from potchain.blocks import BLOCK_VOTE, Proposal, build_proposal
from potchain.consensus.interface import ConsensusMessage, Record
from potchain.consensus.signer import GuardEntry, Signer, guard_entry
from potchain.crypto import SigningKey
from potchain.errors import LedgerError
from potchain.ledger import schema
from potchain.ledger.database import Database
from potchain.ledger.schema import Role
from potchain.ledger.votes import VoteLog, VoteMarks
from potchain.primitives import NodeId

GENESIS_HASH = make_genesis().hash
KEY = SigningKey((1).to_bytes(32, "big"))


def message(kind: str, view: int, sequence: int, epoch: int = 0) -> ConsensusMessage:
    digest = bytes([sequence % 256]) * 32
    return Signer(KEY, GENESIS_HASH).sign(epoch, kind, view, sequence, digest, b"body")


def proposal(sequence: int) -> Proposal:
    return build_proposal(GENESIS_HASH, 0, sequence, 1, NodeId(bytes(20)), [bytes([sequence]) * 32])


@pytest.fixture
def database(open_role: Callable[[Role], Database]) -> Database:
    return open_role("votes")


@pytest.fixture
def log(database: Database) -> VoteLog:
    made = VoteLog(database, GENESIS_HASH)
    assert made.load().created
    return made


def fill(log: VoteLog, sequences: range) -> list[ConsensusMessage]:
    messages = [message(kind, 0, n) for n in sequences for kind in ("prepare", "commit", BLOCK_VOTE)]
    log.append(
        records=[Record("accepted", 0, n, b"data%d" % n) for n in sequences],
        messages=messages,
        guard=[guard_entry(entry) for entry in messages],
        proposals=[proposal(n) for n in sequences],
    )
    return messages


def test_what_was_appended_is_found_again(database: Database, log: VoteLog) -> None:
    messages = fill(log, range(1, 4))
    assert log.append(bodies=[b"one", b"two"]) == 1
    assert log.append(bodies=[b"three"]) == 2
    assert log.append(records=[Record("view", 1, 0, b"")]) is None
    found = VoteLog(database, GENESIS_HASH).load()
    assert not found.created
    assert [record.data for record in found.records] == [b"data1", b"data2", b"data3", b""]
    assert list(found.own_messages) == messages
    assert set(found.guard) == {guard_entry(entry) for entry in messages}
    assert found.proposals == (proposal(1), proposal(2), proposal(3))
    assert [(batch.id, batch.raw) for batch in found.bodies] == [(1, (b"one", b"two")), (2, (b"three",))]
    assert found.marks == VoteMarks(sequence_high=3, block_vote_high=3)


def test_appending_goes_on_after_a_restart(database: Database, log: VoteLog) -> None:
    fill(log, range(1, 3))
    log.append(bodies=[b"one"])
    again = VoteLog(database, GENESIS_HASH)
    again.load()
    assert again.append(records=[Record("late", 0, 3, b"")], bodies=[b"two"]) == 2
    found = VoteLog(database, GENESIS_HASH).load()
    assert [record.kind for record in found.records] == ["accepted", "accepted", "late"]


def test_the_same_message_again_is_one(database: Database, log: VoteLog) -> None:
    messages = fill(log, range(1, 3))
    log.append(messages=messages, guard=[guard_entry(entry) for entry in messages], proposals=[proposal(1)])
    found = VoteLog(database, GENESIS_HASH).load()
    assert list(found.own_messages) == messages
    assert len(found.guard) == len(messages)
    assert len(found.proposals) == 2


def test_the_database_refuses_a_second_digest_for_a_slot(database: Database, log: VoteLog) -> None:
    fill(log, range(1, 3))
    before = VoteLog(database, GENESIS_HASH).load()
    fresh = GuardEntry(0, 0, 9, "prepare", bytes(32))
    twice = GuardEntry(0, 0, 1, "prepare", b"\xff" * 32)
    with pytest.raises(LedgerError, match="holds another digest"):
        log.append(records=[Record("accepted", 0, 9, b"")], guard=[fresh, twice], bodies=[b"x"])
    assert VoteLog(database, GENESIS_HASH).load() == before
    log.append(records=[Record("accepted", 0, 9, b"")], guard=[fresh])


def test_truncation_keeps_what_lies_above_and_never_lowers_marks(database: Database, log: VoteLog) -> None:
    fill(log, range(1, 9))
    log.append(bodies=[b"kept"])
    log.truncate(6, uncertified=[5])
    log.truncate(2)
    found = VoteLog(database, GENESIS_HASH).load()
    assert {record.sequence for record in found.records} == {7, 8}
    assert {proposal.header.sequence for proposal in found.proposals} == {7, 8}
    assert {entry.sequence for entry in found.guard} == {7, 8}
    assert {(entry.sequence, entry.kind) for entry in found.own_messages if entry.sequence < 7} == set()
    assert found.marks == VoteMarks(stable=6, sequence_high=8, block_vote_high=8)
    assert len(found.bodies) == 1


def test_a_block_vote_without_certificate_outlives_truncation(database: Database, log: VoteLog) -> None:
    fill(log, range(1, 9))
    log.truncate(6, uncertified=[5])
    found = VoteLog(database, GENESIS_HASH).load()
    kept = [(entry.sequence, entry.kind) for entry in found.own_messages if entry.sequence < 7]
    assert kept == [(5, BLOCK_VOTE)]


def test_of_views_the_newest_is_kept(database: Database, log: VoteLog) -> None:
    views = [message("view-change", view, 0) for view in (1, 2, 3)]
    log.append(
        records=[Record("view", view, 0, b"") for view in (1, 2, 3)],
        messages=views,
        guard=[guard_entry(entry) for entry in views],
    )
    log.truncate(1)
    found = VoteLog(database, GENESIS_HASH).load()
    assert [record.view for record in found.records] == [3]
    assert [entry.view for entry in found.own_messages] == [3]
    assert [entry.view for entry in found.guard] == [1, 2, 3]
    # A new epoch begins at view 0 again: the newest row counts, not the highest view.
    later = message("view-change", 1, 0, epoch=1)
    log.append(records=[Record("view", 1, 0, b"")], messages=[later])
    log.truncate(1)
    found = VoteLog(database, GENESIS_HASH).load()
    assert [record.view for record in found.records] == [1]
    assert found.own_messages == (later,)
    assert (found.marks.epoch_high, found.marks.view_high) == (1, 1)


def test_batches_are_dropped_whole(database: Database, log: VoteLog) -> None:
    for raw in (b"one", b"two", b"three"):
        log.append(bodies=[raw])
    log.drop_batches([1, 3])
    assert [batch.id for batch in VoteLog(database, GENESIS_HASH).load().bodies] == [2]


def test_networks_do_not_see_each_other(database: Database, log: VoteLog) -> None:
    fill(log, range(1, 3))
    other = VoteLog(database, b"\x01" * 32)
    found = other.load()
    assert found.created
    assert [*found.records, *found.own_messages, *found.guard, *found.proposals, *found.bodies] == []
    other.append(guard=[GuardEntry(0, 0, 1, "prepare", b"\xff" * 32)])
    other.truncate(10)
    assert len(VoteLog(database, GENESIS_HASH).load().records) == 2


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE vote_records SET sequence = 7 WHERE sequence = 2",
        "UPDATE vote_records SET kind = 'other' WHERE sequence = 2",
        "UPDATE vote_guard SET view = 1 WHERE sequence = 2 AND kind = 'commit'",
        "UPDATE vote_marks SET sequence_high = 1",
        "UPDATE vote_messages SET checksum = checksum + 1 WHERE sequence = 1 AND kind = 'prepare'",
    ],
)
def test_damage_is_detected(database: Database, log: VoteLog, change: str) -> None:
    fill(log, range(1, 3))
    with database.write() as connection:
        connection.exec_driver_sql(change)
    with pytest.raises(LedgerError, match="damaged vote log"):
        VoteLog(database, GENESIS_HASH).load()


@pytest.mark.parametrize("table", ["vote_records", "vote_messages", "pinned_proposals", "pool_bodies"])
def test_one_flipped_byte_of_any_blob_is_detected(database: Database, log: VoteLog, table: str) -> None:
    fill(log, range(1, 3))
    log.append(bodies=[b"one"])
    column = schema.votes_metadata.tables[table].c.data
    with database.write() as connection:
        data = bytearray(connection.execute(sa.select(column).limit(1)).scalar_one())
        data[len(data) // 2] ^= 1
        connection.execute(sa.update(column.table).values(data=bytes(data)))
    with pytest.raises(LedgerError, match=f"damaged vote log.*{table}"):
        VoteLog(database, GENESIS_HASH).load()
