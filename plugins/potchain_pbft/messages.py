"""PBFT's messages, records and certificates: their bytes, and the pure checks that other threads may run.

Three kinds of message make the normal case (OSDI'99 section 4.2). A pre-prepare's body is the canonical proposal, to
which the signed digest commits; prepare and commit have no body. Everything here is a pure function of its arguments.
Rule of this file: a certificate holds signatures only. The proposal is found by its digest and travels by itself, so a
view change over a full window stays far below the message bound.
"""

from __future__ import annotations

from collections.abc import Iterable

from potchain import (
    Bytes32,
    Canonical,
    CodecError,
    ConsensusMessage,
    Epoch,
    InvalidProof,
    NodeId,
    OrderCertificate,
    Proposal,
    Quorum,
    Signature64,
    Uint64,
    decode,
    encode,
    proposal_digest,
    proposal_fault,
    verify_vote,
    vote_bytes,
)

ENGINE = "pbft"
WIRE_VERSION = 1
"""Version of the bodies and certificates of this file."""

PRE_PREPARE = "pre-prepare"
PREPARE = "prepare"
COMMIT = "commit"
KINDS = frozenset((PRE_PREPARE, PREPARE, COMMIT))
"""Kinds of message of a sequence."""

ACCEPTED = "accepted"
"""Kind of the record that is durable before a pre-prepare or prepare leaves: data is an `AcceptedProposal`."""
PREPARED = "prepared"
"""Kind of the record that is durable before a commit leaves: data is a `PreparedCertificate`."""

PROPOSAL_HEAD_BYTES_MAX = 256
"""Bound on a proposal's canonical bytes without its transaction ids."""
PROPOSAL_ID_BYTES = 34
"""One transaction id in canonical bytes."""
PROPOSAL_IDS_MAX = 10_000
"""The most ids that any network's parameters allow in one proposal."""
CERTIFICATE_HEAD_BYTES_MAX = 32
CERTIFICATE_MEMBER_BYTES_MAX = 96
"""Bounds on a commit certificate's canonical bytes: without signatures, and for each signature."""


class VoteSignature(Canonical, frozen=True):
    """Who signed a vote, and the signature over its `vote_bytes`."""

    sender: bytes
    signature: Signature64


class CommitCertificate(Canonical, frozen=True):
    """Proof that a digest is committed at a sequence: signed commits of one view (OSDI'99 section 4.2).

    The bytes inside an `OrderCertificate` of this engine. Sequence and digest are known to whoever checks it.
    """

    view: Uint64
    signatures: tuple[VoteSignature, ...]
    """Distinct members, sorted by sender; this engine puts in exactly a quorum."""


class PreparedCertificate(Canonical, frozen=True):
    """Proof that a digest is prepared: what a view change must carry (OSDI'99 section 4.4, an element of P)."""

    view: Uint64
    sequence: Uint64
    digest: Bytes32
    pre_prepare: Signature64
    """The primary's signature on its pre-prepare."""
    prepares: tuple[VoteSignature, ...]
    """Exactly quorum - 1 prepares of distinct members other than the primary, sorted by sender."""


class AcceptedProposal(Canonical, frozen=True):
    """The first and only proposal of a slot that this node votes for."""

    digest: Bytes32
    proposal: Proposal
    pre_prepare: bytes
    """The primary's signature on its pre-prepare; empty at the primary itself, which keeps the signed message."""


