"""Who goes first: the rank of a fee, and a heap of runs that is brought up to date only when it is read.

**Effective fee.** A transaction's effective fee is fee * 2^(w/D), where w is how many whole seconds of the node's clock
began since it became ready and D is `PoolLimits.ageing_doubling_s`. Two transactions compare alike at every moment,
because both sides grow by the same factor; so an entry's order is one integer, fixed when it becomes ready:

    order = (second in which it became ready) - D * rank(fee)         smaller goes first

rank is log2(fee + 1) with straight lines between the powers of two: rank(2^b + r - 1) = b + r / 2^b for 0 <= r < 2^b.
It is integer arithmetic with 64 fraction bits, and monotone; fees that agree in 65 leading bits go by arrival.

**Bound.** A transaction with fee f is overtaken by one with fee F only if that one became ready less than
D * (rank(F) - rank(f)) seconds later, whatever else is in the pool. A fee has 256 bits, so no money overtakes for more
than 256 * D seconds (43 minutes by default, less than the pool's time limit of an hour).
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Any

from potchain.pool.run import Run
from potchain.primitives import NS_PER_S

FRACTION_BITS = 64
SLACK = 1_024
"""Outdated items that a lazy heap may hold beyond twice its valid ones before it is rebuilt."""

HeapItem = tuple[Any, int, Run, int]
"""(order, arrival of the entry, run, nonce of the entry). The arrival is unique, so runs are never compared."""


def fee_rank(fee: int) -> int:
    """log2(fee + 1), straight between powers of two, times 2^64.

    >>> [fee_rank(fee) >> 62 for fee in (0, 1, 2, 3, 7)]
    [0, 4, 6, 8, 12]
    """
    value = fee + 1
    whole = value.bit_length() - 1
    return ((whole - 1) << FRACTION_BITS) + ((value << FRACTION_BITS) >> whole)


def ready_order(fee: int, ready_ns: int, doubling_s: int) -> int:
    """The place of a transaction that became ready at `ready_ns`; smaller goes first."""
    return (ready_ns // NS_PER_S << FRACTION_BITS) - doubling_s * fee_rank(fee)


class RunHeap:
    """At most one valid item per run, smallest order first.

    A change to a run only marks it `touched`; its item is computed when the heap is next read. So a backup, which never
    selects, and a pool that is not full, which never evicts, pay next to nothing.
    """

    def __init__(self, item_of: Callable[[Run], HeapItem | None]) -> None:
        self._item_of = item_of
        self._heap: list[HeapItem] = []
        self._valid: dict[bytes, HeapItem] = {}
        self._touched: dict[bytes, Run] = {}

    def is_settled(self, address: bytes) -> bool:
        """Whether a valid item stands for this run, or one will be computed."""
        return address in self._valid or address in self._touched

    def touch(self, run: Run) -> None:
        """The run's item may be outdated."""
        self._touched[run.address] = run

    def forget(self, address: bytes) -> None:
        """The run is gone."""
        self._touched.pop(address, None)
        self._valid.pop(address, None)

    def push(self, item: HeapItem) -> None:
        """Let this item stand for its run."""
        self._valid[item[2].address] = item
        heappush(self._heap, item)
        if len(self._heap) > 2 * len(self._valid) + SLACK:
            self._heap = [kept for kept in self._heap if self._valid.get(kept[2].address) is kept]
            heapify(self._heap)

    def refresh(self) -> None:
        """Compute the items of all touched runs. Call it before `pop`."""
        touched, self._touched = self._touched, {}
        for address, run in touched.items():
            item = self._item_of(run)
            if item is None:
                self._valid.pop(address, None)
            elif self._valid.get(address) != item:
                self.push(item)

    def pop(self) -> HeapItem | None:
        """Take the first item out. Its run counts as touched, so it is back after the next `refresh`."""
        heap, valid = self._heap, self._valid
        while heap:
            item = heappop(heap)
            run = item[2]
            if valid.get(run.address) is item:
                del valid[run.address]
                self._touched[run.address] = run
                return item
        return None
