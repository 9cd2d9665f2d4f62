"""Proposals, bodies and messages by digest, id and name, between replicas: served while they are held, fetched in need.

What the ledger holds already is served as whole blocks (`ServeBlocks`), with the certificate that settles the matter.
"""

from __future__ import annotations

from collections.abc import Callable

from potchain.blocks import Proposal, proposal_digest, proposal_fault
from potchain.consensus.interface import CheckProposal, ConsensusMessage, FetchMessages, FetchProposal
from potchain.pool import TransactionPool
from potchain.primitives import NS_PER_MS, Digest, NodeId
from potchain.replica import wire
from potchain.replica.actions import ServeBlocks, Transmit
from potchain.replica.epochs import KnownEpochs
from potchain.replica.outbox import Outbox
from potchain.replica.proposing import ProposalDesk

SERVE_INTERVAL_NS = 100 * NS_PER_MS
"""Least time between two answers with others' messages to one peer."""


class Exchange:
    """Answers peers, and remembers what was asked of them."""

    def __init__(self, epochs: KnownEpochs, pool: TransactionPool, desk: ProposalDesk, outbox: Outbox) -> None:
        self._epochs = epochs
        self._pool = pool
        self._desk = desk
        self._outbox = outbox
        self._asked: dict[Digest, FetchProposal] = {}
        self._served_ns: dict[NodeId, int] = {}

    def __len__(self) -> int:
        return len(self._asked)

    def serve_bodies(self, peer: NodeId, ask: wire.FetchBodies, applied: int) -> None:
        """Send what is pooled or pinned of the bodies that were asked for, or the block that they are in."""
        if ask.sequence <= applied:
            self._outbox.now(ServeBlocks(peer, ask.sequence, 1))
            return
        held = [self._pool.get(Digest(each)) for each in ask.ids[: wire.FETCH_IDS_MAX]]
        raws = tuple(transaction.raw for transaction in held if transaction is not None)
        if raws:
            self._outbox.then(Transmit(peer, wire.BodiesAnswer(raws)))

    def serve_proposal(self, peer: NodeId, ask: wire.FetchProposal, applied: int) -> None:
        """Send a pinned proposal, or the block it has become."""
        proposal = self._desk.pinned(Digest(ask.digest))
        if proposal is not None:
            self._outbox.then(Transmit(peer, wire.ProposalAnswer(proposal)))
        elif ask.sequence <= applied:
            self._outbox.now(ServeBlocks(peer, ask.sequence, 1))

    def fetch(self, ask: FetchProposal) -> None:
        """Ask everyone for a proposal."""
        if ask.digest in self._asked or len(self._asked) < self._epochs.current.parameters.log_window:
            self._asked[ask.digest] = ask
            self._outbox.then(Transmit(None, wire.FetchProposal(ask.sequence, ask.digest)))

    def fetch_again(self, certified: int) -> None:
        """Nothing moved: ask again for what is too new to come as a certified block."""
        for ask in [ask for ask in self._asked.values() if ask.sequence > certified]:
            self._outbox.then(Transmit(None, wire.FetchProposal(ask.sequence, ask.digest)))

    def answered(self, proposal: Proposal) -> CheckProposal | None:
        """The check to make of a proposal that was asked for; None for one that was not, or whose ids do not fit."""
        # The digest covers the header alone: other ids under it would be planted for good.
        if proposal_fault(proposal) is not None:
            return None
        ask = self._asked.pop(proposal_digest(proposal.header), None)
        if ask is None:
            return None
        # A quorum stands behind this digest: clock and proposer are not checked again.
        return CheckProposal(proposal=proposal, view=0, fresh=False, sources=self._epochs.current.ids)

    def fetch_messages(self, ask: FetchMessages) -> None:
        """Ask one peer, or everyone, for others' signed messages."""
        self._outbox.then(
            Transmit(ask.source, wire.FetchMessages(self._epochs.current.number, ask.kind, ask.view, ask.names))
        )

    def serve_messages(
        self, peer: NodeId, ask: wire.FetchMessages, find: Callable[..., ConsensusMessage | None], now_ns: int
    ) -> None:
        """Send on what the engine holds of the messages that were asked for; `find` is `ConsensusEngine.find`."""
        # An answer may be many times as large as the question: one for each member and moment.
        served_ns = self._served_ns.get(peer)
        too_soon = served_ns is not None and now_ns - served_ns < SERVE_INTERVAL_NS
        if too_soon or ask.epoch != self._epochs.current.number:
            return
        for name in ask.names[: len(self._epochs.current.members)]:
            message = find(ask.kind, ask.view, name)
            if message is not None:
                self._served_ns[peer] = now_ns
                self._outbox.then(Transmit(peer, message))

    def epoch_began(self) -> None:
        """What was asked for belongs to sequences that are executed."""
        self._asked.clear()

    def decided(self, digest: Digest) -> None:
        """It is not needed any more."""
        self._asked.pop(digest, None)
