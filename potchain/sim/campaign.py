"""Many runs: in this process or over all cores, with what is done written down so that a campaign can go on later.

A job is a name and a plan; a run's outcome depends on the plan alone, so neither the number of workers nor the order in
which they finish changes what a campaign finds.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from functools import cache
from itertools import islice
from pathlib import Path

import msgspec

from potchain.consensus.interface import EngineFactory
from potchain.errors import ConfigError
from potchain.registry import load_plugins
from potchain.sim.byzantine import Liar
from potchain.sim.checkers import standard_checkers
from potchain.sim.clients import Script
from potchain.sim.cluster import Applications, run
from potchain.sim.observation import Checker
from potchain.sim.plan import Outcome, Plan
from potchain.sim.trace import TraceSink

MakeCheckers = Callable[[Plan], Sequence[Checker]]

IN_HAND_PER_WORKER = 4
"""Jobs that are handed to workers ahead of time; few, so that a campaign can be stopped."""


class Job(msgspec.Struct, frozen=True):
    """One run of a campaign."""

    name: str
    """Such as "seed 17"; unique in its campaign."""
    plan: Plan


class Result(msgspec.Struct, frozen=True):
    """A job that is done."""

    name: str
    plan: Plan
    outcome: Outcome


class CampaignHeader(msgspec.Struct, frozen=True, tag="campaign"):
    """First line of a file of done jobs: what they are jobs of."""

    title: str
    """All that the plans depend on, such as "run engine=pbft profile=mixed nodes=4"."""


class DoneLine(msgspec.Struct, frozen=True, tag="done"):
    """A job that need not be run again."""

    name: str
    outcome: Outcome


def run_plan(
    plan: Plan,
    engine: EngineFactory,
    make_checkers: MakeCheckers = standard_checkers,
    *,
    applications: Applications | None = None,
    script: Script | None = None,
    trace: TraceSink | None = None,
) -> Outcome:
    """Run one plan under fresh checkers, its liars behind the middleware of this room."""
    return run(
        plan,
        engine,
        applications=applications,
        checkers=make_checkers(plan),
        middleware=Liar,
        script=script,
        trace=trace,
    )


def first_violation(
    engine: EngineFactory, plans: Iterable[Plan], make_checkers: MakeCheckers = standard_checkers
) -> Outcome | None:
    """The outcome of the first of these plans that breaks a promise; None when none does. In this process."""
    for plan in plans:
        outcome = run_plan(plan, engine, make_checkers)
        if outcome.violation is not None:
            return outcome
    return None


def workers_default() -> int:
    """One for each core that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def campaign(engine: str, jobs: Iterable[Job], *, workers: int = 1) -> Iterator[Result]:
    """Run all jobs and give results as they come. `engine`: name of an installed plug-in's engine.

    Raises PluginError for an unknown engine.
    """
    factory = load_plugins().engine(engine)
    if workers <= 1:
        for job in jobs:
            yield Result(job.name, job.plan, run_plan(job.plan, factory))
        return
    waiting = iter(jobs)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=workers, mp_context=context) as pool:
        running: dict[Future[Outcome], Job] = {}
        try:
            while True:
                for job in islice(waiting, IN_HAND_PER_WORKER * workers - len(running)):
                    running[pool.submit(_run_in_worker, engine, job.plan)] = job
                if not running:
                    return
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in sorted(done, key=lambda each: running[each].name):
                    job = running.pop(future)
                    yield Result(job.name, job.plan, future.result())
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


@cache
def _engine(name: str) -> EngineFactory:
    return load_plugins().engine(name)


def _run_in_worker(engine: str, plan: Plan) -> Outcome:
    return run_plan(plan, _engine(engine))


class DoneFile:
    """JSON lines of what a campaign has done; made when it does not exist, appended to when it does."""

    def __init__(self, path: Path, title: str) -> None:
        """Raises ConfigError when the file is of another campaign, or no such file at all."""
        self._path = path
        self.outcomes: dict[str, Outcome] = {}
        fresh = not path.exists() or not path.stat().st_size
        if not fresh:
            self._read(title)
        self._file = path.open("ab")
        if fresh:
            self._write(CampaignHeader(title))
        elif not path.read_bytes().endswith(b"\n"):
            self._file.write(b"\n")  # the last line was cut when the campaign was stopped

    def add(self, result: Result) -> None:
        """A job is done."""
        self.outcomes[result.name] = result.outcome
        self._write(DoneLine(result.name, result.outcome))

    def close(self) -> None:
        """No more are coming."""
        self._file.close()

    def _read(self, title: str) -> None:
        decoder = msgspec.json.Decoder(CampaignHeader | DoneLine)
        lines = self._path.read_bytes().split(b"\n")
        for number, line in enumerate(lines):
            try:
                entry = decoder.decode(line)
            except msgspec.MsgspecError as fault:
                if number == 0:
                    raise ConfigError(f"{self._path} is no file of a campaign: {fault}") from None
                continue  # a line that was cut: its job is run again
            if isinstance(entry, DoneLine):
                self.outcomes[entry.name] = entry.outcome
            elif entry.title != title:
                raise ConfigError(
                    f"{self._path} belongs to another campaign ({entry.title}); this one is {title}. "
                    f"Give --resume another file"
                )

    def _write(self, entry: CampaignHeader | DoneLine) -> None:
        self._file.write(msgspec.json.encode(entry) + b"\n")
        self._file.flush()
