"""The call that researchers know: hand transactions to a network under given conditions, and get the time it took."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral, Real
from typing import Literal, get_args, get_type_hints

import msgspec

from potchain.errors import ExperimentError
from potchain.experiment.grid import with_tolerated
from potchain.experiment.point import MEGABIT, Dissemination, Mode, Payload, Point
from potchain.experiment.result import SynchronizeResult

WANTED = {int: "a whole number", float: "a number", str: "a text"}
"""What a field of that type takes, in words."""


def synchronize(
    nodes: int = 4,
    transactions: int = 100,
    transaction_bytes: int = 315,
    bandwidth_mbps: float = 0.0,
    latency_ms: float = 0.0,
    model: Literal["per_link", "shared"] = "per_link",
    seed: int = 1,
    *,
    mode: Mode = "virtual",
    engine: str = "fpbft",
    payload: Payload = "opaque",
    dissemination: Dissemination = "plain",
    distribution: Literal["constant", "uniform"] = "uniform",
    loss: float = 0.0,
    crashed: int | Literal["f"] = 0,
    slow_primary_ms: float = 0.0,
    megabit: int = MEGABIT,
) -> SynchronizeResult:
    """Measure one point; the fields of `Point` say what the arguments mean. `model` is whose the bandwidth is,
    and `crashed="f"` as many as n tolerates.

    Both conditions at 0 give plain PBFT. Raises ExperimentError for values that make no sense.

    >>> result = synchronize(4, 10, latency_ms=20)
    >>> 0.01 < result.seconds_to_quorum < 0.1
    True
    """
    fields: dict[str, object] = {
        "nodes": nodes,
        "transactions": transactions,
        "transaction_bytes": transaction_bytes,
        "payload": payload,
        "bandwidth_mbps": bandwidth_mbps,
        "bandwidth_model": model,
        "latency_ms": latency_ms,
        "distribution": distribution,
        "loss": loss,
        "engine": engine,
        "dissemination": dissemination,
        "crashed": crashed,
        "slow_primary_ms": slow_primary_ms,
        "mode": mode,
        "megabit": megabit,
        "seed": seed,
    }
    return synchronize_point(_point_of(fields, {"bandwidth_model": "model"}))


def synchronize_point(point: Point) -> SynchronizeResult:
    """Measure a point in its mode. Raises ExperimentError."""
    point = _point_of(msgspec.structs.asdict(point), {}).checked()
    # Each mode brings libraries of its own; what is not asked for is not loaded.
    if point.mode == "live":
        from potchain.experiment.live import measure_live

        return measure_live(point)
    if point.mode == "virtual":
        from potchain.experiment.virtual import measure_virtual

        return measure_virtual(point)
    from potchain.experiment.model import measure_model

    return measure_model(point)


def _point_of(fields: Mapping[str, object], renamed: Mapping[str, str]) -> Point:
    """A point of values of any type, not checked further. `renamed`: what the caller calls a field, where not so."""
    wanted = with_tolerated({key: _plain(value) for key, value in fields.items()})
    try:
        return msgspec.convert(wanted, Point, strict=True)
    except msgspec.ValidationError as fault:
        key = str(fault).rpartition("$.")[2].rstrip("`")
        hint = get_type_hints(Point)[key]
        choices = get_args(hint)
        possible = f"possible are {', '.join(map(repr, choices))}" if choices else f"it must be {WANTED[hint]}"
        more = ", or 'f' for as many as n tolerates" if key == "crashed" else ""
        raise ExperimentError(f"{renamed.get(key, key)} is {wanted[key]!r}; {possible}{more}") from None


def _plain(value: object) -> object:
    """Numbers of other libraries, such as numpy's, as Python's own."""
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, Integral):
        return int(value)
    return float(value) if isinstance(value, Real) else value
