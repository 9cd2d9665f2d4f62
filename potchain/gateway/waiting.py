"""What a node waits for, in words: pure functions from a picture of the replica to sentences.

Each wait is a phrase that fits behind "waiting for". They come in the order in which one explains the next: who may not
vote yet does not vote, who lacks blocks cannot judge proposals, who has no view has no primary, and so on. So the first
one is what an operator should look at, and `stalled`, `/v1/consensus` and `potchain status --why` all begin with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from potchain.api.ports import Wait
from potchain.consensus.interface import EngineStatus, SlotStatus
from potchain.primitives import NS_PER_MS
from potchain.replica import Replica
from potchain.replica.rejoin import Standing

NO_WORK = "nothing: there is no work"
SEQUENCES_SHOWN = 8
"""Sequences in flight that get a sentence of their own; the rest is counted in one."""
_SETTLED = (Standing.VOTING.value, Standing.OBSERVER.value)


class Picture(msgspec.Struct, frozen=True, kw_only=True):
    """What the sentences are made of; names are those of the epoch."""

    standing: str | None = None
    """How far this node is from voting, in the words of its replica; None when it votes or only observes."""
    unanswered: Sequence[str] = ()
    """Members that have not answered what this node asks after a restart."""
    applied: int
    """Highest durable block."""
    credible_height: int
    """Certified height of which enough peers speak that one of them is correct."""
    is_behind: bool
    asked: tuple[str, int] | None = None
    """Peer that was asked for blocks, and how long ago, ms."""
    engine: EngineStatus
    primary: str
    is_primary: bool
    transactions: int = 0
    """Could be proposed and are not."""
    transactions_ms: int | None = None
    """How long the first of them has waited."""
    ends: tuple[int, int] | None = None
    """Last height of the epoch, and the number of the next one, once a change is decided."""
    uncertified: Mapping[int, Sequence[str]] = {}
    """Executed heights without a certificate, with the members whose block vote is missing."""
    steps_held: int = 0
    """Steps of the replica that wait for the vote log."""
    batches_queued: int = 0
    """Requests on their way to the vote log."""
    blocks_queued: int = 0
    """Blocks and certificates on their way to the ledger."""
    connected: Sequence[str] = ()
    unconnected: Sequence[str] = ()


def picture_of(replica: Replica, now_ns: int, *, batches_queued: int, blocks_queued: int) -> Picture:
    """The replica now; `now_ns` is monotonic."""
    epoch, engine, catch_up = replica.epoch, replica.engine.status(), replica.catch_up
    count, since_ns = replica.pool.proposable()
    request = catch_up.request
    others = [node for node in epoch.ids if node != replica.me]
    pending = replica.epochs.pending
    return Picture(
        standing=None if replica.standing in _SETTLED else replica.standing,
        unanswered=[epoch.name_of(node) for node in replica.returning.unanswered],
        applied=replica.applied,
        credible_height=catch_up.credible_height,
        is_behind=catch_up.is_behind(replica.applied),
        asked=None if request is None else (replica.epochs.name_of(request[0]), (now_ns - request[1]) // NS_PER_MS),
        engine=engine,
        primary=epoch.name_of(engine.primary),
        is_primary=engine.primary == replica.me,
        transactions=count,
        transactions_ms=None if since_ns is None else (now_ns - since_ns) // NS_PER_MS,
        ends=None if pending is None else (pending.first_sequence - 1, pending.number),
        uncertified=replica.certifier.missing(),
        steps_held=replica.sizes()["steps_waiting_for_disk"],
        batches_queued=batches_queued,
        blocks_queued=blocks_queued,
        connected=[epoch.name_of(node) for node in others if node in replica.connected],
        unconnected=[epoch.name_of(node) for node in others if node not in replica.connected],
    )


def waits_of(picture: Picture) -> tuple[Wait, ...]:
    """Everything that is missing, what explains the rest first."""
    return (
        *_standing(picture),
        *_blocks(picture),
        *_view(picture),
        *_sequences(picture.engine.in_flight),
        *_proposal(picture),
        *_epoch(picture),
        *_certificates(picture.uncertified),
        *_disk(picture),
        *_peers(picture),
    )


def waiting_for(waits: Sequence[Wait]) -> str:
    """The first of them. A peer that is away is no reason by itself."""
    return next((wait.text for wait in waits if wait.kind != "peers"), NO_WORK)


def listed(names: Iterable[str]) -> str:
    """Names with commas."""
    return ", ".join(names)


def heights(first: int, last: int) -> str:
    """One height, or a range."""
    return f"{first}" if first == last else f"{first} to {last}"


def _standing(picture: Picture) -> Iterable[Wait]:
    if picture.standing is not None:
        missing = f"; no answer from {listed(picture.unanswered)}" if picture.unanswered else ""
        text = f"the right to vote ({picture.standing}{missing})"
        yield Wait(kind="standing", text=text, missing=tuple(picture.unanswered))


def _blocks(picture: Picture) -> Iterable[Wait]:
    if not (picture.is_behind or picture.asked) or picture.credible_height <= picture.applied:
        return
    what = f"blocks {heights(picture.applied + 1, picture.credible_height)}"
    if picture.asked is None:
        yield Wait(kind="blocks", text=f"{what} from peers")
    else:
        peer, since_ms = picture.asked
        yield Wait(kind="blocks", text=f"{what} from {peer}", missing=(peer,), since_ms=since_ms)


def _view(picture: Picture) -> Iterable[Wait]:
    slot = picture.engine.view_change
    if slot is not None:
        text = f"an active view ({slot.phase}): {_missing(slot)}"
        yield Wait(kind="view", text=text, missing=_names(slot))


def _sequences(slots: Sequence[SlotStatus]) -> Iterable[Wait]:
    for slot in slots[:SEQUENCES_SHOWN]:
        text = f"sequence {slot.sequence} ({slot.phase}): {_missing(slot)}"
        yield Wait(kind="sequence", text=text, missing=_names(slot), sequence=slot.sequence)
    if len(slots) > SEQUENCES_SHOWN:
        rest = slots[SEQUENCES_SHOWN:]
        text = f"{len(rest)} more sequences, up to {max(slot.sequence for slot in rest)}"
        yield Wait(kind="sequence", text=text, sequence=rest[0].sequence)


def _proposal(picture: Picture) -> Iterable[Wait]:
    if not picture.transactions:
        return
    count = f"{picture.transactions} transaction{'s' if picture.transactions > 1 else ''}"
    oldest = "" if picture.transactions_ms is None else f", waiting for {picture.transactions_ms} ms"
    missing: tuple[str, ...] = ()
    if picture.engine.view_change is not None:
        text = f"a primary to propose {count}{oldest}"
    elif picture.is_primary:
        text = f"this node, the primary, to propose {count}{oldest}"
    else:
        reachable = "connected" if picture.primary in picture.connected else "not connected"
        text = f"a proposal from primary {picture.primary} ({reachable}) of {count}{oldest}"
        missing = (picture.primary,)
    yield Wait(kind="proposal", text=text, missing=missing, since_ms=picture.transactions_ms)


def _epoch(picture: Picture) -> Iterable[Wait]:
    if picture.ends is None:
        return
    last, number = picture.ends
    if picture.engine.last_decided >= last:
        text = f"block {last}, with which epoch {number} begins, to be executed and certified here"
    else:
        left = heights(picture.engine.last_decided + 1, last)
        proposer = "this node, the primary," if picture.is_primary else f"primary {picture.primary}"
        text = f"{proposer} to fill up to the end of the epoch (sequences {left}); epoch {number} follows"
    missing = () if picture.is_primary or picture.engine.last_decided >= last else (picture.primary,)
    yield Wait(kind="epoch", text=text, missing=missing, sequence=last)


def _certificates(uncertified: Mapping[int, Sequence[str]]) -> Iterable[Wait]:
    """Heights in a row that lack the votes of the same members share a sentence."""
    first = last = 0
    missing: Sequence[str] = ()
    for height in sorted(uncertified):
        if first and height == last + 1 and list(uncertified[height]) == list(missing):
            last = height
            continue
        if first:
            yield _certificate(first, last, missing)
        first, last, missing = height, height, uncertified[height]
    if first:
        yield _certificate(first, last, missing)


def _certificate(first: int, last: int, missing: Sequence[str]) -> Wait:
    word = "height" if first == last else "heights"
    names = listed(missing) or "this node itself"
    text = f"block votes for {word} {heights(first, last)} from {names}"
    return Wait(kind="certificates", text=text, missing=tuple(missing), sequence=first)


def _disk(picture: Picture) -> Iterable[Wait]:
    if picture.steps_held or picture.batches_queued:
        count = max(picture.steps_held, picture.batches_queued)
        word = "batch waits" if count == 1 else "batches wait"
        yield Wait(kind="disk", text=f"the disk of the vote log: {count} {word} for it")
    if picture.blocks_queued:
        text = f"the disk of the ledger: {picture.blocks_queued} of blocks and certificates are queued"
        yield Wait(kind="disk", text=text)


def _peers(picture: Picture) -> Iterable[Wait]:
    if picture.unconnected:
        connected, all_peers = len(picture.connected), len(picture.connected) + len(picture.unconnected)
        text = f"connections to {listed(picture.unconnected)} ({connected} of {all_peers} peers are connected)"
        yield Wait(kind="peers", text=text, missing=tuple(picture.unconnected))


def _missing(slot: SlotStatus) -> str:
    missing = [f"{kind} from {listed(names)}" for kind, names in sorted(slot.missing.items()) if names]
    return "; ".join(missing) or "this node itself"


def _names(slot: SlotStatus) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for _, names in sorted(slot.missing.items()) for name in names))
