"""Directed runs of the simulator: plans with hand-made liars and chosen losses, for what dice would seldom hit.

A scenario stays inside the fault model: at most f nodes lie, with their own keys only, and the network loses what it
likes. So shipping code must get through every one of them; `sim_mutants` names the wrong code that does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import msgspec
from epoch_application import ChangeEpoch, EpochApplication
from sim_liars import (
    LONE,
    ForgesPrepares,
    LiesInView1,
    NamesOnceMore,
    NullBeforeNewView,
    PreparesToo,
    RenamesViewChanges,
    SaysBoth,
    SendsResults,
    SkipsNewView,
)

from potchain.application.accounts import AccountsApplication
from potchain.blocks import BLOCK_VOTE
from potchain.consensus.interface import ConsensusMessage
from potchain.errors import CodecError
from potchain.genesis import Parameters
from potchain.primitives import NS_PER_MS, uint256
from potchain.replica import wire
from potchain.sim.byzantine import Liar
from potchain.sim.checkers import liveness_bound_ns, standard_checkers
from potchain.sim.clients import Clients, Script, script_key
from potchain.sim.cluster import Applications, MakeMiddleware, run, validator_keys
from potchain.sim.plan import Byzantine, Crash, Fault, Link, LoseVoteLog, Outcome, Partition, Plan, Twin, Workload
from potchain.sim.trace import TraceSink
from potchain.transactions import Transfer
from potchain_pbft import PbftFactory
from potchain_pbft.messages import COMMIT, PRE_PREPARE, PREPARE

AT_MS = 400
"""When work comes: by then all nodes are connected and have asked each other what they signed."""
LATE_MS = 1_100
"""When it comes where a faulty node is the first primary. It says no boot id, so its questions of the first 100 ms look
like ones that were answered, and only those of the first second count."""
QUICK = {
    "view_timeout_ms": 500, "view_timeout_cap_ms": 1_000, "checkpoint_interval": 4, "log_window": 8,
    "in_flight_max": 4, "batch_max": 1,
}  # fmt: skip
PATIENT = {**QUICK, "view_timeout_ms": 8_000, "view_timeout_cap_ms": 8_000}
RESTART_NS = 400 * NS_PER_MS
"""A successor that comes sooner than 250 ms counts as a second copy for three seconds, and signs nothing."""
LAST_OF_EPOCH = 12
"""C of a change that is decided at height 1 to 4: the first checkpoint a log window later."""


class Traffic(msgspec.Struct, frozen=True):
    """A frame on its way."""

    sender: int
    receiver: int
    frame: wire.Frame
    at_ms: int

    def touches(self, node: int) -> bool:
        """Whether that node sends or receives it."""
        return node in (self.sender, self.receiver)

    def is_vote(self, kind: str, *, view: int | None = None, sequence: int | None = None) -> bool:
        """Whether it is a consensus message of that kind, and of that view and sequence if given."""
        message = self.frame
        return (
            isinstance(message, ConsensusMessage)
            and message.kind == kind
            and view in (None, message.view)
            and sequence in (None, message.sequence)
        )


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """One directed run."""

    name: str
    plan: Plan
    middleware: MakeMiddleware = Liar
    lost: Callable[[Traffic], bool] | None = None
    script: Script | None = None
    applications: Applications | None = None


def play(scenario: Scenario, trace: TraceSink | None = None) -> Outcome:
    """Run it under all checkers."""
    lost = scenario.lost
    last: list[bytes | wire.Frame | None] = [b"", None]

    def lose(sender: int, receiver: int, data: bytes, now_ns: int) -> bool:
        if last[0] is not data:
            last[:] = [data, _frame(data)]
        frame = last[1]
        if lost is None or frame is None or isinstance(frame, bytes):
            return False
        return lost(Traffic(sender, receiver, frame, now_ns // NS_PER_MS))

    return run(
        scenario.plan,
        PbftFactory(),
        applications=scenario.applications,
        checkers=standard_checkers(scenario.plan),
        middleware=scenario.middleware,
        script=scenario.script,
        lose=None if lost is None else lose,
        trace=trace,
    )


def _frame(data: bytes) -> wire.Frame | None:
    try:
        return wire.decode_frame(data)
    except CodecError:
        return None


# --- plans ------------------------------------------------------------------------------------------------------------


def plan(
    *,
    transactions: int = 2,
    at_ms: int = AT_MS,
    until_ms: int = 0,
    accounts: int = 8,
    end_ms: int = 5_000,
    heal_ms: int | None = None,
    parameters: dict[str, int] | None = None,
    faults: Iterable[Fault] = (),
    liars: Iterable[int] = (),
    nodes: int = 4,
    twins: Iterable[int] = (),
) -> Plan:
    """A short run; with `heal_ms` as long as its liveness bound, else a safety run that ends at `end_ms`."""
    draft = Plan(
        seed=1,
        nodes=nodes,
        duration_ns=end_ms * NS_PER_MS,
        heal_ns=None if heal_ms is None else heal_ms * NS_PER_MS,
        link=Link(latency_min_ns=1_000_000, latency_max_ns=3_000_000),
        parameters=tuple(sorted((QUICK if parameters is None else parameters).items())),
        faults=tuple(faults),  # type: ignore[arg-type]
        byzantine=tuple(Byzantine(node=liar, behaviours=()) for liar in liars),
        twins=tuple(Twin(node=node) for node in twins),
        workload=Workload(
            accounts=accounts,
            transactions=transactions,
            from_ns=at_ms * NS_PER_MS,
            until_ns=max(until_ms, at_ms + 1) * NS_PER_MS,
            rubbish=0,
            everywhere=True,
        ),
    )
    if heal_ms is None:
        return draft
    bound_ns = liveness_bound_ns(draft, Parameters(**dict(draft.parameters)))
    return msgspec.structs.replace(draft, duration_ns=heal_ms * NS_PER_MS + bound_ns + 1_100 * NS_PER_MS)


# --- what gets lost, and what is submitted ----------------------------------------------------------------------------

def lone_decision(traffic: Traffic) -> bool:
    """`LONE` alone decides in view 0: commits reach it and nobody else; from 600 to 3,000 ms it is cut off."""
    if traffic.touches(LONE) and 600 <= traffic.at_ms < 3_000:
        return True
    return traffic.is_vote(COMMIT, view=0) and traffic.receiver != LONE


def _split(traffic: Traffic) -> bool:
    """Whatever node 0 gives node 3 in view 0 is not mended by the others until 4,000 ms."""
    if traffic.receiver != LONE or traffic.sender == 0 or traffic.at_ms >= 4_000:
        return False
    return traffic.is_vote(COMMIT, view=0) or isinstance(traffic.frame, wire.BlocksAnswer | wire.ProposalAnswer)


def _end_of_epoch(traffic: Traffic) -> bool:
    """Of the old epoch's commits above C only those to `LONE` arrive, and it learns late that C is certified."""
    message = traffic.frame
    if not isinstance(message, ConsensusMessage) or message.epoch:
        return False
    if message.kind == BLOCK_VOTE and message.sequence == LAST_OF_EPOCH:
        return traffic.receiver == LONE and traffic.at_ms < 1_000
    return message.kind == COMMIT and message.sequence > LAST_OF_EPOCH and traffic.receiver != LONE


