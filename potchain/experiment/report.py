"""One HTML page of a sweep: pictures, tables, what failed, and how to repeat it. It needs nothing but itself.

The page is a function of the outcomes and of the command that it is told: no time, no machine. Pictures are inline SVG
whose colours are CSS variables, so light and dark pages share them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from html import escape
from pathlib import Path

from potchain.experiment.cells import Cell, cells_of
from potchain.experiment.extra import require
from potchain.experiment.grid import POINT_KEYS
from potchain.experiment.seed_table import BANDWIDTHS_MBPS, Comparison, comparisons, is_table
from potchain.experiment.storage import RESULTS, SWEEP
from potchain.experiment.sweep import Outcome
from potchain.experiment.tables import TextTable, cell_table, comparison_table
from potchain.version import distribution_version

REPORT = "report.html"
PICTURES = "pictures"
ROWS_MAX = 2_000
"""Rows of a table on the page; the results file has all."""
FAILURES_MAX = 50
"""Failed points that are listed one by one."""
CELLS_DRAWN_MAX = 20_000
"""Cells that pictures are drawn of."""

_CSS = """
:root { color-scheme: light dark; --paper: #ffffff; --panel: #f4f6f8; }
@media (prefers-color-scheme: dark) { :root { --paper: #14181d; --panel: #1d232a; } }
body { font: 16px/1.55 system-ui, 'Segoe UI', Roboto, sans-serif; color: var(--ink); background: var(--paper);
       max-width: 62rem; margin: 2.5rem auto; padding: 0 1.25rem; }
h1 { font-size: 1.75rem; line-height: 1.2; margin-bottom: .25rem; } h2 { font-size: 1.25rem; margin-top: 2.75rem; }
figure { margin: 1.75rem 0; } figure svg { width: 100%; height: auto; }
figcaption { color: var(--muted); font-size: .9rem; } figcaption b { color: var(--ink); font-size: 1rem; }
.facts { color: var(--muted); margin-top: 0; }
.wide { overflow-x: auto; max-height: 40rem; border: 1px solid var(--grid); border-radius: 6px; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; width: 100%; }
th, td { padding: .35rem .7rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--grid); }
th { position: sticky; top: 0; background: var(--panel); font-weight: 600; }
tr:last-child td { border-bottom: 0; } tbody tr:hover { background: var(--panel); }
th.words, td.words { text-align: left; }
td.words.long { white-space: normal; }
pre { background: var(--panel); padding: .9rem 1.1rem; border-radius: 6px; overflow-x: auto; font-size: .875rem; }
@media print { .wide { max-height: none; } }
"""


def write_report(folder: Path, outcomes: Sequence[Outcome], title: str, command: str, sweep_text: str) -> Path:
    """Write the page and its pictures as files of their own into a folder; the page's path.

    `command`: what makes these results again. Raises ExperimentError when matplotlib is missing.
    """
    page, files = report(outcomes, title, command, sweep_text)
    if files:
        (folder / PICTURES).mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / PICTURES / f"{name}.svg").write_text(text, encoding="utf-8")
    draft = folder / f"{REPORT}.part"
    draft.write_text(page, encoding="utf-8")
    os.replace(draft, folder / REPORT)
    return folder / REPORT


def report(outcomes: Sequence[Outcome], title: str, command: str, sweep_text: str) -> tuple[str, dict[str, str]]:
    """The page, and its pictures as SVG files by name."""
    require("a report", "matplotlib")
    from potchain.experiment.plots.axes import LABELS, shown, value_of, varying
    from potchain.experiment.plots.selection import demo_picture, pictures
    from potchain.experiment.plots.style import alone, css

    cells = cells_of(outcomes)
    table = comparisons(outcomes) if is_table([cell.point for cell in cells]) else ()
    drawn = demo_picture(table, BANDWIDTHS_MBPS) if table else pictures(cells[:CELLS_DRAWN_MAX])
    axes = varying(cells)
    columns = [(LABELS[axis], [_plain(shown(axis, value_of(cell, axis))) for cell in cells]) for axis in axes]
    head = title or "Synchronisation times"
    parts = [
        f"<h1>{escape(head)}</h1>",
        f'<p class="facts">{escape(_facts(outcomes, cells))}</p>',
        f"<p>{escape(_fixed(cells, axes))}</p>" if cells else "",
        *(
            f"<figure>{each.svg}<figcaption><b>{escape(each.title)}</b><br>{escape(each.caption)}</figcaption></figure>"
            for each in drawn
        ),
        *(_comparison_parts(table) if table else ()),
        "<h2>All cells</h2>",
        _EXPLAINED,
        _table(cell_table(cells, columns)),
        *_failure_parts(outcomes),
        "<h2>How to repeat it</h2>",
        f"<pre>{escape(command)}</pre>",
        f"<p>With this as <code>{SWEEP}</code>:</p><pre>{escape(sweep_text)}</pre>" if sweep_text else "",
        f"<p>Every single run, with its phases, is in <code>{RESULTS}</code>.</p>",
    ]
    page = (
        f'<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{escape(head)}</title>'
        f"<style>{css(':root')}{_CSS}</style></head>\n<body>\n"
        + "\n".join(filter(None, parts))
        + "\n</body>\n</html>\n"
    )
    return page, {each.name: alone(each.svg) for each in drawn}


_EXPLAINED = (
    "<p>Times run from the client's first byte to its 2f + 1-th equal reply; the median and the range are over the "
    "seeds. The bound is what bandwidth and latency of the links alone imply for this dissemination.</p>"
)


def _facts(outcomes: Sequence[Outcome], cells: Sequence[Cell]) -> str:
    modes = ", ".join(sorted({cell.point.mode for cell in cells}))
    failures = sum(bool(outcome.error) for outcome in outcomes)
    failed = f", {failures:,} failed" if failures else ""
    return (
        f"{len(outcomes):,} points in {len(cells):,} cells{failed}; mode {modes or 'unknown'}; "
        f"potchain {distribution_version()}"
    )


def _fixed(cells: Sequence[Cell], axes: Sequence[str]) -> str:
    """What all cells share, in words."""
    from potchain.experiment.plots.axes import FAULT, NO_FAULT, fault_of, shown, value_of

    words = [text.format(shown(axis, value_of(cells[0], axis))) for axis, text in _SHARED.items() if axis not in axes]
    faults = {FAULT, "loss"} & set(axes)
    if not faults and (fault := fault_of(cells[0].point)) != NO_FAULT:
        words.append(fault)
    return f"The same everywhere: {', '.join(words)}."


_SHARED = {
    "nodes": "{}",
    "transactions": "{}",
    "transaction_bytes": "of {}",
    "payload": "{} payload",
    "bandwidth_mbps": "bandwidth {}",
    "bandwidth_model": "bandwidth {}",
    "latency_ms": "latency {}",
    "distribution": "{} distribution",
    "engine": "engine {}",
    "dissemination": "{} dissemination",
    "mode": "mode {}",
    "megabit": "megabits of {}",
}
"""How a field that does not vary is told."""


def _comparison_parts(table: Sequence[Comparison]) -> list[str]:
    parts = []
    for model in sorted({cell.bandwidth_model for cell in table}):
        words = "for each link" if model == "per_link" else "shared by the links of a node"
        rows = [cell for cell in table if cell.bandwidth_model == model]
        parts += [f"<h2>Our times and the Go demo's: bandwidth {words}</h2>", _table(comparison_table(rows))]
    return parts


def _failure_parts(outcomes: Sequence[Outcome]) -> list[str]:
    failures = [outcome for outcome in outcomes if outcome.error]
    if not failures:
        return []
    rows = []
    default = type(failures[0].point)()
    for outcome in failures[:FAILURES_MAX]:
        fields = {key: getattr(outcome.point, key) for key in (*POINT_KEYS, "seed")}
        changed = [f"{key} = {value}" for key, value in fields.items() if value != getattr(default, key)]
        rows.append((", ".join(changed), outcome.error))
    more = f"<p>and {len(failures) - FAILURES_MAX:,} more</p>" if len(failures) > FAILURES_MAX else ""
    return ["<h2>Failed</h2>", _table(TextTable(("point", "error"), tuple(rows))), more]


def _table(table: TextTable) -> str:
    words = [table.has_words(column) for column in range(len(table.header))]

    def line(tag: str, cells: Sequence[str]) -> str:
        shown = zip(cells, words, strict=True)
        inner = "".join(f"<{tag}{_CLASS[is_words, len(text) > 60]}>{escape(text)}</{tag}>" for text, is_words in shown)
        return f"<tr>{inner}</tr>"

    body = "\n".join(line("td", row) for row in table.rows[:ROWS_MAX])
    more = len(table.rows) - ROWS_MAX
    note = f"<p>The first {ROWS_MAX:,} rows; the other {more:,} are in the results file.</p>" if more > 0 else ""
    return (
        f'<div class="wide"><table><thead>{line("th", table.header)}</thead>\n<tbody>{body}</tbody></table></div>{note}'
    )


_CLASS = {
    (True, True): ' class="words long"', (True, False): ' class="words"', (False, True): "", (False, False): "",
}  # fmt: skip


def _plain(text: str) -> str:
    """A value for a column whose head says what it is and in which unit: "n = 10" is 10 there."""
    for unit in (" transactions", " bytes", " Mbps", " ms", "% loss"):
        text = text.removesuffix(unit)
    return text.removeprefix("n = ")
