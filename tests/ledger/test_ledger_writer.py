"""The decide transaction: what goes in comes out, wholly or not at all."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from ledger_chain import Chain, StoredChain, make_genesis

from potchain.codec import encode
from potchain.errors import LedgerCorrupt, LedgerError
from potchain.ledger import schema
from potchain.ledger.database import Database
from potchain.ledger.reader import LedgerReader
from potchain.ledger.schema import Role
from potchain.ledger.writer import LedgerWriter


def test_blocks_come_back_as_they_were(ledger: StoredChain) -> None:
    blocks = ledger.chain.grow_mixed(7)
    ledger.writer.apply(blocks[:1])
    ledger.writer.apply(blocks[1:])
    assert ledger.writer.height == 7
    tip = ledger.reader.tip()
    assert (tip.height, tip.hash, tip.header) == (7, blocks[-1].hash, blocks[-1].header)
    assert tip.tx_total == sum(len(block.bodies) for block in blocks)
    for block in blocks:
        stored = ledger.reader.block(block.height)
        assert (stored.header, stored.hash, stored.proposal) == (block.header, block.hash, block.proposal)
        assert stored.order_certificate == block.order_certificate
        assert stored.block_certificate is None
        contents = ledger.reader.contents(block.height)
        assert contents.bodies == block.bodies == ledger.reader.bodies(block.height)
        assert (contents.receipts.receipts, contents.receipts.end_events) == (block.receipts, block.end_events)
        assert ledger.reader.changes(block.height) == block.changes
        assert ledger.reader.block_by_hash(block.hash) == stored


def test_genesis_block_holds_the_initial_state(ledger: StoredChain) -> None:
    genesis = ledger.reader.block(0)
    assert genesis.header == ledger.chain.genesis_header
    assert genesis.proposal is None
    assert genesis.transaction_ids == ()
    assert [(change.key, change.value) for change in ledger.reader.changes(0)] == sorted(ledger.chain.state_records)
    assert ledger.reader.epochs() == (ledger.chain.genesis.first_epoch,)


def test_a_reopened_ledger_goes_on(ledger: StoredChain) -> None:
    ledger.writer.apply(ledger.chain.grow_mixed(2))
    again = LedgerWriter(ledger.database)
    assert not again.initialise(ledger.chain.genesis, ledger.chain.genesis_header, iter(()))
    assert again.height == 2
    again.apply(ledger.chain.grow_mixed(1))
    assert ledger.reader.tip().height == 3


def test_another_network_is_refused_by_name(ledger: StoredChain) -> None:
    other = Chain(make_genesis(chain_id="other"))
    with pytest.raises(LedgerError) as caught:
        LedgerWriter(ledger.database).initialise(other.genesis, other.genesis_header, other.state_records)
    assert ledger.chain.genesis.hash.hex() in str(caught.value)
    assert other.genesis.hash.hex() in str(caught.value)


def test_another_genesis_block_is_corruption(ledger: StoredChain) -> None:
    header = msgspec.structs.replace(ledger.chain.genesis_header, state_root=bytes(32))
    with pytest.raises(LedgerCorrupt, match="height 0"):
        LedgerWriter(ledger.database).initialise(ledger.chain.genesis, header, ())


def test_a_block_that_does_not_follow_is_refused(ledger: StoredChain) -> None:
    first, second, third = ledger.chain.grow_mixed(3)
    ledger.writer.apply([first])
    with pytest.raises(LedgerError, match="does not follow the ledger's tip 1"):
        ledger.writer.apply([third])
    stranger = msgspec.structs.replace(second, header=msgspec.structs.replace(second.header, parent_hash=bytes(32)))
    with pytest.raises(LedgerError, match="names parent 0x0000"):
        ledger.writer.apply([stranger])
    with pytest.raises(LedgerError, match="does not follow"):
        ledger.writer.apply([second, second])
    assert ledger.reader.tip().height == 1
    ledger.writer.apply([second, third])
    assert ledger.reader.tip().height == 3


def test_a_fault_in_the_middle_leaves_nothing(ledger: StoredChain) -> None:
    blocks = ledger.chain.grow_mixed(3)
    # The third row violates the unique hash, after two were inserted in the same transaction.
    twin = msgspec.structs.replace(blocks[2], hash=blocks[0].hash)
    before = ledger.dump(schema.blocks)
    with pytest.raises(LedgerError):
        ledger.writer.apply([*blocks[:2], twin])
    assert ledger.dump(schema.blocks) == before
    assert ledger.writer.height == 0
    # Blocks are in, then the epoch of another number 0 fails.
    again = msgspec.structs.replace(blocks[2], next_epoch=encode(ledger.chain.genesis.first_epoch))
    with pytest.raises(LedgerError):
        ledger.writer.apply([*blocks[:2], again])
    assert ledger.dump(schema.blocks) == before
    ledger.writer.apply(blocks)
    assert ledger.reader.tip().height == 3


def test_certificates_are_kept_and_missing_ones_listed(ledger: StoredChain) -> None:
    ledger.writer.apply(ledger.chain.grow_mixed(6))
    certificates = [ledger.chain.certificate(height) for height in (1, 2, 4)]
    ledger.writer.store_certificates(certificates)
    ledger.writer.store_certificates(certificates[:1])
    assert ledger.reader.certificate(2) == certificates[1]
    assert ledger.reader.block(4).block_certificate == certificates[2]
    assert ledger.reader.certificate(3) is None
    assert ledger.reader.heights_without_certificate(0) == (3, 5, 6)
    assert ledger.reader.heights_without_certificate(3, 1) == (5,)
    assert ledger.reader.certified_height() == 2
    assert ledger.reader.stable_height(4) == 4
    assert ledger.reader.stable_height(5) == 0
    with pytest.raises(LedgerError, match="the ledger ends at 6"):
        ledger.writer.store_certificates([msgspec.structs.replace(certificates[0], height=7)])


def test_an_empty_ledger_has_no_tip(open_role: Callable[[Role], Database]) -> None:
    reader = LedgerReader(open_role("ledger"))
    assert reader.genesis_hash() is None
    with pytest.raises(LedgerError, match="no genesis block"):
        reader.tip()
