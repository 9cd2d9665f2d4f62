"""Which pieces of evidence this node keeps and passes on: checked, each slot once, a bounded number for each member.

Evidence comes from what this node sees (the engine, the certifier) and from peers. Either way it is checked here before
anything is done with it. What is news is stored and told to every peer once; whoever had it already says nothing, so
a piece crosses each link at most twice. Of one member at most `PIECES_PER_MEMBER_MAX` are kept, the oldest: one is
enough to convict, and no number of double signatures fills a disk. Pieces of the current epoch and of the one before
it are taken; of others they are dropped without blame.
"""

from __future__ import annotations

from collections.abc import Iterable

from potchain.consensus.interface import ConsensusMessage, Misbehaviour
from potchain.errors import InvalidProof
from potchain.evidence import Evidence, SignedDigest, check_evidence, pair, slot_digest
from potchain.genesis import Epoch, Genesis
from potchain.primitives import Digest, NodeId
from potchain.replica import actions, wire
from potchain.replica.epochs import KnownEpochs
from potchain.replica.outbox import Outbox

PIECES_PER_MEMBER_MAX = 16
"""Pieces of evidence that are kept against one member."""


class Accusations:
    """The evidence that is kept, by accused and slot."""

    def __init__(self, genesis: Genesis, epochs: KnownEpochs, me: NodeId, outbox: Outbox) -> None:
        self._genesis = genesis
        self._epochs = epochs
        self._me = me
        self._outbox = outbox
        self._slots: dict[NodeId, set[Digest]] = {}

    def restore(self, kept: Iterable[Evidence]) -> None:
        """What is stored already; it was checked before it was stored."""
        for evidence in kept:
            self._slots.setdefault(NodeId(evidence.accused), set()).add(slot_digest(evidence))

    def witnessed(self, misbehaviour: Misbehaviour) -> None:
        """This node holds two messages that contradict each other, both with good signatures."""
        self._outbox.now(actions.Evidence(misbehaviour))
        evidence = evidence_of(misbehaviour.first, misbehaviour.second)
        if evidence is None or not self._is_news(evidence):
            return
        try:
            self._keep(evidence)
        except InvalidProof as fault:
            self._outbox.now(actions.Notice("warning", f"contradicting messages that prove nothing to others: {fault}"))

    def offered(self, sender: NodeId, evidence: Evidence) -> None:
        """A peer brought a piece. False evidence is the peer's own fault."""
        if evidence.epoch not in self._near() or not self._is_news(evidence):
            return
        try:
            self._keep(evidence)
        except InvalidProof as fault:
            self._outbox.now(actions.Blame(sender, f"false evidence: {fault}"))

    @property
    def counts(self) -> dict[NodeId, int]:
        """How many pieces are kept, by accused."""
        return {accused: len(slots) for accused, slots in self._slots.items()}

    def sizes(self) -> dict[str, int]:
        """Sizes of the buffers."""
        return {"evidence": sum(map(len, self._slots.values()))}

    def _near(self) -> dict[int, Epoch]:
        """Epochs whose members can be accused: the current and the one before."""
        found = (self._epochs.previous, self._epochs.current)
        return {epoch.number: epoch for epoch in found if epoch is not None}

    def _is_news(self, evidence: Evidence) -> bool:
        kept = self._slots.get(NodeId(evidence.accused), ())
        return len(kept) < PIECES_PER_MEMBER_MAX and slot_digest(evidence) not in kept

    def _keep(self, evidence: Evidence) -> None:
        check_evidence(evidence, self._genesis, self._near())
        self._slots.setdefault(NodeId(evidence.accused), set()).add(slot_digest(evidence))
        if evidence.accused == self._me:
            self._outbox.now(
                actions.Notice("error", "two contradicting votes bear this node's signature: its key is used elsewhere")
            )
        self._outbox.now(actions.StoreEvidence(evidence))
        self._outbox.then(actions.Transmit(None, wire.EvidenceFound(evidence)))


def evidence_of(first: ConsensusMessage, second: ConsensusMessage) -> Evidence | None:
    """What anybody can check of two messages; None when only an engine understands why they contradict each other."""
    slot = (first.sender, first.epoch, first.kind, first.view, first.sequence)
    if slot != (second.sender, second.epoch, second.kind, second.view, second.sequence):
        return None
    if first.digest == second.digest:
        return None
    return pair(*slot, SignedDigest(first.digest, first.signature), SignedDigest(second.digest, second.signature))
