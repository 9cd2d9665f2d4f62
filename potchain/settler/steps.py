"""What there is to do now: the answers of `reconcile`. Each may be carried out twice without harm. Data only."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from potchain.settlement import Layer2Event, Prepared, ReadyAction


class Sign(msgspec.Struct, frozen=True, kw_only=True):
    """Sign an action and send the signature to the ledger."""

    action_nonce: int
    digest: bytes
    """Derived from this node's own state."""


class Vote(msgspec.Struct, frozen=True, kw_only=True):
    """Tell the ledger of a confirmed event."""

    event: Layer2Event


class Prepare(msgspec.Struct, frozen=True, kw_only=True):
    """Have the back end make a transaction, write it down, then send it."""

    ready: ReadyAction
    replaces: Prepared | None = None
    """Take its account nonce, at a higher fee."""


class Submit(msgspec.Struct, frozen=True, kw_only=True):
    """Send again what is written down."""

    prepared: Prepared


class Forget(msgspec.Struct, frozen=True, kw_only=True):
    """Strike a transaction out: nothing depends on it any more."""

    prepared: Prepared
    reason: str


Step: TypeAlias = Sign | Vote | Prepare | Submit | Forget
