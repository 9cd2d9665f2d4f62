"""Proposals, bodies and messages by digest, id and name, between replicas: served while they are held, fetched in need.

What the ledger holds already is served as whole blocks (`ServeBlocks`), with the certificate that settles the matter.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import msgspec

from potchain.blocks import Proposal, proposal_digest, proposal_fault
from potchain.consensus.interface import CheckProposal, ConsensusMessage, FetchMessages, FetchProposal
from potchain.pool import TransactionPool
from potchain.primitives import NS_PER_MS, NS_PER_S, Digest, NodeId
from potchain.replica import wire
from potchain.replica.actions import ServeBlocks, Transmit
from potchain.replica.epochs import KnownEpochs
from potchain.replica.outbox import Outbox
from potchain.replica.proposing import ProposalDesk

SERVE_INTERVAL_NS = 100 * NS_PER_MS
"""Least time between two answers with others' messages to one peer."""
ASKED_AT_ONCE = 2
"""Peers that are asked for a proposal at first: each may send a whole block. Of four nodes one of two is correct."""
NEXT_NS = NS_PER_S
"""So long after these twice as many others are asked, and so on, so that few silent peers cost little..."""
AGAIN_MOST_NS = 8 * NS_PER_S
"""...and when all have been asked, all again: after twice as long each time, up to this."""


class _Asked(msgspec.Struct, eq=False):
    ask: FetchProposal
    due_ns: int
    """When others may be asked."""
    count: int = ASKED_AT_ONCE
    """Of how many."""
    wait_ns: int = NEXT_NS
    peers: set[NodeId] = msgspec.field(default_factory=set)
    """Who was asked."""


class Exchange:
    """Answers peers, and remembers what was asked of them."""

    def __init__(
        self,
        me: NodeId,
        connected: Collection[NodeId],
        epochs: KnownEpochs,
        pool: TransactionPool,
        desk: ProposalDesk,
        outbox: Outbox,
    ) -> None:
        """`connected`: the peers of now; somebody else keeps it."""
        self._me = me
        self._connected = connected
        self._epochs = epochs
        self._pool = pool
        self._desk = desk
        self._outbox = outbox
        self._asked: dict[Digest, _Asked] = {}
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

    def fetch(self, ask: FetchProposal, now_ns: int) -> None:
        """Ask some members for a proposal, first those who hold it; others when it is asked for again."""
        asked = self._asked.get(ask.digest)
        if asked is None:
            if len(self._asked) >= self._epochs.current.parameters.log_window:
                return
            asked = self._asked[ask.digest] = _Asked(ask, now_ns)
        asked.ask = ask
        self._ask(asked, now_ns)

    def fetch_again(self, certified: int, now_ns: int) -> None:
        """Nothing moved: ask again for what is too new to come as a certified block."""
        for asked in [each for each in self._asked.values() if each.ask.sequence > certified]:
            self._ask(asked, now_ns)

    def peer_connected(self, peer: NodeId) -> None:
        """It may be the one that holds what is missing."""
        if peer in self._epochs.current.ids:
            for asked in self._asked.values():
                self._send(peer, asked)

    def _ask(self, asked: _Asked, now_ns: int) -> None:
        peers = self._in_turn(asked.ask)
        if not peers or now_ns < asked.due_ns:
            return
        fresh = [each for each in peers if each not in asked.peers]
        chosen = fresh[: asked.count]
        if fresh:
            asked.count = min(2 * asked.count, len(peers))
        else:
            chosen = peers
            asked.wait_ns = min(2 * asked.wait_ns, AGAIN_MOST_NS)
        for peer in chosen:
            self._send(peer, asked)
        asked.due_ns = now_ns + asked.wait_ns

    def _send(self, peer: NodeId, asked: _Asked) -> None:
        asked.peers.add(peer)
        self._outbox.then(Transmit(peer, wire.FetchProposal(asked.ask.sequence, asked.ask.digest)))

    def _in_turn(self, ask: FetchProposal) -> list[NodeId]:
        """Members that can be asked. Every node begins at its own place: who lacks the same does not ask the same."""
        ids = self._epochs.current.ids
        place = ids.index(self._me) if self._me in ids else int.from_bytes(self._me[:8]) % len(ids)
        peers = [each for each in (*ids[place:], *ids[:place]) if each in self._connected]
        return sorted(peers, key=lambda each: each not in ask.sources)

    def answered(self, peer: NodeId, proposal: Proposal) -> CheckProposal | None:
        """The check to make of a proposal that was asked for; None for one that was not, or whose ids do not fit."""
        # The digest covers the header alone: other ids under it would be planted for good.
        if proposal_fault(proposal) is not None:
            return None
        asked = self._asked.pop(proposal_digest(proposal.header), None)
        if asked is None:
            return None
        # A quorum stands behind this digest: clock and proposer are not checked again. Who sends it has its bodies.
        sources = (peer, *(each for each in self._in_turn(asked.ask) if each != peer))
        return CheckProposal(proposal=proposal, view=0, fresh=False, sources=sources)

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

    def decided(self, sequence: int) -> None:
        """No proposal is needed there any more."""
        for digest in [digest for digest, each in self._asked.items() if each.ask.sequence == sequence]:
            del self._asked[digest]
