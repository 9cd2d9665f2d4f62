"""Pictures of lines: time against a number, and throughput against latency. Medians, with the range over the seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import nan
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from potchain.experiment.cells import Cell
from potchain.experiment.plots.axes import LABELS, shown, value_of, values_on
from potchain.experiment.plots.style import COLOURS, INK, MARKERS, WIDTH_INCHES, legend_columns, number_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LINES_MAX = len(COLOURS)
"""In one panel; more cannot be told apart."""
PANELS_MAX = 6
PANELS_IN_A_ROW = 3


def time_against(cells: Sequence[Cell], x: str, colour: str | None, panel: str | None) -> Figure:
    """Seconds to 2f + 1 replies against a numeric axis, with the bound as a dashed line."""
    scale = 100.0 if x == "loss" else 1.0
    numbers = sorted({float(value_of(cell, x)) * scale for cell in cells})
    times = [time for cell in cells for time in (cell.low_s, cell.median_s, cell.high_s, cell.bound_s) if time]

    def draw(axes: Axes, chosen: Sequence[Cell], style: int) -> None:
        line = sorted(chosen, key=lambda cell: float(value_of(cell, x)))
        xs = [float(value_of(cell, x)) * scale for cell in line]
        bounds = [(number, cell.bound_s) for number, cell in zip(xs, line, strict=True) if cell.bound_s]
        if bounds:
            axes.plot(*zip(*bounds, strict=True), color=COLOURS[style], linestyle=(0, (4, 3)), linewidth=1.1)
        if any(len(cell.results) > 1 for cell in line):
            lows = [cell.low_s or nan for cell in line]
            highs = [cell.high_s or nan for cell in line]
            axes.fill_between(xs, lows, highs, color=COLOURS[style], alpha=0.15, linewidth=0)
        medians = [(number, cell.median_s) for number, cell in zip(xs, line, strict=True) if cell.median_s]
        if medians:
            axes.plot(*zip(*medians, strict=True), color=COLOURS[style], marker=MARKERS[style])

    def finish(axes: Axes) -> None:
        number_axis(axes, "x", numbers, ticks=numbers)
        number_axis(axes, "y", times)
        axes.set_xlabel(LABELS[x])
        axes.set_ylabel("seconds to 2f + 1 replies")

    return _panels(cells, colour, panel, draw, finish, bound=any(cell.bound_s for cell in cells))


def throughput_latency(cells: Sequence[Cell], colour: str | None, panel: str | None) -> Figure:
    """Seconds against transactions per second; along a line the number of transactions grows."""
    reached = [cell for cell in cells if cell.median_s]
    rates = [cell.point.transactions / (cell.median_s or 1) for cell in reached]
    times = [cell.median_s or 0 for cell in reached]

    def draw(axes: Axes, chosen: Sequence[Cell], style: int) -> None:
        line = sorted((cell for cell in chosen if cell.median_s), key=lambda cell: cell.point.transactions)
        points = [(cell.point.transactions / (cell.median_s or 1), cell.median_s or 0) for cell in line]
        if not points:
            return
        axes.plot(*zip(*points, strict=True), color=COLOURS[style], marker=MARKERS[style])
        if style == 0:  # one line says what its points are; the others have the same
            for cell, place in zip(line, points, strict=True):
                axes.annotate(
                    f"{cell.point.transactions:,}", place, (-7, 0), textcoords="offset points", fontsize=8,
                    ha="right", va="center", color=COLOURS[style],
                )  # fmt: skip

    def finish(axes: Axes) -> None:
        number_axis(axes, "x", rates, room=3)
        number_axis(axes, "y", times)
        axes.set_xlabel("transactions per second")
        axes.set_ylabel("seconds to 2f + 1 replies")
        axes.grid(visible=True, axis="x")

    return _panels(reached, colour, panel, draw, finish, bound=False)


def _panels(
    cells: Sequence[Cell], colour: str | None, panel: str | None, draw: Callable[[Axes, Sequence[Cell], int], None],
    finish: Callable[[Axes], None], *, bound: bool,
) -> Figure:  # fmt: skip
    """A panel for each value on one axis, a line in each for each value on another."""
    from matplotlib.lines import Line2D

    parts = values_on(cells, panel)[:PANELS_MAX] if panel else [None]
    lines = values_on(cells, colour)[:LINES_MAX] if colour else [None]
    columns = 2 if len(parts) == 4 else min(len(parts), PANELS_IN_A_ROW)
    rows = -(-len(parts) // columns)
    figure = Figure(figsize=(WIDTH_INCHES, 0.5 + (3.7 if columns == 1 else 3.0) * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for axes, part in zip(grid.flat, parts, strict=False):
        for style, value in enumerate(lines):
            draw(axes, [cell for cell in cells if _on(cell, panel, part) and _on(cell, colour, value)], style)
        finish(axes)
        axes.label_outer()
        if panel is not None and part is not None:
            axes.set_title(shown(panel, part))
    for axes in grid.flat[len(parts) :]:
        axes.set_visible(False)
    handles = [
        Line2D([], [], color=COLOURS[style], marker=MARKERS[style], label=shown(colour, value))
        for style, value in enumerate(lines)
        if colour is not None and value is not None
    ]
    if bound:
        handles.append(Line2D([], [], color=INK, linestyle=(0, (4, 3)), linewidth=1.1, label="lower bound"))
    if handles:
        figure.legend(
            handles=handles,
            loc="outside upper left",
            ncols=legend_columns([str(handle.get_label()) for handle in handles]),
        )
    return figure


def _on(cell: Cell, axis: str | None, value: object) -> bool:
    return axis is None or value_of(cell, axis) == value
