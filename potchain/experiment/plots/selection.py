"""Which pictures a set of results gets: decided by the axes that vary, so that a sweep file needs to say nothing.

Each picture shows two or three axes. When more vary, there is one picture for each combination of the others, up to
`PICTURES_MAX` in all; what is left out is in the tables and in the results file.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

from matplotlib.figure import Figure

from potchain.experiment.cells import Cell
from potchain.experiment.plots.axes import FAULT, LABELS, described, value_of, values_on, varying
from potchain.experiment.plots.comparisons import against_the_demo, heat_map, phases_of, time_by
from potchain.experiment.plots.lines import throughput_latency, time_against
from potchain.experiment.plots.style import Picture, our_style, svg_of
from potchain.experiment.seed_table import Comparison

PICTURES_MAX = 24
"""In one report."""
PHASES_MAX = 4
"""Cells whose phases are drawn: only where a report has so few."""
NUMBERS = ("nodes", "transactions", "transaction_bytes", "latency_ms", "loss")
"""Axes against which time makes a line; bandwidth has a value that means no limit, so it gives colours."""
CATEGORIES = ("dissemination", FAULT, "engine", "mode", "bandwidth_model", "payload", "distribution", "megabit")
COLOUR_FIRST = (
    "bandwidth_mbps", "dissemination", FAULT, "mode", "engine", "nodes", "transactions", "latency_ms", "loss",
    "bandwidth_model", "payload", "distribution", "transaction_bytes", "megabit",
)  # fmt: skip
"""What tells lines apart, and then panels."""
GROUP_FIRST = ("nodes", "transactions", "bandwidth_mbps", "latency_ms", *COLOUR_FIRST)
SPREAD = "The band is the range over the seeds, the dashed line what the links imply at least."
STEMS = "The light bar is the range over the seeds, the dash the bound that the links imply."

Draw = Callable[[Sequence[Cell]], Figure]


def pictures(cells: Sequence[Cell]) -> tuple[Picture, ...]:
    """All pictures of these cells, at most `PICTURES_MAX`; none when nothing came to its end."""
    reached = [cell for cell in cells if cell.median_s]
    with our_style():
        return tuple(itertools.islice(_all(reached), PICTURES_MAX))


def _all(cells: list[Cell]) -> Iterator[Picture]:
    axes = varying(cells)
    if "transactions" in axes:
        colour, panel = _first(axes, ("bandwidth_mbps", "nodes", *COLOUR_FIRST), 2, "transactions")
        yield from _each(
            cells, axes, ("transactions", colour, panel), "throughput-latency", "Throughput and latency",
            "Each point is a number of transactions that are handed over at once.",
            lambda part: throughput_latency(part, colour, panel),
        )  # fmt: skip
    for x in NUMBERS:
        if x in axes and len(values_on(cells, x)) > (1 if x == "nodes" else 2):
            yield from _line_pictures(cells, axes, x)
    if {"nodes", "bandwidth_mbps"} <= set(axes):
        yield from _each(
            cells, axes, ("nodes", "bandwidth_mbps"), "heat-map", "Time by nodes and bandwidth",
            "Median seconds to 2f + 1 replies.", lambda part: heat_map(part, "bandwidth_mbps", "nodes"),
        )  # fmt: skip
    for category in CATEGORIES:
        if category in axes:
            yield from _category_pictures(cells, axes, category)
    if 0 < len(cells) <= PHASES_MAX:
        yield _picture(
            "phases", "Phases of one run", "Of the first seed: from the first frame sent to the last one arrived.",
            phases_of([(described(cell, axes), cell.results[0]) for cell in cells]),
        )  # fmt: skip


def _line_pictures(cells: list[Cell], axes: tuple[str, ...], x: str) -> Iterator[Picture]:
    colour, panel = _first(axes, COLOUR_FIRST, 2, x)
    yield from _each(
        cells, axes, (x, colour, panel), f"time-{x.replace('_', '-')}", f"Time against {_words(x)}", SPREAD,
        lambda part: time_against(part, x, colour, panel),
    )  # fmt: skip


def _category_pictures(cells: list[Cell], axes: tuple[str, ...], category: str) -> Iterator[Picture]:
    (group,) = _first(axes, GROUP_FIRST, 1, category)
    title = "Fault study" if category == FAULT else f"Time by {_words(category)}"
    name = "faults" if category == FAULT else f"by-{category.replace('_', '-')}"
    yield from _each(cells, axes, (category, group), name, title, STEMS, lambda part: time_by(part, category, group))


def _each(
    cells: Sequence[Cell], axes: tuple[str, ...], used: Sequence[str | None], name: str, title: str, caption: str,
    draw: Draw,
) -> Iterator[Picture]:  # fmt: skip
    """One picture for each combination of values on the axes that it does not show."""
    others = [axis for axis in axes if axis not in used]
    parts: dict[tuple[object, ...], list[Cell]] = {}
    for cell in cells:
        parts.setdefault(tuple(value_of(cell, axis) for axis in others), []).append(cell)
    first = next(axis for axis in used if axis is not None)
    number = 0
    for part in parts.values():
        if len(values_on(part, first)) < 2:
            continue  # a series that has one value here has nothing to compare
        number += 1
        where = described(part[0], others)
        yield _picture(
            f"{name}-{number}" if others else name, f"{title}: {where}" if where else title, caption, draw(part)
        )


def _picture(name: str, title: str, caption: str, figure: Figure) -> Picture:
    return Picture(name=name, title=title, caption=caption, svg=svg_of(figure, name, title))


def _first(axes: tuple[str, ...], wanted: Sequence[str], count: int, without: str) -> list[str | None]:
    """The first axes of a wish list that vary."""
    found: list[str | None] = [axis for axis in dict.fromkeys(wanted) if axis in axes and axis != without]
    return (found + [None] * count)[:count]


def _words(axis: str) -> str:
    return LABELS[axis].partition(" (")[0]


def demo_picture(table: Sequence[Comparison], bandwidths_mbps: Sequence[float]) -> tuple[Picture, ...]:
    """The Go demo's table as pictures: one for each bandwidth model."""
    found = []
    for model in sorted({cell.bandwidth_model for cell in table}):
        panels = [
            (
                f"{bandwidth:g} Mbps",
                [
                    (f"{cell.transactions:,} tx, n = {cell.nodes}", cell.go_demo_s, cell.median_s, cell.bound_s)
                    for cell in table
                    if cell.bandwidth_mbps == bandwidth and cell.bandwidth_model == model
                ],
            )
            for bandwidth in bandwidths_mbps
        ]
        shown = [(name, lines) for name, lines in panels if lines]
        if shown:
            name = f"go-demo-{model.replace('_', '-')}"
            title = "Bandwidth for each link" if model == "per_link" else "Bandwidth shared by the links of a node"
            with our_style():
                found.append(_picture(name, title, "Median seconds to 2f + 1 replies.", against_the_demo(shown)))
    return tuple(found)
