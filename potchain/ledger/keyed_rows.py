"""Rows whose keys are random bytes: transaction ids, account histories, accounts, other state records.

Writing such a row soon costs a page of its own, and a large ledger pays for pages, not for rows. So these rows are
gathered over many blocks and written in key order, a range of keys at a time, which fills the pages that it touches.
Ranges are by the first byte of the key, so that no long sort is needed at once. What several blocks did to one state
record is merged, since most of what one block changes the next ones change again. Rows of history wait packed, as bytes
of a fixed length that sort as they do.

A batch may be written twice, after a crash: rows of history are inserted unless they exist, state rows are set. While
a batch is being written, state rows may be newer than the progress says, never older: whoever reads the state lays the
changes above the progress over the rows, and gets the state of the tip in any case.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import chain, repeat
from struct import Struct
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from potchain.application.accounts import ACCOUNT_PREFIX, Account
from potchain.errors import LedgerCorrupt
from potchain.ledger import schema
from potchain.ledger.history import ADDRESS_KEY, ID_KEY, HistoryRows
from potchain.ledger.rows import Row, delete_rows, upsert_rows, upsert_values
from potchain.primitives import uint

RANGES = 256
"""Ranges of keys, by the first byte; one range of a full batch takes a few milliseconds."""
RECORD_BYTES = 320
"""Memory of one merged record, with its key and value."""
ADDRESS_AT = len(ACCOUNT_PREFIX)

_ACCOUNT_KEY_LENGTH = ADDRESS_AT + 20
_decode_account = msgspec.msgpack.Decoder(Account).decode


Change = tuple[bytes, bytes | None]
"""Key and value of one record after a block, as `blocks.StateChange`; None: it was removed."""


class KeyedBatch:
    """Keyed rows of consecutive blocks: gathered first, then written range by range."""

    def __init__(self) -> None:
        self._ids = [bytearray() for _ in range(RANGES)]
        self._histories = [bytearray() for _ in range(RANGES)]
        # What the blocks together did to each record: the value they left, the first of these heights that set it
        # (since it was last removed), the last that changed it, and whether one removed it.
        self._values: dict[bytes, bytes | None] = {}
        self._first: dict[bytes, int] = {}
        self._last: dict[bytes, int] = {}
        self._removed: set[bytes] = set()
        self._accounts: list[list[bytes]] | None = None
        self._history_bytes = 0

    @property
    def size(self) -> int:
        """Bytes of memory that its rows take, about."""
        return self._history_bytes + len(self._values) * RECORD_BYTES

    def add_history(self, rows: HistoryRows) -> None:
        """Take in ids and account histories."""
        for ranges, keys in ((self._ids, rows.transaction_ids), (self._histories, rows.account_transactions)):
            for key in keys:
                ranges[key[0]] += key
            self._history_bytes += len(keys) * len(keys[0]) if keys else 0

    def add_changes(self, height: int, changes: Sequence[Change]) -> None:
        """Take in what the next block changed; each record at most once."""
        keys = [key for key, _ in changes]
        gone = [key for key, value in changes if value is None]
        # Whole blocks at once, since most changes are of records that neither come nor go.
        if self._removed:
            self._first.update({key: height for key in keys if key in self._values and self._values[key] is None})
        self._values.update(changes)
        self._last.update(dict.fromkeys(keys, height))
        deque(map(self._first.setdefault, keys, repeat(height)), maxlen=0)
        self._removed.update(gone)

    def write_range(self, connection: Connection, at: int) -> int:
        """Write a range of keys, 0 to `RANGES` - 1, when nothing more is added; how many rows."""
        if self._accounts is None:
            self._accounts = self._take_accounts()
        count = _write_keys(connection, schema.transaction_ids, ID_KEY, self._ids[at])
        count += _write_keys(connection, schema.account_transactions, ADDRESS_KEY, self._histories[at])
        keys = sorted(self._accounts[at])
        delete_rows(connection, schema.accounts, [(key[ADDRESS_AT:],) for key in keys if key in self._removed])
        rows = [row for key in keys if (row := self._account_row(key)) is not None]
        upsert_rows(connection, schema.accounts, rows, ("nonce", "balance", "last_height"))
        count += len(keys)
        if at == RANGES - 1:
            count += self._write_records(connection)
        return count

    def _take_accounts(self) -> list[list[bytes]]:
        accounts: list[list[bytes]] = [[] for _ in range(RANGES)]
        for key in self._values:
            if _is_account(key):
                accounts[key[ADDRESS_AT]].append(key)
        return accounts

    def _write_records(self, connection: Connection) -> int:
        keys = sorted(key for key in self._values if not _is_account(key))
        delete_rows(connection, schema.state_records, [(key,) for key in keys if key in self._removed])
        rows: list[Row] = [(key, value, self._last[key]) for key in keys if (value := self._values[key]) is not None]
        upsert_rows(connection, schema.state_records, rows, ("value", "height"))
        return len(keys)

    def _account_row(self, key: bytes) -> Row | None:
        value, height = self._values[key], self._last[key]
        if value is None:
            return None
        try:
            account = _decode_account(value)
        except msgspec.MsgspecError as fault:
            raise LedgerCorrupt(height, f"account record 0x{key.hex()} cannot be read: {fault}") from fault
        return (key[ADDRESS_AT:], account.nonce, str(uint(account.balance)), self._first[key], height)


def _is_account(key: bytes) -> bool:
    return len(key) == _ACCOUNT_KEY_LENGTH and key.startswith(ACCOUNT_PREFIX)


def _write_keys(connection: Connection, table: sa.Table, layout: Struct, packed: bytearray) -> int:
    width, data = layout.size, bytes(packed)
    keys = sorted([data[at : at + width] for at in range(0, len(data), width)])
    values: list[Any] = list(chain.from_iterable(layout.iter_unpack(b"".join(keys))))
    upsert_values(connection, table, values, ())
    return len(keys)
