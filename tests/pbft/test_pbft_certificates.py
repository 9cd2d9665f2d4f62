"""Order certificates and nested signatures: what the factory accepts and refuses."""

from __future__ import annotations

import msgspec
import pytest
from pbft_cluster import Cluster
from pbft_members import FACTORY, GENESIS_HASH, digest_of, make_epoch, make_proposal, sign, test_key

from potchain.blocks import OrderCertificate
from potchain.codec import encode
from potchain.consensus.quorum import Quorum
from potchain.crypto import CURVE_ORDER
from potchain.errors import CodecError, InvalidProof
from potchain_pbft.messages import CommitCertificate, VoteSignature

EPOCH = make_epoch(4)
PROPOSAL = make_proposal(EPOCH, 7)
DIGEST = digest_of(PROPOSAL)


def commit(
    sender: int, view: int = 0, sequence: int = 7, digest: bytes = DIGEST, kind: str = "commit"
) -> VoteSignature:
    message = sign(sender, kind, view, sequence, digest)
    return VoteSignature(message.sender, message.signature)


def certificate(*commits: VoteSignature, view: int = 0, ordered: bool = True) -> OrderCertificate:
    listed = sorted(commits, key=lambda entry: entry.sender) if ordered else list(commits)
    return OrderCertificate("pbft", 1, encode(CommitCertificate(view, tuple(listed))))


def verify(subject: OrderCertificate, sequence: int = 7, digest: bytes = DIGEST) -> None:
    FACTORY.verify(subject, GENESIS_HASH, EPOCH, sequence, digest)


GOOD = certificate(commit(0), commit(1), commit(2))


def test_a_quorum_of_commits_is_accepted() -> None:
    verify(GOOD)
    verify(certificate(commit(0), commit(1), commit(2), commit(3)))
    verify(certificate(commit(3, 5), commit(1, 5), commit(2, 5), view=5))


def high_s(entry: VoteSignature) -> VoteSignature:
    s = int.from_bytes(entry.signature[32:], "big")
    return VoteSignature(entry.sender, entry.signature[:32] + (CURVE_ORDER - s).to_bytes(32, "big"))


REFUSED = {
    "too few": (certificate(commit(0), commit(1)), "has 2 commits, needs 3"),
    "empty": (certificate(), "has 0 commits"),
    "a signer twice": (certificate(commit(0), commit(1), commit(1)), "not distinct"),
    "not sorted": (
        certificate(*sorted((commit(0), commit(1), commit(2)), key=lambda entry: entry.sender)[::-1], ordered=False),
        "not distinct and sorted",
    ),
    "a stranger": (certificate(commit(0), commit(1), commit(9)), "no member"),
    "views mixed": (certificate(commit(0, 1), commit(1, 1), commit(2, 0), view=1), "bad commit signature"),
    "another view": (certificate(commit(0), commit(1), commit(2), view=1), "bad commit signature"),
    "a high s": (certificate(commit(0), commit(1), high_s(commit(2))), "bad commit signature"),
    "prepares": (certificate(commit(0), commit(1), commit(2, kind="prepare")), "bad commit signature"),
    "another sequence": (certificate(commit(0), commit(1), commit(2, sequence=8)), "bad commit signature"),
    "another digest": (certificate(commit(0), commit(1), commit(2, digest=bytes(32))), "bad commit signature"),
    "stolen signature": (
        certificate(commit(0), commit(1), VoteSignature(test_key(2).address, commit(3).signature)),
        "bad commit signature",
    ),
    "another engine": (msgspec.structs.replace(GOOD, engine="hotstuff"), "engine 'hotstuff'"),
    "another version": (msgspec.structs.replace(GOOD, version=2), "version 2"),
    "trailing bytes": (msgspec.structs.replace(GOOD, data=GOOD.data + b"\x00"), "CommitCertificate"),
    "no canonical form": (msgspec.structs.replace(GOOD, data=b"\x92\xcc\x00" + GOOD.data[2:]), "canonical"),
    "rubbish": (msgspec.structs.replace(GOOD, data=b"\xff" * 40), "CommitCertificate"),
    "endless": (certificate(*[commit(0)] * 50), "at most"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_everything_else_is_refused(case: str) -> None:
    subject, reason = REFUSED[case]
    with pytest.raises(InvalidProof, match=reason):
        verify(subject)


def test_it_is_bound_to_its_place_epoch_and_network() -> None:
    with pytest.raises(InvalidProof):
        verify(GOOD, sequence=8)
    with pytest.raises(InvalidProof):
        verify(GOOD, digest=bytes(32))
    with pytest.raises(InvalidProof):
        FACTORY.verify(GOOD, bytes(32), EPOCH, 7, DIGEST)
    with pytest.raises(InvalidProof):
        FACTORY.verify(GOOD, GENESIS_HASH, msgspec.structs.replace(EPOCH, number=1), 7, DIGEST)


@pytest.mark.parametrize("nodes", [1, 2, 3, 4, 5, 6, 7, 8])
def test_engines_make_certificates_of_exactly_a_quorum(nodes: int) -> None:
    cluster = Cluster(nodes)
    cluster.start()
    cluster.work(2)
    cluster.run()
    cluster.check_agreement(2)
    for host in cluster.hosts:
        data = host.disk.decisions[1].certificate.data
        assert len(msgspec.msgpack.decode(data)[1]) == Quorum(nodes).quorum


def test_the_normal_case_nests_no_signatures() -> None:
    good = sign(0, "pre-prepare", 0, 7, DIGEST, encode(PROPOSAL))
    assert FACTORY.signed_parts(good, GENESIS_HASH, EPOCH) == ()
    assert FACTORY.signed_parts(sign(1, "commit", 0, 7, DIGEST), GENESIS_HASH, EPOCH) == ()


@pytest.mark.parametrize(
    ("kind", "body"),
    [("pre-prepare", b""), ("pre-prepare", b"\x92"), ("prepare", b"\x00"), ("commit", b"x"), ("new-thing", b"")],
)
def test_bodies_of_another_kind_have_no_parts(kind: str, body: bytes) -> None:
    with pytest.raises(CodecError):
        FACTORY.signed_parts(sign(0, kind, 0, 7, DIGEST, body), GENESIS_HASH, EPOCH)
