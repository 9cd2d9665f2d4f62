"""Twins scenarios: what is enumerated, what is drawn, and that f twins do no harm while f + 1 do."""

from __future__ import annotations

import msgspec
import pytest
from sim_observations import forked_plan

from potchain.errors import ConfigError
from potchain.sim.campaign import first_violation, run_plan
from potchain.sim.minimise import Minimiser
from potchain.sim.report import violation_text
from potchain.sim.twins import ROUNDS_MAX, partitions_of, scenario, twins_plans
from potchain_pbft import PbftFactory

ONE_ROUND = 4 * 41
"""Validators that may be twinned, times partitions of five copies into at most three groups."""


def test_partitions_are_all_there_and_each_once() -> None:
    found = partitions_of(5)
    assert len(found) == len(set(found)) == 1 + 15 + 25
    assert found[0] == ((0, 1, 2, 3, 4),)
    for groups in found:
        assert sorted(index for group in groups for index in group) == [0, 1, 2, 3, 4]


def test_short_patterns_are_enumerated_and_long_ones_drawn() -> None:
    plans = list(twins_plans(1_000))
    assert len({msgspec.json.encode(plan) for plan in plans}) == 1_000
    first = plans[:ONE_ROUND]
    assert all(len(set(plan.leaders)) == 1 for plan in first)
    assert len({(plan.twins, plan.leaders) for plan in first}) == ONE_ROUND
    drawn = plans[ONE_ROUND:]
    assert {len(plan.leaders) for plan in drawn} == set(range(3, ROUNDS_MAX + 1))
    two_rounds = [scenario(number, scenarios=20_000) for number in range(ONE_ROUND, ONE_ROUND + 4 * 41**2)]
    assert len({(plan.twins, plan.leaders[:2]) for plan in two_rounds}) == 4 * 41**2


def test_a_scenario_is_a_function_of_its_number_and_the_seed() -> None:
    assert scenario(700) == scenario(700)
    assert scenario(700) != scenario(700, seed=1)
    assert scenario(3) == scenario(3, seed=1)
    seven = scenario(5, nodes=7)
    assert len(seven.twins) in (1, 2)
    assert all(index < 7 + len(seven.twins) for groups in seven.leaders for group in groups for index in group)


def test_three_nodes_have_nobody_to_spare() -> None:
    with pytest.raises(ConfigError, match="at least 4"):
        scenario(1, nodes=3)


def test_one_twin_does_no_harm() -> None:
    plans = [scenario(number) for number in (0, 37, 90, 131, 160, 300, 700, 999)]
    outcome = first_violation(PbftFactory(), plans)
    assert outcome is None, violation_text(outcome.violation)  # type: ignore[union-attr,arg-type]


def test_two_twins_of_four_fork_the_chain_and_the_checkers_see_it() -> None:
    plan = forked_plan()
    outcome = run_plan(plan, PbftFactory())
    assert outcome.violation is not None
    assert outcome.violation.checker == "agreement"
    small = Minimiser(lambda each: run_plan(each, PbftFactory()), runs_max=25).minimise(plan, outcome)
    assert len(small.plan.twins) == 2
    assert len(small.plan.leaders) < 4
    assert small.outcome.violation is not None
    assert small.outcome.violation.checker == "agreement"
