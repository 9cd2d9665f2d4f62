"""`potchain experiment`: one point, the Go demo's table, sweeps that resume, reports, and errors in one line."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from experiment_measures import made_up, never_called, sometimes_failing

from potchain import cli
from potchain.cli.experiment import POINT_HELP
from potchain.experiment.point import Point
from potchain.experiment.result import SynchronizeResult
from potchain.experiment.schedulers import LocalProcesses
from potchain.experiment.seed_table import GO_DEMO_SECONDS
from potchain.experiment.storage import read_results
from potchain.experiment.sweep import Measure, Outcome

SWEEP = """
title = "Two sizes & two seeds"
seeds = "1-2"
[fixed]
engine = "pbft"
bandwidth_mbps = 1
[grid]
nodes = [4, 7]
"""
EXTRAS = ("numpy", "pyarrow", "matplotlib", "distributed")


def measured_by(measure: Measure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("potchain.cli.experiment.measure", measure)


@pytest.fixture
def sweep_file(tmp_path: Path) -> Path:
    path = tmp_path / "sweep.toml"
    path.write_text(SWEEP)
    return path


def test_every_field_of_a_point_is_an_option() -> None:
    assert tuple(POINT_HELP) == Point.__struct_fields__


def test_one_point(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    measured_by(made_up, monkeypatch)
    arguments = ["experiment", "run", "--engine", "pbft", "--nodes", "10", "--bandwidth-mbps", "0.5", "--mode", "live"]
    assert cli.main(arguments) == 0
    shown = capsys.readouterr().out
    assert "to 2f + 1 replies" in shown
    assert "% over it" in shown
    assert "pre-prepare" in shown
    assert "CPU" in shown
    assert cli.main([*arguments, "--json"]) == 0
    result = msgspec.json.decode(capsys.readouterr().out, type=SynchronizeResult)
    assert result == made_up(Point(engine="pbft", nodes=10, bandwidth_mbps=0.5, mode="live"))


def test_one_point_is_measured_indeed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["experiment", "run", "--engine", "pbft", "--latency-ms", "40", "--json"]) == 0
    result = msgspec.json.decode(capsys.readouterr().out, type=SynchronizeResult)
    assert result.seconds_to_quorum is not None
    assert 0.02 < result.seconds_to_quorum < 0.4
    assert result.cpu_seconds is None


def never_reached(point: Point) -> SynchronizeResult:
    return msgspec.structs.replace(made_up(point), seconds_to_quorum=None)


def test_a_point_that_does_not_come_to_its_end_is_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measured_by(never_reached, monkeypatch)
    assert cli.main(["experiment", "run", "--engine", "pbft"]) == 1
    assert "not within the time limit" in capsys.readouterr().out


def test_a_sweep_and_its_report(
    sweep_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    measured_by(made_up, monkeypatch)
    assert cli.main(["experiment", "sweep", str(sweep_file), "--out", str(out), "--jobs", "1", "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["points"] == 4
    assert captured.err.splitlines() == ["4 points", "4 of 4 points, 0 failed"]
    assert [outcome.point.seed for outcome in read_results(out / "results.parquet")] == [1, 2, 1, 2]
    first = {path.name: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert {"report.html", "results.parquet", "sweep.toml", "points.jsonl", "origin.json"} <= set(first)

    measured_by(never_called, monkeypatch)
    assert cli.main(["experiment", "sweep", str(sweep_file), "--out", str(out)]) == 0
    assert capsys.readouterr().err.startswith("4 points, 4 of them done before\n")
    assert {path.name: path.read_bytes() for path in out.rglob("*") if path.is_file()} == first

    (out / "report.html").unlink()
    assert cli.main(["experiment", "report", str(out)]) == 0
    assert (out / "report.html").read_bytes() == first["report.html"]

    assert cli.main(["experiment", "sweep", str(sweep_file), "--out", str(out), "--fresh"]) == 1
    assert "FAILED ExperimentError: measured again" in capsys.readouterr().out


def test_failed_points_are_code_1_and_the_others_are_measured(
    sweep_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measured_by(sometimes_failing, monkeypatch)
    assert cli.main(["experiment", "sweep", str(sweep_file), "--out", str(tmp_path / "out"), "--jobs", "1"]) == 1
    shown = capsys.readouterr().out
    assert "FAILED InvalidTransaction: too_big: seed 2 is refused" in shown
    assert "again: potchain experiment run --bandwidth-mbps 1.0 --engine pbft --seed 2" in shown
    assert "seed 2 is refused" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    measured_by(made_up, monkeypatch)
    assert cli.main(["experiment", "sweep", str(sweep_file), "--out", str(tmp_path / "out"), "--jobs", "1"]) == 0
    assert "2 of them done before" in capsys.readouterr().err


def test_an_interrupted_sweep_is_code_130_and_goes_on(
    sweep_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["experiment", "sweep", str(sweep_file), "--out", str(tmp_path / "out"), "--jobs", "1"]
    measured_by(made_up, monkeypatch)
    run = LocalProcesses.run

    def interrupted(scheduler: LocalProcesses, measure: Measure, points: list[Point]) -> Iterator[Outcome]:
        yield from run(scheduler, measure, points[:3])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(LocalProcesses, "run", interrupted)
        assert cli.main(arguments) == 130
    assert "interrupted; 3 of 4 points are kept; the same command goes on" in capsys.readouterr().err
    assert cli.main(["experiment", "report", str(tmp_path / "out"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["points"] == 3
    assert cli.main(arguments) == 0
    assert "4 points, 3 of them done before" in capsys.readouterr().err


def test_the_folder_of_another_sweep_is_not_taken_over(
    sweep_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = ["experiment", "sweep", str(sweep_file), "--out", str(out), "--jobs", "1"]
    measured_by(made_up, monkeypatch)
    assert cli.main(arguments) == 0
    before = {path.name: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    capsys.readouterr()

    sweep_file.write_text(SWEEP.replace("Two sizes & two seeds", "Others").replace("[4, 7]", "[7, 10]"))
    assert cli.main(arguments) == 2
    words = f"{out} holds 2 points of the sweep 'Two sizes & two seeds' that this one, 'Others', does not ask for"
    assert f"{words}, such as nodes = 4; give another --out, or --fresh" in capsys.readouterr().err
    table = ["experiment", "table", "--engine", "pbft", "--seeds", "2", "--jobs", "1", "--out"]
    assert cli.main([*table, str(out)]) == 2
    assert f"{out} holds 4 points" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before

    assert cli.main([*arguments, "--fresh"]) == 0
    assert {outcome.point.nodes for outcome in read_results(out / "results.parquet")} == {7, 10}


def test_a_sweep_may_grow_in_its_folder(
    sweep_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["experiment", "sweep", str(sweep_file), "--out", str(tmp_path / "out"), "--jobs", "1"]
    measured_by(made_up, monkeypatch)
    assert cli.main(arguments) == 0
    sweep_file.write_text(SWEEP.replace("1-2", "1-3"))
    capsys.readouterr()
    assert cli.main(arguments) == 0
    assert capsys.readouterr().err.startswith("6 points, 4 of them done before")


def test_the_table_has_every_cell_of_the_go_demo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measured_by(made_up, monkeypatch)
    arguments = ["experiment", "table", "--engine", "pbft", "--seeds", "2", "--jobs", "1"]
    assert cli.main([*arguments, "--bandwidth-model", "both", "--out", str(tmp_path / "t"), "--json"]) == 0
    cells = json.loads(capsys.readouterr().out)["cells"]
    wanted = [seconds for _, _, row in GO_DEMO_SECONDS for seconds in row if seconds is not None]
    assert len(wanted) == 22
    assert sorted(cell["go_demo_s"] for cell in cells) == sorted(wanted * 2)
    for cell in cells:
        assert cell["seeds"] == 2
        assert cell["ratio"] == pytest.approx(cell["go_demo_s"] / cell["median_s"])
        assert cell["over_bound"] == pytest.approx(cell["median_s"] / cell["bound_s"])
    page = (tmp_path / "t" / "report.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 2
    assert "times faster" in page
    points = [outcome.point for outcome in read_results(tmp_path / "t" / "results.parquet")]
    assert {(p.megabit, p.latency_ms, p.distribution, p.transaction_bytes) for p in points} == {
        (2**20, 300.0, "uniform", 315)
    }
    assert cli.main([*arguments, "--mode", "live"]) == 0
    shown = capsys.readouterr().out
    assert "times faster" in shown
    assert "CPU (s)" in shown


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["run", "--nodes", "301"], 2, "nodes is 301; mode 'virtual' takes from 1 to 300"),
        (["run", "--bandwidth-mbps", "nan"], 2, "bandwidth_mbps is nan"),
        (["run", "--engine", "pbtf"], 2, "unknown consensus engine 'pbtf'"),
        (["run", "--mode", "quick"], 2, "'quick'"),
        (["run", "--crashed", "2"], 2, "crashed is 2"),
        (["table", "--engine", "pbtf"], 2, "unknown consensus engine"),
        (["table", "--engine", "pbft", "--scheduler", "tcp://127.0.0.1:9"], 3, "no Dask scheduler answers"),
        (["table", "--engine", "pbft", "--scheduler", "nowhere"], 2, "write tcp://HOST:PORT"),
        (["table", "--engine", "pbft", "--scheduler", "tcp://127.0.0.1:9", "--jobs", "2"], 2, "leave one of them away"),
        (["report", "nowhere"], 2, "nowhere has neither results.parquet"),
        (["sweep", "nowhere.toml", "--out", "x"], 2, "nowhere.toml"),
    ],
)
def test_what_cannot_be_run_is_said_in_one_line(
    arguments: list[str],
    code: int,
    words: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("potchain.experiment.dask_cluster.CONNECT_S", 0.5)
    assert cli.main(["experiment", *arguments]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert words in captured.err


def test_a_wrong_sweep_file_starts_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "s.toml").write_text("[grid]\nnodes = [4]\nbandwith_mbps = [1]\n")
    assert cli.main(["experiment", "sweep", str(tmp_path / "s.toml"), "--out", str(tmp_path / "out")]) == 2
    assert "did you mean 'bandwidth_mbps'?" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def without_extras(arguments: list[str], modules: tuple[str, ...] = EXTRAS) -> subprocess.CompletedProcess[str]:
    """Run the program where nothing of the extra can be imported."""
    script = f"""
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {modules}:
            raise ModuleNotFoundError(f"No module named {{name!r}}")
