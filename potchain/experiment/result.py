"""What a run of one point gives: times, traffic by phase, costs, and the bound that the links themselves imply."""

from __future__ import annotations

import msgspec

from potchain.experiment.point import Point


class PhaseTraffic(msgspec.Struct, frozen=True, kw_only=True):
    """Frames of one purpose, summed over all links."""

    phase: str
    """"submit", "bodies", "pre-prepare", "prepare", "commit", "block-vote" (which is the reply), "view", "other"."""
    messages: int
    bytes: int
    first_sent_s: float
    """Since the client's first byte."""
    last_arrived_s: float
    """Since the client's first byte, of those that arrived before the measurement ended."""


class SynchronizeResult(msgspec.Struct, frozen=True, kw_only=True):
    """All times are seconds since the client's first byte; None: it did not come to that before the time limit."""

    point: Point
    seconds_to_weak_quorum: float | None
    """f + 1 equal replies have reached the client: one correct node says so."""
    seconds_to_quorum: float | None
    """2f + 1 equal replies have reached the client: what the Go demo measures."""
    seconds_to_all: float | None
    """Every node that is up has executed everything."""
    bound_seconds: float | None
    """What the link model implies for this dissemination and these draws at least (`potchain.experiment.bound`)."""
    phases: tuple[PhaseTraffic, ...]
    messages_sent: int
    bytes_sent: int
    """Of all frames as the link model counts them."""
    most_sent_by_a_node_bytes: int
    """The largest share of them that one node sent."""
    blocks: int
    """That the transactions took."""
    views: int
    """The highest view at the end; 0 when no primary was changed."""
    cpu_seconds: float | None
    """Of this process during the measurement; None in mode "model", and in "virtual", where the result must not depend
    on the machine."""
