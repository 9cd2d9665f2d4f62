"""The shape of the answers about evidence. The rules of `payloads` hold here too."""

from __future__ import annotations

from potchain.api.node_payloads import MemberPayload
from potchain.api.payloads import Hash, Hex, Payload


class SignedMessagePayload(Payload, frozen=True):
    """One of the two votes."""

    digest: Hash
    signed: Hex
    """The bytes that were signed: the canonical form of {tag, genesis hash, epoch, kind, view, sequence, digest,
    sender}. The signature is secp256k1 ECDSA, r and s, over their sha256."""
    signature: Hex


class EvidencePayload(Payload, frozen=True):
    """Two votes of one member for one slot."""

    id: Hash
    accused: MemberPayload
    epoch: int
    kind: str
    """Message type, such as "prepare" or "block-vote"."""
    view: int
    sequence: int
    seen_ms: int
    """When this node got it, by its clock."""
    first: SignedMessagePayload
    second: SignedMessagePayload


class EvidenceListPayload(Payload, frozen=True):
    """A page of evidence, in the order in which it came to this node."""

    evidence: list[EvidencePayload]
    next: str | None
    """`cursor` of the next page."""
