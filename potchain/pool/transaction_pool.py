"""The pool: admission, replacement, eviction, expiry, pins, and what execution leaves of it.

It holds transactions whose signature is verified. It has no clock: `now_ns` is a monotonic reading and never runs
backwards; `block_time_ms` is the least block time that the next block may have. Account facts are the caller's, as of
the highest executed block. Nothing here is agreed between nodes, and a refused transaction changes nothing.

A transaction that leaves without being executed is remembered for a while with code and reason. Its body stays
available while it is pinned; once it is neither pooled nor pinned, its id comes out of `drain_forgotten`, and the body
log on disk need not keep it.

**A full pool.** A newcomer gets in if it is worth more than what must go; worth is (ready or parked, effective fee).
Only the last transaction of a sender can go, so no eviction parks another transaction; the cheapest go first, at most
one of each sender for one newcomer, never of the newcomer's own sender, none that is pinned or in a proposal. Parked
transactions pay nothing as long as they are parked, so a ready newcomer displaces them whatever fee they promise.
"""

from __future__ import annotations

from collections.abc import KeysView, Sequence

from potchain.blocks import SKIPPED, Receipt
from potchain.errors import InvalidTransaction
from potchain.pool.admission import check_alone, check_place
from potchain.pool.departures import EXPIRED_MAX, SKIPPED_FOR_GOOD, Departures
from potchain.pool.entries import Entries
from potchain.pool.in_flight import ProposalsInFlight
from potchain.pool.interface import (
    AccountFacts,
    Admission,
    Dropped,
    LongestWait,
    PendingState,
    PooledTransaction,
    PoolLimits,
    PoolSizes,
)
from potchain.pool.pins import PinnedBodies
from potchain.pool.run import Entry, Run
from potchain.pool.runs import Runs
from potchain.primitives import NS_PER_MS, Digest
from potchain.transactions import Transaction

UNPAID_ASKED_MAX = 256
"""Senders whose balance did not pay all their fees that are looked at again after each block."""

_ADDED = Admission("added")
_KNOWN = Admission("known")
_POOLED = PendingState("pool")


