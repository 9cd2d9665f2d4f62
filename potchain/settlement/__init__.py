"""Settlement on Layer 2: the values and the interface that ledger, settler and back ends share."""

from potchain.settlement.actions import Action, ActionKind, Contract, Entry, Owners, domain_separator, multisig_digest
from potchain.settlement.events import (
    BatchSeen,
    DepositSeen,
    Layer2Event,
    PauseSeen,
    RootSeen,
    RotationSeen,
)
from potchain.settlement.interface import (
    BackendContext,
    ChainView,
    ContractState,
    Prepared,
    ReadyAction,
    RelayState,
    SettlementBackend,
    SettlementBackendFactory,
)

__all__ = [
    "Action", "ActionKind", "BackendContext", "BatchSeen", "ChainView", "Contract", "ContractState", "DepositSeen",
    "Entry", "Layer2Event", "Owners", "PauseSeen", "Prepared", "ReadyAction", "RelayState", "RootSeen", "RotationSeen",
    "SettlementBackend", "SettlementBackendFactory", "domain_separator", "multisig_digest",
]  # fmt: skip
