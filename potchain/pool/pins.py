"""Bodies that a proposal needs. A pinned body stays available until its slot needs it no more.

A body may be pinned for several digests (a re-proposal in a new view); it is counted once and held until the last goes.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from potchain.primitives import Digest
from potchain.transactions import Transaction


class _Pin(msgspec.Struct, gc=False):
    transaction: Transaction
    digests: int
    """How many pinned digests need it."""


class PinnedBodies:
    """Bodies by id, counted, with a bound on their bytes."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.bytes = 0
        self._pins: dict[Digest, _Pin] = {}
        self._ids_of: dict[Digest, tuple[Digest, ...]] = {}

    def __len__(self) -> int:
        return len(self._pins)

    def __contains__(self, transaction_id: object) -> bool:
        return transaction_id in self._pins

    def get(self, transaction_id: Digest) -> Transaction | None:
        """The pinned body of that id."""
        pin = self._pins.get(transaction_id)
        return None if pin is None else pin.transaction

    def pin(self, digest: Digest, transactions: Iterable[Transaction]) -> bool:
        """Hold these bodies for this digest; True if it is pinned already. False, and nothing held, when full."""
        if digest in self._ids_of:
            return True
        listed = {transaction.id: transaction for transaction in transactions}
        pins = self._pins
        more = sum(len(transaction.raw) for transaction in listed.values() if transaction.id not in pins)
        if self.bytes + more > self.bytes_max:
            return False
        self.bytes += more
        self._ids_of[digest] = tuple(listed)
        for transaction_id, transaction in listed.items():
            pin = pins.get(transaction_id)
            if pin is None:
                pins[transaction_id] = _Pin(transaction, 1)
            else:
                pin.digests += 1
        return True

    def unpin(self, digest: Digest) -> list[Transaction]:
        """Let go of a digest's bodies; returns those that no other digest needs."""
        freed = []
        for transaction_id in self._ids_of.pop(digest, ()):
            pin = self._pins[transaction_id]
            pin.digests -= 1
            if pin.digests == 0:
                del self._pins[transaction_id]
                self.bytes -= len(pin.transaction.raw)
                freed.append(pin.transaction)
        return freed
