"""The settler's own loop, in virtual time: when it looks, what wakes it, and that nothing of Layer 2 holds it up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from settler_layer2 import Layer2
from settler_world import STARTED_AT_MS, Node, World

from potchain.api.ports import SubmitOutcome
from potchain.crypto import keccak256
from potchain.errors import LedgerError, SettlementError
from potchain.primitives import NS_PER_MS, NS_PER_S
from potchain.replica.actions import Now
from potchain.settlement import ChainView, Prepared
from potchain.settlement.report import SettlerReport
from potchain.settler.memory import BACKOFF_MAX_NS
from potchain.settler.settler import CALL_DEADLINE_S
from potchain.sim.scheduler import Scheduler
from potchain.transactions import Transaction

DOWN = SettlementError("unreachable", "no endpoint answers")


class VirtualClock:
    """The scheduler's time."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    def now(self) -> Now:
        """Both readings."""
        return Now(self._scheduler.now_ns, STARTED_AT_MS + self._scheduler.now_ns // NS_PER_MS)


class LiveNode(Node):
    """A node whose settler runs by itself."""

    scheduler: Scheduler

    def start(self) -> None:
        """With the scheduler's clock."""
        self.clock = VirtualClock(self.scheduler)
        super().start()

    async def wait_height(self, height: int, *, certified: bool, timeout_s: float) -> bool:
        """Looks every 10 ms."""
        ends_ns = self.scheduler.now_ns + int(timeout_s * NS_PER_S)
        while self.scheduler.now_ns < ends_ns:
            if self.world.ledger.certified >= height:
                return True
            await asyncio.sleep(0.01)
        return False


class Live:
    """A world of one validator that runs: a block of the ledger when there is something for it, and one of Layer 2 a
    second."""

    def __init__(self, *, is_bound: bool = True) -> None:
        self.scheduler = LiveNode.scheduler = Scheduler()
        self.faults: list[dict[str, Any]] = []
        self.loop = self.scheduler.make_loop(self.faults.append)
        self.world = World(1, confirmations=1)
        if is_bound:
            self.world.bind()
        self.node = LiveNode(self.world, 0, self.world.keys[0])
        self.world.nodes = [self.node]
        self.task: asyncio.Task[None] = self.loop.create_task(self.node.settler.run())
        self._each(NS_PER_S // 10, self._ledger)
        self._each(NS_PER_S, lambda: self.world.layer2.mine())

    def run(self, seconds: float) -> None:
        """Let time pass."""
        self.scheduler.run(self.scheduler.now_ns + int(seconds * NS_PER_S), lambda: bool(self.faults))
        assert not self.faults
        assert not self.task.done()

    @property
    def report(self) -> SettlerReport:
        """Of the last tick."""
        return self.node.settler.status().report

    def stop(self) -> None:
        """End the settler as the node does."""

        async def end() -> None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)
            await self.node.settler.close()

        ending = self.loop.create_task(end())
        self.scheduler.run(self.scheduler.now_ns + 60 * NS_PER_S, ending.done)
        assert ending.done()

    def _ledger(self) -> None:
        if self.world.ledger.pool:
            self.world.ledger.make_block()

    def _each(self, every_ns: int, do: Callable[[], None]) -> None:
        def again() -> None:
            do()
            self.scheduler.at(self.scheduler.now_ns + every_ns, again)

        self.scheduler.at(self.scheduler.now_ns + every_ns, again)


def test_a_withdrawal_is_paid_within_five_seconds() -> None:
    live = Live()
    live.world.deposit(0, 1_000)
    live.run(5)
    live.world.withdraw(1, 5)
    live.run(5)
    assert live.world.layer2.state.rewards == live.world.withdrawn
    live.run(5)
    assert live.report.state == "idle"
    live.world.check_books()
    live.stop()


def test_ten_minutes_without_endpoints_cost_few_questions_and_no_signature() -> None:
    live = Live()
    live.world.deposit(0, 1_000)
    live.run(5)
    backend = live.node.backend
    backend.down = DOWN
    before = len(backend.calls)
    live.run(300)
    live.world.withdraw(1, 5)
    live.run(1)
    assert live.report.actions[0].signed_here  # at once, although the next look is up to a minute away
    live.run(299)
    assert live.report.fault
    assert live.report.fault.code == "unreachable"
    assert 10 <= len(backend.calls) - before <= 20
    backend.down = None
    live.run(BACKOFF_MAX_NS / NS_PER_S + 10)
    assert live.report.state == "idle"
    live.world.check_books()
    live.stop()


def test_an_endpoint_that_never_answers_holds_nothing_up() -> None:
    live = Live()
    live.world.deposit(0, 1_000)
    live.run(5)

    async def never(next_event_nonce: int) -> ChainView:
        return await asyncio.get_running_loop().create_future()

    answers = live.node.backend.observe
    live.node.backend.observe = never  # type: ignore[method-assign]
    live.run(2)
    live.world.withdraw(1, 5)
    live.run(1)
    assert live.report.actions[0].signed_here
    live.run(CALL_DEADLINE_S)
    assert live.report.fault
    assert live.report.fault.code == "unreachable"
    live.node.backend.observe = answers  # type: ignore[method-assign]
    live.run(CALL_DEADLINE_S + 10)
    assert live.report.state == "idle"
    live.world.check_books()
    live.stop()


def test_a_bug_of_the_back_end_is_a_fault_and_not_the_end() -> None:
    live = Live()
    live.run(2)

    async def broken(next_event_nonce: int) -> ChainView:
        raise KeyError("result")

    answers = live.node.backend.observe
    live.node.backend.observe = broken  # type: ignore[method-assign]
    live.run(2)
    assert live.report.fault
    assert (live.report.fault.code, live.report.fault.text) == ("rubbish", "the back end failed: KeyError: 'result'")
    live.node.backend.observe = answers  # type: ignore[method-assign]
    live.run(10)
    assert live.report.fault is None
    live.stop()


def test_stops_in_the_middle_of_a_look() -> None:
    live = Live()

    async def never(next_event_nonce: int) -> ChainView:
        return await asyncio.get_running_loop().create_future()

    live.run(1)
    live.node.backend.observe = never  # type: ignore[method-assign]
    live.run(1)
    live.stop()
    assert live.task.cancelled()


def test_turns_to_a_contract_that_is_bound_later_and_away_from_one_that_was() -> None:
    live = Live(is_bound=False)
    world = live.world
    live.run(2)
    assert (live.report.state, live.node.settler.status().contract) == ("off", None)
    for name in (b"first", b"second"):
        world.contract = msgspec.structs.replace(world.contract, address=keccak256(name)[12:])
        world.layer2 = Layer2(world.contract, world.owners, world.threshold)
        world.bind()
        world.deposit(0, 1_000)
        live.run(5)
        world.withdraw(1, 5)
        live.run(10)
        assert live.node.settler.status().contract == world.contract
        assert live.report.state == "idle"
        assert world.layer2.executions() == [0]
    live.stop()


def test_intents_that_cannot_be_read_stop_relaying_and_nothing_else() -> None:
    live = Live()

    async def damaged(scope: bytes) -> tuple[Prepared, ...]:
        raise LedgerError("damaged relay intent 0x00")

    reads = live.node.intents.load
    live.node.intents.load = damaged  # type: ignore[method-assign]
    live.world.deposit(0, 1_000)
    live.run(6)
    live.world.withdraw(1, 5)
    live.run(3)
    assert live.report.fault
    assert live.report.fault.code == "storage"
    assert live.report.next_event == 2  # voted all the same
    assert live.report.actions[0].signed_here
    assert live.report.actions[0].phase == "blocked"
    assert not live.world.layer2.executions()
    live.node.intents.load = reads  # type: ignore[method-assign]
    live.run(10)
    assert live.report.state == "idle"
    live.world.check_books()
    live.stop()


def test_a_disk_that_refuses_an_intent_sends_nothing() -> None:
    live = Live()
    live.world.deposit(0, 1_000)
    live.run(5)

    async def full(scope: bytes, prepared: Prepared) -> None:
        raise LedgerError("the disk is full")

    writes = live.node.intents.put
    live.node.intents.put = full  # type: ignore[method-assign]
    live.world.withdraw(1, 5)
    live.run(5)
    assert "submit" not in live.node.backend.calls
    live.node.intents.put = writes  # type: ignore[method-assign]
    live.run(10)
    assert live.report.state == "idle"
    live.world.check_books()
    live.stop()


def test_a_pool_that_refuses_is_told_and_asked_again() -> None:
    live = Live()
    live.run(1)
    admits = live.node.submit

    async def broken(transactions: Sequence[Transaction]) -> tuple[SubmitOutcome, ...]:
        raise LedgerError("a query passed its deadline")

    live.node.submit = broken  # type: ignore[method-assign]
    live.world.deposit(0, 1_000)
    live.run(5)
    assert live.report.fault
    assert live.report.fault.code == "submission"
    live.node.submit = admits  # type: ignore[method-assign]
    live.run(20)
    assert live.report.state == "idle"
    live.world.check_books()
    live.stop()
