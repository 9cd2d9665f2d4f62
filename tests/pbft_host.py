"""One node of a PBFT cluster in memory: a real engine, a host that keeps the host rules, and a disk that survives it.

A host does nothing by itself but answer its own engine. It stops with the power: `crash_at` names a durable write.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import msgspec
from pbft_members import (
    FACTORY,
    GENESIS_HASH,
    block_hash,
    check_certificate,
    digest_of,
    make_proposal,
    message_fault,
    test_key,
)

from potchain.blocks import BlockCertificate, Proposal
from potchain.consensus.interface import (
    Ask,
    Boot,
    BuildProposal,
    CertificateReceived,
    Certified,
    CheckProposal,
    ConsensusMessage,
    Decision,
    Discard,
    Effects,
    Event,
    Executed,
    FetchMessages,
    FetchProposal,
    KeepInFlight,
    MessageReceived,
    Misbehaviour,
    Note,
    ProposalBuilt,
    ProposalChecked,
    Record,
    ReportWork,
    SetTimer,
    Started,
    TimerFired,
    WorkWaiting,
)
from potchain.consensus.signer import GuardEntry, Signer, guard_entry
from potchain.primitives import Digest, NodeId
from potchain_pbft import PbftEngine

if TYPE_CHECKING:
    from pbft_cluster import Cluster


STEPS_MAX = 10_000
"""Steps that may follow from one event at one node."""


class Crash(Exception):
    """The power went out right after something became durable."""


class Disk(msgspec.Struct):
    """What survives a crash. Of records and messages of a view (sequence 0) the newest of each kind is kept."""

    records: list[Record] = []
    own_messages: list[ConsensusMessage] = []
    guard: list[GuardEntry] = []
    pinned: dict[int, list[Proposal]] = {}
    decisions: dict[int, Decision] = {}
    """Executed heights: applied in order, without gaps."""
    certificates: dict[int, BlockCertificate] = {}
    stable: int = 0
    certificate: BlockCertificate | None = None

    @property
    def executed(self) -> int:
        """The highest height."""
        return len(self.decisions)

    @property
    def final(self) -> int:
        """The highest certified height that is executed here."""
        return max([height for height in self.certificates if height <= self.executed], default=0)

    def keep_record(self, record: Record) -> None:
        if record.sequence == 0:
            self.records = [each for each in self.records if each.sequence > 0 or each.kind != record.kind]
        self.records.append(record)

    def keep_message(self, message: ConsensusMessage) -> None:
        if message.sequence == 0:
            own = self.own_messages
            self.own_messages = [each for each in own if each.sequence > 0 or each.kind != message.kind]
        self.own_messages.append(message)
        self.guard.append(guard_entry(message))

    def truncate(self, stable: int) -> None:
        self.stable = stable
        self.certificate = self.certificates[stable]
        self.records = [record for record in self.records if not 0 < record.sequence <= stable]
        self.own_messages = [message for message in self.own_messages if not 0 < message.sequence <= stable]
        self.guard = [entry for entry in self.guard if not 0 < entry.sequence <= stable]
        self.pinned = {sequence: held for sequence, held in self.pinned.items() if sequence > stable}


class Host(msgspec.Struct):
    """One node around one engine."""

    cluster: Cluster
    index: int
    member: int
    """Whose key it has: two hosts with one key are twins; a member above all others is an observer."""
    disk: Disk
    engine: PbftEngine | None = None
    signer: Signer | None = None
    booted: Boot | None = None
    events: list[Event] = []
    times_ns: list[int] = []
    effects: list[Effects] = []
    inbox: deque[Event] = msgspec.field(default_factory=deque)
    timers: dict[str, int] = {}
    """By name, when it fires."""
    asked: list[BuildProposal] = []
    checks: list[CheckProposal] = []
    """Checks that wait for the test, when `answers_checks` is off."""
    fetches: list[FetchProposal] = []
    """Proposals that the engine asked for, until a peer answers."""
    wanted: list[FetchMessages] = []
    """Messages of others that the engine asked for, until a peer answers."""
    neglected_ns: int | None = None
    """What this host says of work that waits."""
    in_flight: tuple[Digest, ...] = ()
    """Digests that the view entered last has kept in flight."""
    ahead: dict[int, Decision] = {}
    """Decisions above a gap, not durable yet."""
    reports: list[Discard | Misbehaviour | Note] = []
    listens: bool = False
    """It may not vote at present, as after a start without its vote log."""
    answers_checks: bool = True
    writes: int = 0
    """Durable writes so far."""
    crash_at: int | None = None
    """Crash right after this many durable writes."""

    @property
    def node(self) -> NodeId:
        """Name inside consensus."""
        return NodeId(test_key(self.member).address)

    def start(self, view: int = 0) -> None:
        """Boot from disk and take the first step; `view` is what an engine before this one knew."""
        disk = self.disk
        self.signer = Signer(test_key(self.member), GENESIS_HASH, disk.guard, disk.stable)
        self.booted = Boot(
            genesis_hash=GENESIS_HASH,
            me=self.node if self.node in self.cluster.epoch.ids and not self.listens else None,
            view=view,
            epoch=self.cluster.epoch,
            decided=disk.executed,
            executed=disk.executed,
            stable=disk.stable,
            stable_certificate=disk.certificate,
            next_epoch=self.cluster.next_epoch(disk.executed),
            records=tuple(disk.records),
            own_messages=tuple(disk.own_messages),
            proposals=tuple(proposal for sequence in sorted(disk.pinned) for proposal in disk.pinned[sequence]),
            decided_proposals=tuple(
                disk.decisions[sequence].proposal for sequence in range(disk.stable + 1, disk.executed + 1)
            ),
        )
        self.engine = FACTORY.create(self.booted, self.cluster.options)
        self.events, self.times_ns, self.effects, self.inbox, self.ahead = [], [], [], deque(), {}
        self.timers, self.asked, self.checks, self.fetches, self.wanted = {}, [], [], [], []
        self.feed(Started())
        for height in sorted(disk.certificates):
            if height > disk.stable:
                self.feed(Certified(height, disk.certificates[height]))

    def reborn(self, *, listens: bool) -> None:
        """The same node with another engine, which may not vote, or may vote again."""
        if self.engine is not None and self.listens != listens:
            self.listens = listens
            self.start(self.engine.status().view)

    def crash(self) -> None:
        """Lose everything but the disk."""
        self.engine = None
        self.inbox = deque()
        self.timers = {}

    def feed(self, event: Event) -> None:
        """One event and all that the host answers to it; nothing when the node is down."""
        self.inbox.append(event)
        self._drain()

    def receive(self, message: ConsensusMessage) -> None:
        """A peer's message: its signatures are checked before the engine sees it."""
        fault = message_fault(self.cluster.epoch, message)
        if fault is None:
            self.feed(MessageReceived(message))
        elif self.cluster.on_rejected is not None:
            self.cluster.on_rejected(self, message, fault)

    def fire(self, name: str) -> None:
        """A timer runs out."""
        del self.timers[name]
        self.feed(TimerFired(name))

    def tell_work(self) -> None:
        """Every second: what waits."""
        self.feed(WorkWaiting(int(self.neglected_ns is not None), self.neglected_ns))

    def certified(self, certificate: BlockCertificate) -> None:
        """A block certificate becomes durable here."""
        if self.engine is not None and certificate.height not in self.disk.certificates:
            self.disk.certificates[certificate.height] = certificate
            self._drain(self._written)
            self.feed(Certified(certificate.height, certificate))

    def _drain(self, first: Callable[[], None] = lambda: None) -> None:
        try:
            first()
            steps = 0
            while self.inbox and self.engine is not None:
                self._step(self.inbox.popleft())
                steps += 1
                assert steps < STEPS_MAX, "engine and host answer each other without end"
        except Crash:
            self.crash()

    def give_work(self) -> None:
        """Answer an open ask for a proposal while there are batches."""
        self._drain(self._build)

    def answer_check(self, refusal: str | None = None) -> None:
        """Answer the oldest open check."""
        self._drain(lambda: self._answer(self.checks.pop(0), refusal))

    def resend(self) -> None:
        """Host rule (h): own messages above the final height again, byte for byte, and the newest of each view's."""
        for message in self.disk.own_messages if self.engine is not None else ():
            if message.sequence == 0 or message.sequence > self.disk.final:
                self.cluster.post(self, message, None)

    def certificate_from(self, other: Host, sequence: int) -> None:
        """Catch up on one sequence from another node's decision."""
        decision = other.disk.decisions.get(sequence) or other.ahead[sequence]
        check_certificate(self.cluster.epoch, decision.sequence, decision.digest, decision.certificate)
        self._drain(lambda: self._pin(decision.proposal))
        self.feed(CertificateReceived(decision.sequence, decision.digest, decision.certificate, decision.proposal))

    def proposal_from(self, other: Host, ask: FetchProposal) -> bool:
        """Whether another node has what was asked for: as a proposal, or decided."""
        for proposal in other.disk.pinned.get(ask.sequence, []):
            if digest_of(proposal) == ask.digest:
                self._drain(partial(self._answer_fetch, proposal))
                return True
        if ask.sequence in other.disk.decisions:
            self.certificate_from(other, ask.sequence)
            return True
        return False

    def _step(self, event: Event) -> None:
        assert self.engine is not None
        now_ns = self.cluster.now_ns
        self.events.append(event)
        self.times_ns.append(now_ns)
        effects = self.engine.step(event, now_ns)
        self.effects.append(effects)
        if self.cluster.observer is not None:
            self.cluster.observer(self, event, effects)
        for record in effects.persist:
            self.disk.keep_record(record)
            self._written()
        for send in effects.send:
            self._send(send.kind, send.view, send.sequence, send.digest, send.body, send.to)
        for timer in effects.timers:
            self.timers.pop(timer.name, None)
            if isinstance(timer, SetTimer):
                self.timers[timer.name] = now_ns + timer.after_ns
        for ask in effects.ask:
            self._ask(ask)
        for decision in effects.decide:
            self._decide(decision)
        if effects.truncate is not None:
            self.disk.truncate(effects.truncate)
            assert self.signer is not None
            self.signer.forget_below(effects.truncate)
        self.reports.extend(effects.report)

    def _send(self, kind: str, view: int, sequence: int, digest: bytes, body: bytes, to: NodeId | None) -> None:
        assert self.signer is not None
        message = self.signer.sign(self.cluster.epoch.number, kind, view, sequence, digest, body)
        self.disk.keep_message(message)
        self._written()
        self.cluster.post(self, message, to)
        self.inbox.append(MessageReceived(message))

    def _ask(self, ask: Ask) -> None:
        if isinstance(ask, BuildProposal):
            self.asked = [ask]
            self._build()
        elif isinstance(ask, FetchMessages):
            self.wanted = [*(each for each in self.wanted if each.kind != ask.kind), ask]
        elif isinstance(ask, ReportWork):
            self.inbox.append(WorkWaiting(int(self.neglected_ns is not None), self.neglected_ns))
        elif isinstance(ask, FetchProposal):
            if ask not in self.fetches:
                self.fetches.append(ask)
        elif isinstance(ask, KeepInFlight):
            self.asked, self.in_flight = [], ask.digests
        elif self.answers_checks:
            self._answer(ask, None)
        else:
            self.checks.append(ask)

    def _build(self) -> None:
        if not self.asked or self.engine is None:
            return
        if self.cluster.batches or self.asked[0].may_be_empty:
            ask = self.asked.pop()
            count = 2 if self.cluster.batches else 0
            self.cluster.batches -= bool(count)
            salt = self.cluster.salt(self, ask.view)
            proposal = make_proposal(self.cluster.epoch, ask.sequence, ask.view, salt, count)
            self._pin(proposal)
            self.inbox.append(ProposalBuilt(proposal, ask.view))

    def _answer(self, ask: CheckProposal, refusal: str | None) -> None:
        if refusal is None:
            self._pin(ask.proposal)
        self.inbox.append(ProposalChecked(ask.proposal, ask.view, refusal))

    def _answer_fetch(self, proposal: Proposal) -> None:
        self._pin(proposal)
        self.inbox.append(ProposalChecked(proposal, 0, None))

    def _pin(self, proposal: Proposal) -> None:
        held = self.disk.pinned.setdefault(proposal.header.sequence, [])
        if proposal not in held and proposal.header.sequence > self.disk.stable:
            held.append(proposal)
            self._written()

    def _decide(self, decision: Decision) -> None:
        sequence = decision.sequence
        assert sequence > self.disk.executed, f"sequence {sequence} was decided twice"
        assert sequence not in self.ahead, f"sequence {sequence} was decided twice"
        assert digest_of(decision.proposal) == decision.digest
        check_certificate(self.cluster.epoch, sequence, decision.digest, decision.certificate)
        self.ahead[sequence] = decision
        while (following := self.ahead.pop(self.disk.executed + 1, None)) is not None:
            height = following.sequence
            self.disk.decisions[height] = following
            self._written()
            self.inbox.append(Executed(height, block_hash(height), self.cluster.next_epoch(height)))

    def _written(self) -> None:
        self.writes += 1
        if self.writes == self.crash_at:
            raise Crash
