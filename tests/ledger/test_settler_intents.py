"""Prepared transactions in the vote database, on SQLite and on Postgres."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
import pytest
import sqlalchemy as sa

from potchain.crypto import keccak256
from potchain.errors import LedgerError
from potchain.ledger.database import Database
from potchain.ledger.schema import Role, relay_intents
from potchain.primitives import ZERO_ADDRESS
from potchain.settlement import Contract, Prepared
from potchain.settler.intents import SqlIntents, ThreadedIntents, scope_of

CONTRACT = Contract("multisig", 31_337, keccak256(b"contract")[12:], ZERO_ADDRESS, 0, 0)
SCOPE = scope_of(bytes(32), CONTRACT)


def prepared(nonce: int = 0, attempt: int = 0, raw: bytes = b"\x02raw") -> Prepared:
    return Prepared(
        action_nonce=nonce,
        attempt=attempt,
        account=keccak256(b"relay")[12:],
        account_nonce=nonce + 7,
        transaction_hash=keccak256(b"%d/%d" % (nonce, attempt)),
        raw=raw,
        fee_per_gas_wei=2**63 + attempt,
        prepared_ms=1_700_000_000_000,
    )


@pytest.fixture
def database(open_role: Callable[[Role], Database]) -> Database:
    return open_role("votes")


def test_what_is_written_is_read_back_in_order(database: Database) -> None:
    store = SqlIntents(database)
    intents = [prepared(1), prepared(0, 1, raw=bytes(50_000)), prepared(0, 0)]
    for each in intents:
        store.put(SCOPE, each)
    again = SqlIntents(database)
    assert again.load(SCOPE) == (intents[2], intents[1], intents[0])


def test_twice_is_once_and_what_is_struck_out_is_gone(database: Database) -> None:
    store = SqlIntents(database)
    store.put(SCOPE, prepared())
    store.put(SCOPE, prepared())
    assert store.load(SCOPE) == (prepared(),)
    store.remove(prepared())
    store.remove(prepared())
    assert store.load(SCOPE) == ()


def test_each_network_and_contract_has_its_own(database: Database) -> None:
    others = [
        scope_of(bytes([1]) * 32, CONTRACT),
        scope_of(bytes(32), msgspec.structs.replace(CONTRACT, chain_id=1)),
        scope_of(bytes(32), msgspec.structs.replace(CONTRACT, address=bytes([1]) * 20)),
    ]
    assert len({SCOPE, *others}) == 4
    store = SqlIntents(database)
    store.put(SCOPE, prepared())
    assert [store.load(other) for other in others] == [(), (), ()]


@pytest.mark.parametrize(
    "change",
    [
        {"data": msgspec.msgpack.encode(prepared(raw=b"another"))},
        {"action_nonce": 5},
        {"checksum": 1},
        {"data": b"\xc1"},
    ],
)
def test_a_damaged_row_is_named(database: Database, change: dict[str, object]) -> None:
    store = SqlIntents(database)
    store.put(SCOPE, prepared())
    with database.write() as connection:
        connection.execute(sa.update(relay_intents).values(**change))
    with pytest.raises(LedgerError, match="damaged relay intent 0x"):
        store.load(SCOPE)


def test_on_threads(database: Database) -> None:
    async def use() -> tuple[Prepared, ...]:
        store = ThreadedIntents(SqlIntents(database))
        await asyncio.gather(*(store.put(SCOPE, prepared(nonce)) for nonce in range(5)))
        await store.remove(SCOPE, prepared(3))
        return await store.load(SCOPE)

    assert [each.action_nonce for each in asyncio.run(use())] == [0, 1, 2, 4]
