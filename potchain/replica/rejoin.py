"""May this validator sign now? The decision after a start, pure: answers in, a standing out.

    observer   no member of the epoch: signs nothing
    asking     waits for a quorum of answers, itself among them: signs nothing
    learner    may have signed what it no longer knows: signs no consensus message until that cannot matter any more
    voting     signs

An answer counts when it is of this run, and its sender hears no other process under this node's key. An own message in
the answers that the guard does not know, or a vote log that is missing or old, makes a learner; its target is durable
before anything else happens. An answer is never the reason to vote earlier: it can only add forgotten messages and
heights, each proved by a signature of this node or a block certificate. So a lying peer makes nobody a learner.

Peers that hear another process under this key make this node silent when one of them at least must be correct (a weak
quorum); one alone could otherwise silence any validator. Before the first signature caution goes further: an answer
that says so does not count, and a quorum is needed of answers that do not.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable

import msgspec

from potchain.consensus.interface import ConsensusMessage
from potchain.consensus.learning import LearnerTarget
from potchain.consensus.quorum import Quorum
from potchain.primitives import NS_PER_S, NodeId
from potchain.replica.epochs import KnownEpochs
from potchain.replica.wire import AskSigned, SignedAnswer

CLAIM_NS = 5 * NS_PER_S
"""How long a peer's word that another process runs under this key holds; peers repeat it every second."""
STOP_AFTER_NS = 30 * NS_PER_S
"""How long another process may run under this key before this one stops."""


class Standing(enum.Enum):
    """Whether this node signs; see the module's text."""

    OBSERVER = "observer"
    ASKING = "asking"
    LEARNER = "learner"
    VOTING = "voting"


class Position(msgspec.Struct, frozen=True):
    """Where this node is."""

    executed: int
    """Height of its tip."""
    stable: int
    """Height of its stable checkpoint."""
    view: int
    """The current view, as its engine knows it."""


