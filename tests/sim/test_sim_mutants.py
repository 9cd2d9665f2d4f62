"""Every mutant dies of a broken promise on each of its killing plans, and shipping code gets through the same ones."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest
from sim_mutants import MUTANTS, Mutant, main, search
from sim_scenarios import SCENARIOS, play

from potchain.consensus.quorum import Quorum
from potchain.sim.checkers import PROMISES
from potchain.sim.report import violation_text

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "mutants.md"
KILLS = [(mutant.name, scenario, promise) for mutant in MUTANTS.values() for scenario, promise in mutant.kills.items()]


@pytest.mark.parametrize(("name", "scenario", "promise"), KILLS, ids=[f"{name}: {where}" for name, where, _ in KILLS])
def test_a_mutant_breaks_a_promise(name: str, scenario: str, promise: str) -> None:
    violation = MUTANTS[name].play(scenario).violation
    assert violation is not None, "this mutant survives"
    assert violation.checker == promise, violation_text(violation)


@pytest.mark.parametrize("name", SCENARIOS)
def test_shipping_code_gets_through(name: str) -> None:
    outcome = play(SCENARIOS[name])
    assert outcome.violation is None, violation_text(outcome.violation)
    assert outcome.transactions > 0, "a run in which nothing happened proves nothing"


def test_no_scenario_is_idle_and_every_promise_has_its_name() -> None:
    assert len(MUTANTS) >= 21
    assert {scenario for _, scenario, _ in KILLS} == set(SCENARIOS)
    assert {promise for _, _, promise in KILLS} <= set(PROMISES)


def test_a_mutation_ends_with_its_context() -> None:
    with MUTANTS["quorum n/3*2"].mutate():
        assert (Quorum(4).quorum, Quorum(5).quorum, Quorum(8).quorum) == (2, 2, 4)
    with MUTANTS["quorum 2f + 1"].mutate():
        assert (Quorum(3).quorum, Quorum(4).quorum, Quorum(5).quorum) == (1, 3, 3)
    assert (Quorum(3).quorum, Quorum(4).quorum, Quorum(5).quorum) == (2, 3, 4)


def test_dice_find_a_wrong_quorum() -> None:
    words, violation = next(search(MUTANTS["quorum n/3*2"], range(3)))
    assert words.startswith(("run --nodes 4 --profile", "twins --nodes 4"))
    assert violation.checker in PROMISES


def test_a_survivor_is_code_1(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["sim_mutants.py", "no prepared certificates"])
    assert main() == 0
    harmless = Mutant("harmless", "nothing", nullcontext, {"lone decision": "agreement"})
    monkeypatch.setitem(MUTANTS, "harmless", harmless)
    monkeypatch.setattr("sys.argv", ["sim_mutants.py", "harmless"])
    assert main() == 1
    assert "SURVIVES" in capsys.readouterr().out


def test_the_page_names_every_mutant_and_its_promise() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for mutant in MUTANTS.values():
        promises = ", ".join(f"`{promise}`" for promise in dict.fromkeys(mutant.kills.values()))
        assert f"| {mutant.name} | {mutant.wrong} | {promises} |" in page, mutant.name
