"""What a settler needs of the node around it. Tests and the simulator hand in their own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from potchain.api.ports import SubmitOutcome
from potchain.settlement import Contract, Prepared, SettlementBackend
from potchain.settler.view import LedgerView
from potchain.transactions import Transaction, TransactionTypes

MakeBackend = Callable[[Contract], Awaitable[SettlementBackend]]
"""Makes a back end for a bound contract, not open. Raises SettlementError(`not_configured`)."""


class LedgerPort(Protocol):
    """The running node; called on the event loop."""

    types: TransactionTypes

    def settlement_view(self, operator: bytes) -> LedgerView:
        """The ledger as of the highest executed block."""
        ...

    async def submit(self, transactions: Sequence[Transaction]) -> tuple[SubmitOutcome, ...]:
        """As for clients of the API."""
        ...

    async def wait_height(self, height: int, *, certified: bool, timeout_s: float) -> bool:
        """Until that height is durable (and final); False when the time ran out."""
        ...


class IntentStore(Protocol):
    """Prepared transactions that survive a crash. All raise LedgerError."""

    async def load(self, scope: bytes) -> tuple[Prepared, ...]:
        """Everything of a scope."""
        ...

    async def put(self, scope: bytes, prepared: Prepared) -> None:
        """Durable when it returns. Putting the same twice is allowed."""
        ...

    async def remove(self, scope: bytes, prepared: Prepared) -> None:
        """Removing what is not there is allowed."""
        ...
