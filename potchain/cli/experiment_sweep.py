"""What `potchain experiment table` and `sweep` share: run points, show progress, keep what comes, say what failed.

Progress is a bar on a terminal and a line now and then elsewhere, on standard error. Ctrl-C leaves a folder in which
the same command goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from potchain.experiment.point import Point

if TYPE_CHECKING:
    from rich.console import Console

    from potchain.experiment.grid import Sweep
    from potchain.experiment.sweep import Measure, Outcome

FAILURES_SHOWN_MAX = 5
"""Failed points that are described; all are counted."""
LINE_EVERY_S = 10.0
"""Off a terminal."""


class Sweeping:
    """Runs the points of a table or a sweep, and keeps what comes in a folder, if there is one."""

    def __init__(
        self, sweep: Sweep, command: str, jobs: int, scheduler: str | None, out: Path | None, fresh: bool
    ) -> None:
        """Check everything that can be checked; nothing is written and nothing runs before that."""
        from potchain.experiment.extra import require
        from potchain.experiment.sweep import check_installed

        check_installed(sweep.points)
        if out is not None:
            require("--out", "pyarrow.parquet", "matplotlib")
        self._sweep, self._command, self._jobs, self._address = sweep, command, jobs, scheduler
        self._out, self._fresh = out, fresh
        self.failed = 0

    def run(self, measure: Measure) -> tuple[Outcome, ...] | None:
        """All outcomes, sorted; None when it was interrupted, which has been said."""
        from potchain.experiment.schedulers import open_scheduler
        from potchain.experiment.storage import JournalFile, Provenance, open_folder, write_results
        from potchain.experiment.sweep import run_sweep

        with closing(open_scheduler(self._address, self._jobs)) as scheduler:
            journal: JournalFile | None = None
            if self._out is not None:
                origin = Provenance(title=self._sweep.title, command=self._command, sweep_text=self._sweep.text)
                journal = open_folder(self._out, origin, self._sweep.points, fresh=self._fresh)
            done = 0 if journal is None else len(journal.finished().keys() & set(self._sweep.points))
            total = len(self._sweep.points)
            try:
                with progress(total, done) as notice:
                    outcomes = run_sweep(self._sweep.points, measure, scheduler, journal, notice)
            except KeyboardInterrupt:
                done = 0 if journal is None else len(journal.finished().keys() & set(self._sweep.points))
                kept = f"{done:,} of {total:,} points are kept; the same command goes on" if journal else "nothing kept"
                click.echo(f"potchain: interrupted; {kept}", err=True)
                return None
            finally:
                if journal is not None:
                    journal.close()
        self.failed = sum(bool(outcome.error) for outcome in outcomes)
        if self._out is not None:
            from potchain.experiment.report import write_report

            write_results(self.file("results.parquet"), outcomes)
            write_report(self._out, outcomes, self._sweep.title, self._command, self._sweep.text)
        return outcomes

    def file(self, name: str) -> Path:
        """A file of the folder."""
        assert self._out is not None
        return self._out / name

    def failures(self, outcomes: tuple[Outcome, ...]) -> list[str]:
        """Lines about the first failed points."""
        failed = [outcome for outcome in outcomes if outcome.error]
        lines = []
        for outcome in failed[:FAILURES_SHOWN_MAX]:
            default = Point()
            changed = [
                f"--{name.replace('_', '-')} {getattr(outcome.point, name)}"
                for name in Point.__struct_fields__
                if getattr(outcome.point, name) != getattr(default, name)
            ]
            lines += ["", f"FAILED {outcome.error}", f"  again: potchain experiment run {' '.join(changed)}".rstrip()]
        if len(failed) > FAILURES_SHOWN_MAX:
            lines += ["", f"and {len(failed) - FAILURES_SHOWN_MAX:,} more"]
        return lines


@contextmanager
def progress(total: int, done: int) -> Iterator[Callable[[Outcome], None]]:
    """A function to call with each outcome. `done`: points that need not be measured again."""
    from rich.console import Console

    console = Console(stderr=True)
    before = f", {done:,} of them done before" if done else ""
    click.echo(f"{total:,} points{before}", err=True)
    with _bar(console, total, done) if console.is_terminal else _lines(total, done) as notice:
        yield notice


@contextmanager
def _bar(console: Console, total: int, done: int) -> Iterator[Callable[[Outcome], None]]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description:<12}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    failed = 0
    with Progress(*columns, console=console) as shown:
        bar = shown.add_task("0 failed", total=total, completed=done)

        def notice(outcome: Outcome) -> None:
            nonlocal failed
            failed += bool(outcome.error)
            shown.update(bar, advance=1, description=f"{failed} failed")

        yield notice


@contextmanager
def _lines(total: int, done: int) -> Iterator[Callable[[Outcome], None]]:
    failed = 0
    said_s = time.monotonic()

    def notice(outcome: Outcome) -> None:
        nonlocal done, failed, said_s
        done += 1
        failed += bool(outcome.error)
        now_s = time.monotonic()
        if now_s - said_s >= LINE_EVERY_S or done == total:
            said_s = now_s
            click.echo(f"{done:,} of {total:,} points, {failed:,} failed", err=True)

    yield notice
