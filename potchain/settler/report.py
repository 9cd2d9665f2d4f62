"""What the operator sees: the report of one tick. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from potchain.replica.actions import Now
from potchain.settlement import Prepared
from potchain.settlement.report import ActionPhase, ActionReport, SettlerFault, SettlerReport, SettlerState
from potchain.settler.duties import has_signed
from potchain.settler.memory import Fault, Memory
from potchain.settler.relaying import RelayPlan, Standing, milliseconds_left
from potchain.settler.steps import Step
from potchain.settler.view import LedgerAction, LedgerView

OFF = SettlerReport(state="off")
"""Of a node whose back end is "ledger", and before the first tick."""

_BLOCKED: tuple[ActionPhase, ...] = ("blocked", "reverted")


def make_report(
    ledger: LedgerView,
    fault: Fault | None,
    relays: RelayPlan | None,
    intents: Sequence[Prepared],
    steps: Sequence[Step],
    now: Now,
    memory: Memory,
) -> SettlerReport:
    """`relays`: None when Layer 2 could not be looked at."""
    standings = relays.standings if relays is not None else {}
    actions = tuple(_action(ledger, entry, standings.get(entry.action.nonce), intents, now) for entry in ledger.actions)
    chain = memory.sight.chain if memory.sight is not None else None
    contract = chain.contract if chain is not None else None
    return SettlerReport(
        state=_state(ledger, fault, actions, bool(steps or memory.sent), memory),
        fault=_since(fault, now, memory),
        head_number=chain.head_number if chain else None,
        head_time_s=chain.head_time_s if chain else None,
        confirmed_number=chain.confirmed_number if chain else None,
        looked_ms=memory.looked_ms,
        next_action=ledger.next_action,
        next_nonce=contract.next_nonce if contract else None,
        next_event=ledger.next_event,
        events_seen=contract.next_event_nonce if contract else None,
        funds=contract.deposited - contract.allocated if contract else None,
        paused=contract.paused if contract else False,
        under_way=len(memory.sent),
        actions=actions,
        notes=chain.notes if chain else (),
        reorgs=memory.reorgs,
        reorg_text=memory.reorg_text,
    )


def _state(
    ledger: LedgerView, fault: Fault | None, actions: Sequence[ActionReport], is_busy: bool, memory: Memory
) -> SettlerState:
    if ledger.contract is None:
        return "off"
    if fault is not None:
        return "waiting"
    if not ledger.operator:
        return "observing"
    if any(action.phase in _BLOCKED for action in actions):
        return "waiting"
    events = memory.sight.chain.contract.next_event_nonce if memory.sight is not None else 0
    return "working" if is_busy or actions or events > ledger.next_event else "idle"


def _since(fault: Fault | None, now: Now, memory: Memory) -> SettlerFault | None:
    if fault is None:
        return None
    before = memory.fault
    since_ms = before.since_ms if before is not None and before.code == fault.code else now.unix_ms
    return SettlerFault(code=fault.code, text=fault.text, since_ms=since_ms)


def _action(
    ledger: LedgerView, entry: LedgerAction, standing: Standing | None, intents: Sequence[Prepared], now: Now
) -> ActionReport:
    action = entry.action
    own = [intent for intent in intents if intent.action_nonce == action.nonce]
    newest = max(own, key=lambda each: (each.prepared_ms, each.account_nonce, each.attempt), default=None)
    failure = standing.failure if standing is not None else None
    return ActionReport(
        nonce=action.nonce,
        kind=action.kind,
        epoch=action.epoch,
        total=entry.total,
        signatures=len(entry.signatures),
        threshold=entry.owners.threshold if entry.owners is not None else 0,
        signed_here=has_signed(ledger, entry),
        phase=standing.phase if standing is not None else _without_chain(ledger, entry),
        attempts=len(own),
        transaction_hash=newest.transaction_hash if newest is not None else b"",
        account_nonce=newest.account_nonce if newest is not None else None,
        turn=standing.turn if standing is not None else b"",
        code=failure.code if failure is not None else "",
        text=failure.text if failure is not None else "",
        retry_in_ms=milliseconds_left(failure, now.monotonic_ns),
    )


def _without_chain(ledger: LedgerView, entry: LedgerAction) -> ActionPhase:
    if entry.action.height > ledger.certified_height:
        return "uncertified"
    return "ordered" if entry.is_signed else "collecting"
