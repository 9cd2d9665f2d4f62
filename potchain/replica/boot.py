"""What a replica starts from, read from disk by the node."""

from __future__ import annotations

import msgspec

from potchain.blocks import BLOCK_VOTE, BlockCertificate, BlockHeader, Proposal
from potchain.consensus.interface import ConsensusMessage, Record
from potchain.consensus.learning import LearnerTarget
from potchain.evidence import Evidence
from potchain.genesis import Epoch
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
    stable_certificate: BlockCertificate | None = None
    """Its certificate; None for genesis."""
    earlier_epochs: tuple[Epoch, ...] = ()
    """Epochs before the current one, in order, from that of the lowest height without certificate on."""
    uncertified: tuple[tuple[int, Digest], ...]
    """Executed heights above it that lack a certificate, with their block hashes."""
    certified_ahead: tuple[int, ...] = ()
    """Executed heights above `certified` that do have one."""
    own_messages: tuple[ConsensusMessage, ...]
    records: tuple[Record, ...] = ()
    """The engine's records above the stable checkpoint, and those of views, in order."""
    decided_proposals: tuple[Proposal, ...] = ()
    """Proposals of the executed blocks above the stable checkpoint, by sequence."""
    proposals: tuple[tuple[Proposal, tuple[Transaction, ...]], ...]
    """Pinned proposals above the tip with all bodies."""
    bodies: tuple[Transaction, ...]
    """All transactions of the body log, in the order in which they were admitted."""
    boot_id: bytes = b""
    """Random, of this run; empty: nobody watches for a second process under this key."""
    recent_certificates: tuple[BlockCertificate, ...] = ()
    """Those of the last log window of the ledger, by height."""
    doubtful: bool = False
    """Earlier votes may be forgotten: the vote log is missing or old."""
    learner: LearnerTarget = LearnerTarget()
    """What must be reached before this node signs consensus messages again."""
    evidence: tuple[Evidence, ...] = ()
    """All that the ledger keeps against members."""

    @property
    def unsettled_messages(self) -> tuple[ConsensusMessage, ...]:
        """Own messages that somebody may need again: all but votes for blocks that are final."""
        uncertified = {height for height, _ in self.uncertified}
        return tuple(
            message for message in self.own_messages if message.kind != BLOCK_VOTE or message.sequence in uncertified
        )