class Rejoin:
    """Decides for one run of a node."""

    def __init__(
        self,
        *,
        me: NodeId,
        epochs: KnownEpochs,
        boot_id: bytes,
        remembers: Callable[[ConsensusMessage], bool],
        doubtful: bool,
        target: LearnerTarget,
        own: Iterable[ConsensusMessage],
    ) -> None:
        """`remembers`: whether the guard knows an own message. `own`: own messages found on this node's disk."""
        self.target = target
        self._me = me
        self._epochs = epochs
        self._boot_id = boot_id
        self._remembers = remembers
        self._doubtful = doubtful
        self._own = tuple(own)
        self._round = self._first_round = 0
        self._answers: dict[NodeId, SignedAnswer] = {}
        self._answered_round: dict[NodeId, int] = {}
        self._claims: dict[NodeId, int] = {}
        """When each peer last said that it hears another process under this key."""
        self._doubled_since_ns: int | None = None
        self.standing = Standing.ASKING if me in epochs.current.ids else Standing.OBSERVER

    # --- asking -----------------------------------------------------------------------------------------------------

    @property
    def question(self) -> AskSigned:
        """What to ask every validator."""
        return AskSigned(self._boot_id, self._round)

    def next_round(self) -> None:
        """A second has passed: what comes in answer to earlier questions counts still, once for each."""
        self._round += 1

    def expects(self, peer: NodeId, answer: SignedAnswer) -> bool:
        """Whether this answer is to a question of this run that the peer has not answered: worth checking."""
        return (
            self.standing is Standing.ASKING
            and peer != self._me
            and peer in self._epochs.current.ids
            and answer.boot_id == self._boot_id
            and max(self._first_round, self._answered_round.get(peer, -1) + 1) <= answer.round <= self._round
        )

    def answered(self, peer: NodeId, answer: SignedAnswer, now_ns: int) -> None:
        """An answer whose signatures are good. One that is not expected changes nothing."""
        if not self.expects(peer, answer):
            return
        self._answered_round[peer] = answer.round
        self.claimed(peer, now_ns, doubled=answer.doubled)
        # A peer in a later epoch proves nothing that could be checked here yet: catch up first, it is asked again.
        ahead = answer.certificate is not None and answer.certificate.epoch > self._epochs.current.number
        if answer.doubled or (ahead and self._doubtful):
            self._answers.pop(peer, None)
        else:
            self._answers[peer] = answer

    def claimed(self, peer: NodeId, now_ns: int, *, doubled: bool) -> None:
        """A peer says whether it hears another process under this node's key."""
        if doubled and peer in self._epochs.current.ids:
            self._claims[peer] = now_ns
        else:
            self._claims.pop(peer, None)

    def epoch_began(self) -> None:
        """Other validators may count now, and this node may be one of them, or none."""
        members = self._epochs.current.ids
        if self._me not in members:
            self.standing = Standing.OBSERVER
        elif self.standing is Standing.OBSERVER:
            self._ask_afresh()
        self._answers = {peer: answer for peer, answer in self._answers.items() if peer in members}
        self._claims = {peer: since_ns for peer, since_ns in self._claims.items() if peer in members}

    # --- deciding ---------------------------------------------------------------------------------------------------

    def review(self, position: Position, now_ns: int) -> LearnerTarget | None:
        """Decide anew; a learner's target that must become durable, when it has changed."""
        contested = self._contested(now_ns)
        if self.standing is Standing.OBSERVER:
            return None
        if contested:
            if self.standing is not Standing.ASKING:
                self._ask_afresh()
            return None
        changed = None
        if self.standing is Standing.ASKING:
            if self.missing > 0:
                return None
            changed = self._learn(position)
        if self.standing is not Standing.VOTING:
            reached = self.target.reached(position.stable, self._epochs.current.number, position.view)
            self.standing = Standing.VOTING if reached else Standing.LEARNER
        return changed

    def signs_block(self, height: int) -> bool:
        """Whether this node may vote for a block that it has executed.

        A learner votes for those above everything that it can have forgotten: a block vote follows from execution
        alone, and others may need it to move their checkpoints, and its own.
        """
        if self.standing is Standing.LEARNER:
            return height + self._window > self.target.height
        return self.standing is Standing.VOTING

    @property
    def missing(self) -> int:
        """How many answers are lacking."""
        return Quorum(len(self._epochs.current.members)).quorum - 1 - len(self._answers)

    @property
    def unanswered(self) -> tuple[NodeId, ...]:
        """While this node asks: the other validators whose answer is not here."""
        if self.standing is not Standing.ASKING:
            return ()
        return tuple(peer for peer in self._epochs.current.ids if peer != self._me and peer not in self._answers)

    def overdue(self, now_ns: int) -> str | None:
        """Why this node must stop: another process has been running under its key for too long."""
        if self._doubled_since_ns is None or now_ns - self._doubled_since_ns < STOP_AFTER_NS:
            return None
        return (
            f"another copy of this validator runs: {self._names(self._claims)} heard it for "
            f"{STOP_AFTER_NS // NS_PER_S} s; stop one of the two, and start the one that you keep again"
        )

    def words(self, position: Position) -> str:
        """The standing for people."""
        if self._doubled_since_ns is not None:
            return f"another copy runs: {self._names(self._claims)} hear it"
        if self.standing is Standing.ASKING:
            heard = f"answers from {self._names(self._answers)}" if self._answers else "no answers yet"
            return f"asking: {heard}; waiting for {self.missing} more"
        if self.standing is Standing.LEARNER:
            return f"learner until {self._lacking(position)}"
        return str(self.standing.value)

    def __len__(self) -> int:
        """Messages held from answers."""
        return sum(len(answer.messages) for answer in self._answers.values())

    # --- inside -----------------------------------------------------------------------------------------------------

    @property
    def _window(self) -> int:
        return self._epochs.current.parameters.log_window

    def _ask_afresh(self) -> None:
        self.standing = Standing.ASKING
        self._answers.clear()
        self._round += 1
        self._first_round = self._round

    def _contested(self, now_ns: int) -> bool:
        self._claims = {peer: said_ns for peer, said_ns in self._claims.items() if now_ns - said_ns < CLAIM_NS}
        if len(self._claims) < Quorum(len(self._epochs.current.members)).weak_quorum:
            self._doubled_since_ns = None
            return False
        if self._doubled_since_ns is None:
            self._doubled_since_ns = now_ns
        return True

    def _knows(self, message: ConsensusMessage) -> bool:
        over = message.epoch < self._epochs.current.number and message.sequence == 0
        return over or self._remembers(message) or self.target.covers(message, self._window)

    def _learn(self, position: Position) -> LearnerTarget | None:
        answers = [self._answers[peer] for peer in sorted(self._answers)]
        own = [*self._own, *(message for answer in answers for message in answer.messages)]
        if not self._doubtful and all(self._knows(message) for message in own):
            return None
        certificates = [answer.certificate for answer in answers if answer.certificate is not None]
        height = max(
            position.executed,
            *(message.sequence for message in own),
            *(certificate.height for certificate in certificates if certificate.epoch <= self._epochs.current.number),
            0,
        )
        announced = [(message.epoch, message.view + 1) for message in own if message.sequence == 0]
        epoch, view = max(announced, default=(0, 0))
        self._doubtful = False
        self.target = self.target.raised(height + self._window, epoch, view)
        return self.target

    def _lacking(self, position: Position) -> str:
        lacking = []
        if position.stable < self.target.height:
            lacking.append(f"a stable checkpoint at height {self.target.height}")
        if (self._epochs.current.number, position.view) < (self.target.epoch, self.target.view):
            lacking.append(f"view {self.target.view} of epoch {self.target.epoch}")
        return " and ".join(lacking) or "the next second"

    def _names(self, peers: Iterable[NodeId]) -> str:
        return ", ".join(sorted(self._epochs.name_of(peer) for peer in peers))
