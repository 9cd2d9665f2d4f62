"""Votes for blocks whose signatures need not be checked yet, and may never have to be.

A check costs more than everything else that is done with a vote, and a vote for a block counts only beside a quorum of
others. So they wait unchecked. To the replica that is as if they came later; nothing is lost, neither evidence nor what
a member that restarts asks for:

    once so many members have sent one that the certificate may be complete, they are handed on; those that come after
    the certificate are dropped, as ever
    all of them are handed on after `WAIT_S`, and before a member is told what it has signed

Only what comes from its signer waits, and one vote of each member for each height: what a peer says for another member,
or says in another way, is checked at once.
"""

from __future__ import annotations

from collections.abc import Callable

from potchain.blocks import BLOCK_VOTE
from potchain.consensus.interface import ConsensusMessage
from potchain.consensus.quorum import Quorum
from potchain.genesis import Epoch
from potchain.primitives import NodeId

WAIT_S = 1.0
"""The longest that a vote waits: what peers tell each other of progress is no newer."""
WAITING_MAX = 1_024
"""Votes that wait; more are handed on at once. To check so many takes 40 ms."""
HEIGHTS_MAX = 64
"""How far above the highest certified height votes wait."""


class LateVotes:
    """Those that one node has received."""

    def __init__(
        self,
        deliver: Callable[[NodeId, ConsensusMessage], None],
        call_later: Callable[[float, Callable[[], None]], object],
    ) -> None:
        """`deliver` checks a message and hands it to the replica; `call_later` takes seconds."""
        self._deliver = deliver
        self._call_later = call_later
        self._votes: dict[int, dict[NodeId, ConsensusMessage]] = {}
        """By height."""
        self._count = 0
        self._timer_runs = False
        self._complete = 0
        """Up to this height votes wait no more."""

    def __len__(self) -> int:
        return self._count

    def keep(self, peer: NodeId, message: ConsensusMessage, epoch: Epoch, certified: int) -> bool:
        """Whether the message waits here, or was handed on by now; `epoch` is its own."""
        height = message.sequence
        if message.kind != BLOCK_VOTE or message.body or peer != message.sender or self._count >= WAITING_MAX:
            return False
        if not max(certified, self._complete) < height <= certified + HEIGHTS_MAX:
            return False
        votes = self._votes.setdefault(height, {})
        if peer in votes:
            return False
        votes[peer] = message
        self._count += 1
        if not self._timer_runs:
            self._timer_runs = True
            self._call_later(WAIT_S, self._time_is_up)
        # With this node's own vote they may be enough.
        if len(votes) >= Quorum(len(epoch.members)).quorum - 1:
            self._complete = height
            self._release([each for each in self._votes if each <= height])
        return True

    def release(self) -> None:
        """Hand on all that waits."""
        self._release(list(self._votes))

    def _release(self, heights: list[int]) -> None:
        for height in heights:
            votes = self._votes.pop(height)
            self._count -= len(votes)
            for peer, message in votes.items():
                self._deliver(peer, message)

    def _time_is_up(self) -> None:
        self._timer_runs = False
        self.release()
