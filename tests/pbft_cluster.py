"""A PBFT cluster in memory: real engines, real signatures, hosts that keep the host rules, a wire in a test's hands.

Nothing happens by itself but a host's answers to its own engine. Messages wait on the wire until a test delivers,
repeats or drops them. Every signed message is audited: a second digest of one sender for a slot fails the test at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from hashlib import sha256

import msgspec

from potchain.blocks import BlockCertificate, OrderCertificate, Proposal, build_proposal, proposal_digest
from potchain.consensus.interface import (
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
    FetchProposal,
    MessageReceived,
    Misbehaviour,
    Note,
    ProposalBuilt,
    ProposalChecked,
    Record,
    Started,
)
from potchain.consensus.signer import GuardEntry, Signer, guard_entry
from potchain.crypto import SigningKey
from potchain.genesis import Epoch, Parameters, Validator
from potchain.primitives import Digest, NodeId
from potchain_pbft import PbftEngine, PbftFactory, PbftOptions

GENESIS_HASH = sha256(b"pbft test network").digest()
FACTORY = PbftFactory()


class Crash(Exception):
    """The power went out right after something became durable."""


def test_key(index: int) -> SigningKey:
    """The consensus key of member `index`; any index gives a key, members or not."""
    return SigningKey(sha256(b"pbft test key %d" % index).digest())


test_key.__test__ = False  # type: ignore[attr-defined]


def make_epoch(nodes: int, **parameters: int) -> Epoch:
    """Epoch 0 with members node0, node1, ..."""
    members = tuple(
        Validator(
            name=f"node{index}",
            node_key=bytes([index % 256]) * 32,
            consensus_key=test_key(index).public_key,
            operator=bytes(20),
        )
        for index in range(nodes)
    )
    return Epoch(number=0, first_sequence=1, members=members, parameters=Parameters(**parameters))


def make_proposal(epoch: Epoch, sequence: int, view: int = 0, salt: int = 0, count: int = 2) -> Proposal:
    """A proposal by the primary of a view; `salt` makes another one for the same place."""
    ids = [sha256(b"transaction %d %d %d" % (sequence, salt, index)).digest() for index in range(count)]
    return build_proposal(GENESIS_HASH, epoch.number, sequence, 1_000 + sequence, epoch.primary(view), ids)


def digest_of(proposal: Proposal) -> Digest:
    """What consensus votes on."""
    return proposal_digest(proposal.header)


class Disk(msgspec.Struct):
    """What survives a crash."""

    records: list[Record] = []
    own_messages: list[ConsensusMessage] = []
    guard: list[GuardEntry] = []
    pinned: dict[int, list[Proposal]] = {}
    decisions: dict[int, Decision] = {}
    stable: int = 0

    @property
    def executed(self) -> int:
        """Blocks are applied in order, without gaps."""
        height = 0
        while height + 1 in self.decisions:
            height += 1
        return height

    def truncate(self, stable: int) -> None:
        self.stable = stable
        self.records = [record for record in self.records if record.sequence > stable]
        self.own_messages = [message for message in self.own_messages if message.sequence > stable]
        self.guard = [entry for entry in self.guard if entry.sequence > stable]
        self.pinned = {sequence: held for sequence, held in self.pinned.items() if sequence > stable}


class Packet(msgspec.Struct, frozen=True):
    """A message on its way."""

    to: int
    message: ConsensusMessage


class Host(msgspec.Struct):
    """One node around one engine."""

    cluster: Cluster
    index: int
    disk: Disk
    engine: PbftEngine | None = None
    signer: Signer | None = None
    booted: Boot | None = None
    events: list[Event] = []
    effects: list[Effects] = []
    inbox: deque[Event] = msgspec.field(default_factory=deque)
    timers: dict[str, int] = {}
    asked: list[BuildProposal] = []
    checks: list[CheckProposal] = []
    """Checks that wait for the test, when `answers_checks` is off."""
    fetches: list[FetchProposal] = []
    reports: list[Discard | Misbehaviour | Note] = []
    answers_checks: bool = True
    writes: int = 0
    """Durable writes so far."""
    crash_at: int | None = None
    """Crash right after this many durable writes."""

    def start(self) -> None:
        """Boot from disk and take the first step."""
        disk = self.disk
        key = test_key(self.index)
        self.signer = Signer(key, GENESIS_HASH, disk.guard, disk.stable)
        member = self.signer.node_id in self.cluster.epoch.ids
        self.booted = Boot(
            genesis_hash=GENESIS_HASH,
            me=self.signer.node_id if member else None,
            epoch=self.cluster.epoch,
            decided=disk.executed,
            executed=disk.executed,
            stable=disk.stable,
            records=tuple(disk.records),
            own_messages=tuple(disk.own_messages),
            proposals=tuple(proposal for sequence in sorted(disk.pinned) for proposal in disk.pinned[sequence]),
        )
        self.engine = FACTORY.create(self.booted, self.cluster.options)
        self.events, self.effects, self.inbox = [], [], deque()
        self.timers, self.asked, self.checks, self.fetches = {}, [], [], []
        self.feed(Started())

    def crash(self) -> None:
        """Lose everything but the disk."""
        self.engine = None
        self.inbox = deque()

    def feed(self, event: Event) -> None:
        """One event and all that the host answers to it; nothing when the node is down."""
        self.inbox.append(event)
        self._drain()

    def _drain(self, first: Callable[[], None] = lambda: None) -> None:
        try:
            first()
            while self.inbox and self.engine is not None:
                self._step(self.inbox.popleft())
        except Crash:
            self.crash()

    def give_work(self) -> None:
        """Answer an open ask for a proposal while there are batches."""
        self._drain(self._build)

    def answer_check(self, refusal: str | None = None) -> None:
        """Answer the oldest open check."""
        self._drain(lambda: self._answer(self.checks.pop(0), refusal))

    def resend(self) -> None:
        """Host rule (h): own undecided messages again, byte for byte."""
        for message in self.disk.own_messages:
            if message.sequence not in self.disk.decisions:
                self.cluster.post(self.index, message, None)

    def certificate_from(self, other: Host, sequence: int) -> None:
        """Catch up on one sequence from another node's decision."""
        decision = other.disk.decisions[sequence]
        check_certificate(self.cluster.epoch, decision.sequence, decision.digest, decision.certificate)
        self._drain(lambda: self._pin(decision.proposal))
        self.feed(CertificateReceived(decision.sequence, decision.digest, decision.certificate, decision.proposal))

    def _step(self, event: Event) -> None:
        assert self.engine is not None
        self.events.append(event)
        effects = self.engine.step(event, len(self.events))
        self.effects.append(effects)
        if self.cluster.observer is not None:
            self.cluster.observer(self, event, effects)
        for record in effects.persist:
            self.disk.records.append(record)
            self._written()
        for send in effects.send:
            self._send(send.kind, send.view, send.sequence, send.digest, send.body, send.to)
        for timer in effects.timers:
            self.timers.pop(timer.name, None)
            if hasattr(timer, "after_ns"):
                self.timers[timer.name] = timer.after_ns
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
        self.disk.own_messages.append(message)
        self.disk.guard.append(guard_entry(message))
        self._written()
        self.cluster.post(self.index, message, to)
        self.inbox.append(MessageReceived(message))

    def _ask(self, ask: BuildProposal | CheckProposal | FetchProposal) -> None:
        if isinstance(ask, BuildProposal):
            self.asked = [ask]
            self._build()
        elif isinstance(ask, FetchProposal):
            self.fetches.append(ask)
        elif self.answers_checks:
            self._answer(ask, None)
        else:
            self.checks.append(ask)

    def _build(self) -> None:
        if self.asked and self.cluster.batches and self.engine is not None:
            self.cluster.batches -= 1
            ask = self.asked.pop()
            proposal = make_proposal(self.cluster.epoch, ask.sequence, ask.view)
            self._pin(proposal)
            self.inbox.append(ProposalBuilt(proposal, ask.view))

    def _answer(self, ask: CheckProposal, refusal: str | None) -> None:
        if refusal is None:
            self._pin(ask.proposal)
        self.inbox.append(ProposalChecked(ask.proposal, ask.view, refusal))

    def _pin(self, proposal: Proposal) -> None:
        held = self.disk.pinned.setdefault(proposal.header.sequence, [])
        if proposal not in held:
            held.append(proposal)
            self._written()

    def _decide(self, decision: Decision) -> None:
        assert decision.sequence not in self.disk.decisions, f"sequence {decision.sequence} was decided twice"
        assert digest_of(decision.proposal) == decision.digest
        check_certificate(self.cluster.epoch, decision.sequence, decision.digest, decision.certificate)
        before = self.disk.executed
        self.disk.decisions[decision.sequence] = decision
        self._written()
        for height in range(before + 1, self.disk.executed + 1):
            self.inbox.append(Executed(height, Digest(sha256(b"block %d" % height).digest()), None))

    def _written(self) -> None:
        self.writes += 1
        if self.writes == self.crash_at:
            raise Crash


