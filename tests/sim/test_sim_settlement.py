"""Settlement in the simulator: seeds, power cuts at the settlers' own steps, the same run twice, and plans as data."""

from __future__ import annotations

import msgspec
import pytest

from potchain.errors import ConfigError
from potchain.primitives import NS_PER_S
from potchain.sim.campaign import run_plan
from potchain.sim.checkers import SETTLEMENT, standard_checkers
from potchain.sim.cluster import make_genesis
from potchain.sim.crash_sweep import OF_SETTLERS, crash_plans, crash_points, sampled, settlement_plan
from potchain.sim.plan import Layer2Fault, Layer2Liar, Plan
from potchain.sim.profiles import plan_of
from potchain.sim.report import violation_text
from potchain.sim.settling.drawing import TERMS
from potchain.sim.settling.lying import BEHAVIOURS
from potchain.sim.settling.settler import operator_key
from potchain_pbft import PbftFactory

SEEDS = 3
CRASHES = 3


@pytest.mark.parametrize("seed", range(1, SEEDS + 1))
def test_a_seed_settles(seed: int) -> None:
    outcome = run_plan(plan_of("settlement", seed), PbftFactory())
    assert outcome.violation is None, violation_text(outcome.violation)
    assert outcome.transactions > 20


def test_the_same_plan_gives_the_same_trace() -> None:
    plan = settlement_plan()
    traces: list[list[str]] = [[], []]
    digests = {run_plan(plan, PbftFactory(), trace=trace.append).trace_digest for trace in traces}
    assert traces[0] == traces[1]
    assert len(digests) == 1
    assert any("relays action" in line for line in traces[0])
    assert any("rotateOwners" in line for line in traces[0])


def test_power_cuts_at_steps_of_settlers() -> None:
    base = settlement_plan()
    outcome, points = crash_points(base, PbftFactory())
    assert outcome.violation is None
    assert {point.what for point in points} == OF_SETTLERS
    for plan in sampled(crash_plans(base, points), CRASHES):
        outcome = run_plan(plan, PbftFactory())
        assert outcome.violation is None, f"{plan.faults}: {violation_text(outcome.violation)}"


def test_plans_are_drawn_within_the_fault_model() -> None:
    seen: set[str] = set()
    for seed in range(1, 300):
        plan = plan_of("settlement", seed)
        options = plan.layer2
        assert options is not None
        assert plan_of("settlement", seed) == plan == msgspec.json.decode(msgspec.json.encode(plan), type=Plan)
        liars = {liar.node for liar in options.liars} | {liar.node for liar in plan.byzantine}
        assert len(liars) <= 1
        assert 2 <= options.threshold <= 3
        for decision in options.decisions:
            seen.add(decision.kind)
            if decision.kind == "rotate":
                assert 2 <= decision.value <= len(decision.owners) - 1
        for fault in plan.faults:
            if isinstance(fault, Layer2Fault):
                seen.add(type(fault).__name__)
                assert fault.at_ns < (plan.heal_ns or 0)
                assert getattr(fault, "until_ns", 0) <= (plan.heal_ns or 0)
                assert getattr(fault, "depth", 0) <= options.confirmations
        seen |= {name for liar in options.liars for name in liar.behaviours}
        seen |= {decision.term for decision in options.decisions}
    kinds = {"term", "rotate", "pause", "resume"} | {each.__name__ for each in Layer2Fault.__subclasses__()}
    assert kinds | set(BEHAVIOURS) | {name for name, _ in TERMS} <= seen


def test_one_and_five_validators_settle_too() -> None:
    for nodes in (1, 5):
        outcome = run_plan(plan_of("settlement", 2, nodes), PbftFactory())
        assert outcome.violation is None, violation_text(outcome.violation)


def test_nothing_settles_where_a_plan_has_no_layer_2() -> None:
    plan = Plan(seed=0)
    assert plan.layer2 is None
    assert not {type(checker) for checker in standard_checkers(plan)} & set(SETTLEMENT)
    assert all(member.operator != operator_key(0).address for member in make_genesis(plan).validators)


def test_an_unknown_lie_is_refused() -> None:
    base = settlement_plan()
    assert base.layer2 is not None
    liars = (Layer2Liar(node=3, behaviours=("vote-twice",)),)
    plan = msgspec.structs.replace(
        base, duration_ns=NS_PER_S, layer2=msgspec.structs.replace(base.layer2, liars=liars)
    )
    with pytest.raises(ConfigError, match="vote-twice"):
        run_plan(plan, PbftFactory())
