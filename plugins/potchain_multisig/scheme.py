"""What the two schemes have in common, as the rest of the plug-in sees it."""

from __future__ import annotations

from typing import Protocol

from potchain import ContractState, ReadyAction
from potchain_multisig.agreement import Look
from potchain_multisig.calls import Artifact, Interface
from potchain_multisig.endpoints import Call


class Scheme(Protocol):
    """How the ledger's actions are done on the chain, and how the contract is read."""

    artifact: Artifact
    """Of the contract that holds the money."""
    errors: Interface
    """Knows the errors of that contract."""

    async def verify(self, look: Look) -> None:
        """That contract and ledger mean the same. Raises SettlementError(`wrong_contract`)."""
        ...

    async def state(self, look: Look) -> ContractState:
        """The contract after the head."""
        ...

    async def events_at(self, look: Look, block_hash: bytes) -> int:
        """How many events the contract had after a block."""
        ...

    async def require_in_step(self, look: Look) -> None:
        """That signatures over the ledger's digests can be valid now. Raises SettlementError(`safe_moved`)."""
        ...

    def plan(self, ready: ReadyAction) -> Call:
        """The call that executes an action. Raises SettlementError(`unsupported`)."""
        ...

    def inner(self, call: Call) -> Call | None:
        """A part of such a call that says better why it is refused, if there is one."""
        ...
