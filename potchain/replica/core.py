"""One funnel for all events of a node.

Rules of this file: own messages reach the engine only through `_own_message`, after they are durable; a decision is
executed only by `Chain`, in order; a block is announced (voted on) only after `Applied`. Sequence == height.
All rooms share one `KnownEpochs`: an epoch begins in `_begin_epoch` and nowhere else.
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
from potchain.dissemination import DisseminationOptions
from potchain.genesis import Epoch, Genesis
from potchain.pool import TransactionPool
from potchain.primitives import Digest, NodeId
from potchain.replica import actions, wire
from potchain.replica.admitting import Admission
from potchain.replica.boot import ReplicaBoot
from potchain.replica.certifying import Divergence
from potchain.replica.engine_host import ENGINE_TIMER, MakeEngine
from potchain.replica.rejoin import Position
from potchain.replica.rooms import Rooms
from potchain.replica.sharing import Sharing
from potchain.replica.turning import EpochTurn
from potchain.replica.upkeep import Upkeep


class Replica:
    """A validator, or with `signer` None or in no current epoch an observer, as a pure state machine."""

    def __init__(
        self,
        *,
        genesis: Genesis,
        epoch: Epoch,
        me: NodeId,
        make_engine: MakeEngine,
        signer: Signer | None,
        executor: Executor,
        state: AuthenticatedState,
        pool: TransactionPool,
        boot: ReplicaBoot,
        dissemination: DisseminationOptions = DisseminationOptions(),
    ) -> None:
        self.genesis = genesis
        self.me = me
        self.pool = pool
        self.dissemination = dissemination
        self._boot = boot
        self._now = actions.Now(0, 0)
        self._rooms = rooms = Rooms(
            genesis=genesis,
            epoch=epoch,
            me=me,
            make_engine=make_engine,
            signer=signer,
            executor=executor,
            state=state,
            pool=pool,
            dissemination=dissemination,
            boot=boot,
            own_message=self._own_message,
            on_decision=self._on_decision,
            on_stable=self._on_stable,
            position=self._position,
            standing_changed=self._standing_changed,
        )
        self.returning = rooms.returning
        self.epochs = rooms.epochs
        self.timers = rooms.timers
        self.accusations = rooms.accusations
        self.certifier = rooms.certifier
        self.catch_up = rooms.catch_up
        self.neglect = rooms.neglect
        self.desk = rooms.desk
        self.chain = rooms.chain
        self._outbox = rooms.outbox
        self._own = rooms.own
        self._host = rooms.host
        self._exchange = rooms.exchange
        self._admission = Admission(rooms)
        self.sharing = Sharing(rooms)
        self._upkeep = Upkeep(rooms)
        self._host.before_report(self._upkeep.forward_waiting)
        self._work_waits = False
        self._turn = EpochTurn(rooms, self._on_stable)
        self._host.boot(epoch, voting=self.returning.votes)

    # --- the funnel -------------------------------------------------------------------------------------------------

    def step(self, event: actions.ReplicaEvent, now: actions.Now) -> list[actions.ReplicaAction]:
        """React to one event; the actions are to be carried out in order. Never raises for what a peer sent."""
        self._now = now
        self._own.now_ns = now.monotonic_ns
        try:
            self._dispatch(event)
            before = self._outbox.drain()
            # Continuations that drain ran may have made work: look once more for what is due.
            self._look_for_work()
            after = self._outbox.drain()
            return before + after if after else before
        except Divergence as divergence:
            return [actions.Halt(str(divergence))]

    def _dispatch(self, event: actions.ReplicaEvent) -> None:
        match event:
            case actions.FrameReceived():
                self._on_frame(event.sender, event.frame)
            case actions.TransactionsVerified():
                self._admission.take(event, self._now.monotonic_ns)
            case actions.ShareVerified():
                self.sharing.take(event, self._now.monotonic_ns)
            case actions.BundleDecoded():
                self.sharing.decoded(event)
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
                self._upkeep.peer_connected(event.peer, self._now)
            case actions.PeerDisconnected():
                self._upkeep.peer_gone(event.peer, self._now)
            case actions.Begin():
                self._begin()

    def _begin(self) -> None:
        boot = self._boot
        for height in boot.certified_ahead:
            self.certifier.stored(height)
        # By nonce: in the log a transaction may come before those whose gossip had filled the gap in front of it.
        for transaction in sorted(boot.bodies, key=lambda each: (each.sender, each.nonce)):
            self.chain.admit(transaction, self._now.monotonic_ns, promised=True)
        for height, block_hash in boot.uncertified:
            self._certified(self.certifier.block_executed(height, block_hash))
            own_vote = self._own.block_vote(height)
            if own_vote is not None:
                self._on_block_vote(own_vote)
            elif height > boot.stable:
                self._vote_for_block(height, block_hash)
        self.chain.forget_unneeded(boot.bodies)
        self._boot = msgspec.structs.replace(boot, bodies=(), proposals=())
        for message in self.engine.remembered():
            self.returning.heard.note(message)
        self._turn.look(self._now)
        self._host.start(self._now)
        self._upkeep.begin(self._now)
        self.returning.begin(self._now)

    def _own_message(self, message: consensus.ConsensusMessage) -> None:
        if message.kind == BLOCK_VOTE:
            self._on_block_vote(message)
        else:
            self._step_engine(consensus.MessageReceived(message))

    def _step_engine(self, event: consensus.Event) -> None:
        self._host.step(event, self._now)

    # --- frames -----------------------------------------------------------------------------------------------------

    def _on_frame(self, sender: NodeId, frame: wire.Frame) -> None:
        match frame:
            case consensus.ConsensusMessage():
                self._on_message(frame)
            case wire.FetchBodies():
                self._exchange.serve_bodies(sender, frame, self.applied)
            case wire.FetchProposal():
                self._exchange.serve_proposal(sender, frame, self.applied)
            case wire.FetchMessages():
                self._exchange.serve_messages(sender, frame, self.engine.find, self._now.monotonic_ns)
            case wire.ProposalAnswer():
                check = self._exchange.answered(sender, frame.proposal)
                if check is not None:
                    self.desk.check_asked(check, self._now)
            case wire.PeerProgress():
                self.catch_up.heard(sender, frame)
                self.returning.heard_progress(sender, frame, self._now)
                self._upkeep.ask_for_blocks(self._now, stuck=False)
            case wire.FetchBlocks():
                count = min(frame.count, wire.SYNC_BLOCKS_MAX)
                self._outbox.now(actions.ServeBlocks(sender, frame.from_height, count))
            case wire.FetchCertificates():
                count = min(frame.count, wire.CERTIFICATES_MAX)
                self._outbox.now(actions.ServeCertificates(sender, frame.from_height, count))
            case wire.AskSigned():
                self.returning.serve(sender, frame, self.applied, self._host.low, self._now)
            case wire.SignedAnswer():
                self.returning.answered(sender, frame, self._now)
            case wire.EvidenceFound():
                self.accusations.offered(sender, frame.evidence)
            case _:
                # Gossip and answers with signatures come as verified events of their own.
                self._outbox.now(actions.Blame(sender, f"unexpected {type(frame).__name__}"))

    def _on_message(self, message: consensus.ConsensusMessage) -> None:
        self.returning.heard.note(message)
        current = self.epochs.current.number
        if message.epoch == current + 1:
            self._turn.keep_early(message)
        elif message.kind == BLOCK_VOTE:
            self._on_block_vote(message)
        elif message.epoch == current:
            self._step_engine(consensus.MessageReceived(message))
        else:
            self._outbox.now(actions.Notice("debug", f"{message.kind} of epoch {message.epoch}, this is {current}"))

    # --- decisions, blocks, certificates ----------------------------------------------------------------------------

    def _on_decision(self, decision: consensus.Decision) -> None:
        self._exchange.decided(decision.sequence)
        self.desk.decided(decision.sequence)
        if self.chain.decide(decision, self._now.monotonic_ns):
            self._upkeep.progress_ns = self._now.monotonic_ns
        self._turn.look(self._now)

    def _on_applied(self, height: int) -> None:
        for each in range(self.chain.applied.height + 1, height + 1):
            block_hash = self.chain.block_applied(each)
            fetched = self.certifier.block_executed(each, block_hash)
            self._step_engine(consensus.Executed(each, block_hash, self.epochs.pending))
            if fetched is not None:
                self._certified(fetched)
            else:
                self._vote_for_block(each, block_hash)
        if self.chain.execute_ready(self._now.monotonic_ns):
            self._upkeep.progress_ns = self._now.monotonic_ns
            self._turn.look(self._now)
        self._upkeep.ask_for_blocks(self._now, stuck=False)

    def _vote_for_block(self, height: int, block_hash: Digest) -> None:
        epoch = self.epochs.at(height)
        if epoch is not None and self.me in epoch.ids:
            self._own.send(epoch.number, BLOCK_VOTE, 0, height, block_hash, b"", None)

    def _on_block_vote(self, message: consensus.ConsensusMessage) -> None:
        outcome = self.certifier.vote(message)
        if isinstance(outcome, consensus.Misbehaviour):
            self.accusations.witnessed(outcome)
        elif isinstance(outcome, str):
            self._outbox.now(actions.Notice("debug", outcome))
        else:
            self._certified(outcome)

    def _certified(self, certificate: BlockCertificate | None) -> None:
        if certificate is not None:
            self._outbox.then(actions.StoreCertificate(certificate))

    def _on_certificate_stored(self, certificate: BlockCertificate) -> None:
        self.certifier.stored(certificate.height)
        self.epochs.forget(self.certifier.certified)
        self._upkeep.progress_ns = self._now.monotonic_ns
        self._own.certified(certificate.height)
        self._host.certified(certificate, self._now)
        self.returning.certified(certificate)
        if certificate.height == self.epochs.last_height:
            self._outbox.then(partial(self._begin_epoch, certificate.height))

    def _on_stable(self, stable: int) -> None:
        self._own.stable(stable)
        self._host.stable(stable)
        self.chain.stable(stable)
        uncertified = tuple(height for height in self.certifier.missing() if height <= stable)
        self._outbox.now(actions.TruncateVotes(stable, uncertified))

    # --- epochs -----------------------------------------------------------------------------------------------------

    def _position(self) -> Position:
        return Position(self.tip.height, self._host.low, self.engine.status().view)

    def _standing_changed(self) -> None:
        if self._host.voting != self.returning.votes:
            self._host.boot(self.epoch, voting=self.returning.votes)
            self._host.start(self._now)
        for height, block_hash in self.certifier.uncertified():
            if height > self._host.low and self._own.block_vote(height) is None:
                self._vote_for_block(height, Digest(block_hash))

    def _begin_epoch(self, last: int) -> None:
        for message in self._turn.begin(last, self._now):
            self._on_message(message)
        self._upkeep.ask_for_blocks(self._now, stuck=False)

    # --- catch-up ---------------------------------------------------------------------------------------------------

    def _on_blocks(self, event: actions.BlocksVerified) -> None:
        useful = any(block.proposal.header.sequence > self.tip.height for block in event.blocks)
        self.catch_up.answered(event.sender, self._now.monotonic_ns, useful=useful)
        for block, transactions in zip(event.blocks, event.transactions, strict=True):
            header = block.proposal.header
            if header.sequence <= self.tip.height or header.sequence > self.applied + wire.SYNC_BLOCKS_MAX * 2:
                continue
            if header.epoch != self.epoch.number:
                break  # verified when another epoch was current: asked for again
            digest = proposal_digest(header)
            if not self.chain.is_decided(header.sequence):
                self.chain.keep_bodies(digest, transactions)
                self._step_engine(
                    consensus.CertificateReceived(header.sequence, digest, block.order_certificate, block.proposal)
                )
            if block.block_certificate is not None:
                self._certified(self.certifier.accept(block.block_certificate))

    # --- timers -----------------------------------------------------------------------------------------------------

    def _look_for_work(self) -> None:
        now = self._now
        self.timers.start_at("batch", now.monotonic_ns, self.desk.build_if_due(now))
        self.timers.start_at("fetch", now.monotonic_ns, self.desk.fetch_due(now))
        waits = self.pool.proposable()[0] > 0
        if waits and not self._work_waits:
            self._host.report_work(now)  # its time runs from now, not from the next tick
        self._work_waits = waits

    def _on_timer(self, name: str, generation: int) -> None:
        if not self.timers.fired(name, generation):
            return
        if name == "tick":
            self._upkeep.tick(self._now)
            self.sharing.tick(self._now.monotonic_ns)
        elif name == "late":
            self._upkeep.late(self._now)
        elif name.startswith(ENGINE_TIMER):
            self._host.timer_fired(name, self._now)
        # "batch" and "fetch" only wake the funnel, which looks for due work after every event.

    # --- status -----------------------------------------------------------------------------------------------------

    @property
    def epoch(self) -> Epoch:
        """The current epoch."""
        return self.epochs.current

    @property
    def engine(self) -> consensus.ConsensusEngine:
        """The engine of this epoch."""
        return self._host.engine

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
        """Whether something should be moving."""
        return self._upkeep.has_work

    @property
    def progress_ns(self) -> int:
        """Monotonic time of the last executed block or certificate, or of the last look at an idle node."""
        return self._upkeep.progress_ns

    @property
    def standing(self) -> str:
        """Whether this node signs, and if not, what it waits for."""
        return self.returning.words

    @property
    def connected(self) -> Sequence[NodeId]:
        """Peers that are connected now."""
        return self._upkeep.connected

    def sizes(self) -> dict[str, int]:
        """Sizes of the replica's own buffers."""
        return {
            "own_messages": len(self._own),
            "guard_entries": self._own.guard_size,
            "steps_waiting_for_disk": self._outbox.held,
            "proposals_fetching": len(self._exchange),
            "early_messages": len(self._turn),
            "epochs_known": len(self.epochs),
            **self.chain.sizes(),
            **self.desk.sizes(),
            **self.certifier.sizes(),
            **self.accusations.sizes(),
            **self.returning.sizes(),
            **self.sharing.sizes(),
        }
