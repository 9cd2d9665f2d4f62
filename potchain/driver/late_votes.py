"""Votes whose signatures need not be checked yet, and may never have to be.

A check costs more than everything else that is done with a vote. So what cannot matter now waits unchecked. To the
replica that is as if it came later; nothing is lost, neither evidence nor what a member that restarts asks for: all of
it is handed on after `WAIT_S`, and before a member is told what it has signed. Two kinds of votes wait:

    for blocks    one counts only beside a quorum of others. Once so many members have sent one that the certificate
                  may be complete, they are handed on; those that come after the certificate are dropped, as ever
    surplus       those of which the engine says that it has enough, above the certified height. They are handed on
                  before a checkpoint at or above them can become stable, for then the engine forgets their slots, and
                  when their sender says something else for the same slot

Only what comes from its signer waits, and one vote of each member for each height, or of each kind for each view and
sequence: what a peer says for another member, or says in another way, is checked at once.
"""

from __future__ import annotations

from collections.abc import Callable

from potchain.blocks import BLOCK_VOTE
from potchain.consensus.interface import ConsensusMessage
from potchain.consensus.quorum import Quorum
from potchain.genesis import Epoch
from potchain.primitives import NodeId

WAIT_S = 2.0
"""The longest that a vote waits: what peers tell each other of progress is no newer."""
WAITING_MAX = 1_024
"""Votes that wait; more are handed on at once. To check so many takes 40 ms."""
HEIGHTS_MAX = 64
"""How far above the highest certified height votes wait."""

_Slot = tuple[int, str, int, int]
"""Epoch, kind, view, sequence."""


class LateVotes:
    """Those that one node has received."""

    def __init__(
        self,
        deliver: Callable[[NodeId, ConsensusMessage], None],
        call_later: Callable[[float, Callable[[], None]], object],
        has_enough: Callable[[ConsensusMessage], bool],
    ) -> None:
        """`deliver` checks a message and hands it to the replica; `call_later` takes seconds; `has_enough` is the
        engine's."""
        self._deliver = deliver
        self._call_later = call_later
        self._has_enough = has_enough
        self._votes: dict[int, dict[NodeId, ConsensusMessage]] = {}
        """For blocks, by height."""
        self._surplus: dict[tuple[NodeId, _Slot], ConsensusMessage] = {}
        self._checkpoint = 0
        """Up to this height surplus votes were handed on."""
        self._count = 0
        self._timer_runs = False
        self._complete = 0
        """Up to this height votes wait no more."""

    def __len__(self) -> int:
        return self._count

    def keep(self, peer: NodeId, message: ConsensusMessage, epoch: Epoch, certified: int) -> bool:
        """Whether the message waits here, or was handed on by now; `epoch` is its own."""
        if message.body or peer != message.sender or self._count >= WAITING_MAX:
            return False
        if message.kind == BLOCK_VOTE:
            return self._keep_block_vote(peer, message, epoch, certified)
        place = peer, (message.epoch, message.kind, message.view, message.sequence)
        waiting = self._surplus.get(place)
        if waiting is not None:
            if waiting.digest != message.digest:  # one of the two is evidence
                del self._surplus[place]
                self._count -= 1
                self._deliver(peer, waiting)
            return False
        if message.sequence <= max(certified, self._checkpoint) or not self._has_enough(message):
            return False
        self._surplus[place] = message
        self._waits()
        return True

    def checkpoint(self, height: int) -> None:
        """A checkpoint that may become stable next: surplus votes up to it are handed on."""
        if height > self._checkpoint:
            self._checkpoint = height
            for place in [place for place in self._surplus if place[1][3] <= height]:
                self._count -= 1
                self._deliver(place[0], self._surplus.pop(place))

    def _keep_block_vote(self, peer: NodeId, message: ConsensusMessage, epoch: Epoch, certified: int) -> bool:
        height = message.sequence
        if not max(certified, self._complete) < height <= certified + HEIGHTS_MAX:
            return False
        votes = self._votes.setdefault(height, {})
        if peer in votes:
            return False
        votes[peer] = message
        self._waits()
        # With this node's own vote they may be enough.
        if len(votes) >= Quorum(len(epoch.members)).quorum - 1:
            self._complete = height
            self._release([each for each in self._votes if each <= height])
        return True

    def _waits(self) -> None:
        self._count += 1
        if not self._timer_runs:
            self._timer_runs = True
            self._call_later(WAIT_S, self._time_is_up)

    def release(self) -> None:
        """Hand on all that waits."""
        self._release(list(self._votes))
        surplus, self._surplus = self._surplus, {}
        self._count -= len(surplus)
        for (peer, _), message in surplus.items():
            self._deliver(peer, message)

    def _release(self, heights: list[int]) -> None:
        for height in heights:
            votes = self._votes.pop(height)
            self._count -= len(votes)
            for peer, message in votes.items():
                self._deliver(peer, message)

    def _time_is_up(self) -> None:
        self._timer_runs = False
        self.release()
