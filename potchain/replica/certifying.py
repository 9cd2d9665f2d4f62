"""From executed blocks to block certificates: the replica's own votes, alike for every engine.

A vote is kept per (height, sender), only for heights in (certified, executed + window]. Votes may come before the block
is executed here; they are counted when it is. A quorum for another hash than ours means that this node's state differs
from everyone's: that is reported as a divergence, and the node stops.
"""

from __future__ import annotations

from potchain.blocks import BlockCertificate, BlockSignature
from potchain.consensus.interface import ConsensusMessage, Misbehaviour
from potchain.consensus.quorum import Quorum
from potchain.errors import PotchainError
from potchain.primitives import NodeId
from potchain.replica.epochs import KnownEpochs


class Divergence(PotchainError):
    """A quorum signed another hash for a height that this node executed."""

    def __init__(self, height: int, ours: bytes, theirs: bytes) -> None:
        self.height = height
        super().__init__(
            f"a quorum certified block 0x{theirs.hex()} at height {height}, this node executed 0x{ours.hex()}; "
            f"the node stops. Run `potchain ledger verify` on its home folder and compare versions"
        )


class Certifier:
    """Collects block votes into certificates, each height's by the validators of its own epoch."""

    def __init__(self, epochs: KnownEpochs, certified: int) -> None:
        """`certified`: every height up to it has a durable certificate."""
        self._epochs = epochs
        self.certified = certified
        self._hashes: dict[int, bytes] = {}
        self._votes: dict[int, dict[bytes, ConsensusMessage]] = {}
        self._waiting: dict[int, BlockCertificate] = {}
        self._done: set[int] = set()
        self._stored: set[int] = set()

    @property
    def _window(self) -> int:
        """Bound on heights ahead of `certified`; they may lie in two epochs."""
        return sum([epoch.parameters.log_window for epoch in (self._epochs.previous, self._epochs.current) if epoch])

    @property
    def executed(self) -> int:
        """Highest height that was executed here and is known to this object."""
        return max(self._hashes, default=self.certified)

    def block_executed(self, height: int, block_hash: bytes) -> BlockCertificate | None:
        """A block was executed here; the certificate if votes or a fetched one were waiting. Raises Divergence."""
        if height <= self.certified:
            return None
        self._hashes[height] = block_hash
        fetched = self._waiting.pop(height, None)
        if fetched is not None:
            return self.accept(fetched)
        return self._count(height)

    def vote(self, message: ConsensusMessage) -> BlockCertificate | Misbehaviour | str | None:
        """A vote with a good signature: the certificate it completes, a refusal, or None. Raises Divergence.

        Misbehaviour: the sender voted for another hash of this height before, which no correct node does.
        """
        height = message.sequence
        held = self._votes.get(height, {}).get(message.sender)
        if held is not None:
            return None if held.digest == message.digest else Misbehaviour(held, message)
        if height <= self.certified or height in self._done:
            return None
        if height > self.certified + self._window:
            return f"block vote for height {height} is beyond {self.certified + self._window}"
        epoch = self._epochs.at(height)
        if epoch is None or epoch.number != message.epoch or NodeId(message.sender) not in epoch.keys:
            return f"block vote for height {height} by a stranger to its epoch"
        self._votes.setdefault(height, {})[message.sender] = message
        return self._count(height)

    def accept(self, certificate: BlockCertificate) -> BlockCertificate | None:
        """A verified certificate from elsewhere: itself if it is news and its block was executed here.

        One for a height not executed yet is kept, within the window. Raises Divergence.
        """
        height = certificate.height
        if height <= self.certified or height in self._done:
            return None
        ours = self._hashes.get(height)
        if ours is None:
            if height <= self.certified + self._window:
                self._waiting[height] = certificate
            return None
        if certificate.block_hash != ours:
            raise Divergence(height, ours, certificate.block_hash)
        self._done.add(height)
        return certificate

    def stored(self, height: int) -> None:
        """The certificate of this height is durable."""
        self._votes.pop(height, None)
        self._waiting.pop(height, None)
        self._done.add(height)
        self._stored.add(height)
        while self.certified + 1 in self._stored:
            self.certified += 1
            self._done.discard(self.certified)
            self._stored.discard(self.certified)
            self._hashes.pop(self.certified, None)

    def missing(self) -> dict[int, list[str]]:
        """For executed heights without certificate: names of members whose vote for our block is not held."""
        return {
            height: [
                epoch.name_of(node)
                for node in epoch.ids
                if (vote := self._votes.get(height, {}).get(node)) is None or vote.digest != self._hashes[height]
            ]
            for height in sorted(self._hashes)
            if height not in self._done and (epoch := self._epochs.at(height)) is not None
        }

    def uncertified(self) -> list[tuple[int, bytes]]:
        """Executed heights without certificate, ascending, with their block hashes."""
        return [(height, self._hashes[height]) for height in sorted(self._hashes) if height not in self._done]

    def sizes(self) -> dict[str, int]:
        """Sizes of the buffers."""
        return {
            "block_votes": sum(len(votes) for votes in self._votes.values()),
            "block_certificates_waiting": len(self._waiting),
            "blocks_uncertified": len(self._hashes),
        }

    def _count(self, height: int) -> BlockCertificate | None:
        ours = self._hashes.get(height)
        votes = self._votes.get(height)
        epoch = self._epochs.at(height)
        if ours is None or votes is None or height in self._done or epoch is None:
            return None
        quorum = Quorum(len(epoch.members)).quorum
        if len(votes) < quorum:
            return None
        for_ours = sorted((vote for vote in votes.values() if vote.digest == ours), key=lambda vote: vote.sender)
        if len(for_ours) < quorum:
            others = sorted(vote.digest for vote in votes.values() if vote.digest != ours)
            for digest in others:
                if others.count(digest) >= quorum:
                    raise Divergence(height, ours, digest)
            return None
        self._done.add(height)
        return BlockCertificate(
            epoch=epoch.number,
            height=height,
            block_hash=ours,
            signatures=tuple(BlockSignature(vote.sender, vote.signature) for vote in for_ours[:quorum]),
        )
