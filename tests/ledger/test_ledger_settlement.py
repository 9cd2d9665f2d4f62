"""Rows of settlement and governance: written with the blocks, derived again alike, compared by verify."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from alembic import command
from core_network import key
from ledger_chain import verify_order
from settlement_ledger import CONTRACT, Books, operator_key, seen_of, with_member

from potchain.application.governance.bodies import GovPause, GovVote
from potchain.application.interface import EventData
from potchain.application.settlement import records
from potchain.application.settlement.bodies import ActionSigned
from potchain.application.state import AuthenticatedState
from potchain.blocks import BlockHeader, Event, OrderCertificate, Proposal, StateChange, proposal_digest
from potchain.codec import encode
from potchain.errors import LedgerCorrupt, LedgerError
from potchain.ledger import schema
from potchain.ledger.database import Database, open_database
from potchain.ledger.migrate import alembic_config, revision_of, upgrade
from potchain.ledger.projection import Projector
from potchain.ledger.reader import LedgerReader
from potchain.ledger.rows import insert_rows
from potchain.ledger.schema import Role
from potchain.ledger.settlement import EVENT_TYPES, SettlementDeriver
from potchain.ledger.settlement_check import SettlementSums
from potchain.ledger.stored import genesis_row, row_of
from potchain.ledger.verify import Authorities, verify_chain
from potchain.ledger.writer import LedgerWriter
from potchain.primitives import Text, uint, uint256
from potchain.settlement import BatchSeen
from potchain.transactions import Transaction

OPEN = Callable[[Role], Database]


class Kept:
    """The books of `settlement_ledger` in a database."""

    def __init__(self, database: Database, books: Books | None = None) -> None:
        self.database = database
        self.books = books or Books()
        chain = self.books.chain
        self.genesis_header, self.records = chain.tip, tuple(sorted(chain.state.items()))
        self.writer = LedgerWriter(database, chain.executor.event_types)
        self.writer.initialise(self.books.genesis, self.genesis_header, self.records)
        self.reader = LedgerReader(database)
        self.projector = Projector(database, chain.executor.types, chain.executor.event_types)

    def store(self) -> None:
        """Blocks that are not stored yet, each with a certificate of its order that `verify_order` takes."""
        blocks = [
            msgspec.structs.replace(
                block, order_certificate=OrderCertificate("test", 1, proposal_digest(block.proposal.header))
            )
            for block in self.books.chain.blocks[self.writer.height :]
        ]
        self.writer.apply(blocks)

    def verify(self) -> None:
        """Everything from genesis on."""
        chain = self.books.chain
        state = AuthenticatedState.from_records(self.records)
        parent = [self.genesis_header]

        def execute(proposal: Proposal, transactions: tuple[Transaction, ...]) -> BlockHeader:
            order = OrderCertificate("test", 1, b"")
            block = chain.executor.execute_block(parent[0], chain.epoch, proposal, transactions, state, order)
            parent[0] = block.header
            return block.header

        authorities = Authorities(
            genesis=self.books.genesis,
            genesis_header=self.genesis_header,
            types=chain.executor.types,
            event_types=chain.executor.event_types,
            verify_order=verify_order,
            execute=execute,
        )
        verify_chain(LedgerReader(self.database), authorities, AuthenticatedState())

    def dump(self) -> dict[str, list[tuple[Any, ...]]]:
        """All rows that are written with blocks."""
        with self.database.read() as connection:
            return {
                table.name: sorted(map(tuple, connection.execute(sa.select(table))))
                for table in schema.SETTLEMENT_TABLES
            }

    def view(self, name: str, columns: str, order: str) -> list[tuple[Any, ...]]:
        """A view's rows."""
        with self.database.read() as connection:
            return [tuple(row) for row in connection.exec_driver_sql(f"SELECT {columns} FROM {name} ORDER BY {order}")]


def busy(books: Books) -> Books:
    """A deposit, a batch that is paid, one that is signed, a payout that waits."""
    books.set_term("open_max", 1)
    books.bind(funds=0)
    books.deposit("alice", 700)
    for name, amount in (("alice", 5), ("bob", 6), ("alice", 7)):
        books.withdraw(name, amount)
    books.sign(0)
    books.executed(0)
    books.sign(1)
    books.withdraw("carol", 9)
    return books


@pytest.fixture
def kept(open_role: OPEN) -> Kept:
    found = Kept(open_role("ledger"))
    busy(found.books)
    found.store()
    return found


