"""What a replica starts from, read from disk by the node."""

from __future__ import annotations

import msgspec

from potchain.blocks import BLOCK_VOTE, BlockHeader, Proposal
from potchain.consensus.interface import ConsensusMessage
from potchain.primitives import Digest
from potchain.transactions import Transaction


class ReplicaBoot(msgspec.Struct, frozen=True, kw_only=True):
    """Everything durable that matters above the stable checkpoint."""

    tip: BlockHeader
    tip_hash: Digest
    certified: int
    """Every height up to here has a durable certificate."""
    stable: int
    """Height of the stable checkpoint."""
    uncertified: tuple[tuple[int, Digest], ...]
    """Executed heights above it that lack a certificate, with their block hashes."""
    certified_ahead: tuple[int, ...] = ()
    """Executed heights above `certified` that do have one."""
    own_messages: tuple[ConsensusMessage, ...]
    proposals: tuple[tuple[Proposal, tuple[Transaction, ...]], ...]
    """Pinned proposals above the tip with all bodies."""
    bodies: tuple[Transaction, ...]
    """All transactions of the body log, in the order in which they were admitted."""

    @property
    def unsettled_messages(self) -> tuple[ConsensusMessage, ...]:
        """Own messages that somebody may need again: all but votes for blocks that are final."""
        uncertified = {height for height, _ in self.uncertified}
        return tuple(
            message for message in self.own_messages if message.kind != BLOCK_VOTE or message.sequence in uncertified
        )
