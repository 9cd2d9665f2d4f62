"""From the configuration to a running settler, and back to nothing when the node stops.

Keys are read before anything runs: a wrong password stops the start, not the first payment. The back end itself is made
when a contract is bound, which may be long after the start, and on a thread: it may have to import an EVM library.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import msgspec
import structlog

from potchain.api.ports import NodePort, SettlementStatus
from potchain.config import NodeConfig
from potchain.crypto import SigningKey
from potchain.driver.clock import Clock
from potchain.errors import KeyFileError, SettlementError
from potchain.keyfiles import load_account_key, read_password
from potchain.ledger.database import Database
from potchain.primitives import NS_PER_MS
from potchain.registry import Registry
from potchain.replica import Replica
from potchain.settlement import BackendContext, Contract, SettlementBackend, SettlementBackendFactory
from potchain.settler.intents import SqlIntents, ThreadedIntents
from potchain.settler.node_ledger import NodeLedger
from potchain.settler.reconcile import SettlerOptions
from potchain.settler.relaying import RelayOptions
from potchain.settler.report import OFF
from potchain.settler.settler import Settler
from potchain.tables import decode_table

log = structlog.get_logger("settler")

BOOKS_ONLY = "ledger"
"""The back end that needs no settler."""


class Settling:
    """The settler of a node with its task; or nothing at all, with the back end "ledger"."""

    def __init__(self, backend: str, settler: Settler | None) -> None:
        self._backend = backend
        self.settler = settler
        """None with the back end "ledger"."""
        self._task: asyncio.Task[None] | None = None

    def status(self) -> SettlementStatus:
        """For the API and metrics."""
        if self.settler is not None:
            return self.settler.status()
        return SettlementStatus(
            backend=self._backend, operator=None, relay_account=None, contract=None, report=OFF
        )

    def start(self, port: NodePort, replica: Replica, certified: Callable[[], int]) -> None:
        """Begin to settle, when the node runs."""
        if self.settler is not None:
            self.settler.attach(NodeLedger(port, replica, certified))
            self._task = asyncio.get_running_loop().create_task(self.settler.run())
            self._task.add_done_callback(_ended)

    async def close(self) -> None:
        """Stop; what is under way goes on at the next start."""
        if self._task is not None and self.settler is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            await self.settler.close()


def make_settling(
    config: NodeConfig, registry: Registry, votes: Database, genesis_hash: bytes, clock: Clock
) -> Settling:
    """Read the keys and the options. Raises ConfigError, KeyFileError, PluginError."""
    section = config.settlement
    factory = registry.settlement(section.backend)
    options = decode_table(
        config.options_table("settlement", section.backend), factory.options_type, f"settlement.{section.backend}"
    )
    if section.backend == BOOKS_ONLY:
        return Settling(section.backend, None)
    operator = load_key(config.home, section.operator_key, section.operator_password_file, "operator")
    relay = _relay_key(config, operator)
    settler = Settler(
        backend=section.backend,
        make_backend=_maker(factory, options, relay, section.confirmations),
        intents=ThreadedIntents(SqlIntents(votes)),
        clock=clock,
        genesis_hash=genesis_hash,
        operator=operator,
        options=SettlerOptions(
            relay=RelayOptions(
                account=relay.address if relay else b"",
                confirmations=section.confirmations,
                turn_ns=section.relay_turn_ms * NS_PER_MS,
                stuck_after_ns=section.stuck_after_ms * NS_PER_MS,
            ),
            real_value_confirmed=section.real_value_confirmed,
        ),
        poll_ms=section.poll_ms,
    )
    if operator is None:
        log.warning("no settlement.operator_key: this node watches Layer 2, and neither signs nor votes")
    return Settling(section.backend, settler)


def load_key(home: Path, name: str, password_name: str, what: str) -> SigningKey | None:
    """The key of a keystore, paths relative to the home folder; None when none is named. Raises KeyFileError."""
    if not name:
        return None
    if not password_name:
        raise KeyFileError(
            f"settlement.{what}_key names {name}, which is encrypted; set settlement.{what}_password_file to a file "
            f"with its password"
        )
    return load_account_key(home / name, read_password(home / password_name))


def _relay_key(config: NodeConfig, operator: SigningKey | None) -> SigningKey | None:
    section = config.settlement
    if not section.relay:
        return None
    if not section.relay_key:
        return operator
    password_name = section.relay_password_file or section.operator_password_file
    return load_key(config.home, section.relay_key, password_name, "relay")


def _maker(
    factory: SettlementBackendFactory, options: msgspec.Struct, relay: SigningKey | None, confirmations: int
) -> Callable[[Contract], asyncio.Future[SettlementBackend]]:
    def make(contract: Contract) -> SettlementBackend:
        if factory.scheme != contract.scheme:
            raise SettlementError(
                "not_configured",
                f"the bound contract has the scheme {contract.scheme!r}, and the back end {factory.name!r} serves "
                f"{factory.scheme!r}; set settlement.backend to one that serves it",
            )
        context = BackendContext(contract=contract, relay_key=relay, confirmations=confirmations)
        return factory.create(options, context)

    return lambda contract: asyncio.ensure_future(asyncio.to_thread(make, contract))


def _ended(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (bug := task.exception()) is not None:
        log.critical("a bug: the settler has ended; start the node again and report this", exc_info=bug)
