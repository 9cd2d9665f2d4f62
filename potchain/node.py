"""The composition root: wires the rooms of one node together, runs them, and stops them in order. No behaviour."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import time
from collections.abc import Callable, Collection
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import msgspec
import structlog
from prometheus_client import CollectorRegistry

from potchain.api.app import bound_port, build_app, start_api
from potchain.api.options import ApiOptions
from potchain.application.execution import Executor
from potchain.config import NodeConfig, PeerDirectory, load_config, profile_of
from potchain.consensus.interface import EngineFactory
from potchain.consensus.quorum import Quorum
from potchain.driver import Driver
from potchain.driver.bookkeeper import Bookkeeper
from potchain.driver.clock import SystemClock
from potchain.driver.incoming import Incoming
from potchain.driver.journal import Journal
from potchain.driver.verifier import Verifier
from potchain.errors import ConfigError, GenesisError, InvalidProof, LedgerError
from potchain.gateway import Gateway, LinkControl, RecentBlocks, ThreadCollector, report_links
from potchain.genesis import Genesis, RecoveredGenesis
from potchain.genesis_file import parse_genesis
from potchain.home import HomeLock, refuse_given_up
from potchain.keyfiles import ValidatorKeys, load_validator_keys, member_of
from potchain.ledger.check import ChainSummary
from potchain.links import LinkProfile
from potchain.logs import configure_logs
from potchain.pool import TransactionPool
from potchain.recovery import verify_recovery
from potchain.registry import Registry, load_plugins
from potchain.replica import Replica
from potchain.settler.metrics import SettlementCollector
from potchain.settler.starting import Settling, make_settling
from potchain.startup import Started, Storage, load_boot, load_state, open_storage, verify_storage
from potchain.tables import decode_table
from potchain.transport import Transport, TransportConfig, TransportEvents
from potchain.version import distribution_version

log = structlog.get_logger("node")

GC_THRESHOLD = 50_000
"""Allocations between collections of the youngest generation: a block of 1,000 transactions makes some 20,000 objects,
nearly none of them in cycles, and Python's default of 700 would look through them dozens of times."""


def load_genesis(config: NodeConfig) -> Genesis:
    """The network's genesis. Raises ConfigError or GenesisError."""
    try:
        text = config.genesis_path.read_bytes()
    except OSError as fault:
        raise ConfigError(f"cannot read the genesis file {config.genesis_path}: {fault.strerror}") from None
    genesis = parse_genesis(text, str(config.genesis_path))
    if isinstance(genesis, RecoveredGenesis):
        try:
            verify_recovery(genesis, lambda n: Quorum(n).quorum)
        except InvalidProof as fault:
            raise GenesisError(str(config.genesis_path), [str(fault)]) from None
    return genesis


def make_executor(config: NodeConfig, registry: Registry, genesis: Genesis) -> Executor:
    """The enabled applications, in order."""
    applications = []
    for name in config.application.enabled:
        factory = registry.application(name)
        options = decode_table(config.options_table("application", name), factory.options_type, f"application.{name}")
        applications.append(factory.create(options))
    return Executor(genesis, applications)


async def run_node(config: NodeConfig, home: Path) -> int:
    """Run a node until SIGTERM, SIGINT or a failure; the exit code. Raises PotchainError when it cannot start."""
    gc.set_threshold(GC_THRESHOLD, 20, 50)
    configure_logs(config.log.format, config.log.level)
    with HomeLock(home):
        registry = load_plugins(config.plugins.disabled)
        genesis = load_genesis(config)
        refuse_given_up(home, genesis.hash)
        keys = load_validator_keys(home)
        executor = make_executor(config, registry, genesis)
        began = time.monotonic()
        storage = open_storage(config, genesis, executor)
        try:
            state = load_state(
                storage, genesis, executor, full=config.ledger.start_check == "full", progress=_report_progress()
            )
            started = load_boot(storage, genesis, executor, keys.consensus, keys.node_id, state)
            tip = started.replica.tip
            log.info("ledger checked", height=tip.height, seconds=round(time.monotonic() - began, 2))
            return await _run(config, home, registry, genesis, keys, executor, storage, started)
        finally:
            storage.close()


