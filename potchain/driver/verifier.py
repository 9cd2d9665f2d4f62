"""Checks transaction signatures off the event loop, once per node.

A check holds the interpreter for part of its 60 microseconds, so threads would make the loop stutter; the checks run in
worker processes. What is under way is remembered, so that a transaction that arrives from a client and from three
peers at once is checked once. `SignatureChecks` does that book-keeping for the simulator, too, which has no processes.
"""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import msgspec

from potchain.driver import verify_worker
from potchain.errors import InvalidTransaction
from potchain.primitives import Digest
from potchain.transactions import Transaction, TransactionTypes

CHUNK = 256
"""Transactions per job: long enough to pay for the hand-over, short enough to let a small job through."""
UNDER_WAY_MAX = 50_000
"""Transactions that may wait for their check; more are refused (a client) or dropped (gossip, fetched when needed)."""


RunCheck = Callable[[bytes], Awaitable[bytes]]
"""`verify_worker.check_signatures`, run somewhere."""


class SignatureChecks:
    """Checks that are under way, whoever runs them."""

    def __init__(self, types: TransactionTypes, run: RunCheck) -> None:
        self._types = types
        self._run = run
        self._under_way: dict[Digest, dict[bytes, _Chunk]] = {}
        self._count = 0

    @property
    def under_way(self) -> int:
        """Transactions that wait for their check now."""
        return self._count

    def is_under_way(self, transaction: Transaction) -> bool:
        """Whether this very signature is being checked."""
        return transaction.signature in self._under_way.get(transaction.id, ())

    async def check(self, transactions: Sequence[Transaction]) -> list[InvalidTransaction | None]:
        """For each transaction None, or why its signature is no good. Raises InvalidTransaction(`pool_full`)."""
        if self._count + len(transactions) > UNDER_WAY_MAX:
            raise InvalidTransaction("pool_full", "too many transactions wait for their signature check; try again")
        awaited: dict[int, _Chunk] = {}
        chunks = []
        fresh: list[Transaction] = []
        for transaction in transactions:
            # Keyed with the signature too: a wrong one for an id must not refuse the right one.
            chunk = self._under_way.get(transaction.id, {}).get(transaction.signature)
            if chunk is None:
                if len(fresh) % CHUNK == 0:
                    chunks.append(_Chunk({}))
                chunk = chunks[-1]
                chunk.entries[transaction.id + transaction.signature] = transaction.sender
                self._under_way.setdefault(transaction.id, {})[transaction.signature] = chunk
                fresh.append(transaction)
            awaited[id(chunk)] = chunk
        self._count += len(fresh)
        for start, chunk in zip(range(0, len(fresh), CHUNK), chunks, strict=True):
            chunk.task = asyncio.get_running_loop().create_task(
                self._check_chunk(chunk.entries, fresh[start : start + CHUNK])
            )
        refused: set[bytes] = set()
        for chunk in awaited.values():
            assert chunk.task is not None
            # Shielded: a client that goes away must not end the check that others wait for.
            refused |= await asyncio.shield(chunk.task)
        if not refused:
            return [None] * len(transactions)
        return [
            self._reason(transaction) if transaction.id + transaction.signature in refused else None
            for transaction in transactions
        ]

    async def _check_chunk(self, entries: dict[bytes, bytes], transactions: list[Transaction]) -> frozenset[bytes]:
        try:
            verdicts = await self._run(b"".join([part for entry in entries.items() for part in entry]))
        finally:
            self._count -= len(transactions)
            for transaction in transactions:
                signatures = self._under_way[transaction.id]
                del signatures[transaction.signature]
                if not signatures:
                    del self._under_way[transaction.id]
        return frozenset([entry for entry, verdict in zip(entries, verdicts, strict=True) if not verdict])

    def _reason(self, transaction: Transaction) -> InvalidTransaction:
        try:
            self._types.check_signature(transaction)
        except InvalidTransaction as refusal:
            return refusal
        raise AssertionError("a signature that one process refused holds in another")


class Verifier(SignatureChecks):
    """A pool of processes that recover signers."""

    def __init__(self, types: TransactionTypes, workers: int) -> None:
        super().__init__(types, self._run_in_worker)
        self._workers = workers
        self._pool = self._start()

    async def warm_up(self) -> None:
        """Start the workers now, so that the first transaction does not wait for their imports."""
        await asyncio.gather(*(self._run_in_worker(b"") for _ in range(self._workers)))

    def close(self) -> None:
        """End the workers."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _start(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            max_workers=self._workers,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=verify_worker.begin,
        )

    async def _run_in_worker(self, entries: bytes) -> bytes:
        loop, pool = asyncio.get_running_loop(), self._pool
        try:
            return await loop.run_in_executor(pool, verify_worker.check_signatures, entries)
        except BrokenProcessPool:
            # A worker was killed from outside: start new ones and check here this once, so that nothing is lost.
            if self._pool is pool:
                self._pool = self._start()
            return verify_worker.check_signatures(entries)


class _Chunk(msgspec.Struct, eq=False):
    """Transactions that are checked together."""

    entries: dict[bytes, bytes]
    """id and signature: expected sender, in the order in which they are sent to the worker."""
    task: asyncio.Task[frozenset[bytes]] | None = None
    """Gives the entries that are no good."""
