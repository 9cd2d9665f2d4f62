"""Rows whose keys are random bytes: transaction ids, account histories, accounts, other state records.

Writing such a row soon costs a page of its own, and a large ledger pays for pages, not for rows. So these rows are
gathered over many blocks and written in key order, a range of keys at a time, which fills the pages that it touches.
Ranges are by the first bits of the key, so that no long sort is needed at once. What several blocks did to one state
record is merged, since most of what one block changes the next ones change again.

A batch may be written twice, after a crash: rows of history are inserted unless they exist, state rows are set. While
a batch is being written, state rows may be newer than the progress says, never older: whoever reads the state lays the
changes above the progress over the rows, and gets the state of the tip in any case.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from sqlalchemy.engine import Connection

from potchain.application.accounts import ACCOUNT_PREFIX, Account
from potchain.blocks import StateChange
from potchain.errors import LedgerCorrupt
from potchain.ledger import schema
from potchain.ledger.history import HistoryRow, HistoryRows
from potchain.ledger.rows import Row, delete_rows, upsert_rows
from potchain.primitives import uint

RANGES = 64
"""Ranges of keys, by the six highest bits; one range of a full batch takes a few milliseconds."""
ADDRESS_AT = len(ACCOUNT_PREFIX)

_ACCOUNT_KEY_LENGTH = ADDRESS_AT + 20
_decode_account = msgspec.msgpack.Decoder(Account).decode


class MergedRecord(msgspec.Struct):
    """What several blocks together did to one record."""

    first_height: int
    """First of these heights that set it, since it was last removed."""
    last_height: int
    value: bytes | None
    removed: bool
    """Whether one of these heights removed it."""


class KeyedBatch:
    """Keyed rows of consecutive blocks: gathered first, then written range by range."""

    def __init__(self) -> None:
        self._ids: list[list[HistoryRow]] = [[] for _ in range(RANGES)]
        self._histories: list[list[HistoryRow]] = [[] for _ in range(RANGES)]
        self._accounts: list[dict[bytes, MergedRecord]] = [{} for _ in range(RANGES)]
        self._records: dict[bytes, MergedRecord] = {}
        self._next_range = 0
        self.size = 0
        """Rows gathered, merged records counted once per change."""

    @property
    def is_written(self) -> bool:
        """Whether every row has been handed to the database."""
        return self._next_range == RANGES

    def add_history(self, rows: HistoryRows) -> None:
        """Take in ids and account histories."""
        ids, histories = self._ids, self._histories
        for row in rows.transaction_ids:
            ids[row[0] >> 58 & 63].append(row)
        for row in rows.account_transactions:
            histories[row[0][0] >> 2].append(row)
        self.size += len(rows.transaction_ids) + len(rows.account_transactions)

    def add_changes(self, height: int, changes: Iterable[StateChange]) -> None:
        """Take in what the next block changed."""
        accounts, others = self._accounts, self._records
        for change in changes:
            key, value = change.key, change.value
            account = len(key) == _ACCOUNT_KEY_LENGTH and key.startswith(ACCOUNT_PREFIX)
            records = accounts[key[ADDRESS_AT] >> 2] if account else others
            record = records.get(key)
            if record is None:
                records[key] = MergedRecord(height, height, value, value is None)
            else:
                if record.value is None:
                    record.first_height = height
                record.last_height, record.value, record.removed = height, value, record.removed or value is None
            self.size += 1

    def write_range(self, connection: Connection) -> int:
        """Write the next range of keys; how many rows."""
        at = self._next_range
        ids, histories, accounts = sorted(self._ids[at]), sorted(self._histories[at]), self._accounts[at]
        upsert_rows(connection, schema.transaction_ids, ids, ())
        upsert_rows(connection, schema.account_transactions, histories, ())
        gone: list[Row] = [(key[ADDRESS_AT:],) for key, record in accounts.items() if record.removed]
        delete_rows(connection, schema.accounts, gone)
        rows = [_account_row(key, accounts[key]) for key in sorted(accounts) if accounts[key].value is not None]
        upsert_rows(connection, schema.accounts, rows, ("nonce", "balance", "last_height"))
        count = len(ids) + len(histories) + len(accounts)
        if at == RANGES - 1:
            count += self._write_records(connection)
        self._next_range = at + 1
        return count

    def _write_records(self, connection: Connection) -> int:
        records = self._records
        delete_rows(connection, schema.state_records, [(key,) for key in sorted(records) if records[key].removed])
        rows: list[Row] = [
            (key, record.value, record.last_height)
            for key, record in sorted(records.items())
            if record.value is not None
        ]
        upsert_rows(connection, schema.state_records, rows, ("value", "height"))
        return len(records)


def _account_row(key: bytes, record: MergedRecord) -> Row:
    assert record.value is not None
    try:
        account = _decode_account(record.value)
    except msgspec.MsgspecError as fault:
        raise LedgerCorrupt(record.last_height, f"account record 0x{key.hex()} cannot be read: {fault}") from fault
    balance = str(uint(account.balance))
    return (key[ADDRESS_AT:], account.nonce, balance, record.first_height, record.last_height)
