"""The shipping settler as a part of a simulated process: its intents on the simulated disk, its crash points, its key.

An intent takes the disk's time and becomes durable between the boundaries "before intent write" and "after intent
write", as votes do; a power cut may tear it. A submission has boundaries of its own (`SimBackend.submit`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import cache
from hashlib import sha256
from typing import Protocol

from potchain.api.ports import SettlementStatus, SubmitOutcome
from potchain.crypto import SigningKey
from potchain.driver.clock import Clock
from potchain.gateway import Gateway
from potchain.ledger.database import Database
from potchain.primitives import NS_PER_MS, NS_PER_S
from potchain.replica import Replica
from potchain.settlement import Contract, Prepared, SettlementBackend
from potchain.settlement.report import SettlerFault
from potchain.settler.intents import SqlIntents, scope_of
from potchain.settler.node_ledger import NodeLedger
from potchain.settler.reconcile import SettlerOptions
from potchain.settler.relaying import RelayOptions
from potchain.settler.settler import Settler
from potchain.settler.view import LedgerView
from potchain.sim.layer2.endpoint import Endpoint, SimBackend
from potchain.transactions import Transaction

BACKEND = "simulated"


@cache
def operator_key(node: int) -> SigningKey:
    """Of a node's operator: the same in every run."""
    return SigningKey(sha256(f"potchain simulated operator {node}".encode()).digest())


@cache
def relay_key(node: int) -> SigningKey:
    """Of the account that pays for a node's gas."""
    return SigningKey(sha256(f"potchain simulated relay {node}".encode()).digest())


class SettlingHost(Protocol):
    """What settling needs of its node."""

    index: int

    @property
    def write_ns(self) -> int:
        """How long a commit takes now."""
        ...

    @property
    def clock(self) -> Clock:
        """Its readings of time."""
        ...

    def boundary(self, what: str) -> bool:
        """One more boundary; False when the node crashes there, and nothing more may be done."""
        ...


Duties = Callable[[int, Sequence[Transaction]], None]
"""Told of a node and the signatures and votes that its settler hands to its pool now."""
Relays = Callable[[int, Prepared, bool], None]
"""Told of a node, what its settler sends to Layer 2 now, and whether that is written down."""
Faults = Callable[[int, SettlerFault], None]
"""Told of a node and what its settler has reported to stand in its way."""


class VirtualIntents:
    """`potchain.settler.ports.IntentStore` in virtual time."""

    def __init__(self, host: SettlingHost, store: SqlIntents) -> None:
        self._host = host
        self._store = store
        self._under_way: Callable[[], None] | None = None

    async def load(self, scope: bytes) -> tuple[Prepared, ...]:
        """Everything of a scope. Raises LedgerError."""
        return self._store.load(scope)

    async def put(self, scope: bytes, prepared: Prepared) -> None:
        """Durable when it returns. Raises LedgerError."""
        await self._write(lambda: self._store.put(scope, prepared))

    async def remove(self, scope: bytes, prepared: Prepared) -> None:
        """Strike one out. Raises LedgerError."""
        await self._write(lambda: self._store.remove(prepared))

    def tear(self) -> bool:
        """At a power cut: carry out the write under way, so that the disk can cut it; False when there is none."""
        if self._under_way is None:
            return False
        self._under_way()
        return True

    async def _write(self, work: Callable[[], None]) -> None:
        self._under_way = work
        await asyncio.sleep(self._host.write_ns / NS_PER_S)
        if not self._host.boundary("before intent write"):
            await _dead()
        self._under_way = None
        work()
        if not self._host.boundary("after intent write"):
            await _dead()


class _WatchedLedger(NodeLedger):
    """The shipping port; what it submits is shown to the checkers first, and what its settler reported before."""

    def __init__(
        self,
        node: int,
        duties: Duties,
        looked: Callable[[], None],
        gateway: Gateway,
        replica: Replica,
        certified: Callable[[], int],
    ) -> None:
        super().__init__(gateway, replica, certified)
        self._node = node
        self._duties = duties
        self._looked = looked

    def settlement_view(self, operator: bytes) -> LedgerView:
        """The ledger now; every round of the settler begins with it."""
        self._looked()
        return super().settlement_view(operator)

    async def submit(self, transactions: Sequence[Transaction]) -> tuple[SubmitOutcome, ...]:
        """As for clients of the API."""
        self._duties(self._node, transactions)
        return await super().submit(transactions)


class Settling:
    """The settler of one life of a node."""

    def __init__(
        self,
        host: SettlingHost,
        endpoint: Endpoint,
        votes: Database,
        genesis_hash: bytes,
        duties: Duties,
        relays: Relays,
        faults: Faults,
    ) -> None:
        self._host = host
        self._duties = duties
        self._relays = relays
        self._faults = faults
        self._endpoint = endpoint
        self._store = SqlIntents(votes)
        self._genesis_hash = genesis_hash
        self._contract: Contract | None = None
        self._intents = VirtualIntents(host, self._store)
        options = endpoint.options
        self.settler = Settler(
            backend=BACKEND,
            make_backend=self._make,
            intents=self._intents,
            clock=host.clock,
            genesis_hash=genesis_hash,
            operator=operator_key(host.index),
            options=SettlerOptions(
                relay=RelayOptions(
                    account=relay_key(host.index).address,
                    confirmations=options.confirmations,
                    turn_ns=options.relay_turn_ms * NS_PER_MS,
                    stuck_after_ns=options.stuck_after_ms * NS_PER_MS,
                ),
            ),
            poll_ms=options.poll_ms,
        )

    def status(self) -> SettlementStatus:
        """For the API."""
        return self.settler.status()

    def tear(self) -> bool:
        """See `VirtualIntents.tear`."""
        return self._intents.tear()

    def start(self, gateway: Gateway, replica: Replica, certified: Callable[[], int]) -> None:
        """Begin to settle."""
        port = _WatchedLedger(self._host.index, self._duties, self._looked, gateway, replica, certified)
        self.settler.attach(port)
        asyncio.get_running_loop().create_task(self.settler.run()).add_done_callback(_ended)

    def _looked(self) -> None:
        fault = self.settler.status().report.fault
        if fault is not None:
            self._faults(self._host.index, fault)

    async def _make(self, contract: Contract) -> SettlementBackend:
        self._contract = contract
        return SimBackend(self._endpoint, relay_key(self._host.index), self._host.boundary, self._relayed)

    def _relayed(self, prepared: Prepared) -> None:
        assert self._contract is not None
        stored = self._store.load(scope_of(self._genesis_hash, self._contract))
        self._relays(self._host.index, prepared, prepared in stored)


async def _dead() -> None:
    """For as long as the loop is not buried yet."""
    await asyncio.get_running_loop().create_future()


def _ended(task: asyncio.Task[None]) -> None:
    """A settler never ends by itself."""
    if not task.cancelled() and (bug := task.exception()) is not None:
        context = {"message": "the settler has ended", "exception": bug}
        task.get_loop().call_exception_handler(context)
