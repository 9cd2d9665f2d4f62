"""One life of a simulated node, from its start to its end: the shipping rooms, wired together as `potchain.node` does.

The driver, the replica, the pool, the executor, the API and its gateway are the shipping ones, on a `VirtualLoop`.
Replaced are the transport (`potchain.sim.network`), the threads in front of the disks (`potchain.sim.stores`), the
processes that check signatures (`potchain.sim.verification`) and the clock. When the process is dead nothing that its
code still does reaches disk, network or checkers.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from prometheus_client import CollectorRegistry

from potchain.api.app import build_app
from potchain.api.options import ApiOptions
from potchain.application.execution import Executor
from potchain.config import NodeConfig
from potchain.config.sections import (
    ApiSection,
    ApplicationSection,
    ConsensusSection,
    GenesisSection,
    LedgerSection,
    LogSection,
    NodeSection,
    PluginsSection,
    TransportSection,
)
from potchain.consensus.interface import ConsensusMessage, EngineFactory
from potchain.dissemination import DisseminationOptions
from potchain.driver import Driver
from potchain.driver.bookkeeper import Bookkeeping
from potchain.driver.clock import Clock
from potchain.driver.incoming import Incoming
from potchain.driver.journal import JournalWriter
from potchain.driver.verifier import SignatureChecks
from potchain.errors import LedgerError
from potchain.gateway import Gateway
from potchain.genesis import Genesis
from potchain.keyfiles import ValidatorKeys
from potchain.links import LinkProfile
from potchain.node import make_replica, restore_recent
from potchain.pool.interface import PoolLimits
from potchain.primitives import NodeId
from potchain.replica import Replica
from potchain.sim.api import VirtualHttp
from potchain.sim.disk import Disk
from potchain.sim.scheduler import VirtualLoop
from potchain.sim.settling.world import Layer2World
from potchain.sim.stores import StoreHost, VirtualBookkeeper, VirtualJournal
from potchain.sim.verification import VerificationMemory
from potchain.startup import load_boot, load_state, storage_over
from potchain.transport import Channel, Peer, PeerStatus

API_OPTIONS = ApiOptions(rate_per_s=0, query_deadline_s=3_600, body_timeout_s=60)
"""The shipping defaults, without what would look at a real clock."""


class ProcessHost(StoreHost, Protocol):
    """What a process needs of its node: identity, disk, network."""

    index: int
    name: str
    keys: ValidatorKeys
    disk: Disk

    @property
    def boot_id(self) -> bytes:
        """Of this life."""
        ...

    @property
    def clock(self) -> Clock:
        """Its readings of time."""
        ...

    def send(self, to: NodeId, channel: Channel, data: bytes) -> bool:
        """Give a frame to the network."""
        ...

    def shape(self, links: LinkProfile) -> None:
        """Its links are like this from now on."""
        ...

    def blamed(self, peer: NodeId, reason: str) -> None:
        """The node complains about a peer."""
        ...

    def peers(self) -> dict[NodeId, bool]:
        """Other identities, and whether they are connected."""
        ...

    def halted(self, reason: str) -> None:
        """The node stopped by itself."""
        ...

    def dumped(self, reason: str, data: bytes) -> None:
        """The engine's state for a bug report."""
        ...


class Network(Protocol):
    """What is the same for all nodes of a network."""

    genesis: Genesis
    factory: EngineFactory
    memory: VerificationMemory
    layer2: Layer2World | None
    """Where it settles; None: it does not."""

    def make_executor(self) -> Executor:
        """A fresh executor with the network's applications."""
        ...


