"""An engine's state for people: what it waits for, and everything it knows.

A status is cheap enough to be asked for every second; a dump is for bug reports and holds every message whole.
"""

from __future__ import annotations

import msgspec

from potchain import ConsensusMessage, EngineStatus, Epoch, Quorum, SlotStatus, encode
from potchain_pbft.agreement import Agreement
from potchain_pbft.checkpoints import Checkpoints
from potchain_pbft.log import MessageLog, Slot
from potchain_pbft.messages import COMMIT, PRE_PREPARE, PREPARE
from potchain_pbft.normal_case import NormalCase
from potchain_pbft.patience import Patience
from potchain_pbft.view import ACTIVE, CHANGING, CurrentView
from potchain_pbft.view_changing import ViewChanging
from potchain_pbft.view_messages import NEW_VIEW, VIEW_CHANGE

AWAITED = {
    "no pre-prepare": (PRE_PREPARE,),
    "checking": (),
    "refused": (),
    "preparing": (PREPARE,),
    "prepared": (COMMIT,),
    "committed": (),
}
"""For each phase of a slot the kinds of message that take it further. Refused waits for the primary to send
the same proposal again, committed for the proposal's bodies."""


class SlotDump(msgspec.Struct, frozen=True, kw_only=True):
    """One slot of the log; messages and certificates in canonical bytes (base64 in the JSON)."""

    view: int
    sequence: int
    phase: str
    digest: bytes | None
    committed: bytes | None
    checks: int
    refusal: str | None
    pre_prepare: bytes | None
    prepared: bytes | None
    prepares: list[bytes]
    commits: list[bytes]
    accused: list[tuple[str, bytes]]


class EngineDump(msgspec.Struct, frozen=True, kw_only=True):
    """Everything an engine knows."""

    status: EngineStatus
    entered: bytes | None
    """Canonical proof of the view entered last."""
    view_changes: list[bytes]
    """The newest of each member."""
    pending_new_view: bytes | None
    slots: list[SlotDump]
    held: list[bytes]
    """Digests of the proposals whose bodies are pinned."""
    decided_ahead: list[int]
    missing: list[int]
    certified_checkpoints: list[int]
    next_sequence: int
    asked: int | None


def status(
    epoch: Epoch,
    current: CurrentView,
    log: MessageLog,
    agreement: Agreement,
    checkpoints: Checkpoints,
    views: ViewChanging,
    patience: Patience,
) -> EngineStatus:
    """What an engine waits for, sequence by sequence."""
    slots = log.in_order()
    names: dict[bytes, str] = {node: member.name for node, member in zip(epoch.ids, epoch.members, strict=True)}
    undecided: dict[int, Slot] = {}
    for slot in slots:
        # What an abandoned view left behind, or a single member says, is not in flight.
        here = slot.view == current.view and (slot.digest is not None or slot.sequence in patience)
        if not agreement.is_decided(slot.sequence) and (here or slot.committed is not None):
            undecided[slot.sequence] = slot
    return EngineStatus(
        view=current.view,
        primary=current.primary,
        mode=current.mode,
        low_water_mark=log.low,
        high_water_mark=log.high,
        last_decided=agreement.last_decided,
        in_flight=tuple(_slot_status(slot, epoch, names) for slot in undecided.values()),
        view_change=None if current.mode == ACTIVE else _view_status(current, views, epoch, names),
        view_timeout_ns=patience.timeout_ns,
        buffers={
            "slots": len(slots),
            "pre_prepares": sum((slot.pre_prepare is not None) + (slot.early is not None) for slot in slots),
            "prepares": sum(len(slot.prepares.by_sender) for slot in slots),
            "commits": sum(len(slot.commits.by_sender) for slot in slots),
            "proposals": len(log.held),
            "decided_ahead": len(agreement.decided_ahead),
            "missing_proposals": len(agreement.missing),
            "certified_checkpoints": len(checkpoints),
            "in_flight": len(patience),
            **views.sizes(),
        },
    )


def dump(
    status: EngineStatus,
    current: CurrentView,
    log: MessageLog,
    agreement: Agreement,
    checkpoints: Checkpoints,
    views: ViewChanging,
    normal: NormalCase,
) -> bytes:
    """JSON of everything; the same state gives the same bytes."""
    return msgspec.json.encode(
        EngineDump(
            status=status,
            entered=None if current.entered is None else encode(current.entered),
            view_changes=_messages(views.latest),
            pending_new_view=None if views.pending is None else encode(views.pending),
            slots=[_slot_dump(slot) for slot in log.in_order()],
            held=sorted(log.held),
            decided_ahead=sorted(agreement.decided_ahead),
            missing=sorted(agreement.missing),
            certified_checkpoints=list(checkpoints.waiting),
            next_sequence=normal.next_sequence,
            asked=normal.asked,
        )
    )


def _view_status(current: CurrentView, views: ViewChanging, epoch: Epoch, names: dict[bytes, str]) -> SlotStatus:
    """Whose view changes for the view are held, and whether its new view is what is missing."""
    senders = {sender for sender, held in views.latest.items() if held.view == current.view}
    held = [name for node, name in names.items() if node in senders]
    missing = [name for name in names.values() if name not in held]
    if current.mode == CHANGING and len(held) < Quorum(len(names)).quorum:
        waits = {VIEW_CHANGE: missing}
    else:
        waits = {NEW_VIEW: [names[current.primary]]}
    phase = f"{current.mode} to view {current.view}" if current.mode == CHANGING else f"following view {current.view}"
    return SlotStatus(sequence=0, phase=phase, digest=None, held={VIEW_CHANGE: held}, missing=waits)


def phase_of(slot: Slot) -> str:
    """How far a slot is: a key of `AWAITED`."""
    if slot.committed is not None:
        return "committed"
    if slot.prepared is not None:
        return "prepared"
    if slot.accepted:
        return "preparing"
    if slot.refusal is not None:
        return "refused"
    return "no pre-prepare" if slot.digest is None else "checking"


def _slot_status(slot: Slot, epoch: Epoch, names: dict[bytes, str]) -> SlotStatus:
    phase = phase_of(slot)
    primary = epoch.primary(slot.view)
    held = {
        PRE_PREPARE: [names[primary]] if slot.pre_prepare is not None else [],
        PREPARE: [name for node, name in names.items() if node in slot.prepares.by_sender],
        COMMIT: [name for node, name in names.items() if node in slot.commits.by_sender],
    }
    voters = {
        PRE_PREPARE: [names[primary]],
        PREPARE: [name for node, name in names.items() if node != primary],
        COMMIT: list(names.values()),
    }
    missing = {kind: [name for name in voters[kind] if name not in held[kind]] for kind in AWAITED[phase]}
    digest = None if slot.digest is None else "0x" + slot.digest.hex()
    return SlotStatus(sequence=slot.sequence, phase=phase, digest=digest, held=held, missing=missing)


def _slot_dump(slot: Slot) -> SlotDump:
    return SlotDump(
        view=slot.view,
        sequence=slot.sequence,
        phase=phase_of(slot),
        digest=slot.digest,
        committed=slot.committed,
        checks=slot.checks,
        refusal=slot.refusal,
        pre_prepare=None if slot.pre_prepare is None else encode(slot.pre_prepare),
        prepared=None if slot.prepared is None else encode(slot.prepared),
        prepares=_messages(slot.prepares.by_sender),
        commits=_messages(slot.commits.by_sender),
        accused=sorted(slot.accused),
    )


def _messages(by_sender: dict[bytes, ConsensusMessage]) -> list[bytes]:
    return [encode(by_sender[sender]) for sender in sorted(by_sender)]
