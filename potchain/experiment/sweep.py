"""Measure many points: what is done is written down, what fails is recorded, and the order does not show in the result.

    points -> (left over from the journal) -> scheduler -> journal -> outcomes, sorted by point

Rules of this file: an outcome depends on its point alone (in mode "live": and on the machine's load), never on the
scheduler, the number of jobs or the order in which points finish; a point that raises is an outcome like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from types import TracebackType
from typing import Protocol

import msgspec

from potchain.errors import PluginError
from potchain.experiment.extra import require
from potchain.experiment.grid import order_of
from potchain.experiment.point import Point
from potchain.experiment.result import SynchronizeResult
from potchain.registry import load_plugins
from potchain.tables import nearest_hint

Measure = Callable[[Point], SynchronizeResult]
"""Measures one point. Must be importable by name (no lambda): it runs in other processes and on other machines."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """A point that was measured, or that failed."""

    point: Point
    result: SynchronizeResult | None = None
    """None when it failed."""
    error: str = ""
    """What went wrong; empty when nothing did."""


class Scheduler(Protocol):
    """Runs points somewhere. Made by `potchain.experiment.schedulers`."""

    def run(self, measure: Measure, points: Sequence[Point]) -> Generator[Outcome, None, None]:
        """Outcomes as they come. Closing the generator stops what is under way."""

    def close(self) -> None:
        """Let go of what it holds."""


class Journal(Protocol):
    """Remembers what is done. Made by `potchain.experiment.storage`."""

    def finished(self) -> dict[Point, Outcome]:
        """Points that need not be measured again; failed ones are not among them."""

    def add(self, outcome: Outcome) -> None:
        """One more, durable when this returns."""


def check_installed(points: Sequence[Point]) -> None:
    """Whether every engine that the points name is installed, and numpy, which works out every bound.

    Raises PluginError with the nearest name, ExperimentError with what to install.
    """
    installed = load_plugins().engines
    for name in sorted({point.engine for point in points} - installed.keys()):
        raise PluginError(
            f"unknown consensus engine {name!r} (installed: {', '.join(sorted(installed)) or 'none'}; "
            f"{nearest_hint(name, installed)}); say another with --engine, or as engine in the sweep file"
        )
    require("an experiment", "numpy")


def run_sweep(
    points: Sequence[Point],
    measure: Measure,
    scheduler: Scheduler,
    journal: Journal | None = None,
    notice: Callable[[Outcome], None] = lambda outcome: None,
) -> tuple[Outcome, ...]:
    """Outcomes of all points, sorted by point. `notice` is told of each one that is measured now, as it comes.

    Interrupted (KeyboardInterrupt), it stops what is under way and passes the interruption on; the journal then holds
    what is done. Raises ExperimentError when the scheduler goes away.
    """
    finished = {} if journal is None else journal.finished()
    done = {point: finished[point] for point in points if point in finished}
    left = [point for point in points if point not in done]
    with closing(scheduler.run(measure, left)) as outcomes:
        for outcome in outcomes:
            if journal is not None:
                journal.add(outcome)
            done[outcome.point] = outcome
            notice(outcome)
    return tuple(done[point] for point in sorted(points, key=order_of))


def measure_encoded(measure: Measure, point: bytes) -> bytes:
    """The outcome of one point, both as JSON. This is what runs in a worker, local or far away.

    JSON, so that the same bytes come back whatever carries them; some exceptions cannot even be pickled.
    """
    wanted = msgspec.json.decode(point, type=Point)
    outcome = Outcome(point=wanted)
    fault = _Fault()
    with fault:
        outcome = Outcome(point=wanted, result=measure(wanted))
    return msgspec.json.encode(failed(wanted, fault.raised) if fault.raised is not None else outcome)


def decoded(outcome: bytes) -> Outcome:
    """What `measure_encoded` gave."""
    return msgspec.json.decode(outcome, type=Outcome)


def failed(point: Point, fault: BaseException) -> Outcome:
    """The outcome of a point that raised."""
    words = " ".join(str(fault).split())
    return Outcome(point=point, error=f"{type(fault).__name__}: {words}" if words else type(fault).__name__)


class _Fault:
    """Keeps what its block raises, bugs included: one point of a sweep of hours must not end the others. It is not
    lost: it becomes the error of that point, which the sweep reports and its exit code tells."""

    def __init__(self) -> None:
        self.raised: Exception | None = None

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if isinstance(raised, Exception):
            self.raised = raised
        return self.raised is not None
