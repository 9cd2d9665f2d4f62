"""What modes "live" and "virtual" share: a run without log and garbage collection, and what comes of it."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from potchain.experiment.bound import bound
from potchain.experiment.lab.client import Times
from potchain.experiment.lab.node import LabNode
from potchain.experiment.lab.traffic import Traffic
from potchain.experiment.point import Point
from potchain.experiment.result import SynchronizeResult
from potchain.logs import without_logs
from potchain.primitives import NS_PER_S

COLLECT_AFTER = 200_000
"""Objects between two runs of the garbage collector: there is little garbage in cycles, and much that lives on."""


def result_of(
    point: Point,
    began_ns: int,
    times: Times,
    traffic: Traffic,
    nodes: Sequence[LabNode],
    cpu_seconds: float | None,
) -> SynchronizeResult:
    """The result of a run that began, with the client's first byte, at `began_ns`."""

    def seconds(moment_ns: int | None) -> float | None:
        return None if moment_ns is None else (moment_ns - began_ns) / NS_PER_S

    return SynchronizeResult(
        point=point,
        seconds_to_weak_quorum=seconds(times.weak_quorum_ns),
        seconds_to_quorum=seconds(times.quorum_ns),
        seconds_to_all=seconds(times.all_executed_ns),
        bound_seconds=bound(point),
        phases=traffic.phases(),
        messages_sent=traffic.frames,
        bytes_sent=traffic.size_bytes,
        most_sent_by_a_node_bytes=traffic.most_by_a_node,
        blocks=times.blocks,
        views=max(node.view for node in nodes),
        cpu_seconds=cpu_seconds,
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Nodes of an experiment write no log, and the garbage collector runs seldom."""
    threshold = gc.get_threshold()
    gc.set_threshold(COLLECT_AFTER, 50, 50)
    try:
        with without_logs():
            yield
    finally:
        gc.set_threshold(*threshold)
