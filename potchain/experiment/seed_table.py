"""The table of the Go demo whose system we re-create, measured again: the same cells, under equal conditions.

Its conditions: bandwidth for each link, a megabit of 2^20 bits, a latency for each message uniform in [30, 300] ms, 315
bytes a transaction, time from the client's first byte to its 2f + 1-th reply. Its times are those of its own code, run
again on a machine of two cores (its published row "5,000" at 0.1 Mbps is 500 in its code). Cells that it has no time
for are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from potchain.experiment.cells import Cell, cells_of
from potchain.experiment.point import MEGABIT_OF_THE_SEED, Dissemination, Mode, Payload, Point
from potchain.experiment.sweep import Outcome

LATENCY_MS = 300.0
TRANSACTION_BYTES = 315
BANDWIDTHS_MBPS = (0.1, 30.0, 125.0)
GO_DEMO_SECONDS: tuple[tuple[int, int, tuple[float | None, float | None, float | None]], ...] = (
    (100, 10, (8.84, 1.59, 1.61)),
    (100, 30, (9.00, 1.73, 1.72)),
    (1_000, 30, (74.7, 1.74, 1.75)),
    (100, 50, (9.26, 2.03, 2.06)),
    (200, 50, (16.6, 2.21, 1.92)),
    (500, 50, (38.9, 1.89, 1.89)),
    (5_000, 50, (None, 3.68, 3.26)),
    (10_000, 50, (None, 5.3, 3.15)),
)
"""Transactions, nodes, and its seconds at each of the bandwidths."""


class TableOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What may be chosen; all else is the demo's."""

    mode: Mode = "virtual"
    payload: Payload = "opaque"
    bandwidth_model: Literal["per_link", "shared"] = "per_link"
    dissemination: Dissemination = "plain"
    engine: str = "fpbft"
    seeds: tuple[int, ...] = tuple(range(1, 21))


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """One cell: theirs, ours, and what the links imply. Times in seconds; None: not reached, or not known."""

    transactions: int
    nodes: int
    bandwidth_mbps: float
    bandwidth_model: str
    go_demo_s: float
    median_s: float | None
    low_s: float | None
    high_s: float | None
    ratio: float | None
    """Their time over ours."""
    bound_s: float | None
    over_bound: float | None
    """Our time over the bound."""
    cpu_s: float | None
    seeds: int
    """Runs that the median is of."""
    failed: int


def table_points(options: TableOptions) -> tuple[Point, ...]:
    """The points of the table. Raises ExperimentError when one is not possible."""
    return tuple(
        Point(
            nodes=nodes,
            transactions=transactions,
            transaction_bytes=TRANSACTION_BYTES,
            payload=options.payload,
            bandwidth_mbps=bandwidth,
            bandwidth_model=options.bandwidth_model,
            latency_ms=LATENCY_MS,
            distribution="uniform",
            engine=options.engine,
            dissemination=options.dissemination,
            mode=options.mode,
            megabit=MEGABIT_OF_THE_SEED,
            seed=seed,
        ).checked()
        for transactions, nodes, row in GO_DEMO_SECONDS
        for bandwidth, theirs in zip(BANDWIDTHS_MBPS, row, strict=True)
        if theirs is not None
        for seed in options.seeds
    )


def comparisons(outcomes: Iterable[Outcome]) -> tuple[Comparison, ...]:
    """Every cell of the table that the outcomes have, in its order; what is no cell of it is left out."""
    cells: dict[tuple[int, int, float], list[Cell]] = {}
    for cell in cells_of(outcomes):
        cells.setdefault((cell.point.transactions, cell.point.nodes, cell.point.bandwidth_mbps), []).append(cell)
    return tuple(
        _comparison(cell, theirs)
        for transactions, nodes, row in GO_DEMO_SECONDS
        for bandwidth, theirs in zip(BANDWIDTHS_MBPS, row, strict=True)
        if theirs is not None
        for cell in cells.get((transactions, nodes, bandwidth), ())
    )


def is_table(points: Sequence[Point]) -> bool:
    """Whether these are points of the table and nothing else."""
    places = {
        (transactions, nodes, bandwidth) for transactions, nodes, _ in GO_DEMO_SECONDS for bandwidth in BANDWIDTHS_MBPS
    }
    return bool(points) and all(
        (point.transactions, point.nodes, point.bandwidth_mbps) in places
        and (point.megabit, point.latency_ms) == (MEGABIT_OF_THE_SEED, LATENCY_MS)
        for point in points
    )


def _comparison(cell: Cell, theirs: float) -> Comparison:
    return Comparison(
        transactions=cell.point.transactions,
        nodes=cell.point.nodes,
        bandwidth_mbps=cell.point.bandwidth_mbps,
        bandwidth_model=cell.point.bandwidth_model,
        go_demo_s=theirs,
        median_s=cell.median_s,
        low_s=cell.low_s,
        high_s=cell.high_s,
        ratio=theirs / cell.median_s if cell.median_s else None,
        bound_s=cell.bound_s,
        over_bound=cell.over_bound,
        cpu_s=cell.cpu_s,
        seeds=len(cell.results),
        failed=cell.failed,
    )
