"""Evidence that a member signed two things of which no correct node signs both; the genesis file is enough to check it.

One rule covers every kind of message of every engine: two votes of one member for one slot (epoch, kind, view,
sequence) with two digests. A correct node's guard refuses the second one, durably. A block vote has view 0 and its
height as sequence, so two hashes for one height are the same rule.

Evidence holds what is signed and nothing else. The body of a message stands behind its digest and not under the
signature; without it a piece has a few hundred bytes, whatever the accused put into the messages. The lower digest
comes first, so that one pair has one spelling. Nobody can be accused by anybody but himself: both signatures are his.
"""

from __future__ import annotations

from collections.abc import Mapping

from potchain.blocks import EpochLink, vote_bytes
from potchain.codec import Canonical, encode
from potchain.crypto import digest_of, verify_vote
from potchain.errors import InvalidProof
from potchain.genesis import Epoch, Genesis
from potchain.primitives import Bytes32, Digest, NodeId, Signature64, Uint64
from potchain.proofs import QuorumOf, follow_epochs

EVIDENCE_TAG = b"potchain.evidence.1"
SLOT_TAG = b"potchain.evidence-slot.1"
KIND_LENGTH_MAX = 64
"""Characters in the kind of an accusing message; printable ASCII, since it is shown to people."""


class SignedDigest(Canonical, frozen=True):
    """One of the two votes: what differs between them."""

    digest: Bytes32
    signature: Signature64


class Evidence(Canonical, frozen=True):
    """Two votes of one member for one slot. Nothing in it is believed before `check_evidence`."""

    accused: bytes
    """NodeId of the member."""
    epoch: Uint64
    kind: str
    """Message type, such as "prepare" or "block-vote"."""
    view: Uint64
    sequence: Uint64
    first: SignedDigest
    """The one with the lower digest."""
    second: SignedDigest


class EvidenceProof(Canonical, frozen=True):
    """Evidence, and what ties the accused to the genesis file: what `GET /v1/evidence/{id}` gives."""

    evidence: Evidence
    epochs: tuple[EpochLink, ...]
    """As in TransactionProof: one for each epoch after 0 up to the evidence's."""


def evidence_id(evidence: Evidence) -> Digest:
    """Names a piece by its content."""
    return digest_of(EVIDENCE_TAG, encode(evidence))


def slot_digest(evidence: Evidence) -> Digest:
    """The same for all pieces that accuse one member of one slot: one of them is enough."""
    numbers = (evidence.epoch, evidence.view, evidence.sequence, len(evidence.accused))
    place = b"".join(number.to_bytes(8, "big") for number in numbers)
    return digest_of(SLOT_TAG, place + evidence.accused + evidence.kind.encode())


def pair(
    accused: bytes, epoch: int, kind: str, view: int, sequence: int, one: SignedDigest, other: SignedDigest
) -> Evidence:
    """The only spelling of these two votes."""
    first, second = sorted((one, other), key=lambda vote: vote.digest)
    return Evidence(accused, epoch, kind, view, sequence, first, second)


def signed_messages(evidence: Evidence, genesis_hash: bytes) -> tuple[bytes, bytes]:
    """The two byte strings over whose sha256 the accused signed."""
    place = (evidence.epoch, evidence.kind, evidence.view, evidence.sequence)
    first, second = (
        vote_bytes(genesis_hash, *place, vote.digest, evidence.accused) for vote in (evidence.first, evidence.second)
    )
    return first, second


def check_evidence(evidence: Evidence, genesis: Genesis, epochs: Mapping[int, Epoch]) -> None:
    """Check that a member of that epoch made both signatures, and that no correct node makes both.

    `epochs` are the ones that the caller trusts, by number. Two signature checks, and those only when everything else
    holds. Raises InvalidProof.
    """
    if not (0 < len(evidence.kind) <= KIND_LENGTH_MAX and evidence.kind.isascii() and evidence.kind.isprintable()):
        raise InvalidProof(f"the kind of the messages is not 1 to {KIND_LENGTH_MAX} printable ASCII characters")
    if evidence.first.digest >= evidence.second.digest:
        same = evidence.first.digest == evidence.second.digest
        raise InvalidProof("both votes are for one digest" if same else "the lower digest does not come first")
    epoch = epochs.get(evidence.epoch)
    if epoch is None:
        raise InvalidProof(f"epoch {evidence.epoch} is not known here")
    key = epoch.keys.get(NodeId(evidence.accused))
    if key is None:
        raise InvalidProof(f"0x{evidence.accused.hex()} is no member of epoch {evidence.epoch}")
    votes = (evidence.first, evidence.second)
    for vote, signed in zip(votes, signed_messages(evidence, genesis.hash), strict=True):
        if not verify_vote(key, signed, vote.signature):
            raise InvalidProof(
                f"the signature on {evidence.kind} 0x{vote.digest.hex()} is not by {epoch.name_of(evidence.accused)}"
            )


def verify_evidence_proof(proof: EvidenceProof, genesis: Genesis, quorum_of: QuorumOf) -> Epoch:
    """Check evidence with nothing but the genesis file; the epoch of the accused. Raises InvalidProof."""
    *_, epoch = follow_epochs(proof.epochs, genesis, quorum_of)
    if epoch.number != proof.evidence.epoch:
        raise InvalidProof(f"the evidence is of epoch {proof.evidence.epoch}, the links lead to epoch {epoch.number}")
    check_evidence(proof.evidence, genesis, {epoch.number: epoch})
    return epoch