sys.meta_path.insert(0, Missing())
from potchain import cli
sys.exit(cli.main({arguments}))
"""
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)


def test_the_program_runs_without_the_extra(sweep_file: Path, tmp_path: Path) -> None:
    for arguments in (["--help"], ["experiment", "--help"], ["experiment", "run", "--help"]):
        assert without_extras(arguments).returncode == 0
    sweep, table = ["sweep", str(sweep_file), "--out", str(tmp_path / "out")], ["table", "--engine", "pbft"]
    for arguments, missing_modules, module in (
        (["run", "--engine", "pbft"], EXTRAS, "numpy"),
        (sweep, EXTRAS, "numpy"),
        (sweep, EXTRAS[1:], "pyarrow"),
        ([*table, "--out", str(tmp_path / "out")], EXTRAS[2:], "matplotlib"),
        ([*table, "--scheduler", "tcp://127.0.0.1:9"], EXTRAS[3:], "distributed"),
    ):
        missing = without_extras(["experiment", *arguments], missing_modules)
        assert missing.returncode == 2
        assert missing.stdout == ""
        assert missing.stderr.count("\n") == 1
        assert f"needs {module}" in missing.stderr
        assert "pip install 'potchain[experiment]'" in missing.stderr
    assert not (tmp_path / "out").exists()
