"""Start check and verification: every changed byte is found, and its height named."""

from __future__ import annotations

import msgspec
import pytest
import sqlalchemy as sa
from ledger_chain import StoredChain, rehashed, with_changes

from potchain.application.state import AuthenticatedState
from potchain.blocks import BlockCertificate, OrderCertificate, StateChange
from potchain.codec import encode
from potchain.errors import LedgerCorrupt, LedgerError
from potchain.ledger import schema
from potchain.ledger.check import ChainSummary, check_chain
from potchain.ledger.reader import LedgerReader
from potchain.ledger.stored import BlockBlobs, certificate_checksum
from potchain.ledger.verify import verify_chain
from potchain.primitives import uint256

BLOBS = ("header", "order_certificate", "proposal", "bodies", "receipts", "changes")
COLUMNS = ("hash", "digest", "proposer", "checksum")
NUMBERS = ("epoch", "block_time_ms", "tx_count", "tx_total")


def check(ledger: StoredChain) -> ChainSummary:
    chain = ledger.chain
    return check_chain(LedgerReader(ledger.database), chain.genesis, chain.genesis_header, AuthenticatedState())


def verify(ledger: StoredChain) -> ChainSummary:
    return verify_chain(LedgerReader(ledger.database), ledger.chain.authorities(), AuthenticatedState())


@pytest.fixture
def stored(ledger: StoredChain) -> StoredChain:
    ledger.grow_mixed(4)
    ledger.project_all()
    return ledger


def test_a_good_ledger_passes_both(ledger: StoredChain) -> None:
    ledger.grow_mixed(40, 2)
    ledger.grow_mixed(2, certified=False)
    ledger.project_all()
    ledger.grow_mixed(2)
    seen: list[tuple[int, int]] = []
    state = AuthenticatedState()
    chain = ledger.chain
    reader = LedgerReader(ledger.database)
    summary = check_chain(
        reader, chain.genesis, chain.genesis_header, state, lambda height, tip: seen.append((height, tip))
    )
    assert (summary.height, summary.hash) == (44, chain.blocks[-1].hash)
    assert summary.state_root == state.root == chain.state.root
    assert summary.transactions == sum(len(block.bodies) for block in chain.blocks)
    assert summary.certificates == 42
    assert seen == [(height, 44) for height in range(45)]
    assert verify(ledger) == summary


def _flip(ledger: StoredChain, table: sa.Table, column: str, height: int, at: int) -> None:
    found = sa.select(table.c[column]).where(table.c.height == height)
    with ledger.database.write() as connection:
        data = bytearray(connection.execute(found).scalar_one())
        data[at % len(data)] ^= 1
        connection.execute(sa.update(table).where(table.c.height == height).values({column: bytes(data)}))


@pytest.mark.parametrize("column", BLOBS + COLUMNS)
def test_one_flipped_byte_is_found_at_its_height(stored: StoredChain, column: str) -> None:
    for at in (0, 37, -1):
        _flip(stored, schema.blocks, column, 3, at)
        for run in (check, verify):
            with pytest.raises(LedgerCorrupt, match="height 3") as caught:
                run(stored)
            assert caught.value.height == 3
        _flip(stored, schema.blocks, column, 3, at)
    assert check(stored).height == 4


@pytest.mark.parametrize("column", NUMBERS)
def test_a_changed_number_is_found(stored: StoredChain, column: str) -> None:
    stored.execute(f"UPDATE blocks SET {column} = {column} + 1 WHERE height = 2")
    with pytest.raises(LedgerCorrupt, match="height 2"):
        check(stored)


@pytest.mark.parametrize("column", ["data", "checksum"])
def test_a_flipped_byte_of_a_certificate_is_found(stored: StoredChain, column: str) -> None:
    _flip(stored, schema.block_certificates, column, 2, -1)
    with pytest.raises(LedgerCorrupt, match="height 2"):
        check(stored)


def _reseal(ledger: StoredChain, height: int) -> None:
    """Make the checksum fit again, as someone who tampers would."""
    table = schema.blocks
    with ledger.database.write() as connection:
        row = connection.execute(sa.select(*(table.c[name] for name in BLOBS)).where(table.c.height == height)).one()
        connection.execute(
            sa.update(table).where(table.c.height == height).values(checksum=BlockBlobs(*row).checksum())
        )


