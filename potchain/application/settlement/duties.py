"""Whose duties are free: operators of the epoch, and owners of the bound contract while there is something to sign."""

from __future__ import annotations

from potchain.application.interface import StateReader
from potchain.application.settlement.records import live_owners, observations
from potchain.genesis import Epoch

CHANGES_FREE_MAX = 8
"""How often an operator may change its vote on one event for nothing: a chain that reorganises needs a few; votes back
and forth without end would be free room in blocks. More pay the base fee."""


def is_on_duty(sender: bytes, state: StateReader, epoch: Epoch) -> bool:
    """Whether duties of that account take their place for any fee."""
    if any(member.operator == sender for member in epoch.members):
        return True
    return any(sender in owners.owners for owners in live_owners(state))


def is_fickle(sender: bytes, event_nonce: int, state: StateReader) -> bool:
    """Whether that operator has changed its vote on that event so often that a change is not free any more."""
    votes = observations(state, event_nonce).votes
    return any(vote.operator == sender and vote.changes >= CHANGES_FREE_MAX for vote in votes)