def _replaced(clients: Clients) -> None:
    """A transaction and, while it is in flight, another with its nonce and a higher fee; at every node."""
    key = script_key(0)
    for at_ms, fee in ((AT_MS, 20), (AT_MS + 100, 900)):
        body = Transfer(key.address, 0, uint256(fee), 0, script_key(1).address, uint256(5), b"")
        for node in range(4):
            clients.submit_at(at_ms * NS_PER_MS, node, body, key)


def _work(*times_ms: int) -> Script:
    """A transaction at each of these times, at every node; of different senders in turn."""

    def submit(clients: Clients) -> None:
        for number, at_ms in enumerate(times_ms):
            key = script_key(number % 3)
            body = Transfer(key.address, number // 3, uint256(20), 0, script_key(3).address, uint256(5), b"")
            for node in range(4):
                clients.submit_at(at_ms * NS_PER_MS, node, body, key)

    return submit


def _changes_epoch(clients: Clients) -> None:
    key = script_key(0)
    body = ChangeEpoch(key.address, 0, uint256(50), 0, "", '{"base_fee": 11}')
    clients.submit_at((AT_MS - 50) * NS_PER_MS, 0, body, key)


def _applications() -> tuple[AccountsApplication, EpochApplication]:
    members = [validator_keys(number).validator(f"v{number}", bytes(20)) for number in range(5)]
    return AccountsApplication(), EpochApplication(members)


# --- the scenarios ----------------------------------------------------------------------------------------------------


def _all() -> Iterator[Scenario]:
    halves = Partition(at_ns=300 * NS_PER_MS, groups=((0, 1), (2, 3)), until_ns=3_000 * NS_PER_MS)
    yield Scenario(name="two halves", plan=plan(faults=[halves], end_ms=4_000))
    yield Scenario(
        name="three that hear nobody",
        plan=plan(nodes=3, end_ms=4_000, faults=[
            Partition(at_ns=300 * NS_PER_MS, groups=((0,), (1,), (2,)), until_ns=3_000 * NS_PER_MS),
        ]),
    )  # fmt: skip
    yield Scenario(
        name="five, one of them twice",
        plan=plan(nodes=5, twins=[0], at_ms=LATE_MS, end_ms=4_000, faults=[
            Partition(at_ns=0, groups=((0, 1, 2), (3, 4, 5)), until_ns=3_000 * NS_PER_MS),
        ]),
    )  # fmt: skip
    yield Scenario(name="lone decision", plan=plan(transactions=1), lost=lone_decision)
    yield Scenario(
        name="lone decision, then a primary that proposes something else",
        plan=plan(transactions=1, liars=[1]),
        lost=lone_decision,
        middleware=LiesInView1,
    )
    yield Scenario(
        name="lone decision, then a primary without a new view",
        plan=plan(transactions=1, liars=[1]),
        lost=lone_decision,
        middleware=SkipsNewView,
    )
    yield Scenario(
        name="lone decision, then a null request before the new view",
        plan=plan(transactions=1, liars=[1]),
        lost=lone_decision,
        middleware=NullBeforeNewView,
    )
    yield Scenario(
        name="one decided, one prepared, one node heard neither",
        plan=plan(transactions=2),
        lost=lambda traffic: (
            (traffic.touches(LONE) and AT_MS <= traffic.at_ms < 800)
            or (traffic.is_vote(COMMIT, view=0, sequence=2) and traffic.at_ms < 3_000)
        ),
    )
    yield Scenario(
        name="lone decision in view 1, then view changes under another name",
        plan=plan(transactions=1, liars=[2], end_ms=6_000),
        lost=lambda traffic: (
            traffic.is_vote(PRE_PREPARE, view=0)
            or (traffic.is_vote(COMMIT, view=1) and traffic.receiver != LONE)
            or (traffic.touches(LONE) and 1_150 <= traffic.at_ms < 4_000)
        ),
        middleware=RenamesViewChanges,
    )
    yield Scenario(
        name="two proposals, one with a prepare of the primary",
        plan=plan(transactions=0, liars=[0], end_ms=6_000),
        lost=_split,
        middleware=PreparesToo,
        script=_work(LATE_MS, LATE_MS, 1_500),
    )
    yield Scenario(
        name="two proposals, one with forged prepares",
        plan=plan(transactions=0, liars=[0], heal_ms=3_000),
        lost=lambda traffic: _split(traffic) and traffic.at_ms < 3_000,
        middleware=ForgesPrepares,
        script=_work(LATE_MS, LATE_MS, 1_500),
    )
    yield Scenario(
        name="every transaction twice",
        plan=plan(transactions=0, liars=[0], end_ms=3_000),
        middleware=NamesOnceMore,
        script=_work(LATE_MS, LATE_MS, LATE_MS),
    )
    yield Scenario(
        name="a primary that says both, and votes that get lost",
        plan=plan(transactions=1, at_ms=LATE_MS, liars=[0], parameters=PATIENT, end_ms=4_000),
        lost=lambda traffic: traffic.is_vote(PREPARE, view=0) and traffic.at_ms < 3_000,
        middleware=SaysBoth,
    )
    yield Scenario(
        name="a primary loses power with a proposal that nobody got",
        plan=plan(transactions=1, parameters=PATIENT, end_ms=3_000, faults=[
            Crash(at_ns=450 * NS_PER_MS, node=0, down_ns=RESTART_NS),
        ]),
        lost=lambda traffic: traffic.is_vote(PRE_PREPARE) and traffic.at_ms < 2_000,
    )  # fmt: skip
    yield Scenario(
        name="a primary forgets its votes with a proposal in flight",
        plan=plan(transactions=1, parameters=PATIENT, end_ms=4_000, faults=[
            LoseVoteLog(at_ns=450 * NS_PER_MS, node=0, down_ns=RESTART_NS),
        ]),
        lost=lambda traffic: traffic.is_vote(PREPARE) and traffic.at_ms < 3_000,
        script=_work(1_500),
    )  # fmt: skip
    yield Scenario(
        name="a primary dies after a stable checkpoint",
        plan=plan(transactions=0, heal_ms=2_000, faults=[
            Crash(at_ns=1_100 * NS_PER_MS, node=0, for_good=True),
        ]),
        script=_work(*range(AT_MS, 1_600, 100)),
    )  # fmt: skip
    yield Scenario(
        name="a proposal that is chosen again when it is old",
        plan=plan(transactions=1, heal_ms=4_000, parameters={**QUICK, "clock_bound_ms": 1_000}, faults=[
            Crash(at_ns=600 * NS_PER_MS, node=0, for_good=True),
        ]),
        lost=lambda traffic: (
            traffic.is_vote(COMMIT, view=0)
            or (traffic.is_vote(PRE_PREPARE, view=0) and traffic.receiver == LONE)
            or (500 <= traffic.at_ms < 4_000)
        ),
    )  # fmt: skip
    yield Scenario(
        name="one sender, one transaction a block",
        plan=plan(transactions=40, until_ms=600, accounts=1, heal_ms=700, parameters={**QUICK, "in_flight_max": 8}),
    )
    yield Scenario(
        name="a transaction is replaced while it is in flight",
        plan=plan(transactions=0, parameters=PATIENT, end_ms=3_000),
        lost=lambda traffic: traffic.is_vote(COMMIT) and traffic.at_ms < 800,
        script=_replaced,
    )
    yield Scenario(
        name="catching up with a peer that sends results",
        plan=plan(transactions=0, liars=[1], end_ms=8_000),
        lost=lambda traffic: (
            (traffic.touches(LONE) and AT_MS <= traffic.at_ms < 1_500)
            or (traffic.receiver == LONE and isinstance(traffic.frame, ConsensusMessage) and traffic.at_ms < 5_000)
            or (isinstance(traffic.frame, wire.PeerProgress) and traffic.sender != 1 and traffic.at_ms < 5_000)
        ),
        middleware=SendsResults,
        script=_work(*range(AT_MS, 1_200, 100)),
    )
    yield Scenario(
        name="old blocks for a node that has left their view alone",
        plan=plan(transactions=0, end_ms=5_000),
        lost=lambda traffic: traffic.touches(LONE) and AT_MS <= traffic.at_ms < 1_600,
        script=_work(*range(AT_MS, 1_500, 100), *range(2_600, 4_000, 100)),
    )
    yield Scenario(
        name="parameters change under load, and commits above C get lost",
        plan=plan(transactions=30, until_ms=1_000, end_ms=4_000),
        lost=_end_of_epoch,
        script=_changes_epoch,
        applications=_applications,
    )


SCENARIOS = {scenario.name: scenario for scenario in _all()}
"""By name."""
