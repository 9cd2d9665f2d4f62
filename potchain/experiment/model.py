"""Mode "model": arrival times of the fault-free normal case as arrays, without a node, a message or a clock.

The client hands its frames over, nodes pass bodies on, the primary proposes when it has them, and prepare, commit and
reply are order statistics over matrices of arrival times (`potchain.experiment.arrivals`). The sizes are those of real
frames. Up to `EXACT_NODES_MAX` nodes the latencies are the draws of the link model itself, beyond that others of the
same distribution. Nodes take no time. What is left out: what is sent again, fetched or lost, and view changes.
"""

from __future__ import annotations

from math import isfinite

import numpy as np

from potchain.blocks import BLOCK_VOTE
from potchain.experiment.arrivals.latencies import Times
from potchain.experiment.arrivals.network import PRIMARY, Network
from potchain.experiment.arrivals.passes import Run, network_of, run
from potchain.experiment.arrivals.plan import plan
from potchain.experiment.arrivals.traffic import VOTE_BYTES
from potchain.experiment.bound import bound_of
from potchain.experiment.point import Point
from potchain.experiment.result import PhaseTraffic, SynchronizeResult
from potchain.primitives import NS_PER_S


def measure_model(point: Point) -> SynchronizeResult:
    """Run a point as arrays. Raises ExperimentError for one that the model cannot do."""
    point = point.checked()
    network = network_of(point)
    done = run(network, plan(point))
    thresholds = network.thresholds
    replies_ns = done.replies.at_client_ns
    phases = _phases(network, done)
    return SynchronizeResult(
        point=point,
        seconds_to_weak_quorum=_seconds(replies_ns[thresholds.weak_quorum - 1]),
        seconds_to_quorum=_seconds(replies_ns[thresholds.quorum - 1]),
        seconds_to_all=_seconds(done.replies.executed_ns.max()),
        bound_seconds=bound_of(network, done),
        phases=phases,
        messages_sent=sum(phase.messages for phase in phases),
        bytes_sent=sum(phase.bytes for phase in phases),
        most_sent_by_a_node_bytes=_most_sent_bytes(network, done),
        blocks=len(done.spread.accepted_ns),
        views=0,
        cpu_seconds=None,
    )


def _phases(network: Network, done: Run) -> tuple[PhaseTraffic, ...]:
    """All frames of the run; what is sent to nodes that are down counts for nothing, as it never leaves."""
    up, blocks = network.up, len(done.spread.accepted_ns)
    votes, replies = done.replies.votes.offered_ns, done.replies
    prepares, commits, block_votes = (votes[part * blocks : (part + 1) * blocks] for part in range(3))
    sent = done.spread.sent.values()
    bodies_ns = done.spread.bodies_ns
    leads = [size for size, _ in done.spread.proposals.sizes]
    submissions = done.traffic.submissions
    phases = (
        PhaseTraffic(
            phase="submit",
            messages=sum(len(each.entries) for each in submissions),
            bytes=sum(each.size_bytes * len(each.entries) for each in submissions),
            first_sent_s=0.0,
            last_arrived_s=done.spread.submitted_ns / NS_PER_S,
        ),
        _phase("bodies", sum(each.copies for each in sent), sum(each.bytes for each in sent),
               np.array([each.first_ns for each in sent]), _latest(bodies_ns)),
        _phase("pre-prepare", blocks * (up - 1), sum(leads) * (up - 1), done.spread.proposals.proposed_ns,
               _latest(done.spread.pre_prepared_ns)),
        _votes("prepare", prepares, up - 1, replies.last_ns[0]),
        _votes("commit", commits, up - 1, replies.last_ns[1]),
        _votes(BLOCK_VOTE, block_votes, up, float(replies.at_client_ns[-1])),
    )  # fmt: skip
    return tuple(phase for phase in phases if phase.messages)


def _votes(kind: str, offered_ns: Times, copies: int, last_ns: float) -> PhaseTraffic:
    messages = int(np.isfinite(offered_ns).sum()) * copies
    return _phase(kind, messages, messages * VOTE_BYTES[kind], offered_ns, last_ns)


def _phase(name: str, messages: int, size: int, sent_ns: Times, last_ns: float) -> PhaseTraffic:
    first_ns = float(sent_ns.min(initial=np.inf))
    return PhaseTraffic(
        phase=name,
        messages=messages,
        bytes=size,
        first_sent_s=first_ns / NS_PER_S if isfinite(first_ns) else 0.0,
        last_arrived_s=last_ns / NS_PER_S,
    )


def _most_sent_bytes(network: Network, done: Run) -> int:
    """By the node that sent most."""
    offered = np.isfinite(done.replies.votes.offered_ns)
    blocks, up = len(done.spread.accepted_ns), network.up
    sizes = [VOTE_BYTES["prepare"] * (up - 1), VOTE_BYTES["commit"] * (up - 1), VOTE_BYTES[BLOCK_VOTE] * up]
    sent = np.repeat(sizes, blocks) @ offered
    sent[PRIMARY] += sum(size for size, _ in done.spread.proposals.sizes) * (up - 1)
    for node, sending in done.spread.sent.items():
        sent[node] += sending.bytes
    return int(sent.max())


def _latest(times_ns: Times) -> float:
    return float(np.max(times_ns, where=np.isfinite(times_ns), initial=0.0))


def _seconds(time_ns: float) -> float | None:
    return float(time_ns) / NS_PER_S if isfinite(time_ns) else None
