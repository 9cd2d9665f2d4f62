"""Directed runs with a Layer 2, for what dice would seldom hit; shipping code gets through every one of them.

They are among `sim_scenarios.SCENARIOS` once this module is imported.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec
from sim_scenarios import SCENARIOS, Scenario

from potchain.blocks import BLOCK_VOTE
from potchain.genesis import Parameters
from potchain.primitives import NS_PER_MS, NS_PER_S
from potchain.replica import wire
from potchain.sim.checkers import settlement_bound_ns
from potchain.sim.plan import (
    Crash,
    Decision,
    Fault,
    LagEndpoint,
    Layer2,
    Layer2Liar,
    Link,
    Plan,
    Reorganise,
    Workload,
)
from potchain.sim.settling.settler import operator_key

QUICK = {
    "view_timeout_ms": 500, "view_timeout_cap_ms": 1_000, "checkpoint_interval": 4, "log_window": 8,
    "in_flight_max": 4, "batch_max": 20,
}  # fmt: skip
OWNERS = sorted(range(4), key=lambda node: operator_key(node).address)
"""Nodes in the order of their operators: the first of them relays the first actions."""


def settles(
    *, heal_ms: int = 2_500, faults: Iterable[Fault] = (), decisions: Iterable[Decision] = (), **layer2: object
) -> Plan:
    """A short run of four nodes that settle, on a quick chain."""
    values: dict[str, object] = {
        "block_ns": 150 * NS_PER_MS, "confirmations": 2, "answer_ns": 4 * NS_PER_MS, "relay_turn_ms": 1_000,
        "stuck_after_ms": 1_000, "bind_ns": 100 * NS_PER_MS, "holders": 2, "withdrawals": 3, "deposits": 2,
        "from_ns": 300 * NS_PER_MS, "until_ns": 1_500 * NS_PER_MS, "decisions": tuple(decisions),
    }  # fmt: skip
    draft = Plan(
        seed=1,
        heal_ns=heal_ms * NS_PER_MS,
        link=Link(latency_min_ns=1_000_000, latency_max_ns=3_000_000),
        parameters=tuple(sorted(QUICK.items())),
        faults=tuple(faults),  # type: ignore[arg-type]
        workload=Workload(accounts=2, transactions=0, rubbish=0),
        layer2=Layer2(**{**values, **layer2}),  # type: ignore[arg-type]
    )
    bound_ns = settlement_bound_ns(draft, Parameters(**QUICK))
    return msgspec.structs.replace(draft, duration_ns=heal_ms * NS_PER_MS + bound_ns + NS_PER_S)


def at(ms: int, kind: str, **members: object) -> Decision:
    """A decision."""
    return Decision(at_ns=ms * NS_PER_MS, kind=kind, **members)  # type: ignore[arg-type]


def _all() -> Iterator[Scenario]:
    yield Scenario(name="withdrawals and deposits", plan=settles())
    yield Scenario(
        name="block votes get lost while a batch is formed",
        plan=settles(),
        lost=lambda traffic: traffic.is_vote(BLOCK_VOTE) and 500 <= traffic.at_ms < 2_000,
    )
    yield Scenario(
        name="blocks of deposits and batches are taken back",
        plan=settles(faults=[
            Reorganise(at_ns=each * NS_PER_MS, depth=2, forget=each % 200 == 0) for each in range(400, 2_400, 100)
        ]),
    )  # fmt: skip
    yield Scenario(
        name="withdrawals before the deposit that covers them",
        plan=settles(until_ns=800 * NS_PER_MS, backed_ns=1_900 * NS_PER_MS, deposits=1),
    )
    yield Scenario(
        name="an endpoint that is far behind",
        plan=settles(faults=[LagEndpoint(at_ns=NS_PER_MS, node=3, blocks=12, until_ns=2_400 * NS_PER_MS)]),
    )
    yield Scenario(
        name="the relayer of the first actions is down",
        plan=settles(faults=[Crash(at_ns=250 * NS_PER_MS, node=OWNERS[0], for_good=True)]),
    )
    yield Scenario(
        name="withdrawals while the owners change",
        plan=settles(
            decisions=[at(500, "rotate", owners=(0, 1, 2), value=2), at(550, "term", term="batch_max", value=1)],
            withdrawals=8,
        ),
    )
    yield Scenario(
        name="withdrawals in a pause",
        plan=settles(
            heal_ms=6_500,
            decisions=[at(150, "term", term="open_max", value=2), at(1_300, "pause"), at(6_000, "resume")],
            withdrawals=30,
            from_ns=NS_PER_S,
            until_ns=1_500 * NS_PER_MS,
        ),
    )
    yield Scenario(
        name="a payout a batch",
        plan=settles(
            decisions=[at(200, "term", term="batch_max", value=1)],
            from_ns=700 * NS_PER_MS,
            until_ns=800 * NS_PER_MS,
            withdrawals=5,
        ),
    )
    yield Scenario(
        name="a signature that comes too late, and an operator that says nothing",
        plan=settles(
            threshold=2, withdrawals=1, deposits=0, from_ns=NS_PER_S, until_ns=1_100 * NS_PER_MS,
            liars=(Layer2Liar(node=3, behaviours=("refuse",)),),
        ),
        lost=lambda traffic: (
            traffic.sender == 2 and isinstance(traffic.frame, wire.Gossip) and 900 <= traffic.at_ms < 1_700
        ),
    )  # fmt: skip


SCENARIOS.update({scenario.name: scenario for scenario in _all()})
