"""`LedgerPort` over a running node: the state is read on the event loop, as of the highest executed block."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from potchain.api.ports import NodePort, SubmitOutcome
from potchain.replica import Replica
from potchain.settler.view import LedgerView, ledger_view
from potchain.transactions import Transaction


class NodeLedger:
    """The node's own ledger, and the same way into its pool as for everybody else."""

    def __init__(self, port: NodePort, replica: Replica, certified: Callable[[], int]) -> None:
        """`certified`: height up to which every block is final."""
        self.types = port.types
        self._port = port
        self._replica = replica
        self._certified = certified

    def settlement_view(self, operator: bytes) -> LedgerView:
        """The ledger now."""
        replica = self._replica
        nonce = replica.chain.account(operator)[0] if operator else 0
        return ledger_view(
            replica.chain.state,
            certified_height=self._certified(),
            is_behind=replica.catch_up.is_behind(replica.applied),
            operator=operator,
            operators=tuple(member.operator for member in replica.epoch.members),
            account_nonce=nonce,
            next_nonce=replica.pool.next_nonce(operator, nonce) if operator else 0,
        )

    async def submit(self, transactions: Sequence[Transaction]) -> tuple[SubmitOutcome, ...]:
        """As for clients of the API."""
        return await self._port.submit(transactions)

    async def wait_height(self, height: int, *, certified: bool, timeout_s: float) -> bool:
        """Until that height is durable (and final); False when the time ran out."""
        return await self._port.wait_height(height, certified=certified, timeout_s=timeout_s)
