"""The digest that operators sign for an action, whatever the scheme of the bound contract."""

from __future__ import annotations

from potchain.settlement.actions import SCHEMES, Action, Contract, multisig_digest
from potchain.settlement.safe import SAFE_KINDS, safe_digest


def can_do(scheme: str, kind: str) -> bool:
    """Whether contracts of that scheme have that kind of action: all do all, but a Safe rotates its owners itself."""
    return scheme in SCHEMES and (scheme != "safe" or kind in SAFE_KINDS)


def action_digest(contract: Contract, action: Action) -> bytes:
    """32 bytes. `contract.scheme` is one of `SCHEMES`: binding checks it.

    Raises SettlementError(`unsupported`) for a kind that `can_do` denies; governance refuses those before.
    """
    return safe_digest(contract, action) if contract.scheme == "safe" else multisig_digest(contract, action)
