"""Proposals and bodies by digest and id, between replicas: served while they are pinned, fetched when a quorum has one.

What the ledger holds already is served as whole blocks (`ServeBlocks`), with the certificate that settles the matter.
"""

from __future__ import annotations

from potchain.blocks import Proposal, proposal_digest, proposal_fault
from potchain.consensus.interface import CheckProposal, FetchProposal
from potchain.genesis import Epoch
from potchain.pool import TransactionPool
from potchain.primitives import Digest, NodeId
from potchain.replica import wire
from potchain.replica.actions import ServeBlocks, Transmit
from potchain.replica.outbox import Outbox
from potchain.replica.proposing import ProposalDesk


class Exchange:
    """Answers peers, and remembers what was asked of them."""

    def __init__(self, epoch: Epoch, pool: TransactionPool, desk: ProposalDesk, outbox: Outbox) -> None:
        self._epoch = epoch
        self._pool = pool
        self._desk = desk
        self._outbox = outbox
        self._asked: dict[Digest, FetchProposal] = {}

    def __len__(self) -> int:
        return len(self._asked)

    def serve_bodies(self, peer: NodeId, ask: wire.FetchBodies) -> None:
        """Send what is pooled or pinned of the bodies that were asked for."""
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
        if ask.digest in self._asked or len(self._asked) < self._epoch.parameters.log_window:
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
        return CheckProposal(proposal=proposal, view=0, fresh=False, sources=self._epoch.ids)

    def decided(self, digest: Digest) -> None:
        """It is not needed any more."""
        self._asked.pop(digest, None)
