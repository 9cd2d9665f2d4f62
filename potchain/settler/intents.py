"""Prepared Layer 2 transactions in the vote database: written before they are sent, struck out when nothing depends on
them any more.

A row that is lost costs gas at most, since the contract executes an action once whoever brings it and how often; but a
node that forgot what it sent could send it again for nothing, and would not see its account nonce held up. Each row has
a checksum; one that fails it is a LedgerError, and the settler relays nothing until the operator has looked.

The database's one writing connection is shared with the vote log: a row is small, and the log's next commit waits for
no more than one of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar
from zlib import crc32

import msgspec
import sqlalchemy as sa

from potchain.codec import encode
from potchain.crypto import digest_of
from potchain.errors import LedgerError
from potchain.ledger.database import Database
from potchain.ledger.rows import Row, delete_rows, upsert_rows
from potchain.ledger.schema import relay_intents
from potchain.settlement import Contract, Prepared

SCOPE_TAG = b"potchain.settler.scope.1"

T = TypeVar("T")


def scope_of(genesis_hash: bytes, contract: Contract) -> bytes:
    """32 bytes that name a network and a contract: action nonces mean nothing without them."""
    return digest_of(SCOPE_TAG, genesis_hash + encode(contract))


class SqlIntents:
    """The table `relay_intents`. Calls block; `ThreadedIntents` makes them coroutines."""

    def __init__(self, database: Database) -> None:
        """`database`: the votes' one, its tables made."""
        self._database = database

    def load(self, scope: bytes) -> tuple[Prepared, ...]:
        """Every intent of a scope, by account nonce and attempt. Raises LedgerError."""
        table = relay_intents
        with self._database.read() as connection:
            rows = connection.execute(sa.select(table).where(table.c.scope == scope)).all()
        found = [self._read(tuple(row)) for row in rows]
        return tuple(sorted(found, key=lambda each: (each.account, each.account_nonce, each.attempt)))

    def put(self, scope: bytes, prepared: Prepared) -> None:
        """Write one down; it is durable when this returns. Raises LedgerError."""
        data = msgspec.msgpack.encode(prepared)
        row = _sealed((prepared.transaction_hash, scope, prepared.action_nonce, data))
        with self._database.write() as connection:
            upsert_rows(connection, relay_intents, [row], ())

    def remove(self, prepared: Prepared) -> None:
        """Strike one out. Raises LedgerError."""
        with self._database.write() as connection:
            delete_rows(connection, relay_intents, [(prepared.transaction_hash,)])

    def _read(self, row: Row) -> Prepared:
        values = tuple(bytes(value) if isinstance(value, memoryview) else value for value in row)
        transaction_hash, _, action_nonce, data, _ = values
        if _sealed(values[:-1]) != values:
            raise self._damaged(transaction_hash, "it fails its checksum")
        try:
            prepared = msgspec.msgpack.decode(data, type=Prepared)
        except msgspec.MsgspecError as fault:
            raise self._damaged(transaction_hash, str(fault)) from None
        if (prepared.transaction_hash, prepared.action_nonce) != (transaction_hash, action_nonce):
            raise self._damaged(transaction_hash, "its columns and its contents differ")
        return prepared

    def _damaged(self, transaction_hash: bytes, detail: str) -> LedgerError:
        return LedgerError(
            f"damaged relay intent 0x{transaction_hash.hex()} in {self._database.place}: {detail}. Look the relay "
            f"account's transactions up on Layer 2, delete the row from relay_intents, and start the node again"
        )


class ThreadedIntents:
    """`SqlIntents` on a thread, so that the disk never holds up the event loop."""

    def __init__(self, store: SqlIntents) -> None:
        self._store = store

    async def load(self, scope: bytes) -> tuple[Prepared, ...]:
        """Everything of a scope. Raises LedgerError."""
        return await self._run(lambda: self._store.load(scope))

    async def put(self, scope: bytes, prepared: Prepared) -> None:
        """Durable when it returns. Raises LedgerError."""
        await self._run(lambda: self._store.put(scope, prepared))

    async def remove(self, scope: bytes, prepared: Prepared) -> None:
        """Strike one out. Raises LedgerError."""
        await self._run(lambda: self._store.remove(prepared))

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.to_thread(work)


def _sealed(row: Row) -> Row:
    """The row with its checksum at the end."""
    return (*row, crc32(msgspec.msgpack.encode(row)))
