"""Sweeps: the same bytes whoever runs them, resumed after a crash, and not stopped by a point that fails."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from experiment_measures import (
    alone_on_this_machine,
    endless,
    made_up,
    never_called,
    sometimes_deadly,
    sometimes_failing,
)

from potchain.errors import ExperimentError, PluginError, SchedulerUnreachable
from potchain.experiment.grid import order_of, parse_sweep
from potchain.experiment.point import Point
from potchain.experiment.schedulers import LocalProcesses, open_scheduler
from potchain.experiment.storage import JournalFile, load_outcomes, read_results, write_results
from potchain.experiment.sweep import Measure, Outcome, check_installed, run_sweep
from potchain.experiment.synchronize import synchronize_point

if TYPE_CHECKING:
    from distributed import LocalCluster

GRID = parse_sweep(
    """
    seeds = "1-4"
    [grid]
    nodes = [4, 10]
    mode = ["virtual", "model"]
    [[series]]
    nodes = 7
    crashed = "f"
    """,
    "grid",
).points


@contextmanager
def dask(workers: int) -> Iterator["LocalCluster"]:
    """A Dask scheduler with worker processes on this machine."""
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=workers, threads_per_worker=2, processes=True, dashboard_address=":0", host="127.0.0.1"
    ) as running:
        yield running


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Dask scheduler with two workers, who know the lock of `alone_on_this_machine`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POTCHAIN_TEST_LOCK", str(tmp_path_factory.mktemp("live") / "lock"))
        with dask(2) as running:
            yield running.scheduler_address


def swept(path: Path, measure: Measure, points: Sequence[Point] = GRID, address: str | None = None) -> bytes:
    scheduler = open_scheduler(address, 0 if address else 2)
    outcomes = run_sweep(points, measure, scheduler)
    scheduler.close()
    write_results(path, outcomes)
    return path.read_bytes()


@pytest.mark.parametrize("measure", [made_up, sometimes_failing])
def test_result_bytes_do_not_depend_on_the_scheduler(tmp_path: Path, cluster: str, measure: Measure) -> None:
    two_jobs = swept(tmp_path / "two.parquet", measure)
    backwards = swept(tmp_path / "backwards.parquet", measure, GRID[::-1])
    dask = swept(tmp_path / "dask.parquet", measure, GRID, cluster)
    write_results(tmp_path / "one.parquet", run_sweep(GRID, measure, LocalProcesses(1)))
    assert two_jobs == backwards == dask == (tmp_path / "one.parquet").read_bytes()
    again = read_results(tmp_path / "two.parquet")
    assert [outcome.point for outcome in again] == sorted(GRID, key=order_of)
    write_results(tmp_path / "again.parquet", again)
    assert (tmp_path / "again.parquet").read_bytes() == two_jobs


def test_virtual_runs_give_the_same_bytes_twice_and_on_dask(tmp_path: Path, cluster: str) -> None:
    """The shipping node on virtual time: in two sets of processes, and on two Dask workers."""
    points = parse_sweep(
        """
        seeds = "1-2"
        [fixed]
        engine = "pbft"
        bandwidth_mbps = 1
        latency_ms = 50
        [grid]
        nodes = [4, 5]
        loss = [0, 0.02]
        """,
        "virtual",
    ).points
    first = swept(tmp_path / "first.parquet", synchronize_point, points)
    assert first == swept(tmp_path / "second.parquet", synchronize_point, points)
    assert first == swept(tmp_path / "dask.parquet", synchronize_point, points, cluster)
    assert not [outcome.error for outcome in read_results(tmp_path / "first.parquet") if outcome.error]


def test_a_resumed_sweep_gives_the_same_bytes(tmp_path: Path) -> None:
    whole = swept(tmp_path / "whole.parquet", made_up)
    journal = JournalFile(tmp_path / "points.jsonl")
    seen: list[Outcome] = []

    def stop_after_five(outcome: Outcome) -> None:
        seen.append(outcome)
        if len(seen) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_sweep(GRID, made_up, LocalProcesses(2), journal, stop_after_five)
    journal.close()
    torn = (tmp_path / "points.jsonl").read_bytes()
    assert torn.count(b"\n") == 6
    (tmp_path / "points.jsonl").write_bytes(torn[:-20])

    journal = JournalFile(tmp_path / "points.jsonl")
    assert len(journal.finished()) == 4
    seen.clear()
    resumed = run_sweep(GRID, made_up, LocalProcesses(1), journal, seen.append)
    journal.close()
    assert len(seen) == len(GRID) - 4
    write_results(tmp_path / "resumed.parquet", resumed)
    assert (tmp_path / "resumed.parquet").read_bytes() == whole
    journal = JournalFile(tmp_path / "points.jsonl")
    assert run_sweep(GRID, never_called, LocalProcesses(1), journal) == resumed
    journal.close()
    assert load_outcomes(tmp_path) == resumed


def test_failed_points_are_recorded_and_tried_again(tmp_path: Path) -> None:
    journal = JournalFile(tmp_path / "points.jsonl")
    outcomes = run_sweep(GRID, sometimes_failing, LocalProcesses(2), journal)
    errors = {outcome.point.seed: outcome.error for outcome in outcomes}
    assert errors == {1: "", 2: "InvalidTransaction: too_big: seed 2 is refused", 3: "ZeroDivisionError", 4: ""}
    assert all((outcome.result is None) == bool(outcome.error) for outcome in outcomes)
    again = run_sweep(GRID, made_up, LocalProcesses(2), journal)
    journal.close()
    assert not [outcome for outcome in again if outcome.error]


def test_a_worker_that_dies_is_one_failed_point() -> None:
    outcomes = run_sweep(GRID[:6], sometimes_deadly, LocalProcesses(2))
    assert [bool(outcome.error) for outcome in outcomes] == [point.seed == 2 for point in GRID[:6]]
    assert {outcome.error for outcome in outcomes if outcome.error} == {
        "ExperimentError: the worker process ended without an answer: it was killed, or there is not enough memory"
    }


def test_live_points_never_run_two_at_a_time(tmp_path: Path, cluster: str, monkeypatch: pytest.MonkeyPatch) -> None:
    live = [Point(mode="live", seed=seed) for seed in range(8)]
    for scheduler in (open_scheduler(cluster), LocalProcesses(4)):
        with closing(scheduler):
            outcomes = run_sweep(live, alone_on_this_machine, scheduler)
        assert [outcome.error for outcome in outcomes] == [""] * 8
        monkeypatch.setenv("POTCHAIN_TEST_LOCK", str(tmp_path / "lock"))
    side_by_side = [msgspec.structs.replace(point, mode="virtual") for point in live]
    outcomes = run_sweep(side_by_side, alone_on_this_machine, LocalProcesses(4))
    assert any(outcome.error for outcome in outcomes), "the lock sees nothing"


def test_an_interrupted_sweep_waits_for_nobody() -> None:
    """One of the two workers never ends; the first outcome interrupts, and closing must not wait for the other."""
    # Whoever runs the tests in the background of a shell has SIGINT ignored, and so have their children.
    script = """
