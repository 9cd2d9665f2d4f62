"""`potchain experiment`: one point, the Go demo's table, sweeps, and their report.

Rules of this file: everything is checked before anything is measured; what is measured does not depend on how
(`--jobs`, `--scheduler`, a resume); progress goes to standard error. numpy, pyarrow, matplotlib and distributed are
imported by what needs them, and only then.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_type_hints

import click
import msgspec

from potchain.cli.experiment_sweep import Sweeping
from potchain.cli.options import FILE, FOLDER, aligned, emit, json_option
from potchain.cli.program import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK
from potchain.experiment.point import Point

if TYPE_CHECKING:
    from potchain.experiment.result import SynchronizeResult

F = TypeVar("F", bound=Callable[..., object])

POINT_HELP = {
    "nodes": "Validators.",
    "transactions": "Records that the client hands over, all at once.",
    "transaction_bytes": "Size of a record.",
    "payload": "Incompressible records in one signed transaction, or signed transfers.",
    "bandwidth_mbps": "10^6 bits per second, such as 0.1 or 25; 0: no limit.",
    "bandwidth_model": "That bandwidth for each link and direction, or for each node's uplink and downlink.",
    "latency_ms": "L, of each frame; 0: none.",
    "distribution": "Of the latency: always L, or uniform in [0.1 L, L].",
    "loss": "Share of frames that never arrive, such as 0.05.",
    "engine": "Consensus engine, by name.",
    "dissemination": "How bodies spread.",
    "crashed": "Nodes that are down from the start; at most f.",
    "slow_primary_ms": "What the primary takes for each frame; 0: as fast as the others.",
    "mode": "Real sockets and real time, the node on virtual time, or arrival times alone.",
    "megabit": "Bits in a megabit: 1000000, or 1048576 as in the Go demo.",
    "seed": "Of every draw.",
}
"""Help of the options that are the fields of a point."""


def measure(point: Point) -> SynchronizeResult:
    """One point, in its mode. Runs in worker processes, too."""
    from potchain.experiment.synchronize import synchronize_point

    return synchronize_point(point)


def point_options(*names: str) -> Callable[[F], F]:
    """An option for each of these fields of a point."""

    def decorate(command: F) -> F:
        hints = get_type_hints(Point)
        for field in reversed(msgspec.structs.fields(Point)):
            if field.name in names:
                choices = get_args(hints[field.name])
                command = click.option(
                    f"--{field.name.replace('_', '-')}",
                    type=click.Choice(choices) if choices else hints[field.name],
                    default=field.default,
                    show_default=True,
                    help=POINT_HELP[field.name],
                )(command)
        return command

    return decorate


def scheduler_options(command: F) -> F:
    """--jobs and --scheduler"""
    jobs = click.option("--jobs", default=0, type=click.IntRange(0, 1024), help="Processes [default: one a core].")
    scheduler = click.option("--scheduler", metavar="URL", help="A Dask scheduler, such as tcp://10.0.0.1:8786.")
    return jobs(scheduler(command))


def fresh_option(command: F) -> F:
    """--fresh"""
    return click.option("--fresh", is_flag=True, help="Measure everything again, also what is done.")(command)


@click.group()
def experiment() -> None:
    """Measure consensus under network conditions: one point, a table, a grid.

    \b
    Example:
      potchain experiment run --nodes 10 --transactions 100 --bandwidth-mbps 25 --latency-ms 100
      potchain experiment sweep sweep.toml --out sweep
    """


@experiment.command()
@point_options(*POINT_HELP)
@json_option
def run(as_json: bool, **fields: Any) -> int:  # noqa: ANN401 - click gives the fields of Point
    """Measure one point: how long until the client has 2f + 1 equal replies, and where the time went.

    \b
    Example:
      potchain experiment run --nodes 10 --transactions 100 --bandwidth-mbps 0.1 --latency-ms 300
      potchain experiment run --nodes 31 --transactions 500 --bandwidth-mbps 5 --dissemination coded
      potchain experiment run --nodes 4 --mode live --json
    """
    from potchain.experiment.sweep import check_installed
    from potchain.experiment.tables import phase_table, result_rows

    point = Point(**fields).checked()
    check_installed([point])
    result = measure(point)
    lines = [*aligned(result_rows(result)), ""]
    emit(msgspec.to_builtins(result), as_json, [*lines, *phase_table(result).lines()])
    return EXIT_OK if result.seconds_to_quorum is not None else EXIT_FAILED


@experiment.command("table")
@point_options("mode", "payload", "dissemination", "engine")
@click.option(
    "--bandwidth-model",
    type=click.Choice(["per_link", "shared", "both"]),
    default="per_link",
    help="Bandwidth for each link [default], as in the Go demo, shared by a node's links, or both.",
)
@click.option("--seeds", default=20, show_default=True, type=click.IntRange(1, 1000), help="Runs of each cell.")
@click.option("--out", type=FOLDER, help="Write the results and a report into this folder, and resume there.")
@scheduler_options
@fresh_option
@json_option
def go_demo_table(
    mode: str,
    payload: str,
    bandwidth_model: str,
    dissemination: str,
    engine: str,
    seeds: int,
    out: Path | None,
    jobs: int,
    scheduler: str | None,
    fresh: bool,
    as_json: bool,
) -> int:
    """Measure the cells of the Go demo's table, under its conditions, and print our times beside its.

    \b
    Example:
      potchain experiment table --seeds 5
      potchain experiment table --mode live --dissemination coded --out table-live
    """  # fmt: skip
    from potchain.experiment.grid import Sweep
    from potchain.experiment.seed_table import TableOptions, comparisons, table_points
    from potchain.experiment.tables import comparison_table

    models = ("per_link", "shared") if bandwidth_model == "both" else (bandwidth_model,)
    chosen = [
        msgspec.convert(
            {"mode": mode, "payload": payload, "bandwidth_model": model, "dissemination": dissemination,
             "engine": engine, "seeds": tuple(range(1, seeds + 1))}, TableOptions,
        )
        for model in models
    ]  # fmt: skip
    points = tuple(point for options in chosen for point in table_points(options))
    command = [
        "potchain experiment table", f"--mode {mode}", f"--payload {payload}", f"--bandwidth-model {bandwidth_model}",
        f"--dissemination {dissemination}", f"--engine {engine}", f"--seeds {seeds}",
    ]  # fmt: skip
    title = f"The Go demo's table in mode {mode}, {dissemination} dissemination, {payload} payload"
    swept = Sweeping(Sweep(title=title, points=points, text=""), " ".join(command), jobs, scheduler, out, fresh)
    outcomes = swept.run(measure)
    if outcomes is None:
        return EXIT_INTERRUPTED
    cells = comparisons(outcomes)
    lines = [f"{title}; {seeds} seed{'s' * (seeds > 1)}, 300 ms, megabits of 2^20 bits"]
    for model in models:
        text = comparison_table([cell for cell in cells if cell.bandwidth_model == model])
        lines += ["", f"bandwidth {'for each link' if model == 'per_link' else 'shared by the links of a node'}"]
        lines += text.lines()
    document = {"cells": msgspec.to_builtins(cells), "points": len(points), "failed": swept.failed}
    emit(document, as_json, [*lines, *swept.failures(outcomes)])
    return EXIT_FAILED if swept.failed else EXIT_OK


@experiment.command()
@click.argument("sweep_file", metavar="FILE.toml", type=FILE)
@click.option("--out", required=True, type=FOLDER, help="Folder for results, pictures and report; resumed when there.")
@scheduler_options
@fresh_option
@json_option
def sweep(sweep_file: Path, out: Path, jobs: int, scheduler: str | None, fresh: bool, as_json: bool) -> int:
    """Measure every point of a sweep file. Run it again to go on where it was interrupted.

    \b
    Example:
      potchain experiment sweep sweep.toml --out sweep
      potchain experiment sweep sweep.toml --out sweep --scheduler tcp://10.0.0.1:8786
    """
    from potchain.experiment.grid import read_sweep

    wanted = read_sweep(sweep_file)
    command = shlex.join(["potchain", "experiment", "sweep", "sweep.toml", "--out", out.name or "sweep"])
    swept = Sweeping(wanted, command, jobs, scheduler, out, fresh)
    outcomes = swept.run(measure)
    if outcomes is None:
        return EXIT_INTERRUPTED
    lines = aligned([
        ("points", f"{len(outcomes):,}"), ("failed", f"{swept.failed:,}"), ("results", swept.file("results.parquet")),
        ("report", swept.file("report.html")),
    ])  # fmt: skip
    emit(
        {"points": len(outcomes), "failed": swept.failed, "results": str(swept.file("results.parquet")),
         "report": str(swept.file("report.html"))},
        as_json, [*lines, *swept.failures(outcomes)],
    )  # fmt: skip
    return EXIT_FAILED if swept.failed else EXIT_OK


@experiment.command("report")
@click.argument("folder", metavar="FOLDER", type=FOLDER)
@json_option
def make_report(folder: Path, as_json: bool) -> int:
    """Make the report of a sweep again, from its results; also of one that was interrupted.

    \b
    Example:
      potchain experiment report sweep
    """
    from potchain.experiment.report import write_report
    from potchain.experiment.storage import load_outcomes, read_provenance

    outcomes = load_outcomes(folder)
    origin = read_provenance(folder)
    path = write_report(folder, outcomes, origin.title, origin.command, origin.sweep_text)
    emit({"points": len(outcomes), "report": str(path)}, as_json, [f"{len(outcomes):,} points: {path}"])
    return EXIT_OK
