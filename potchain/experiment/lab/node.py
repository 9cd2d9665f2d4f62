"""One validator of an experiment: the shipping driver, replica, pool, engine and executor on memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from potchain.application.accounts import AccountsApplication
from potchain.application.execution import Executor
from potchain.application.state import AuthenticatedState
from potchain.blocks import BlockCertificate, ExecutedBlock, block_hash
from potchain.consensus.interface import EngineFactory
from potchain.consensus.signer import Signer
from potchain.driver import Driver
from potchain.driver.clock import Clock
from potchain.driver.incoming import Incoming, VoteCheck
from potchain.driver.verifier import RunCheck, SignatureChecks
from potchain.errors import ExperimentError
from potchain.experiment.lab.payload import OpaqueApplication
from potchain.experiment.lab.settings import client_id, dissemination_options, make_genesis, node_name, pool_limits
from potchain.experiment.lab.stores import MemoryJournal, MemoryLedger
from potchain.experiment.point import Point
from potchain.genesis import Genesis
from potchain.keyfiles import ValidatorKeys
from potchain.pool import TransactionPool
from potchain.primitives import NodeId
from potchain.registry import Registry, load_plugins
from potchain.replica import Replica, ReplicaBoot
from potchain.replica.rejoin import Standing
from potchain.tables import decode_table
from potchain.transport import Transport


class Laboratory(msgspec.Struct, frozen=True):
    """What all nodes of a run share."""

    points: tuple[Point, ...]
    """Measured one after another."""
    genesis: Genesis
    engine: EngineFactory
    registry: Registry

    @property
    def executor(self) -> Executor:
        """A fresh one."""
        return make_executor(self.genesis)


def open_laboratory(points: Sequence[Point]) -> Laboratory:
    """Raises ExperimentError for an engine that is not installed."""
    registry, point = load_plugins(), points[0]
    if point.engine not in registry.engines:
        known = ", ".join(sorted(registry.engines))
        raise ExperimentError(f"engine is {point.engine!r}; installed are: {known}")
    return Laboratory(tuple(points), make_genesis(points), registry.engine(point.engine), registry)


def make_executor(genesis: Genesis) -> Executor:
    """With the applications of experiments."""
    return Executor(genesis, (AccountsApplication(), OpaqueApplication()))


class LabNode:
    """A node that is built at once and begins when it is given its transport. Call it on its event loop."""

    def __init__(
        self,
        laboratory: Laboratory,
        index: int,
        *,
        keys: ValidatorKeys,
        clock: Clock,
        run_check: RunCheck,
        verify: VoteCheck,
        executed: Callable[[str, ExecutedBlock], None],
    ) -> None:
        """`executed` is told of every block by the node's name; the checks are those of `driver.incoming`."""
        self.name = node_name(index)
        self.node_id: NodeId = keys.node_id
        self._executed = executed
        genesis, engine = laboratory.genesis, laboratory.engine
        executor = laboratory.executor
        state = AuthenticatedState.from_records(executor.genesis_records())
        header = executor.genesis_block(state.root)
        options = decode_table({}, engine.options_type, f"consensus.{engine.name}")
        self.replica = Replica(
            genesis=genesis,
            epoch=genesis.first_epoch,
            me=keys.node_id,
            make_engine=lambda boot: engine.create(boot, options),
            signer=Signer(keys.consensus, genesis.hash, (), 0),
            executor=executor,
            state=state,
            pool=TransactionPool(pool_limits(laboratory.points)),
            dissemination=dissemination_options(laboratory.points),
            boot=ReplicaBoot(
                tip=header,
                tip_hash=block_hash(header),
                certified=0,
                stable=0,
                uncertified=(),
                own_messages=(),
                proposals=(),
                bodies=(),
            ),
        )
        self.ledger = MemoryLedger(self._applied, self._certified)
        self.driver = Driver(
            replica=self.replica,
            reader=self.ledger,
            incoming=Incoming(executor.types, engine, SignatureChecks(executor.types, run_check), verify),
            clock=clock,
            observer=self,
            dump=_no_dump,
            followers=(client_id(),),
        )
        self._journal = MemoryJournal(self.driver.persisted)

    def start(self, transport: Transport) -> None:
        """Begin."""
        self.driver.start(transport, self._journal, self.ledger)

    @property
    def ready(self) -> bool:
        """Whether it takes part: its peers have said that it has signed nothing that it forgot."""
        return self.replica.returning.standing is Standing.VOTING

    @property
    def view(self) -> int:
        """Of its engine."""
        return self.replica.engine.status().view

    # --- what the driver tells ----------------------------------------------------------------------------------------

    def block_executed(self, block: ExecutedBlock) -> None:
        """A block was executed."""
        self._executed(self.name, block)

    def blocks_applied(self, height: int) -> None:
        """Nobody waits for it here."""

    def history_reached(self, height: int) -> None:
        """Nobody waits for it here."""

    def certificates_stored(self, certificates: tuple[BlockCertificate, ...]) -> None:
        """Nobody waits for it here."""

    def _applied(self, height: int) -> None:
        self.driver.applied(height)

    def _certified(self, certificates: tuple[BlockCertificate, ...]) -> None:
        self.driver.certified(certificates)


def _no_dump(reason: str, data: bytes) -> None:
    """The exception itself is enough here."""
