"""Hand-made liars for directed runs of the simulator: middleware around a shipping node that does one wrong thing.

Each has its own key and no other, and knows what its node hears. The node inside runs shipping code.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from potchain.blocks import Proposal, build_proposal, null_request, proposal_digest
from potchain.codec import encode
from potchain.consensus.interface import ConsensusMessage
from potchain.primitives import NS_PER_MS, NodeId
from potchain.replica import wire
from potchain.sim.cluster import WALL_START_MS, validator_keys
from potchain.sim.forging import Forger, proposal_of
from potchain.sim.middleware import Attacker
from potchain.sim.plan import Byzantine
from potchain_pbft.messages import COMMIT, PRE_PREPARE, PREPARE
from potchain_pbft.view_messages import NEW_VIEW, VIEW_CHANGE, body_digest, make_new_view

LONE = 3
"""The node to which something happens that happens to no other."""
RESULTS = b"potchain.results: nothing happened"
"""What `SendsResults` adds to the bodies of each block."""
Frames = Iterator[tuple[NodeId, wire.Frame | bytes]]


def node_id(index: int) -> NodeId:
    """Of a simulated validator."""
    return NodeId(validator_keys(index).node_id)


class Puppet:
    """Middleware that lets everything through; subclasses replace own consensus messages."""

    def __init__(self, lie: Byzantine, attacker: Attacker) -> None:
        self.attacker = attacker
        self.me = attacker.node_id
        self.genesis_hash = attacker.genesis.hash
        self.epoch = attacker.genesis.first_epoch
        self.now_ns = 0
        self._empty: dict[int, Proposal] = {}
        self.forger = Forger(
            key=attacker.key,
            me=attacker.node_id,
            genesis_hash=attacker.genesis.hash,
            engine=attacker.engine.name,
            dice=attacker.rng,
        )

    def outgoing(self, to: NodeId, frame: wire.Frame, now_ns: int) -> Frames:
        """Own consensus messages go through `said`."""
        self.now_ns = now_ns
        if isinstance(frame, ConsensusMessage) and frame.sender == self.me:
            yield from ((to, each) for each in self.said(to, frame))
        else:
            yield from ((to, each) for each in self.told(to, frame))

    def incoming(self, sender: NodeId, frame: wire.Frame, now_ns: int) -> list[wire.Frame]:
        """The node inside hears everything."""
        if isinstance(frame, ConsensusMessage):
            self.heard(frame)
        return [frame]

    def said(self, to: NodeId, message: ConsensusMessage) -> Iterable[ConsensusMessage]:
        """What goes to a peer in place of an own message."""
        return [message]

    def told(self, to: NodeId, frame: wire.Frame) -> Iterable[wire.Frame]:
        """What goes to a peer in place of any other frame."""
        return [frame]

    def heard(self, message: ConsensusMessage) -> None:
        """A peer's message came in."""

    def vote(self, kind: str, view: int, sequence: int, digest: bytes, body: bytes = b"") -> ConsensusMessage:
        """A message of its own."""
        bare = ConsensusMessage(self.epoch.number, kind, view, sequence, digest, self.me, body, bytes(64))
        return self.forger.signed(bare)

    def proposes(self, view: int, proposal: Proposal) -> list[ConsensusMessage]:
        """Pre-prepare and commit for a proposal, whatever the node inside thinks of it."""
        digest, sequence = proposal_digest(proposal.header), proposal.header.sequence
        return [
            self.vote(PRE_PREPARE, view, sequence, digest, encode(proposal)),
            self.vote(COMMIT, view, sequence, digest),
        ]

    def nothing_at(self, sequence: int) -> Proposal:
        """A proposal of its own, of nothing, and always the same."""
        if sequence not in self._empty:
            self._empty[sequence] = self._nothing(sequence)
        return self._empty[sequence]

    def _nothing(self, sequence: int) -> Proposal:
        now_ms = WALL_START_MS + self.now_ns // NS_PER_MS
        return build_proposal(self.genesis_hash, self.epoch.number, sequence, now_ms, self.me, ())


class TwoFaced(Puppet):
    """As primary from `view_min` on it gives some peers another proposal than the one of the node inside, and votes
    for that one before them."""

    victims: tuple[int, ...] = (0, 1, 2, 3)
    view_min = 0
    falls_silent_ms: int | None = None
    """From then on it sends no vote of its own."""

    def __init__(self, lie: Byzantine, attacker: Attacker) -> None:
        super().__init__(lie, attacker)
        self._ids = {node_id(index) for index in self.victims}
        self._others: dict[bytes, ConsensusMessage] = {}

    def other(self, message: ConsensusMessage) -> ConsensusMessage | None:
        """What a victim gets for this pre-prepare; None: the very same."""
        return self.forger.other_proposal(message)

    def beside(self, other: ConsensusMessage) -> Iterable[ConsensusMessage]:
        """What a victim gets together with it."""
        return [self.vote(COMMIT, other.view, other.sequence, other.digest)]

    def said(self, to: NodeId, message: ConsensusMessage) -> Iterable[ConsensusMessage]:
        if self.falls_silent_ms is not None and self.now_ns >= self.falls_silent_ms * NS_PER_MS:
            return []
        if to not in self._ids or message.view < self.view_min:
            return [message]
        if message.kind == PRE_PREPARE:
            other = self._others.get(message.digest)
            if other is None:
                other = self.other(message)
                if other is None:
                    return [message]
                self._others[message.digest] = other
            return [other, *self.beside(other)]
        known = self._others.get(message.digest)
        if known is None:
            return [message]
        return [self.forger.signed(message, digest=known.digest)]