def read_pre_prepare(
    message: ConsensusMessage, genesis_hash: bytes, epoch: Epoch, *, chosen: bool = False
) -> Proposal:
    """The proposal of a pre-prepare, when it is one that the primary of that view may make.

    `chosen`: a new view chose this digest, so it may be anybody's proposal, or a null request. Raises CodecError with
    the reason: too long, not canonical, another network, epoch, sequence or proposer, ids that do not give the root, or
    a digest that is not the proposal's.
    """
    bound = PROPOSAL_HEAD_BYTES_MAX + PROPOSAL_ID_BYTES * epoch.parameters.batch_max
    proposal = decode(Proposal, message.body, size_max=bound)
    header = proposal.header
    if header.genesis_hash != genesis_hash:
        raise CodecError("the proposal is for another network")
    if header.epoch != message.epoch or header.sequence != message.sequence:
        raise CodecError(f"the proposal is for epoch {header.epoch} sequence {header.sequence}")
    primary = epoch.primary(message.view)
    if header.proposer != primary and not chosen:
        raise CodecError(f"the proposer is {epoch.name_of(header.proposer)}, not the primary {epoch.name_of(primary)}")
    if proposal_digest(header) != message.digest:
        raise CodecError("the digest is not the proposal's")
    fault = proposal_fault(proposal)
    if fault is not None:
        raise CodecError(fault)
    return proposal


def order_certificate(view: int, signatures: tuple[VoteSignature, ...]) -> OrderCertificate:
    """The order certificate made of these signed commits of one view, sorted by sender."""
    return OrderCertificate(ENGINE, WIRE_VERSION, encode(CommitCertificate(view, signatures)))


def verify_certificate(
    certificate: OrderCertificate, genesis_hash: bytes, epoch: Epoch, sequence: int, digest: bytes
) -> None:
    """Check an order certificate against the members of its epoch. Raises InvalidProof with the reason.

    Costs one signature check for each signer; at most as many signers as members are looked at.
    """
    if certificate.engine != ENGINE or certificate.version != WIRE_VERSION:
        raise InvalidProof(
            f"order certificate of engine {certificate.engine!r} version {certificate.version}; "
            f"this is {ENGINE} version {WIRE_VERSION}"
        )
    bound = CERTIFICATE_HEAD_BYTES_MAX + CERTIFICATE_MEMBER_BYTES_MAX * len(epoch.members)
    try:
        commits = decode(CommitCertificate, certificate.data, size_max=bound)
    except CodecError as fault:
        raise InvalidProof(f"order certificate at sequence {sequence}: {fault}") from None
    quorum = Quorum(len(epoch.members)).quorum
    senders = [entry.sender for entry in commits.signatures]
    if len(senders) < quorum:
        raise InvalidProof(f"order certificate at sequence {sequence} has {len(senders)} commits, needs {quorum}")
    if senders != sorted(set(senders)):
        raise InvalidProof(f"order certificate at sequence {sequence}: signers are not distinct and sorted")
    for sender in senders:
        if sender not in epoch.keys:
            raise InvalidProof(f"0x{sender.hex()} is no member of epoch {epoch.number}")
    for entry in commits.signatures:
        signed = vote_bytes(genesis_hash, epoch.number, COMMIT, commits.view, sequence, digest, entry.sender)
        if not verify_vote(epoch.keys[NodeId(entry.sender)], signed, entry.signature):
            raise InvalidProof(
                f"bad commit signature by {epoch.name_of(entry.sender)} at view {commits.view} sequence {sequence}"
            )


def check_body(message: ConsensusMessage) -> None:
    """Whether the body is one of the kind; the normal case nests no signatures. Raises CodecError."""
    if message.kind == PRE_PREPARE:
        decode(Proposal, message.body, size_max=PROPOSAL_HEAD_BYTES_MAX + PROPOSAL_ID_BYTES * PROPOSAL_IDS_MAX)
    elif message.kind not in KINDS:
        raise CodecError(f"unknown kind {message.kind!r}")
    elif message.body:
        raise CodecError(f"a {message.kind} has no body, this one {len(message.body)} bytes")


def certificate_view(certificate: OrderCertificate) -> int:
    """The view of an order certificate of this engine that was verified."""
    return decode(CommitCertificate, certificate.data).view


def vote_signatures(votes: Iterable[ConsensusMessage]) -> tuple[VoteSignature, ...]:
    """The signatures of votes, in their order."""
    return tuple(VoteSignature(vote.sender, vote.signature) for vote in votes)