async def _run(
    config: NodeConfig,
    home: Path,
    registry: Registry,
    genesis: Genesis,
    keys: ValidatorKeys,
    executor: Executor,
    storage: Storage,
    started: Started,
) -> int:
    engine = registry.engine(config.consensus.engine)
    replica = make_replica(config, engine, genesis, keys, executor, started, os.urandom(16))
    clock = SystemClock()
    settling = make_settling(config, registry, storage.votes, genesis.hash, clock)
    recent = restore_recent(storage, executor, started)
    async with AsyncExitStack() as stack:
        verifier = Verifier(executor.types, config.node.verify_workers)
        stack.callback(verifier.close)
        await verifier.warm_up()
        driver = Driver(
            replica=replica,
            reader=storage.reader,
            incoming=Incoming(executor.types, engine, verifier),
            clock=clock,
            observer=recent,
            dump=partial(_dump, home),
            accept=lambda epochs: transport.set_peers(directory.peers(epochs)),
        )
        bookkeeper = Bookkeeper(
            storage.writer,
            storage.projector,
            lag_max=config.ledger.projection_lag_max,
            applied=driver.ledger_applied,
            certified=driver.ledger_certified,
            failed=driver.storage_failed,
        )
        journal = Journal(storage.vote_log, persisted=driver.journal_persisted, failed=driver.storage_failed)
        journal.restore(started.body_batches)
        directory = PeerDirectory(config, genesis, replica.epochs.near, keys.node_id, keys.node_public)
        name = name_of(replica, keys)
        transport, links = make_transport(config, registry, genesis, keys, driver, directory, name)
        for thread in (bookkeeper, journal):
            thread.start()
            stack.callback(thread.close)
        stack.push_async_callback(transport.close)
        stack.push_async_callback(driver.close)
        gc.collect()
        gc.freeze()  # what is here now stays for the whole run
        gateway = Gateway(
            driver=driver,
            transport=transport,
            verifier=verifier,
            bookkeeper=bookkeeper,
            reader=storage.reader,
            recent=recent,
            executor=executor,
            engine=engine,
            clock=clock,
            name=config.node.name or name,
            version=distribution_version(),
            links=links,
            settlement=settling.status,
        )
        url = await serve(config, gateway, storage, settling, stack)
        await transport.start()
        driver.start(transport, journal, bookkeeper)
        stack.push_async_callback(settling.close)
        settling.start(gateway, replica, lambda: recent.certified)
        log.info("node is up", api=url, height=started.replica.tip.height)
        return await _until_stopped(driver)


async def serve(
    config: NodeConfig, gateway: Gateway, storage: Storage, settling: Settling, stack: AsyncExitStack
) -> str:
    """Start the HTTP API, to be stopped with the stack; its address."""
    options = api_options(config)
    metrics = CollectorRegistry()
    metrics.register(ThreadCollector())
    metrics.register(SettlementCollector(settling.status))
    runner = await start_api(build_app(gateway, storage.reader, options, metrics), options)
    stack.push_async_callback(runner.cleanup)
    return f"http://{options.host}:{bound_port(runner)}"


def make_replica(
    config: NodeConfig,
    engine: EngineFactory,
    genesis: Genesis,
    keys: ValidatorKeys,
    executor: Executor,
    started: Started,
    boot_id: bytes = b"",
) -> Replica:
    """The pure core, from what was durable. `boot_id`: random, of this run; empty: no watch for a second process."""
    options = engine_options(config, engine)
    if started.replica.doubtful:
        log.error("the vote log is missing, or older than the ledger: this node learns before it votes again")
    return Replica(
        genesis=genesis,
        epoch=started.epoch,
        me=keys.node_id,
        make_engine=lambda boot: engine.create(boot, options),
        signer=started.signer,
        executor=executor,
        state=started.state,
        pool=TransactionPool(config.pool),
        dissemination=config.dissemination,
        boot=msgspec.structs.replace(started.replica, boot_id=boot_id),
    )


def engine_options(config: NodeConfig, engine: EngineFactory) -> msgspec.Struct:
    """What the file says in [consensus.<engine>]."""
    return decode_table(
        config.options_table("consensus", engine.name), engine.options_type, f"consensus.{engine.name}"
    )


def link_conditions(config: NodeConfig, engine: EngineFactory, names: Collection[str]) -> tuple[LinkProfile, str]:
    """The network conditions to emulate, and who says so: [links], or the engine where that table says nothing.

    `names`: of all nodes. Raises LinkError.
    """
    profile = profile_of(config.links, config.home, names)
    if not profile.off:
        return profile, "links"
    profile = engine.link_profile(engine_options(config, engine))
    return profile, "none" if profile.off else "engine"


def node_names(name: str, directory: PeerDirectory, replica: Replica) -> tuple[str, ...]:
    """Of this node and its peers of now."""
    return (name, *(peer.name for peer in directory.peers(replica.epochs.near)))


def name_of(replica: Replica, keys: ValidatorKeys) -> str:
    """This node's name as a validator. Raises KeyFileError when only one of its keys is the validator's."""
    epoch = replica.epoch
    if Quorum(len(epoch.members)).faults_max == 0:
        log.warning(
            "no fault is tolerated: one validator that stops or lies stops or breaks the network; four are the least "
            "that tolerate one",
            validators=len(epoch.members),
        )
    member = member_of(epoch, keys)
    if member is None:
        log.warning(
            "this node observes: its consensus key belongs to no validator of the current epoch",
            epoch=epoch.number,
            consensus_key="0x" + keys.consensus.public_key.hex(),
        )
        return replica.epochs.name_of(keys.node_id)
    return member.name


