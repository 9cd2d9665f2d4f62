"""View-change and new-view: their bytes, the checks that need no state, and what a set of view changes decides.

Everything here is a pure function of its arguments (OSDI'99 section 4.4). A view change proves its sender's stable
checkpoint and, for each sequence above it, the prepared certificate of the highest view. A new view only names the view
changes it rests on: whoever has them computes what they decide, and nobody has to be believed.
Rule of this file: `choose` depends on the set alone, not on the order in which its messages came.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from potchain import (
    BlockCertificate,
    Canonical,
    CodecError,
    ConsensusMessage,
    Digest,
    Epoch,
    MessageName,
    NodeId,
    Quorum,
    Uint64,
    decode,
    digest_of,
    encode,
    null_request,
    proposal_digest,
    vote_bytes,
)
from potchain_pbft.messages import PRE_PREPARE, PREPARE, PreparedCertificate

VIEW_CHANGE = "view-change"
NEW_VIEW = "new-view"
VIEW_KINDS = frozenset((VIEW_CHANGE, NEW_VIEW))
"""Kinds of message of a view, not of a sequence: their sequence is 0."""

ENTERED = "entered-view"
"""Kind of the record that is durable before any vote in a view above 0: data is an `EnteredView`."""

BLOCK_VOTE = "block-vote"
"""Kind of the votes in a block certificate; the host's, alike for every engine."""

_DIGEST_TAG = b"potchain.pbft.view.1"
_HEAD_BYTES_MAX = 256
_NAME_BYTES_MAX = 64
_SIGNATURE_BYTES_MAX = 96
_PREPARED_BYTES_MAX = 160

SignedParts = tuple[tuple[NodeId, bytes, bytes], ...]


class ViewChange(Canonical, frozen=True):
    """What a replica brings into a new view: C and P of OSDI'99 section 4.4."""

    stable: Uint64
    """Height of its stable checkpoint."""
    certificate: bytes
    """Canonical `BlockCertificate` of that height; empty where the epoch begins, which every member holds proof of."""
    prepared: tuple[PreparedCertificate, ...]
    """By sequence, one for each above `stable` that is prepared here, of its highest view."""


class NewView(Canonical, frozen=True):
    """The view changes that a new view rests on: V of OSDI'99 section 4.4. O is computed, not carried."""

    view_changes: tuple[MessageName, ...]
    """Of distinct members, at least a quorum, sorted by sender."""


class EnteredView(Canonical, frozen=True):
    """Proof that a view has begun, as it is kept on disk and sent on to who lacks it."""

    new_view: ConsensusMessage
    view_changes: tuple[ConsensusMessage, ...]


class NewViewPlan(msgspec.Struct, frozen=True):
    """What the view changes of a new view decide."""

    base: int
    """The highest proven stable checkpoint."""
    top: int
    """The highest prepared sequence; `base` when none is."""
    chosen: dict[int, Digest]
    """For each sequence in (base, top] the digest that the new view must decide there."""
    holders: dict[int, tuple[NodeId, ...]]
    """For each that is not a null request: who signed its certificate, and so holds proposal and bodies."""


def body_digest(body: bytes) -> Digest:
    """The signed digest of a view change or new view."""
    return digest_of(_DIGEST_TAG, body)


def null_digest(genesis_hash: bytes, epoch: int, sequence: int) -> Digest:
    """The digest of the null request of a place."""
    return proposal_digest(null_request(genesis_hash, epoch, sequence).header)


def _decode_view_change(message: ConsensusMessage, epoch: Epoch) -> ViewChange:
    members = len(epoch.members)
    certificate = _PREPARED_BYTES_MAX + _SIGNATURE_BYTES_MAX * members
    return decode(
        ViewChange, message.body, size_max=_HEAD_BYTES_MAX + certificate * (epoch.parameters.log_window + 1)
    )


def read_view_change(message: ConsensusMessage, epoch: Epoch) -> ViewChange:
    """A view change that is well formed; the signatures in it are the host's to check.

    Raises CodecError with the reason.
    """
    body = _decode_view_change(message, epoch)
    if message.sequence != 0:
        raise CodecError(f"a view change has sequence 0, not {message.sequence}")
    if message.view < 1:
        raise CodecError("nothing changes to view 0")
    if body_digest(message.body) != message.digest:
        raise CodecError("the digest is not the body's")
    _check_stable(body, epoch)
    previous = body.stable
    for entry in body.prepared:
        if not previous < entry.sequence <= body.stable + epoch.parameters.log_window:
            raise CodecError(f"prepared sequence {entry.sequence} is out of order or of the window")
        previous = entry.sequence
        if entry.view >= message.view:
            raise CodecError(f"sequence {entry.sequence} prepared in view {entry.view}, which is not below")
        _check_prepared(entry, epoch)
    return body


def _check_stable(body: ViewChange, epoch: Epoch) -> None:
    start = epoch.first_sequence - 1
    if body.stable == start:
        if body.certificate:
            raise CodecError("the beginning of an epoch needs no certificate")
        return
    if body.stable < start or body.stable % epoch.parameters.checkpoint_interval:
        raise CodecError(f"height {body.stable} is no checkpoint of epoch {epoch.number}")
    certificate = decode(BlockCertificate, body.certificate)
    if certificate.height != body.stable or certificate.epoch != epoch.number:
        raise CodecError(f"the certificate is for height {certificate.height} of epoch {certificate.epoch}")
    senders = [entry.sender for entry in certificate.signatures]
    _check_senders(senders, Quorum(len(epoch.members)).quorum, epoch, exactly=False)


