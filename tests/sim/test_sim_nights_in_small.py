"""What `make sim` and `make sim-night` do for minutes and hours, in small: on all cores, with every promise checked.

`make sim` runs 300 seeds and 1,000 scenarios beside these tests; here they only catch what breaks at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest

from potchain.sim.campaign import Job, campaign, workers_default
from potchain.sim.crash_sweep import base_plans, crash_plans, crash_points, sampled
from potchain.sim.plan import Plan
from potchain.sim.profiles import plan_of
from potchain.sim.report import violation_text
from potchain.sim.twins import twins_plans
from potchain_pbft import PbftFactory

SEEDS = 20
TWINS = 30
CRASHES_PER_PLAN = 12


def broken(plans: Iterable[Plan], name: str) -> Iterator[str]:
    """What the plans that break a promise are called, and which promise it is."""
    jobs = (Job(f"{name} {number}", plan) for number, plan in enumerate(plans, 1))
    for result in campaign("pbft", jobs, workers=workers_default()):
        if result.outcome.violation is not None:
            yield f"{result.name}: {violation_text(result.outcome.violation)}"


def test_twenty_seeds() -> None:
    """`potchain sim run --seeds 1-20` replays them one by one."""
    assert not list(broken((plan_of("mixed", seed) for seed in range(1, SEEDS + 1)), "seed"))


def test_thirty_scenarios_of_twins() -> None:
    assert not list(broken(twins_plans(TWINS), "scenario"))


@pytest.mark.parametrize("base", base_plans(), ids=lambda plan: f"seed {plan.seed}")
def test_power_cuts_at_sampled_points(base: Plan) -> None:
    _, points = crash_points(base, PbftFactory())
    assert len(points) > CRASHES_PER_PLAN
    assert not list(broken(sampled(crash_plans(base, points), CRASHES_PER_PLAN), "crash"))
