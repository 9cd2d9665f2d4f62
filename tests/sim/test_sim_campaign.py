"""Profiles, campaigns and their commands: the same seed gives the same run, and what was done is not done again."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from sim_observations import forked_plan

from potchain import cli
from potchain.consensus.quorum import Quorum
from potchain.errors import ConfigError
from potchain.genesis import Parameters, parameter_faults
from potchain.sim.byzantine import BEHAVIOURS
from potchain.sim.campaign import DoneFile, Job, Result, campaign, first_violation, run_plan
from potchain.sim.checkers import liveness_bound_ns
from potchain.sim.checkers.liveness import faulty_for_good
from potchain.sim.plan import Layer2Fault, Outcome, Plan, Workload
from potchain.sim.profiles import PROFILES, plan_of
from potchain.sim.report import Summary, plan_text, violation_text
from potchain_pbft import PbftFactory

SHORT = Plan(seed=1, heal_ns=None, duration_ns=1_500_000_000, workload=Workload(transactions=4, until_ns=900_000_000))


# --- profiles ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", PROFILES)
def test_plans_are_fair_and_can_be_written_down(profile: str) -> None:
    kinds = set()
    for nodes in (1, 2, 3, 4, 5, 7):
        for seed in range(60):
            plan = plan_of(profile, seed, nodes)
            assert plan == plan_of(profile, seed, nodes)
            assert msgspec.json.decode(msgspec.json.encode(plan), type=Plan) == plan
            parameters = Parameters(**dict(plan.parameters))
            assert parameter_faults(parameters) == []
            assert len(faulty_for_good(plan, parameters)) <= Quorum(nodes).faults_max
            assert len({lie.node for lie in plan.byzantine}) <= Quorum(nodes).faults_max
            if plan.heal_ns is not None:
                assert plan.duration_ns > plan.heal_ns + liveness_bound_ns(plan, parameters)
                assert all(fault.at_ns < plan.heal_ns for fault in plan.faults)
                ends = [getattr(fault, "until_ns", 0) for fault in plan.faults]
                assert max(ends, default=0) <= plan.heal_ns
            kinds |= {type(fault).__name__ for fault in plan.faults}
    assert kinds or profile in ("calm", "byzantine")


def test_together_the_profiles_draw_every_fault_and_every_lie() -> None:
    plans = [plan_of(profile, seed) for profile in PROFILES for seed in range(200)]
    drawn = {type(fault).__name__ for plan in plans for fault in plan.faults}
    assert drawn == {
        "Crash", "CrashAtStep", "Partition", "CutLink", "LinkChange", "ClockJump", "SlowDisk", "SlowNode",
        "LoseVoteLog", "RestoreOldVoteLog", *(each.__name__ for each in Layer2Fault.__subclasses__()),
    }  # fmt: skip
    assert {name for plan in plans for lie in plan.byzantine for name in lie.behaviours} == set(BEHAVIOURS)
    assert any(plan.heal_ns is None for plan in plans)


def test_an_unknown_profile_is_named() -> None:
    with pytest.raises(ConfigError, match="'stormy'"):
        plan_of("stormy", 1)


# --- campaigns --------------------------------------------------------------------------------------------------------


def test_workers_change_nothing() -> None:
    jobs = [Job(f"seed {seed}", msgspec.structs.replace(SHORT, seed=seed)) for seed in range(3)]
    alone = {result.name: result.outcome for result in campaign("pbft", jobs)}
    assert {result.name: result.outcome for result in campaign("pbft", jobs, workers=2)} == alone
    assert len({outcome.trace_digest for outcome in alone.values()}) == 3


def test_first_violation_stops_there() -> None:
    assert first_violation(PbftFactory(), [SHORT]) is None
    ran = []

    def plans() -> object:
        for plan in (SHORT, forked_plan(), SHORT):
            ran.append(plan)
            yield plan

    outcome = first_violation(PbftFactory(), plans())  # type: ignore[arg-type]
    assert outcome is not None
    assert outcome.violation is not None
    assert len(ran) == 2


def done(name: str) -> Result:
    empty = Outcome(
        seed=1, violation=None, virtual_ns=5, height=2, transactions=3, views=1, frames=4, boundaries=(1, 2),
        trace_digest="aa",
    )  # fmt: skip
    return Result(name, SHORT, empty)


def test_what_is_done_is_remembered_even_if_the_last_line_was_cut(tmp_path: Path) -> None:
    path = tmp_path / "done.jsonl"
    first = DoneFile(path, "run x")
    first.add(done("seed 1"))
    first.add(done("seed 2"))
    first.close()
    path.write_bytes(path.read_bytes()[:-20])
    second = DoneFile(path, "run x")
    assert set(second.outcomes) == {"seed 1"}
    second.add(done("seed 3"))
    second.close()
    third = DoneFile(path, "run x")
    assert set(third.outcomes) == {"seed 1", "seed 3"}
    third.close()


def test_a_file_of_another_campaign_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "done.jsonl"
    DoneFile(path, "run x").close()
    with pytest.raises(ConfigError, match="another campaign"):
        DoneFile(path, "run y")
    path.write_text("something else\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="no file of a campaign"):
        DoneFile(path, "run x")


def test_a_summary_counts() -> None:
    summary = Summary(title="run x")
    summary.add("seed 1", done("seed 1").outcome)
    broken = run_plan(forked_plan(), PbftFactory())
    summary.add("fork", broken)
    assert summary.runs == 2
    assert summary.violations == {"agreement": 1}
    assert broken.violation is not None
    assert violation_text(broken.violation).startswith("agreement broken by node")
    assert ("promises broken", "1 agreement") in summary.rows()
    assert any(line.startswith("twins: Twin(node=0)") for line in plan_text(forked_plan()))
    assert plan_text(Plan(seed=9)) == []


# --- commands ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_campaign_that_holds_is_code_0_and_can_be_resumed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["sim", "run", "--seeds", "2,3", "--profile", "calm", "--jobs", "1", "--json", "--resume", "done.jsonl"]
    assert cli.main([*words, "--summary", "summary.json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["runs"] == 2
    assert document["failures"] == {}
    assert document["speed_up"] > 0
    assert json.loads((folder / "summary.json").read_text(encoding="utf-8"))["runs"] == 2
    lines = (folder / "done.jsonl").read_bytes()
    assert cli.main(words) == 0
    again = json.loads(capsys.readouterr().out)
    assert (folder / "done.jsonl").read_bytes() == lines
    assert again["blocks"] == document["blocks"]


def test_a_broken_promise_is_code_1_and_leaves_a_trace(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "plan.json").write_bytes(msgspec.json.encode(forked_plan()))
    assert cli.main(["sim", "replay", "plan.json", "--trace", "trace.txt"]) == 1
    output = capsys.readouterr().out
    assert "FAILED: agreement broken by node" in output
    assert "node0 -> node1" in (folder / "trace.txt").read_text(encoding="utf-8")


def test_a_failed_campaign_says_how_to_see_it_again(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("potchain.sim.profiles.plan_of", lambda profile, seed, nodes: forked_plan())
    assert cli.main(["sim", "run", "--seeds", "17", "--jobs", "1", "--no-minimise"]) == 1
    output = capsys.readouterr().out
    assert "FAILED seed 17: agreement broken" in output
    assert "potchain sim run --nodes 4 --profile mixed --engine pbft --seeds 1 --trace trace.txt" in output
    assert "potchain sim replay sim-failures/seed-17.json" in output
    saved = msgspec.json.decode((folder / "sim-failures" / "seed-17.json").read_bytes(), type=Plan)
    assert saved == forked_plan()


def test_the_same_seed_gives_the_same_trace(folder: Path) -> None:
    for name in ("a.txt", "b.txt"):
        assert cli.main(["sim", "run", "--seeds", "5", "--profile", "calm", "--trace", name]) == 0
    assert (folder / "a.txt").read_bytes() == (folder / "b.txt").read_bytes()


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["run", "--seeds", "9-1"], "1-300"),
        (["run", "--seeds", "x"], "1-300"),
        (["run", "--profile", "stormy"], "stormy"),
        (["run", "--seeds", "1-2", "--trace", "t.txt"], "one seed"),
        (["run", "--seeds", "1", "--engine", "raft", "--jobs", "1"], "raft"),
        (["twins", "--nodes", "3"], "at least 4"),
        (["twins", "--trace", "t.txt"], "--only"),
        (["replay", "rubbish.json"], "rubbish.json"),
    ],
)
def test_wrong_usage_is_code_2(
    folder: Path, words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "rubbish.json").write_text("{}", encoding="utf-8")
    assert cli.main(["sim", *words]) == 2
    assert complaint in capsys.readouterr().err