@pytest.mark.parametrize("column", ["header", "proposal", "receipts", "changes"])
def test_what_the_header_covers_is_found_even_with_a_new_checksum(stored: StoredChain, column: str) -> None:
    _flip(stored, schema.blocks, column, 3, -1)
    _reseal(stored, 3)
    with pytest.raises(LedgerCorrupt, match="height 3"):
        check(stored)


@pytest.mark.parametrize("column", ["bodies", "order_certificate"])
def test_signatures_are_found_by_verify_even_with_a_new_checksum(stored: StoredChain, column: str) -> None:
    _flip(stored, schema.blocks, column, 3, -1)
    _reseal(stored, 3)
    with pytest.raises(LedgerCorrupt, match="height 3"):
        verify(stored)


def test_a_forged_block_certificate_is_found_by_verify(stored: StoredChain) -> None:
    good = stored.chain.certificate(2)
    swapped = msgspec.structs.replace(good.signatures[0], signature=good.signatures[1].signature)
    forged = encode(BlockCertificate(0, 2, good.block_hash, (swapped, *good.signatures[1:])))
    stored.execute(
        "UPDATE block_certificates SET data = ?, checksum = ? WHERE height = 2",
        (forged, certificate_checksum(forged)),
    )
    assert check(stored).certificates == 4
    with pytest.raises(LedgerCorrupt, match="height 2: block certificate: bad block signature"):
        verify(stored)


def test_missing_blocks_are_found(stored: StoredChain) -> None:
    stored.execute("DELETE FROM block_certificates WHERE height = 2")
    stored.execute("DELETE FROM blocks WHERE height = 2")
    with pytest.raises(LedgerCorrupt, match="height 2: no block; the next one stored is 3"):
        check(stored)


def test_the_genesis_block_is_checked(stored: StoredChain) -> None:
    _flip(stored, schema.blocks, "changes", 0, 40)
    with pytest.raises(LedgerCorrupt, match="height 0"):
        check(stored)


def test_another_genesis_is_refused(stored: StoredChain) -> None:
    other = msgspec.structs.replace(stored.chain.genesis, chain_id="other")
    with pytest.raises(LedgerError, match="belongs to the network"):
        check_chain(stored.reader, other, stored.chain.genesis_header, AuthenticatedState())


def test_wrong_results_with_right_hashes_are_found_by_executing_again(ledger: StoredChain) -> None:
    # A whole block consistent in itself: someone gives himself money, and everything is hashed and certified anew.
    chain = ledger.chain
    good = chain.grow_mixed(1)[0]
    stolen = StateChange(b"account/" + b"\x66" * 20, bytes.fromhex("9200c420") + uint256(10**9))
    changes = tuple(sorted((*good.changes, stolen), key=lambda change: change.key))
    root = chain.state.apply([stolen])
    block = with_changes(rehashed(good, msgspec.structs.replace(good.header, state_root=root)), changes)
    chain.blocks[0] = block
    ledger.writer.apply([block])
    ledger.writer.store_certificates([chain.certificate(1)])
    assert check(ledger).height == 1
    with pytest.raises(LedgerCorrupt, match="height 1: executing it again gives another state_root"):
        verify(ledger)


def test_an_order_certificate_of_another_digest_is_found(ledger: StoredChain) -> None:
    block = ledger.chain.grow_mixed(1)[0]
    ledger.writer.apply([msgspec.structs.replace(block, order_certificate=OrderCertificate("test", 1, bytes(32)))])
    with pytest.raises(LedgerCorrupt, match="height 1: order certificate"):
        verify(ledger)


@pytest.mark.parametrize(
    ("sql", "named"),
    [
        ("UPDATE accounts SET nonce = nonce + 1", "state rows"),
        ("DELETE FROM state_records", "state rows"),
        ("UPDATE transactions SET status = 'ok' WHERE status = 'failed'", "transactions"),
        ("DELETE FROM account_transactions WHERE height = 2", "account_transactions"),
        ("UPDATE events SET kind = 'Other' WHERE height = 2 AND position = 1", "events"),
    ],
)
def test_rows_that_differ_from_the_blocks_are_named(stored: StoredChain, sql: str, named: str) -> None:
    stored.execute(sql)
    assert check(stored).height == 4
    with pytest.raises(LedgerError, match=f"projected {named}.*reindex"):
        verify(stored)
    stored.projector.reindex()
    assert verify(stored).height == 4


def test_a_partly_projected_ledger_verifies(ledger: StoredChain) -> None:
    ledger.grow_mixed(3, 40)
    for _ in range(4):
        ledger.projector.project(1, lambda: 0)
        assert verify(ledger).height == 3
