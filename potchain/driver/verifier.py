"""Checks transaction signatures off the event loop, once per node.

A check holds the interpreter for part of its 60 microseconds, so threads would make the loop stutter; the checks run in
worker processes. What is under way is remembered, so that a transaction that arrives from a client and from three
peers at once is checked once.
"""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from potchain.driver import verify_worker
from potchain.errors import InvalidTransaction
from potchain.primitives import Digest
from potchain.transactions import Transaction, TransactionTypes

CHUNK = 256
"""Transactions per job: long enough to pay for the hand-over, short enough to let a small job through."""
UNDER_WAY_MAX = 50_000
"""Transactions that may wait for their check; more are refused (a client) or dropped (gossip, fetched when needed)."""


class Verifier:
    """A pool of processes that recover signers."""

    def __init__(self, types: TransactionTypes, workers: int) -> None:
        self._types = types
        self._workers = workers
        self._pool = self._start()
        self._under_way: dict[tuple[Digest, bytes], asyncio.Future[bool]] = {}
        self._ids: dict[Digest, int] = {}

    async def warm_up(self) -> None:
        """Start the workers now, so that the first transaction does not wait for their imports."""
        await asyncio.gather(*(self._run(b"") for _ in range(self._workers)))

    @property
    def under_way(self) -> int:
        """Transactions that wait for their check now."""
        return len(self._under_way)

    def is_under_way(self, transaction_id: Digest) -> bool:
        """Whether this id is being checked."""
        return transaction_id in self._ids

    async def check(self, transactions: Sequence[Transaction]) -> list[InvalidTransaction | None]:
        """For each transaction None, or why its signature is no good. Raises InvalidTransaction(`pool_full`)."""
        if len(self._under_way) + len(transactions) > UNDER_WAY_MAX:
            raise InvalidTransaction("pool_full", "too many transactions wait for their signature check; try again")
        loop = asyncio.get_running_loop()
        futures = []
        fresh = []
        for transaction in transactions:
            # Keyed with the signature: a wrong one for an id must not refuse the right one.
            future = self._under_way.get((transaction.id, transaction.signature))
            if future is None:
                future = loop.create_future()
                self._under_way[transaction.id, transaction.signature] = future
                self._ids[transaction.id] = self._ids.get(transaction.id, 0) + 1
                fresh.append(transaction)
            futures.append(future)
        for start in range(0, len(fresh), CHUNK):
            chunk = fresh[start : start + CHUNK]
            task = loop.create_task(self._check_chunk(chunk))
            task.add_done_callback(_surface)
        verdicts = [await future for future in futures]
        return [
            None if good else self._reason(transaction)
            for good, transaction in zip(verdicts, transactions, strict=True)
        ]

    def close(self) -> None:
        """End the workers."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _start(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            max_workers=self._workers,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=verify_worker.begin,
        )

    async def _check_chunk(self, chunk: list[Transaction]) -> None:
        entries = b"".join(transaction.id + transaction.signature + transaction.sender for transaction in chunk)
        try:
            verdicts = await self._run(entries)
        finally:
            futures = [self._under_way.pop((each.id, each.signature)) for each in chunk]
            for each in chunk:
                self._ids[each.id] -= 1
                if not self._ids[each.id]:
                    del self._ids[each.id]
        for future, verdict in zip(futures, verdicts, strict=True):
            if not future.done():
                future.set_result(verdict == 1)

    async def _run(self, entries: bytes) -> bytes:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._pool, verify_worker.check_signatures, entries)
        except BrokenProcessPool:
            # A worker was killed from outside: start new ones and check here this once, so that nothing is lost.
            self._pool = self._start()
            return verify_worker.check_signatures(entries)

    def _reason(self, transaction: Transaction) -> InvalidTransaction:
        try:
            self._types.check_signature(transaction)
        except InvalidTransaction as refusal:
            return refusal
        raise AssertionError("a signature that one process refused holds in another")


def _surface(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        raise task.exception()  # type: ignore[misc]
