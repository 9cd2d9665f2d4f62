"""What is remembered of transactions that left the pool, and which leave next because of their `valid_until`."""

from __future__ import annotations

from collections import OrderedDict
from heapq import heapify, heappop, heappush

from potchain.pool.interface import Dropped
from potchain.pool.ordering import SLACK
from potchain.primitives import Digest

EXPIRED_MAX = 2_000
"""Transactions that one `expire` drops; the rest go at the next call."""
SKIPPED_FOR_GOOD = frozenset({"stale_nonce", "expired", "insufficient_fee"})
"""Codes of skips that no later state can undo; after any other the transaction may come back."""


class Departures:
    """Dropped ids with code and reason, and ids whose body need not be kept on disk; the oldest are lost first."""

    def __init__(self, dropped_max: int, forgotten_max: int) -> None:
        self._dropped_max = dropped_max
        self._forgotten_max = forgotten_max
        self.dropped: OrderedDict[Digest, Dropped] = OrderedDict()
        self.forgotten: OrderedDict[Digest, None] = OrderedDict()

    def remember(self, dropped: Dropped) -> None:
        """Keep code and reason for the API."""
        self.dropped[dropped.id] = dropped
        self.dropped.move_to_end(dropped.id)
        if len(self.dropped) > self._dropped_max:
            self.dropped.popitem(last=False)

    def forget(self, transaction_id: Digest) -> None:
        """Neither the pool nor a pin needs this body."""
        self.forgotten[transaction_id] = None
        if len(self.forgotten) > self._forgotten_max:
            self.forgotten.popitem(last=False)

    def needed_again(self, transaction_id: Digest) -> None:
        """The body is pooled or pinned again."""
        if self.forgotten:
            self.forgotten.pop(transaction_id, None)

    def not_dropped(self, transaction_id: Digest) -> None:
        """The transaction is pooled again, or was executed."""
        if self.dropped:
            self.dropped.pop(transaction_id, None)


class Deadlines:
    """Ids by `valid_until`, soonest first. Those that left the pool earlier are passed over when their time comes."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, Digest]] = []
        self._live: dict[Digest, int] = {}

    def add(self, transaction_id: Digest, valid_until: int) -> None:
        """A transaction with a deadline (block time, Unix ms) came in."""
        self._live[transaction_id] = valid_until
        heappush(self._heap, (valid_until, transaction_id))
        if len(self._heap) > 2 * len(self._live) + SLACK:
            self._heap = [(until, each) for each, until in self._live.items()]
            heapify(self._heap)

    def remove(self, transaction_id: Digest) -> None:
        """A transaction with a deadline left."""
        self._live.pop(transaction_id, None)

    def pop_before(self, block_time_ms: int) -> Digest | None:
        """An id whose deadline is below this block time, taken out."""
        while self._heap and self._heap[0][0] < block_time_ms:
            _, transaction_id = heappop(self._heap)
            if self._live.pop(transaction_id, None) is not None:
                return transaction_id
        return None
