"""The digest that operators sign for an action, whatever the scheme of the bound contract."""

from __future__ import annotations

from potchain.settlement.actions import Action, Contract, multisig_digest


def action_digest(contract: Contract, action: Action) -> bytes:
    """32 bytes. `contract.scheme` is one of `SCHEMES`: binding checks it."""
    return multisig_digest(contract, action)
