"""Bodies that a proposal needs. A pinned body stays available until its slot needs it no more.

A body may be pinned for several digests (a re-proposal in a new view); it is counted once and held until the last goes.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from potchain.primitives import Digest
from potchain.transactions import Transaction


class Pin(msgspec.Struct, gc=False):
    """A pinned body."""

    transaction: Transaction
    digests: int
    """How many pinned digests need it."""


class PinnedBodies:
    """Bodies by id, counted, with a bound on their bytes."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.bytes = 0
        self.by_id: dict[Digest, Pin] = {}
        """Whoever only asks whether a body is pinned may hold this dict: it is never replaced."""
        self._ids_of: dict[Digest, tuple[Digest, ...]] = {}

    def __len__(self) -> int:
        return len(self.by_id)

    def get(self, transaction_id: Digest) -> Transaction | None:
        """The pinned body of that id."""
        pin = self.by_id.get(transaction_id)
        return None if pin is None else pin.transaction

    def pin(self, digest: Digest, transactions: Iterable[Transaction]) -> bool:
        """Hold these bodies for this digest; True if it is pinned already. False, and nothing held, when full."""
        if digest in self._ids_of:
            return True
        listed = {transaction.id: transaction for transaction in transactions}
        pins = self.by_id
        more = sum(len(transaction.raw) for transaction in listed.values() if transaction.id not in pins)
        if self.bytes + more > self.bytes_max:
            return False
        self.bytes += more
        self._ids_of[digest] = tuple(listed)
        for transaction_id, transaction in listed.items():
            pin = pins.get(transaction_id)
            if pin is None:
                pins[transaction_id] = Pin(transaction, 1)
            else:
                pin.digests += 1
        return True

    def unpin(self, digest: Digest) -> list[Transaction]:
        """Let go of a digest's bodies; returns those that no other digest needs."""
        freed = []
        for transaction_id in self._ids_of.pop(digest, ()):
            pin = self.by_id[transaction_id]
            pin.digests -= 1
            if pin.digests == 0:
                del self.by_id[transaction_id]
                self.bytes -= len(pin.transaction.raw)
                freed.append(pin.transaction)
        return freed
