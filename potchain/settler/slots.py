"""Prepared transactions by the account nonce that they compete for. Pure.

Theory of operation. Of all transactions with one account nonce a chain takes exactly one. So the unit that is followed
is the *slot* (relay account, account nonce) with its attempts: a first transaction, replacements of it with a higher
fee, and perhaps, when another relayer was faster, the transaction of a later action in its place. A slot is *used* when
one of its attempts was mined or refused by the contract, or a transaction that we do not know took the nonce; until
then it is *live*, and each of its attempts may still be mined.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from potchain.settlement import Prepared, RelayState

SlotState = Literal["mined", "reverted", "replaced", "pending", "unknown"]


class Slot(msgspec.Struct, frozen=True, kw_only=True):
    """One account nonce and what we sent for it."""

    account: bytes
    account_nonce: int
    attempts: tuple[Prepared, ...]
    """The newest last; at least one."""
    state: SlotState
    settled_by: Prepared | None
    """The attempt that was mined or reverted."""
    confirmations: int
    """Of that one."""
    detail: str
    """The contract's error, when it reverted."""

    @property
    def newest(self) -> Prepared:
        """The attempt with the highest fee."""
        return self.attempts[-1]

    @property
    def is_live(self) -> bool:
        """Whether an attempt may still be mined."""
        return self.state in ("pending", "unknown")

    def holds(self, action_nonce: int) -> bool:
        """Whether an attempt executes that action."""
        return any(attempt.action_nonce == action_nonce for attempt in self.attempts)


def slots_of(intents: Iterable[Prepared], relays: Mapping[bytes, RelayState]) -> tuple[Slot, ...]:
    """All slots, by account and account nonce. What was not followed yet is unknown."""
    grouped: dict[tuple[bytes, int], list[Prepared]] = {}
    for intent in intents:
        grouped.setdefault((intent.account, intent.account_nonce), []).append(intent)
    return tuple(_slot(grouped[place], relays) for place in sorted(grouped))


def _slot(intents: list[Prepared], relays: Mapping[bytes, RelayState]) -> Slot:
    attempts = tuple(sorted(intents, key=lambda each: (each.attempt, each.fee_per_gas_wei, each.transaction_hash)))
    states = [(attempt, relays.get(attempt.transaction_hash, _UNSEEN)) for attempt in attempts]
    state: SlotState
    by: Prepared | None = None
    final = _UNSEEN
    for phase in ("mined", "reverted"):
        found = [(attempt, each) for attempt, each in states if each.phase == phase]
        if found:
            by, final = found[0]
            break
    phases = [each.phase for _, each in states]
    if by is not None:
        state = "mined" if final.phase == "mined" else "reverted"
    elif all(phase == "replaced" for phase in phases):
        state = "replaced"
    elif "pending" in phases or "replaced" in phases:
        state = "pending"  # mixed answers: the attempts were asked for one after the other; the next look says more
    else:
        state = "unknown"
    return Slot(
        account=attempts[0].account,
        account_nonce=attempts[0].account_nonce,
        attempts=attempts,
        state=state,
        settled_by=by,
        confirmations=final.confirmations,
        detail=final.detail,
    )


_UNSEEN = RelayState(phase="unknown")
