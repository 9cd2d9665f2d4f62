"""`potchain sim`: whole nodes in a deterministic simulator, by seeds, by Twins scenarios and by crash points.

Rules of this file: what a run does is decided by its plan alone; the number of jobs, `--resume` and `--json` change
only how results are gathered. Exit code 1 says that a promise was broken.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click
import msgspec

from potchain.cli.options import FILE, FOLDER, aligned, emit, json_option
from potchain.cli.program import EXIT_FAILED, EXIT_OK
from potchain.errors import ConfigError

if TYPE_CHECKING:
    from potchain.sim.campaign import DoneFile, Job, Result
    from potchain.sim.plan import Outcome, Plan

F = TypeVar("F", bound=Callable[..., object])

FAILURES_SHOWN_MAX = 5
"""Failures that are minimised and described; all are counted."""
NEW_FILE = click.Path(dir_okay=False, path_type=Path)


class SeedsType(click.ParamType):  # type: ignore[type-arg]
    """Seeds: numbers and ranges with both ends, such as 1-300 or 3,17,40-60."""

    name = "seeds"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """In the order given, each once."""
        if isinstance(value, tuple):
            return value
        found: dict[int, None] = {}
        for part in str(value).split(","):
            first, dash, last = part.strip().partition("-")
            if not first.isdecimal() or (dash and not last.isdecimal()) or (dash and int(last) < int(first)):
                self.fail(f"seeds are numbers and ranges such as 1-300 or 3,17,40-60, not {value!r}", param, ctx)
            found.update(dict.fromkeys(range(int(first), int(last if dash else first) + 1)))
        return tuple(found)


class CampaignOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What every campaign is told beside its plans."""

    engine: str
    jobs: int
    """Worker processes; 0: one for each core."""
    resume: Path | None
    summary: Path | None
    failures: Path
    minimise: bool
    as_json: bool


def campaign_options(command: F) -> F:
    """Options of every campaign."""
    for decorate in (
        json_option,
        click.option("--no-minimise", is_flag=True, help="Report failures as they are, without making them smaller."),
        click.option("--failures", type=FOLDER, default=Path("sim-failures"), show_default=True,
                     help="Folder for the plans of failures."),
        click.option("--summary", type=NEW_FILE, help="Write the summary as JSON to this file, too."),
        click.option("--resume", type=NEW_FILE, help="Note what is done in this file, and skip what it holds."),
        click.option("--jobs", default=0, type=click.IntRange(0, 1024), help="Processes [default: one for each core]."),
        click.option("--engine", default="pbft", show_default=True, help="Consensus engine, by name."),
        click.option("--nodes", default=4, show_default=True, type=click.IntRange(1, 31), help="Validators."),
    ):  # fmt: skip
        command = decorate(command)
    return command


@click.group()
def sim() -> None:
    """Run whole nodes on virtual time, with faults drawn from seeds, and check every promise.

    \b
    Example:
      potchain sim run --nodes 4 --seeds 1-300 --profile mixed
      potchain sim twins --nodes 4 --scenarios 1000
    """


@sim.command()
@click.option("--seeds", type=SeedsType(), default="1-100", show_default=True, help="Numbers and ranges.")
@click.option("--profile", default="mixed", show_default=True,
              help="calm, lossy, partitions, crashes, disks, clocks, byzantine, mixed or settlement.")
@click.option("--trace", type=NEW_FILE, help="Write every event of the run to this file; for one seed.")
@campaign_options
def run(
    seeds: tuple[int, ...], profile: str, trace: Path | None, nodes: int, engine: str, jobs: int, resume: Path | None,
    summary: Path | None, failures: Path, no_minimise: bool, as_json: bool,
) -> int:
    """Run one plan for each seed. The same seed gives the same run, byte for byte, on every machine.

    \b
    Example:
      potchain sim run --nodes 4 --seeds 1-300 --profile mixed
      potchain sim run --nodes 4 --seeds 17 --profile mixed --trace trace.txt
    """  # fmt: skip
    from potchain.sim.campaign import Job
    from potchain.sim.profiles import plan_of

    if trace is not None and len(seeds) != 1:
        raise ConfigError(f"--trace is for one seed, not for {len(seeds)}")
    options = CampaignOptions(
        engine=engine, jobs=jobs, resume=resume, summary=summary, failures=failures, minimise=not no_minimise,
        as_json=as_json,
    )  # fmt: skip
    plan_of(profile, 0, nodes)  # an unknown profile is refused before anything starts
    if trace is not None:
        return _traced(plan_of(profile, seeds[0], nodes), trace, options)
    common = f"--nodes {nodes} --profile {profile} --engine {engine}"
    campaign = _Campaign(
        f"run {common}", options, lambda plan: f"potchain sim run {common} --seeds {plan.seed} --trace trace.txt"
    )
    return campaign.run((Job(f"seed {seed}", plan_of(profile, seed, nodes)) for seed in seeds), len(seeds))