class TransactionPool:
    """Transactions admitted and not yet executed, and the bodies that proposals need."""

    def __init__(self, limits: PoolLimits | None = None) -> None:
        self.limits = limits = limits or PoolLimits()
        assert min(limits.count_max, limits.ageing_doubling_s) > 0, limits
        self._now_ns = 0
        self._pins = PinnedBodies(limits.pinned_bytes_max)
        self._runs = Runs(limits.ageing_doubling_s, self._pins.by_id)
        self._in_flight = ProposalsInFlight(self._runs, limits.proposals_max)
        self._departures = Departures(limits.dropped_remembered_max, limits.forgotten_max)
        self._entries = Entries(self._departures, self._pins.by_id)

    def __len__(self) -> int:
        return len(self._entries)

    # --- reading ----------------------------------------------------------------------------------------------------

    def contains(self, transaction_id: Digest) -> bool:
        """Whether it is in the pool; a body that is only pinned is not."""
        return transaction_id in self._entries

    def get(self, transaction_id: Digest) -> Transaction | None:
        """The body, pooled or pinned."""
        entry = self._entries.get(transaction_id)
        return self._pins.get(transaction_id) if entry is None else entry.transaction

    def ids(self) -> KeysView[Digest]:
        """Of all that is in the pool, in the order in which it came."""
        return self._entries.ids()

    def proposable(self) -> tuple[int, int | None]:
        """(count, since when the longest waiting could be proposed, ns) of what is ready and in no proposal. O(1)."""
        return self._runs.proposable()

    def longest_wait(self) -> LongestWait | None:
        """What `proposable` has waited longest; None when nothing waits."""
        return self._runs.longest_wait()

    def lowest_standing(self, ids: Sequence[Digest]) -> int | None:
        """The lowest standing (the largest number) of those that are pooled and ready; None when none is."""
        entries = [entry for each in ids if (entry := self._entries.get(each)) is not None]
        return max((entry.order for entry in entries if self._runs.is_ready(entry.transaction)), default=None)

    def next_nonce(self, address: bytes, account_nonce: int) -> int:
        """The nonce to sign with next: the end of the sender's contiguous run, proposals in flight included."""
        return self._runs.end_of(address, account_nonce)

    def pending_state(self, transaction_id: Digest) -> PendingState | None:
        """In the pool (or in a proposal in flight), recently dropped, or None. What the ledger says goes before it."""
        if transaction_id in self._entries or self._in_flight.names(transaction_id):
            return _POOLED
        dropped = self._departures.dropped.get(transaction_id)
        return None if dropped is None else PendingState("dropped", dropped.code, dropped.reason)

    def page(self, after: Digest | None, limit: int, now_ns: int) -> tuple[PooledTransaction, ...]:
        """Up to `limit` pooled transactions in the order of ids, from behind `after`. O(pool)."""
        return tuple(
            PooledTransaction(
                entry.transaction, self._runs.is_ready(entry.transaction), (now_ns - entry.admitted_ns) // NS_PER_MS
            )
            for entry in self._entries.page(after, limit)
        )

    def status(self) -> PoolSizes:
        """Sizes beside bounds."""
        limits = self.limits
        return PoolSizes(
            count=len(self._entries),
            count_max=limits.count_max,
            bytes=self._entries.bytes,
            bytes_max=limits.bytes_max,
            ready=self._runs.ready_count,
            proposable=self._runs.proposable()[0],
            senders=len(self._runs),
            proposals=len(self._in_flight),
            proposals_max=limits.proposals_max,
            pinned_count=len(self._pins),
            pinned_bytes=self._pins.bytes,
            pinned_bytes_max=limits.pinned_bytes_max,
            dropped_remembered=len(self._departures.dropped),
            dropped_remembered_max=limits.dropped_remembered_max,
            forgotten=len(self._departures.forgotten),
            forgotten_max=limits.forgotten_max,
        )

    # --- admission --------------------------------------------------------------------------------------------------

    def admit(
        self,
        transaction: Transaction,
        *,
        account_nonce: int,
        balance: int,
        base_fee: int,
        block_time_ms: int,
        now_ns: int,
        standing_fee: int = 0,
        promised: bool = False,
    ) -> Admission:
        """Take a transaction with a verified signature in; `account_nonce` and `balance` are its sender's.

        `standing_fee`: it competes as if it paid so much, where that is more than its fee: for duties, which pay none.
        `promised`: it was taken before a restart, which may have lost what stood in front of it.

        Raises InvalidTransaction, with nothing admitted or evicted: `oversize`, `insufficient_fee`, `expired`,
        `stale_nonce`, `nonce_gap_too_large`, `fee_too_low_to_replace`, `insufficient_funds` (the balance does not pay
        the fees of all pooled transactions of the sender), `sender_limit`, `pool_full`.
        """
        if transaction.id in self._entries:
            return _KNOWN
        now_ns = self._advance(now_ns)
        check_alone(transaction, account_nonce, base_fee, block_time_ms)
        address = transaction.sender
        run = self._runs.get(address)
        if run is not None and (run.nonce < account_nonce or run.balance != balance):
            self._set_facts(run, account_nonce, balance, now_ns, [])
            run = self._runs.get(address)
        old = None if run is None else run.entries.get(transaction.nonce)
        end = self._runs.end_of(address, account_nonce)
        check_place(transaction, run, old, end, balance, self.limits, promised=promised)
        standing_fee = max(standing_fee, transaction.fee)
        evicted = self._make_room(transaction, standing_fee, run, old, end, now_ns)
        entry = self._entries.add(transaction, now_ns, standing_fee)
        if old is not None:
            self._runs.replace(old, entry, now_ns)
            self._entries.drop(old, "replaced", f"replaced by 0x{transaction.id.hex()} with a higher fee")
            self._in_flight.place(transaction, now_ns)
            return Admission("replaced", old.transaction.id, evicted)
        self._runs.add(entry, account_nonce, balance, now_ns)
        self._in_flight.place(transaction, now_ns)
        return Admission("added", None, evicted) if evicted else _ADDED

    def _make_room(
        self, transaction: Transaction, standing_fee: int, run: Run | None, old: Entry | None, end: int, now_ns: int
    ) -> tuple[Digest, ...]:
        """Evict what must go for this newcomer, or raise `pool_full` with nothing evicted."""
        over_count = len(self._entries) + 1 - self.limits.count_max
        over_bytes = self._entries.bytes + len(transaction.raw) - self.limits.bytes_max
        if old is not None:
            over_count -= 1
            over_bytes -= old.size
        if over_count <= 0 and over_bytes <= 0:
            return ()
        if old is not None and run is not None:
            ready_ns = old.ready_ns if transaction.nonce < run.ready_end else None
        else:
            ready_ns = now_ns if transaction.nonce == end else None
        worth = self._runs.worth(standing_fee, ready_ns)
        victims = self._runs.evictable(over_count, over_bytes, transaction.sender, worth)
        if not victims:
            detail = f"fee {transaction.fee} displaces none of {len(self._entries)} transactions; try later or pay more"
            raise InvalidTransaction("pool_full", detail)
        for entry in victims:
            self._runs.remove(entry, now_ns)
            self._entries.drop(entry, "evicted", "the pool was full, and another transaction paid more")
        return tuple(entry.transaction.id for entry in victims)

    # --- proposals --------------------------------------------------------------------------------------------------

    def select(self, *, count_max: int, bytes_max: int, now_ns: int, block_time_ms: int) -> tuple[Transaction, ...]:
        """The best transactions for a proposal, in its order: effective fee, then arrival; a sender's by nonce.

        None of them is in a proposal in flight; a sender's run goes on behind what is. One whose `valid_until` is below
        `block_time_ms` ends its sender's part. Changes nothing: `mark_proposed` does.
        """
        self._advance(now_ns)
        return tuple(self._runs.select(count_max, bytes_max, block_time_ms))

    def mark_proposed(self, digest: Digest, ids: Sequence[Digest]) -> bool:
        """A proposal, ours or another's, is in flight: its transactions are not selected until `unmark_proposed`.

        Ids without a body here count from when it is pinned or admitted. Marking twice is allowed. Returns False when
        `proposals_max` are marked and this one is not tracked.
        """
        return self._in_flight.mark(digest, ids, self.get, self._now_ns)

    def unmark_proposed(self, digest: Digest) -> None:
        """A proposal was executed or will not be decided. Unknown digests are ignored.

        What it held may be selected again; its age counts on, its wait for a proposal begins at the newest reading of
        the clock that any call brought.
        """
        self._in_flight.unmark(digest, self._now_ns)

    def pin(self, digest: Digest, transactions: Sequence[Transaction]) -> bool:
        """Keep these bodies available through `get` until `unpin`, whatever becomes of them in the pool.

        Pinning a digest twice is allowed. Returns False, and pins nothing, when `pinned_bytes_max` would be passed:
        then the caller must not vote for the proposal yet.
        """
        if not self._pins.pin(digest, transactions):
            return False
        for transaction in transactions:
            self._departures.needed_again(transaction.id)
            self._in_flight.place(transaction, self._now_ns)
        return True

    def unpin(self, digest: Digest) -> None:
        """The bodies of this digest are needed no more. Unknown digests are ignored."""
        for transaction in self._pins.unpin(digest):
            if transaction.id in self._entries:
                self._runs.unpinned(transaction.sender)
            else:
                self._departures.forget(transaction.id)

    # --- leaving ----------------------------------------------------------------------------------------------------

    def executed(
        self, transactions: Sequence[Transaction], receipts: Sequence[Receipt], account: AccountFacts, now_ns: int
    ) -> tuple[Dropped, ...]:
        """A block was executed: its bodies and receipts in order, and the account facts that came of it.

        Executed ids leave; of their senders, what the new nonces overtake is dropped. A skipped transaction stays,
        comes back if it is admissible, or is dropped with the reason. Marks and pins are the caller's to undo.
        Returns what was dropped, except what a transaction that came back displaced.
        """
        now_ns = self._advance(now_ns)
        gone: list[Dropped] = []
        skipped: list[tuple[Transaction, str]] = []
        touched: dict[bytes, int] = {}  # sender: highest nonce executed
        runs, departures = self._runs, self._departures
        for transaction, receipt in zip(transactions, receipts, strict=True):
            run = runs.get(transaction.sender)
            if receipt.status == SKIPPED:
                skipped.append((transaction, receipt.code))
                if run is not None:
                    touched.setdefault(transaction.sender, -1)
                continue
            departures.not_dropped(transaction.id)
            if run is None:
                continue
            touched[transaction.sender] = transaction.nonce
            entry = run.entries.get(transaction.nonce)
            if entry is None:
                continue
            runs.take_executed(run, entry)
            if entry.transaction.id == transaction.id:
                self._entries.unlist(entry)
            else:
                reason = f"0x{transaction.id.hex()} with the same nonce was executed"
                gone.append(self._entries.drop(entry, "replaced_on_chain", reason))
        for address, nonce in touched.items():
            run = runs.get(address)
            if run is not None and not runs.close_if_empty(run):
                account_nonce, balance = account(address)
                assert account_nonce > nonce, "account facts must be of the state after the block"
                self._set_facts(run, account_nonce, balance, now_ns, gone)
        for transaction, code in skipped:
            self._take_back(transaction, code, account, now_ns, gone)
        for run in runs.unpaid(UNPAID_ASKED_MAX):
            self._set_facts(run, *account(run.address), now_ns, gone)
        return tuple(gone)

    def expire(self, now_ns: int, block_time_ms: int) -> tuple[Dropped, ...]:
        """Drop what is too long here or can no longer execute, at most `EXPIRED_MAX` at once."""
        now_ns = self._advance(now_ns)
        gone: list[Dropped] = []
        ttl_ms = self.limits.ttl_ms
        while ttl_ms and len(gone) < EXPIRED_MAX:
            entry = self._entries.admitted_before(now_ns - ttl_ms * NS_PER_MS)
            if entry is None:
                break
            self._runs.remove(entry, now_ns)
            gone.append(self._entries.drop(entry, "pool_timeout", f"not executed within {ttl_ms} ms in the pool"))
        while len(gone) < EXPIRED_MAX:
            entry = self._entries.valid_before(block_time_ms)
            if entry is None:
                break
            self._runs.remove(entry, now_ns)
            reason = f"valid until block time {entry.transaction.valid_until}, which is {block_time_ms} now"
            gone.append(self._entries.drop(entry, "expired", reason))
        return tuple(gone)

    def drain_forgotten(self) -> tuple[Digest, ...]:
        """Ids, since the last call, whose body neither the pool nor a pin needs: the body log may drop them."""
        forgotten = tuple(self._departures.forgotten)
        self._departures.forgotten.clear()
        return forgotten

    # --- private ----------------------------------------------------------------------------------------------------

    def _advance(self, now_ns: int) -> int:
        """The newest reading; the order of what waits rests on time not running backwards."""
        if now_ns > self._now_ns:
            self._now_ns = now_ns
        return self._now_ns

    def _set_facts(self, run: Run, nonce: int, balance: int, now_ns: int, gone: list[Dropped]) -> None:
        for entry in self._runs.set_facts(run, nonce, balance, now_ns):
            reason = f"nonce {entry.transaction.nonce} is used; the account's next is {nonce}"
            gone.append(self._entries.drop(entry, "stale_nonce", reason))

    def _take_back(
        self, transaction: Transaction, code: str, account: AccountFacts, now_ns: int, gone: list[Dropped]
    ) -> None:
        """What becomes of a transaction that a block skipped with this code."""
        entry = self._entries.get(transaction.id)
        if code in SKIPPED_FOR_GOOD:
            reason = "skipped in a block, and it can never be valid again"
            if entry is not None:
                self._runs.remove(entry, now_ns)
                gone.append(self._entries.drop(entry, code, reason))
                return
        elif entry is not None:
            return
        else:
            nonce, balance = account(transaction.sender)
            try:
                self.admit(
                    transaction, account_nonce=nonce, balance=balance, base_fee=0, block_time_ms=0, now_ns=now_ns
                )
                return
            except InvalidTransaction as fault:
                code, reason = fault.code, f"skipped in a block ({code}), and it cannot come back: {fault.detail}"
        # It was not in the pool; if it is known why it had left, that says more.
        if transaction.id not in self._departures.dropped:
            dropped = Dropped(transaction.id, code, reason)
            self._departures.remember(dropped)
            gone.append(dropped)
