"""The minimiser leaves out all that a violation does not need, and nothing that it needs."""

from __future__ import annotations

import msgspec
import pytest

from potchain.sim.minimise import Minimiser
from potchain.sim.plan import Byzantine, Crash, Link, Outcome, Plan, Violation, Workload
from potchain.sim.profiles import plan_of

NOTHING = Outcome(
    seed=0, violation=None, virtual_ns=0, height=0, transactions=0, views=0, frames=0, boundaries=(), trace_digest=""
)


def broken(promise: str, at_ns: int = 5) -> Outcome:
    return msgspec.structs.replace(NOTHING, violation=Violation(checker=promise, node=0, at_ns=at_ns, detail=""))


class Oracle:
    """A run that breaks a promise when the plan holds what it takes."""

    def __init__(self, *needed: int, behaviour: str = "", transactions: int = 0) -> None:
        self.needed, self.behaviour, self.transactions, self.runs = set(needed), behaviour, transactions, 0

    def __call__(self, plan: Plan) -> Outcome:
        self.runs += 1
        if not self.needed <= {fault.at_ns for fault in plan.faults}:
            return NOTHING
        if self.behaviour and self.behaviour not in {name for lie in plan.byzantine for name in lie.behaviours}:
            return NOTHING
        if plan.workload.transactions < self.transactions:
            return broken("liveness")
        return broken("agreement")


def big_plan() -> Plan:
    return Plan(
        seed=3,
        faults=tuple(Crash(at_ns=number, node=number % 4) for number in range(23)),
        byzantine=(Byzantine(node=1, behaviours=("mute", "flood", "replay")),),
        link=Link(loss_ppm=500, reorder=True),
        parameters=(("batch_max", 3),),
        workload=Workload(transactions=40, rubbish=4, everywhere=True),
    )


@pytest.mark.parametrize("needed", [(), (4,), (2, 19), (0, 7, 8, 22)])
def test_what_is_not_needed_is_left_out(needed: tuple[int, ...]) -> None:
    oracle = Oracle(*needed)
    small = Minimiser(oracle).minimise(big_plan(), oracle(big_plan()))
    assert tuple(fault.at_ns for fault in small.plan.faults) == needed
    assert small.plan.byzantine == ()
    assert small.plan.workload.transactions == small.plan.workload.rubbish == 0
    assert not small.plan.workload.everywhere
    assert small.plan.parameters == ()
    assert small.plan.link.loss_ppm == 0
    assert small.outcome.violation is not None
    assert small.runs == oracle.runs - 1


def test_the_promise_stays_the_same() -> None:
    oracle = Oracle(2, 5, behaviour="flood", transactions=7)
    small = Minimiser(oracle).minimise(big_plan(), oracle(big_plan()))
    assert small.plan.byzantine == (Byzantine(node=1, behaviours=("flood",)),)
    assert small.plan.workload.transactions == 10
    assert small.outcome == broken("agreement")


def test_the_budget_is_kept_and_the_best_so_far_is_given() -> None:
    oracle, counted = Oracle(2, 5), []
    small = Minimiser(oracle, runs_max=6, on_run=counted.append).minimise(big_plan(), broken("agreement"))
    assert oracle.runs == small.runs == 6
    assert counted == [1, 2, 3, 4, 5, 6]
    assert {2, 5} <= {fault.at_ns for fault in small.plan.faults}
    assert len(small.plan.faults) < 23


def test_the_run_ends_right_after_the_violation() -> None:
    oracle = Oracle()
    small = Minimiser(oracle).minimise(big_plan(), oracle(big_plan()))
    assert small.plan.duration_ns == 1_000_005


def test_a_smaller_plan_is_a_plan() -> None:
    plan = plan_of("mixed", 8)
    small = Minimiser(Oracle()).minimise(plan, broken("agreement")).plan
    assert msgspec.json.decode(msgspec.json.encode(small), type=Plan) == small