class Process:
    """A running node."""

    def __init__(self, host: ProcessHost, network: Network, loop: VirtualLoop) -> None:
        """Call it on `loop`. Raises what a start raises: LedgerError for damaged databases."""
        self.loop = loop
        self._host = host
        self._calls: dict[int, Callable[[int | None, bytes], None]] = {}
        self._call_count = 0
        self._http: VirtualHttp | None = None
        config = make_config(host.name)
        executor = network.make_executor()
        self.storage = storage = storage_over(host.disk.ledger, host.disk.votes, config, network.genesis, executor)
        state = load_state(storage, network.genesis, executor, full=True, progress=_silent)
        keys = host.keys
        started = load_boot(storage, network.genesis, executor, keys.consensus, keys.node_id, state)
        self.started = started
        self._durable_before = {message.signature for message in started.replica.own_messages}
        self.replica: Replica = make_replica(
            config, network.factory, network.genesis, keys, executor, started, host.boot_id
        )
        verifier = SignatureChecks(executor.types, network.memory.check_signatures)
        recent = restore_recent(storage, executor, started)
        self.driver = driver = Driver(
            replica=self.replica,
            reader=storage.reader,
            incoming=Incoming(executor.types, network.factory, verifier, network.memory.verify_vote),
            clock=host.clock,
            observer=recent,
            dump=host.dumped,
        )
        driver.failure.add_done_callback(lambda failure: host.halted(failure.result()))
        books = Bookkeeping(
            storage.writer,
            storage.projector,
            lag_max=config.ledger.projection_lag_max,
            now_ns=lambda: host.clock.now().monotonic_ns,
            applied=driver.ledger_applied,
            certified=driver.ledger_certified,
        )
        writer = JournalWriter(storage.vote_log, driver.journal_persisted)
        writer.restore(started.body_batches)
        self.journal = VirtualJournal(host, writer)
        self.bookkeeper = VirtualBookkeeper(host, books)
        self.settling = network.layer2.settling(host, storage.votes) if network.layer2 else None
        self.gateway = Gateway(
            driver=driver,
            transport=VirtualTransport(host),
            verifier=verifier,
            bookkeeper=self.bookkeeper,
            reader=storage.reader,
            recent=recent,
            executor=executor,
            engine=network.factory,
            clock=host.clock,
            name=host.name,
            version="0",
            settlement=self.settling.status if self.settling else None,
        )
        driver.start(VirtualTransport(host), self.journal, self.bookkeeper)
        if self.settling:
            self.settling.start(self.gateway, self.replica, lambda: recent.certified)

    def tear(self) -> None:
        """At a power cut: carry out one write that is under way, so that the disk can cut it."""
        for store in (self.journal.commits, self.bookkeeper.commits, self.settling):
            if store is not None and store.tear():
                return

    def is_durable(self, message: ConsensusMessage) -> bool:
        """Whether an own message was read from the vote log at the start, or written to it since."""
        return message.signature in self._durable_before or message.signature in self.journal.signatures

    def storage_failed(self, failure: LedgerError) -> None:
        """The disk refused."""
        self.driver.storage_failed(failure)

    def request(self, method: str, path: str, body: bytes, answered: Callable[[int | None, bytes], None]) -> None:
        """An HTTP request; on the process's loop. The status is None when the process dies before it answers."""
        if self._http is None:
            # Weakly: aiohttp remembers hundreds of applications, which would keep all their nodes in memory.
            gateway, reader = weakref.proxy(self.gateway), weakref.proxy(self.storage.reader)
            app = build_app(gateway, reader, API_OPTIONS, CollectorRegistry())
            self._http = VirtualHttp(app)
        self._call_count += 1
        number = self._call_count
        self._calls[number] = answered

        def done(status: int, document: bytes) -> None:
            if self._calls.pop(number, None) is not None:
                answered(status, document)

        self._http.request(method, path, body, done)

    def end(self) -> None:
        """Whatever was under way is gone."""
        calls, self._calls = list(self._calls.values()), {}
        self.loop.kill()
        for answered in calls:
            answered(None, b"")


class VirtualTransport:
    """The transport of a process."""

    def __init__(self, host: ProcessHost) -> None:
        self._host = host

    async def start(self) -> None:
        """Nothing to bind."""

    def send(self, to: NodeId, channel: Channel, frame: bytes) -> bool:
        """Into the simulated network."""
        return self._host.send(to, channel, frame)

    def misbehaved(self, peer: NodeId, reason: str) -> None:
        """Noted; sessions stay, which gives a liar more chances, not fewer."""
        self._host.blamed(peer, reason)

    def peers(self) -> tuple[PeerStatus, ...]:
        """All other identities."""
        return tuple(
            PeerStatus(
                node_id=node,
                name=node.hex()[:8],
                address="simulated",
                connected=connected,
                frames_in=0,
                frames_out=0,
                bytes_in=0,
                bytes_out=0,
                frames_dropped=0,
                queued_bytes=0,
            )
            for node, connected in self._host.peers().items()
        )

    def set_peers(self, peers: Sequence[Peer]) -> None:
        """Everybody is let in."""

    def set_links(self, links: LinkProfile) -> None:
        """The same arithmetic as the live transport's, on virtual time."""
        self._host.shape(links)

    async def close(self) -> None:
        """Nothing to release."""


def make_config(name: str) -> NodeConfig:
    """The shipping defaults, as the file of a node with that name would give them."""
    return NodeConfig(
        home=Path(name),
        node=NodeSection(name=name),
        genesis=GenesisSection(),
        ledger=LedgerSection(query_deadline_ms=3_600_000),
        consensus=ConsensusSection(),
        transport=TransportSection(),
        peers=(),
        api=ApiSection(),
        pool=PoolLimits(),
        dissemination=DisseminationOptions(),
        log=LogSection(),
        application=ApplicationSection(),
        plugins=PluginsSection(),
        plugin_tables={},
        settings=(),
    )


def _silent(height: int, tip: int) -> None:
    """Nobody waits for a simulated start."""
