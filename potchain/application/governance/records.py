"""Open proposals in the authenticated state. One that is decided has no record any more; its events are history."""

from __future__ import annotations

from potchain.application.interface import StateReader, StateWriter
from potchain.codec import Canonical, decode, encode
from potchain.primitives import Address, Bytes, Bytes32, Text, Uint64

PREFIX = b"governance/"
OPEN_KEY = PREFIX + b"open"
PROPOSAL_PREFIX = PREFIX + b"proposal/"

EXPIRY_MS = 7 * 24 * 3_600_000
"""How long a proposal may be voted on, in block time."""
PROPOSALS_OPEN_MAX = 64
"""Open proposals in all."""
PROPOSALS_PER_OPERATOR_MAX = 4
"""Open proposals of one operator: none can keep the others from proposing."""


class Proposal(Canonical, frozen=True, kw_only=True):
    """Something that operators vote on."""

    id: Bytes32
    """Of the transaction that proposes it."""
    kind: Text
    """Of that transaction."""
    body: Bytes
    """Its body, canonical."""
    proposer: Address
    expires_ms: Uint64
    """Block time after which it is rejected, Unix ms."""
    yes: tuple[Address, ...] = ()
    """Operators, in the order of their votes."""
    no: tuple[Address, ...] = ()


class OpenProposal(Canonical, frozen=True):
    """Enough of a proposal to bound and to expire it."""

    id: Bytes32
    proposer: Address
    expires_ms: Uint64


class OpenProposals(Canonical, frozen=True):
    """All open proposals, oldest first."""

    entries: tuple[OpenProposal, ...] = ()


def proposal(state: StateReader, proposal_id: bytes) -> Proposal | None:
    """An open proposal, or None: decided, expired or never made."""
    data = state.get(PROPOSAL_PREFIX + proposal_id)
    return None if data is None else decode(Proposal, data)


def open_entries(state: StateReader) -> tuple[OpenProposal, ...]:
    """Id, proposer and expiry of every open proposal, oldest first; at most PROPOSALS_OPEN_MAX."""
    data = state.get(OPEN_KEY)
    return () if data is None else decode(OpenProposals, data).entries


def open_proposals(state: StateReader) -> tuple[Proposal, ...]:
    """Every open proposal, oldest first."""
    found = [proposal(state, entry.id) for entry in open_entries(state)]
    return tuple([each for each in found if each is not None])


def save_proposal(state: StateWriter, changed: Proposal) -> None:
    """A proposal, new or with another vote."""
    entries = open_entries(state)
    if all(entry.id != changed.id for entry in entries):
        entry = OpenProposal(changed.id, changed.proposer, changed.expires_ms)
        state.put(OPEN_KEY, encode(OpenProposals((*entries, entry))))
    state.put(PROPOSAL_PREFIX + changed.id, encode(changed))


def drop_proposal(state: StateWriter, proposal_id: bytes) -> None:
    """It is decided."""
    left = tuple([entry for entry in open_entries(state) if entry.id != proposal_id])
    if left:
        state.put(OPEN_KEY, encode(OpenProposals(left)))
    else:
        state.remove(OPEN_KEY)
    state.remove(PROPOSAL_PREFIX + proposal_id)
