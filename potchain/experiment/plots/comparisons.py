"""Pictures that compare: time by category, heat maps, the phases of one run, and our times beside the Go demo's."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from potchain.experiment.cells import Cell
from potchain.experiment.plots.axes import LABELS, shown, value_of, values_on
from potchain.experiment.plots.style import (
    COLOURS,
    INK,
    MARKERS,
    MUTED,
    WIDTH_INCHES,
    legend_columns,
    number_axis,
)
from potchain.experiment.result import SynchronizeResult
from potchain.experiment.tables import amount, seconds

GROUPS_MAX = 12
CATEGORIES_MAX = len(COLOURS)
LABELLED_MAX = 24
"""Values that are written beside their markers; more would run into each other."""
HEAT_MAX = 20
"""Rows and columns of a heat map."""


def time_by(cells: Sequence[Cell], category: str, group: str | None) -> Figure:
    """Medians side by side for each value on an axis, each on a stem from the bound that the links imply."""
    groups = values_on(cells, group)[:GROUPS_MAX] if group else [None]
    categories = values_on(cells, category)[:CATEGORIES_MAX]
    places = {
        (value_of(cell, group) if group else None, value_of(cell, category)): cell for cell in cells if cell.median_s
    }
    figure = Figure(figsize=(WIDTH_INCHES, 4.2), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(categories)
    for style, kind in enumerate(categories):
        for position, where in enumerate(groups):
            cell = places.get((where, kind))
            if cell is None or cell.median_s is None:
                continue
            x = position + (style - (len(categories) - 1) / 2) * width
            if cell.bound_s:
                axes.plot([x, x], [cell.bound_s, cell.median_s], color=COLOURS[style], linewidth=1.2, alpha=0.6)
                axes.plot(x, cell.bound_s, marker="_", color=INK, markersize=13, markeredgewidth=1.4)
            if cell.low_s and cell.high_s and len(cell.results) > 1:
                axes.plot([x, x], [cell.low_s, cell.high_s], color=COLOURS[style], linewidth=4.5, alpha=0.3)
            axes.plot(x, cell.median_s, marker=MARKERS[style], color=COLOURS[style], markersize=7.5)
            if len(places) <= LABELLED_MAX:
                axes.annotate(
                    seconds(cell.median_s), (x, cell.median_s), (0, 8), textcoords="offset points", ha="center",
                    fontsize=8,
                )  # fmt: skip
    shown_times = [time for cell in places.values() for time in (cell.low_s, cell.high_s, cell.median_s) if time]
    number_axis(axes, "y", shown_times + [cell.bound_s for cell in places.values() if cell.bound_s])
    axes.margins(y=0.1)
    axes.set_xlim(-0.5, len(groups) - 0.5)
    axes.set_xticks(
        range(len(groups)), [shown(group, value) if group and value is not None else "" for value in groups]
    )
    axes.tick_params(axis="x", length=0)
    for edge in range(1, len(groups)):
        axes.axvline(edge - 0.5, color=MUTED, linewidth=0.5, alpha=0.5)
    axes.set_ylabel("seconds to 2f + 1 replies")
    handles = [
        Line2D(
            [], [], linestyle="", marker=MARKERS[style], color=COLOURS[style], markersize=7.5, label=shown(category, v)
        )
        for style, v in enumerate(categories)
    ]
    if any(cell.bound_s for cell in cells):
        bound = Line2D([], [], linestyle="", marker="_", color=INK, markersize=13, markeredgewidth=1.4)
        bound.set_label("lower bound")
        handles.append(bound)
    figure.legend(
        handles=handles, loc="outside upper left", ncols=legend_columns([str(handle.get_label()) for handle in handles])
    )
    return figure


def heat_map(cells: Sequence[Cell], x: str, y: str) -> Figure:
    """Medians as a coloured table of two axes: the numbers stand in their cells, so it needs no scale."""
    columns, rows = values_on(cells, x)[:HEAT_MAX], values_on(cells, y)[:HEAT_MAX]
    places = {(value_of(cell, x), value_of(cell, y)): cell.median_s for cell in cells}
    table = [[places.get((column, row)) or float("nan") for column in columns] for row in rows]
    times = [time for time in places.values() if time]
    wide = max(times) / min(times) >= 8
    norm = LogNorm(min(times), max(times)) if wide else Normalize(0, max(times))
    figure = Figure(figsize=(WIDTH_INCHES, 1.6 + 0.42 * max(len(rows), 3)), layout="constrained")
    axes = figure.subplots()
    axes.pcolormesh(table, cmap="cividis_r", norm=norm, edgecolors="none")
    for row, line in enumerate(table):
        for column, time in enumerate(line):
            known = time == time  # not NaN
            light = known and float(norm(time)) < 0.55
            axes.text(
                column + 0.5, row + 0.5, seconds(time) if known else "-", ha="center", va="center",
                fontsize=9 if len(columns) <= 12 else 7, color="#000000" if light else "#ffffff" if known else INK,
            )  # fmt: skip
    axes.set_xticks([each + 0.5 for each in range(len(columns))], [_short(x, value) for value in columns])
    axes.set_yticks([each + 0.5 for each in range(len(rows))], [_short(y, value) for value in rows])
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.set_xlabel(LABELS[x])
    axes.set_ylabel(LABELS[y])
    return figure


def phases_of(results: Sequence[tuple[str, SynchronizeResult]]) -> Figure:
    """From the first frame sent to the last one arrived, for each phase; one panel for each named result."""
    figure = Figure(figsize=(WIDTH_INCHES, 0.7 + 2.1 * len(results)), layout="constrained")
    grid = figure.subplots(len(results), 1, squeeze=False, sharex=True)
    for axes, (name, result) in zip(grid.flat, results, strict=True):
        phases = result.phases[::-1]
        for row, phase in enumerate(phases):
            width = max(phase.last_arrived_s - phase.first_sent_s, 0.0)
            axes.barh(row, width, left=phase.first_sent_s, height=0.55, color=COLOURS[0])
        if result.seconds_to_quorum is not None:
            axes.axvline(result.seconds_to_quorum, color=COLOURS[1], linewidth=1.4)
        names = [f"{phase.phase} ({amount(phase.bytes)}, {phase.messages:,} frames)" for phase in phases]
        axes.set_yticks(range(len(phases)), names, fontsize=9)
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=True, axis="x")
        axes.grid(visible=False, axis="y")
        axes.set_title(name)
    last = max((phase.last_arrived_s for _, result in results for phase in result.phases), default=1.0)
    grid.flat[-1].set_xlim(0, last * 1.05 or 1.0)
    grid.flat[-1].set_xlabel("seconds since the client's first byte (vertical line: 2f + 1 replies)")
    return figure


def against_the_demo(panels: Sequence[tuple[str, Sequence[tuple[str, float, float | None, float | None]]]]) -> Figure:
    """Rows of (name, the Go demo's seconds, our seconds, bound), a panel for each bandwidth, on logarithmic axes."""
    rows = max(len(lines) for _, lines in panels)
    figure = Figure(figsize=(WIDTH_INCHES, 1.3 + 0.34 * rows), layout="constrained")
    grid = figure.subplots(1, len(panels), squeeze=False, sharey=True)
    for axes, (name, lines) in zip(grid.flat, panels, strict=True):
        for row, (_, theirs, ours, bound) in enumerate(lines):
            axes.plot(theirs, row, marker=MARKERS[1], color=COLOURS[1])
            if ours is not None:
                axes.plot([ours, theirs], [row, row], color=MUTED, linewidth=1, alpha=0.7, zorder=1)
                axes.plot(ours, row, marker=MARKERS[0], color=COLOURS[0])
            if bound:
                axes.plot(bound, row, marker="|", color=INK, markersize=11, markeredgewidth=1.4)
        number_axis(axes, "x", [time for line in lines for time in line[1:] if time])
        axes.set_title(name)
        axes.set_xlabel("seconds")
        axes.grid(visible=True, axis="x")
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
    names = max((lines for _, lines in panels), key=len)
    grid.flat[0].set_yticks(range(rows), [line[0] for line in names])
    grid.flat[0].set_ylim(rows - 0.5, -0.5)
    styles = [("our median", MARKERS[0], COLOURS[0]), ("Go demo", MARKERS[1], COLOURS[1]), ("lower bound", "|", INK)]
    handles = [Line2D([], [], linestyle="", marker=mark, color=colour, label=text) for text, mark, colour in styles]
    figure.legend(handles=handles, loc="outside upper left", ncols=3)
    return figure


def _short(axis: str, value: object) -> str:
    if axis == "bandwidth_mbps" and not value:
        return "no limit"
    return f"{value:,.10g}" if isinstance(value, int | float) else str(value)
