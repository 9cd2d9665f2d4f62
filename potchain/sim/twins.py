"""Twins: two unmodified copies of a node under one identity (Bano et al., arXiv 2004.10617).

A scenario says which validator has a twin, and into which groups all copies are parted in each round of a second; then
everyone hears everyone. That covers equivocation, double voting and forgotten locks without a line of Byzantine code.
The leader of a round is not a free choice here, views rotate by themselves: which validator is twinned and when groups
reach a quorum decides whether a twin leads.

Scenarios are numbered. The first ones enumerate every pattern of one round, held for all rounds, then every pattern of
two rounds in turn, and so on while they fit into half of the number asked for; the rest is drawn at random from
patterns of up to `ROUNDS_MAX` rounds.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import cache

import msgspec

from potchain.consensus.quorum import Quorum
from potchain.errors import ConfigError
from potchain.genesis import Parameters
from potchain.primitives import NS_PER_S
from potchain.sim.checkers.liveness import liveness_bound_ns
from potchain.sim.plan import Link, Plan, Twin, Workload

ROUNDS_MAX = 8
GROUPS_MAX = 3
ROUND_NS = NS_PER_S
COPIES_ENUMERATED_MAX = 6
"""With more copies than this the set partitions are too many to list; they are drawn."""

Groups = tuple[tuple[int, ...], ...]

PARAMETERS = (
    ("batch_max", 3),
    ("checkpoint_interval", 4),
    ("in_flight_max", 4),
    ("log_window", 8),
    ("view_timeout_cap_ms", 1_000),
    ("view_timeout_ms", 500),
)
"""Short view timeouts, so that a round of a second can hold a view change."""


@cache
def partitions_of(copies: int) -> tuple[Groups, ...]:
    """Every way to part that many copies into at most `GROUPS_MAX` groups, all together first.

    >>> len(partitions_of(5))
    41
    """
    found: list[tuple[int, Groups]] = []
    for labels in _labels(copies):
        count = max(labels) + 1
        groups = tuple(tuple(index for index in range(copies) if labels[index] == label) for label in range(count))
        found.append((count, groups))
    return tuple(groups for _, groups in sorted(found))


def _labels(copies: int, prefix: tuple[int, ...] = (0,)) -> Iterator[tuple[int, ...]]:
    """Restricted growth strings: one for each set partition."""
    if len(prefix) == copies:
        yield prefix
        return
    for label in range(min(max(prefix) + 2, GROUPS_MAX)):
        yield from _labels(copies, (*prefix, label))


def scenario(number: int, *, nodes: int = 4, scenarios: int = 1_000, seed: int = 0) -> Plan:
    """Scenario `number` of `scenarios`. Raises ConfigError for fewer than four nodes: f would be 0."""
    if Quorum(nodes).faults_max < 1:
        raise ConfigError(f"Twins needs at least 4 nodes, so that one may be faulty; not {nodes}")
    rest = number
    if nodes + 1 <= COPIES_ENUMERATED_MAX:
        patterns = partitions_of(nodes + 1)
        spent, length = 0, 1
        while length <= ROUNDS_MAX:
            size = nodes * len(patterns) ** length
            if spent + size > scenarios // 2:
                break
            if rest < size:
                return _enumerated(rest, length, number, nodes)
            spent, rest, length = spent + size, rest - size, length + 1
    return _drawn(number, nodes, seed)


def _enumerated(place: int, length: int, number: int, nodes: int) -> Plan:
    place, twin = divmod(place, nodes)
    patterns = partitions_of(nodes + 1)
    rounds: list[Groups] = []
    for _ in range(length):
        place, index = divmod(place, len(patterns))
        rounds.append(patterns[index])
    repeated = tuple(rounds[index % length] for index in range(max(4, length)))
    return _plan(number, nodes, (twin,), repeated)


def _drawn(number: int, nodes: int, seed: int) -> Plan:
    dice = random.Random(f"potchain.sim.twins:{nodes}:{seed}:{number}")
    count = dice.randrange(1, Quorum(nodes).faults_max + 1)
    twins = tuple(sorted(dice.sample(range(nodes), count)))
    copies = nodes + count
    rounds = tuple(_groups(dice, copies) for _ in range(dice.randrange(3, ROUNDS_MAX + 1)))
    return _plan(number, nodes, twins, rounds)


def _groups(dice: random.Random, copies: int) -> Groups:
    if copies <= COPIES_ENUMERATED_MAX:
        return dice.choice(partitions_of(copies))
    labels = [dice.randrange(GROUPS_MAX) for _ in range(copies)]
    groups = (tuple(index for index in range(copies) if labels[index] == label) for label in range(GROUPS_MAX))
    return tuple(group for group in groups if group)


def _plan(number: int, nodes: int, twins: tuple[int, ...], rounds: tuple[Groups, ...]) -> Plan:
    heal_ns = len(rounds) * ROUND_NS
    draft = Plan(
        seed=number,
        nodes=nodes,
        heal_ns=heal_ns,
        link=Link(latency_min_ns=1_000_000, latency_max_ns=10_000_000),
        parameters=PARAMETERS,
        twins=tuple(Twin(node=node) for node in twins),
        leaders=rounds,
        round_ns=ROUND_NS,
        workload=Workload(accounts=4, transactions=16, until_ns=heal_ns, rubbish=0, everywhere=True),
    )
    duration_ns = heal_ns + liveness_bound_ns(draft, Parameters(**dict(PARAMETERS))) + NS_PER_S
    return msgspec.structs.replace(draft, duration_ns=duration_ns)


def twins_plans(scenarios: int, *, nodes: int = 4, seed: int = 0) -> Iterator[Plan]:
    """All scenarios of a campaign, in order."""
    for number in range(scenarios):
        yield scenario(number, nodes=nodes, scenarios=scenarios, seed=seed)
