"""Block votes become certificates at a quorum, not before; a quorum for another hash stops the node."""

from hashlib import sha256

import msgspec
import pytest
from core_network import key, make_genesis

from potchain.blocks import BLOCK_VOTE, BlockCertificate, verify_block_certificate, vote_bytes
from potchain.consensus.interface import ConsensusMessage, Misbehaviour
from potchain.consensus.quorum import Quorum
from potchain.primitives import Digest
from potchain.replica.certifying import Certifier, Divergence
from potchain.replica.epochs import KnownEpochs

WINDOW = 8
GENESIS = make_genesis(validators=4, checkpoint_interval=WINDOW // 2, log_window=WINDOW)
EPOCH = GENESIS.first_epoch
EPOCHS = KnownEpochs([EPOCH])


def hash_of(height: int, salt: str = "") -> Digest:
    return Digest(sha256(f"{height}{salt}".encode()).digest())


def vote(member: int, height: int, salt: str = "") -> ConsensusMessage:
    validator = EPOCH.members[member]
    digest = hash_of(height, salt)
    signed = vote_bytes(GENESIS.hash, 0, BLOCK_VOTE, 0, height, digest, validator.node_id)
    signature = key("consensus " + validator.name).sign_vote(signed)
    return ConsensusMessage(0, BLOCK_VOTE, 0, height, digest, validator.node_id, b"", signature)


def certificate_of(height: int, salt: str = "") -> BlockCertificate:
    certifier = Certifier(EPOCHS, height - 1)
    certifier.block_executed(height, hash_of(height, salt))
    found = [certifier.vote(vote(member, height, salt)) for member in range(3)][2]
    assert isinstance(found, BlockCertificate)
    return found


def certifier_at(certified: int = 0) -> Certifier:
    return Certifier(EPOCHS, certified)


def test_the_quorums_last_vote_makes_a_certificate_and_further_ones_nothing() -> None:
    certifier = certifier_at()
    assert certifier.block_executed(1, hash_of(1)) is None
    assert certifier.vote(vote(3, 1)) is None
    assert certifier.vote(vote(0, 1)) is None
    found = certifier.vote(vote(2, 1))
    assert isinstance(found, BlockCertificate)
    verify_block_certificate(found, GENESIS.hash, EPOCH.keys, Quorum(4).quorum)
    assert len(found.signatures) == Quorum(4).quorum
    assert certifier.vote(vote(1, 1)) is None


def test_votes_may_come_before_the_block() -> None:
    certifier = certifier_at()
    for member in range(3):
        assert certifier.vote(vote(member, 1)) is None
    assert isinstance(certifier.block_executed(1, hash_of(1)), BlockCertificate)


def test_a_repeated_vote_counts_once_and_a_second_one_is_refused() -> None:
    certifier = certifier_at()
    certifier.block_executed(1, hash_of(1))
    for _ in range(4):
        assert certifier.vote(vote(0, 1)) is None
    assert certifier.vote(vote(0, 1, "other")) == Misbehaviour(vote(0, 1), vote(0, 1, "other"))
    assert certifier.sizes()["block_votes"] == 1


def test_a_strangers_vote_is_refused() -> None:
    stranger = msgspec.structs.replace(vote(0, 1), sender=bytes(20))
    assert certifier_at().vote(stranger) == "block vote for height 1 by a stranger to its epoch"


def test_a_quorum_for_another_hash_is_a_divergence_and_fewer_are_not() -> None:
    certifier = certifier_at()
    certifier.block_executed(1, hash_of(1))
    assert certifier.vote(vote(0, 1, "other")) is None
    assert certifier.vote(vote(1, 1, "other")) is None
    assert certifier.vote(vote(2, 1)) is None
    with pytest.raises(Divergence) as caught:
        certifier.vote(vote(3, 1, "other"))
    assert caught.value.height == 1
    assert hash_of(1).hex() in str(caught.value)


def test_a_divergence_shows_when_the_block_comes_after_the_votes() -> None:
    certifier = certifier_at()
    for member in range(3):
        certifier.vote(vote(member, 1, "other"))
    with pytest.raises(Divergence):
        certifier.block_executed(1, hash_of(1))


def test_votes_outside_the_window_are_not_kept() -> None:
    certifier = certifier_at(10)
    assert certifier.vote(vote(0, 10)) is None
    assert certifier.sizes()["block_votes"] == 0
    assert certifier.vote(vote(0, 10 + WINDOW)) is None
    refusal = certifier.vote(vote(0, 11 + WINDOW))
    assert isinstance(refusal, str)
    assert "beyond 18" in refusal
    assert certifier.sizes()["block_votes"] == 1


def test_a_fetched_certificate_is_news_once_its_block_is_here() -> None:
    certifier = certifier_at()
    certificate = certificate_of(2)
    assert certifier.accept(certificate) is None
    assert certifier.block_executed(1, hash_of(1)) is None
    assert certifier.block_executed(2, hash_of(2)) == certificate
    assert certifier.accept(certificate) is None, "it is known"
    first = certificate_of(1)
    assert certifier.accept(first) == first


def test_a_fetched_certificate_of_another_hash_is_a_divergence() -> None:
    certifier = certifier_at()
    certifier.block_executed(1, hash_of(1))
    with pytest.raises(Divergence):
        certifier.accept(certificate_of(1, "other"))
    certifier = certifier_at()
    certifier.accept(certificate_of(1, "other"))
    with pytest.raises(Divergence):
        certifier.block_executed(1, hash_of(1))


def test_a_fetched_certificate_beyond_the_window_is_not_kept() -> None:
    certifier = certifier_at()
    assert certifier.accept(certificate_of(WINDOW + 1)) is None
    assert certifier.sizes()["block_certificates_waiting"] == 0


def test_certified_moves_without_gaps_and_forgets() -> None:
    certifier = certifier_at()
    for height in (1, 2, 3):
        certifier.block_executed(height, hash_of(height))
        certifier.vote(vote(0, height))
    assert list(certifier.missing()) == [1, 2, 3]
    assert certifier.missing()[1] == [member.name for member in EPOCH.members[1:]]
    for height, certified in ((2, 0), (3, 0), (1, 3)):
        certifier.accept(certificate_of(height))
        certifier.stored(height)
        assert certifier.certified == certified
    assert certifier.executed == 3
    assert certifier.missing() == {}
    assert set(certifier.sizes().values()) == {0}
