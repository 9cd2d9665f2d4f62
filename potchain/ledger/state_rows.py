"""State records as rows, and back.

Account records become rows with columns; every other record keeps its bytes. Several blocks are merged before they are
written, since most of what one block changes the next ones change again. While a batch is being written, rows may be
newer than the progress says, never older: whoever reads the state lays the changes above the progress over the rows,
and so gets the state of the tip in any case.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from potchain.application.accounts import ACCOUNT_PREFIX, Account
from potchain.blocks import StateChange
from potchain.codec import encode
from potchain.errors import LedgerCorrupt
from potchain.ledger import schema
from potchain.ledger.reader import LedgerReader, read_changes
from potchain.ledger.rows import Row, delete_rows, upsert_rows
from potchain.primitives import uint, uint256

STATE = "state"
"""Name of this projection in `projection_progress`."""

_ADDRESS_AT = len(ACCOUNT_PREFIX)
_KEY_LENGTH = _ADDRESS_AT + 20
_decode_account = msgspec.msgpack.Decoder(Account).decode


class MergedRecord(msgspec.Struct):
    """What several blocks together did to one record."""

    first_height: int
    """First of these heights that set it, since it was last removed."""
    last_height: int
    value: bytes | None
    removed: bool
    """Whether one of these heights removed it."""


def is_account(key: bytes) -> bool:
    """Whether a record is an account."""
    return len(key) == _KEY_LENGTH and key.startswith(ACCOUNT_PREFIX)


class StateBatch:
    """Merged changes of consecutive blocks, written in slices in key order."""

    def __init__(self) -> None:
        self._records: dict[bytes, MergedRecord] = {}
        self._keys: list[bytes] = []
        self._at = 0
        self.height = -1
        """Highest block merged in."""

    def __len__(self) -> int:
        return len(self._records)

    @property
    def is_written(self) -> bool:
        """Whether every record has been handed to the database."""
        return self._at >= len(self._keys)

    def merge(self, height: int, changes: Iterable[StateChange]) -> None:
        """Take in the next block."""
        records = self._records
        for change in changes:
            key, value = change.key, change.value
            record = records.get(key)
            if record is None:
                records[key] = MergedRecord(height, height, value, value is None)
                continue
            if record.value is None:
                record.first_height = height
            record.last_height, record.value, record.removed = height, value, record.removed or value is None
        self.height = height

    def seal(self) -> None:
        """No more blocks; begin to write."""
        self._keys = sorted(self._records)

    def write(self, connection: Connection, count: int) -> int:
        """Write the next `count` records; how many there were."""
        keys = self._keys[self._at : self._at + count]
        gone_accounts: list[Row] = []
        gone_records: list[Row] = []
        accounts: list[Row] = []
        records: list[Row] = []
        for key in keys:
            record = self._records[key]
            if is_account(key):
                if record.removed:
                    gone_accounts.append((key[_ADDRESS_AT:],))
                if record.value is not None:
                    accounts.append(_account_row(key, record.value, record))
            else:
                if record.removed:
                    gone_records.append((key,))
                if record.value is not None:
                    records.append((key, record.value, record.last_height))
        delete_rows(connection, schema.accounts, gone_accounts)
        delete_rows(connection, schema.state_records, gone_records)
        upsert_rows(connection, schema.accounts, accounts, ("nonce", "balance", "last_height"))
        upsert_rows(connection, schema.state_records, records, ("value", "height"))
        self._at += len(keys)
        return len(keys)


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


def state_progress(connection: Connection) -> int:
    """The next height whose changes the rows lack."""
    table = schema.projection_progress.c
    return int(connection.execute(sa.select(table.height).where(table.name == STATE)).scalar() or 0)


def _changes_above_progress(connection: Connection) -> dict[bytes, bytes | None]:
    overlay: dict[bytes, bytes | None] = {}
    done = state_progress(connection) - 1
    while found := read_changes(connection, done, 64):
        for _, changes in found:
            overlay.update((change.key, change.value) for change in changes)
        done = found[-1][0]
    return overlay


def _account_row(key: bytes, value: bytes, record: MergedRecord) -> tuple[Any, ...]:
    try:
        account = _decode_account(value)
    except msgspec.MsgspecError as fault:
        raise LedgerCorrupt(record.last_height, f"account record 0x{key.hex()} cannot be read: {fault}") from fault
    address = key[_ADDRESS_AT:]
    return (address, account.nonce, str(uint(account.balance)), record.first_height, record.last_height)
