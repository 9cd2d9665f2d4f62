"""Proposals in flight, and through them the nonces that `Runs` must not offer again.

A proposal may name ids whose body is not here yet. Their nonces are unknown, so they count from when the body comes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from potchain.pool.runs import Runs
from potchain.primitives import Digest
from potchain.transactions import Transaction


class _Proposal(msgspec.Struct):
    ids: tuple[Digest, ...]
    places: list[tuple[bytes, int]]
    """(sender, nonce) of those whose body is known here."""


class ProposalsInFlight:
    """Proposals by digest, at most `proposals_max`."""

    def __init__(self, runs: Runs, proposals_max: int) -> None:
        self._runs = runs
        self._proposals_max = proposals_max
        self._proposals: dict[Digest, _Proposal] = {}
        self._unplaced: dict[Digest, list[Digest]] = {}  # ids without a body here, and the proposals that name them

    def __len__(self) -> int:
        return len(self._proposals)

    def names(self, transaction_id: Digest) -> bool:
        """Whether a proposal in flight has this transaction. O(proposals)."""
        return any(transaction_id in proposal.ids for proposal in self._proposals.values())

    def mark(
        self, digest: Digest, ids: Sequence[Digest], body_of: Callable[[Digest], Transaction | None], now_ns: int
    ) -> bool:
        """A proposal is in flight; nothing happens if it is already. False when it is one too many."""
        if digest in self._proposals:
            return True
        if len(self._proposals) >= self._proposals_max:
            return False
        places: list[tuple[bytes, int]] = []
        proposal = self._proposals[digest] = _Proposal(tuple(ids), places)
        for transaction_id in proposal.ids:
            transaction = body_of(transaction_id)
            if transaction is None:
                self._unplaced.setdefault(transaction_id, []).append(digest)
            else:
                places.append((transaction.sender, transaction.nonce))
                self._runs.hold(transaction.sender, transaction.nonce, now_ns)
        return True

    def unmark(self, digest: Digest, now_ns: int) -> None:
        """A proposal is in flight no more."""
        proposal = self._proposals.pop(digest, None)
        if proposal is None:
            return
        for address, nonce in proposal.places:
            self._runs.release(address, nonce, now_ns)
        if len(proposal.places) == len(proposal.ids):
            return
        for transaction_id in proposal.ids:
            digests = self._unplaced.get(transaction_id)
            if digests is not None and digest in digests:
                digests.remove(digest)
                if not digests:
                    del self._unplaced[transaction_id]

    def place(self, transaction: Transaction, now_ns: int) -> None:
        """A body came, pooled or pinned; it may be one that proposals in flight have named."""
        if self._unplaced:
            for digest in self._unplaced.pop(transaction.id, ()):
                self._proposals[digest].places.append((transaction.sender, transaction.nonce))
                self._runs.hold(transaction.sender, transaction.nonce, now_ns)