import signal
from experiment_measures import endless
from potchain.experiment.point import Point
from potchain.experiment.schedulers import LocalProcesses
from potchain.experiment.sweep import run_sweep
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    notice = lambda outcome: print("one", flush=True)
    try:
        run_sweep([Point(seed=2), Point(seed=1)], endless, LocalProcesses(2), notice=notice)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=environment) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "one\n"
        run.send_signal(signal.SIGINT)
        assert run.stdout.readline() == "interrupted\n"
        assert run.wait(timeout=60) == 0


def test_a_scheduler_that_does_not_answer_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("potchain.experiment.dask_cluster.CONNECT_S", 0.5)
    with pytest.raises(SchedulerUnreachable, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        open_scheduler("tcp://127.0.0.1:9")
    with pytest.raises(ExperimentError, match="write tcp://HOST:PORT"):
        open_scheduler("localhost")


def test_a_scheduler_without_workers_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("potchain.experiment.dask_cluster.WORKERS_S", 0.1)
    with dask(0) as running, pytest.raises(ExperimentError, match="has no workers; start some: dask worker tcp://"):
        open_scheduler(running.scheduler_address)


def test_workers_need_the_same_potchain(cluster: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("potchain.experiment.dask_cluster.distribution_version", lambda: "99.0")
    with pytest.raises(ExperimentError, match=r"has potchain .*, this machine has 99\.0; .* pip install"):
        open_scheduler(cluster)


def test_a_scheduler_that_goes_away_ends_the_sweep() -> None:
    with dask(1) as running:
        scheduler = open_scheduler(running.scheduler_address)
        outcomes: Generator[Outcome, None, None] = scheduler.run(endless, [Point(seed=1), Point(seed=2)])
        assert next(outcomes).point.seed == 1
        threading.Thread(target=running.close).start()
        with pytest.raises(SchedulerUnreachable, match="the same command goes on"):
            next(outcomes)
        scheduler.close()


def test_unknown_engines_are_refused_before_anything_runs() -> None:
    with pytest.raises(PluginError, match=r"did you mean 'pbft'\?\); say another with --engine"):
        check_installed([Point(engine="pbtf")])
    check_installed([Point(engine="pbft")])


@pytest.mark.parametrize("jobs", [-1, 2_000])
def test_jobs_have_a_range(jobs: int) -> None:
    with pytest.raises(ExperimentError, match="jobs is"):
        LocalProcesses(jobs)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: b'{"type":"campaign"}\n' + text, "is no journal of a sweep: .* give --fresh .* or another --out"),
        (lambda text: text.replace(b'"potchain":"', b'"potchain":"9'), "was made by potchain 9"),
    ],
)
def test_a_journal_of_something_else_is_refused(
    change: Callable[[bytes], bytes], words: str, tmp_path: Path
) -> None:
    path = tmp_path / "points.jsonl"
    JournalFile(path).close()
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ExperimentError, match=words):
        JournalFile(path)


def test_a_journal_torn_in_its_first_line_starts_again(tmp_path: Path) -> None:
    path = tmp_path / "points.jsonl"
    path.write_bytes(b'{"type":"swe')
    JournalFile(path).close()
    assert path.read_bytes().startswith(b'{"type":"sweep"')
    assert path.read_bytes().count(b"\n") == 1


def test_files_that_are_no_results_are_named(tmp_path: Path) -> None:
    with pytest.raises(ExperimentError, match="no folder of a sweep"):
        load_outcomes(tmp_path)
    (tmp_path / "results.parquet").write_bytes(b"PAR1 not at all")
    with pytest.raises(ExperimentError, match="is no results file"):
        load_outcomes(tmp_path)
