"""The state out of the ledger: projected rows, under the changes of the blocks that the rows have not reached."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from potchain.application.accounts import ACCOUNT_PREFIX, Account
from potchain.codec import encode
from potchain.ledger import schema
from potchain.ledger.reader import LedgerReader, read_changes
from potchain.primitives import uint256

HISTORY = "history"
"""Progress of transactions and events: the next inclusion."""
KEYED = "keyed"
"""Progress of the rows with random keys, state rows among them: the next block."""

_BLOCKS_AT_ONCE = 64


def state_at_tip(reader: LedgerReader) -> Iterator[tuple[bytes, bytes]]:
    """Every record of the state after the highest block, from one snapshot, in no particular order."""
    with reader.database.read(None) as connection:
        overlay = _changes_above_progress(connection)
        yield from ((key, value) for key, value in overlay.items() if value is not None)
        yield from ((key, value) for key, value in projected_state(connection) if key not in overlay)


def projected_state(connection: Connection) -> Iterator[tuple[bytes, bytes]]:
    """The records that the rows give, on an open snapshot."""
    accounts, records = schema.accounts.c, schema.state_records.c
    for address, nonce, balance in connection.execute(sa.select(accounts.address, accounts.nonce, accounts.balance)):
        yield ACCOUNT_PREFIX + address, encode(Account(nonce=nonce, balance=uint256(balance)))
    yield from ((row.key, row.value) for row in connection.execute(sa.select(records.key, records.value)))


def progress_of(connection: Connection, name: str) -> tuple[int, int]:
    """(height, position) of what a projection does next, on an open snapshot."""
    table = schema.projection_progress.c
    row = connection.execute(sa.select(table.height, table.position).where(table.name == name)).one_or_none()
    if row is not None:
        return row.height, row.position
    lowest = connection.execute(sa.select(sa.func.min(schema.blocks.c.height))).scalar()
    return int(lowest or 0), 0  # a recovered network's blocks begin above 0


def _changes_above_progress(connection: Connection) -> dict[bytes, bytes | None]:
    overlay: dict[bytes, bytes | None] = {}
    done = progress_of(connection, KEYED)[0] - 1
    while found := read_changes(connection, done, _BLOCKS_AT_ONCE):
        for _, changes in found:
            overlay.update((change.key, change.value) for change in changes)
        done = found[-1][0]
    return overlay
