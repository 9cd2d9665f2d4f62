"""One sender's pooled transactions.

A sender's *run* is contiguous from the account's nonce: each nonce is pooled or held by a proposal in flight. What lies
above the run's end is *parked*. Readiness and the counters are `runs.Runs`'s to keep: nobody else changes a run.
"""

from __future__ import annotations

import msgspec

from potchain.transactions import Transaction


class Entry(msgspec.Struct, gc=False):
    """A pooled transaction."""

    transaction: Transaction
    size: int
    """Canonical bytes."""
    arrival: int
    """Counts admissions; unique."""
    admitted_ns: int
    standing_fee: int
    """What it competes with: its fee, or more for a duty, which need not pay."""
    ready_ns: int = 0
    """Since when it ages; meaningful while it is ready. A replacement inherits it."""
    waiting_ns: int = 0
    """Since when it could be proposed; meaningful while it is proposable."""
    order: int = 0
    """`ordering.ready_order`; meaningful while it is ready."""


class Run:
    """The pooled transactions of one sender."""

    __slots__ = ("address", "balance", "end", "entries", "fees", "held", "nonce", "ready_end", "tail")

    def __init__(self, address: bytes, nonce: int, balance: int, held: dict[int, int]) -> None:
        self.address = address
        self.nonce = nonce
        """The account's nonce."""
        self.balance = balance
        self.entries: dict[int, Entry] = {}
        """By nonce, parked ones included."""
        self.held = held
        """Nonces that proposals in flight hold, with the number of those proposals."""
        self.fees = 0
        """Of all entries."""
        self.end = nonce
        """First nonce behind the run."""
        self.ready_end = nonce
        """First nonce of the run that is not ready."""
        self.tail = -1
        """Highest nonce of the entries, in the run or parked."""

    def put(self, entry: Entry) -> None:
        """Place an entry whose nonce is free."""
        nonce = entry.transaction.nonce
        self.entries[nonce] = entry
        self.fees += entry.transaction.fee
        self.tail = max(self.tail, nonce)

    def take(self, entry: Entry) -> None:
        """Take an entry out; ends are the caller's to correct."""
        nonce = entry.transaction.nonce
        entries = self.entries
        del entries[nonce]
        self.fees -= entry.transaction.fee
        if nonce == self.tail:
            while entries and nonce not in entries:
                nonce -= 1
            self.tail = nonce if entries else -1

    def proposable_from(self, nonce: int) -> Entry | None:
        """The first proposable entry at or above a nonce; `nonce` must not be below the account's."""
        held = self.held
        while nonce < self.ready_end:
            if nonce not in held:
                return self.entries[nonce]
            nonce += 1
        return None

    def paid_end(self) -> int:
        """First nonce of the run whose fee, with those before it, exceeds the balance; the run's end if none does."""
        left = self.balance
        for nonce in range(self.nonce, self.end):
            entry = self.entries.get(nonce)
            if entry is not None:
                left -= entry.transaction.fee
                if left < 0:
                    return nonce
        return self.end
