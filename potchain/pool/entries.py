"""The pooled transactions by id, and all that is kept by id beside them: sizes, deadlines, who left and why.

An entry is taken out of its sender's run first and leaves here second, by `drop` or, when it was executed, by `unlist`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Container, KeysView
from heapq import nsmallest

from potchain.pool.departures import Deadlines, Departures
from potchain.pool.interface import Dropped
from potchain.pool.run import Entry
from potchain.primitives import Digest
from potchain.transactions import Transaction


class Entries:
    """Entries in the order of admission."""

    def __init__(self, departures: Departures, pinned: Container[Digest]) -> None:
        self._departures = departures
        self._pinned = pinned
        self._by_id: OrderedDict[Digest, Entry] = OrderedDict()
        self._deadlines = Deadlines()
        self._arrivals = 0
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._by_id)

    def __contains__(self, transaction_id: object) -> bool:
        return transaction_id in self._by_id

    def ids(self) -> KeysView[Digest]:
        """Of all."""
        return self._by_id.keys()

    def get(self, transaction_id: Digest) -> Entry | None:
        """The entry of that id."""
        return self._by_id.get(transaction_id)

    def add(self, transaction: Transaction, now_ns: int, standing_fee: int) -> Entry:
        """A new entry."""
        self._arrivals += 1
        entry = Entry(transaction, len(transaction.raw), self._arrivals, now_ns, standing_fee)
        self._by_id[transaction.id] = entry
        self.bytes += entry.size
        if transaction.valid_until:
            self._deadlines.add(transaction.id, transaction.valid_until)
        self._departures.not_dropped(transaction.id)
        self._departures.needed_again(transaction.id)
        return entry

    def drop(self, entry: Entry, code: str, reason: str) -> Dropped:
        """An entry leaves without being executed."""
        self.unlist(entry)
        dropped = Dropped(entry.transaction.id, code, reason)
        self._departures.remember(dropped)
        return dropped

    def unlist(self, entry: Entry) -> None:
        """An entry leaves."""
        transaction = entry.transaction
        del self._by_id[transaction.id]
        self.bytes -= entry.size
        if transaction.valid_until:
            self._deadlines.remove(transaction.id)
        if transaction.id not in self._pinned:
            self._departures.forget(transaction.id)

    def admitted_before(self, time_ns: int) -> Entry | None:
        """The oldest entry, if it was admitted at or before that time."""
        oldest = next(iter(self._by_id.values()), None)
        return oldest if oldest is not None and oldest.admitted_ns <= time_ns else None

    def valid_before(self, block_time_ms: int) -> Entry | None:
        """An entry whose `valid_until` is below that block time; each is returned once, and must leave."""
        transaction_id = self._deadlines.pop_before(block_time_ms)
        return None if transaction_id is None else self._by_id[transaction_id]

    def page(self, after: Digest | None, limit: int) -> list[Entry]:
        """Up to `limit` entries in the order of ids, from behind `after`. O(pool)."""
        ids = nsmallest(limit, self._by_id if after is None else [each for each in self._by_id if each > after])
        return [self._by_id[transaction_id] for transaction_id in ids]
