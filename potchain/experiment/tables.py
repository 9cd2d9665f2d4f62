"""Results as rows of text, for the terminal and for the report alike: all words and units in one place."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from potchain.experiment.cells import Cell
from potchain.experiment.result import SynchronizeResult
from potchain.experiment.seed_table import Comparison

UNKNOWN = "-"


class TextTable(msgspec.Struct, frozen=True):
    """A header, and rows of the same width."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def has_words(self, column: int) -> bool:
        """Whether a column holds words, which stand on the left, and not numbers."""
        return any(not row[column][:1].isdigit() and row[column][:1] not in "+-" for row in self.rows)

    def lines(self) -> list[str]:
        """For the terminal."""
        shown = [self.header, *self.rows]
        columns = range(len(self.header))
        widths = [max(len(line[column]) for line in shown) for column in columns]
        words = [self.has_words(column) for column in columns]
        return [
            "  ".join(
                cell.ljust(width) if left else cell.rjust(width)
                for cell, width, left in zip(line, widths, words, strict=True)
            ).rstrip()
            for line in shown
        ]


def seconds(value: float | None) -> str:
    """Three digits, "-" when it is not known."""
    if value is None:
        return UNKNOWN
    return f"{value:#.3g}".removesuffix(".") if value < 1_000 else f"{value:,.0f}"


def amount(size_bytes: float | None) -> str:
    """Bytes in words: "3.15 MB"."""
    if size_bytes is None:
        return UNKNOWN
    for unit, scale in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size_bytes >= scale:
            return f"{size_bytes / scale:.3g} {unit}"
    return f"{size_bytes:.0f} bytes"


def result_rows(result: SynchronizeResult) -> list[tuple[str, str]]:
    """One result: names and values."""
    over = None
    if result.bound_seconds and result.seconds_to_quorum:
        over = f"{100 * (result.seconds_to_quorum / result.bound_seconds - 1):.1f}% over it"
    bound = f"{seconds(result.bound_seconds)} s" if result.bound_seconds is not None else UNKNOWN
    rows = [
        ("mode", result.point.mode),
        ("to f + 1 replies", _reached(result.seconds_to_weak_quorum)),
        ("to 2f + 1 replies", _reached(result.seconds_to_quorum)),
        ("until all nodes have it", _reached(result.seconds_to_all)),
        ("lower bound of the links", f"{bound} ({over})" if over else bound),
        ("messages", f"{result.messages_sent:,}"),
        ("bytes", amount(result.bytes_sent)),
        ("most by one node", amount(result.most_sent_by_a_node_bytes)),
        ("blocks", str(result.blocks)),
        ("view changes", str(result.views)),
    ]
    if result.cpu_seconds is not None:
        rows.append(("CPU", f"{seconds(result.cpu_seconds)} s"))
    return rows


def phase_table(result: SynchronizeResult) -> TextTable:
    """The phases of one result."""
    return TextTable(
        ("phase", "frames", "bytes", "first sent (s)", "last arrived (s)"),
        tuple(
            (each.phase, f"{each.messages:,}", amount(each.bytes),
             f"{each.first_sent_s:.3f}", f"{each.last_arrived_s:.3f}")
            for each in result.phases
        ),
    )  # fmt: skip


def cell_table(cells: Sequence[Cell], axes: Sequence[tuple[str, Sequence[str]]]) -> TextTable:
    """A row for each cell. `axes`: names of the columns that tell cells apart, and their values by cell."""
    names = ("seeds", "median (s)", "range (s)", "bound (s)", "over bound", "to f + 1 (s)", "to all (s)", "messages",
             "bytes", "most by one node", "CPU (s)", "failed")  # fmt: skip
    rows = []
    for number, cell in enumerate(cells):
        results = cell.results
        whole = len(results) or 1
        rows.append((
            *(values[number] for _, values in axes),
            str(len(results)),
            seconds(cell.median_s),
            spread(cell.low_s, cell.high_s, len(results)),
            seconds(cell.bound_s),
            over_bound(cell.over_bound),
            seconds(cell.weak_quorum_s),
            seconds(cell.all_s),
            f"{sum(result.messages_sent for result in results) // whole:,}",
            amount(sum(result.bytes_sent for result in results) / whole),
            amount(max((result.most_sent_by_a_node_bytes for result in results), default=None)),
            seconds(cell.cpu_s),
            str(cell.failed or UNKNOWN),
        ))  # fmt: skip
    return without_empty(TextTable((*(name for name, _ in axes), *names), tuple(rows)))


def comparison_table(cells: Sequence[Comparison]) -> TextTable:
    """Our times beside the Go demo's."""
    header = ("transactions", "nodes", "Mbps", "Go demo (s)", "ours (s)", "range (s)", "times faster", "bound (s)",
              "over bound", "CPU (s)", "failed")  # fmt: skip
    rows = tuple(
        (
            f"{cell.transactions:,}",
            str(cell.nodes),
            f"{cell.bandwidth_mbps:g}",
            seconds(cell.go_demo_s),
            seconds(cell.median_s),
            spread(cell.low_s, cell.high_s, cell.seeds),
            UNKNOWN if cell.ratio is None else f"{cell.ratio:.2f}",
            seconds(cell.bound_s),
            over_bound(cell.over_bound),
            seconds(cell.cpu_s),
            str(cell.failed or UNKNOWN),
        )
        for cell in cells
    )
    return without_empty(TextTable(header, rows))


def spread(low: float | None, high: float | None, runs: int) -> str:
    """From the fastest run to the slowest; open when one did not come to its end, nothing when there is one run."""
    if low is None or runs < 2:
        return UNKNOWN
    return f"{seconds(low)} to {seconds(high)}" if high is not None else f"from {seconds(low)}"


def over_bound(ratio: float | None) -> str:
    """How much longer than the bound, in percent."""
    return UNKNOWN if ratio is None else f"{100 * (ratio - 1):+.1f}%"


def without_empty(table: TextTable) -> TextTable:
    """The table without columns in which nothing is known."""
    kept = [
        column
        for column in range(len(table.header))
        if not table.rows or any(row[column] != UNKNOWN for row in table.rows)
    ]
    return TextTable(
        tuple(table.header[column] for column in kept),
        tuple(tuple(row[column] for column in kept) for row in table.rows),
    )


def _reached(value: float | None) -> str:
    return "not within the time limit" if value is None else f"{seconds(value)} s"
