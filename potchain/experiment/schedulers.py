"""Where points are measured: over the cores of this machine, or on a Dask cluster.

Both give every point to a worker process as JSON and get JSON back (`sweep.measure_encoded`). Points of mode "live"
measure real time, so they come last, alone: one at a time on a machine, on a cluster one at a time on each machine.
Virtual and model points take every core, in the order of the points with a few ahead in the queue, so that a sweep
can be stopped, and one of 100,000 points holds few of them in memory.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice

import msgspec

from potchain.driver.verify_worker import begin
from potchain.errors import ExperimentError
from potchain.experiment.point import Point
from potchain.experiment.sweep import Measure, Outcome, Scheduler, decoded, failed, measure_encoded

AHEAD_PER_WORKER = 2
"""Points that are handed to workers ahead of time."""
JOBS_MAX = 1_024
"""Worker processes on one machine."""
DIED = "the worker process ended without an answer: it was killed, or there is not enough memory"


def open_scheduler(address: str | None, jobs: int = 0) -> Scheduler:
    """The cores of this machine when `address` is None, else the Dask scheduler there, which must answer.

    `jobs`: worker processes on this machine, 0: one for each core that we may use. Raises ExperimentError: within
    seconds when no scheduler answers, when it has no workers, or a worker has no potchain of this version.
    """
    if address is None:
        return LocalProcesses(jobs)
    if jobs:
        raise ExperimentError(f"jobs is {jobs}, but the workers of {address} do the work; leave one of them away")
    from potchain.experiment.dask_cluster import DaskCluster  # distributed takes a second to import

    return DaskCluster(address)


class LocalProcesses:
    """Worker processes on this machine. They ignore Ctrl-C, and end with this process, however it ends."""

    def __init__(self, jobs: int = 0) -> None:
        """Raises ExperimentError for a number of jobs that makes no sense."""
        if not 0 <= jobs <= JOBS_MAX:
            raise ExperimentError(f"jobs is {jobs}; from 1 to {JOBS_MAX}, or 0 for one for each core")
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self.jobs = jobs or cores

    def run(self, measure: Measure, points: Sequence[Point]) -> Generator[Outcome, None, None]:
        """Outcomes as they come; closing the generator ends the workers at once."""
        side_by_side = [point for point in points if point.mode != "live"]
        live = [point for point in points if point.mode == "live"]
        yield from _over(measure, side_by_side, self.jobs)
        yield from _over(measure, live, 1)

    def close(self) -> None:
        """Nothing is held between runs."""


def _over(measure: Measure, points: Sequence[Point], workers: int) -> Generator[Outcome, None, None]:
    """Over that many processes. When one of them dies, nobody knows by which point; each suspect is tried alone."""
    waiting = iter(points)
    while suspects := (yield from _until_a_worker_dies(measure, waiting, min(workers, len(points)))):
        for point in suspects:
            if (yield from _until_a_worker_dies(measure, iter([point]), 1)):
                yield failed(point, ExperimentError(DIED))


def _until_a_worker_dies(
    measure: Measure, waiting: Iterator[Point], workers: int
) -> Generator[Outcome, None, list[Point]]:
    """Outcomes of what waits; returns the points that were under way when a worker died, none when all are done."""
    if not workers:
        return []
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=begin)
    running: dict[Future[bytes], Point] = {}
    suspects: list[Point] = []
    finished = False
    try:
        while True:
            room = 0 if suspects else AHEAD_PER_WORKER * workers - len(running)
            for point in islice(waiting, room):
                try:
                    running[pool.submit(measure_encoded, measure, msgspec.json.encode(point))] = point
                except BrokenProcessPool:
                    suspects.append(point)
                    break
            if not running:
                finished = True
                return suspects
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                point, fault = running.pop(future), future.exception()
                if isinstance(fault, BrokenProcessPool):
                    suspects.append(point)
                else:
                    yield decoded(future.result()) if fault is None else failed(point, fault)
    finally:
        if not finished:  # interrupted: nobody waits for a point that may take minutes
            for process in set(multiprocessing.active_children()) - others:
                process.terminate()
        pool.shutdown(cancel_futures=True)
