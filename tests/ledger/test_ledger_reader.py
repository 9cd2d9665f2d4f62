"""Pages, look-ups, histories and catch-up."""

from __future__ import annotations

import pytest
from ledger_chain import StoredChain

from potchain.blocks import SKIPPED
from potchain.errors import LedgerCorrupt, LedgerError
from potchain.ledger.reader import LedgerReader


def test_pages_join_without_gap_or_overlap(ledger: StoredChain) -> None:
    ledger.grow_mixed(9)
    heights: list[int] = []
    after = None
    while page := ledger.reader.blocks_page(after, 4):
        heights += [block.height for block in page]
        after = page[-1].height
    assert heights == list(range(9, -1, -1))
    assert [block.height for block in ledger.reader.blocks_page(3, 4, ascending=True)] == [4, 5, 6, 7]
    assert [block.height for block in ledger.reader.blocks_page(None, 2, ascending=True)] == [0, 1]
    assert ledger.reader.blocks_page(9, 5, ascending=True) == ()
    assert ledger.reader.blocks_page(None, 0) == ()


def test_a_transaction_is_found_where_it_executed(ledger: StoredChain) -> None:
    ledger.grow_mixed(3)
    ledger.project_all()
    for block in ledger.chain.blocks:
        for index, receipt in enumerate(block.receipts):
            found = ledger.reader.locate(receipt.transaction_id)
            assert found == (None if receipt.status == SKIPPED else (block.height, index))
            inclusion = ledger.reader.inclusion(block.height, index)
            assert inclusion is not None
            assert (inclusion.header, inclusion.hash) == (block.header, block.hash)
            assert (inclusion.raw, inclusion.receipt) == (block.bodies[index], receipt)
            assert inclusion.transaction_id == receipt.transaction_id
            assert inclusion.certified
    assert ledger.reader.locate(bytes(32)) is None


def test_a_skipped_inclusion_gives_way_to_the_one_that_executed(ledger: StoredChain) -> None:
    early = ledger.chain.transfer(0, 1, nonce=1)
    first = ledger.chain.transfer(0, 1)
    ledger.writer.apply([ledger.chain.grow([early, first]), ledger.chain.grow([early])])
    ledger.project_all()
    assert [block.receipts[0].status for block in ledger.chain.blocks] == ["skipped", "ok"]
    assert ledger.reader.locate(early.id) == (2, 0)
    assert ledger.reader.account_history(ledger.chain.keys[0].address) == ((2, 0), (1, 1))


def test_places_that_do_not_exist(ledger: StoredChain) -> None:
    ledger.grow_mixed(1, certified=False)
    reader = ledger.reader
    assert reader.block(2) is None
    assert reader.header(2) is None
    assert reader.bodies(2) is None
    assert reader.changes(2) is None
    assert reader.contents(2) is None
    assert reader.block_by_hash(bytes(32)) is None
    assert reader.inclusion(2, 0) is None
    assert reader.inclusion(1, 99) is None
    assert reader.inclusion(1, -1) is None
    inclusion = reader.inclusion(1, 0)
    assert inclusion is not None
    assert not inclusion.certified
    # What was not there may come: nothing of "not there" is remembered.
    ledger.grow_mixed(1)
    assert reader.contents(2) is not None


def test_history_pages_join(ledger: StoredChain) -> None:
    ledger.grow_mixed(8)
    ledger.project_all()
    address = ledger.chain.keys[2].address
    whole = ledger.reader.account_history(address)
    assert list(whole) == sorted(whole, reverse=True)
    assert len(whole) > 10
    pages: list[tuple[int, int]] = []
    before = None
    while page := ledger.reader.account_history(address, before, 3):
        pages += page
        before = page[-1]
    assert pages == list(whole)
    assert ledger.reader.account_history(bytes(20)) == ()


def test_sync_blocks_are_bounded_by_count_and_bytes(ledger: StoredChain) -> None:
    ledger.grow_mixed(6, certified=False)
    ledger.writer.store_certificates([ledger.chain.certificate(2)])
    found = ledger.reader.sync_blocks(1, 100, 10**9)
    assert [block.proposal.header.sequence for block in found] == [1, 2, 3, 4, 5, 6]
    for sync, block in zip(found, ledger.chain.blocks, strict=True):
        assert (sync.proposal, sync.bodies) == (block.proposal, block.bodies)
        assert sync.order_certificate == block.order_certificate
    assert [sync.block_certificate is not None for sync in found] == [False, True, False, False, False, False]
    assert len(ledger.reader.sync_blocks(0, 2, 10**9)) == 2
    assert len(ledger.reader.sync_blocks(2, 100, 1)) == 1
    assert ledger.reader.sync_blocks(7, 100, 1) == []


def test_a_slow_query_is_an_error_and_no_partial_answer(ledger: StoredChain) -> None:
    ledger.grow_mixed(2)
    if ledger.database.is_sqlite:
        ledger.execute(
            "CREATE VIEW slow AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000000) "
            "SELECT count(*) AS n FROM n"
        )
        ledger.execute("ALTER TABLE blocks RENAME TO stored")
        ledger.execute("CREATE VIEW blocks AS SELECT stored.* FROM stored, slow WHERE slow.n > 0")
    else:
        ledger.execute("ALTER TABLE blocks RENAME TO stored")
        ledger.execute("CREATE VIEW blocks AS SELECT stored.* FROM stored, pg_sleep(10)")
    with pytest.raises(LedgerError, match="passed its deadline"):
        LedgerReader(ledger.database, 50_000_000).blocks_page(None, 10)


def test_damage_that_is_met_while_reading_names_the_height(ledger: StoredChain) -> None:
    ledger.grow_mixed(2)
    ledger.execute("UPDATE blocks SET header = ? WHERE height = 1", (b"\x90",))
    with pytest.raises(LedgerCorrupt, match="height 1"):
        ledger.reader.header(1)


def test_views_show_hex(ledger: StoredChain) -> None:
    ledger.grow_mixed(2, certified=False)
    ledger.writer.store_certificates([ledger.chain.certificate(1)])
    ledger.project_all()
    first = ledger.chain.blocks[0]
    with ledger.database.read() as connection:
        block = connection.exec_driver_sql("SELECT * FROM v_blocks WHERE height = 1").one()
        assert block.block_hash == "0x" + first.hash.hex()
        assert block.proposer == "0x" + first.header.proposer.hex()
        assert block.certified
        assert not connection.exec_driver_sql("SELECT certified FROM v_blocks WHERE height = 2").scalar()
        assert connection.exec_driver_sql("SELECT proposer FROM v_blocks WHERE height = 0").scalar() is None
        row = connection.exec_driver_sql("SELECT * FROM v_transactions ORDER BY height, position LIMIT 1").one()
        assert row.sender == "0x" + ledger.chain.keys[0].address.hex()
        assert int(row.amount) == 1
        assert row.block_time_ms == first.header.block_time_ms
        accounts = {row.address for row in connection.exec_driver_sql("SELECT * FROM v_accounts")}
        assert accounts == {"0x" + key.address.hex() for key in ledger.chain.keys}
