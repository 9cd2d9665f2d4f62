"""The senders' runs: which pooled transactions could be proposed now, and in which order.

A pooled transaction is *ready* when it is in its sender's contiguous run (see `run`) and the balance pays the fees of
the run up to and including it; *proposable* when it is ready and no proposal in flight holds its nonce.

When a balance falls, nothing is dropped: what it no longer pays for stops being ready, and is ready again when money
comes. Until then it neither ages nor competes and is the first to be evicted from a full pool; it times out like the
rest.

Every counter is kept at each change. Rules of this file: an entry's readiness changes in `_move_ready_end`, `replace`,
`take_executed` and `_unlink` only; a run without entries does not exist; nonces that proposals hold are kept per
address, with or without a run.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Container, Iterable
from itertools import islice

from potchain.pool.interface import LongestWait
from potchain.pool.ordering import HeapItem, RunHeap, fee_rank, ready_order
from potchain.pool.run import Entry, Run
from potchain.primitives import Digest
from potchain.transactions import Transaction

MISFITS_MAX = 64
"""Transactions too big for the room left that a selection passes over before it stops looking for smaller ones."""
EVICTIONS_MAX = 64
"""Transactions that one newcomer may displace; only a large one among small ones needs more than one."""


class Runs:
    """All runs, the nonces that proposals hold, and the two orders over the runs: of heads and of tails."""

    def __init__(self, ageing_doubling_s: int, pinned: Container[Digest]) -> None:
        self._doubling_s = ageing_doubling_s
        self._pinned = pinned
        self._runs: dict[bytes, Run] = {}
        self._held: dict[bytes, dict[int, int]] = {}
        self._proposable: OrderedDict[Digest, Entry] = OrderedDict()  # by waiting_ns, as time does not run backwards
        self._unpaid: dict[bytes, Run] = {}
        self._heads = RunHeap(self._head_item)
        self._tails = RunHeap(self._tail_item)
        self.ready_count = 0

    def __len__(self) -> int:
        return len(self._runs)

    def get(self, address: bytes) -> Run | None:
        """The run of a sender with pooled transactions."""
        return self._runs.get(address)

    def end_of(self, address: bytes, account_nonce: int) -> int:
        """First nonce from the account's upwards that is neither pooled nor held by a proposal."""
        run = self._runs.get(address)
        if run is not None:
            return max(run.end, account_nonce)
        held = self._held.get(address, ())
        while account_nonce in held:
            account_nonce += 1
        return account_nonce

    def proposable(self) -> tuple[int, int | None]:
        """How many could be proposed, and since when the one that waits longest could."""
        if not self._proposable:
            return 0, None
        return len(self._proposable), next(iter(self._proposable.values())).waiting_ns

    def longest_wait(self) -> LongestWait | None:
        """The proposable transaction that has waited longest, with the standing that it can claim."""
        entry = next(iter(self._proposable.values()), None)
        if entry is None:
            return None
        run = self._runs[entry.transaction.sender]
        standing = entry.order
        before = run.proposable_from(run.nonce)
        while before is not None and before is not entry:
            standing = max(standing, before.order)
            before = run.proposable_from(before.transaction.nonce + 1)
        return LongestWait(entry.waiting_ns, entry.size, standing)

    def is_ready(self, transaction: Transaction) -> bool:
        """Whether this pooled transaction is ready."""
        return transaction.nonce < self._runs[transaction.sender].ready_end

    # --- entries ----------------------------------------------------------------------------------------------------

    def add(self, entry: Entry, nonce: int, balance: int, now_ns: int) -> None:
        """Put an entry into its sender's free place; nonce and balance are the account's, used for a new run."""
        transaction = entry.transaction
        address = transaction.sender
        run = self._runs.get(address)
        if run is None:
            held = self._held.get(address)
            run = self._runs[address] = Run(address, nonce, balance, {} if held is None else held)
        run.put(entry)
        self._tails.touch(run)
        if transaction.nonce < run.ready_end:  # a proposal has held this place until now
            self._become_ready(run, entry, now_ns, now_ns)
        self._settle(run, now_ns)

    def replace(self, old: Entry, new: Entry, now_ns: int) -> None:
        """Let `new` take the place of `old`, with the age of `old`; its wait for a proposal begins now."""
        nonce = new.transaction.nonce
        run = self._runs[new.transaction.sender]
        is_ready = nonce < run.ready_end
        self._unlink(run, old)
        run.put(new)
        if is_ready:
            self._become_ready(run, new, old.ready_ns, now_ns)
            self._heads.touch(run)
        self._settle(run, now_ns)

    def remove(self, entry: Entry, now_ns: int) -> None:
        """Take an entry out; what came behind it is parked."""
        nonce = entry.transaction.nonce
        run = self._runs[entry.transaction.sender]
        self._unlink(run, entry)
        if self.close_if_empty(run):
            return
        if nonce < run.end and nonce not in run.held:
            run.end = nonce
        self._settle(run, now_ns)

    def take_executed(self, run: Run, entry: Entry) -> None:
        """Take an entry out whose nonce the account has used; `close_if_empty` or `set_facts` must follow."""
        run.take(entry)
        if entry.transaction.nonce < run.ready_end:
            self.ready_count -= 1
            self._proposable.pop(entry.transaction.id, None)

    def set_facts(self, run: Run, nonce: int, balance: int, now_ns: int) -> list[Entry]:
        """Take over an account's nonce (a lower one is ignored) and balance; returns the entries that are now stale."""
        stale: list[Entry] = []
        if nonce > run.nonce:
            if nonce - run.nonce <= len(run.entries):
                below: Iterable[int] = range(run.nonce, nonce)
            else:
                below = sorted(place for place in run.entries if place < nonce)
            stale = [run.entries[place] for place in below if place in run.entries]
            for entry in stale:
                self._unlink(run, entry)
            run.nonce = nonce
            run.end = max(run.end, nonce)
            run.ready_end = max(run.ready_end, nonce)
            self._heads.touch(run)
            self._tails.touch(run)
        run.balance = balance
        self._settle(run, now_ns)
        self.close_if_empty(run)
        return stale

    def close_if_empty(self, run: Run) -> bool:
        """Forget a run without entries; whether it was one."""
        if run.entries:
            return False
        del self._runs[run.address]
        if self._unpaid:
            self._unpaid.pop(run.address, None)
        self._heads.forget(run.address)
        self._tails.forget(run.address)
        return True

    def unpaid(self, count_max: int) -> list[Run]:
        """Runs with fees that their balance does not pay, other ones at each call."""
        runs = list(islice(self._unpaid.values(), count_max))
        for run in runs:  # to the end of the line
            del self._unpaid[run.address]
            self._unpaid[run.address] = run
        return runs

    # --- nonces that proposals hold -----------------------------------------------------------------------------------

    def hold(self, address: bytes, nonce: int, now_ns: int) -> None:
        """A proposal in flight holds this nonce."""
        held = self._held.get(address)
        run = self._runs.get(address)
        if held is None:
            held = self._held[address] = {}
            if run is not None:
                run.held = held
        held[nonce] = held.get(nonce, 0) + 1
        if run is None or held[nonce] > 1:
            return
        entry = run.entries.get(nonce)
        if entry is None:
            self._settle(run, now_ns)
        elif self._proposable.pop(entry.transaction.id, None) is not None:
            self._heads.touch(run)

    def release(self, address: bytes, nonce: int, now_ns: int) -> None:
        """A proposal in flight holds this nonce no more."""
        held = self._held[address]
        held[nonce] -= 1
        if held[nonce]:
            return
        del held[nonce]
        if not held:
            del self._held[address]
        run = self._runs.get(address)
        if run is None or nonce < run.nonce:
            return
        entry = run.entries.get(nonce)
        if entry is None:
            if nonce < run.end:
                run.end = nonce
                self._settle(run, now_ns)
            return
        self._tails.touch(run)
        if nonce < run.ready_end:
            entry.waiting_ns = now_ns
            self._proposable[entry.transaction.id] = entry
            self._heads.touch(run)

    # --- choice -----------------------------------------------------------------------------------------------------

    def select(self, count_max: int, bytes_max: int, block_time_ms: int) -> list[Transaction]:
        """The best proposable transactions, each sender's in the order of nonces."""
        chosen: list[Transaction] = []
        room, misfits = bytes_max, 0
        heads = self._heads
        heads.refresh()
        while len(chosen) < count_max and misfits < MISFITS_MAX:
            item = heads.pop()
            if item is None:
                break
            run, nonce = item[2], item[3]
            entry = run.entries[nonce]
            transaction = entry.transaction
            if transaction.valid_until and transaction.valid_until < block_time_ms:
                continue
            if entry.size > room:
                misfits += 1
                continue
            room -= entry.size
            chosen.append(transaction)
            following = run.proposable_from(nonce + 1)
            if following is not None:
                heads.push((following.order, following.arrival, run, following.transaction.nonce))
        return chosen

    def worth(self, standing_fee: int, ready_ns: int | None) -> tuple[bool, int]:
        """What counts when the pool is full: ready before parked, then the effective fee."""
        if ready_ns is None:
            return False, self._doubling_s * fee_rank(standing_fee)
        return True, -ready_order(standing_fee, ready_ns, self._doubling_s)

    def evictable(
        self, count: int, size: int, other_than: bytes, worth_less_than: tuple[bool, int]
    ) -> tuple[Entry, ...]:
        """The last entries of the cheapest senders, cheapest first, at most one of each, none held or pinned.

        As many as free `count` places and `size` bytes; none when less worthy ones cannot free as much.
        """
        found: list[Entry] = []
        self._tails.refresh()
        while count > 0 or size > 0:
            item = self._tails.pop()
            if item is None or item[0] >= worth_less_than or len(found) == EVICTIONS_MAX:
                return ()
            run, nonce = item[2], item[3]
            entry = run.entries[nonce]
            if run.address == other_than or nonce in run.held or entry.transaction.id in self._pinned:
                continue  # held or pinned since the item was computed: `release` and `unpinned` bring the run back
            found.append(entry)
            count -= 1
            size -= entry.size
        return tuple(found)

    def unpinned(self, address: bytes) -> None:
        """A body of this sender is no longer pinned."""
        run = self._runs.get(address)
        if run is not None:
            self._tails.touch(run)

    # --- private ----------------------------------------------------------------------------------------------------

    def _settle(self, run: Run, now_ns: int) -> None:
        """Let the run reach as far as it can, and its readiness as far as the balance pays."""
        end = run.end
        while end in run.entries or end in run.held:
            end += 1
        run.end = end
        if run.fees > run.balance:
            self._unpaid[run.address] = run
            end = run.paid_end()
        elif self._unpaid:
            self._unpaid.pop(run.address, None)
        if end != run.ready_end:
            self._move_ready_end(run, end, now_ns)

    def _move_ready_end(self, run: Run, end: int, now_ns: int) -> None:
        old, run.ready_end = run.ready_end, end
        self._tails.touch(run)
        if end < old:
            for nonce in range(end, old):
                entry = run.entries.get(nonce)
                if entry is not None:
                    self.ready_count -= 1
                    self._proposable.pop(entry.transaction.id, None)
            self._heads.touch(run)
            return
        for nonce in range(old, end):
            entry = run.entries.get(nonce)
            if entry is not None:
                self._become_ready(run, entry, now_ns, now_ns)
        if not self._heads.is_settled(run.address):  # else the head is before `old`
            head = self._head_item(run)
            if head is not None:
                self._heads.push(head)

    def _become_ready(self, run: Run, entry: Entry, ready_ns: int, now_ns: int) -> None:
        transaction = entry.transaction
        entry.ready_ns = ready_ns
        entry.order = ready_order(entry.standing_fee, ready_ns, self._doubling_s)
        self.ready_count += 1
        if transaction.nonce not in run.held:
            entry.waiting_ns = now_ns
            self._proposable[transaction.id] = entry

    def _unlink(self, run: Run, entry: Entry) -> None:
        transaction = entry.transaction
        run.take(entry)
        self._tails.touch(run)
        if transaction.nonce < run.ready_end:
            self.ready_count -= 1
            self._proposable.pop(transaction.id, None)
            self._heads.touch(run)

    def _head_item(self, run: Run) -> HeapItem | None:
        entry = run.proposable_from(run.nonce)
        return None if entry is None else (entry.order, entry.arrival, run, entry.transaction.nonce)

    def _tail_item(self, run: Run) -> HeapItem | None:
        tail = run.tail
        entry = run.entries[tail]
        if tail in run.held or entry.transaction.id in self._pinned:
            return None
        worth = (True, -entry.order) if tail < run.ready_end else self.worth(entry.standing_fee, None)
        return worth, entry.arrival, run, tail
