"""The pool against a deliberately dumb model: all that the pool counts is recomputed from scratch at each step."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from pool_transactions import SECOND, Harness, digest_named, executed_receipt, pooled, sender_named, skipped

from potchain.blocks import Receipt
from potchain.errors import InvalidTransaction
from potchain.pool.ordering import ready_order
from potchain.primitives import Digest
from potchain.transactions import Transaction

NAMES = "abcd"
LIMITS = {
    "count_max": 9,
    "bytes_max": 2_000,
    "per_sender_max": 5,
    "nonce_gap_max": 2,
    "ttl_ms": 40_000,
    "proposals_max": 100,
    "forgotten_max": 10_000,
}


class PoolMachine(RuleBasedStateMachine):
    """Random life of a small pool."""

    def __init__(self) -> None:
        super().__init__()
        self.harness = Harness(**LIMITS)
        self.pool = self.harness.pool
        self.harness.accounts = {sender_named(name): (0, 400) for name in NAMES}
        self.all: dict[Digest, Transaction] = {}
        self.arrivals: dict[Digest, int] = {}
        self.ready_since: dict[Digest, int] = {}
        self.waiting_since: dict[Digest, int] = {}
        self.executed: set[Digest] = set()
        self.marked: dict[Digest, tuple[Transaction, ...]] = {}
        self.pinned: dict[Digest, tuple[Transaction, ...]] = {}
        self.stored: set[Digest] = set()
        self.before: set[Digest] = set()
        self.count = 0

    # --- the model --------------------------------------------------------------------------------------------------

    def contents(self) -> dict[bytes, dict[int, Transaction]]:
        places: dict[bytes, dict[int, Transaction]] = {}
        for transaction in self.all.values():
            if self.pool.contains(transaction.id):
                run = places.setdefault(transaction.sender, {})
                assert transaction.nonce not in run, "two transactions in one place"
                run[transaction.nonce] = transaction
        return places

    def held(self, address: bytes) -> set[int]:
        return {each.nonce for body in self.marked.values() for each in body if each.sender == address}

    def end(self, address: bytes) -> int:
        nonce = self.harness.account(address)[0]
        run, held = self.contents().get(address, {}), self.held(address)
        while nonce in run or nonce in held:
            nonce += 1
        return nonce

    def ready(self) -> dict[Digest, Transaction]:
        found = {}
        for address, run in self.contents().items():
            nonce, left = self.harness.account(address)
            for place in range(nonce, self.end(address)):
                left -= run[place].fee if place in run else 0
                if left < 0:
                    break
                if place in run:
                    found[run[place].id] = run[place]
        return found

    def proposable(self) -> dict[Digest, Transaction]:
        return {each.id: each for each in self.ready().values() if each.nonce not in self.held(each.sender)}

    def best(self, count_max: int) -> list[Transaction]:
        left = self.proposable()
        chosen: list[Transaction] = []
        blocked: set[bytes] = set()
        while len(chosen) < count_max:
            heads: dict[bytes, Transaction] = {}
            for each in sorted(left.values(), key=lambda transaction: transaction.nonce):
                heads.setdefault(each.sender, each)
            choice = [each for address, each in heads.items() if address not in blocked]
            if not choice:
                break
            head = min(
                choice, key=lambda each: (ready_order(each.fee, self.ready_since[each.id], 10), self.arrivals[each.id])
            )
            if head.valid_until and head.valid_until < self.harness.block_time_ms:
                blocked.add(head.sender)
                continue
            del left[head.id]
            chosen.append(head)
        return chosen

    def settle(self) -> None:
        """Bring what the model remembers of times up to date, and check who left."""
        ready, proposable = self.ready(), self.proposable()
        now_ns = self.harness.now_ns
        self.ready_since = {each: self.ready_since.get(each, now_ns) for each in ready}
        self.waiting_since = {each: self.waiting_since.get(each, now_ns) for each in proposable}
        pooled_now = {each for each in self.all if self.pool.contains(each)}
        for gone in self.before - pooled_now - self.executed:
            state = self.pool.pending_state(gone)
            assert state is not None
            assert state.state == "dropped" or any(gone in {each.id for each in body} for body in self.marked.values())
        self.before = pooled_now
        self.stored |= pooled_now

    # --- what happens -----------------------------------------------------------------------------------------------

    @rule(
        name=st.sampled_from(NAMES),
        ahead=st.sampled_from([0, 0, 0, 0, 0, 1, 2, 3, -1, -1, -2, -5]),
        fee=st.integers(8, 120),
        size=st.sampled_from([100, 100, 200, 900]),
        lifetime=st.sampled_from([0, 0, 0, 2_000, 9_000]),
    )
    def admit(self, name: str, ahead: int, fee: int, size: int, lifetime: int) -> None:
        address = sender_named(name)
        nonce, balance = self.harness.account(address)
        place = max(0, self.end(address) + ahead)
        valid_until = self.harness.block_time_ms + lifetime if lifetime else 0
        transaction = pooled(name, place, fee, valid_until=valid_until, size=size)
        self.all.setdefault(transaction.id, transaction)
        run, end = self.contents().get(address, {}), self.end(address)
        old = run.get(place)
        evictable = self.evictable(address)
        ready = self.ready()
        refused = ""
        try:
            admission = self.harness.admit(transaction, base_fee=10)
        except InvalidTransaction as refusal:
            refused = refusal.code
        if refused:
            fees = fee + sum(each.fee for each in run.values()) - (old.fee if old else 0)
            fits = {
                "insufficient_fee": fee < 10,
                "stale_nonce": place < nonce,
                "nonce_gap_too_large": place > end + 2,
                "insufficient_funds": fees > balance,
                "fee_too_low_to_replace": old is not None and fee * 10 < old.fee * 11,
                "sender_limit": old is None and len(run) == 5,
                "pool_full": len(self.pool) == 9 or self.pool.status().bytes + size > 2_000,
            }
            assert fits[refused]
            if refused == "pool_full" and place == end and size == 100:
                assert all(each.id in ready for each in evictable), "a parked one was in the way of a ready one"
            return
        assert fee >= 10
        assert nonce <= place <= end + 2
        if admission.status == "known":
            assert old is not None
            assert old.id == transaction.id
            return
        self.count += 1
        self.arrivals[transaction.id] = self.count
        assert admission.replaced == (old.id if old else None)
        assert set(admission.evicted) <= {each.id for each in evictable}
        if old is not None and old.id in self.ready_since:
            self.ready_since[transaction.id] = self.ready_since[old.id]
        self.settle()

    def evictable(self, newcomer: bytes) -> list[Transaction]:
        pinned = {each.id for body in self.pinned.values() for each in body}
        tails = [run[max(run)] for address, run in self.contents().items() if address != newcomer]
        return [each for each in tails if each.id not in pinned and each.nonce not in self.held(each.sender)]

    @rule(count=st.integers(0, 5))
    def select_and_propose(self, count: int) -> None:
        chosen = self.harness.select(count_max=count)
        assert list(chosen) == self.best(count)
        self.propose(chosen)

    @rule(data=st.data())
    @precondition(lambda self: self.all)
    def another_proposes(self, data: st.DataObject) -> None:
        self.propose(tuple(data.draw(st.lists(st.sampled_from(list(self.all.values())), max_size=3, unique=True))))

    def propose(self, transactions: tuple[Transaction, ...]) -> None:
        digest = digest_named(f"proposal {len(self.pinned)} {self.count} {self.harness.now_ns} {len(self.marked)}")
        if not transactions or digest in self.pinned:
            return
        assert self.pool.pin(digest, transactions)
        self.pinned[digest] = transactions
        self.stored |= {each.id for each in transactions}
        assert self.pool.mark_proposed(digest, [each.id for each in transactions])
        self.marked[digest] = transactions
        self.settle()

    @rule(data=st.data())
    @precondition(lambda self: self.marked)
    def give_up(self, data: st.DataObject) -> None:
        digest = data.draw(st.sampled_from(list(self.marked)))
        self.pool.expire(self.harness.now_ns, 0)  # brings the time
        self.settle()
        del self.marked[digest]
        self.pool.unmark_proposed(digest)
        self.settle()

    @rule(data=st.data())
    @precondition(lambda self: self.pinned)
    def unpin(self, data: st.DataObject) -> None:
        digest = data.draw(st.sampled_from(list(self.pinned)))
        if digest not in self.marked:
            del self.pinned[digest]
            self.pool.unpin(digest)

    @rule(data=st.data(), spent=st.integers(0, 200), income=st.booleans())
    @precondition(lambda self: self.marked)
    def execute(self, data: st.DataObject, spent: int, income: bool) -> None:
        digest = data.draw(st.sampled_from(list(self.marked)))
        self.harness.block_time_ms += 500
        if income:
            for address, (nonce, balance) in self.harness.accounts.items():
                self.harness.accounts[address] = nonce, balance + 100
        receipts = [self.outcome(each, spent) for each in self.marked[digest]]
        self.pool.executed(self.marked[digest], receipts, self.harness.account, self.harness.now_ns)
        for each in self.all:
            if self.pool.contains(each) and each not in self.before:  # a skipped one came back
                self.count += 1
                self.arrivals[each] = self.count
                former = next((old for old in self.before if self.same_place(old, each)), None)
                if former in self.ready_since:
                    self.ready_since[each] = self.ready_since[former]
        self.settle()
        del self.marked[digest]
        self.pool.unmark_proposed(digest)
        self.settle()

    def same_place(self, one: Digest, other: Digest) -> bool:
        first, second = self.all[one], self.all[other]
        return (first.sender, first.nonce) == (second.sender, second.nonce)

    def outcome(self, transaction: Transaction, spent: int) -> Receipt:
        nonce, balance = self.harness.account(transaction.sender)
        if transaction.nonce != nonce:
            return skipped(transaction, "stale_nonce" if transaction.nonce < nonce else "future_nonce")
        if transaction.valid_until and transaction.valid_until < self.harness.block_time_ms - 1:
            return skipped(transaction, "expired")
        if transaction.fee > balance:
            return skipped(transaction, "insufficient_funds")
        self.harness.accounts[transaction.sender] = nonce + 1, max(0, balance - transaction.fee - spent)
        self.executed.add(transaction.id)
        return executed_receipt(transaction)

    @rule(seconds=st.integers(1, 30), blocks=st.booleans())
    def time_passes(self, seconds: int, blocks: bool) -> None:
        self.harness.now_ns += seconds * SECOND
        if blocks:
            self.harness.block_time_ms += seconds * 500
        dropped = self.pool.expire(self.harness.now_ns, self.harness.block_time_ms)
        assert all(not self.pool.contains(each.id) for each in dropped)
        late = [each for run in self.contents().values() for each in run.values() if each.valid_until]
        assert all(each.valid_until >= self.harness.block_time_ms for each in late)
        self.settle()

    @rule()
    def drain(self) -> None:
        drained = self.pool.drain_forgotten()
        assert len(set(drained)) == len(drained)
        assert all(self.pool.get(each) is None for each in drained)
        assert {each for each in self.stored if self.pool.get(each) is None} == set(drained)
        self.stored -= set(drained)

    # --- what always holds --------------------------------------------------------------------------------------------

    @invariant()
    def bounds_hold_and_counters_equal_recomputation(self) -> None:
        everything = [each for run in self.contents().values() for each in run.values()]
        status = self.pool.status()
        assert status.count == len(everything) == len(self.pool) <= status.count_max
        assert status.bytes == sum(len(each.raw) for each in everything) <= status.bytes_max
        assert all(len(run) <= 5 for run in self.contents().values())
        assert status.senders == len(self.contents())
        assert status.ready == len(self.ready())
        assert status.proposable == len(self.proposable())
        bodies = {each.id: each for body in self.pinned.values() for each in body}
        assert status.pinned_count == len(bodies)
        assert status.pinned_bytes == sum(len(each.raw) for each in bodies.values())
        oldest = min((self.waiting_since[each] for each in self.proposable()), default=None)
        assert self.pool.proposable() == (len(self.proposable()), oldest)
        assert all(
            self.pool.next_nonce(each, self.harness.account(each)[0]) == self.end(each)
            for each in self.harness.accounts
        )
        ready = self.ready()
        page = self.pool.page(None, 100, self.harness.now_ns)
        assert [each.transaction.id for each in page] == sorted(each.id for each in everything)
        assert all(each.ready == (each.transaction.id in ready) for each in page)

    @invariant()
    def pinned_bodies_are_available(self) -> None:
        assert all(self.pool.get(each.id) == each for body in self.pinned.values() for each in body)

    @invariant()
    def a_full_selection_is_everything_proposable_in_the_best_order(self) -> None:
        assert list(self.harness.select()) == self.best(1_000)


PoolMachine.TestCase.settings = settings(
    max_examples=300, stateful_step_count=50, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
TestPoolAgainstTheModel = PoolMachine.TestCase
