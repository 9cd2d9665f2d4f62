"""Members, proposals and signatures of a PBFT test network.

Keys are derived from a member's index, and both signing and checking are remembered: the same few thousand votes come
back in every schedule of faults.
"""

from __future__ import annotations

from functools import cache
from hashlib import sha256

from potchain.blocks import (
    BLOCK_VOTE,
    BlockCertificate,
    BlockSignature,
    OrderCertificate,
    Proposal,
    build_proposal,
    proposal_digest,
    vote_bytes,
)
from potchain.consensus.interface import ConsensusMessage
from potchain.consensus.signer import Signer
from potchain.crypto import SigningKey, verify_vote
from potchain.errors import CodecError
from potchain.genesis import Epoch, Parameters, Validator
from potchain.primitives import Digest, NodeId
from potchain_pbft import PbftFactory

GENESIS_HASH = sha256(b"pbft test network").digest()
FACTORY = PbftFactory()
REMEMBERED_MAX = 200_000
"""Signatures, and verdicts on them, that are remembered; then all are forgotten."""

_signatures: dict[tuple[bytes, bytes], bytes] = {}
_verdicts: dict[tuple[bytes, bytes, bytes], bool] = {}
_certified: set[tuple[object, ...]] = set()


class RememberingKey(SigningKey):
    """A key that signs the same bytes once: its signatures are deterministic."""

    def sign_vote(self, message: bytes) -> bytes:
        known = _signatures.get((self.address, message))
        if known is None:
            if len(_signatures) >= REMEMBERED_MAX:
                _signatures.clear()
            known = _signatures[self.address, message] = super().sign_vote(message)
        return known


@cache
def test_key(index: int) -> SigningKey:
    """The consensus key of member `index`; any index gives a key, members or not."""
    return RememberingKey(sha256(b"pbft test key %d" % index).digest())


test_key.__test__ = False  # type: ignore[attr-defined]


def make_epoch(nodes: int, **parameters: int) -> Epoch:
    """Epoch 0 with members node0, node1, ..."""
    members = tuple(
        Validator(
            name=f"node{index}",
            node_key=bytes([index % 256]) * 32,
            consensus_key=test_key(index).public_key,
            operator=bytes(20),
        )
        for index in range(nodes)
    )
    return Epoch(number=0, first_sequence=1, members=members, parameters=Parameters(**parameters))


def make_proposal(epoch: Epoch, sequence: int, view: int = 0, salt: int = 0, count: int = 2) -> Proposal:
    """A proposal by the primary of a view; `salt` makes another one for the same place."""
    ids = [sha256(b"transaction %d %d %d" % (sequence, salt, index)).digest() for index in range(count)]
    return build_proposal(GENESIS_HASH, epoch.number, sequence, 1_000 + sequence, epoch.primary(view), ids)


def digest_of(proposal: Proposal) -> Digest:
    """What consensus votes on."""
    return proposal_digest(proposal.header)


def sign(
    sender: int, kind: str, view: int, sequence: int, digest: bytes, body: bytes = b"", epoch: int = 0
) -> ConsensusMessage:
    """A message signed by member `sender`, whatever it has signed before."""
    return Signer(test_key(sender), GENESIS_HASH).sign(epoch, kind, view, sequence, digest, body)


def is_signed(epoch: Epoch, signer: bytes, signed: bytes, signature: bytes) -> bool:
    """Whether a member has signed these bytes."""
    key = epoch.keys.get(NodeId(signer))
    if key is None:
        return False
    case = (signer, signed, signature)
    verdict = _verdicts.get(case)
    if verdict is None:
        if len(_verdicts) >= REMEMBERED_MAX:
            _verdicts.clear()
        verdict = _verdicts[case] = verify_vote(key, signed, signature)
    return verdict


def message_fault(epoch: Epoch, message: ConsensusMessage) -> str | None:
    """What a host checks of a message before its engine sees it: its own signature, then those in it."""
    place = message.kind, message.view, message.sequence, message.digest, message.sender
    if not is_signed(epoch, message.sender, vote_bytes(GENESIS_HASH, message.epoch, *place), message.signature):
        return "bad signature"
    try:
        parts = FACTORY.signed_parts(message, GENESIS_HASH, epoch)
    except CodecError as fault:
        return str(fault)
    return None if all(is_signed(epoch, *part) for part in parts) else "bad signature within"


def check_certificate(epoch: Epoch, sequence: int, digest: bytes, certificate: OrderCertificate) -> None:
    """What a host does before it trusts an order certificate."""
    case = (epoch.ids, epoch.number, sequence, digest, certificate)
    if case not in _certified:
        FACTORY.verify(certificate, GENESIS_HASH, epoch, sequence, digest)
        if len(_certified) >= REMEMBERED_MAX:
            _certified.clear()
        _certified.add(case)


def block_hash(height: int) -> Digest:
    """All correct nodes make the same block."""
    return Digest(sha256(b"block %d" % height).digest())


def block_certificate(height: int, *signers: int) -> BlockCertificate:
    """These members' signatures on a block."""
    signatures = [
        BlockSignature(message.sender, message.signature)
        for message in (sign(signer, BLOCK_VOTE, 0, height, block_hash(height)) for signer in signers)
    ]
    return BlockCertificate(0, height, block_hash(height), tuple(sorted(signatures, key=lambda entry: entry.sender)))