@sim.command()
@click.option("--scenarios", default=1_000, show_default=True, type=click.IntRange(1, 10**9), help="How many.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="For those that are drawn.")
@click.option("--only", type=click.IntRange(0), help="Run the scenario of this number alone.")
@click.option("--trace", type=NEW_FILE, help="Write every event to this file; with --only.")
@campaign_options
def twins(
    scenarios: int, seed: int, only: int | None, trace: Path | None, nodes: int, engine: str, jobs: int,
    resume: Path | None, summary: Path | None, failures: Path, no_minimise: bool, as_json: bool,
) -> int:
    """Run validators that have a twin, under partitions that change from round to round (arXiv 2004.10617).

    \b
    Example:
      potchain sim twins --nodes 4 --scenarios 1000
    """  # fmt: skip
    from potchain.sim.campaign import Job
    from potchain.sim.twins import scenario

    if trace is not None and only is None:
        raise ConfigError("--trace is for one scenario: name it with --only")
    options = CampaignOptions(
        engine=engine, jobs=jobs, resume=resume, summary=summary, failures=failures, minimise=not no_minimise,
        as_json=as_json,
    )  # fmt: skip
    common = f"--nodes {nodes} --scenarios {scenarios} --seed {seed} --engine {engine}"

    def plan(number: int) -> Plan:
        return scenario(number, nodes=nodes, scenarios=scenarios, seed=seed)

    if trace is not None and only is not None:
        return _traced(plan(only), trace, options)
    campaign = _Campaign(
        f"twins {common}", options, lambda each: f"potchain sim twins {common} --only {each.seed} --trace trace.txt"
    )
    numbers = range(scenarios) if only is None else (only,)
    return campaign.run((Job(f"scenario {number}", plan(number)) for number in numbers), len(numbers))


@sim.command("crash-sweep")
@click.option("--sample", default=0, type=click.IntRange(0), help="Run that many of the crash points [default: all].")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="For the sample.")
@click.option("--settlement", is_flag=True, help="Of a run that settles: each intent and each relay of its settlers.")
@campaign_options
def crash_sweep(
    sample: int, seed: int, settlement: bool, nodes: int, engine: str, jobs: int, resume: Path | None,
    summary: Path | None, failures: Path, no_minimise: bool, as_json: bool,
) -> int:
    """Cut the power of each node at each write, send and decision of a run, cleanly and with a torn write.

    \b
    Example:
      potchain sim crash-sweep --nodes 4
      potchain sim crash-sweep --nodes 4 --sample 100
      potchain sim crash-sweep --nodes 4 --settlement
    """  # fmt: skip
    from potchain.registry import load_plugins
    from potchain.sim.campaign import Job
    from potchain.sim.crash_sweep import base_plans, crash_plans, crash_points, sampled, settlement_plan

    options = CampaignOptions(
        engine=engine, jobs=jobs, resume=resume, summary=summary, failures=failures, minimise=not no_minimise,
        as_json=as_json,
    )  # fmt: skip
    factory = load_plugins().engine(engine)
    plans: list[tuple[str, Plan]] = []
    for base in (settlement_plan(nodes),) if settlement else base_plans(nodes):
        _, points = crash_points(base, factory)
        plans.append((f"base {base.seed}", base))
        for plan in crash_plans(base, points):
            crash = plan.faults[-1]
            name = f"base {base.seed} node {crash.node} boundary {crash.index}"  # type: ignore[union-attr]
            plans.append((name + (" torn" if crash.torn else ""), plan))  # type: ignore[union-attr]
    chosen = sampled(plans, sample, seed) if sample else plans
    title = f"crash-sweep --nodes {nodes} --engine {engine} --sample {sample} --seed {seed}"
    campaign = _Campaign(title + (" --settlement" if settlement else ""), options)
    return campaign.run([Job(name, plan) for name, plan in chosen])


@sim.command()
@click.argument("plan_file", metavar="PLAN.json", type=FILE)
@click.option("--engine", default="pbft", show_default=True, help="Consensus engine, by name.")
@click.option("--trace", type=NEW_FILE, help="Write every event of the run to this file.")
@json_option
def replay(plan_file: Path, engine: str, trace: Path | None, as_json: bool) -> int:
    """Run a plan that a failure left behind, or one that you wrote.

    \b
    Example:
      potchain sim replay sim-failures/seed-17.json --trace trace.txt
    """
    from potchain.sim.plan import Plan

    try:
        plan = msgspec.json.decode(plan_file.read_bytes(), type=Plan)
    except msgspec.MsgspecError as fault:
        raise ConfigError(f"{plan_file} is no plan: {fault}") from None
    options = CampaignOptions(
        engine=engine, jobs=1, resume=None, summary=None, failures=Path(), minimise=False, as_json=as_json
    )
    return _traced(plan, trace, options)


