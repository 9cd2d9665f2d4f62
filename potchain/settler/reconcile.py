"""What is to be done now, from what the ledger says, what Layer 2 says, and what this node has written down. Pure.

Theory of operation. The settler is level-triggered: it never reacts to an event but compares two states, again and
again, and says what would bring them together. So it does not matter what was missed, in which order things were seen,
or after which step the last process died. Whatever can be lost, `Memory`, decides only when something is tried.

What may stop what: signing needs the ledger alone. Voting needs a look at Layer 2 that does not contradict what the
ledger has applied. Relaying needs, besides, that the contract's owners, threshold and epoch are those of the ledger.
Only what the chain has lost of executed actions is sent again whatever stands in the way (`lost`).
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from potchain.consensus.quorum import Quorum
from potchain.replica.actions import Now
from potchain.settlement import Prepared
from potchain.settlement.report import SettlerReport
from potchain.settler.duties import on_their_way, signatures_due, votes_due
from potchain.settler.lost import kept, sent_again
from potchain.settler.memory import Fault, Memory, Sight
from potchain.settler.relaying import RelayOptions, RelayPlan, plan_relays
from potchain.settler.report import make_report
from potchain.settler.slots import slots_of
from potchain.settler.steps import Sign, Step, Vote
from potchain.settler.view import LedgerView
from potchain.settler.watching import contradiction, mismatch, watched

REAL_VALUE_CHAINS = frozenset(
    {1, 10, 56, 100, 137, 250, 324, 1101, 5000, 8453, 42161, 42220, 43114, 59144, 81457, 534352}
)
"""Chain ids whose coin has a price (chainid.network): Ethereum, OP, BNB, Gnosis, Polygon, Fantom, zkSync Era, Polygon
zkEVM, Mantle, Base, Arbitrum One, Celo, Avalanche C, Linea, Blast, Scroll. One that is not listed counts as a test."""


class SettlerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator chose."""

    relay: RelayOptions = RelayOptions()
    real_value_confirmed: bool = False
    """Settle on a chain with real value even though the ledger tolerates no fault."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of `reconcile`."""

    steps: tuple[Step, ...]
    """In the order in which to carry them out. When one of Layer 2 fails, the rest of those wait for the next tick."""
    report: SettlerReport
    memory: Memory


def reconcile(
    ledger: LedgerView,
    seen: Sight | Fault | None,
    intents: Sequence[Prepared],
    now: Now,
    options: SettlerOptions,
    memory: Memory,
) -> Outcome:
    """What to do now.

    `seen`: a new look at Layer 2, why it failed, or None when there was none since the last call: then nothing is
    relayed, because a transaction may have been prepared in between. `intents`: everything that is written down.
    """
    memory = _noted(ledger, seen, now, memory)
    if ledger.contract is None:
        return _settled(ledger, (), None, None, now, memory, intents)
    refusal = _refusal(ledger, options)
    if refusal is not None:
        return _settled(ledger, (), refusal, None, now, memory, intents)
    steps: list[Step] = []
    signatures, fault = signatures_due(ledger, memory.sent) if ledger.operator else ([], None)
    steps += signatures
    sight = memory.sight
    if sight is None:
        return _settled(ledger, tuple(steps), fault or memory.chain_fault, None, now, memory, intents)
    unseen = memory.chain_fault or contradiction(ledger, sight, memory)
    if unseen is None and ledger.operator:
        steps += votes_due(ledger, sight.chain, memory.sent)
    stop = unseen or fault or sight.stop or mismatch(ledger, sight.chain)
    slots = slots_of(intents, sight.relays)
    relays = plan_relays(ledger, sight, slots, now.monotonic_ns, options.relay, memory, stop)
    if isinstance(seen, Sight):
        again, memory = sent_again(ledger, sight, now.monotonic_ns, kept(relays.memory, slots))
        steps += (*relays.steps, *again)
    return _settled(ledger, tuple(steps), stop, relays, now, memory, intents)


def _noted(ledger: LedgerView, seen: Sight | Fault | None, now: Now, memory: Memory) -> Memory:
    """The memory with what was seen."""
    memory = msgspec.structs.replace(memory, sent=on_their_way(ledger, memory.sent))
    if isinstance(seen, Fault):
        return msgspec.structs.replace(memory, chain_fault=seen)
    if seen is None:
        return memory
    memory = msgspec.structs.replace(memory, sight=seen, looked_ms=now.unix_ms, chain_fault=None)
    return watched(ledger, seen.chain, memory)


def _refusal(ledger: LedgerView, options: SettlerOptions) -> Fault | None:
    """Why this node does nothing at all."""
    assert ledger.contract is not None
    if ledger.is_behind:
        return Fault("catching_up", "this node lacks blocks that others have; it settles again when it has them")
    chain_id, count = ledger.contract.chain_id, len(ledger.operators)
    if chain_id in REAL_VALUE_CHAINS and count and not Quorum(count).faults_max and not options.real_value_confirmed:
        return Fault(
            "too_few_validators",
            f"chain {chain_id} has real value and {count} validator(s) tolerate no fault: one that lies takes the "
            f"money. Run four or more, or set settlement.real_value_confirmed = true",
        )
    return None


def _settled(
    ledger: LedgerView,
    steps: tuple[Step, ...],
    fault: Fault | None,
    relays: RelayPlan | None,
    now: Now,
    memory: Memory,
    intents: Sequence[Prepared],
) -> Outcome:
    if not any(isinstance(step, Sign | Vote) for step in steps):
        memory = msgspec.structs.replace(memory, refused=None)
    if fault is None and memory.refused is not None:
        fault = Fault(memory.refused.code, memory.refused.text)
    report = make_report(ledger, fault, relays, intents, steps, now, memory)
    return Outcome(steps=steps, report=report, memory=msgspec.structs.replace(memory, fault=report.fault))
