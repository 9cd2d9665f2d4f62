"""Consensus messages from peers: whose epoch they are of, when their signatures are checked, and on to the replica.

A message's own signature is checked in place, when it is due (`late_votes`); those nested in it on a thread.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from potchain.blocks import BLOCK_VOTE
from potchain.consensus.interface import ConsensusMessage
from potchain.driver.incoming import Incoming, NestedSignatures
from potchain.driver.late_votes import LateVotes
from potchain.genesis import Epoch
from potchain.primitives import NodeId
from potchain.replica import Replica
from potchain.replica.actions import FrameReceived, ReplicaEvent


class Messages:
    """Checks for one driver."""

    def __init__(
        self,
        replica: Replica,
        incoming: Incoming,
        post: Callable[[ReplicaEvent], None],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        misbehaved: Callable[[NodeId, str], None],
        call_later: Callable[[float, Callable[[], None]], object],
    ) -> None:
        self._replica = replica
        self._incoming = incoming
        self._post = post
        self._spawn = spawn
        self._misbehaved = misbehaved
        self._late_votes = LateVotes(self._late, call_later, lambda message: replica.engine.has_enough(message))
        self._nested_under_way: dict[NodeId, int] = {}

    def received(self, peer: NodeId, message: ConsensusMessage) -> None:
        """Check a message now or later."""
        epoch = self._epoch_of(peer, message)
        if epoch is None:
            return
        if not self._late_votes.keep(peer, message, epoch, self._replica.certifier.certified):
            self._check(peer, message, epoch)

    @property
    def waiting(self) -> int:
        """Votes that wait for their check."""
        return len(self._late_votes)

    def check_all(self) -> None:
        """Whatever waits is checked now."""
        self._late_votes.release()

    def before_stable(self, height: int) -> None:
        """A height is about to be executed or certified here: with a checkpoint the engine may forget slots."""
        self._late_votes.checkpoint(height - height % self._replica.epoch.parameters.checkpoint_interval)

    def _late(self, peer: NodeId, message: ConsensusMessage) -> None:
        epoch = self._epoch_of(peer, message)
        if epoch is not None:
            self._check(peer, message, epoch)

    def _epoch_of(self, peer: NodeId, message: ConsensusMessage) -> Epoch | None:
        """The message's own epoch; None for one that is not worth a check."""
        replica = self._replica
        if message.kind == BLOCK_VOTE and message.sequence <= replica.certifier.certified:
            return None  # its block is final
        # Else its sender is behind this node, or ahead of it: no fault of either.
        return (
            replica.epochs.of_message(message.kind, message.epoch, message.sequence)
            if replica.epochs.is_near(peer)
            else None
        )

    def _check(self, peer: NodeId, message: ConsensusMessage, epoch: Epoch) -> None:
        nested, fault = self._incoming.message(message, epoch, self._replica)
        if fault:
            self._misbehaved(peer, fault)
        elif not nested:
            self._post(FrameReceived(peer, message))
        elif self._nested_under_way.get(peer, 0) < len(epoch.members):
            self._nested_under_way[peer] = self._nested_under_way.get(peer, 0) + 1
            self._spawn(self._nested(peer, message, nested, epoch))
        # What is dear to check, a correct peer sends again if it counts.

    async def _nested(
        self, peer: NodeId, message: ConsensusMessage, nested: NestedSignatures, epoch: Epoch
    ) -> None:
        try:
            fault = await self._incoming.nested(message, nested, epoch)
        finally:
            self._nested_under_way[peer] -= 1
        if fault:
            self._misbehaved(peer, f"{message.kind}: {fault}")
        else:
            self._post(FrameReceived(peer, message))
