"""Blocks between the disk and the history rows: visible when durable, forgotten when the rows can be read."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from ledger_chain import Chain

from potchain.errors import LedgerError
from potchain.gateway.recent import Find, RecentBlocks

SOON_S = 0.01
LONG_S = 20.0


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    asyncio.run(coroutine)


async def not_in_history(transaction_id: bytes) -> None:
    """What SQL says of a transaction that has no row yet."""


async def placed(
    recent: RecentBlocks,
    transaction_id: bytes,
    find: Find = not_in_history,
    is_dropped: Callable[[bytes], bool] = lambda _: False,
    timeout_s: float = LONG_S,
) -> int | None:
    return await recent.wait_place(transaction_id, find=find, is_dropped=is_dropped, timeout_s=timeout_s)


def test_a_block_is_visible_when_it_is_durable_and_until_history_has_it() -> None:
    chain = Chain()
    recent = RecentBlocks(chain.types, 0, 0)
    first, second = chain.grow([chain.transfer(0, 1)]), chain.grow([chain.transfer(2, 1)])
    ids = [block.proposal.transaction_ids[0] for block in (first, second)]
    recent.block_executed(first)
    recent.block_executed(second)
    assert recent.place_of(ids[0]) is None
    recent.blocks_applied(1)
    assert (recent.height, recent.count) == (1, 1)
    assert recent.place_of(ids[0]) == (1, 0)
    assert recent.place_of(ids[1]) is None
    recent.blocks_applied(2)
    assert recent.history_of(chain.keys[1].address) == ((2, 0), (1, 0))
    assert recent.history_of(chain.keys[2].address) == ((2, 0),)
    recent.history_reached(1)
    assert recent.place_of(ids[0]) is None
    assert recent.place_of(ids[1]) == (2, 0)
    recent.history_reached(2)
    assert recent.count == 0
    assert recent.height == 2, "a height stays durable"


def test_a_skipped_inclusion_has_no_place_and_its_execution_later_has() -> None:
    chain = Chain()
    recent = RecentBlocks(chain.types, 0, 0)
    late = chain.transfer(0, 1, nonce=1)
    for transactions in ([late], [chain.transfer(0, 1)], [late]):
        recent.block_executed(chain.grow(transactions))
    recent.blocks_applied(1)
    assert recent.place_of(late.id) is None
    recent.blocks_applied(3)
    assert recent.place_of(late.id) == (3, 0)
    recent.history_reached(1)
    assert recent.place_of(late.id) == (3, 0), "the older inclusion leaves, the executed one does not"


def test_certificates_may_come_out_of_order() -> None:
    chain = Chain()
    recent = RecentBlocks(chain.types, 0, 0)
    chain.grow_mixed(3)
    recent.certificates_stored((chain.certificate(2),))
    assert recent.certified == 0
    assert recent.is_certified(2)
    assert not recent.is_certified(1)
    recent.certificates_stored((chain.certificate(1), chain.certificate(3)))
    assert recent.certified == 3


def test_waits_for_a_height_end_when_it_is_durable_or_final() -> None:
    async def scenario() -> None:
        chain = Chain()
        recent = RecentBlocks(chain.types, 0, 0)
        block = chain.grow([chain.transfer()])
        durable = asyncio.ensure_future(recent.wait_height(1, certified=False, timeout_s=LONG_S))
        final = asyncio.ensure_future(recent.wait_height(1, certified=True, timeout_s=LONG_S))
        await asyncio.sleep(0)
        recent.block_executed(block)
        recent.blocks_applied(1)
        assert await durable
        assert not final.done()
        recent.certificates_stored((chain.certificate(1),))
        assert await final
        assert await recent.wait_height(1, certified=True, timeout_s=0)

    run(scenario())


def test_waits_for_a_transaction_end_with_its_height() -> None:
    async def scenario() -> None:
        chain = Chain()
        recent = RecentBlocks(chain.types, 0, 0)
        transaction = chain.transfer()
        waits = [asyncio.ensure_future(placed(recent, transaction.id)) for _ in range(3)]
        await asyncio.sleep(0)
        waits[0].cancel()
        await asyncio.sleep(0)
        recent.block_executed(chain.grow([transaction]))
        recent.blocks_applied(1)
        assert await asyncio.gather(*waits[1:]) == [1, 1]

    run(scenario())


def test_a_block_that_comes_while_history_is_asked_ends_the_wait() -> None:
    """It was in neither place for the look-up, and an idle network makes no other block."""

    async def scenario() -> None:
        chain = Chain()
        recent = RecentBlocks(chain.types, 0, 0)
        transaction = chain.transfer()

        async def find(transaction_id: bytes) -> tuple[int, int] | None:
            found = recent.place_of(transaction_id)
            recent.block_executed(chain.grow([transaction]))
            recent.blocks_applied(1)
            recent.history_reached(1)
            return found

        assert await placed(recent, transaction.id, find) == 1

    run(scenario())


def test_a_look_up_that_never_ends_delays_no_block() -> None:
    async def scenario() -> None:
        chain = Chain()
        recent = RecentBlocks(chain.types, 0, 0)
        transaction = chain.transfer()

        async def find(transaction_id: bytes) -> tuple[int, int] | None:
            recent.block_executed(chain.grow([transaction]))
            recent.blocks_applied(1)
            return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]

        assert await placed(recent, transaction.id, find) == 1
        assert await placed(recent, transaction.id, find, timeout_s=0) == 1, "known, so no time is needed"

    run(scenario())


def test_a_look_up_that_fails_says_so() -> None:
    async def scenario() -> None:
        recent = RecentBlocks(Chain().types, 0, 0)

        async def find(transaction_id: bytes) -> tuple[int, int] | None:
            raise LedgerError("the disk is gone")

        with pytest.raises(LedgerError, match="the disk is gone"):
            await placed(recent, bytes(32), find)

    run(scenario())


def test_a_skipped_inclusion_ends_no_wait() -> None:
    async def scenario() -> None:
        chain = Chain()
        recent = RecentBlocks(chain.types, 0, 0)
        late = chain.transfer(0, 1, nonce=1)
        wait = asyncio.ensure_future(placed(recent, late.id))
        await asyncio.sleep(0)
        for height, transactions in enumerate(([late], [chain.transfer(0, 1)]), 1):
            recent.block_executed(chain.grow(transactions))
            recent.blocks_applied(height)
        await asyncio.sleep(0)
        assert not wait.done()
        recent.block_executed(chain.grow([late]))
        recent.blocks_applied(3)
        assert await wait == 3

    run(scenario())


def test_waits_that_run_out_say_so() -> None:
    async def scenario() -> None:
        chain = Chain()
        recent = RecentBlocks(chain.types, 0, 0)
        assert not await recent.wait_height(1, certified=False, timeout_s=SOON_S)
        assert await placed(recent, bytes(32), timeout_s=SOON_S) is None
        assert await placed(recent, bytes(32), is_dropped=lambda _: True) is None
        recent.block_executed(chain.grow([]))
        recent.blocks_applied(1)

    run(scenario())
