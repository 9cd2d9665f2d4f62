"""Votes whose signatures need not be checked yet, and may never have to be.

A check costs more than everything else that is done with a vote. So what cannot matter now waits unchecked. To the
replica that is as if it came later; nothing is lost, neither evidence nor what a member that restarts asks for: all of
it is handed on after `WAIT_S`, and before a member is told what it has signed. Two kinds of votes wait:

    for blocks    one counts only beside a quorum of others. Once so many members have sent one that the certificate
                  may be complete, they are handed on; those that come after the certificate are dropped, as ever
    surplus       those of an engine's `quorum_kinds`, when equal ones of a quorum of other members were handed on

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
COUNTS_MAX = 1_024
"""Kinds, views, sequences and digests of which votes are counted; without a count none is surplus."""

_Slot = tuple[int, str, int, int]
"""Epoch, kind, view, sequence."""


class LateVotes:
    """Those that one node has received."""

    def __init__(
        self,
        deliver: Callable[[NodeId, ConsensusMessage], None],
        call_later: Callable[[float, Callable[[], None]], object],
        quorum_kinds: frozenset[str] = frozenset(),
    ) -> None:
        """`deliver` checks a message and hands it to the replica; `call_later` takes seconds; `quorum_kinds` are the
        engine's."""
        self._deliver = deliver
        self._call_later = call_later
        self._quorum_kinds = quorum_kinds
        self._votes: dict[int, dict[NodeId, ConsensusMessage]] = {}
        """For blocks, by height."""
        self._surplus: dict[tuple[NodeId, _Slot], ConsensusMessage] = {}
        self._counts: dict[tuple[_Slot, bytes], set[bytes]] = {}
        """Who has sent a good vote of the quorum kinds, by what it says; no more than a quorum."""
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
        if message.kind not in self._quorum_kinds:
            return False
        slot = message.epoch, message.kind, message.view, message.sequence
        senders = self._counts.get((slot, message.digest), ())
        if len(senders) < Quorum(len(epoch.members)).quorum or peer in senders or (peer, slot) in self._surplus:
            return False
        self._surplus[peer, slot] = message
        self._waits()
        return True

    def checked(self, message: ConsensusMessage, certified: int) -> None:
        """A vote with a good signature is handed on; only those of the quorum kinds count."""
        if message.kind not in self._quorum_kinds:
            return
        key = (message.epoch, message.kind, message.view, message.sequence), message.digest
        senders = self._counts.get(key)
        if senders is None:
            if len(self._counts) >= COUNTS_MAX:
                self._counts = {each: kept for each, kept in self._counts.items() if each[0][3] > certified}
            if not certified < message.sequence <= certified + HEIGHTS_MAX or len(self._counts) >= COUNTS_MAX:
                return
            senders = self._counts[key] = set()
        senders.add(message.sender)

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
