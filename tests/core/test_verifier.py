"""Signatures of transactions in a real worker process."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable

import msgspec
import pytest
from core_network import Chain, make_genesis

from potchain.crypto import SigningKey
from potchain.driver import verifier as module
from potchain.driver.verifier import Verifier
from potchain.errors import InvalidTransaction
from potchain.transactions import Transaction

CHAIN = Chain(make_genesis([("alice", 10**9)]))
OTHER_SIGNATURE = CHAIN.transfer("bob", "carol", 1).signature


def good(nonce: int) -> Transaction:
    return CHAIN.transfer("alice", "bob", 1, nonce)


def wrong(nonce: int) -> Transaction:
    """The same id, another's signature."""
    return msgspec.structs.replace(good(nonce), signature=OTHER_SIGNATURE)


def with_worker(scenario: Callable[[Verifier], Awaitable[None]]) -> None:
    async def run() -> None:
        verifier = Verifier(CHAIN.executor.types, 1)
        try:
            await verifier.warm_up()
            await scenario(verifier)
            assert verifier.under_way == 0
        finally:
            verifier.close()

    asyncio.run(run())


def worker_ids(verifier: Verifier) -> list[int]:
    return list(verifier._pool._processes)


def test_good_and_bad_and_the_same_id_with_either_signature() -> None:
    async def scenario(verifier: Verifier) -> None:
        assert await verifier.check([]) == []
        verdicts = await verifier.check([good(0), wrong(1), good(2)])
        assert [verdict is None for verdict in verdicts] == [True, False, True]
        refusal = verdicts[1]
        assert isinstance(refusal, InvalidTransaction)
        assert refusal.code == "bad_signature"
        # All four at once: the wrong signature must not stand for the right one, in whatever order they come.
        both = await asyncio.gather(
            verifier.check([wrong(3)]), verifier.check([good(3)]), verifier.check([wrong(3)]), verifier.check([good(3)])
        )
        assert [verdict[0] is None for verdict in both] == [False, True, False, True]
        assert not verifier.is_under_way(good(3))

    with_worker(scenario)


def test_what_is_under_way_is_checked_once_and_a_cancelled_caller_ends_no_other() -> None:
    async def scenario(verifier: Verifier) -> None:
        transactions = [good(nonce) for nonce in range(8)]
        first = asyncio.ensure_future(verifier.check(transactions))
        await asyncio.sleep(0)
        assert verifier.under_way == 8
        second = asyncio.ensure_future(verifier.check([*transactions[4:], wrong(9)]))
        await asyncio.sleep(0)
        assert verifier.under_way == 9, "four of the five were under way"
        first.cancel()
        verdicts = await second
        assert [verdict is None for verdict in verdicts] == [True] * 4 + [False]
        assert first.cancelled()

    with_worker(scenario)


def test_a_killed_worker_is_replaced_and_nothing_is_lost() -> None:
    async def scenario(verifier: Verifier) -> None:
        (worker,) = worker_ids(verifier)
        calls = [asyncio.ensure_future(verifier.check([good(nonce), wrong(100 + nonce)])) for nonce in range(3)]
        await asyncio.sleep(0)
        os.kill(worker, signal.SIGKILL)
        for call in calls:
            assert [verdict is None for verdict in await call] == [True, False]
        assert [verdict is None for verdict in await verifier.check([good(50), wrong(51)])] == [True, False]
        assert worker not in worker_ids(verifier)

    with_worker(scenario)


def test_more_than_the_bound_is_refused_and_takes_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "UNDER_WAY_MAX", 2)

    async def scenario(verifier: Verifier) -> None:
        with pytest.raises(InvalidTransaction) as caught:
            await verifier.check([good(0), good(1), good(2)])
        assert caught.value.code == "pool_full"
        assert await verifier.check([good(0), good(1)]) == [None, None]

    with_worker(scenario)


def test_a_key_that_signs_for_another_account_is_refused() -> None:
    async def scenario(verifier: Verifier) -> None:
        transaction = good(0)
        signature = SigningKey(bytes(31) + b"\7").sign_digest(transaction.id)
        forged = msgspec.structs.replace(transaction, signature=signature)
        (verdict,) = await verifier.check([forged])
        assert isinstance(verdict, InvalidTransaction)

    with_worker(scenario)
