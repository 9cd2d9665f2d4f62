"""Outcomes that differ in their seed alone, as one cell with a median and a range."""

from __future__ import annotations

import math
from collections.abc import Iterable
from statistics import median

import msgspec

from potchain.experiment.grid import order_of
from potchain.experiment.point import Point
from potchain.experiment.result import SynchronizeResult
from potchain.experiment.sweep import Outcome


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One point with all its seeds. Times are seconds to 2f + 1 replies; a run that did not come to that counts as one
    that takes for ever, so that a median is not made better by what fails."""

    point: Point
    """With the first of the seeds."""
    results: tuple[SynchronizeResult, ...]
    """By seed; failed points have none."""
    failed: int
    """How many failed."""
    median_s: float | None
    low_s: float | None
    high_s: float | None
    bound_s: float | None
    """Median of what the links imply at least."""
    cpu_s: float | None
    """Median."""
    weak_quorum_s: float | None
    """Median of the time to f + 1 replies."""
    all_s: float | None
    """Median of the time until every node has executed everything."""

    @property
    def over_bound(self) -> float | None:
        """Median over bound; 1.05: 5% more than the links imply."""
        return self.median_s / self.bound_s if self.median_s and self.bound_s else None


def cells_of(outcomes: Iterable[Outcome]) -> tuple[Cell, ...]:
    """All cells, sorted by point."""
    groups: dict[Point, list[Outcome]] = {}
    for outcome in sorted(outcomes, key=lambda outcome: order_of(outcome.point)):
        groups.setdefault(msgspec.structs.replace(outcome.point, seed=0), []).append(outcome)
    return tuple(_cell(group) for group in groups.values())


def _cell(group: list[Outcome]) -> Cell:
    results = tuple(outcome.result for outcome in group if outcome.result is not None)
    failed: list[float | None] = [None] * (len(group) - len(results))
    seconds = [result.seconds_to_quorum for result in results] + failed
    reached = [value for value in seconds if value is not None]
    return Cell(
        point=group[0].point,
        results=results,
        failed=len(failed),
        median_s=_median(seconds),
        low_s=min(reached, default=None),
        high_s=max(reached) if reached and len(reached) == len(seconds) else None,
        bound_s=_median([result.bound_seconds for result in results]),
        cpu_s=_median([result.cpu_seconds for result in results]),
        weak_quorum_s=_median([result.seconds_to_weak_quorum for result in results] + failed),
        all_s=_median([result.seconds_to_all for result in results] + failed),
    )


def _median(values: list[float | None]) -> float | None:
    if not values:
        return None
    middle = median(math.inf if value is None else value for value in values)
    return None if math.isinf(middle) else middle
