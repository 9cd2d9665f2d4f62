"""How an application changes the validators or the parameters, and how the change becomes the next epoch.

Everything stands in the authenticated state, in three records: the current epoch, the epoch that follows it at a known
boundary, and a change that came too late for that boundary. A change decided at height h takes effect after C, the
first checkpoint at or above h + L, by the parameters of the epoch that decides it; up to there no sequence is in flight
that the new validators would have to know of. A change that comes while one is pending joins it when its C is the same;
otherwise it waits, joined with others of its kind, and becomes pending at C, as if it had been decided there.

`change_epoch` is for applications; it validates, so what is recorded always makes a sound epoch. `close_block` is the
executor's. Block C's header names the new epoch by digest.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from potchain.application.interface import BlockContext, EventData, StateReader, StateWriter
from potchain.codec import Canonical, decode, encode
from potchain.errors import TransactionFailed
from potchain.genesis import Epoch, Parameters, Validator, member_faults, parameter_faults
from potchain.primitives import Text, Uint64

CURRENT_KEY = b"epoch/current"
"""Record of the epoch of the next block: canonical `Epoch`."""
PENDING_KEY = b"epoch/pending"
"""Record of the epoch that begins after a boundary that is known already: canonical `Epoch`."""
QUEUED_KEY = b"epoch/queued"
"""Record of what came too late for that boundary: canonical `QueuedChange`."""


class QueuedChange(Canonical, frozen=True):
    """Validators and parameters of the epoch after the pending one; its boundary is not known yet."""

    members: tuple[Validator, ...]
    parameters: Parameters


class EpochPlanned(EventData, frozen=True):
    """A change of validators or parameters was decided."""

    number: Uint64
    """Of the epoch that will have it."""
    first_sequence: Uint64
    """Where that epoch begins; 0 while the one before it has not begun."""
    members: Uint64
    """How many validators it has."""


class EpochEnded(EventData, frozen=True):
    """This block is the last of its epoch."""

    next_number: Uint64
    first_sequence: Uint64
    members: Uint64


class EndBlockFailed(EventData, frozen=True):
    """What an application had to do at the end of the block was refused, and none of it was done."""

    application: Text
    code: Text


EPOCH_EVENTS: tuple[type[EventData], ...] = (EpochPlanned, EpochEnded, EndBlockFailed)
"""Events of the executor itself."""


def current_epoch(state: StateReader) -> Epoch:
    """The epoch of the block after this state."""
    data = state.get(CURRENT_KEY)
    assert data is not None, "the initial state has it, and nothing removes it"
    return decode(Epoch, data)


def pending_epoch(state: StateReader) -> Epoch | None:
    """The epoch that follows the current one at a known boundary, or None."""
    data = state.get(PENDING_KEY)
    return None if data is None else decode(Epoch, data)


def following_epoch(state: StateReader, epoch: bytes) -> bytes | None:
    """What follows an epoch, as far as this state knows: pending, or begun by the very block that made this state.

    Both in canonical bytes.
    """
    current = state.get(CURRENT_KEY)
    return state.get(PENDING_KEY) if current == epoch else current


def taken_over(records: Iterable[tuple[bytes, bytes]], epoch: Epoch) -> dict[bytes, bytes]:
    """The state that a recovered network begins with: the old one, with its own epoch and no pending change."""
    found = dict(records)
    found.pop(PENDING_KEY, None)
    found.pop(QUEUED_KEY, None)
    return found | {CURRENT_KEY: encode(epoch)}


def boundary_of(epoch: Epoch, height: int) -> int:
    """C: the last height of the epoch when a change is decided at `height`."""
    interval = epoch.parameters.checkpoint_interval
    return -(-(height + epoch.parameters.log_window) // interval) * interval


def planned_epoch(context: BlockContext, state: StateReader) -> tuple[tuple[Validator, ...], Parameters]:
    """What a change that is decided now starts from: validators and parameters with all earlier changes made."""
    data = state.get(QUEUED_KEY)
    if data is not None:
        queued = decode(QueuedChange, data)
        return queued.members, queued.parameters
    planned = pending_epoch(state) or context.epoch
    return planned.members, planned.parameters


def change_epoch(
    context: BlockContext,
    state: StateWriter,
    *,
    members: Sequence[Validator] | None = None,
    parameters: Parameters | None = None,
) -> EpochPlanned:
    """Decide in this block that a later epoch has these validators and parameters; None leaves them as planned.

    For applications, in `execute` and `end_block`; return the event among yours. Raises TransactionFailed with the
    code `invalid_epoch` when the result would be no sound epoch: no validators, a key or name twice, parameters that
    contradict each other.
    """
    planned_members, planned_parameters = planned_epoch(context, state)
    new_members = planned_members if members is None else tuple(members)
    new_parameters = planned_parameters if parameters is None else parameters
    faults = member_faults(new_members) + parameter_faults(new_parameters)
    if faults:
        raise TransactionFailed("invalid_epoch", "; ".join(faults))
    first_sequence = boundary_of(context.epoch, context.height) + 1
    pending = pending_epoch(state)
    if pending is None or pending.first_sequence == first_sequence:
        following = Epoch(context.epoch.number + 1, first_sequence, new_members, new_parameters)
        state.put(PENDING_KEY, encode(following))
        return EpochPlanned(following.number, first_sequence, len(new_members))
    state.put(QUEUED_KEY, encode(QueuedChange(new_members, new_parameters)))
    return EpochPlanned(pending.number + 1, 0, len(new_members))


def close_block(context: BlockContext, state: StateWriter) -> tuple[Epoch | None, tuple[EventData, ...]]:
    """After all else in a block: the epoch that follows it, when it is the last of its own, and what to tell."""
    following = pending_epoch(state)
    if following is None or following.first_sequence != context.height + 1:
        return None, ()
    state.put(CURRENT_KEY, encode(following))
    state.remove(PENDING_KEY)
    events: list[EventData] = [EpochEnded(following.number, following.first_sequence, len(following.members))]
    data = state.get(QUEUED_KEY)
    if data is not None:
        state.remove(QUEUED_KEY)
        queued = decode(QueuedChange, data)
        first_sequence = boundary_of(following, context.height) + 1
        after = Epoch(following.number + 1, first_sequence, queued.members, queued.parameters)
        state.put(PENDING_KEY, encode(after))
        events.append(EpochPlanned(after.number, first_sequence, len(after.members)))
    return following, tuple(events)
