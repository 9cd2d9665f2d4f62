"""Projections: the same rows whatever the slices, and nothing lost by a crash between them."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledger_chain import StoredChain, with_changes

from potchain.application.accounts import ACCOUNT_PREFIX, TREASURY_KEY, Account, account_key, load_account
from potchain.application.interface import EventData
from potchain.blocks import OK, Event, Receipt, Receipts, StateChange
from potchain.codec import encode
from potchain.errors import LedgerCorrupt, LedgerError
from potchain.ledger import projection, schema
from potchain.ledger.history import (
    ADDRESS_KEY,
    ID_KEY,
    HistoryDeriver,
    HistoryRows,
    history_addresses,
    id_prefix,
)
from potchain.ledger.keyed_rows import RANGES, KeyedBatch
from potchain.ledger.projection import Projector
from potchain.ledger.rows import cut_rows, insert_values, upsert_values
from potchain.ledger.state_rows import state_at_tip
from potchain.primitives import Address, Bytes, Bytes32, Text, Uint64, Uint256, uint256
from potchain.transactions import TransactionBody, TransactionTypes

ALL = (*schema.PROJECTIONS, schema.projection_progress)


def projector_of(ledger: StoredChain) -> Projector:
    return Projector(ledger.database, ledger.chain.types, ledger.chain.executor.event_types)


def test_rows_say_what_the_blocks_say(ledger: StoredChain) -> None:
    ledger.grow_mixed(6)
    assert ledger.projector.lag() > 0
    ledger.project_all()
    assert ledger.projector.lag() == 0
    assert ledger.projector.height == 6
    rows = ledger.dump(*ALL)
    chain = ledger.chain
    inclusions = [(block, index) for block in chain.blocks for index in range(len(block.bodies))]
    assert [(row[0], row[1]) for row in rows["transactions"]] == [(block.height, index) for block, index in inclusions]
    for row, (block, index) in zip(rows["transactions"], inclusions, strict=True):
        transaction = chain.types.parse(block.bodies[index])
        receipt = block.receipts[index]
        assert row[2:] == (
            transaction.id,
            transaction.sender,
            transaction.nonce,
            "Transfer",
            int.from_bytes(receipt.fee, "big"),
            receipt.status,
            receipt.code,
            transaction.body.to,  # type: ignore[attr-defined]
            int.from_bytes(transaction.body.amount, "big"),  # type: ignore[attr-defined]
        )
    assert {row[7] for row in rows["transactions"]} == {"ok", "failed", "skipped"}
    assert len(rows["events"]) == sum(receipt.status == OK for block in chain.blocks for receipt in block.receipts)
    first = json.loads(rows["events"][0][4])
    assert first == {
        "from": "0x" + chain.keys[0].address.hex(),
        "to": "0x" + chain.keys[1].address.hex(),
        "amount": "1",
        "memo": "0x" + b"memo".hex(),
    }
    assert {(row[0], row[1], row[2]) for row in rows["accounts"]} == {
        (key.address, account.nonce, int.from_bytes(account.balance, "big"))
        for key, account in ((key, load_account(chain.state, key.address)) for key in chain.keys)
    }
    others = {key: value for key, value in chain.state.items() if not key.startswith(ACCOUNT_PREFIX)}
    assert TREASURY_KEY in others
    assert {row[0]: row[1] for row in rows["state_records"]} == others


def test_state_at_tip_at_any_progress(ledger: StoredChain) -> None:
    ledger.grow_mixed(3)
    expected = dict(ledger.chain.state.items())
    assert dict(state_at_tip(ledger.reader)) == expected
    while ledger.projector.project(1, lambda: 0):
        assert dict(state_at_tip(ledger.reader)) == expected
    ledger.project_all()
    assert dict(state_at_tip(ledger.reader)) == expected
    ledger.grow_mixed(2)
    assert dict(state_at_tip(ledger.reader)) == dict(ledger.chain.state.items())


def test_slices_of_processes_that_crash_add_up(ledger: StoredChain, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger.grow_mixed(3)
    ledger.project_all()
    ledger.grow_mixed(5)
    monkeypatch.setattr(projection, "CHUNK_INCLUSIONS", 1)
    positions = set()
    # Every slice but the first is done by a projector that knows only what is in the database; keyed rows, which wait
    # in memory, are lost each time and derived again.
    for count in range(1, 60):
        fresh = projector_of(ledger)
        for _ in range(count):
            if not fresh.project(1, lambda: 0):
                break
        positions.add(ledger.dump(schema.projection_progress)["projection_progress"][0][2])
        assert fresh.height == 3
    assert len(positions) > 3
    projector_of(ledger).catch_up()
    sliced = ledger.dump(*ALL)
    ledger.projector.reindex()
    assert ledger.dump(*ALL) == sliced


def test_a_crash_between_ranges_of_keys_is_made_good(ledger: StoredChain, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger.grow_mixed(6)
    ledger.project_all()
    expected = ledger.dump(*ALL)
    ledger.execute("DELETE FROM accounts")
    for table in (*schema.PROJECTIONS, schema.projection_progress):
        ledger.execute(f"DELETE FROM {table.name}")
    monkeypatch.setattr(projection, "BATCH_BYTES_MAX", 0)
    monkeypatch.setattr(projection, "BATCH_BLOCKS_MAX", 2)
    ticks = iter(range(0, 10**12, 10**6))
    for slices in range(1, 140, 9):
        fresh = projector_of(ledger)
        for _ in range(slices):
            fresh.project(1, lambda: next(ticks))
        assert dict(state_at_tip(ledger.reader)) == dict(ledger.chain.state.items())
    projector_of(ledger).catch_up()
    assert ledger.dump(*ALL) == expected


def test_keyed_rows_wait_for_company_but_not_for_ever(ledger: StoredChain) -> None:
    ledger.grow_mixed(3)
    now = [1_000]
    while ledger.projector.project(5_000_000, lambda: now[0]):
        pass
    assert ledger.projector.lag() == 0
    assert ledger.projector.height == -1
    assert ledger.projector.due_in_ns(now[0]) == projection.FLUSH_AFTER_NS
    assert ledger.dump(schema.transaction_ids)["transaction_ids"] == []
    now[0] += projection.FLUSH_AFTER_NS
    assert ledger.projector.due_in_ns(now[0]) == 0
    while ledger.projector.project(5_000_000, lambda: now[0]):
        pass
    assert ledger.projector.height == 3
    assert ledger.projector.due_in_ns(now[0]) is None
    assert ledger.dump(schema.transaction_ids)["transaction_ids"] != []


def test_reindex_gives_identical_rows(ledger: StoredChain) -> None:
    for _ in range(3):
        ledger.grow_mixed(4)
        ledger.project_all()
    before = ledger.dump(*ALL)
    seen: list[tuple[int, int]] = []
    ledger.projector.reindex(lambda height, tip: seen.append((height, tip)))
    assert ledger.dump(*ALL) == before
    assert seen[-1] == (12, 12)


def test_a_fault_in_a_slice_leaves_progress_and_rows_alone(ledger: StoredChain) -> None:
    ledger.grow_mixed(4)
    ledger.project_all()
    before = ledger.dump(*ALL)
    ledger.grow_mixed(1)
    ledger.execute("INSERT INTO events VALUES (5, 1, NULL, 'in the way', '{}')")
    with pytest.raises(Exception, match=r"(?i)unique"):
        ledger.project_all()
    ledger.execute("DELETE FROM events WHERE kind = 'in the way'")
    assert ledger.dump(schema.transactions)["transactions"] == before["transactions"]
    ledger.project_all()
    assert ledger.projector.lag() == 0


def test_a_fault_among_keyed_rows_loses_none(ledger: StoredChain) -> None:
    ledger.grow_mixed(4)
    ledger.execute("ALTER TABLE account_transactions RENAME TO away")
    with pytest.raises(LedgerError):
        ledger.project_all()
    assert ledger.projector.height == -1
    ledger.execute("ALTER TABLE away RENAME TO account_transactions")
    ledger.project_all()
    before = ledger.dump(*ALL)
    assert before["account_transactions"] != []
    ledger.projector.reindex()
    assert ledger.dump(*ALL) == before


def test_empty_blocks_move_the_progress(ledger: StoredChain) -> None:
    ledger.writer.apply([ledger.chain.grow([]) for _ in range(3)])
    ledger.project_all()
    assert ledger.projector.height == 3
    assert ledger.projector.lag() == 0


def test_a_large_balance_survives(ledger: StoredChain) -> None:
    address = b"\x07" * 20
    value = encode(Account(nonce=2**63 - 1, balance=uint256(2**256 - 1)))
    block = ledger.chain.grow([])
    ledger.writer.apply([with_changes(block, (StateChange(account_key(address), value),))])
    ledger.project_all()
    assert (address, 2**63 - 1, 2**256 - 1, 1, 1) in ledger.dump(schema.accounts)["accounts"]
    assert dict(state_at_tip(ledger.reader))[account_key(address)] == value


def test_an_unreadable_body_names_its_height(ledger: StoredChain) -> None:
    ledger.grow_mixed(2)
    ledger.execute("UPDATE blocks SET bodies = ? WHERE height = 2", (b"\x91\x91\xc4\x01x",))
    with pytest.raises(LedgerCorrupt, match="height 2"):
        ledger.project_all()


def test_history_names_the_receiver_only_of_what_happened(ledger: StoredChain) -> None:
    transaction = ledger.chain.transfer(0, 1)
    sender, receiver = ledger.chain.keys[0].address, ledger.chain.keys[1].address
    assert history_addresses(transaction.body, "ok") == (sender, receiver)
    assert history_addresses(transaction.body, "failed") == (sender,)
    assert history_addresses(transaction.body, "skipped") == ()
    assert history_addresses(ledger.chain.transfer(0, 0).body, "ok") == (sender,)


_KEYS = st.sampled_from([b"a", b"b", account_key(b"\x01" * 20)])
_VALUE = bytes.fromhex("9205c420") + uint256(9)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    blocks=st.lists(st.dictionaries(_KEYS, st.booleans(), max_size=3), max_size=6),
    cuts=st.lists(st.integers(0, 6), max_size=3),
)
def test_state_rows_do_not_depend_on_how_blocks_are_merged(
    ledger: StoredChain, blocks: list[dict[bytes, bool]], cuts: list[int]
) -> None:
    def rows_of(boundaries: list[int]) -> dict[str, list[tuple[object, ...]]]:
        ledger.execute("DELETE FROM accounts")
        ledger.execute("DELETE FROM state_records")
        edges = sorted({0, *boundaries, len(blocks)} & set(range(len(blocks) + 1)))
        for start, stop in pairwise(edges):
            batch = KeyedBatch()
            for height in range(start, stop):
                changes = [(key, _VALUE if put else None) for key, put in sorted(blocks[height].items())]
                batch.add_changes(height, changes)
            with ledger.database.write() as connection:
                for at in range(RANGES):
                    batch.write_range(connection, at)
        return ledger.dump(schema.accounts, schema.state_records)

    assert rows_of(cuts) == rows_of(list(range(len(blocks))))


def test_the_cost_of_a_slice_follows_its_budget(ledger: StoredChain) -> None:
    ledger.grow_mixed(8, 40)
    ticks = iter(range(0, 10**12, 10**6))
    done = []
    while count := ledger.projector.project(5_000_000, lambda: next(ticks)):
        done.append(count)
    # The clock goes 1 ms at every look, so a slice of 5 ms ends after a few blocks.
    assert len(done) > 2
    assert ledger.projector.lag() == 0


def test_who_waits_ends_a_slice_after_one_chunk(ledger: StoredChain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projection, "CHUNK_INCLUSIONS", 4)
    ledger.grow_mixed(4)
    lags = [ledger.projector.lag()]
    while ledger.projector.project(10**12, lambda: 0, lambda: True):
        lags.append(ledger.projector.lag())
    assert max(before - after for before, after in pairwise(lags)) <= 5
    assert lags[-1] == 0
    ledger.grow_mixed(4)
    ledger.projector.project(10**12, lambda: 0, lambda: False)
    assert ledger.projector.lag() == 0


def test_many_keyed_rows_do_not_wait(ledger: StoredChain, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger.grow_mixed(3)
    monkeypatch.setattr(projection, "FLUSH_BYTES", 1)
    while ledger.projector.project(5_000_000, lambda: 0):
        pass
    assert ledger.projector.lag() == 0
    assert ledger.projector.height == 3
    assert ledger.projector.due_in_ns(0) is None


def test_a_full_batch_is_written_at_the_end_of_its_block(ledger: StoredChain, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger.project_all()
    monkeypatch.setattr(projection, "CHUNK_INCLUSIONS", 4)
    monkeypatch.setattr(projection, "BATCH_BYTES_MAX", 1)
    ledger.grow_mixed(4, 9)
    heights = []
    while ledger.projector.project(10_000, lambda: 0):
        heights.append(ledger.projector.height)
    # The second slice of a block finds the batch full: it ends with the block, and the next one writes the batch.
    assert sorted(set(heights)) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("count", [0, 1, 7, 8, 63, 64, 137])
def test_values_are_cut_into_rows(ledger: StoredChain, count: int) -> None:
    rows = [(number % 5, number, 1 + number % 3) for number in range(count)]
    values = [value for row in rows for value in row]
    table = schema.transaction_ids
    with ledger.database.write() as connection:
        insert_values(connection, table, values)
        upsert_values(connection, table, [*values, 9, 9, 9], ())
    assert ledger.dump(table)["transaction_ids"] == sorted([*rows, (9, 9, 9)])
    with pytest.raises(LedgerError), ledger.database.write() as connection:
        insert_values(connection, table, [8, 8, 8, 9, 9, 9])
    assert ledger.dump(table)["transaction_ids"] == sorted([*rows, (9, 9, 9)])


class Everything(TransactionBody, frozen=True):
    """A kind with a member of every type, and two addresses."""

    to: Address
    broker: Address
    amount: Uint256
    reference: Bytes32
    note: Text
    memo: Bytes


class Happened(EventData, frozen=True):
    """An event with a member of every type."""

    to: Address
    valid_until: Uint64
    amount: Uint256
    reference: Bytes32
    note: Text
    memo: Bytes


class Nothing(EventData, frozen=True):
    """An event without members."""


def test_members_of_every_type_are_shown() -> None:
    sender, to, large = b"\x01" * 20, b"\x02" * 20, 2**256 - 1
    types = TransactionTypes([Everything], bytes(32))
    note = 'say "%s" {}\n\\'
    happened = Happened(to, 2**64 - 1, uint256(large), bytes(32), note, b"\xff")
    events = (
        Event("Happened", encode(happened)), Event("Nothing", encode(Nothing())), Event("Unknown", b"\x80")
    )  # fmt: skip

    def rows_of(broker: bytes, status: Literal["ok", "failed", "skipped"]) -> HistoryRows:
        body = Everything(sender, 7, uint256(10), 0, to, broker, uint256(large), bytes(32), note, b"")
        raw = types.assemble(body, bytes(65)).raw
        receipt = Receipt(b"\xfe" * 32, 0, status, "", uint256(10), events)
        deriver = HistoryDeriver(types, {"Happened": Happened, "Nothing": Nothing})
        rows = HistoryRows()
        deriver.derive(5, (raw,), Receipts((receipt,), events[:1]), 0, 1, rows)
        for address in history_addresses(body, status):
            assert ADDRESS_KEY.pack(address, 5, 0) in rows.account_transactions
        assert len(rows.account_transactions) == len(history_addresses(body, status))
        return rows

    rows = rows_of(b"\x03" * 20, "ok")
    assert rows.transactions == [5, 0, b"\xfe" * 32, sender, 7, "Everything", "10", "ok", "", to, str(large)]
    assert [ID_KEY.unpack(key) for key in rows.transaction_ids] == [(id_prefix(b"\xfe" * 32), 5, 0)]
    assert [ADDRESS_KEY.unpack(key)[0] for key in rows.account_transactions] == [sender, to, b"\x03" * 20]
    assert [row[:4] for row in cut_rows(schema.events, rows.events)] == [
        [5, 0, 0, "Happened"], [5, 1, 0, "Nothing"], [5, 2, 0, "Unknown"], [5, 3, None, "Happened"]
    ]  # fmt: skip
    shown = [json.loads(row[4]) for row in cut_rows(schema.events, rows.events)]
    assert shown[0] == {
        "to": "0x" + to.hex(), "validUntil": 2**64 - 1, "amount": str(large), "reference": "0x" + "00" * 32,
        "note": note, "memo": "0xff",
    }  # fmt: skip
    assert shown[1:] == [{}, {"data": "0x80"}, shown[0]]
    assert len(rows_of(to, "ok").account_transactions) == 2
    assert len(rows_of(sender, "ok").account_transactions) == 2
    assert len(rows_of(to, "failed").account_transactions) == 1
    assert rows_of(to, "skipped").transaction_ids == []
