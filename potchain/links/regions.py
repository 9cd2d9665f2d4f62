"""A table of latencies between regions, as text: what people keep in a file.

    # comment
    region,eu,us
    eu,0.5,40
    us,42,0.5

Row: sender; column: receiver; cells: one-way latency in ms, so half of a round trip. The first cell of the header is
free.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from potchain.errors import LinkError
from potchain.tables import nearest_hint

REGIONS_MAX = 1_000
MATRIX_CHARACTERS_MAX = 16 * 1024 * 1024


class RegionMatrix(msgspec.Struct, frozen=True):
    """One-way latencies between regions."""

    latencies_ms: Mapping[tuple[str, str], float]
    """By sender and receiver, all pairs; ranges are not checked here."""
    names: tuple[str, ...]


def parse_matrix(text: str) -> RegionMatrix:
    """Raises LinkError for a table that is not square, has a region twice, or a cell that is no number."""
    if len(text) > MATRIX_CHARACTERS_MAX:
        raise LinkError(f"region_matrix has {len(text)} characters; at most {MATRIX_CHARACTERS_MAX} are read")
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    rows = [(number, [cell.strip() for cell in line.split(",")]) for number, line in lines if line and line[0] != "#"]
    if not rows:
        raise LinkError("region_matrix is empty; its header is a comma and region names, its rows a name and latencies")
    names = tuple(rows[0][1][1:])
    if not names or "" in names or len(set(names)) < len(names) or len(names) > REGIONS_MAX:
        raise LinkError(
            f"region_matrix, line {rows[0][0]}: the header names {len(names)} regions; from 1 to {REGIONS_MAX} are "
            "wanted, each once, behind a first cell that is free"
        )
    latencies_ms: dict[tuple[str, str], float] = {}
    for number, (name, *cells) in rows[1:]:
        where = f"region_matrix, line {number}"
        if name not in names or (name, names[0]) in latencies_ms:
            wrong = "stands twice" if name in names else f"is not in the header ({nearest_hint(name, names)})"
            raise LinkError(f"{where}: region {name!r} {wrong}")
        if len(cells) != len(names):
            raise LinkError(f"{where}: {len(cells)} latencies for {len(names)} regions; the table must be square")
        for receiver, cell in zip(names, cells, strict=True):
            latencies_ms[name, receiver] = _number(cell, f"{where}: {name} to {receiver}")
    missing = [name for name in names if (name, names[0]) not in latencies_ms]
    if missing:
        raise LinkError(f"region_matrix has no row for {missing[0]!r}; the table must be square")
    return RegionMatrix(latencies_ms, names)


def _number(cell: str, where: str) -> float:
    try:
        return float(cell)
    except ValueError:
        raise LinkError(f"{where} is {cell!r}; a latency in ms is wanted, such as 41.5") from None
