"""One funnel for all events of a node.

Rules of this file: own messages reach the engine only through `_own_message`, after they are durable; a decision is
executed only in `_execute_ready`, in order; a block is announced (voted on) only after `Applied`. Sequence == height.
Weak spot: the epoch is fixed at boot until epochs can change.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import msgspec

from potchain.application.accounts import load_account
from potchain.application.execution import Executor
from potchain.application.state import AuthenticatedState
from potchain.blocks import (
    BLOCK_VOTE,
    BlockCertificate,
    BlockHeader,
    ExecutedBlock,
    Proposal,
    proposal_digest,
)
from potchain.consensus.interface import (
    BuildProposal,
    CertificateReceived,
    Certified,
    CheckProposal,
    ConsensusEngine,
    ConsensusMessage,
    Decision,
    Discard,
    Effects,
    Event,
    Executed,
    FetchProposal,
    MessageReceived,
    Misbehaviour,
    SetTimer,
    Started,
    WorkWaiting,
)
from potchain.consensus.interface import TimerFired as EngineTimerFired
from potchain.consensus.signer import Signer
from potchain.errors import GuardRefusal, InvalidTransaction
from potchain.genesis import Epoch, Genesis
from potchain.pool import TransactionPool
from potchain.primitives import NS_PER_MS, NS_PER_S, Digest, NodeId, uint
from potchain.replica import wire
from potchain.replica.actions import (
    Applied,
    Apply,
    Begin,
    Blame,
    BlocksVerified,
    CertificatesStored,
    CertificatesVerified,
    Evidence,
    ForgetBodies,
    FrameReceived,
    Halt,
    Notice,
    Now,
    PeerConnected,
    PeerDisconnected,
    Persisted,
    ReplicaAction,
    ReplicaEvent,
    Resolve,
    ServeBlocks,
    ServeCertificates,
    StartTimer,
    StoreCertificate,
    TimerFired,
    TransactionsVerified,
    Transmit,
    TruncateVotes,
)
from potchain.replica.catching_up import CatchUp
from potchain.replica.certifying import Certifier, Divergence
from potchain.replica.outbox import Outbox
from potchain.replica.proposing import ProposalDesk
from potchain.transactions import Transaction

TICK_NS = NS_PER_S
"""How often a node without progress re-sends and asks (host rule (h))."""
UNAPPLIED_MAX = 8
"""Blocks executed in memory that may wait for the disk; further decisions wait."""
FORWARD_MAX = 200
"""Transactions forwarded to a primary that seems not to have them, per tick."""
ENGINE_TIMER = "engine:"


class ReplicaBoot(msgspec.Struct, frozen=True, kw_only=True):
    """What a replica starts from, read from disk by the node."""

    tip: BlockHeader
    tip_hash: Digest
    certified: int
    """Every height up to here has a durable certificate."""
    stable: int
    """Height of the stable checkpoint."""
    uncertified: tuple[tuple[int, Digest], ...]
    """Executed heights above it that lack one, with their block hashes."""
    certified_ahead: tuple[int, ...] = ()
    """Executed heights above `certified` that do have one."""
    own_messages: tuple[ConsensusMessage, ...]
    proposals: tuple[tuple[Proposal, tuple[Transaction, ...]], ...]
    """Pinned proposals above the tip with all bodies."""
    bodies: tuple[Transaction, ...]
    """All transactions of the body log, in the order in which they were admitted."""


class Replica:
    """A validator, or with `signer` None an observer, as a pure state machine."""

    def __init__(
        self,
        *,
        genesis: Genesis,
        epoch: Epoch,
        me: NodeId,
        engine: ConsensusEngine,
        signer: Signer | None,
        executor: Executor,
        state: AuthenticatedState,
        pool: TransactionPool,
        boot: ReplicaBoot,
    ) -> None:
        self.genesis = genesis
        self.epoch = epoch
        self.me = me
        self.engine = engine
        self.state = state
        self.pool = pool
        self.tip = boot.tip
        self.tip_hash = boot.tip_hash
        self.applied_header, self.applied_hash = boot.tip, boot.tip_hash
        """The highest block that is durable in the ledger."""
        self.progress_ns = 0
        """Monotonic time of the last executed block or certificate."""
        self._boot = boot
        self._signer = signer
        self._executor = executor
        self._outbox = Outbox()
        self._now = Now(0, 0)
        self._generations: dict[str, int] = {}
        self._timers: dict[str, int] = {}
        self._decided: dict[int, Decision] = {}
        self._synced: dict[Digest, tuple[Transaction, ...]] = {}
        self._unapplied: dict[int, ExecutedBlock] = {}
        self._forget_at: dict[int, tuple[Digest, ...]] = {}
        self._own: dict[tuple[int, int, str], ConsensusMessage] = {}
        self._fetching: dict[Digest, FetchProposal] = {}
        self._connected: dict[NodeId, None] = {}
        self.certifier = Certifier(epoch, epoch.parameters.log_window, boot.certified)
        self.catch_up = CatchUp(me, epoch.ids, epoch.parameters.in_flight_max)
        self.desk = ProposalDesk(
            me=me,
            genesis_hash=genesis.hash,
            epoch=epoch,
            pool=pool,
            outbox=self._outbox,
            answer=self._step_engine,
        )

    # --- the funnel -------------------------------------------------------------------------------------------------

    def step(self, event: ReplicaEvent, now: Now) -> list[ReplicaAction]:
        """React to one event; the actions are to be carried out in order. Never raises for what a peer sent."""
        self._now = now
        try:
            self._dispatch(event)
            actions = self._outbox.drain()
            # Continuations that drain ran may have made work: look once more for what is due.
            self._look_for_work()
            return actions + self._outbox.drain()
        except Divergence as divergence:
            return [Halt(str(divergence))]

    def _dispatch(self, event: ReplicaEvent) -> None:
        match event:
            case FrameReceived():
                self._on_frame(event.sender, event.frame)
            case TransactionsVerified():
                self._on_transactions(event)
            case Persisted():
                self._outbox.persisted(event.token)
            case Applied():
                self._on_applied(event.height)
            case CertificatesStored():
                for certificate in event.certificates:
                    self._on_certificate_stored(certificate)
            case TimerFired():
                self._on_timer(event.name, event.generation)
            case BlocksVerified():
                self._on_blocks(event)
            case CertificatesVerified():
                for certificate in event.certificates:
                    self._certified(self.certifier.accept(certificate))
            case PeerConnected():
                self._on_connected(event.peer)
            case PeerDisconnected():
                self._connected.pop(event.peer, None)
                self.catch_up.gone(event.peer)
            case Begin():
                self._begin()

    def _begin(self) -> None:
        boot, now_ns = self._boot, self._now.monotonic_ns
        self.progress_ns = now_ns
        for height in boot.certified_ahead:
            self.certifier.stored(height)
        for message in boot.own_messages:
            self._own[(message.sequence, message.view, message.kind)] = message
        for transaction in boot.bodies:
            self._admit(transaction)
        for proposal, transactions in boot.proposals:
            self.desk.restore(proposal, transactions)
        for height, block_hash in boot.uncertified:
            self._certified(self.certifier.block_executed(height, block_hash))
            own_vote = self._own.get((height, 0, BLOCK_VOTE))
            if own_vote is not None:
                self._on_block_vote(own_vote)
            elif height > boot.stable:
                self._vote_for_block(height, block_hash)
        self._boot = msgspec.structs.replace(boot, bodies=(), proposals=())
        self._step_engine(Started())
        self._start_timer("tick", TICK_NS)

    # --- the engine -------------------------------------------------------------------------------------------------

    def _step_engine(self, event: Event) -> None:
        self._carry_out(self.engine.step(event, self._now.monotonic_ns))

    def _carry_out(self, effects: Effects) -> None:
        outbox = self._outbox
        outbox.persist(records=effects.persist)
        for send in effects.send:
            self._sign_and_send(send.kind, send.view, send.sequence, send.digest, send.body, send.to)
        for timer in effects.timers:
            name = ENGINE_TIMER + timer.name
            if isinstance(timer, SetTimer):
                self._start_timer(name, timer.after_ns)
            else:
                self._generations[name] = self._generations.get(name, 0) + 1
                self._timers.pop(name, None)
        for decision in effects.decide:
            outbox.then(partial(self._on_decision, decision))
        if effects.truncate is not None:
            outbox.then(partial(self._on_stable, effects.truncate))
        for ask in effects.ask:
            match ask:
                case BuildProposal():
                    self.desk.build_asked(ask)
                case CheckProposal():
                    self.desk.check_asked(ask, self._now)
                case FetchProposal():
                    self._fetch_proposal(ask)
        for report in effects.report:
            if isinstance(report, Discard):
                if report.blame and report.sender != self.me:
                    outbox.now(Blame(report.sender, f"{report.kind}: {report.reason}"))
                else:
                    outbox.now(Notice("debug", f"discarded {report.kind}: {report.reason}"))
            elif isinstance(report, Misbehaviour):
                outbox.now(Evidence(report))
            else:
                outbox.now(Notice("info", report.text))

    def _sign_and_send(
        self, kind: str, view: int, sequence: int, digest: Digest, body: bytes, to: NodeId | None
    ) -> None:
        if self._signer is None:
            return
        try:
            message = self._signer.sign(self.epoch.number, kind, view, sequence, digest, body)
        except GuardRefusal as refusal:
            self._outbox.now(Notice("error", f"signer: {refusal}"))
            return
        self._outbox.persist(messages=(message,))
        self._outbox.then(Transmit(to, message))
        self._outbox.then(partial(self._own_message, message))

    def _own_message(self, message: ConsensusMessage) -> None:
        self._own[(message.sequence, message.view, message.kind)] = message
        if message.kind == BLOCK_VOTE:
            self._on_block_vote(message)
        else:
            self._step_engine(MessageReceived(message))

    # --- frames -----------------------------------------------------------------------------------------------------

    def _on_frame(self, sender: NodeId, frame: wire.Frame) -> None:
        match frame:
            case ConsensusMessage():
                if frame.kind == BLOCK_VOTE:
                    self._on_block_vote(frame)
                else:
                    self._step_engine(MessageReceived(frame))
            case wire.FetchBodies():
                self._serve_bodies(sender, frame)
            case wire.FetchProposal():
                self._serve_proposal(sender, frame)
            case wire.ProposalAnswer():
                self._on_proposal_answer(frame.proposal)
            case wire.PeerProgress():
                self.catch_up.heard(sender, frame)
                self._ask_for_blocks(stuck=False)
            case wire.FetchBlocks():
                count = min(frame.count, wire.SYNC_BLOCKS_MAX)
                self._outbox.now(ServeBlocks(sender, frame.from_height, count))
            case wire.FetchCertificates():
                count = min(frame.count, wire.CERTIFICATES_MAX)
                self._outbox.now(ServeCertificates(sender, frame.from_height, count))
            case _:
                # Gossip and answers with signatures come as verified events of their own.
                self._outbox.now(Blame(sender, f"unexpected {type(frame).__name__}"))

    def _serve_bodies(self, sender: NodeId, ask: wire.FetchBodies) -> None:
        held = [self.pool.get(Digest(tid)) for tid in ask.ids[: wire.FETCH_IDS_MAX]]
        raws = tuple(transaction.raw for transaction in held if transaction is not None)
        if raws:
            self._outbox.then(Transmit(sender, wire.BodiesAnswer(raws)))

    def _serve_proposal(self, sender: NodeId, ask: wire.FetchProposal) -> None:
        proposal = self.desk.pinned(Digest(ask.digest))
        if proposal is not None:
            self._outbox.then(Transmit(sender, wire.ProposalAnswer(proposal)))
        elif ask.sequence <= self.applied:
            self._outbox.now(ServeBlocks(sender, ask.sequence, 1))

    def _fetch_proposal(self, ask: FetchProposal) -> None:
        if len(self._fetching) < self.epoch.parameters.log_window:
            self._fetching[ask.digest] = ask
            self._outbox.then(Transmit(None, wire.FetchProposal(ask.sequence, ask.digest)))

    def _on_proposal_answer(self, proposal: Proposal) -> None:
        digest = proposal_digest(proposal.header)
        ask = self._fetching.pop(digest, None)
        if ask is not None:
            # A commit quorum stands behind this digest: clock and proposer are not checked again.
            check = CheckProposal(proposal=proposal, view=0, fresh=False, sources=self.epoch.ids)
            self.desk.check_asked(check, self._now)

    # --- transactions -----------------------------------------------------------------------------------------------

    def _on_transactions(self, event: TransactionsVerified) -> None:
        outcomes = []
        admitted = []
        for transaction in event.transactions:
            status, code, detail = self._admit(transaction)
            if status == "accepted":
                admitted.append(transaction)
            outcomes.append((transaction.id, status, code, detail))
        self._outbox.persist(bodies=tuple(admitted))
        for transaction in event.transactions:
            if self.desk.is_wanted(transaction.id):
                self.desk.body_arrived(transaction)
        if event.ticket is not None:
            if admitted:
                gossip = wire.Gossip(tuple(transaction.raw for transaction in admitted))
                self._outbox.then(Transmit(None, gossip))
            self._outbox.then(Resolve(event.ticket, tuple(outcomes)))

    def _admit(self, transaction: Transaction) -> tuple[str, str, str]:
        try:
            self._executor.check(transaction, self.state, self.epoch, self.tip.block_time_ms)
            nonce, balance = self._account(transaction.sender)
            admission = self.pool.admit(
                transaction,
                account_nonce=nonce,
                balance=balance,
                base_fee=self.epoch.parameters.base_fee,
                block_time_ms=self.tip.block_time_ms,
                now_ns=self._now.monotonic_ns,
            )
        except InvalidTransaction as refusal:
            return "refused", refusal.code, refusal.detail
        return ("known" if admission.status == "known" else "accepted"), "", ""

    # --- decisions, blocks, certificates ----------------------------------------------------------------------------

    def _on_decision(self, decision: Decision) -> None:
        if decision.sequence > self.tip.height:
            self._decided[decision.sequence] = decision
            self._fetching.pop(decision.digest, None)
        self.desk.decided(decision.sequence)
        self._execute_ready()

    def _execute_ready(self) -> None:
        while len(self._unapplied) < UNAPPLIED_MAX:
            decision = self._decided.pop(self.tip.height + 1, None)
            if decision is None:
                return
            bodies = self._synced.pop(decision.digest, None) or self.desk.bodies(decision.proposal)
            block = self._executor.execute_block(
                self.tip, self.epoch, decision.proposal, bodies, self.state, decision.certificate
            )
            self.tip, self.tip_hash = block.header, block.hash
            self.progress_ns = self._now.monotonic_ns
            self._unapplied[block.height] = block
            self.pool.executed(bodies, block.receipts, self._account, self._now.monotonic_ns)
            self._forget_at[block.height] = self.pool.drain_forgotten()
            self._outbox.then(Apply(block))

    def _account(self, address: bytes) -> tuple[int, int]:
        account = load_account(self.state, address)
        return account.nonce, uint(account.balance)

    def _on_applied(self, height: int) -> None:
        for each in range(self.applied + 1, height + 1):
            block = self._unapplied.pop(each)
            self.applied_header, self.applied_hash = block.header, block.hash
            forgotten = self._forget_at.pop(each)
            if forgotten:
                self._outbox.now(ForgetBodies(forgotten))
            self.desk.applied(each)
            fetched = self.certifier.block_executed(each, block.hash)
            self._step_engine(Executed(each, block.hash, None))
            if fetched is not None:
                self._certified(fetched)
            else:
                self._vote_for_block(each, block.hash)
        self._execute_ready()
        self._ask_for_blocks(stuck=False)

    def _vote_for_block(self, height: int, block_hash: Digest) -> None:
        self._sign_and_send(BLOCK_VOTE, 0, height, block_hash, b"", None)

    def _on_block_vote(self, message: ConsensusMessage) -> None:
        outcome = self.certifier.vote(message)
        if isinstance(outcome, str):
            self._outbox.now(Notice("debug", outcome))
        else:
            self._certified(outcome)

    def _certified(self, certificate: BlockCertificate | None) -> None:
        if certificate is not None:
            self._outbox.then(StoreCertificate(certificate))

    def _on_certificate_stored(self, certificate: BlockCertificate) -> None:
        self.certifier.stored(certificate.height)
        self.progress_ns = self._now.monotonic_ns
        self._own.pop((certificate.height, 0, BLOCK_VOTE), None)
        self._step_engine(Certified(certificate.height, certificate))

    def _on_stable(self, stable: int) -> None:
        if self._signer is not None:
            self._signer.forget_below(stable)
        for slot in [slot for slot in self._own if 0 < slot[0] <= stable and slot[2] != BLOCK_VOTE]:
            del self._own[slot]
        uncertified = tuple(height for height in self.certifier.missing() if height <= stable)
        self._outbox.now(TruncateVotes(stable, uncertified))

    # --- catch-up and re-sending ------------------------------------------------------------------------------------

    def _on_blocks(self, event: BlocksVerified) -> None:
        self.catch_up.answered(event.sender)
        for block, transactions in zip(event.blocks, event.transactions, strict=True):
            header = block.proposal.header
            if header.sequence <= self.tip.height or header.sequence > self.applied + wire.SYNC_BLOCKS_MAX * 2:
                continue
            digest = proposal_digest(header)
            if header.sequence not in self._decided:
                self._synced[digest] = transactions
                self._step_engine(
                    CertificateReceived(header.sequence, digest, block.order_certificate, block.proposal)
                )
            if block.block_certificate is not None:
                self._certified(self.certifier.accept(block.block_certificate))

    def _ask_for_blocks(self, *, stuck: bool) -> None:
        held = self.tip.height if stuck else self.tip.height + len(self._decided)
        wanted = self.catch_up.blocks_wanted(held, self._now.monotonic_ns, stuck=stuck)
        if wanted is not None:
            self._outbox.then(Transmit(*wanted))

    def _on_connected(self, peer: NodeId) -> None:
        self._connected[peer] = None
        self._outbox.then(Transmit(peer, self._progress_frame()))
        self._resend(peer)

    def _progress_frame(self) -> wire.PeerProgress:
        return wire.PeerProgress(self.applied, self.certifier.certified, self.engine.status().low_water_mark)

    def _resend(self, to: NodeId | None) -> None:
        """Host rule (h): own messages that are not decided yet, and block votes without a certificate, unchanged."""
        for (sequence, _, kind), message in self._own.items():
            if kind == BLOCK_VOTE or sequence == 0 or sequence > self.tip.height:
                self._outbox.then(Transmit(to, message))

    def _on_tick(self) -> None:
        now_ns = self._now.monotonic_ns
        self._start_timer("tick", TICK_NS)
        self.pool.expire(now_ns, max(self.tip.block_time_ms, self._now.unix_ms))
        forgotten = self.pool.drain_forgotten()
        if forgotten:
            self._outbox.now(ForgetBodies(forgotten))
        self._outbox.then(Transmit(None, self._progress_frame()))
        if not self.has_work and not self.catch_up.best_height > self.tip.height:
            self.progress_ns = now_ns
        elif now_ns - self.progress_ns >= TICK_NS:
            self._resend(None)
            for ask in self._fetching.values():
                self._outbox.then(Transmit(None, wire.FetchProposal(ask.sequence, ask.digest)))
            self._ask_for_blocks(stuck=True)
            wanted = self.catch_up.certificates_wanted(self.certifier.certified, self.applied)
            if wanted is not None:
                self._outbox.then(Transmit(*wanted))
        self._forward_waiting()
        count, oldest_ns = self.pool.proposable()
        self._step_engine(WorkWaiting(count, oldest_ns))

    def _forward_waiting(self) -> None:
        """Half a view timeout without being proposed: make sure that the primary has it (design, timers (b))."""
        primary = self.engine.status().primary
        _, oldest_ns = self.pool.proposable()
        half_ns = self.epoch.parameters.view_timeout_ms * NS_PER_MS // 2
        if primary == self.me or oldest_ns is None or self._now.monotonic_ns - oldest_ns < half_ns:
            return
        waiting = self.pool.select(
            count_max=FORWARD_MAX,
            bytes_max=self.epoch.parameters.batch_bytes_max,
            now_ns=self._now.monotonic_ns,
            block_time_ms=self.tip.block_time_ms,
        )
        if waiting:
            self._outbox.then(Transmit(primary, wire.Gossip(tuple(transaction.raw for transaction in waiting))))

    # --- timers -----------------------------------------------------------------------------------------------------

    def _look_for_work(self) -> None:
        for name, due_ns in (
            ("batch", self.desk.build_if_due(self._now)),
            ("fetch", self.desk.fetch_due(self._now)),
        ):
            if due_ns is None:
                self._timers.pop(name, None)
            elif self._timers.get(name) != due_ns:
                self._start_timer(name, max(0, due_ns - self._now.monotonic_ns))
                self._timers[name] = due_ns

    def _start_timer(self, name: str, after_ns: int) -> None:
        generation = self._generations.get(name, 0) + 1
        self._generations[name] = generation
        self._timers[name] = self._now.monotonic_ns + after_ns
        self._outbox.now(StartTimer(name, generation, after_ns))

    def _on_timer(self, name: str, generation: int) -> None:
        if self._generations.get(name) != generation:
            return
        self._timers.pop(name, None)
        if name == "tick":
            self._on_tick()
        elif name.startswith(ENGINE_TIMER):
            self._step_engine(EngineTimerFired(name.removeprefix(ENGINE_TIMER)))
        # "batch" and "fetch" only wake the funnel, which looks for due work after every event.

    # --- status -----------------------------------------------------------------------------------------------------

    @property
    def applied(self) -> int:
        """Highest height that is durable in the ledger."""
        return self.applied_header.height

    @property
    def has_work(self) -> bool:
        """Whether something should be moving: a proposable transaction, a sequence in flight, a block to certify."""
        return (
            self.pool.proposable()[0] > 0
            or self.certifier.certified < self.tip.height
            or bool(self.engine.status().in_flight)
        )

    def next_timer(self) -> tuple[str, int] | None:
        """Name and monotonic time of the timer that fires next."""
        name = min(self._timers, key=lambda each: self._timers[each], default=None)
        return None if name is None else (name, self._timers[name])

    def sizes(self) -> dict[str, int]:
        """Sizes of the replica's own buffers."""
        return {
            "decided_waiting": len(self._decided),
            "blocks_unapplied": len(self._unapplied),
            "own_messages": len(self._own),
            "steps_waiting_for_disk": self._outbox.held,
            "guard_entries": self._signer.size if self._signer is not None else 0,
            "proposals_fetching": len(self._fetching),
            **self.desk.sizes(),
            **self.certifier.sizes(),
        }

    @property
    def connected(self) -> Sequence[NodeId]:
        """Peers that are connected now."""
        return tuple(self._connected)