def test_rows_are_there_with_the_block_and_say_what_the_state_says(kept: Kept) -> None:
    now = kept.books.counters
    assert (now.next_payout, now.next_action, now.next_executed) == (4, 2, 1)
    first, second = (records.action(kept.books.state, nonce) for nonce in (0, 1))
    assert first is not None
    assert second is not None
    rows = kept.dump()
    assert [row[0] for row in rows["payouts"]] == [0, 1, 2, 3]
    assert [(row[3], row[5], int(row[6])) for row in rows["payouts"]] == [
        ("withdrawal", key(name).address, amount)
        for name, amount in (("alice", 5), ("bob", 6), ("alice", 7), ("carol", 9))
    ]
    actions = rows["settlement_actions"]
    assert [row[:8] for row in actions] == [
        (1, nonce, "batch", 0, record.digest, record.first_payout, record.last_payout, uint(record.total))
        for nonce, record in enumerate((first, second))
    ]
    assert [row[8] for row in actions] == [first.action.height, second.action.height]
    assert [row[9] for row in actions] == [first.ready_height, second.ready_height]
    assert actions[0][10:] == (actions[0][10], first.receipt_hash, first.receipt_block)
    assert actions[1][10:] == (None, None, None)
    assert [row[:5] + row[5:7] for row in rows["layer2_events"]] == [
        (1, 0, "deposit", key("alice").address, 700, None, None),
        (1, 1, "batch", None, None, 0, None),
    ]
    assert [row[:5] for row in rows["settlement_contracts"]] == [(1, "multisig", 97, CONTRACT, bytes(20))]
    assert [(row[3], row[5]) for row in rows["proposals"]] == [
        ("GovSetParameter", "applied"), ("GovBindContract", "applied"),
    ]  # fmt: skip


def test_the_views_tell_the_same_in_words(kept: Kept) -> None:
    assert kept.view("v_payouts", "id, status, action, amount", "id") == [
        (0, "paid", 0, _amount(kept, 5)),
        (1, "batched", 1, _amount(kept, 6)),
        (2, "batched", 1, _amount(kept, 7)),
        (3, "pending", None, _amount(kept, 9)),
    ]
    hashes = kept.view("v_payouts", "transaction_hash, account", "id")
    assert [shown is None for shown, _ in hashes] == [False, True, True, True]
    assert hashes[0][1] == "0x" + key("alice").address.hex()
    assert kept.view("v_settlement_actions", "nonce, status, payouts, formed_ms IS NOT NULL", "nonce") == [
        (0, "executed", 1, True), (1, "signed", 2, True),
    ]  # fmt: skip
    assert kept.view("v_layer2_events", "event_nonce, kind, account", "event_nonce") == [
        (0, "deposit", "0x" + key("alice").address.hex()), (1, "batch", None),
    ]  # fmt: skip
    assert kept.view("v_proposals", "kind, status, outcome", "height") == [
        ("GovSetParameter", "applied", "applied"), ("GovBindContract", "applied", "applied"),
    ]  # fmt: skip


def _amount(kept: Kept, amount: int) -> object:
    return str(amount) if kept.database.is_sqlite else amount


def test_reindex_gives_the_same_rows_and_verify_accepts_them(kept: Kept) -> None:
    kept.verify()
    before = kept.dump()
    kept.projector.reindex()
    assert kept.dump() == before
    kept.verify()


@pytest.mark.parametrize(
    ("sql", "table"),
    [
        ("UPDATE payouts SET account = reference WHERE id = 1", "payouts"),
        ("DELETE FROM payouts WHERE id = 3", "payouts"),
        ("UPDATE settlement_actions SET block_number = 7 WHERE nonce = 0", "settlement_actions"),
        ("UPDATE settlement_actions SET signed_height = NULL WHERE nonce = 1", "settlement_actions"),
        ("DELETE FROM settlement_actions WHERE nonce = 1", "settlement_actions"),
        ("UPDATE layer2_events SET amount = '701' WHERE event_nonce = 0", "layer2_events"),
        ("UPDATE settlement_contracts SET chain_id = 56", "settlement_contracts"),
        ("UPDATE proposals SET outcome = 'votes'", "proposals"),
    ],
)  # fmt: skip
def test_a_changed_row_is_named_by_its_table_and_mended_by_reindex(kept: Kept, sql: str, table: str) -> None:
    if not kept.database.is_sqlite:
        sql = sql.replace("'701'", "701")
    before = kept.dump()
    with kept.database.write() as connection:
        connection.exec_driver_sql(sql)
    with pytest.raises(LedgerError, match=f"the projected {table} differ"):
        kept.verify()
    kept.projector.reindex()
    assert kept.dump() == before
    kept.verify()


