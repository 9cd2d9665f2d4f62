"""Whatever people, operators and the contract do in whatever order: money is conserved, and each payout is paid once.

The contract is a model of its own: it executes signed actions in the order of their nonces, credits what their entries
say, and numbers its events. The ledger only ever learns of it through votes, late and in any order.
"""

from __future__ import annotations

from collections import Counter

from core_network import key
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from prize_application import Award, PrizeApplication
from settlement_ledger import PEOPLE, RELAYER, Books, observation, operator_key

from potchain.application.settlement import records
from potchain.application.settlement.bodies import ObserveL2, SignBatch, Withdraw
from potchain.codec import Canonical
from potchain.crypto import SigningKey
from potchain.primitives import uint, uint256
from potchain.settlement import Action, BatchSeen, DepositSeen, PauseSeen, RootSeen, RotationSeen
from potchain.settlement.actions import owners_hash

people = st.sampled_from(PEOPLE)
STEPS: Counter[str] = Counter()
SIGNING_CODES = ("", "already_signed", "batch_closed", "not_operator", "wrong_epoch", "insufficient_fee")


class PaperContract:
    """What PotSettlement does, as far as the ledger can tell."""

    def __init__(self) -> None:
        self.credited: Counter[bytes] = Counter()
        """By account: batches and roots together."""
        self.next_nonce = 0
        self.funds = 0
        """Deposits that are not allocated."""
        self.events: list[Canonical] = []

    def deposit(self, account: bytes, amount: int) -> None:
        """Coins come in."""
        self.funds += amount
        self.events.append(DepositSeen(account, uint256(amount)))

    def execute(self, action: Action) -> None:
        """An action with enough signatures; a nonce that is not the next one reverts."""
        if action.nonce != self.next_nonce:
            return
        assert action.total <= self.funds, "the ledger asks for what is not there: nothing behind it could be executed"
        self.next_nonce += 1
        self.funds -= action.total
        for entry in action.entries:
            self.credited[entry.account] += uint(entry.amount)
        if action.kind == "batch":
            self.events.append(BatchSeen(action.nonce, uint256(action.total), RELAYER))
        elif action.kind == "root":
            self.events.append(RootSeen(action.nonce, action.root, uint256(action.total), RELAYER))
        elif action.kind == "rotate":
            hashed = owners_hash(action.owners)
            self.events.append(RotationSeen(action.nonce, action.epoch + 1, hashed, action.threshold))
        else:
            self.events.append(PauseSeen(action.nonce, action.paused))


