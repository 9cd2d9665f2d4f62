"""A simulated node: an identity with a disk, and now and then a process that runs on it.

Everything that a process does to the world passes through here: frames through the middleware of a Byzantine node,
writes and sends across the counted boundaries at which a run may crash it, and all of it past the checkers.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, Protocol

from potchain.blocks import SKIPPED, BlockCertificate, ExecutedBlock
from potchain.consensus.interface import ConsensusEngine, ConsensusMessage
from potchain.errors import LedgerError
from potchain.keyfiles import ValidatorKeys
from potchain.ledger.reader import LedgerReader
from potchain.links import LinkProfile
from potchain.primitives import NS_PER_MS, NodeId
from potchain.replica import Replica, wire
from potchain.replica.actions import Now
from potchain.replica.rejoin import Standing
from potchain.sim import process as processes
from potchain.sim.disk import Disk, DiskCopy
from potchain.sim.middleware import Middleware, decoded, encoded
from potchain.sim.network import Network
from potchain.sim.plan import CrashAtStep, Plan
from potchain.sim.process import Process
from potchain.sim.scheduler import Scheduler, VirtualLoop, run_handle
from potchain.sim.trace import Trace, frame_text
from potchain.sim.watching import Watchers
from potchain.transport import Channel

ANSWER_CODES_OF_BUSY_NODES = (b'"pool_full"', b'"syncing"', b'"timeout"')
"""Answers of class 5xx that a healthy node may give."""


class World(processes.Network, Protocol):
    """What nodes share (`potchain.sim.cluster.Cluster`)."""

    plan: Plan
    scheduler: Scheduler
    network: Network
    trace: Trace
    watchers: Watchers
    wall_start_ms: int
    """Unix milliseconds at virtual time 0, on a clock that never jumped."""


class SimClock:
    """A node's clocks: monotonic is virtual time, the wall clock may jump."""

    def __init__(self, scheduler: Scheduler, start_ms: int) -> None:
        self._scheduler = scheduler
        self._start_ms = start_ms
        self.jumped_ms = 0

    def now(self) -> Now:
        """Both readings."""
        now_ns = self._scheduler.now_ns
        return Now(now_ns, self._start_ms + now_ns // NS_PER_MS + self.jumped_ms)


class SimNode:
    """One node, or one copy of a twin. Public members: see `observation.NodeView`."""

    def __init__(
        self, world: World, index: int, keys: ValidatorKeys, name: str, disk: Disk, *, write_ns: int, is_faulty: bool
    ) -> None:
        self.index = index
        self.keys = keys
        self.node_id = keys.node_id
        self.name = name
        self.disk = disk
        self.is_faulty = is_faulty
        self.lives = 0
        self.clock = SimClock(world.scheduler, world.wall_start_ms)
        self.write_ns = write_ns
        self.step_ns = 0
        """A slow node needs this long for each outside event."""
        self.boundaries = 0
        """Persist, send and decide boundaries that it has passed."""
        self.executed_counts: dict[int, int] = {}
        """Transactions that took their place (ok or failed) in each block of its ledger."""
        self.crash_at: dict[int, CrashAtStep] = {}
        """Boundaries at which it crashes."""
        self.stays_down = False
        self.middleware: Middleware | None = None
        """Between this node and the network while it is Byzantine."""
        self._world = world
        self._process: Process | None = None
        self._loop: VirtualLoop | None = None
        self._last_data = b""
        self._last_text = ""
        self._last_frame: wire.Frame | None = None

    # --- what checkers see --------------------------------------------------------------------------------------------

    @property
    def is_up(self) -> bool:
        """Running now."""
        return self._process is not None

    @property
    def is_learner(self) -> bool:
        """Running, and it may have forgotten votes."""
        return self._process is not None and self.replica.returning.standing is Standing.LEARNER

    @property
    def process(self) -> Process:
        """Its present life."""
        assert self._process is not None, f"node{self.index} is down"
        return self._process

    @property
    def replica(self) -> Replica:
        """The shipping replica."""
        return self.process.replica

    @property
    def engine(self) -> ConsensusEngine:
        """Its consensus engine."""
        return self.process.replica.engine

    @property
    def reader(self) -> LedgerReader:
        """Its ledger on disk."""
        return self.process.storage.reader

    def buffers(self) -> Mapping[str, int]:
        """Size of every buffer by name."""
        return self.process.gateway.consensus().buffers

    def is_durable(self, message: ConsensusMessage) -> bool:
        """Whether its vote database would give this very message back after a power cut right now."""
        return self.process.is_durable(message)

    @property
    def boot_id(self) -> bytes:
        """What a real node draws at random at its start. A faulty one says none: no twin is stopped by its copy."""
        if self.is_faulty:
            return b""
        return sha256(f"{self._world.plan.seed}/boot/{self.index}/{self.lives}".encode()).digest()[:16]

    # --- life and death -----------------------------------------------------------------------------------------------

    @property
    def loop(self) -> VirtualLoop:
        """The event loop of its present life."""
        assert self._loop is not None, f"node{self.index} is down"
        return self._loop

    def start(self) -> None:
        """Begin a life on what is on the disk."""
        if self._loop is not None or self.stays_down:
            return
        self.lives += 1
        self._loop = loop = self._world.scheduler.make_loop(self._fault)
        loop.step_ns = self.step_ns
        run_handle(asyncio.Handle(self._begin, (), loop), loop)

    def _begin(self) -> None:
        self._process = Process(self, self._world, self.loop)
        boot = self._process.started.replica
        found = f"{len(boot.own_messages)} own messages, {len(boot.bodies)} bodies"
        self._note(f"started, life {self.lives}, height {boot.tip.height}, {found}")
        self._world.network.attach(self.index)
        self._world.watchers.tell("started", self)

    def crash(self, *, torn: bool = False, lose_unsynced: bool = True) -> None:
        """The power goes out, or the process is stopped cleanly."""
        process = self._process
        if self._loop is None:
            return
        self._note("stopped" if not lose_unsynced else "crashed, the write under way torn" if torn else "crashed")
        if process is not None:
            self._world.watchers.tell("crashed", self)
            if not lose_unsynced:
                process.journal.commits.flush()
                process.bookkeeper.commits.flush()
        self._end()
        self.disk.power_off(process.tear if process is not None and torn else None)

    def stop(self) -> None:
        """The run is over: end quietly."""
        if self._loop is not None:
            self._end()

    def _end(self) -> None:
        process, loop, self._process, self._loop = self._process, self._loop, None, None
        if process is not None:
            process.end()
        elif loop is not None:
            loop.kill()
        self._world.network.detach(self.index)

    def halted(self, reason: str) -> None:
        """It stopped by itself."""
        if self._process is None:
            return
        self._note(f"halts: {reason}")
        self._world.watchers.tell("halted", self, reason)
        if not self.is_faulty:
            self._world.watchers.broken("halt", self.index, reason)
        self._end()

    def dumped(self, reason: str, data: bytes) -> None:
        """A step raised; the exception itself follows."""
        self._note(f"dumps its engine: {reason}")

    def _fault(self, context: dict[str, Any]) -> None:
        """Something raised where nothing may."""
        fault = context.get("exception")
        detail = str(context.get("message"))
        if isinstance(fault, BaseException):
            frames = traceback.extract_tb(fault.__traceback__)[:-5:-1]
            places = [f"{frame.name} ({frame.filename.rpartition('/')[2]}:{frame.lineno})" for frame in frames]
            detail = f"{type(fault).__name__}: {fault}, in {' < '.join(places)}"
        self._note(f"exception: {detail}")
        self._world.watchers.broken("exception", self.index, detail)

    # --- boundaries ---------------------------------------------------------------------------------------------------

    def boundary(self, what: str) -> bool:
        """One more; False when it is dead, or dies here."""
        if self._process is None:
            return False
        number = self.boundaries
        self.boundaries += 1
        if self._world.watchers.wants("boundary"):
            self._world.watchers.tell("boundary", self, number, what)
        fault = self.crash_at.pop(number, None)
        if fault is None:
            return True
        self._note(f"boundary {number}, {what}")
        self.crash(torn=fault.torn)
        self._world.scheduler.at(self._world.scheduler.now_ns + fault.down_ns, self.start)
        return False

    # --- frames out ---------------------------------------------------------------------------------------------------

    def send(self, to: NodeId, channel: Channel, data: bytes) -> bool:
        """A frame of the shipping node."""
        if not self.boundary("before a send"):
            return False
        if data is not self._last_data:
            self._last_data, self._last_text, self._last_frame = data, "", wire.decode_frame(data)
            if isinstance(self._last_frame, ConsensusMessage) and self._last_frame.sender == self.node_id:
                self._world.watchers.tell("signed", self, self._last_frame)
        frame = self._last_frame
        assert frame is not None, "it was decoded with its bytes"
        sent = True
        if self.middleware is None:
            sent = self._transmit(to, channel, frame, data)
        else:
            for receiver, other in self.middleware.outgoing(to, frame, self._world.scheduler.now_ns):
                self._transmit(receiver, channel, other, data if other is frame else encoded(other))
        self.boundary("after a send")
        return sent

    def inject(self, to: NodeId, frame: wire.Frame) -> None:
        """A frame that middleware made up."""
        if self._process is not None:
            data = wire.encode_frame(frame)
            self._transmit(to, wire.channel_of(data), frame, data)

    def _transmit(self, to: NodeId, channel: Channel, frame: wire.Frame | bytes, data: bytes) -> bool:
        fates = self._world.network.send(self.index, to, channel, data)
        if not fates:
            return False
        if data is not self._last_data:
            text = frame_text(frame, data)
        else:
            text = self._last_text = self._last_text or frame_text(frame, data)
        for receiver, fate in fates:
            self._note(f"-> node{receiver} {text} {fate}")
        if not isinstance(frame, bytes):
            self._world.watchers.tell("sent", self, to, frame)
        return True

    # --- frames in ----------------------------------------------------------------------------------------------------

    def frame_arrived(self, sender: int, sender_id: NodeId, data: bytes) -> None:
        """From the network."""
        if self._world.watchers.wants("received"):
            self._world.watchers.tell("received", self, sender_id, data)
        driver = self.process.driver
        frame = None if self.middleware is None else decoded(data)
        if self.middleware is None or frame is None:
            driver.frames_received(sender_id, wire.channel_of(data), (data,))
            return
        for other in self.middleware.incoming(sender_id, frame, self._world.scheduler.now_ns):
            changed = data if other is frame else wire.encode_frame(other)
            driver.frames_received(sender_id, wire.channel_of(changed), (changed,))

    def peer_up(self, peer: NodeId) -> None:
        """From the network."""
        self.process.driver.peer_connected(peer)

    def peer_down(self, peer: NodeId, reason: str) -> None:
        """From the network."""
        self.process.driver.peer_disconnected(peer, reason)

    def peers(self) -> dict[NodeId, bool]:
        """Other identities, and whether they are connected."""
        return self._world.network.peers_of(self.index)

    def shape(self, links: LinkProfile) -> None:
        """Its links are like this from now on."""
        self._world.network.shape(self.index, links)

    def blamed(self, peer: NodeId, reason: str) -> None:
        """It complains about a peer."""
        if self._process is not None:
            self._note(f"blames 0x{peer[:3].hex()}: {reason}")
            self._world.watchers.tell("blamed", self, peer, reason)

    # --- disk ---------------------------------------------------------------------------------------------------------

    def executed(self, block: ExecutedBlock) -> None:
        """On its way to the disk."""
        if self._process is not None:
            self._world.watchers.tell("executed", self, block)

    def applied(self, block: ExecutedBlock) -> None:
        """Durable."""
        if self._process is not None:
            count = len(block.proposal.transaction_ids)
            root = block.header.state_root[:6].hex()
            self.executed_counts[block.height] = sum(receipt.status != SKIPPED for receipt in block.receipts)
            self._note(f"block {block.height} 0x{block.hash[:6].hex()}, {count} transactions, state 0x{root}")
            self._world.watchers.tell("applied", self, block)

    def certified(self, certificate: BlockCertificate) -> None:
        """Durable."""
        if self._process is not None:
            self._note(f"block {certificate.height} is final")
            self._world.watchers.tell("certified", self, certificate)

    def written(self, what: str) -> None:
        """To the vote log."""
        if self._process is not None:
            self._note(what)

    def storage_failed(self, failure: LedgerError) -> None:
        """The disk refused; the driver stops the node."""
        self.process.storage_failed(failure)

    def copy_disk(self) -> DiskCopy:
        """What an operator copies, to put back later."""
        self._note("its databases are copied")
        return self.disk.copy()

    def slow_down(self, step_ns: int) -> None:
        """From now on each outside event takes this long; 0 ends it."""
        self.step_ns = step_ns
        if self._loop is not None:
            self._loop.step_ns = step_ns

    # --- clients ------------------------------------------------------------------------------------------------------

    def request(
        self, method: str, path: str, body: bytes, answered: Callable[[int | None, bytes], None]
    ) -> None:
        """A client's HTTP request arrives now; a status of None says that nobody answers."""
        if self._process is None:
            answered(None, b"")
            return
        self.loop.outside(self._world.scheduler.now_ns, self._request, method, path, body, answered)

    def _request(self, method: str, path: str, body: bytes, answered: Callable[[int | None, bytes], None]) -> None:
        def checked(status: int | None, document: bytes) -> None:
            busy = any(code in document for code in ANSWER_CODES_OF_BUSY_NODES)
            if status is not None and (status >= 500 or not status) and not busy:
                said = document[:300].decode(errors="replace")
                self._world.watchers.broken("api", self.index, f"{method} {path} was answered {status}: {said}")
            answered(status, document)

        self.process.request(method, path, body, checked)

    def _note(self, text: str) -> None:
        self._world.trace.line(self._world.scheduler.now_ns, f"node{self.index} {text}")
