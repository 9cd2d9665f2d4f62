"""One engine, stepped by hand: an event in, effects out. For tests that quote the paper."""

from __future__ import annotations

from pbft_members import FACTORY, GENESIS_HASH, digest_of, make_epoch, sign, test_key

from potchain.blocks import Proposal
from potchain.codec import encode
from potchain.consensus.interface import (
    Boot,
    ConsensusMessage,
    Discard,
    Effects,
    Event,
    MessageReceived,
    ProposalChecked,
    Started,
)
from potchain.genesis import Epoch
from potchain.primitives import NodeId
from potchain_pbft import PbftEngine, PbftOptions

EPOCH = make_epoch(4, in_flight_max=3, checkpoint_interval=4, log_window=8)
TIMEOUT_NS = 2_000_000_000


class Replica:
    """One engine; replica 0 is the primary of view 0."""

    def __init__(self, me: int, epoch: Epoch = EPOCH) -> None:
        boot = Boot(
            genesis_hash=GENESIS_HASH,
            me=NodeId(test_key(me).address),
            epoch=epoch,
            decided=0,
            executed=0,
            stable=0,
            records=(),
            own_messages=(),
            proposals=(),
        )
        self.me = me
        self.now_ns = 0
        self.engine: PbftEngine = FACTORY.create(boot, PbftOptions())
        self.first = self.step(Started())

    def step(self, event: Event) -> Effects:
        return self.engine.step(event, self.now_ns)

    def receive(self, message: ConsensusMessage) -> Effects:
        return self.step(MessageReceived(message))

    def echo(self, effects: Effects) -> list[Effects]:
        """Its own messages come back durable, and what follows of that; gives the effects of all."""
        found = [effects]
        for each in found:
            for send in each.send:
                message = sign(self.me, send.kind, send.view, send.sequence, send.digest, send.body)
                found.append(self.receive(message))
        return found

    def vote(self, sender: int, kind: str, proposal: Proposal, view: int = 0) -> Effects:
        return self.receive(vote(sender, kind, proposal, view))

    def pre_prepare(self, proposal: Proposal) -> Effects:
        return self.receive(pre_prepare(proposal))

    def accept(self, proposal: Proposal) -> Effects:
        """Pre-prepare and the host's consent; gives the effects of the consent."""
        self.pre_prepare(proposal)
        return self.step(ProposalChecked(proposal, 0, None))


def pre_prepare(proposal: Proposal, sender: int = 0, view: int = 0) -> ConsensusMessage:
    header = proposal.header
    return sign(sender, "pre-prepare", view, header.sequence, digest_of(proposal), encode(proposal))


def vote(sender: int, kind: str, proposal: Proposal, view: int = 0) -> ConsensusMessage:
    return sign(sender, kind, view, proposal.header.sequence, digest_of(proposal))


def sent(effects: Effects) -> list[str]:
    return [send.kind for send in effects.send]


def discarded(effects: Effects) -> str:
    (report,) = effects.report
    assert isinstance(report, Discard)
    assert effects == Effects(report=effects.report), "a discarded message has no other effect"
    return report.reason
