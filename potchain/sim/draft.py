"""A plan in the making: dice, a budget of nodes that may be faulty for good, and the times between which faults happen.

Every draw goes through one `Draft`, so a plan is a pure function of (profile, seed, nodes).
"""

from __future__ import annotations

import random

import msgspec

from potchain.consensus.quorum import Quorum
from potchain.genesis import Parameters
from potchain.primitives import NS_PER_MS, NS_PER_S
from potchain.sim.checkers.liveness import liveness_bound_ns
from potchain.sim.checkers.settlers import settlement_bound_ns
from potchain.sim.plan import AnyFault, Byzantine, Layer2, Layer2Liar, Link, Plan, Workload

HEAL_NS = 7 * NS_PER_S
FIRST_FAULT_NS = 200 * NS_PER_MS
OBSERVER_PERCENT = 10
"""How many plans have an observer beside the validators."""
REFORMED_PERCENT = 15
"""How many liars are honest again when the plan heals; they still count as faulty."""
MARGIN_NS = 2 * NS_PER_S
"""A run lasts this much longer than its liveness bound."""


class Draft:
    """A plan in the making: its dice, what has been decided, and how many more nodes may be faulty for good."""

    def __init__(self, profile: str, seed: int, nodes: int) -> None:
        self.dice = random.Random(f"potchain.sim:{profile}:{nodes}:{seed}")
        self.seed = seed
        self.nodes = nodes
        self.budget = Quorum(nodes).faults_max
        self.heal_ns: int | None = HEAL_NS
        self.link = Link()
        self.write_ns = 500_000
        self.faults: list[AnyFault] = []
        self.byzantine: list[Byzantine] = []
        self.spoilt: set[int] = set()
        """Nodes that are faulty for good; other faults leave them alone."""
        self.workload = Workload()
        self.layer2: Layer2 | None = None
        self.liars: list[Layer2Liar] = []
        self.parameters: dict[str, int] = {}

    @property
    def end_ns(self) -> int:
        """When faults must be over."""
        return HEAL_NS

    def moment(self, latest_ns: int | None = None) -> int:
        """A time for a fault to begin."""
        return self.dice.randrange(FIRST_FAULT_NS, latest_ns or self.end_ns - 500 * NS_PER_MS)

    def until(self, from_ns: int, longest_ns: int) -> int:
        """A time for it to end."""
        return min(from_ns + self.dice.randrange(50 * NS_PER_MS, longest_ns), self.end_ns)

    def node(self) -> int:
        """Any node."""
        return self.dice.randrange(self.nodes)

    def chance(self, percent: int) -> bool:
        """True so often."""
        return self.dice.randrange(100) < percent

    def spoil(self) -> int | None:
        """A node that may be faulty for good, or None when f are already."""
        if self.budget == 0:
            return None
        self.budget -= 1
        node = self.dice.choice([index for index in range(self.nodes) if index not in self.spoilt])
        self.spoilt.add(node)
        return node

    def plan(self) -> Plan:
        """What came of it; long enough for the liveness bound."""
        draft = Plan(
            seed=self.seed,
            nodes=self.nodes,
            observers=int(self.chance(OBSERVER_PERCENT)),
            heal_ns=self.heal_ns,
            link=self.link,
            write_ns=self.write_ns,
            parameters=tuple(sorted(self.parameters.items())),
            faults=tuple(sorted(self.faults, key=lambda fault: fault.at_ns)),
            byzantine=tuple(self._for_a_while(lie) for lie in self.byzantine),
            workload=self.workload,
            layer2=self.layer2 and msgspec.structs.replace(self.layer2, liars=tuple(self.liars)),
        )
        duration_ns = HEAL_NS + 5 * NS_PER_S
        if self.heal_ns is not None:
            parameters = Parameters(**self.parameters)
            bound_ns = max(liveness_bound_ns(draft, parameters), settlement_bound_ns(draft, parameters))
            duration_ns = self.heal_ns + bound_ns + MARGIN_NS
        return msgspec.structs.replace(draft, duration_ns=duration_ns)

    def _for_a_while(self, lie: Byzantine) -> Byzantine:
        """Some liars reform."""
        return msgspec.structs.replace(lie, until_ns=self.end_ns) if self.chance(REFORMED_PERCENT) else lie
