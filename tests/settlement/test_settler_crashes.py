"""Exactly once, whatever dies when: a crash at every boundary, races, dead endpoints, reorganisations, rotations."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest
from settler_world import STUCK_AFTER_S, TURN_S, Crash, World

from potchain.application.settlement import records
from potchain.errors import SettlementError

DOWN = SettlementError("unreachable", "no endpoint answers")


class Fuse:
    """Dies at one boundary, counted over a whole scenario and all nodes that it is put into."""

    def __init__(self, *at: int) -> None:
        self.at = set(at)
        self.passed: list[str] = []

    def __call__(self, what: str) -> None:
        self.passed.append(what)
        if len(self.passed) in self.at:
            raise Crash(what)


def fused(world: World, fuse: Fuse, *nodes: int) -> None:
    for index in nodes or range(len(world.nodes)):
        world.nodes[index].boundary = fuse


async def step_and_restart(world: World, *, mine: bool = True) -> None:
    """As `World.step`, with every process that dies started again right away."""
    for node in world.nodes:
        try:
            await node.tick()
        except Crash:
            node.start()
    if world.ledger.pool:
        world.ledger.make_block()
    if mine:
        world.layer2.mine()
    world.pass_time()


async def scenario(world: World) -> None:
    """A deposit, two batches that overlap, a deposit in between, and time for everything.

    Layer 2 makes a block every third second only: what a process sent before it died still waits when it is back.
    """
    world.bind()
    world.set_parameter("settlement.batch_max", 2)
    world.deposit(0, 1_000)
    world.layer2.mine()
    for user in range(5):
        world.withdraw(user, 10 + user)
    world.ledger.make_block()
    for number in range(150):
        if number == 3:
            world.deposit(1, 50)
        if number > 3 and world.is_settled():
            break
        await step_and_restart(world, mine=number % 3 == 2)
    assert world.is_settled(), [node.settler.status().report for node in world.nodes]
    world.check_books()


def boundaries(count: int, relay_ahead: int = 4) -> int:
    fuse = Fuse()
    world = World(count, relay_ahead=relay_ahead)
    fused(world, fuse)
    asyncio.run(scenario(world))
    return len(fuse.passed)


def test_the_scenario_passes_every_kind_of_boundary() -> None:
    world, fuse = World(1), Fuse()
    fused(world, fuse)
    asyncio.run(scenario(world))
    asked = {"open", "observe", "stands", "follow", "prepare", "submit", "submitted"}
    assert asked | {"ledger", "ledger done", "load", "put", "put done", "remove", "remove done"} == set(fuse.passed)
    assert world.layer2.refusals() == []


@pytest.mark.parametrize(("count", "relay_ahead"), [(1, 1), (1, 4), (4, 1)])
def test_a_crash_at_every_boundary(count: int, relay_ahead: int) -> None:
    total = boundaries(count, relay_ahead)
    assert total > 50
    for at in range(1, total + 1):
        world, fuse = World(count, relay_ahead=relay_ahead), Fuse(at)
        fused(world, fuse)
        asyncio.run(scenario(world))
        assert len(fuse.passed) >= at
        # Paid once in any case; with one relayer not even gas is lost.
        if count == 1:
            assert world.layer2.refusals() == [], f"at boundary {at}, {fuse.passed[at - 1]}"


def test_two_crashes_close_to_each_other() -> None:
    total = boundaries(1)
    for at in range(1, total, 3):
        for then in (at + 1, at + 2, at + 5):
            world = World(1)
            fused(world, Fuse(at, then))
            asyncio.run(scenario(world))
            assert world.layer2.refusals() == []


def test_all_processes_die_at_once_in_the_middle_of_a_batch() -> None:
    async def run(moment: int) -> None:
        world = World(4)
        world.bind()
        world.deposit(0, 1_000)
        world.layer2.mine()
        world.withdraw(1, 5)
        world.ledger.make_block()
        for _ in range(moment):
            await world.step()
        for node in world.nodes:
            node.start()
        await world.settle()
        world.check_books()
        assert world.layer2.refusals() == []

    for moment in range(1, 9):
        asyncio.run(run(moment))


@pytest.mark.parametrize("relay_ahead", [1, 4])
@pytest.mark.parametrize("count", [2, 4])
def test_relayers_race(count: int, relay_ahead: int) -> None:
    """No turns to speak of: all think it is theirs."""

    async def run() -> None:
        world = World(count, relay_ahead=relay_ahead)
        for node in world.nodes:
            node.world.turn_ns = 1
            node.start()
        world.bind()
        world.set_parameter("settlement.batch_max", 1)
        world.deposit(0, 1_000)
        world.layer2.mine()
        for user in range(6):
            world.withdraw(user, 10 + user)
        world.ledger.make_block()
        await world.settle()
        world.check_books()
        assert len(world.layer2.executions()) == 6

    asyncio.run(run())


def test_a_race_that_is_lost_costs_one_refusal_and_nothing_else() -> None:
    async def run() -> None:
        world = World(2, relayers=2)
        world.bind()
        world.deposit(0, 1_000)
        world.layer2.mine()
        world.withdraw(1, 5)
        world.ledger.make_block()
        first, second = world.nodes
        while not any("prepare" in node.backend.calls for node in world.nodes if hasattr(node, "backend")):
            await world.step(mine=False)
        # The other's turn comes before a block does.
        world.pass_time(TURN_S)
        await world.step()
        await world.settle()
        world.check_books()
        assert world.layer2.executions() == [0]
        assert world.layer2.refusals() == ["WrongNonce(0, 1)"]
        assert not first.intents.rows
        assert not second.intents.rows

    asyncio.run(run())


def test_a_dead_relayer_is_followed_by_the_next() -> None:
    async def run() -> None:
        world = World(4)
        world.bind()
        world.deposit(0, 1_000)
        world.layer2.mine()
        world.withdraw(1, 5)
        world.ledger.make_block()
        # Whose turn is first: their endpoints never answer.
        first = min(world.nodes, key=lambda node: node.key.address)
        await first.tick()
        first.backend.down = DOWN
        steps = await world.settle()
        assert TURN_S <= steps < 3 * TURN_S
        world.check_books()
        assert world.layer2.refusals() == []

    asyncio.run(run())


def test_ten_minutes_without_endpoints() -> None:
    """Nothing is lost, the ledger goes on, and afterwards everything is paid."""

    async def run() -> None:
        world = World(4)
        world.bind()
        world.deposit(0, 1_000)
        await world.step()
        for node in world.nodes:
            node.backend.down = DOWN
        for second in range(600):
            if second % 100 == 0:
                world.withdraw(second // 100, 5)
            await world.step()
        reports = [node.settler.status().report for node in world.nodes]
        assert {report.state for report in reports} == {"waiting"}
        assert {report.fault.code for report in reports if report.fault} == {"unreachable"}
        # Signed all the same: signatures need the ledger alone.
        assert [entry.status for entry in records.open_actions(world.ledger.state)] == ["signed"] * 6
        assert all(action.phase == "blocked" for report in reports for action in report.actions)
        for node in world.nodes:
            node.backend.down = None
        assert await world.settle() < 40
        world.check_books()
        assert {node.settler.status().report.fault for node in world.nodes} == {None}

    asyncio.run(run())


def test_owners_rotate_between_signing_and_relaying() -> None:
    async def run() -> None:
        world = World(4)
        world.bind()
        world.deposit(0, 1_000)
        await world.step()
        world.withdraw(1, 5)
        for node in world.nodes:
            node.backend.down = DOWN
        for _ in range(3):
            await world.step()
        assert [entry.status for entry in records.open_actions(world.ledger.state)] == ["signed"]
        # The new owners are three of the four operators, and another account.
        world.rotate([*world.keys[:3], world.spare[0]])
        world.withdraw(2, 7)
        for node in world.nodes:
            node.backend.down = None
        await world.settle()
        world.check_books()
        assert world.layer2.executions() == [0, 1, 2]
        assert world.layer2.state.epoch == 1
        assert world.layer2.state.owners == tuple(sorted(k.address for k in [*world.keys[:3], world.spare[0]]))

    asyncio.run(run())


@pytest.mark.parametrize("drop", [False, True])
def test_a_reorganisation_before_the_depth_that_counts(drop: bool) -> None:
    """A 12-block fork with 15 confirmations: the receipt went, the payment comes again, once."""

    async def run() -> None:
        world = World(4, confirmations=15)
        world.bind()
        world.deposit(0, 1_000)
        world.layer2.mine(20)
        world.withdraw(1, 5)
        world.ledger.make_block()
        while not world.layer2.executions():
            await world.step()
        for _ in range(10):
            await world.step()
        assert world.layer2.state.next_nonce == 1
        world.layer2.reorganise(12, drop=drop)
        assert world.layer2.state.next_nonce == 0
        await world.settle()
        world.check_books()
        assert world.layer2.refusals() == []

    asyncio.run(run())


def test_a_reorganisation_of_votes_that_are_not_applied() -> None:
    """Confirmed here, gone there: operators vote again, and the ledger applies what is."""

    async def run() -> None:
        world = World(4, confirmations=3)
        world.bind(funds=0)
        world.layer2.mine(2)
        world.deposit(0, 1_000)
        world.layer2.mine(4)
        for node in world.nodes[:2]:  # two of four saw it: no quorum
            await node.tick()
        world.ledger.make_block()
        assert len(records.event_votes(world.ledger.state, 0)) == 2
        world.layer2.reorganise(5)
        assert not world.layer2.events()
        world.layer2.mine(5)
        await world.settle()
        world.check_books()
        report = world.nodes[0].settler.status().report
        assert report.reorgs
        assert "confirmed event 0" in report.reorg_text

    asyncio.run(run())


def test_a_reorganisation_beyond_confirmations_is_told_and_stops_everything() -> None:
    async def run() -> None:
        world = World(4, confirmations=3)
        world.bind()
        world.layer2.mine(2)
        world.deposit(0, 1_000)
        world.layer2.mine(4)
        await world.settle()
        world.layer2.reorganise(12 if len(world.layer2.blocks) > 12 else len(world.layer2.blocks) - 1, drop=True)
        world.withdraw(1, 5)
        for _ in range(5):
            await world.step()
        for node in world.nodes:
            report = node.settler.status().report
            assert report.fault
            assert report.fault.code == "reorg_beyond_confirmations"
            assert report.state == "waiting"
        assert not world.layer2.executions()
        # Another deposit takes the place of the lost one: still not what was applied, and still told.
        world.layer2.deposit(world.users[2].address, 77)
        for _ in range(6):
            await world.step()
        assert {node.settler.status().report.fault.code for node in world.nodes} == {"reorg_beyond_confirmations"}
        assert not world.layer2.executions()

    asyncio.run(run())


def test_a_batch_that_a_deep_reorganisation_took_back_is_executed_again_once() -> None:
    async def run() -> None:
        world = World(4, confirmations=1)
        world.bind()
        world.deposit(0, 1_000)
        await world.settle()
        before = len(world.layer2.blocks)
        world.withdraw(1, 5)
        world.ledger.make_block()
        await world.settle()
        assert world.layer2.executions() == [0]
        world.layer2.mine(12)
        world.layer2.reorganise(len(world.layer2.blocks) - before, drop=True)
        assert not world.layer2.executions()
        world.withdraw(2, 7)
        world.ledger.make_block()
        await world.settle()
        assert all(node.settler.status().report.reorgs for node in world.nodes)
        world.check_books()
        assert world.layer2.executions() == [0, 1]

    asyncio.run(run())


def test_a_lost_pool_and_a_dear_chain() -> None:
    """Dropped: sent again. Too cheap for the blocks of now: replaced, with the same account nonce."""

    async def run(lose: bool) -> None:
        world = World(1)
        world.bind()
        world.deposit(0, 1_000)
        await world.settle()
        world.withdraw(1, 5)
        while not world.layer2.pool:
            await world.step(mine=False)
        world.layer2.fee_wei = 11
        for _ in range(STUCK_AFTER_S // 2):
            if lose:
                world.layer2.lose_pool()
            await world.step()
        await world.settle()
        world.check_books()
        calls = world.nodes[0].backend.calls
        assert calls.count("prepare") == 2
        assert calls.count("submit") > (2 if lose else 1)
        assert world.layer2.refusals() == []

    for lose in (False, True):
        asyncio.run(run(lose))


def test_a_chain_without_blocks_is_no_reason_to_raise_the_fee() -> None:
    async def run() -> None:
        world = World(1)
        world.bind()
        world.deposit(0, 1_000)
        await world.settle()
        world.withdraw(1, 5)
        for _ in range(5 * STUCK_AFTER_S):
            await world.step(mine=False)
        assert world.nodes[0].backend.calls.count("prepare") == 1
        await world.settle()
        world.check_books()

    asyncio.run(run())


Trouble = Callable[[World, random.Random], Awaitable[None]]


async def chaos(world: World, rng: random.Random) -> None:
    """One second in which anything may happen."""
    what = rng.randrange(14)
    node = rng.choice(world.nodes)
    if what == 0:
        node.start()
    elif what == 1 and hasattr(node, "backend"):
        node.backend.down = rng.choice([DOWN, SettlementError("gas_too_dear", "spike"), None])
    elif what == 2:
        world.layer2.reorganise(rng.randint(1, world.confirmations), drop=rng.random() < 0.3)
    elif what == 3:
        world.layer2.lose_pool()
    elif what == 4:
        world.layer2.fee_wei = rng.choice([10, 10, 12, 30])
    elif what == 5:
        world.layer2.is_empty_wallet = not world.layer2.is_empty_wallet
    elif what == 6:
        world.ledger.holds_certificates = not world.ledger.holds_certificates
    elif what in (7, 8):
        world.withdraw(rng.randrange(6), rng.randint(1, 50))
    elif what == 9:
        world.deposit(rng.randrange(6), rng.randint(1, 50))
    elif what == 10:
        world.pass_time(rng.randint(1, 2 * STUCK_AFTER_S))
    fuse = Fuse(rng.randint(1, 40))
    fused(world, fuse, node.index)
    await step_and_restart(world)
    node.boundary = lambda what: None


@pytest.mark.parametrize("seed", range(30))
def test_anything_may_happen_and_in_the_end_everything_is_paid_once(seed: int) -> None:
    async def run() -> None:
        rng = random.Random(seed)
        world = World(rng.choice([1, 2, 4]), confirmations=rng.randint(1, 6), relay_ahead=rng.choice([1, 4]))
        world.bind()
        world.set_parameter("settlement.batch_max", rng.randint(1, 3))
        if rng.random() < 0.5:
            world.set_parameter("settlement.root_min", 4)
        world.deposit(0, 5_000)
        world.layer2.mine(world.confirmations + 1)
        for _ in range(60):
            await chaos(world, rng)
        for node in world.nodes:
            if hasattr(node, "backend"):
                node.backend.down = None
        world.layer2.fee_wei, world.layer2.is_empty_wallet, world.ledger.holds_certificates = 10, False, False
        world.ledger.certified = world.ledger.tip.height
        await world.settle(400)
        world.check_books()

    asyncio.run(run())
