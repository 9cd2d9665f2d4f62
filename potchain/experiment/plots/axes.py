"""The axes of a set of cells: which fields vary, and how their values are called.

`crashed`, `slow_primary_ms` and `loss` are one axis, "fault", with values such as "f crashed" and "5% loss", unless
loss alone varies, over three values or more: then it is a number like others.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import get_args, get_type_hints

from potchain.consensus.quorum import Quorum
from potchain.experiment.cells import Cell
from potchain.experiment.grid import POINT_KEYS, Value
from potchain.experiment.point import Point

FAULT = "fault"
FAULT_FIELDS = ("crashed", "slow_primary_ms", "loss")
NO_FAULT = "no fault"

LABELS = {
    "nodes": "nodes (n)",
    "transactions": "transactions",
    "transaction_bytes": "bytes per transaction",
    "payload": "payload",
    "bandwidth_mbps": "bandwidth (Mbps)",
    "bandwidth_model": "bandwidth model",
    "latency_ms": "latency (ms)",
    "distribution": "distribution of latency",
    "loss": "frames lost (%)",
    "engine": "engine",
    "dissemination": "dissemination",
    "mode": "mode",
    "megabit": "bits in a megabit",
    FAULT: "fault",
}
"""Words for an axis of a picture and for a column of a table."""


def varying(cells: Sequence[Cell]) -> tuple[str, ...]:
    """Axes with two values or more."""
    fields = [field for field in POINT_KEYS if len({getattr(cell.point, field) for cell in cells}) > 1]
    faults = [field for field in FAULT_FIELDS if field in fields]
    if faults and not (faults == ["loss"] and len({cell.point.loss for cell in cells}) > 2):
        fields = [field for field in fields if field not in FAULT_FIELDS] + [FAULT]
    return tuple(fields)


def value_of(cell: Cell, axis: str) -> Value:
    """Where a cell stands on an axis."""
    if axis == FAULT:
        return fault_of(cell.point)
    value: Value = getattr(cell.point, axis)
    return value


def values_on(cells: Iterable[Cell], axis: str) -> list[Value]:
    """All values on an axis: numbers ascending, no limit last; words as `Point` lists them, no fault first."""
    return sorted({value_of(cell, axis) for cell in cells}, key=lambda value: _rank(axis, value))


def shown(axis: str, value: Value) -> str:
    """A value in words, with its unit: "n = 10", "25 Mbps", "1,000 transactions"."""
    match axis, value:
        case "nodes", _:
            return f"n = {value}"
        case "transactions", int():
            return f"{value:,} transactions"
        case "transaction_bytes", _:
            return f"{value} bytes"
        case "bandwidth_mbps", int() | float():
            return f"{value:g} Mbps" if value else "no limit"
        case "latency_ms", int() | float():
            return f"{value:g} ms" if value else "no latency"
        case "loss", int() | float():
            return f"{100 * value:g}% loss"
        case "bandwidth_model", "per_link":
            return "per link"
        case "megabit", _:
            return "2^20 bits" if value == 2**20 else "10^6 bits"
    return str(value)


def fault_of(point: Point) -> str:
    """What is wrong in a point, in words."""
    faults = []
    if point.crashed:
        every = point.crashed == Quorum(point.nodes).faults_max
        faults.append("f crashed" if every else f"{point.crashed} crashed")
    if point.slow_primary_ms:
        faults.append(f"slow primary ({point.slow_primary_ms:g} ms)")
    if point.loss:
        faults.append(shown("loss", point.loss))
    return ", ".join(faults) or NO_FAULT


def described(cell: Cell, axes: Iterable[str]) -> str:
    """Where a cell stands on some axes."""
    return ", ".join(shown(axis, value_of(cell, axis)) for axis in axes)


def _rank(axis: str, value: Value) -> tuple[bool, int, Value]:
    unlimited = axis == "bandwidth_mbps" and not value
    named = get_args(get_type_hints(Point)[axis]) if axis != FAULT else (NO_FAULT, value)
    return unlimited, named.index(value) if value in named else 0, value