class FoolsOne(TwoFaced):
    """It fools one peer, `LONE`, and falls silent as soon as its lies are told."""

    victims = (LONE,)
    falls_silent_ms = 1_250


class LiesInView1(TwoFaced):
    """As primary of view 1 it proposes something else than the new view chose."""

    view_min = 1


class SkipsNewView(Puppet):
    """When the new view of view 1 is due it proposes there at once, and never sends it."""

    def said(self, to: NodeId, message: ConsensusMessage) -> Iterable[ConsensusMessage]:
        if message.view != 1 or message.kind == VIEW_CHANGE:
            return [message]
        return self.proposes(1, self.nothing_at(1)) if message.kind == NEW_VIEW else []


class NullBeforeNewView(Puppet):
    """When the new view of view 1 is due it proposes the null request there first, whatever was chosen."""

    def said(self, to: NodeId, message: ConsensusMessage) -> Iterable[ConsensusMessage]:
        if message.view == 1 and message.kind == NEW_VIEW:
            return [*self.proposes(1, null_request(self.genesis_hash, self.epoch.number, 1)), message]
        if message.view == 1 and message.sequence == 1:
            return []
        return [message]


class RenamesViewChanges(Puppet):
    """As primary of view 2 it passes the view changes for view 1 off as ones for view 2."""

    def __init__(self, lie: Byzantine, attacker: Attacker) -> None:
        super().__init__(lie, attacker)
        self._old: dict[bytes, ConsensusMessage] = {}

    def heard(self, message: ConsensusMessage) -> None:
        if message.kind == VIEW_CHANGE and message.view == 1:
            self._old[message.sender] = message

    def said(self, to: NodeId, message: ConsensusMessage) -> Iterable[ConsensusMessage]:
        if message.kind == VIEW_CHANGE and message.view == 1:
            self._old[message.sender] = message
        if message.view != 2 or message.kind == VIEW_CHANGE:
            return [message]
        if message.kind != NEW_VIEW:
            return []
        renamed = [msgspec.structs.replace(each, view=2) for each in self._old.values() if each.sender != self.me]
        renamed = sorted(renamed, key=lambda each: each.sender)[:3]
        body = make_new_view(renamed)
        return [
            self.vote(NEW_VIEW, 2, 0, body_digest(body), body),
            *renamed,
            *self.proposes(2, self.nothing_at(1)),
        ]


class NamesOnceMore(TwoFaced):
    """As primary it puts the transaction of sequence 1 into every later sequence, too."""

    def __init__(self, lie: Byzantine, attacker: Attacker) -> None:
        super().__init__(lie, attacker)
        self._first: Proposal | None = None

    def other(self, message: ConsensusMessage) -> ConsensusMessage | None:
        proposal = proposal_of(message.body)
        assert proposal is not None, "a pre-prepare holds a proposal"
        if self._first is None:
            self._first = proposal
        if message.sequence == proposal.header.sequence == self._first.header.sequence:
            return None
        header = proposal.header
        ids = self._first.transaction_ids
        again = build_proposal(
            header.genesis_hash, header.epoch, header.sequence, header.timestamp_ms, self.me, ids
        )
        return self.forger.signed(message, digest=proposal_digest(again.header), body=encode(again))


class ForgesPrepares(FoolsOne):
    """Its victim gets another proposal, and prepares for it in the others' names, without their signatures."""

    def beside(self, other: ConsensusMessage) -> Iterable[ConsensusMessage]:
        forged = [
            msgspec.structs.replace(other, kind=PREPARE, sender=node_id(index), body=b"", signature=b"\x01" * 64)
            for index in (1, 2)
        ]
        return [*super().beside(other), *forged]


class PreparesToo(FoolsOne):
    """Its victim gets another proposal, and beside the pre-prepare a prepare of the primary.

    Of two certificates of one view a new view would choose the higher digest: it looks for a proposal that has it, of
    nothing, so that no body is lacking later.
    """

    def other(self, message: ConsensusMessage) -> ConsensusMessage | None:
        empty = self.nothing_at(message.sequence)
        while proposal_digest(empty.header) <= message.digest:
            header = msgspec.structs.replace(empty.header, timestamp_ms=empty.header.timestamp_ms + 1)
            empty = Proposal(header, ())
        return self.forger.signed(message, digest=proposal_digest(empty.header), body=encode(empty))

    def beside(self, other: ConsensusMessage) -> Iterable[ConsensusMessage]:
        return [*super().beside(other), self.vote(PREPARE, other.view, other.sequence, other.digest)]


class SaysBoth(TwoFaced):
    """Everybody gets both proposals, the node's own first."""

    def said(self, to: NodeId, message: ConsensusMessage) -> Iterable[ConsensusMessage]:
        if message.kind != PRE_PREPARE:
            return [message]
        other = self.forger.other_proposal(message)
        return [message] if other is None else [message, other]


class SendsResults(Puppet):
    """To whoever catches up it sends results beside the bodies, in which no transaction did anything."""

    def told(self, to: NodeId, frame: wire.Frame) -> Iterable[wire.Frame]:
        if not isinstance(frame, wire.BlocksAnswer):
            return [frame]
        blocks = [msgspec.structs.replace(each, bodies=(*each.bodies, RESULTS)) for each in frame.blocks]
        return [wire.BlocksAnswer(tuple(blocks))]