def test_verify_beside_a_running_node_leaves_later_rows_aside(kept: Kept) -> None:
    """Rows that a block above the verified tip added or changed are no fault."""
    height = kept.writer.height
    kept.books.executed(1)
    kept.books.withdraw("dave", 11)
    kept.store()
    reader = LedgerReader(kept.database)
    blocks = [reader.contents(each) for each in range(1, height + 1)]
    sums = SettlementSums(SettlementDeriver())
    sums.add_genesis(0, ())
    for block in blocks:
        assert block is not None
        sums.add(block.header.height, block.receipts)
    with kept.database.read() as connection:
        assert sums.differing(connection) is None


def test_a_restarted_writer_goes_on_with_the_contract_that_is_bound(kept: Kept) -> None:
    books = kept.books
    books.executed(1)
    books.sign(2)
    books.executed(2)
    books.bind(bytes.fromhex("22" * 20), funds=0)
    books.deposit("bob", 3)
    books.withdraw("bob", 3)
    kept.store()
    again = LedgerWriter(kept.database, books.chain.executor.event_types)
    again.initialise(books.genesis, kept.genesis_header, ())
    kept.writer = again
    books.sign(0)
    books.executed(0)
    kept.store()
    assert [row[:2] for row in kept.dump()["settlement_actions"]] == [(1, 0), (1, 1), (1, 2), (2, 0)]
    assert [(row[0], row[1]) for row in kept.dump()["layer2_events"]] == [
        (1, 0), (1, 1), (1, 2), (1, 3), (2, 0), (2, 1),
    ]  # fmt: skip
    assert kept.view("v_payouts", "status, binding, action", "id")[-1] == ("paid", 2, 0)
    before = kept.dump()
    kept.verify()
    kept.projector.reindex()
    assert kept.dump() == before


def test_what_the_contract_did_unasked_is_kept_with_the_reason(kept: Kept) -> None:
    seen = seen_of(kept.books.state, 1)
    assert isinstance(seen, BatchSeen)
    kept.books.observe(with_member(seen, total=uint256(1)))
    kept.store()
    event = kept.dump()["layer2_events"][-1]
    assert (event[2], event[5]) == ("batch", None)
    assert "another batch" in event[6]
    kept.verify()


def test_rejected_proposals_say_why(kept: Kept) -> None:
    books = kept.books
    books.collect(operator_key(0), GovPause, 1)
    proposal = books._collected[-1].id
    for number in (1, 2):
        books.collect(operator_key(number), GovVote, proposal, 0)
    books.run()
    books.collect(operator_key(0), GovPause, 1)
    books.run()
    kept.store()
    assert kept.view("v_proposals", "kind, status, outcome", "height") == [
        ("GovSetParameter", "applied", "applied"), ("GovBindContract", "applied", "applied"),
        ("GovPause", "rejected", "votes"), ("GovPause", "open", None),
    ]  # fmt: skip
    kept.verify()


def test_the_reader_pages_without_a_gap_by_account_and_by_status(kept: Kept) -> None:
    reader = kept.reader.settlement
    everything = reader.payouts_page(limit=10)
    assert [row.id for row in everything] == [3, 2, 1, 0]
    assert [row.status for row in everything] == ["pending", "batched", "batched", "paid"]
    assert [row.id for row in reader.payouts_page(limit=2, before=2)] == [1, 0]
    alice = key("alice").address
    assert [row.id for row in reader.payouts_page(account=alice, limit=5)] == [2, 0]
    for status, ids in (("pending", [3]), ("batched", [2, 1]), ("paid", [0])):
        assert [row.id for row in reader.payouts_page(status=status, limit=5)] == ids  # type: ignore[arg-type]
    assert [row.id for row in reader.payouts_page(account=alice, status="batched", limit=5)] == [2]
    paid = reader.payout(0)
    assert paid is not None
    assert paid == everything[3]
    assert (paid.amount, paid.action, paid.kind) == (5, 0, "withdrawal")
    assert reader.payout(4) is None
    actions = reader.actions_page(None, 5)
    assert [(row.nonce, row.status, row.payouts, row.total) for row in actions] == [
        (1, "signed", 2, 13), (0, "executed", 1, 5),
    ]  # fmt: skip
    assert reader.actions_page((1, 1), 5) == actions[1:]
    assert reader.action(1, 1) == actions[0]
    assert reader.action(2, 0) is None
    event = reader.event_of(1, 0)
    assert event is not None
    assert (event.event_nonce, event.kind, event.transaction_hash) == (1, "batch", actions[1].transaction_hash)
    assert [row.kind for row in reader.proposals_page(None, 5)] == ["GovBindContract", "GovSetParameter"]
    assert reader.proposals_page((0, 0), 5) == ()


