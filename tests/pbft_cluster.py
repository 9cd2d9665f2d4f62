"""A PBFT cluster in memory: real engines, real signatures, hosts that keep the host rules, a wire in a test's hands.

Nothing happens by itself but a host's answers to its own engine. Messages wait on the wire until a test delivers,
repeats or drops them; questions to peers until a test has them answered; timers until a test lets time pass. Every
signed message is audited: a second digest of one sender for a slot fails the test at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec
from pbft_host import Disk, Host
from pbft_members import block_certificate, digest_of, make_epoch, sign, test_key

from potchain.blocks import Proposal
from potchain.consensus.interface import ConsensusMessage, Effects, Event, FetchMessages
from potchain.consensus.quorum import Quorum
from potchain.genesis import Epoch
from potchain.primitives import NodeId
from potchain_pbft import PbftOptions

NS_PER_MS = 1_000_000
FIRINGS_MAX = 10_000
"""Timers that may fire while a test lets time pass once."""


class Packet(msgspec.Struct, frozen=True):
    """A message on its way; `sender` is the index of the host that put it there, which may not have signed it."""

    to: int
    message: ConsensusMessage
    sender: int = -1


class Cluster:
    """Hosts and the wire between them."""

    def __init__(self, nodes: int = 4, observers: int = 0, twins: Iterable[int] = (), **parameters: int) -> None:
        """`twins`: members each of which gets a second host with the same key."""
        self.epoch = make_epoch(nodes, **parameters)
        self.quorum = Quorum(nodes)
        self.options = PbftOptions()
        self.batches = 0
        """Proposals that the primary's host can still build."""
        self.epoch_change: int | None = None
        """Height that decides a change of epoch."""
        self.observer: Callable[[Host, Event, Effects], None] | None = None
        self.on_rejected: Callable[[Host, ConsensusMessage, str], None] | None = None
        """Told of messages that never reach an engine, and why."""
        self.now_ns = 0
        self.wire: list[Packet] = []
        self.sent: dict[tuple[bytes, int, int, int, str], ConsensusMessage] = {}
        self.unaudited = set(twins)
        """Members that may contradict themselves."""
        members = [*range(nodes + observers), *sorted(self.unaudited)]
        self.hosts = [Host(self, index, member, Disk()) for index, member in enumerate(members)]

    def next_epoch(self, height: int) -> Epoch | None:
        """What follows this epoch, as a node knows it that has executed up to here."""
        if self.epoch_change is None or height < self.epoch_change:
            return None
        parameters = self.epoch.parameters
        end = self.epoch_change + parameters.log_window
        end += -end % parameters.checkpoint_interval
        return Epoch(1, end + 1, self.epoch.members, parameters)

    def salt(self, host: Host, view: int) -> int:
        """What makes this host's proposals of a view different from others'."""
        return view if host.index == host.member else view + 1_000

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

    # --- the wire ---------------------------------------------------------------------------------------------------

    def post(self, sender: Host, message: ConsensusMessage, to: NodeId | None) -> None:
        """Put a message on the wire; the auditor sees all of them."""
        if sender.member not in self.unaudited:
            place = (message.sender, message.epoch, message.view, message.sequence, message.kind)
            first = self.sent.setdefault(place, message)
            assert first == message, f"node{sender.member} contradicts itself at {place}"
        for host in self.hosts:
            if host.member != sender.member and to in (None, host.node):
                self.wire.append(Packet(host.index, message, sender.index))

    def inject(self, sender: int, kind: str, proposal: Proposal, to: int, view: int = 0) -> None:
        """A message that only a faulty member sends: signed, but neither guarded nor audited."""
        body = msgspec.msgpack.encode(proposal) if kind == "pre-prepare" else b""
        header = proposal.header
        message = sign(sender, kind, view, header.sequence, digest_of(proposal), body, header.epoch)
        self.wire.append(Packet(to, message, sender))

    def deliver(self, wanted: Callable[[Packet], bool] = lambda packet: True, *, keep: bool = False) -> int:
        """Deliver what is on the wire now and wanted, in order; `keep` leaves a copy there. Gives the count."""
        chosen = [packet for packet in self.wire if wanted(packet)]
        if not keep:
            self.wire = [packet for packet in self.wire if not wanted(packet)]
        for packet in chosen:
            self.hosts[packet.to].receive(packet.message)
        return len(chosen)

    def drop(self, wanted: Callable[[Packet], bool]) -> None:
        """Lose what is on the wire now and wanted."""
        self.wire = [packet for packet in self.wire if not wanted(packet)]

    def run(self, wanted: Callable[[Packet], bool] = lambda packet: True) -> None:
        """Deliver until nothing wanted is on the wire."""
        while self.deliver(wanted):
            pass

    # --- questions to peers -----------------------------------------------------------------------------------------

    def answer(self, asker: Host, other: Host) -> None:
        """One peer answers what another has asked so far; messages go by the wire."""
        if asker.engine is None or other.engine is None:
            return
        for fetch in list(asker.fetches):
            if asker.engine is not None and asker.proposal_from(other, fetch) and fetch in asker.fetches:
                asker.fetches.remove(fetch)
        for ask in asker.wanted:
            if ask.source in (None, other.node):
                self._answer_messages(asker, other, ask)

    def _answer_messages(self, asker: Host, other: Host, ask: FetchMessages) -> None:
        assert other.engine is not None
        for name in ask.names:
            message = other.engine.find(ask.kind, ask.view, name)
            if message is not None:
                self.wire.append(Packet(asker.index, message, other.index))

    def answer_all(self, among: Iterable[int] | None = None) -> None:
        """Every peer that is up answers what was asked so far; `among`: only between these hosts."""
        hosts = self.hosts if among is None else [self.hosts[index] for index in among]
        for asker in hosts:
            for other in hosts:
                if other is not asker:
                    self.answer(asker, other)
            asker.wanted = []

    # --- time -------------------------------------------------------------------------------------------------------

    def next_timer(self) -> tuple[int, int, str] | None:
        """The timer that fires next: when, at which host, its name."""
        return min([(due, host.index, name) for host in self.hosts for name, due in host.timers.items()], default=None)

    def advance(self, duration_ns: int, deliver: Callable[[], object] = lambda: None) -> None:
        """Let time pass: timers fire in order of time, and `deliver` is called after each."""
        end_ns = self.now_ns + duration_ns
        for _ in range(FIRINGS_MAX):
            timer = self.next_timer()
            if timer is None or timer[0] > end_ns:
                break
            self.now_ns = max(self.now_ns, timer[0])
            self.hosts[timer[1]].fire(timer[2])
            deliver()
        else:
            raise AssertionError(f"timers fire without end: {timer}")
        self.now_ns = end_ns

    # --- what the replicas above the engines do ---------------------------------------------------------------------

    def certify(self, height: int, *indexes: int) -> None:
        """A block certificate becomes durable at these nodes (none named: at all)."""
        certificate = block_certificate(height, *range(self.quorum.quorum))
        for host in self.hosts:
            if not indexes or host.index in indexes:
                host.certified(certificate)

    def decided(self, sequence: int) -> list[bytes | None]:
        """Each host's digest at a sequence."""
        chosen = [host.disk.decisions.get(sequence) or host.ahead.get(sequence) for host in self.hosts]
        return [None if decision is None else decision.digest for decision in chosen]

    def check_agreement(self, up_to: int) -> None:
        """Every host has decided every sequence, and all alike."""
        for sequence in range(1, up_to + 1):
            digests = self.decided(sequence)
            assert None not in digests, f"sequence {sequence} is not decided everywhere"
            assert len(set(digests)) == 1, f"the nodes disagree at sequence {sequence}"


def from_member(index: int) -> Callable[[Packet], bool]:
    """Packets that carry a message signed by a member."""
    sender = test_key(index).address
    return lambda packet: packet.message.sender == sender