def _check_prepared(entry: PreparedCertificate, epoch: Epoch) -> None:
    senders = [vote.sender for vote in entry.prepares]
    # OSDI'99 section 4.2: 2f matching prepares from different backups beside the primary's pre-prepare.
    if epoch.primary(entry.view) in senders:
        raise CodecError(f"the primary of view {entry.view} is counted twice at sequence {entry.sequence}")
    _check_senders(senders, Quorum(len(epoch.members)).quorum - 1, epoch, exactly=True)


def _check_senders(senders: Sequence[bytes], needed: int, epoch: Epoch, *, exactly: bool) -> None:
    if len(senders) < needed or (exactly and len(senders) != needed) or len(senders) > len(epoch.members):
        raise CodecError(f"{len(senders)} signatures where {needed} are needed")
    if list(senders) != sorted(set(senders)):
        raise CodecError("signers are not distinct and sorted")
    for sender in senders:
        if sender not in epoch.keys:
            raise CodecError(f"0x{sender.hex()} is no member of epoch {epoch.number}")


def read_new_view(message: ConsensusMessage, epoch: Epoch) -> NewView:
    """A new view that is well formed; whether it may begin depends on the view changes that it names.

    Raises CodecError with the reason.
    """
    body = decode(NewView, message.body, size_max=_HEAD_BYTES_MAX + _NAME_BYTES_MAX * len(epoch.members))
    if message.sequence != 0:
        raise CodecError(f"a new view has sequence 0, not {message.sequence}")
    if message.view < 1:
        raise CodecError("view 0 begins without a new view")
    if body_digest(message.body) != message.digest:
        raise CodecError("the digest is not the body's")
    if message.sender != epoch.primary(message.view):
        raise CodecError(f"{epoch.name_of(message.sender)} is not the primary of view {message.view}")
    if any(len(name.digest) != 32 for name in body.view_changes):
        raise CodecError("a view change is named without its digest")
    _check_senders(
        [name.sender for name in body.view_changes], Quorum(len(epoch.members)).quorum, epoch, exactly=False
    )
    return body


def choose(view_changes: Sequence[ViewChange], genesis_hash: bytes, epoch: Epoch) -> NewViewPlan:
    """What a new view that rests on these view changes must decide (OSDI'99 section 4.4, the set O)."""
    base = max(body.stable for body in view_changes)
    best: dict[int, PreparedCertificate] = {}
    for body in view_changes:
        for entry in body.prepared:
            held = best.get(entry.sequence)
            if entry.sequence > base and (held is None or _rank(held) < _rank(entry)):
                best[entry.sequence] = entry
    top = max(best, default=base)
    chosen: dict[int, Digest] = {}
    holders: dict[int, tuple[NodeId, ...]] = {}
    for sequence in range(base + 1, top + 1):
        prepared = best.get(sequence)
        if prepared is None:
            chosen[sequence] = null_digest(genesis_hash, epoch.number, sequence)
        else:
            chosen[sequence] = Digest(prepared.digest)
            signers = [NodeId(vote.sender) for vote in prepared.prepares]
            holders[sequence] = (epoch.primary(prepared.view), *signers)
    return NewViewPlan(base, top, chosen, holders)


def _rank(entry: PreparedCertificate) -> tuple[int, bytes, list[bytes]]:
    # The view decides. Certificates of one view differ in their signers alone, unless more than f replicas are faulty.
    return entry.view, entry.digest, [vote.sender for vote in entry.prepares]


def view_change_parts(message: ConsensusMessage, genesis_hash: bytes, epoch: Epoch) -> SignedParts:
    """Every signature inside a view change, for the host to check. Raises CodecError when the body is malformed."""
    body = read_view_change(message, epoch)
    parts: list[tuple[NodeId, bytes, bytes]] = []

    def part(kind: str, view: int, sequence: int, digest: bytes, sender: bytes, signature: bytes) -> None:
        signed = vote_bytes(genesis_hash, epoch.number, kind, view, sequence, digest, sender)
        parts.append((NodeId(sender), signed, signature))

    if body.certificate:
        certificate = decode(BlockCertificate, body.certificate)
        for entry in certificate.signatures:
            part(BLOCK_VOTE, 0, certificate.height, certificate.block_hash, entry.sender, entry.signature)
    for prepared in body.prepared:
        place = prepared.view, prepared.sequence, prepared.digest
        part(PRE_PREPARE, *place, epoch.primary(prepared.view), prepared.pre_prepare)
        for vote in prepared.prepares:
            part(PREPARE, *place, vote.sender, vote.signature)
    return tuple(parts)


def make_view_change(
    stable: int, certificate: BlockCertificate | None, prepared: Sequence[PreparedCertificate]
) -> bytes:
    """The body of a view change; `prepared` by sequence."""
    return encode(ViewChange(stable, b"" if certificate is None else encode(certificate), tuple(prepared)))


def make_new_view(view_changes: Sequence[ConsensusMessage]) -> bytes:
    """The body of a new view that rests on these."""
    named = sorted(view_changes, key=lambda message: message.sender)
    return encode(NewView(tuple(MessageName(message.sender, message.digest) for message in named)))