def test_an_idle_ledger_has_no_rows_and_empty_pages(open_role: OPEN) -> None:
    kept = Kept(open_role("ledger"))
    kept.books.run()
    kept.store()
    reader = kept.reader.settlement
    assert not any(kept.dump().values())
    assert reader.payouts_page(status="pending", limit=5) == reader.payouts_page(status="paid", limit=5) == ()
    assert reader.actions_page(None, 5) == ()
    kept.verify()


def test_a_failed_decide_transaction_leaves_no_row_and_can_be_repeated(open_role: OPEN) -> None:
    kept = Kept(open_role("ledger"))
    busy(kept.books)
    with kept.database.write() as connection:
        connection.exec_driver_sql("INSERT INTO proposals VALUES (1, 9999, ?, 'x', NULL, NULL)".replace(
            "?", "x'00'" if kept.database.is_sqlite else "'\\x00'"))
    with kept.database.write() as connection:
        connection.exec_driver_sql("ALTER TABLE layer2_events RENAME TO away")
    with pytest.raises(LedgerError):
        kept.store()
    assert kept.writer.height == 0
    with kept.database.write() as connection:
        connection.exec_driver_sql("ALTER TABLE away RENAME TO layer2_events")
        connection.exec_driver_sql("DELETE FROM proposals")
        assert connection.exec_driver_sql("SELECT count(*) FROM payouts").scalar() == 0
    kept.store()
    kept.verify()


def test_a_recovered_network_begins_with_the_rows_of_the_state_that_it_took_over(open_role: OPEN) -> None:
    books = busy(Books())
    first = dict(books.chain.state.items())
    database = open_role("ledger")
    writer = LedgerWriter(database)
    genesis = books.genesis
    header = books.chain.executor.genesis_block(books.chain.state.root)
    writer.initialise(genesis, header, first.items())
    reader = LedgerReader(database).settlement
    assert [(row.id, row.status, row.amount) for row in reader.payouts_page(limit=9)] == [
        (3, "pending", 9), (2, "batched", 7), (1, "batched", 6),
    ]  # fmt: skip
    assert [(row.nonce, row.status, row.binding) for row in reader.actions_page(None, 9)] == [
        (1, "signed", 1), (0, "executed", 1),
    ]  # fmt: skip
    found = Projector(database, books.chain.executor.types, books.chain.executor.event_types)
    rows = reader.payouts_page(limit=9), reader.actions_page(None, 9)
    found.reindex()
    assert (reader.payouts_page(limit=9), reader.actions_page(None, 9)) == rows


def test_an_older_ledger_is_upgraded_with_its_blocks(target: str) -> None:
    """A ledger of revision 0001 with blocks gets the new tables, empty, and goes on."""
    database = open_database(target, role="ledger")
    with database.write() as connection:
        command.upgrade(alembic_config("ledger", connection), "0001")
    assert revision_of(database) == "0001"
    books = Books()
    header, genesis_records = books.chain.tip, tuple(sorted(books.chain.state.items()))
    books.run()

    with database.write() as connection:
        insert_rows(connection, schema.chain, [(1, books.genesis.hash, encode(books.genesis), schema.LEDGER_FORMAT)])
        changes = tuple(StateChange(*each) for each in genesis_records)
        insert_rows(connection, schema.blocks, [genesis_row(header, changes), row_of(books.chain.blocks[0], 0)])
        before = connection.execute(sa.select(schema.blocks)).all()
    assert upgrade(database)
    with database.read() as connection:
        assert connection.execute(sa.select(schema.blocks)).all() == before
    writer = LedgerWriter(database)
    writer.initialise(books.genesis, header, genesis_records)
    busy(books)
    writer.apply(books.chain.blocks[1:])
    assert len(LedgerReader(database).settlement.payouts_page(limit=9)) == 4
    with database.write() as connection:
        command.downgrade(alembic_config("ledger", connection), "0001")
    assert revision_of(database) == "0001"
    assert upgrade(database)
    database.close()


def test_an_event_of_the_same_name_in_another_application_is_none_of_ours() -> None:
    class Foreign(EventData, frozen=True):
        text: Text

    event = Event("ActionSigned", encode(Foreign("x")))
    block = msgspec.structs.replace(Books().run(), end_events=(event,))
    theirs = SettlementDeriver({**EVENT_TYPES, "ActionSigned": Foreign}).derive_blocks([block], 0)
    assert not theirs
    with pytest.raises(LedgerCorrupt, match="ActionSigned cannot be read"):
        SettlementDeriver().derive_blocks([block], 0)
    ours = msgspec.structs.replace(block, end_events=(Event("ActionSigned", encode(ActionSigned(3))),))
    assert SettlementDeriver().derive_blocks([ours], 5).signed == [(block.height, 5, 3)]
