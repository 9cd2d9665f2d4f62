"""How one epoch ends here and the next begins.

The end comes in sight when a change is decided: the state then names the next epoch and its first sequence. The engine
fills up to the one before and stops. The turn itself happens once, when that block, C, is executed here and certified
by the validators it ends; from then on this node knows the next epoch's validators for certain, and everything that
was signed for the epoch before, but block votes, has lost its meaning.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from potchain.consensus.interface import ConsensusMessage
from potchain.primitives import NodeId
from potchain.replica.actions import EpochsNear, Notice, Now
from potchain.replica.engine_host import epoch_record
from potchain.replica.rooms import Rooms

EARLY_PER_MEMBER_MAX = 32
"""Messages of the next epoch that are kept for each of its validators until it begins here, too."""
EARLY_BYTES_MAX = 64 * 1024
"""Bound on the body of one of them; a larger one is sent again when it is needed."""


class EpochTurn:
    """Sees the next epoch come, and begins it."""

    def __init__(self, rooms: Rooms, on_stable: Callable[[int], None]) -> None:
        self._epochs = rooms.epochs
        self._chain = rooms.chain
        self._own = rooms.own
        self._host = rooms.host
        self._neglect = rooms.neglect
        self._exchange = rooms.exchange
        self._catch_up = rooms.catch_up
        self._outbox = rooms.outbox
        self._returning = rooms.returning
        self._on_stable = on_stable
        self._early: dict[NodeId, deque[ConsensusMessage]] = {}

    def __len__(self) -> int:
        """Early messages that are kept."""
        return sum(map(len, self._early.values()))

    def look(self, now: Now) -> None:
        """A block was executed: does another epoch follow, and is there a gap to fill before it?"""
        following = self._chain.next_epoch
        if following is not self._epochs.pending:
            self._epochs.pending = following
            self._outbox.now(EpochsNear(self._epochs.near))
        unfilled = following is not None and self._chain.gap < following.first_sequence
        self._neglect.fill_up(now.monotonic_ns if unfilled else None)

    def keep_early(self, message: ConsensusMessage) -> None:
        """Its sender is in the next epoch already, this node soon. Nothing of it counts before."""
        if len(message.body) > EARLY_BYTES_MAX:
            return
        self._early.setdefault(NodeId(message.sender), deque(maxlen=EARLY_PER_MEMBER_MAX)).append(message)

    def begin(self, last: int, now: Now) -> Iterator[ConsensusMessage]:
        """Block C, `last`, is executed and certified here: make the next epoch current; early messages come back."""
        epoch = self._epochs.pending
        if epoch is None or epoch.first_sequence != last + 1:
            return  # it has begun already: the certificate was stored twice
        if self._host.low < last:
            self._on_stable(last)
        self._epochs.begin(epoch)
        self._own.epoch_began(epoch.number)
        self._exchange.epoch_began()
        self._catch_up.epoch_began()
        self._outbox.persist(records=(epoch_record(epoch.number),))
        self._returning.epoch_began()
        voting = self._returning.votes
        self._host.boot(epoch, voting=voting)
        self.look(now)
        members = ", ".join(member.name for member in epoch.members)
        standing = self._returning.standing.value
        text = f"epoch {epoch.number} begins at {epoch.first_sequence}; this node: {standing}; validators: {members}"
        self._outbox.now(Notice("info", text))
        self._outbox.now(EpochsNear(self._epochs.near))
        self._host.start(now)
        early, self._early = self._early, {}
        for sender, messages in early.items():
            if sender in epoch.keys:
                yield from messages