def _traced(plan: Plan, trace: Path | None, options: CampaignOptions) -> int:
    """One run, with its trace written down."""
    from potchain.registry import load_plugins
    from potchain.sim.campaign import run_plan
    from potchain.sim.report import plan_text, violation_text

    factory = load_plugins().engine(options.engine)
    if trace is None:
        outcome = run_plan(plan, factory)
    else:
        with trace.open("w", encoding="utf-8") as file:
            outcome = run_plan(plan, factory, trace=lambda line: print(line, file=file))
    lines = [*plan_text(plan), *aligned(_outcome_rows(outcome))]
    if outcome.violation is not None:
        lines.append(f"FAILED: {violation_text(outcome.violation)}")
    if trace is not None:
        lines.append(f"trace: {trace}")
    emit({"plan": msgspec.to_builtins(plan), "outcome": msgspec.to_builtins(outcome)}, options.as_json, lines)
    return EXIT_OK if outcome.violation is None else EXIT_FAILED


def _outcome_rows(outcome: Outcome) -> list[tuple[str, object]]:
    fields = ("virtual_ns", "height", "transactions", "views", "frames", "boundaries", "trace_digest")
    return [(name, getattr(outcome, name)) for name in fields]


class _Campaign:
    """Runs jobs, shows progress, sums up, and makes failures small."""

    def __init__(
        self, title: str, options: CampaignOptions, replay_command: Callable[[Plan], str] | None = None
    ) -> None:
        from potchain.sim.report import Summary

        self._options = options
        self._replay_command = replay_command
        self._summary = Summary(title=title)
        self._failures: list[Result] = []

    def run(self, jobs: Iterable[Job], total: int | None = None) -> int:
        """All jobs; the exit code."""
        from potchain.sim.campaign import DoneFile

        if total is None:
            jobs = list(jobs)
            total = len(jobs)
        done = None if self._options.resume is None else DoneFile(self._options.resume, self._summary.title)
        start_ns = time.perf_counter_ns()
        try:
            self._run(jobs, total, done)
        finally:
            self._summary.real_ns = time.perf_counter_ns() - start_ns
            if done is not None:
                done.close()
            if self._options.summary is not None:
                self._options.summary.write_bytes(msgspec.json.format(msgspec.json.encode(self._document())) + b"\n")
        self._failures.sort(key=lambda result: result.plan.seed)
        described = [line for result in self._failures[:FAILURES_SHOWN_MAX] for line in self._describe(result)]
        emit(self._document(), self._options.as_json, [*aligned(self._summary.rows()), *described])
        return EXIT_FAILED if self._summary.failures else EXIT_OK

    def _run(self, jobs: Iterable[Job], total: int, done: DoneFile | None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        from potchain.sim.campaign import campaign, workers_default

        columns = (TextColumn("{task.description:<24}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True)) as progress:
            bar = progress.add_task("0 failures", total=total)
            left = self._not_done(jobs, done, lambda: progress.advance(bar))
            for result in campaign(self._options.engine, left, workers=self._options.jobs or workers_default()):
                self._add(result)
                if done is not None:
                    done.add(result)
                progress.update(bar, advance=1, description=f"{len(self._failures)} failures")

    def _not_done(self, jobs: Iterable[Job], done: DoneFile | None, skipped: Callable[[], None]) -> Iterable[Job]:
        from potchain.sim.campaign import Result

        for job in jobs:
            outcome = None if done is None else done.outcomes.get(job.name)
            if outcome is None:
                yield job
            else:
                self._add(Result(job.name, job.plan, outcome))
                skipped()

    def _add(self, result: Result) -> None:
        self._summary.add(result.name, result.outcome)
        if result.outcome.violation is not None:
            self._failures.append(result)

    def _describe(self, result: Result) -> list[str]:
        """A failure: what broke, how to see it again, and the smallest plan that still breaks it."""
        from potchain.registry import load_plugins
        from potchain.sim.campaign import run_plan
        from potchain.sim.minimise import Minimiser
        from potchain.sim.report import plan_text, violation_text

        assert result.outcome.violation is not None
        name = result.name.replace(" ", "-")
        lines = ["", f"FAILED {result.name}: {violation_text(result.outcome.violation)}"]
        if self._replay_command is not None:
            lines.append(f"  again:    {self._replay_command(result.plan)}")
        plan, note = result.plan, "as it was"
        if self._options.minimise:
            factory = load_plugins().engine(self._options.engine)
            small = Minimiser(lambda each: run_plan(each, factory)).minimise(plan, result.outcome)
            plan, note = small.plan, f"made smaller in {small.runs} runs"
        self._options.failures.mkdir(parents=True, exist_ok=True)
        file = self._options.failures / f"{name}.json"
        file.write_bytes(msgspec.json.format(msgspec.json.encode(plan)) + b"\n")
        engine = self._options.engine
        lines.append(f"  smallest: potchain sim replay {file} --engine {engine} --trace trace.txt ({note})")
        lines += [f"    {line}" for line in plan_text(plan)]
        return lines

    def _document(self) -> dict[str, object]:
        document: dict[str, object] = msgspec.to_builtins(self._summary)
        document["speed_up"] = round(self._summary.speed_up, 1)
        return document