def make_transport(
    config: NodeConfig,
    registry: Registry,
    genesis: Genesis,
    keys: ValidatorKeys,
    driver: Driver,
    directory: PeerDirectory,
    name: str,
) -> tuple[Transport, LinkControl]:
    """The configured transport, reporting to the driver, not started; and who changes the links that it emulates.

    `name`: this node's, as rules of links say it. Raises LinkError for conditions that make no sense.
    """
    names = partial(node_names, name, directory, driver.replica)
    profile, source = link_conditions(config, registry.engine(config.consensus.engine), names())
    report_links(profile, source)
    factory = registry.transport(config.transport.name)
    options = decode_table(
        config.options_table("transport", factory.name), factory.options_type, f"transport.{factory.name}"
    )
    transport_config = TransportConfig(
        me=keys.node_id,
        node_key_secret=keys.node_secret,
        genesis_hash=genesis.hash,
        listen_host=config.transport.listen_host,
        listen_port=config.transport.listen_port,
        peers=directory.peers(driver.replica.epochs.near),
        name=name,
        links=profile,
    )
    events = TransportEvents(
        received=driver.frames_received, connected=driver.peer_connected, disconnected=driver.peer_disconnected
    )
    transport = factory.create(transport_config, events, options)
    allowed = config.links.control
    return transport, LinkControl(transport, SystemClock(), names, profile=profile, source=source, allowed=allowed)


def restore_recent(storage: Storage, executor: Executor, started: Started) -> RecentBlocks:
    """The index of blocks that history rows had not reached at the last stop."""
    boot = started.replica
    tip = boot.tip.height
    recent = RecentBlocks(executor.types, tip, boot.certified, boot.certified_ahead)
    for height in range(max(storage.reader.genesis_height(), storage.projector.height) + 1, tip + 1):
        contents = storage.reader.contents(height)
        assert contents is not None, "the start has checked that every block is there"
        recent.restore(contents)
    return recent


def api_options(config: NodeConfig) -> ApiOptions:
    """The API's own struct from the section of the same fields."""
    return ApiOptions(**{name: getattr(config.api, name) for name in ApiOptions.__struct_fields__})


async def _until_stopped(driver: Driver) -> int:
    loop = asyncio.get_running_loop()
    stop: asyncio.Future[str] = loop.create_future()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, _resolve, stop, name.name)
    await asyncio.wait({stop, driver.failure}, return_when=asyncio.FIRST_COMPLETED)
    if driver.failure.done():
        log.critical("node stops", reason=driver.failure.result())
        return 1
    log.info("node stops", signal=stop.result())
    return 0


def _resolve(future: asyncio.Future[str], value: str) -> None:
    if not future.done():
        future.set_result(value)


def _dump(home: Path, reason: str, data: bytes) -> None:
    path = home / "engine-dump.json"
    path.write_bytes(data)
    log.critical("engine state dumped", reason=reason, path=str(path))


def _report_progress() -> Callable[[int, int], None]:
    last = time.monotonic()

    def report(height: int, tip: int) -> None:
        nonlocal last
        if time.monotonic() - last > 2:
            last = time.monotonic()
            log.info("checking the ledger", height=height, tip=tip)

    return report


def verify_home(home: Path, progress: Callable[[int, int], None]) -> ChainSummary:
    """Re-derive everything in a node's ledger from genesis. Raises LedgerCorrupt with the first bad height."""
    config = load_config(home, os.environ)
    require_ledger(config)
    registry = load_plugins(config.plugins.disabled)
    genesis = load_genesis(config)
    executor = make_executor(config, registry, genesis)
    storage = open_storage(config, genesis, executor)
    try:
        return verify_storage(storage, registry.engine(config.consensus.engine), genesis, executor, progress)
    finally:
        storage.close()


def reindex_home(home: Path, progress: Callable[[int, int], None]) -> int:
    """Throw all history rows of a node away and derive them again from its blocks; the height they reach."""
    config = load_config(home, os.environ)
    require_ledger(config)
    genesis = load_genesis(config)
    executor = make_executor(config, load_plugins(config.plugins.disabled), genesis)
    with HomeLock(home):
        storage = open_storage(config, genesis, executor)
        try:
            storage.projector.reindex()
            storage.projector.catch_up(progress)
            return storage.projector.height
        finally:
            storage.close()


def require_ledger(config: NodeConfig) -> None:
    """Tools for a ledger do not make one. Raises LedgerError when the SQLite file is not there."""
    path = config.home / "ledger.sqlite"
    if not config.ledger.url and not path.exists():
        raise LedgerError(f"{path} does not exist; this node has never run, or its ledger is elsewhere")
