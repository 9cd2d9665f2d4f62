"""Runs a consensus engine under the host rules, and gives it a new birth when its epoch or its right to vote changes.

An engine is born from a `Boot` at the start, at every epoch, and when a node that was only listening may vote. What it
sends is signed, durable and sent by `OwnMessages`; what it asks is answered by the rooms beside this one; what it
decides is handed on once everything before it is durable.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from potchain.blocks import BlockCertificate
from potchain.consensus import interface as consensus
from potchain.genesis import Epoch
from potchain.primitives import NodeId
from potchain.replica import actions
from potchain.replica.chain import Chain
from potchain.replica.exchange import Exchange
from potchain.replica.neglect import NeglectJudge
from potchain.replica.outbox import Outbox
from potchain.replica.own_messages import OwnMessages
from potchain.replica.proposing import ProposalDesk
from potchain.replica.timers import Timers

ENGINE_TIMER = "engine:"
"""Prefix of the engine's timers among the replica's."""

MakeEngine = Callable[[consensus.Boot], consensus.ConsensusEngine]
"""The configured engine's `create` with its options."""

EPOCH_RECORD = "host:epoch"
"""Kind of the host's own record among the engine's: those of sequence 0 behind it are of the epoch in its view."""


class EngineHost:
    """One engine at a time."""

    def __init__(
        self,
        *,
        make: MakeEngine,
        genesis_hash: bytes,
        me: NodeId,
        outbox: Outbox,
        timers: Timers,
        own: OwnMessages,
        records: tuple[consensus.Record, ...],
        stable: int,
        stable_certificate: BlockCertificate | None,
        on_decision: Callable[[consensus.Decision], None],
        on_stable: Callable[[int], None],
        on_misbehaviour: Callable[[consensus.Misbehaviour], None],
    ) -> None:
        """`records`: the engine's, durable, as the vote log held them at start."""
        self._make = make
        self._genesis_hash = genesis_hash
        self._me = me
        self._outbox = outbox
        self._timers = timers
        self._own = own
        self._records = list(records)
        self._voting = False
        self._born: int | None = None
        self._on_decision = on_decision
        self._on_stable = on_stable
        self._on_misbehaviour = on_misbehaviour
        self._forward: Callable[[actions.Now], None]
        self._now = actions.Now(0, 0)
        self._stable = stable
        self._checkpoint = stable_certificate
        self._checkpoints: dict[int, BlockCertificate] = {}
        """Certified checkpoints above the stable one: at most as many as catch-up may run ahead."""
        self.engine: consensus.ConsensusEngine
        self._epoch: Epoch
        self._chain: Chain
        self._desk: ProposalDesk
        self._exchange: Exchange
        self._neglect: NeglectJudge

    def connect(self, chain: Chain, desk: ProposalDesk, exchange: Exchange, neglect: NeglectJudge) -> None:
        """The rooms that answer what engines of this epoch ask; before `boot`."""
        self._chain, self._desk, self._exchange, self._neglect = chain, desk, exchange, neglect

    def before_report(self, forward: Callable[[actions.Now], None]) -> None:
        """What is done whenever the engine asks what waits: the primary gets it once more before it is accused."""
        self._forward = forward

    @property
    def low(self) -> int:
        """Height of the stable checkpoint."""
        return self._stable

    @property
    def voting(self) -> bool:
        """Whether the present engine votes."""
        return self._voting

    def certified(self, certificate: BlockCertificate, now: actions.Now) -> None:
        """A block certificate is durable here."""
        if certificate.height < self._epoch.first_sequence:
            return  # of an epoch that has ended; every later engine begins above it
        if certificate.height % self._epoch.parameters.checkpoint_interval == 0:
            self._checkpoints[certificate.height] = certificate
        self.step(consensus.Certified(certificate.height, certificate), now)

    def stable(self, height: int) -> None:
        """The engine has moved its low water mark to this checkpoint."""
        self._stable, self._checkpoint = height, self._checkpoints[height]
        self._checkpoints = {each: kept for each, kept in self._checkpoints.items() if each > height}
        self._records = [record for record in self._records if not 0 < record.sequence <= height]

    def boot(self, epoch: Epoch, *, voting: bool) -> None:
        """Make the epoch's engine from what this node knows; `start` comes next."""
        stable = self._stable
        for name in self._timers.names(ENGINE_TIMER):
            self._timers.cancel(name)
        self._desk.forget_asks()
        view = self.engine.status().view if self._born == epoch.number else 0
        if self._born not in (None, epoch.number):
            self._records = [epoch_record(epoch.number)]
        self._epoch, self._born, self._voting = epoch, epoch.number, voting
        self.engine = self._make(
            consensus.Boot(
                genesis_hash=self._genesis_hash,
                me=self._me if voting else None,
                epoch=epoch,
                view=view,
                decided=self._chain.gap - 1,
                executed=self._chain.tip.height,
                stable=stable,
                stable_certificate=self._checkpoint if stable >= epoch.first_sequence else None,
                next_epoch=self._chain.next_epoch,
                records=_records_of(epoch, self._records, stable),
                own_messages=self._own.of_epoch(epoch.number, above=stable),
                proposals=self._desk.all_pinned(above=stable),
                decided_proposals=self._chain.decided_proposals(above=stable),
            )
        )

    def start(self, now: actions.Now) -> None:
        """The engine's first event."""
        self.step(consensus.Started(), now)

    def step(self, event: consensus.Event, now: actions.Now) -> None:
        """Let the engine react, and do what it wants."""
        self._now = now
        self._carry_out(self.engine.step(event, now.monotonic_ns))

    def answer(self, event: consensus.ProposalBuilt | consensus.ProposalChecked) -> None:
        """An answer to what the engine asked, at the time of the step that is under way."""
        self.step(event, self._now)

    def timer_fired(self, name: str, now: actions.Now) -> None:
        """A timer of the engine, by its full name."""
        self.step(consensus.TimerFired(name.removeprefix(ENGINE_TIMER)), now)

    def report_work(self, now: actions.Now) -> None:
        """Tell the engine what waits."""
        self.step(self._neglect.work_waiting(), now)

    def _carry_out(self, effects: consensus.Effects) -> None:
        outbox = self._outbox
        if effects.persist:
            outbox.persist(records=effects.persist)
            for record in effects.persist:
                self._keep(record)
        for send in effects.send:
            self._own.send(self._epoch.number, send.kind, send.view, send.sequence, send.digest, send.body, send.to)
        for timer in effects.timers:
            name = ENGINE_TIMER + timer.name
            if isinstance(timer, consensus.SetTimer):
                self._timers.start(name, self._now.monotonic_ns, timer.after_ns)
            else:
                self._timers.cancel(name)
        for decision in effects.decide:
            outbox.then(partial(self._on_decision, decision))
        if effects.truncate is not None:
            outbox.then(partial(self._on_stable, effects.truncate))
        for ask in effects.ask:
            self._asked(ask)
        for report in effects.report:
            if isinstance(report, consensus.Misbehaviour):
                self._on_misbehaviour(report)
            else:
                outbox.now(actions.reported(report, self._me))

    def _keep(self, record: consensus.Record) -> None:
        # The next birth must find what this one made durable. Of a view's records the newest of each kind, as in the
        # vote log: there is no bound on views between two checkpoints.
        if record.sequence == 0:
            self._records = [each for each in self._records if each.sequence > 0 or each.kind != record.kind]
        self._records.append(record)

    def _asked(self, ask: consensus.Ask) -> None:
        match ask:
            case consensus.BuildProposal():
                self._desk.build_asked(ask)
            case consensus.CheckProposal():
                self._desk.check_asked(ask, self._now)
            case consensus.FetchProposal():
                self._exchange.fetch(ask, self._now.monotonic_ns)
            case consensus.FetchMessages():
                self._exchange.fetch_messages(ask)
            case consensus.KeepInFlight():
                self._desk.keep_in_flight(ask.digests, self._chain.is_decided)
            case consensus.ReportWork():
                self._forward(self._now)
                self.report_work(self._now)


def epoch_record(number: int) -> consensus.Record:
    """What the host keeps among the engine's records when an epoch begins: views start at 0 again."""
    return consensus.Record(EPOCH_RECORD, number, 0, b"")


def _records_of(
    epoch: Epoch, records: Sequence[consensus.Record], stable: int
) -> tuple[consensus.Record, ...]:
    """The engine's own records of one epoch above the stable checkpoint, in order."""
    begun = 0
    found = []
    for record in records:
        if record.kind == EPOCH_RECORD:
            begun = record.view
        elif record.sequence > stable or (record.sequence == 0 and begun == epoch.number):
            found.append(record)
    return tuple(found)