class Cluster:
    """Hosts and the wire between them."""

    def __init__(self, nodes: int = 4, observers: int = 0, **parameters: int) -> None:
        self.epoch = make_epoch(nodes, **parameters)
        self.options = PbftOptions()
        self.batches = 0
        """Proposals that the primary's host can still build."""
        self.observer: Callable[[Host, Event, Effects], None] | None = None
        self.wire: list[Packet] = []
        self.sent: dict[tuple[bytes, int, int, int, str], ConsensusMessage] = {}
        self.hosts = [Host(self, index, Disk()) for index in range(nodes + observers)]

    def start(self) -> None:
        """Start every host that is down."""
        for host in self.hosts:
            if host.engine is None:
                host.start()

    def work(self, batches: int) -> None:
        """Let the primary propose this many times."""
        self.batches += batches
        for host in self.hosts:
            host.give_work()

    def post(self, sender: int, message: ConsensusMessage, to: NodeId | None) -> None:
        """Put a message on the wire; the auditor sees all of them."""
        place = (message.sender, message.epoch, message.view, message.sequence, message.kind)
        first = self.sent.setdefault(place, message)
        assert first == message, f"node{sender} contradicts itself at {place}"
        for host in self.hosts:
            member = self.epoch.ids[host.index] if host.index < len(self.epoch.ids) else None
            if host.index != sender and (to is None or to == member):
                self.wire.append(Packet(host.index, message))

    def inject(self, sender: int, kind: str, proposal: Proposal, to: int, view: int = 0) -> None:
        """A message that only a faulty member sends: signed, but neither guarded nor audited."""
        body = msgspec.msgpack.encode(proposal) if kind == "pre-prepare" else b""
        header = proposal.header
        message = sign(sender, kind, view, header.sequence, digest_of(proposal), body, header.epoch)
        self.wire.append(Packet(to, message))

    def deliver(self, wanted: Callable[[Packet], bool] = lambda packet: True, *, keep: bool = False) -> int:
        """Deliver what is on the wire now and wanted, in order; `keep` leaves a copy there. Gives the count."""
        chosen = [packet for packet in self.wire if wanted(packet)]
        if not keep:
            self.wire = [packet for packet in self.wire if not wanted(packet)]
        for packet in chosen:
            self.hosts[packet.to].feed(MessageReceived(packet.message))
        return len(chosen)

    def drop(self, wanted: Callable[[Packet], bool]) -> None:
        """Lose what is on the wire now and wanted."""
        self.wire = [packet for packet in self.wire if not wanted(packet)]

    def run(self, wanted: Callable[[Packet], bool] = lambda packet: True) -> None:
        """Deliver until nothing wanted is on the wire."""
        while self.deliver(wanted):
            pass

    def certify(self, height: int, *indexes: int) -> None:
        """A block certificate becomes durable at these nodes (none named: at all)."""
        certificate = BlockCertificate(0, height, sha256(b"block %d" % height).digest(), ())
        for host in self.hosts:
            if not indexes or host.index in indexes:
                host.feed(Certified(height, certificate))

    def decided(self, sequence: int) -> list[bytes | None]:
        """Each host's digest at a sequence."""
        chosen = [host.disk.decisions.get(sequence) for host in self.hosts]
        return [None if decision is None else decision.digest for decision in chosen]

    def check_agreement(self, up_to: int) -> None:
        """Every host has decided every sequence, and all alike."""
        for sequence in range(1, up_to + 1):
            digests = self.decided(sequence)
            assert None not in digests, f"sequence {sequence} is not decided everywhere"
            assert len(set(digests)) == 1, f"the nodes disagree at sequence {sequence}"


def sign(
    sender: int, kind: str, view: int, sequence: int, digest: bytes, body: bytes = b"", epoch: int = 0
) -> ConsensusMessage:
    """A message signed by member `sender`, whatever it has signed before."""
    return Signer(test_key(sender), GENESIS_HASH).sign(epoch, kind, view, sequence, digest, body)


def check_certificate(epoch: Epoch, sequence: int, digest: bytes, certificate: OrderCertificate) -> None:
    """What a host does before it trusts an order certificate."""
    FACTORY.verify(certificate, GENESIS_HASH, epoch, sequence, digest)
