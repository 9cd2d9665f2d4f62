"""The call that researchers know: hand transactions to a network under given conditions, and get the time it took."""

from __future__ import annotations

from typing import Literal

from potchain.experiment.point import MEGABIT, Dissemination, Mode, Payload, Point
from potchain.experiment.result import SynchronizeResult


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
    crashed: int = 0,
    slow_primary_ms: float = 0.0,
    megabit: int = MEGABIT,
) -> SynchronizeResult:
    """Measure one point; the fields of `Point` say what the arguments mean. `model` is whose the bandwidth is.

    Both conditions at 0 give plain PBFT. Raises ExperimentError for values that make no sense.

    >>> result = synchronize(4, 10, latency_ms=20)
    >>> 0.01 < result.seconds_to_quorum < 0.1
    True
    """
    return synchronize_point(
        Point(
            nodes=nodes,
            transactions=transactions,
            transaction_bytes=transaction_bytes,
            payload=payload,
            bandwidth_mbps=bandwidth_mbps,
            bandwidth_model=model,
            latency_ms=latency_ms,
            distribution=distribution,
            loss=loss,
            engine=engine,
            dissemination=dissemination,
            crashed=crashed,
            slow_primary_ms=slow_primary_ms,
            mode=mode,
            megabit=megabit,
            seed=seed,
        )
    )


def synchronize_point(point: Point) -> SynchronizeResult:
    """Measure a point in its mode. Raises ExperimentError."""
    point = point.checked()
    # Each mode brings libraries of its own; what is not asked for is not loaded.
    if point.mode == "live":
        from potchain.experiment.live import measure_live

        return measure_live(point)
    if point.mode == "virtual":
        from potchain.experiment.virtual import measure_virtual

        return measure_virtual(point)
    from potchain.experiment.model import measure_model

    return measure_model(point)
