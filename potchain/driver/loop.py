"""The only place where a replica meets the world: one inbox, one event at a time, actions in order.

Theory of operation. Everything that decides runs on the event loop's thread, inside `Replica.step`. Work that waits
leaves it: signatures of transactions (`Verifier`), the vote log (`Journal`) and the ledger (`Bookkeeper`). They report
back as events. A single vote's signature is checked in place: handing it to a thread costs more than the check
(docs/adr). A failure of the disk, a divergence, or an exception out of `step` stops the node: it never goes on without
having written what it promised.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import structlog

from potchain.blocks import BLOCK_VOTE, BlockCertificate
from potchain.consensus.interface import ConsensusMessage, Misbehaviour
from potchain.driver.bodies import Bodies, TransactionsFrame
from potchain.driver.bookkeeper import BookkeeperPort
from potchain.driver.clock import Clock
from potchain.driver.incoming import Incoming
from potchain.driver.journal import JournalPort
from potchain.driver.messages import Messages
from potchain.driver.observer import Observer
from potchain.driver.serving import BlockSource, Serving
from potchain.driver.short_ids import ShortIds
from potchain.errors import CodecError, LedgerError
from potchain.genesis import Epoch
from potchain.ledger.evidence import FoundEvidence
from potchain.primitives import NS_PER_S, Digest, NodeId
from potchain.replica import Replica, wire
from potchain.replica.actions import (
    Applied,
    Apply,
    Begin,
    Blame,
    CertificatesStored,
    DecodeBundle,
    EpochsNear,
    Evidence,
    ForgetBodies,
    FrameReceived,
    Halt,
    Notice,
    PeerConnected,
    PeerDisconnected,
    Persist,
    Persisted,
    ReplicaAction,
    ReplicaEvent,
    Resolve,
    ServeBlocks,
    ServeCertificates,
    StartTimer,
    StoreCertificate,
    StoreEvidence,
    TimerFired,
    TransactionsVerified,
    Transmit,
    TruncateVotes,
)
from potchain.transactions import Transaction
from potchain.transport import Channel, Transport

EVENTS_PER_TURN = 64
"""Events handled before the loop may look at its sockets again."""
Outcomes = tuple[tuple[Digest, str, str, str], ...]
"""Per transaction: id, status, code, detail; as in `Resolve`."""


class Driver:
    """Runs one replica until it is closed or fails."""

    def __init__(
        self,
        *,
        replica: Replica,
        reader: BlockSource,
        incoming: Incoming,
        clock: Clock,
        observer: Observer,
        dump: Callable[[str, bytes], None],
        accept: Callable[[Sequence[Epoch]], None] = lambda epochs: None,
        followers: Sequence[NodeId] = (),
    ) -> None:
        """`dump` keeps the engine's state for a bug report: a reason and bytes. `accept` is told whose validators may
        connect whenever that changes: those of the previous, the current and the next epoch. `followers` are peers that
        are no validators and get block votes as they come."""
        self.replica = replica
        self.failure: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Resolves with the reason when the node must stop."""
        self._loop = asyncio.get_running_loop()
        self._transport: Transport
        self._journal: JournalPort
        self._bookkeeper: BookkeeperPort
        self._serving = Serving(reader, applied=lambda: replica.applied, send=self._send, failed=self._not_served)
        self._messages = Messages(
            replica, incoming, self.post, self._spawn, self._misbehaved, self._loop.call_later
        )
        self._short_ids = ShortIds(
            replica, clock, deliver=self._messages.received, send=self._send, spawn=self._spawn
        )
        self._incoming = incoming
        self._bodies = Bodies(replica, incoming, self.post, self._spawn, self._misbehaved, followers)
        self._clock = clock
        self._observer = observer
        self._dump = dump
        self._accept = accept
        self._followers = tuple(followers)
        self._log = structlog.get_logger("driver")
        self._inbox: deque[ReplicaEvent] = deque()
        self._pumping = self._started = self._ended = False
        self._tickets: dict[int, asyncio.Future[Outcomes]] = {}
        self._next_ticket = 0
        self._tasks: set[asyncio.Task[None]] = set()
        # One check of each kind for each peer at a time: more of the same is dropped, and asked for again.
        self._checking: set[tuple[NodeId, str]] = set()
        self._members = self._others()

    # --- in ---------------------------------------------------------------------------------------------------------

    def start(self, transport: Transport, journal: JournalPort, bookkeeper: BookkeeperPort) -> None:
        """Begin to step the replica, with the collaborators that report back to this driver."""
        self._transport, self._journal, self._bookkeeper = transport, journal, bookkeeper
        self._started = True
        self.post(Begin())

    def post(self, event: ReplicaEvent) -> None:
        """Put an event into the inbox; from the event loop."""
        if self._ended:
            return  # what is under way elsewhere may still report
        self._inbox.append(event)
        if not self._pumping:
            self._pumping = True
            self._loop.call_soon(self._pump)

    def journal_persisted(self, token: int) -> None:
        """From the journal's thread."""
        self._loop.call_soon_threadsafe(self.persisted, token)

    def ledger_applied(self, height: int) -> None:
        """From the bookkeeper's thread."""
        self._loop.call_soon_threadsafe(self.applied, height)

    def ledger_certified(self, certificates: tuple[BlockCertificate, ...]) -> None:
        """From the bookkeeper's thread."""
        self._loop.call_soon_threadsafe(self.certified, certificates)

    def persisted(self, token: int) -> None:
        """Everything up to this batch is durable; from the event loop, as the two that follow."""
        self.post(Persisted(token))

    def applied(self, height: int) -> None:
        """Blocks up to this height are durable."""
        self._observer.blocks_applied(height)
        self._observer.history_reached(self._bookkeeper.history_height)
        self._messages.before_stable(height)
        self.post(Applied(height))

    def certified(self, certificates: tuple[BlockCertificate, ...]) -> None:
        """These certificates are durable."""
        self._observer.certificates_stored(certificates)
        for certificate in certificates:
            self._messages.before_stable(certificate.height)
        self.post(CertificatesStored(certificates))

    def storage_failed(self, failure: LedgerError) -> None:
        """From a storage thread: stop with a clear error, nothing half-written."""
        self._loop.call_soon_threadsafe(self.fail, str(failure))

    def peer_connected(self, peer: NodeId) -> None:
        """From the transport."""
        self._log.info("peer connected", peer=self._name(peer))
        self.post(PeerConnected(peer))

    def peer_disconnected(self, peer: NodeId, reason: str) -> None:
        """From the transport."""
        self._log.info("peer disconnected", peer=self._name(peer), reason=reason)
        self.post(PeerDisconnected(peer))

    def frames_received(self, peer: NodeId, channel: Channel, frames: Sequence[bytes]) -> None:
        """From the transport: decode, check what must be checked, and post."""
        for data in frames:
            try:
                frame = wire.decode_frame(data)
            except CodecError as fault:
                self._transport.misbehaved(peer, str(fault))
                continue
            if isinstance(frame, ConsensusMessage):
                self._messages.received(peer, frame)
            elif isinstance(frame, TransactionsFrame | wire.BundleShare):
                self._bodies.received(peer, frame)
            elif isinstance(frame, wire.Shortened | wire.FetchWhole):
                self._short_ids.received(peer, frame)
            elif isinstance(frame, wire.BlocksAnswer | wire.CertificatesAnswer):
                self._catch_up_answer(peer, frame)
            elif isinstance(frame, wire.SignedAnswer):
                self._signed_answer(peer, frame)
            else:
                if isinstance(frame, wire.AskSigned):
                    self._messages.check_all()  # the answer tells all that has come
                self.post(FrameReceived(peer, frame))

    async def submit(self, transactions: Sequence[Transaction]) -> Outcomes:
        """Hand transactions with good signatures to the pool; the outcome once they are durable."""
        self._next_ticket += 1
        ticket = self._next_ticket
        future: asyncio.Future[Outcomes] = self._loop.create_future()
        self._tickets[ticket] = future
        self.post(TransactionsVerified(tuple(transactions), ticket))
        try:
            return await future
        finally:
            self._tickets.pop(ticket, None)

    async def close(self) -> None:
        """Stop handling events and end the tasks under way; storage is closed by the node."""
        self._inbox.clear()
        self._ended = True
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def fail(self, reason: str) -> None:
        """Stop the node."""
        if not self.failure.done():
            self._ended = True
            self._inbox.clear()
            self.failure.set_result(reason)

    @property
    def votes_waiting(self) -> int:
        """Votes whose check is put off."""
        return self._messages.waiting

    @property
    def journal_depth(self) -> int:
        """Batches that wait for the vote log."""
        return self._journal.depth if self._started else 0

    # --- the pump ---------------------------------------------------------------------------------------------------

    def _pump(self) -> None:
        try:
            # What one of them leads to at once is done in this turn, too.
            turns, now = EVENTS_PER_TURN, self._clock.now()
            while self._inbox and turns:
                turns -= 1
                event = self._inbox.popleft()
                if isinstance(event, TransactionsVerified):
                    self._short_ids.transactions_came(event.transactions)
                for action in self.replica.step(event, now):
                    self._carry_out(action)
                if self.failure.done():
                    return
        except BaseException as bug:
            self._dump(f"{type(bug).__name__} out of step: {bug}", self.replica.engine.dump())
            self.fail(f"a bug: {type(bug).__name__} out of step: {bug}; the engine's state was dumped")
            raise
        self._pumping = bool(self._inbox)
        if self._pumping:
            self._loop.call_soon(self._pump)

    def _carry_out(self, action: ReplicaAction) -> None:
        match action:
            case Transmit():
                self._transmit(action)
            case Persist() | TruncateVotes() | ForgetBodies():
                self._journal.put(action)
            case StartTimer():
                event = TimerFired(action.name, action.generation)
                self._loop.call_later(action.after_ns / NS_PER_S, self.post, event)
            case Apply():
                self._observer.block_executed(action.block)
                self._bookkeeper.put(action.block)
            case StoreCertificate():
                self._bookkeeper.put(action.certificate)
            case StoreEvidence():
                self._bookkeeper.put(FoundEvidence(action.evidence, self._clock.now().unix_ms))
            case Resolve():
                future = self._tickets.get(action.ticket)
                if future is not None and not future.done():
                    future.set_result(action.outcomes)
            case ServeBlocks():
                self._spawn(self._serving.blocks(action))
            case ServeCertificates():
                self._spawn(self._serving.certificates(action))
            case DecodeBundle():
                self._bodies.decode(action)
            case Blame():
                self._transport.misbehaved(action.peer, action.reason)
                self._log.warning("peer misbehaved", peer=self._name(action.peer), reason=action.reason)
            case Evidence():
                self._evidence(action.misbehaviour)
            case Notice():
                self._log.log(_LEVELS[action.level], action.text)
            case EpochsNear():
                self._members = self._others()
                self._accept(action.epochs)
            case Halt():
                self.fail(action.reason)

    def _send(self, peer: NodeId, frame: wire.Frame) -> None:
        self._transmit(Transmit(peer, frame))

    def _transmit(self, action: Transmit) -> None:
        frame = self._short_ids.shortened(action.frame) if action.to is None else action.frame
        data = wire.encode_frame(frame, compress=self.replica.dissemination.compress)
        channel = Channel.BULK if action.again else wire.channel_of(data)
        if self._followers and action.to is None and _is_block_vote(action.frame):
            for node in self._followers:
                self._transport.send(node, channel, data)
        for node in self._members if action.to is None else (action.to,):
            self._transport.send(node, channel, data)

    def _evidence(self, misbehaviour: Misbehaviour) -> None:
        first, second = misbehaviour.first, misbehaviour.second
        self._log.error(
            "equivocation",
            node=self._name(first.sender),
            kind=first.kind,
            view=first.view,
            sequence=first.sequence,
            first="0x" + first.digest.hex(),
            second="0x" + second.digest.hex(),
        )

    # --- from peers -------------------------------------------------------------------------------------------------

    def _signed_answer(self, peer: NodeId, frame: wire.SignedAnswer) -> None:
        if not self.replica.returning.expects(peer, frame):
            return
        answer, fault = self._incoming.signed_answer(frame, self.replica)
        if fault:
            self._transport.misbehaved(peer, fault)
        elif answer is not None:
            self.post(FrameReceived(peer, answer))

    def _catch_up_answer(self, peer: NodeId, frame: wire.BlocksAnswer | wire.CertificatesAnswer) -> None:
        # Checking these is dear: one at a time for each peer, whatever it sends.
        place = (peer, type(frame).__name__)
        if place not in self._checking:
            self._checking.add(place)
            self._spawn(self._check_answer(peer, frame))

    async def _check_answer(self, peer: NodeId, frame: wire.BlocksAnswer | wire.CertificatesAnswer) -> None:
        event: ReplicaEvent
        try:
            if isinstance(frame, wire.BlocksAnswer):
                event, fault = await self._incoming.blocks(peer, frame.blocks, self.replica)
            else:
                event, fault = await self._incoming.certificates(frame.certificates, self.replica)
        finally:
            self._checking.discard((peer, type(frame).__name__))
        if fault:
            self._transport.misbehaved(peer, fault)
        self.post(event)

    # --- to peers ---------------------------------------------------------------------------------------------------

    def _not_served(self, peer: NodeId, failure: LedgerError) -> None:
        self._log.warning("cannot serve a peer from the ledger", peer=self._name(peer), reason=str(failure))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (bug := task.exception()) is not None:
            self.fail(str(bug) if isinstance(bug, LedgerError) else f"a bug: {type(bug).__name__}: {bug}")

    def _misbehaved(self, peer: NodeId, reason: str) -> None:
        self._transport.misbehaved(peer, reason)

    def _name(self, node: bytes) -> str:
        return self.replica.epochs.name_of(node)

    def _others(self) -> tuple[NodeId, ...]:
        """The validators of the current epoch, this node left out."""
        return tuple(node for node in self.replica.epoch.ids if node != self.replica.me)


def _is_block_vote(frame: wire.Frame) -> bool:
    return isinstance(frame, ConsensusMessage) and frame.kind == BLOCK_VOTE


_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
