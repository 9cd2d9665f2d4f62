"""Each checker lets an honest history pass, and complains when, and only when, its own promise is broken."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from sim_observations import DIGEST_A, DIGEST_B, FakeWorld, begun, forged, seconds, with_receipt

from potchain.blocks import ExecutedBlock, StateChange
from potchain.genesis import Parameters
from potchain.pool.interface import PendingState
from potchain.primitives import uint256
from potchain.replica import wire
from potchain.sim.checkers import (
    PROMISES,
    SETTLEMENT,
    AcceptedIsKept,
    Agreement,
    BoundedBuffers,
    Conservation,
    DurableBeforeSent,
    EqualRoots,
    ExactlyOnce,
    Liveness,
    OneSignatureAfterLoss,
    OneSignaturePerSlot,
    TotalOrder,
    Validity,
    liveness_bound_ns,
    standard_checkers,
)
from potchain.sim.checkers.liveness import CATCH_UP_NS, START_TICKS, TICK_NS, faulty_for_good, timeouts_sum_ns
from potchain.sim.clients import account_key
from potchain.sim.observation import Checker, PromiseBroken
from potchain.sim.plan import Byzantine, ClockJump, Crash, LoseVoteLog, Plan, RestoreOldVoteLog, Workload

BLOCK_CHECKERS = (EqualRoots, Agreement, Validity, ExactlyOnce, Conservation)


def history(world: FakeWorld) -> list[ExecutedBlock]:
    """Good transfers, one that fails, one that is skipped, an empty block."""
    return [
        world.block(world.transfer(0, 0), world.transfer(1, 0)),
        world.block(world.transfer(0, 1, 10**13), world.transfer(0, 7)),
        world.block(),
        world.block(world.transfer(0, 7), world.transfer(0, 2, valid_until=1), world.transfer(0, 2)),
    ]


# --- what blocks do ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", BLOCK_CHECKERS, ids=lambda make: make.__name__)
def test_an_honest_history_passes(make: Callable[[], Checker]) -> None:
    world = FakeWorld()
    checker = begun(make(), world)
    for block in history(world):
        for node in world.nodes:
            checker.executed(node, block)
            checker.applied(node, block)
            checker.certified(node, world.certificate(block))


def test_agreement_is_over_digests_hashes_and_certificates() -> None:
    world, other = FakeWorld(), FakeWorld()
    block, rival = world.block(world.transfer(0, 0)), other.block(other.transfer(1, 0))
    for event, value in (("executed", rival), ("applied", rival), ("certified", other.certificate(rival))):
        checker = begun(Agreement(), world)
        checker.executed(world.nodes[0], block)
        with pytest.raises(PromiseBroken, match="at v1"):
            getattr(checker, event)(world.nodes[1], value)


def test_agreement_leaves_faulty_nodes_alone() -> None:
    world, other = FakeWorld(), FakeWorld()
    checker = begun(Agreement(), world)
    world.nodes[1].is_faulty = True
    checker.executed(world.nodes[0], world.block(world.transfer(0, 0)))
    checker.executed(world.nodes[1], other.block(other.transfer(1, 0)))


@pytest.mark.parametrize("field", ["state_root", "receipts_root", "events_root", "next_epoch"])
def test_roots_are_equal(field: str) -> None:
    world = FakeWorld()
    checker, block = begun(EqualRoots(), world), world.block(world.transfer(0, 0))
    checker.executed(world.nodes[0], block)
    with pytest.raises(PromiseBroken, match=field):
        checker.executed(world.nodes[2], forged(block, **{field: b"z" * 32}))


def test_total_order_wants_each_height_on_the_one_before() -> None:
    world = FakeWorld()
    first, second, third, _ = history(world)
    checker, node = begun(TotalOrder(), world), world.nodes[0]
    checker.started(node)
    checker.applied(node, first)
    with pytest.raises(PromiseBroken, match="on top of 1"):
        checker.applied(node, third)
    with pytest.raises(PromiseBroken, match="on top of 1"):
        checker.applied(node, first)
    with pytest.raises(PromiseBroken, match="parent"):
        checker.applied(node, forged(second, parent_hash=bytes(32)))
    with pytest.raises(PromiseBroken, match="does not hash"):
        checker.applied(node, msgspec.structs.replace(second, hash=bytes(32)))
    checker.applied(node, second)


def test_total_order_misses_a_durable_block_after_a_restart() -> None:
    for faults, is_fine in (((), False), ((RestoreOldVoteLog(at_ns=2, node=0, copied_ns=1, down_ns=1),), True)):
        world = FakeWorld(Plan(seed=0, faults=faults))
        checker, node = begun(TotalOrder(), world), world.nodes[0]
        checker.applied(node, world.block())
        if is_fine:
            checker.started(node)
        else:
            with pytest.raises(PromiseBroken, match="at 0, it was at 1"):
                checker.started(node)


def test_total_order_misses_a_block_that_became_another_one() -> None:
    world, other = FakeWorld(), FakeWorld()
    checker, node = begun(TotalOrder(), world), world.nodes[0]
    checker.applied(node, world.block(world.transfer(0, 0)))
    node.replica.chain.applied = other.block(other.transfer(1, 0)).header
    with pytest.raises(PromiseBroken, match="another block"):
        checker.started(node)


def bad_signature(world: FakeWorld) -> ExecutedBlock:
    good = world.transfer(0, 0)
    wrong = world.executor.types.assemble(good.body, account_key(1).sign_digest(good.id))
    return world.block(wrong)


def stolen(world: FakeWorld) -> ExecutedBlock:
    block = world.block()
    key = b"account/" + account_key(2).address
    return msgspec.structs.replace(block, changes=(StateChange(key, b"\x92\x00\xc4\x20" + uint256(1)),))


VALIDITY_LIES: dict[str, Callable[[FakeWorld], ExecutedBlock]] = {
    "is signed by": bad_signature,
    "must be skipped": lambda world: with_receipt(world.block(world.transfer(0, 3)), 0, status="ok", code=""),
    "must be failed": lambda world: with_receipt(world.block(world.transfer(0, 0, 10**13)), 0, status="ok"),
    "must be ok": lambda world: with_receipt(world.block(world.transfer(0, 0)), 0, status="failed"),
    "is ok": lambda world: with_receipt(world.block(world.transfer(0, 0)), 0, fee=uint256(1)),
    "another transaction": lambda world: with_receipt(world.block(world.transfer(0, 0)), 0, index=4),
    "block time": lambda world: forged(world.block(), block_time_ms=1),
    "without a transaction": stolen,
    "not written": lambda world: msgspec.structs.replace(world.block(world.transfer(0, 0)), changes=()),
    "differ in number": lambda world: msgspec.structs.replace(world.block(world.transfer(0, 0)), receipts=()),
}


@pytest.mark.parametrize("complaint", VALIDITY_LIES)
def test_validity(complaint: str) -> None:
    world = FakeWorld()
    checker = begun(Validity(), world)
    with pytest.raises(PromiseBroken, match=complaint):
        checker.executed(world.nodes[0], VALIDITY_LIES[complaint](world))


def test_validity_misses_fees() -> None:
    world = FakeWorld()
    checker, block = begun(Validity(), world), world.block(world.transfer(0, 0))
    kept = tuple(change for change in block.changes if change.key != b"treasury")
    with pytest.raises(PromiseBroken, match="did not reach the treasury"):
        checker.executed(world.nodes[0], msgspec.structs.replace(block, changes=kept))


def test_exactly_once() -> None:
    world = FakeWorld()
    transfer = world.transfer(0, 0)
    block, again = world.block(transfer), world.block(transfer)
    checker = begun(ExactlyOnce(), world)
    checker.executed(world.nodes[0], block)
    checker.executed(world.nodes[0], again)  # skipped: that is right
    checker = begun(ExactlyOnce(), world)
    checker.executed(world.nodes[0], block)
    with pytest.raises(PromiseBroken, match="height 1 and again at 2"):
        checker.executed(world.nodes[0], with_receipt(again, 0, status="ok"))


def test_exactly_once_within_one_block() -> None:
    world = FakeWorld()
    block = world.block(world.transfer(0, 0), world.transfer(1, 0))
    twice = with_receipt(block, 1, transaction_id=block.receipts[0].transaction_id)
    with pytest.raises(PromiseBroken, match="again at 1"):
        begun(ExactlyOnce(), world).executed(world.nodes[0], twice)


def test_money_is_conserved() -> None:
    world = FakeWorld()
    block = world.block(world.transfer(0, 0))
    kept = tuple(change for change in block.changes if change.key != b"treasury")
    with pytest.raises(PromiseBroken, match="makes -20"):
        begun(Conservation(), world).executed(world.nodes[0], msgspec.structs.replace(block, changes=kept))


# --- votes ------------------------------------------------------------------------------------------------------------


def test_one_signature_per_slot() -> None:
    world = FakeWorld()
    checker, node = begun(OneSignaturePerSlot(), world), world.nodes[0]
    first = world.message(0, "prepare", 0, 1, DIGEST_A)
    checker.signed(node, first)
    checker.signed(node, first)
    checker.signed(world.nodes[1], world.message(1, "prepare", 0, 1, DIGEST_B))
    checker.signed(node, world.message(0, "prepare", 1, 1, DIGEST_B))
    checker.signed(node, world.message(0, "commit", 0, 1, DIGEST_B))
    with pytest.raises(PromiseBroken, match="v0 signed prepare"):
        checker.signed(node, world.message(0, "prepare", 0, 1, DIGEST_B))


def test_even_a_node_behind_lying_middleware_signs_a_slot_once() -> None:
    world = FakeWorld()
    checker, node = begun(OneSignaturePerSlot(), world), world.nodes[0]
    node.is_faulty = True
    checker.signed(node, world.message(0, "prepare", 0, 1, DIGEST_A))
    with pytest.raises(PromiseBroken):
        checker.signed(node, world.message(0, "prepare", 0, 1, DIGEST_B))


def test_nothing_new_is_signed_below_an_announced_view() -> None:
    world = FakeWorld()
    checker, node = begun(OneSignaturePerSlot(), world), world.nodes[0]
    block = world.block()
    checker.executed(node, block)
    old = world.message(0, "prepare", 1, 1, DIGEST_A)
    for message in (old, world.message(0, "view-change", 3, 0, DIGEST_A), old, world.block_vote(0, block)):
        checker.signed(node, message)
    with pytest.raises(PromiseBroken, match="view 2 after it announced view 3"):
        checker.signed(node, world.message(0, "commit", 2, 1, DIGEST_A))


def test_blocks_are_voted_for_after_they_are_executed() -> None:
    world = FakeWorld()
    checker, node, block = begun(OneSignaturePerSlot(), world), world.nodes[0], world.block()
    with pytest.raises(PromiseBroken, match="never executed"):
        checker.signed(node, world.block_vote(0, block))


def test_what_is_sent_is_durable() -> None:
    world = FakeWorld()
    checker, node = begun(DurableBeforeSent(), world), world.nodes[0]
    checker.signed(node, world.message(0, "prepare", 0, 1, DIGEST_A))
    node.durable = False
    with pytest.raises(PromiseBroken, match="before it was on disk"):
        checker.signed(node, world.message(0, "prepare", 0, 2, DIGEST_A))


def test_what_came_from_elsewhere_is_not_held_against_a_twin_or_a_liar() -> None:
    world = FakeWorld()
    checker, node = begun(OneSignaturePerSlot(), world), world.nodes[0]
    node.is_faulty = True
    checker.signed(node, world.message(0, "view-change", 1, 0, DIGEST_A))
    node.durable = False
    checker.signed(node, world.message(0, "view-change", 1, 0, DIGEST_B))
    begun(DurableBeforeSent(), world).signed(node, world.message(0, "view-change", 1, 0, DIGEST_B))


@pytest.mark.parametrize(
    ("witnesses", "crashes", "is_excused"), [(0, 0, True), (1, 0, True), (2, 0, False), (3, 2, True)]
)
def test_who_lost_its_votes_must_know_what_its_peers_do(witnesses: int, crashes: int, is_excused: bool) -> None:
    plan = Plan(seed=0, faults=(RestoreOldVoteLog(at_ns=2, node=0, copied_ns=1, down_ns=1),))
    world = FakeWorld(plan)
    (checker,) = [each for each in standard_checkers(plan) if isinstance(each, OneSignatureAfterLoss)]
    begun(checker, world)
    node, first = world.nodes[0], world.message(0, "prepare", 0, 1, DIGEST_A)
    checker.signed(node, first)
    for peer in world.nodes[1 : 1 + witnesses]:
        checker.received(peer, node.node_id, wire.encode_frame(first))
        checker.received(peer, node.node_id, b"\x00rubbish")
    for peer in world.nodes[1 : 1 + crashes]:
        checker.crashed(peer)
    if is_excused:
        checker.signed(node, world.message(0, "prepare", 0, 1, DIGEST_B))
    else:
        with pytest.raises(PromiseBroken, match="v0 signed prepare"):
            checker.signed(node, world.message(0, "prepare", 0, 1, DIGEST_B))


# --- bounds and clients -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["replica_sizes", "engine_buffers"])
def test_buffers_are_bounded(where: str) -> None:
    world = FakeWorld()
    checker = begun(BoundedBuffers(), world)
    setattr(world.nodes[2], where, {"votes": 100})
    checker.second(world)
    setattr(world.nodes[2], where, {"votes": 100_000})
    with pytest.raises(PromiseBroken, match="votes of v2 holds 100000"):
        checker.second(world)


def test_the_pool_is_bounded() -> None:
    world = FakeWorld()
    world.nodes[1].replica.pool.sizes["bytes"] = 101
    with pytest.raises(PromiseBroken, match="pool bytes of v1"):
        begun(BoundedBuffers(), world).second(world)


def test_what_is_accepted_is_kept() -> None:
    world = FakeWorld()
    checker, transfer, pool = begun(AcceptedIsKept(), world), world.transfer(0, 0), world.nodes[1].replica.pool
    checker.answered(world.answer(1, transfer))
    pool.states[transfer.id] = PendingState("pool")
    checker.second(world)
    pool.states[transfer.id] = PendingState("dropped", "expired", "late")
    checker.second(world)
    del pool.states[transfer.id]
    with pytest.raises(PromiseBroken, match="knows nothing of it"):
        checker.second(world)
    checker.executed(world.nodes[0], world.block(transfer))
    checker.finished(world)


def test_who_lost_its_disk_is_excused() -> None:
    world = FakeWorld(Plan(seed=0, faults=(LoseVoteLog(at_ns=1, node=1, down_ns=1),)))
    checker = begun(AcceptedIsKept(), world)
    checker.answered(world.answer(1, world.transfer(0, 0)))
    checker.second(world)


def test_an_internal_error_is_no_answer() -> None:
    world = FakeWorld()
    checker = begun(AcceptedIsKept(), world)
    checker.answered(world.answer(1, world.transfer(0, 0), status=503))
    checker.answered(world.answer(1, world.transfer(0, 0), status=422))
    with pytest.raises(PromiseBroken, match="500"):
        checker.answered(world.answer(1, world.transfer(0, 0), status=500))


# --- liveness ---------------------------------------------------------------------------------------------------------


def test_the_bound_is_the_sum_of_the_issue() -> None:
    parameters = Parameters(view_timeout_ms=500, view_timeout_cap_ms=4_000, batch_max=100, in_flight_max=8)
    # 3.5 s of faults let 500, 1000 and 2000 ms run out: the next timeouts are at the cap.
    assert timeouts_sum_ns(parameters, 3_500_000_000, 0) == seconds(4)
    assert timeouts_sum_ns(parameters, 1_000_000_000, 1) == seconds(2 + 4)
    assert timeouts_sum_ns(parameters, 0, 2) == seconds(1) // 2 + seconds(1 + 2)
    plan = Plan(seed=0, heal_ns=seconds(7), byzantine=(Byzantine(node=1, behaviours=("mute",)),))
    trip_ns = 2 * (plan.link.latency_max_ns + 3 * plan.write_ns)
    rest_ns = (2 * 2 + START_TICKS) * TICK_NS + CATCH_UP_NS + 1 * 2 * trip_ns
    assert liveness_bound_ns(plan, parameters) == seconds(4 + 4) + 4 * 2 * trip_ns + rest_ns


def test_who_is_faulty_for_good() -> None:
    plan = Plan(
        seed=0,
        nodes=7,
        faults=(
            Crash(at_ns=1, node=0, for_good=True),
            Crash(at_ns=1, node=1),
            LoseVoteLog(at_ns=1, node=2, down_ns=1),
            ClockJump(at_ns=1, node=3, by_ms=4_000),
            ClockJump(at_ns=2, node=3, by_ms=4_000),
            ClockJump(at_ns=2, node=4, by_ms=4_000),
        ),
        byzantine=(Byzantine(node=6, behaviours=("mute",)),),
    )
    assert faulty_for_good(plan, Parameters()) == {0, 2, 3, 6}


def live(world: FakeWorld) -> Liveness:
    checker: Liveness = begun(Liveness(), world)
    world.now_ns = seconds(60)
    return checker


def test_liveness_wants_what_was_accepted_to_be_final_everywhere() -> None:
    world = FakeWorld(Plan(seed=0, heal_ns=seconds(7), workload=Workload(transactions=1)))
    checker, transfer = live(world), world.transfer(0, 0)
    checker.answered(world.answer(1, transfer))
    for node in world.nodes:
        node.replica.pool.states[transfer.id] = PendingState("pool")
    with pytest.raises(PromiseBroken, match=r"accepted and is not executed.*v0 view 2 normal, 0 final, 7 waiting"):
        checker.second(world)
    block = world.block(transfer)
    checker.executed(world.nodes[0], block)
    for node in world.nodes[:3]:
        checker.certified(node, world.certificate(block))
    with pytest.raises(PromiseBroken, match="v3 has 0 final, 1 is needed"):
        checker.finished(world)
    world.nodes[3].is_up = False
    with pytest.raises(PromiseBroken, match="v3 is down"):
        checker.finished(world)
    world.nodes[3].is_up = True
    checker.certified(world.nodes[3], world.certificate(block))
    checker.finished(world)
    checker.second(world)
    assert checker.final_ns == seconds(60)


def test_liveness_waits_until_the_deadline() -> None:
    world = FakeWorld(Plan(seed=0, heal_ns=seconds(7)))
    checker, transfer = live(world), world.transfer(0, 0)
    checker.answered(world.answer(1, transfer))
    world.nodes[1].replica.pool.states[transfer.id] = PendingState("pool")
    world.now_ns = seconds(8)
    checker.second(world)


def test_liveness_excuses_a_gap_that_nobody_can_fill() -> None:
    world = FakeWorld(Plan(seed=0, heal_ns=seconds(7)))
    checker, transfer = live(world), world.transfer(0, 1)
    checker.answered(world.answer(1, transfer))
    world.nodes[1].replica.pool.states[transfer.id] = PendingState("pool")
    checker.second(world)


def test_liveness_expects_nothing_of_the_faulty() -> None:
    plan = Plan(seed=0, heal_ns=seconds(7), faults=(Crash(at_ns=1, node=1, for_good=True),))
    world = FakeWorld(plan)
    checker = live(world)
    world.nodes[1].is_up = False
    checker.answered(world.answer(1, world.transfer(0, 0)))
    checker.second(world)


def test_a_plan_that_never_heals_is_not_held_to_liveness() -> None:
    names = [checker.name for checker in standard_checkers(Plan(seed=0, heal_ns=None))]
    assert "liveness" not in names
    with_layer2 = [make().name for make in SETTLEMENT]
    assert {*names, *with_layer2, "liveness", "exception", "halt", "api"} == set(PROMISES)
    assert len(standard_checkers(Plan(seed=0))) == len(names) + 1
