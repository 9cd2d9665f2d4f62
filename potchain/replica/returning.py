"""The room where a validator comes back: asks its peers, answers theirs, and wakes the engine that votes.

Rule 1: `Rejoin` decides, and only `review` here asks it to. Rule 2: a change between voting and not voting is a new
birth of the engine. Rule 3: every node answers from its first moment, whatever its own standing is.
"""

from __future__ import annotations

from collections.abc import Callable

from potchain.blocks import BLOCK_VOTE, BlockCertificate
from potchain.consensus.interface import ConsensusMessage
from potchain.consensus.signer import Signer
from potchain.primitives import NS_PER_MS, NodeId
from potchain.replica import wire
from potchain.replica.actions import Halt, Notice, Now, Transmit
from potchain.replica.boot import ReplicaBoot
from potchain.replica.copies import CopyWatch
from potchain.replica.epochs import KnownEpochs
from potchain.replica.heard import HeardMessages, from_certificates
from potchain.replica.outbox import Outbox
from potchain.replica.rejoin import Position, Rejoin, Standing

ANSWER_INTERVAL_NS = 100 * NS_PER_MS
"""Least time between two answers to one peer and process."""


class Returning:
    """Question and answers, and the watch for a second process under one key."""

    def __init__(
        self,
        *,
        me: NodeId,
        epochs: KnownEpochs,
        signer: Signer | None,
        boot: ReplicaBoot,
        outbox: Outbox,
        position: Callable[[], Position],
        changed: Callable[[], None],
    ) -> None:
        """`changed` is called when this node begins or ceases to vote, or becomes a learner."""
        self.heard = HeardMessages(boot.recent_certificates)
        self._me = me
        self._epochs = epochs
        self._signer = signer
        self._boot_id = boot.boot_id
        self._outbox = outbox
        self._position = position
        self._changed = changed
        self._copies = CopyWatch()
        self._certificate = next(
            (each for each in reversed(boot.recent_certificates) if each.height <= boot.certified), None
        )
        self._answered_ns: dict[NodeId, tuple[bytes, int]] = {}
        own_block_vote = from_certificates(boot.recent_certificates).get(me)
        self._rejoin = Rejoin(
            me=me,
            epochs=epochs,
            boot_id=boot.boot_id,
            remembers=_nothing if signer is None else signer.remembers,
            doubtful=boot.doubtful,
            target=boot.learner,
            own=(
                *(message for message in boot.own_messages if message.sequence == 0),
                *(() if own_block_vote is None else (own_block_vote,)),
            ),
        )
        if signer is not None:
            signer.never_below(boot.learner.epoch, boot.learner.view)
        else:
            self._rejoin.standing = Standing.OBSERVER

    # --- what others ask of it --------------------------------------------------------------------------------------

    @property
    def votes(self) -> bool:
        """Whether this node signs consensus messages."""
        return self._rejoin.standing is Standing.VOTING

    @property
    def standing(self) -> Standing:
        """See `rejoin`."""
        return self._rejoin.standing

    @property
    def words(self) -> str:
        """The standing for people."""
        return self._rejoin.words(self._position())

    @property
    def unanswered(self) -> tuple[NodeId, ...]:
        """While this node asks: the other validators whose answer is not here."""
        return self._rejoin.unanswered

    def may_sign(self, kind: str, sequence: int) -> bool:
        """Whether this message may be signed now."""
        return self._rejoin.signs_block(sequence) if kind == BLOCK_VOTE else self.votes

    def expects(self, peer: NodeId, answer: wire.SignedAnswer) -> bool:
        """Whether an answer is worth checking its signatures."""
        return self._rejoin.expects(peer, answer)

    def progress(self, executed: int, certified: int, stable: int, now: Now) -> wire.PeerProgress:
        """What to tell peers of this node, and of who seems to run twice."""
        doubled = self._copies.doubled(now.monotonic_ns)
        return wire.PeerProgress(executed, certified, stable, self._boot_id, doubled)

    def sizes(self) -> dict[str, int]:
        """Sizes of the buffers."""
        return {"messages_heard": len(self.heard), "answers_held": len(self._rejoin)}

    # --- what happens -----------------------------------------------------------------------------------------------

    def begin(self, now: Now) -> None:
        """The run begins; a network of one asks nobody."""
        self.review(now)

    def peer_connected(self, peer: NodeId) -> None:
        """Ask at once."""
        if self._asks(peer):
            self._outbox.then(Transmit(peer, self._rejoin.question))

    def peer_gone(self, peer: NodeId, now: Now) -> None:
        """Its session has ended."""
        self._copies.gone(peer, now.monotonic_ns)

    def tick(self, connected: tuple[NodeId, ...], now: Now) -> None:
        """Once a second: ask again, see whether a learner has learned enough, stop beside another copy."""
        reason = self._rejoin.overdue(now.monotonic_ns)
        if reason is not None:
            self._outbox.now(Halt(reason))
            return
        self.review(now)
        self._rejoin.next_round()
        for peer in connected:
            self.peer_connected(peer)

    def heard_progress(self, peer: NodeId, frame: wire.PeerProgress, now: Now) -> None:
        """A peer told of itself, and of who seems to run twice."""
        self._copies.heard(peer, frame.boot_id, now.monotonic_ns)
        self._rejoin.claimed(peer, now.monotonic_ns, doubled=self._me in frame.doubled)
        if self._me in frame.doubled:
            self.review(now)

    def serve(self, peer: NodeId, ask: wire.AskSigned, executed: int, stable: int, now: Now) -> None:
        """Tell a validator what it signed, as far as this node knows."""
        now_ns = now.monotonic_ns
        self._copies.heard(peer, ask.boot_id, now_ns)
        boot_id, answered_ns = self._answered_ns.get(peer, (b"", 0))
        if boot_id == ask.boot_id and now_ns - answered_ns < ANSWER_INTERVAL_NS:
            return
        self._answered_ns[peer] = (ask.boot_id, now_ns)
        answer = wire.SignedAnswer(
            boot_id=ask.boot_id,
            round=ask.round,
            messages=self.heard.of(peer),
            executed=executed,
            stable=stable,
            certificate=self._certificate,
            doubled=self._copies.another(peer, ask.boot_id, now_ns),
        )
        self._outbox.then(Transmit(peer, answer))

    def answered(self, peer: NodeId, answer: wire.SignedAnswer, now: Now) -> None:
        """An answer with good signatures."""
        self._rejoin.answered(peer, answer, now.monotonic_ns)
        self.review(now)

    def certified(self, certificate: BlockCertificate) -> None:
        """A block certificate is durable."""
        if self._certificate is None or certificate.height > self._certificate.height:
            self._certificate = certificate

    def epoch_began(self) -> None:
        """Another set of validators."""
        near = tuple(node for epoch in self._epochs.near for node in epoch.ids)
        self.heard.keep_only(near)
        self._copies.keep_only(near)
        self._answered_ns = {peer: answered for peer, answered in self._answered_ns.items() if peer in near}
        if self._signer is not None:
            self._rejoin.epoch_began()

    def review(self, now: Now) -> None:
        """Decide anew, and act on it."""
        before = self._rejoin.standing
        target = self._rejoin.review(self._position(), now.monotonic_ns)
        if target is not None:
            assert self._signer is not None, "who cannot sign learns nothing"
            self._signer.never_below(target.epoch, target.view)
            self._outbox.persist(learner=target)
        if self._rejoin.standing is not before:
            level = "info" if self.votes else "warning"
            self._outbox.now(Notice(level, f"this node's standing: {self.words}"))
            self._changed()

    def _asks(self, peer: NodeId) -> bool:
        return self._rejoin.standing is Standing.ASKING and peer in self._epochs.current.ids


def _nothing(message: ConsensusMessage) -> bool:
    """A node without a key has signed nothing."""
    return True
