"""How pictures look: ink, colours that keep apart for all eyes, and SVG for light and dark pages.

A picture is drawn once, with the colours of a light page. In the SVG each of them becomes a CSS variable with that
colour as its fallback, so a page (or the picture itself, when it is looked at alone) can give the dark ones. The same
numbers give the same bytes: ids come from a fixed salt, and no date is written.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING, Any

import matplotlib
import msgspec

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, GRID = "#1b2027", "#5a6572", "#d5dae0"
COLOURS = ("#0b62a4", "#c64f08", "#00795a", "#94468f", "#7d6200", "#b3264a", "#3d6d78", "#4b5563")
"""On white, each at least 4.5 : 1; series differ in their marker, too."""
DARK = {
    INK: "#e8ebef", MUTED: "#a3adb8", GRID: "#3a424c",
    COLOURS[0]: "#6db5f7", COLOURS[1]: "#ff9b5c", COLOURS[2]: "#4fd0a4", COLOURS[3]: "#dc9fe0",
    COLOURS[4]: "#e2c34a", COLOURS[5]: "#ff8fa5", COLOURS[6]: "#8fc7d3", COLOURS[7]: "#b6c0cc",
}  # fmt: skip
NAMES = {INK: "--ink", MUTED: "--muted", GRID: "--grid"} | {
    colour: f"--c{number}" for number, colour in enumerate(COLOURS, start=1)
}
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
WIDTH_INCHES = 8.2
"""Of every picture; a page scales it."""

_PARAMETERS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "font.size": 10.0,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlesize": 10.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "lines.linewidth": 1.8,
    "lines.markersize": 6.0,
}
_FONT = "'DejaVu Sans'"
_FONTS = f"system-ui, 'Segoe UI', Roboto, {_FONT}, sans-serif"
_IDENTIFIER = re.compile(r'\bid="|(?<=href="#)|(?<=url\(#)')


class Picture(msgspec.Struct, frozen=True, kw_only=True):
    """One picture of a report."""

    name: str
    """Of its file, without the ending; unique in its report."""
    title: str
    caption: str
    svg: str


@contextmanager
def our_style() -> Iterator[None]:
    """Draw in our style, whatever the user's own settings are."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_PARAMETERS)
        yield


def svg_of(figure: Figure, name: str, title: str) -> str:
    """The picture as SVG text. `name` goes into its ids, so that several can stand in one page; `title` is what a
    screen reader says."""
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace("<svg ", f'<svg role="img" aria-label="{escape(title)}" ', 1)
    text = _IDENTIFIER.sub(lambda found: f"{found.group()}{name}-", text)
    text = text.replace(_FONT, _FONTS)
    for colour, variable in NAMES.items():
        text = re.sub(rf"(?<=: ){colour}\b", f"var({variable}, {colour})", text)
    return text


def alone(svg: str) -> str:
    """An SVG file that brings its dark colours itself."""
    head = '<?xml version="1.0" encoding="utf-8"?>\n'
    start = svg.index(">") + 1
    return f"{head}{svg[:start]}\n<style>{css('svg')}</style>{svg[start:]}"


def css(where: str) -> str:
    """The variables of all colours, for light and dark."""
    light = " ".join(f"{variable}: {colour};" for colour, variable in NAMES.items())
    dark = " ".join(f"{variable}: {DARK[colour]};" for colour, variable in NAMES.items())
    return f"{where} {{ {light} }} @media (prefers-color-scheme: dark) {{ {where} {{ {dark} }} }}"


def legend_columns(labels: list[str]) -> int:
    """As many side by side as fit over a picture."""
    if sum(len(label) + 7 for label in labels) <= 110:
        return max(len(labels), 1)
    return max(1, 110 // (max(map(len, labels)) + 7))


def number_axis(
    axes: Axes, which: str, values: list[float], *, ticks: list[float] | None = None, room: float = 1.25
) -> None:
    """Logarithmic where the values span much, else from zero; plain numbers instead of powers of ten. `room`: how far
    a logarithmic axis goes beyond its values."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

    axis = axes.xaxis if which == "x" else axes.yaxis
    wide = min(values) > 0 and max(values) / min(values) >= 8
    scale, limits = (axes.set_xscale, axes.set_xlim) if which == "x" else (axes.set_yscale, axes.set_ylim)
    if wide:
        scale("log")
        limits(min(values) / room, max(values) * room)
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if max(values) / min(values) < 200 else (1,)))
        axis.set_minor_formatter(NullFormatter())
    elif ticks is None:
        limits(0, max(values) * 1.08 or 1)
    if ticks is not None and len(ticks) <= 10:
        axis.set_major_locator(FixedLocator(ticks))
    if wide or ticks is not None:
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
