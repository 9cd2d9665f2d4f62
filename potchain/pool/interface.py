"""What the pool is told and what it answers: limits, outcomes, sizes. Data only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

import msgspec

from potchain.pool.ordering import FRACTION_BITS
from potchain.primitives import Digest
from potchain.transactions import Transaction

AccountFacts = Callable[[bytes], tuple[int, int]]
"""Nonce and balance (base units) of an address in the state after the highest executed block."""

Positive = Annotated[int, msgspec.Meta(ge=1)]
NotNegative = Annotated[int, msgspec.Meta(ge=0)]


class PoolLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Every bound of a pool. All are the node's own choice: no two nodes need the same ones."""

    count_max: Positive = 50_000
    """Transactions in the pool."""
    bytes_max: Positive = 64 * 1024 * 1024
    """Sum of their canonical bytes."""
    per_sender_max: Positive = 1_024
    """Transactions of one sender, whether in a proposal or not."""
    nonce_gap_max: NotNegative = 16
    """How far a nonce may lie above the end of the sender's contiguous run."""
    replacement_bump_percent: NotNegative = 10
    """A replacement's fee must be at least this much above the old one's, and at least 1 base unit."""
    ttl_ms: NotNegative = 3_600_000
    """Longest time in the pool; 0 for no limit."""
    ageing_doubling_s: Positive = 10
    """Seconds of readiness that count as much as a doubled fee; at least 1."""
    dropped_remembered_max: NotNegative = 10_000
    """Dropped ids whose code and reason are kept for the API; the oldest are forgotten first."""
    proposals_max: Positive = 1_024
    """Proposals in flight that are tracked. One more is not tracked: its transactions may then be proposed twice,
    which costs room in a block and nothing else."""
    pinned_bytes_max: Positive = 128 * 4_194_304
    """Sum of the canonical bytes of pinned bodies, in the pool or not. The default is the log window times the largest
    batch: with less, the window could fill before a checkpoint becomes stable, and the node could not vote."""
    forgotten_max: Positive = 200_000
    """Ids that wait for `drain_forgotten`; the oldest are lost beyond that, so their bodies stay in the log longer."""


class Admission(msgspec.Struct, frozen=True):
    """What became of an admitted transaction."""

    status: Literal["added", "known", "replaced"]
    replaced: Digest | None = None
    """The id whose place it took."""
    evicted: tuple[Digest, ...] = ()
    """Ids that made room for it."""


class Dropped(msgspec.Struct, frozen=True):
    """A transaction that left the pool without being executed.

    Codes: `replaced` (by a higher fee here), `replaced_on_chain` (another transaction with its nonce was executed),
    `stale_nonce`, `expired`, `pool_timeout` (longer here than the pool's time limit), `evicted`, and the codes of
    execution or of `TransactionPool.admit` for one that was skipped in a block and cannot come back.
    """

    id: Digest
    code: str
    reason: str


class PendingState(msgspec.Struct, frozen=True):
    """State of a transaction that is not in a block: "pool", or "dropped" with code and reason."""

    state: Literal["pool", "dropped"]
    code: str = ""
    reason: str = ""


class LongestWait(msgspec.Struct, frozen=True):
    """What could be proposed and has waited longest for it."""

    since_ns: int
    """Monotonic."""
    size: int
    """Canonical bytes."""
    standing: int
    """The lowest standing of it and of what its sender must have included before it; smaller goes first."""

    def ranks_before(self, standing: int, margin_s: int) -> bool:
        """Whether it should go before a transaction of that standing, by more than so many seconds of age."""
        return self.standing + (margin_s << FRACTION_BITS) < standing


class PooledTransaction(msgspec.Struct, frozen=True):
    """One entry of a page of the pool."""

    transaction: Transaction
    ready: bool
    """It and all before it are here or in a proposal, and the sender can pay all their fees."""
    age_ms: int
    """Since admission."""


class PoolSizes(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes beside their bounds; see `PoolLimits` for the bounds that are not repeated here."""

    count: int
    count_max: int
    bytes: int
    bytes_max: int
    ready: int
    """Next in turn and paid for, those in proposals included."""
    proposable: int
    """Ready and in no proposal."""
    senders: int
    proposals: int
    """Proposals in flight."""
    proposals_max: int
    pinned_count: int
    """Distinct pinned bodies, in the pool or not."""
    pinned_bytes: int
    pinned_bytes_max: int
    dropped_remembered: int
    dropped_remembered_max: int
    forgotten: int
    """Ids waiting for `drain_forgotten`."""
    forgotten_max: int