class SettlementMachine(RuleBasedStateMachine):
    """A ledger and its contract."""

    @initialize(
        root_min=st.sampled_from([1, 2, 3, 0]),
        batch_max=st.integers(1, 3),
        relay_fee=st.sampled_from([0, 7]),
        bound=st.sampled_from([True, True, True, False]),
    )
    def start(self, root_min: int, batch_max: int, relay_fee: int, bound: bool) -> None:
        self.books = Books(extra=(PrizeApplication(),))
        self.contract = PaperContract()
        self.withdrawn: Counter[bytes] = Counter()
        self.keys = {each.address: each for each in [operator_key(index) for index in range(6)]}
        for name, value in (("root_min", root_min), ("batch_max", batch_max), ("relay_fee", relay_fee)):
            self.books.set_term(name, value)
        self.books.set_term("root_entries_max", 5)
        if bound:
            self.books.bind(funds=0)

    @precondition(lambda self: not self.books.counters.binding)
    @rule()
    def bind(self) -> None:
        self.books.bind(funds=0)

    @rule(names=st.lists(people, min_size=1, max_size=6), amount=st.integers(0, 3_000))
    def withdraw(self, names: list[str], amount: int) -> None:
        for name in names:
            self.books.collect(key(name), Withdraw, uint256(amount), fee=10)
        for name, receipt in zip(names, self.books.run().receipts, strict=True):
            if receipt.status == "ok":
                self.withdrawn[key(name).address] += amount
                STEPS["payouts"] += 1
            else:
                now = self.books.counters
                code = "not_covered" if now.binding else "not_bound"
                if now.paused:
                    code = "settlement_paused"
                assert receipt.code == (code if amount else "below_minimum")
                STEPS[receipt.code] += 1

    @rule(names=st.lists(people, min_size=1, max_size=2), amount=st.integers(1, 2_000))
    def award(self, names: list[str], amount: int) -> None:
        """An application owes somebody money, whatever is there."""
        for name in names:
            self.books.collect(key(name), Award, key(name).address, uint256(amount), fee=10)
        for name, receipt in zip(names, self.books.run().receipts, strict=True):
            assert receipt.status == "ok"
            self.withdrawn[key(name).address] += amount
            STEPS["awards"] += 1

    @rule(name=people, amount=st.integers(1, 40_000))
    def deposit(self, name: str, amount: int) -> None:
        if self.books.counters.binding:
            self.contract.deposit(key(name).address, amount)

    @rule(who=st.integers(0, 5), which=st.integers(0, 3))
    def sign(self, who: int, which: int) -> None:
        self._sign(self.books.counters.next_executed + which, [operator_key(who)])

    @rule()
    def sign_all(self) -> None:
        for record in records.open_actions(self.books.state):
            self._sign(record.action.nonce, list(self.keys.values()))

    @rule(order=st.permutations(range(4)))
    def relay(self, order: list[int]) -> None:
        """Anybody may, again and again, and in the wrong order."""
        for which in order:
            record = records.action(self.books.state, self.books.counters.next_executed + which)
            if record is not None and record.status == records.SIGNED:
                self._execute(record.action)

    @rule()
    def relay_at_once(self) -> None:
        """What is open is signed and executed; the ledger knows nothing of it yet."""
        self.sign_all()
        self.relay(list(range(4)))

    @rule(who=st.integers(0, 3), which=st.integers(0, 5), lie=st.booleans())
    def observe(self, who: int, which: int, lie: bool) -> None:
        """One vote; v3's may be a lie."""
        nonce = self.books.counters.next_event + which
        if nonce < len(self.contract.events):
            other = {"block_number": 999} if lie and who == 3 else {}
            self.books.send(operator_key(who), ObserveL2, *observation(nonce, self.contract.events[nonce], **other))

    @rule()
    def observe_all(self) -> None:
        first = self.books.counters.next_event
        for nonce in range(len(self.contract.events) - 1, first - 1, -1):
            for who in range(3):
                self.books.collect(operator_key(who), ObserveL2, *observation(nonce, self.contract.events[nonce]))
        self.books.run()
        assert self.books.counters.next_event == len(self.contract.events)

    @precondition(lambda self: self.books.counters.binding)
    @rule(chosen=st.sets(st.integers(0, 5), min_size=1, max_size=5), drawn=st.integers(0, 4))
    def rotate(self, chosen: set[int], drawn: int) -> None:
        if self.books.counters.actions_open < 6:
            owners = [operator_key(index) for index in sorted(chosen)]
            self.books.rotate(owners, 1 + drawn % len(owners))
            STEPS["rotations"] += 1

    @precondition(lambda self: self.books.counters.binding)
    @rule()
    def pause_or_go_on(self) -> None:
        if self.books.counters.actions_open < 6:
            self.books.pause(0 if self.books.counters.paused else 1)

    @invariant()
    def money_is_conserved(self) -> None:
        if hasattr(self, "books"):
            there, due = self.books.money()
            assert there == due
            assert 0 <= self.books.counters.unbatched <= self.contract.funds
            assert self.books.counters.halted is False

    @invariant()
    def nobody_is_credited_more_than_was_withdrawn(self) -> None:
        if hasattr(self, "books"):
            assert all(self.contract.credited[who] <= self.withdrawn[who] for who in self.contract.credited)

    def teardown(self) -> None:
        """Let everything that is owed be paid, then compare."""
        if not hasattr(self, "books"):
            return
        if not self.books.counters.binding:
            self.books.bind(funds=0)
        self.contract.deposit(RELAYER, uint(self.books.counters.owed) + 1)
        while self.books.counters.payouts_open or self.books.counters.actions_open or self.books.counters.paused:
            self.sign_all()
            for record in records.open_actions(self.books.state):
                self._execute(record.action)
            self.observe_all()
            if self.books.counters.paused:
                self.books.pause(0)
        assert +self.contract.credited == +self.withdrawn
        assert uint(self.books.counters.executed) == self.withdrawn.total()
        assert records.owed(self.books.state) == 0

    def _execute(self, action: Action) -> None:
        before = self.contract.next_nonce
        self.contract.execute(action)
        STEPS[action.kind] += self.contract.next_nonce - before

    def _sign(self, nonce: int, signers: list[SigningKey]) -> None:
        record = records.action(self.books.state, nonce)
        if record is None:
            return
        for signer in signers:
            self.books.collect(signer, SignBatch, nonce, signer.sign_digest(record.digest))
        for receipt in self.books.run().receipts:
            assert receipt.code in SIGNING_CODES


def test_random_lives_conserve_money_and_pay_everything_once_and_get_everywhere() -> None:
    STEPS.clear()
    limits = settings(max_examples=80, stateful_step_count=40, deadline=None, derandomize=True)
    run_state_machine_as_test(SettlementMachine, settings=limits)
    steps = ("payouts", "awards", "not_covered", "settlement_paused", "batch", "root", "rotate", "pause")
    # Which lives there are depends on what else is imported: Hypothesis takes constants from there.
    assert all(STEPS[step] > 2 for step in steps), STEPS
