"""One funnel for all events of a node.

Rules of this file: own messages reach the engine only through `_own_message`, after they are durable; a decision is
executed only by `Chain`, in order; a block is announced (voted on) only after `Applied`. Sequence == height.
Weak spot: the epoch is fixed at boot until epochs can change.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import msgspec

from potchain.application.execution import Executor
from potchain.application.state import AuthenticatedState
from potchain.blocks import BLOCK_VOTE, BlockCertificate, BlockHeader, proposal_digest
from potchain.consensus import interface as consensus
from potchain.consensus.signer import Signer
from potchain.genesis import Epoch, Genesis
from potchain.pool import TransactionPool
from potchain.primitives import NS_PER_MS, NS_PER_S, Digest, NodeId
from potchain.replica import actions, wire
from potchain.replica.boot import ReplicaBoot
from potchain.replica.catching_up import CatchUp
from potchain.replica.certifying import Certifier, Divergence
from potchain.replica.chain import Chain
from potchain.replica.exchange import Exchange
from potchain.replica.outbox import Outbox
from potchain.replica.own_messages import OwnMessages
from potchain.replica.proposing import ProposalDesk
from potchain.replica.timers import Timers

TICK_NS = NS_PER_S
"""How often a node without progress re-sends and asks (host rule (h))."""
ENGINE_TIMER = "engine:"


class Replica:
    """A validator, or with `signer` None an observer, as a pure state machine."""

    def __init__(
        self,
        *,
        genesis: Genesis,
        epoch: Epoch,
        me: NodeId,
        engine: consensus.ConsensusEngine,
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
        self.pool = pool
        self.progress_ns = 0
        """Monotonic time of the last executed block or certificate, or of the last look at an idle node."""
        self._boot = boot
        self._executor = executor
        self._now = actions.Now(0, 0)
        self._outbox = outbox = Outbox()
        self.timers = Timers(outbox)
        self.certifier = Certifier(epoch, epoch.parameters.log_window, boot.certified)
        self.catch_up = CatchUp(me, epoch.ids, epoch.parameters.checkpoint_interval)
        self.desk = ProposalDesk(
            me=me, genesis_hash=genesis.hash, epoch=epoch, pool=pool, outbox=outbox, answer=self._step_engine
        )
        self.chain = Chain(
            epoch=epoch,
            executor=executor,
            state=state,
            pool=pool,
            desk=self.desk,
            outbox=outbox,
            tip=boot.tip,
            tip_hash=boot.tip_hash,
        )
        self._own = OwnMessages(signer, outbox, self._own_message, boot.unsettled_messages)
        self._exchange = Exchange(epoch, pool, self.desk, outbox)
        self._connected: dict[NodeId, None] = {}

    # --- the funnel -------------------------------------------------------------------------------------------------

    def step(self, event: actions.ReplicaEvent, now: actions.Now) -> list[actions.ReplicaAction]:
        """React to one event; the actions are to be carried out in order. Never raises for what a peer sent."""
        self._now = now
        try:
            self._dispatch(event)
            before = self._outbox.drain()
            # Continuations that drain ran may have made work: look once more for what is due.
            self._look_for_work()
            return before + self._outbox.drain()
        except Divergence as divergence:
            return [actions.Halt(str(divergence))]

    def _dispatch(self, event: actions.ReplicaEvent) -> None:
        match event:
            case actions.FrameReceived():
                self._on_frame(event.sender, event.frame)
            case actions.TransactionsVerified():
                self._on_transactions(event)
            case actions.Persisted():
                self._outbox.persisted(event.token)
            case actions.Applied():
                self._on_applied(event.height)
            case actions.CertificatesStored():
                for certificate in event.certificates:
                    self._on_certificate_stored(certificate)
            case actions.TimerFired():
                self._on_timer(event.name, event.generation)
            case actions.BlocksVerified():
                self._on_blocks(event)
            case actions.CertificatesVerified():
                for certificate in event.certificates:
                    self._certified(self.certifier.accept(certificate))
            case actions.PeerConnected():
                self._on_connected(event.peer)
            case actions.PeerDisconnected():
                self._connected.pop(event.peer, None)
                self.catch_up.gone(event.peer)
            case actions.Begin():
                self._begin()

    def _begin(self) -> None:
        boot, now_ns = self._boot, self._now.monotonic_ns
        self.progress_ns = now_ns
        for height in boot.certified_ahead:
            self.certifier.stored(height)
        for transaction in boot.bodies:
            self.chain.admit(transaction, self._now.monotonic_ns)
        for proposal, transactions in boot.proposals:
            self.desk.restore(proposal, transactions)
        for height, block_hash in boot.uncertified:
            self._certified(self.certifier.block_executed(height, block_hash))
            own_vote = self._own.block_vote(height)
            if own_vote is not None:
                self._on_block_vote(own_vote)
            elif height > boot.stable:
                self._vote_for_block(height, block_hash)
        self.chain.forget_unneeded(boot.bodies)
        self._boot = msgspec.structs.replace(boot, bodies=(), proposals=())
        self._step_engine(consensus.Started())
        self.timers.start("tick", self._now.monotonic_ns, TICK_NS)

    # --- the engine -------------------------------------------------------------------------------------------------

    def _step_engine(self, event: consensus.Event) -> None:
        self._carry_out(self.engine.step(event, self._now.monotonic_ns))

    def _carry_out(self, effects: consensus.Effects) -> None:
        outbox = self._outbox
        outbox.persist(records=effects.persist)
        for send in effects.send:
            self._own.send(self.epoch.number, send.kind, send.view, send.sequence, send.digest, send.body, send.to)
        for timer in effects.timers:
            name = ENGINE_TIMER + timer.name
            if isinstance(timer, consensus.SetTimer):
                self.timers.start(name, self._now.monotonic_ns, timer.after_ns)
            else:
                self.timers.cancel(name)
        for decision in effects.decide:
            outbox.then(partial(self._on_decision, decision))
        if effects.truncate is not None:
            outbox.then(partial(self._on_stable, effects.truncate))
        for ask in effects.ask:
            match ask:
                case consensus.BuildProposal():
                    self.desk.build_asked(ask)
                case consensus.CheckProposal():
                    self.desk.check_asked(ask, self._now)
                case consensus.FetchProposal():
                    self._exchange.fetch(ask)
        for report in effects.report:
            outbox.now(actions.reported(report, self.me))

    def _own_message(self, message: consensus.ConsensusMessage) -> None:
        if message.kind == BLOCK_VOTE:
            self._on_block_vote(message)
        else:
            self._step_engine(consensus.MessageReceived(message))

    # --- frames -----------------------------------------------------------------------------------------------------

    def _on_frame(self, sender: NodeId, frame: wire.Frame) -> None:
        match frame:
            case consensus.ConsensusMessage():
                if frame.kind == BLOCK_VOTE:
                    self._on_block_vote(frame)
                else:
                    self._step_engine(consensus.MessageReceived(frame))
            case wire.FetchBodies():
                self._exchange.serve_bodies(sender, frame)
            case wire.FetchProposal():
                self._exchange.serve_proposal(sender, frame, self.applied)
            case wire.ProposalAnswer():
                check = self._exchange.answered(frame.proposal)
                if check is not None:
                    self.desk.check_asked(check, self._now)
            case wire.PeerProgress():
                self.catch_up.heard(sender, frame)
                self._ask_for_blocks(stuck=False)
            case wire.FetchBlocks():
                count = min(frame.count, wire.SYNC_BLOCKS_MAX)
                self._outbox.now(actions.ServeBlocks(sender, frame.from_height, count))
            case wire.FetchCertificates():
                count = min(frame.count, wire.CERTIFICATES_MAX)
                self._outbox.now(actions.ServeCertificates(sender, frame.from_height, count))
            case _:
                # Gossip and answers with signatures come as verified events of their own.
                self._outbox.now(actions.Blame(sender, f"unexpected {type(frame).__name__}"))

    # --- transactions -----------------------------------------------------------------------------------------------

    def _on_transactions(self, event: actions.TransactionsVerified) -> None:
        outcomes = []
        admitted = []
        for transaction in event.transactions:
            status, code, detail = self.chain.admit(transaction, self._now.monotonic_ns)
            if status == "accepted":
                admitted.append(transaction)
            outcomes.append((transaction.id, status, code, detail))
        if event.ticket is None:
            self._outbox.persist_in_company(tuple(admitted))
        else:
            self._outbox.persist(bodies=tuple(admitted))
        for transaction in event.transactions:
            if self.desk.is_wanted(transaction.id):
                self.desk.body_arrived(transaction)
        if event.ticket is not None:
            self._outbox.flush()  # what a client is told is known here is durable here, too
            if admitted:
                gossip = wire.Gossip(tuple(transaction.raw for transaction in admitted))
                self._outbox.then(actions.Transmit(None, gossip))
            self._outbox.then(actions.Resolve(event.ticket, tuple(outcomes)))

    # --- decisions, blocks, certificates ----------------------------------------------------------------------------

    def _on_decision(self, decision: consensus.Decision) -> None:
        self._exchange.decided(decision.digest)
        self.desk.decided(decision.sequence)
        if self.chain.decide(decision, self._now.monotonic_ns):
            self.progress_ns = self._now.monotonic_ns

    def _on_applied(self, height: int) -> None:
        for each in range(self.chain.applied.height + 1, height + 1):
            block_hash = self.chain.block_applied(each)
            fetched = self.certifier.block_executed(each, block_hash)
            self._step_engine(consensus.Executed(each, block_hash, None))
            if fetched is not None:
                self._certified(fetched)
            else:
                self._vote_for_block(each, block_hash)
        if self.chain.execute_ready(self._now.monotonic_ns):
            self.progress_ns = self._now.monotonic_ns
        self._ask_for_blocks(stuck=False)

    def _vote_for_block(self, height: int, block_hash: Digest) -> None:
        self._own.send(self.epoch.number, BLOCK_VOTE, 0, height, block_hash, b"", None)

    def _on_block_vote(self, message: consensus.ConsensusMessage) -> None:
        outcome = self.certifier.vote(message)
        if isinstance(outcome, str):
            self._outbox.now(actions.Notice("debug", outcome))
        else:
            self._certified(outcome)

    def _certified(self, certificate: BlockCertificate | None) -> None:
        if certificate is not None:
            self._outbox.then(actions.StoreCertificate(certificate))

    def _on_certificate_stored(self, certificate: BlockCertificate) -> None:
        self.certifier.stored(certificate.height)
        self.progress_ns = self._now.monotonic_ns
        self._own.certified(certificate.height)
        self._step_engine(consensus.Certified(certificate.height, certificate))

    def _on_stable(self, stable: int) -> None:
        self._own.stable(stable)
        uncertified = tuple(height for height in self.certifier.missing() if height <= stable)
        self._outbox.now(actions.TruncateVotes(stable, uncertified))

    # --- catch-up and re-sending ------------------------------------------------------------------------------------

    def _on_blocks(self, event: actions.BlocksVerified) -> None:
        self.catch_up.answered(event.sender, self._now.monotonic_ns, useful=bool(event.blocks))
        for block, transactions in zip(event.blocks, event.transactions, strict=True):
            header = block.proposal.header
            if header.sequence <= self.tip.height or header.sequence > self.applied + wire.SYNC_BLOCKS_MAX * 2:
                continue
            digest = proposal_digest(header)
            if not self.chain.is_decided(header.sequence):
                self.chain.keep_bodies(digest, transactions)
                self._step_engine(
                    consensus.CertificateReceived(header.sequence, digest, block.order_certificate, block.proposal)
                )
            if block.block_certificate is not None:
                self._certified(self.certifier.accept(block.block_certificate))

    def _ask_for_blocks(self, *, stuck: bool) -> None:
        wanted = self.catch_up.blocks_wanted(self.chain.gap - 1, self._now.monotonic_ns, stuck=stuck)
        if wanted is not None:
            self._outbox.then(actions.Transmit(*wanted))

    def _on_connected(self, peer: NodeId) -> None:
        self._connected[peer] = None
        self._outbox.then(actions.Transmit(peer, self._progress_frame()))
        self._own.resend(peer, self.certifier.certified)

    def _progress_frame(self) -> wire.PeerProgress:
        return wire.PeerProgress(self.applied, self.certifier.certified, self.engine.status().low_water_mark)

    def _on_tick(self) -> None:
        now_ns = self._now.monotonic_ns
        self.timers.start("tick", now_ns, TICK_NS)
        self._outbox.flush()
        # Our clock may be ahead of the network's by the bound that proposals are checked with, not by more.
        latest_ms = self._now.unix_ms - self.epoch.parameters.clock_bound_ms
        self.pool.expire(now_ns, max(self.tip.block_time_ms, latest_ms))
        self._outbox.forget(self.pool.drain_forgotten())
        self._outbox.then(actions.Transmit(None, self._progress_frame()))
        if not self.has_work and not self.catch_up.credible_height > self.tip.height:
            self.progress_ns = now_ns
        elif now_ns - self.progress_ns >= TICK_NS:
            self._own.resend(None, self.certifier.certified)
            self._ask_for_blocks(stuck=True)
            self._exchange.fetch_again(self.catch_up.credible_height)
        wanted = self.catch_up.certificates_wanted(self.certifier.certified, self.applied, now_ns)
        if wanted is not None:
            self._outbox.then(actions.Transmit(*wanted))
        self._forward_waiting()
        count, oldest_ns = self.pool.proposable()
        self._step_engine(consensus.WorkWaiting(count, oldest_ns))

    def _forward_waiting(self) -> None:
        """Half a view timeout without being proposed: make sure that the primary has it (design, timers (b))."""
        primary = self.engine.status().primary
        half_ns = self.epoch.parameters.view_timeout_ms * NS_PER_MS // 2
        waiting = () if primary == self.me else self.desk.waiting_since(self._now, half_ns)
        if waiting:
            self._outbox.then(actions.Transmit(primary, wire.Gossip(tuple(each.raw for each in waiting))))

    # --- timers -----------------------------------------------------------------------------------------------------

    def _look_for_work(self) -> None:
        now = self._now
        self.timers.start_at("batch", now.monotonic_ns, self.desk.build_if_due(now))
        self.timers.start_at("fetch", now.monotonic_ns, self.desk.fetch_due(now))

    def _on_timer(self, name: str, generation: int) -> None:
        if not self.timers.fired(name, generation):
            return
        if name == "tick":
            self._on_tick()
        elif name.startswith(ENGINE_TIMER):
            self._step_engine(consensus.TimerFired(name.removeprefix(ENGINE_TIMER)))
        # "batch" and "fetch" only wake the funnel, which looks for due work after every event.

    # --- status -----------------------------------------------------------------------------------------------------

    @property
    def tip(self) -> BlockHeader:
        """Header of the highest executed block."""
        return self.chain.tip

    @property
    def applied(self) -> int:
        """Highest height that is durable in the ledger."""
        return self.chain.applied.height

    @property
    def has_work(self) -> bool:
        """Whether something should be moving: a proposable transaction, a sequence in flight, a block to certify."""
        return (
            self.pool.proposable()[0] > 0
            or self.certifier.certified < self.tip.height
            or bool(self.engine.status().in_flight)
        )

    def sizes(self) -> dict[str, int]:
        """Sizes of the replica's own buffers."""
        return {
            "own_messages": len(self._own),
            "guard_entries": self._own.guard_size,
            "steps_waiting_for_disk": self._outbox.held,
            "proposals_fetching": len(self._exchange),
            **self.chain.sizes(),
            **self.desk.sizes(),
            **self.certifier.sizes(),
        }

    @property
    def connected(self) -> Sequence[NodeId]:
        """Peers that are connected now."""
        return tuple(self._connected)
