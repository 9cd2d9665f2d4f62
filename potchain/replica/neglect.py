"""Whether the primary leaves work out without excuse (design section 5, timers (b)).

What waits longest is looked at: neglected is what no proposal took although none came at all, or one had room for it,
or one took a transaction of lower standing instead. Full blocks of better-paying transactions are no fault; the pool's
ageing bounds how long that can go on. Proposals count from when they come here, so what one could not know of yet is
judged by the later ones. The node forwards what waits to the primary at half the view timeout, before it accuses.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import msgspec

from potchain.blocks import Proposal
from potchain.consensus.interface import WorkWaiting
from potchain.pool import TransactionPool
from potchain.pool.interface import LongestWait
from potchain.replica.epochs import KnownEpochs
from potchain.transactions import Transaction

PROPOSALS_REMEMBERED = 1_024
"""Proposals whose fullness is remembered; the oldest are forgotten first, which can only excuse less."""
STANDING_MARGIN_S = 4
"""Two pools see a transaction become ready at different moments: standings closer than this are taken for equal."""


class _SeenProposal(msgspec.Struct, frozen=True):
    seen_ns: int
    free_count: int
    free_bytes: int
    lowest: int | None
    """Standing of its last in rank that this pool knows; looked up only when it is full."""


class NeglectJudge:
    """Remembers how full the primaries' proposals were, and holds what waits longest against them."""

    def __init__(self, epochs: KnownEpochs, pool: TransactionPool, lacks_blocks: Callable[[], bool]) -> None:
        """`lacks_blocks`: whether what the pool holds as proposable may be executed elsewhere already."""
        self._epochs = epochs
        self._lacks_blocks = lacks_blocks
        self._pool = pool
        self._seen: deque[_SeenProposal] = deque(maxlen=PROPOSALS_REMEMBERED)
        self._filling_since_ns: int | None = None

    def __len__(self) -> int:
        return len(self._seen)

    def proposal_seen(self, proposal: Proposal, bodies: tuple[Transaction, ...], now_ns: int) -> None:
        """A proposal has all its bodies here; call it before its transactions count as proposed."""
        parameters = self._epochs.current.parameters
        free_count = parameters.batch_max - len(bodies)
        free_bytes = parameters.batch_bytes_max - sum([len(body.raw) for body in bodies])
        full = free_count == 0 or free_bytes < parameters.batch_bytes_max >> 3
        lowest = self._pool.lowest_standing([body.id for body in bodies]) if full else None
        self._seen.append(_SeenProposal(now_ns, free_count, free_bytes, lowest))

    def fill_up(self, now_ns: int | None) -> None:
        """The epoch ends, and sequences before its end are not decided yet; None: there is nothing to fill."""
        if now_ns is None or self._filling_since_ns is None:
            self._filling_since_ns = now_ns

    def work_waiting(self) -> WorkWaiting:
        """What the engine is told."""
        if self._lacks_blocks():
            return WorkWaiting(0, None)
        count, _ = self._pool.proposable()
        longest = self._pool.longest_wait()
        since = [] if longest is None else [self._neglected_since(longest)]
        if self._filling_since_ns is not None:
            # Any proposal at all fills the epoch up.
            last_ns = self._seen[-1].seen_ns if self._seen else 0
            since.append(max(self._filling_since_ns, last_ns))
        return WorkWaiting(count, min(since, default=None))

    def _neglected_since(self, longest: LongestWait) -> int:
        """Since when it waits without excuse."""
        came = [seen for seen in self._seen if seen.seen_ns >= longest.since_ns]
        if not came or any(_passed_over(seen, longest) for seen in came):
            return longest.since_ns
        # All that came were full of what ranks before it: an excuse up to the last of them, and no further.
        return came[-1].seen_ns


def _passed_over(seen: _SeenProposal, longest: LongestWait) -> bool:
    if seen.free_count > 0 and seen.free_bytes >= longest.size:
        return True
    return seen.lowest is not None and longest.ranks_before(seen.lowest, STANDING_MARGIN_S)
