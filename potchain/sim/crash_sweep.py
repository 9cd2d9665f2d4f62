"""The crash sweep: a plan run again with a power cut at every persist, send and decide boundary of every node.

The base plans are short and without other faults: one on a good network, and one whose first primary is cut off for a
while, so that there are a view change, a new view and a catch-up to crash in. Two boundaries that follow each other
without anything between them, one at the end of a send and one at the beginning of the next, are one crash point. Where
a write is under way it is tried lost, and torn. What happens after the base plan has come to rest is not swept.

Another base plan settles, with a rotation of owners between withdrawals. Of that one only what its settlers do is
swept: before and after each write of an intent, before and after each transaction for Layer 2 leaves.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

import msgspec

from potchain.consensus.interface import EngineFactory
from potchain.genesis import Parameters
from potchain.primitives import NS_PER_MS, NS_PER_S
from potchain.sim.byzantine import Liar
from potchain.sim.checkers import standard_checkers
from potchain.sim.checkers.liveness import liveness_bound_ns
from potchain.sim.checkers.settlers import settlement_bound_ns
from potchain.sim.cluster import run
from potchain.sim.observation import Checker, ClusterView, NodeView
from potchain.sim.plan import CrashAtStep, Decision, Layer2, Link, Outcome, Partition, Plan, Workload

T = TypeVar("T")

PARAMETERS = (
    ("batch_max", 2),
    ("checkpoint_interval", 2),
    ("in_flight_max", 2),
    ("log_window", 4),
    ("view_timeout_cap_ms", 1_000),
    ("view_timeout_ms", 500),
)
"""Checkpoints every other block, so that a short run holds some."""
DOWN_NS = 300 * NS_PER_MS
REST_NS = 500 * NS_PER_MS
"""How long after a base plan heals its crash points are still taken."""
AFTER_SEND = "after a send"
OF_SETTLERS = frozenset(("before intent write", "after intent write", "before a relay", "after a relay"))
"""Boundaries of settlers."""


def base_plans(nodes: int = 4) -> tuple[Plan, ...]:
    """The plans that are swept: a quiet one, and one with a view change."""
    quiet = _base(nodes, 1, 6, 700 * NS_PER_MS, 2 * NS_PER_S)
    others = tuple(range(1, nodes))
    cut = Partition(at_ns=200 * NS_PER_MS, groups=((0,), others), until_ns=1_800 * NS_PER_MS)
    troubled = msgspec.structs.replace(_base(nodes, 2, 6, 1_500 * NS_PER_MS, 4 * NS_PER_S), faults=(cut,))
    return (quiet, troubled) if nodes > 3 else (quiet,)


def settlement_plan(nodes: int = 4) -> Plan:
    """The plan whose settlers are swept."""
    owners = tuple(range(max(1, nodes - 1)))
    layer2 = Layer2(
        block_ns=150 * NS_PER_MS,
        confirmations=2,
        answer_ns=4 * NS_PER_MS,
        relay_turn_ms=300,
        stuck_after_ms=700,
        bind_ns=100 * NS_PER_MS,
        decisions=(Decision(at_ns=900 * NS_PER_MS, kind="rotate", owners=owners, value=len(owners)),),
        withdrawals=4,
        deposits=1,
        from_ns=200 * NS_PER_MS,
        until_ns=1_800 * NS_PER_MS,
    )
    draft = msgspec.structs.replace(_base(nodes, 3, 0, NS_PER_S, 3 * NS_PER_S), layer2=layer2)
    bound_ns = settlement_bound_ns(draft, Parameters(**dict(PARAMETERS)))
    return msgspec.structs.replace(draft, duration_ns=draft.duration_ns + bound_ns)


def _base(nodes: int, seed: int, transactions: int, until_ns: int, heal_ns: int) -> Plan:
    draft = Plan(
        seed=seed,
        nodes=nodes,
        heal_ns=heal_ns,
        link=Link(latency_min_ns=2_000_000, latency_max_ns=4_000_000),
        parameters=PARAMETERS,
        workload=Workload(accounts=3, transactions=transactions, until_ns=until_ns, rubbish=0),
    )
    duration_ns = heal_ns + liveness_bound_ns(draft, Parameters(**dict(PARAMETERS))) + NS_PER_S
    return msgspec.structs.replace(draft, duration_ns=duration_ns)


class CrashPoint(msgspec.Struct, frozen=True):
    """A boundary that is worth a run."""

    node: int
    index: int
    what: str
    """Such as "before journal write"."""
    at_ns: int


class BoundaryWatch(Checker):
    """Notes the crash points of a run; it checks nothing."""

    name = "boundary watch"

    def __init__(self) -> None:
        self._passed: dict[int, list[CrashPoint]] = {}
        self._cluster: ClusterView

    def begin(self, cluster: ClusterView) -> None:
        """Whose clock it is."""
        self._cluster = cluster

    def boundary(self, node: NodeView, index: int, what: str) -> None:
        """One more."""
        point = CrashPoint(node.index, index, what, self._cluster.now_ns)
        self._passed.setdefault(node.index, []).append(point)

    def points(self, until_ns: int) -> list[CrashPoint]:
        """By node and number; of two that nothing lies between, the second."""
        found = []
        for _, passed in sorted(self._passed.items()):
            for point, following in zip(passed, [*passed[1:], None], strict=True):
                same = following is not None and following.at_ns == point.at_ns
                if point.at_ns <= until_ns and not (same and point.what == AFTER_SEND):
                    found.append(point)
        return found


def crash_points(base: Plan, engine: EngineFactory) -> tuple[Outcome, list[CrashPoint]]:
    """Run the base plan: its outcome, and every crash point up to REST_NS after it heals; of its settlers, if any."""
    watch = BoundaryWatch()
    outcome = run(base, engine, checkers=[*standard_checkers(base), watch], middleware=Liar)
    points = watch.points((base.heal_ns or base.duration_ns) + REST_NS)
    return outcome, points if base.layer2 is None else [point for point in points if point.what in OF_SETTLERS]


def crash_plans(base: Plan, points: Sequence[CrashPoint]) -> Iterator[Plan]:
    """The base plan with one power cut: at each point, and where a write is under way once more with a torn one."""
    for point in points:
        for torn in (False, True) if point.what.startswith("before") and point.what.endswith("write") else (False,):
            crash = CrashAtStep(at_ns=0, node=point.node, index=point.index, down_ns=DOWN_NS, torn=torn)
            yield msgspec.structs.replace(base, faults=(*base.faults, crash))


def sampled(plans: Iterable[T], count: int, seed: int = 0) -> list[T]:
    """That many of the plans, drawn evenly at random, in their order."""
    listed = list(plans)
    if count >= len(listed):
        return listed
    chosen = random.Random(f"potchain.sim.crash-sweep:{seed}").sample(range(len(listed)), count)
    return [listed[index] for index in sorted(chosen)]
