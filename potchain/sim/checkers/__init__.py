"""The promises of the system, one class each; a simulated run ends at the first one that is broken.

    chain       agreement, equal roots, total order
    ledger      validity, exactly-once, conservation of money: an own small model of accounts
    votes       one signature for a slot, durable before sent
    bounds      bounded buffers
    clients     what the API accepted is not lost
    liveness    progress once faults have stopped
    settlement  with a Layer 2: paid exactly once, by true events alone
    settlers    with a Layer 2: duties in time, written before relayed, no false alarm, settled in the end

Checkers trust nothing that they check: what a block did is worked out again from its bodies by `ledger`.
"""

from __future__ import annotations

from collections.abc import Callable

from potchain.sim.checkers.bounds import BoundedBuffers
from potchain.sim.checkers.chain import Agreement, EqualRoots, TotalOrder
from potchain.sim.checkers.clients import AcceptedIsKept
from potchain.sim.checkers.ledger import Conservation, ExactlyOnce, Validity
from potchain.sim.checkers.liveness import Liveness, liveness_bound_ns
from potchain.sim.checkers.settlement import PaidOnce, TrueEvents
from potchain.sim.checkers.settlers import (
    DutiesInTime,
    NoFalseAlarm,
    Settled,
    WrittenBeforeRelayed,
    settlement_bound_ns,
)
from potchain.sim.checkers.votes import DurableBeforeSent, OneSignatureAfterLoss, OneSignaturePerSlot
from potchain.sim.observation import Checker
from potchain.sim.plan import LoseVoteLog, Plan, RestoreOldVoteLog

SAFETY: tuple[Callable[[], Checker], ...] = (
    EqualRoots, Agreement, TotalOrder, Validity, ExactlyOnce, Conservation, OneSignaturePerSlot, DurableBeforeSent,
    BoundedBuffers, AcceptedIsKept,
)  # fmt: skip
"""What holds at every moment, in the order in which the checkers look."""

SETTLEMENT: tuple[Callable[[], Checker], ...] = (
    PaidOnce, TrueEvents, DutiesInTime, WrittenBeforeRelayed, NoFalseAlarm, Settled,
)  # fmt: skip
"""What holds besides, where a plan has a Layer 2."""

PROMISES = (
    *(checker().name for checker in (*SAFETY, *SETTLEMENT)), Liveness.name, "exception", "halt", "api",
)  # fmt: skip
"""Names of the promises, as they stand in `Violation.checker`; the last three are the cluster's own: nothing raises, no
honest node stops by itself, no request is answered with an internal error."""


def safety_checkers() -> list[Checker]:
    """Fresh checkers of everything that must hold at every moment."""
    return [make() for make in SAFETY]


def standard_checkers(plan: Plan) -> list[Checker]:
    """Fresh checkers for a run of this plan: safety always, liveness when the plan heals."""
    checkers = safety_checkers()
    if any(isinstance(fault, LoseVoteLog | RestoreOldVoteLog) for fault in plan.faults):
        checkers = [OneSignatureAfterLoss() if type(each) is OneSignaturePerSlot else each for each in checkers]
    if plan.heal_ns is not None:
        checkers.append(Liveness())
    if plan.layer2 is not None:
        checkers += [make() for make in SETTLEMENT]
    return checkers


__all__ = [
    "PROMISES", "SAFETY", "SETTLEMENT", "AcceptedIsKept", "Agreement", "BoundedBuffers", "Conservation",
    "DurableBeforeSent", "DutiesInTime", "EqualRoots", "ExactlyOnce", "Liveness", "NoFalseAlarm",
    "OneSignatureAfterLoss", "OneSignaturePerSlot", "PaidOnce", "Settled", "TotalOrder", "TrueEvents", "Validity",
    "WrittenBeforeRelayed", "liveness_bound_ns", "safety_checkers", "settlement_bound_ns", "standard_checkers",
]  # fmt: skip
