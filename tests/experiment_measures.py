"""Measurements without a network, for tests of sweeps: pure functions of the point, importable in worker processes."""

import os
from hashlib import blake2b

import msgspec

from potchain.errors import ExperimentError, InvalidTransaction
from potchain.experiment.point import Point
from potchain.experiment.result import PhaseTraffic, SynchronizeResult

PHASES = ("submit", "bodies", "pre-prepare", "prepare", "commit", "block-vote")


def draw(point: Point) -> float:
    """From 0 to below 1, from everything that the point says."""
    return int.from_bytes(blake2b(msgspec.json.encode(point), digest_size=6).digest(), "big") / 2**48


def made_up(point: Point) -> SynchronizeResult:
    """Times of about the right size: payload hops over the bandwidth, three latencies, and a draw."""
    size = point.transactions * point.transaction_bytes * 8
    hop_s = size / (point.bandwidth_mbps * point.megabit) if point.bandwidth_mbps else 0.0
    hop_s *= {"plain": 1.0, "multicast": 1.0, "tree": 1.1}.get(point.dissemination, 3 / point.nodes)
    if point.bandwidth_model == "shared":
        hop_s *= point.nodes
    bound_s = hop_s + 4e-3 * point.latency_ms + 0.002
    seconds = bound_s * (1.01 + 0.08 * draw(point) + point.nodes / 2_000) / (1 - point.loss) ** 2
    seconds += point.slow_primary_ms / 100 + 0.05 * point.crashed
    width = seconds / len(PHASES)
    phases = tuple(
        PhaseTraffic(
            phase=phase,
            messages=point.nodes * (number + 1),
            bytes=size // 8 * point.nodes if phase == "bodies" else 300 * point.nodes,
            first_sent_s=number * width,
            last_arrived_s=(number + 1.6) * width,
        )
        for number, phase in enumerate(PHASES)
    )
    return SynchronizeResult(
        point=point,
        seconds_to_weak_quorum=seconds * 0.98,
        seconds_to_quorum=seconds if draw(point) < 0.995 else None,
        seconds_to_all=seconds * 1.03,
        bound_seconds=bound_s,
        phases=phases,
        messages_sent=sum(phase.messages for phase in phases),
        bytes_sent=sum(phase.bytes for phase in phases),
        most_sent_by_a_node_bytes=size // 8 * (point.nodes - 1),
        blocks=1,
        views=int(point.slow_primary_ms > 0),
        cpu_seconds=0.5 + draw(point) if point.mode == "live" else None,
    )


def sometimes_failing(point: Point) -> SynchronizeResult:
    """Seed 2 is refused, with an error that cannot be pickled; seed 3 is a bug."""
    if point.seed == 2:
        raise InvalidTransaction("too_big", f"seed {point.seed}\nis refused")
    if point.seed == 3:
        raise ZeroDivisionError
    return made_up(point)


def sometimes_deadly(point: Point) -> SynchronizeResult:
    """Seed 2 ends its process."""
    if point.seed == 2:
        os._exit(9)
    return made_up(point)


def never_called(point: Point) -> SynchronizeResult:
    """For points that are all done."""
    raise ExperimentError(f"measured again: {point}")


def endless(point: Point) -> SynchronizeResult:
    """Seed 2 takes for ever."""
    while point.seed == 2:
        os.sched_yield()
    return made_up(point)


def alone_on_this_machine(point: Point) -> SynchronizeResult:
    """Holds a lock file while it runs; whoever finds it held by another one fails."""
    lock = os.open(os.environ["POTCHAIN_TEST_LOCK"], os.O_CREAT | os.O_EXCL)
    try:
        for _ in range(20_000):
            os.sched_yield()
        return made_up(point)
    finally:
        os.close(lock)
        os.unlink(os.environ["POTCHAIN_TEST_LOCK"])
