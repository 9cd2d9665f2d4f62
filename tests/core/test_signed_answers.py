"""What a peer says this node has signed is believed for this node's own signatures, and heights for certificates."""

from __future__ import annotations

import msgspec
import pytest
from replica_cluster import FACTORY, Cluster

from potchain.blocks import BlockSignature
from potchain.consensus.interface import ConsensusMessage
from potchain.driver.incoming import Incoming
from potchain.driver.verifier import SignatureChecks
from potchain.replica import Replica
from potchain.replica.wire import SIGNED_MESSAGES_MAX, SignedAnswer


@pytest.fixture(scope="module")
def cluster() -> Cluster:
    made = Cluster()
    made.settle()
    made.submit(0, made.transfer("alice", 0))
    made.settle()
    return made


@pytest.fixture
def replica(cluster: Cluster) -> Replica:
    return cluster.nodes[2].replica


@pytest.fixture
def incoming(cluster: Cluster) -> Incoming:
    async def check(job: object) -> list[str | None]:
        raise AssertionError("no transaction is in these answers")

    return Incoming(cluster.types, FACTORY, SignatureChecks(cluster.types, check))  # type: ignore[arg-type]


def answer_of(cluster: Cluster, *messages: ConsensusMessage) -> SignedAnswer:
    return SignedAnswer(b"boot", 0, messages, 1, 0, cluster.nodes[0].disk.certificates[1], False)


def held(cluster: Cluster, asker: int) -> tuple[ConsensusMessage, ...]:
    return cluster.nodes[0].replica.returning.heard.of(cluster.epoch.ids[asker])


def test_a_peers_true_answer_passes(cluster: Cluster, replica: Replica, incoming: Incoming) -> None:
    own = held(cluster, 2)
    assert {message.kind for message in own} == {"prepare", "commit", "block-vote"}
    answer = answer_of(cluster, *own)
    assert incoming.signed_answer(answer, replica) == (answer, None)


def test_what_this_node_did_not_sign_is_the_peers_fault(cluster: Cluster, replica: Replica, incoming: Incoming) -> None:
    own = held(cluster, 2)[0]
    change = msgspec.structs.replace
    forged = {
        "not this node's": (held(cluster, 3)[0],),
        "bad signature": (change(own, digest=bytes(32)),),
        "has a body": (change(own, body=b"body"),),
        f"at most {SIGNED_MESSAGES_MAX}": (own,) * (SIGNED_MESSAGES_MAX + 1),
    }
    for words, messages in forged.items():
        passed, fault = incoming.signed_answer(answer_of(cluster, *messages), replica)
        assert passed is None
        assert fault is not None
        assert words in fault


def test_a_height_needs_a_certificate_that_is_good(cluster: Cluster, replica: Replica, incoming: Incoming) -> None:
    good = answer_of(cluster)
    assert good.certificate is not None
    change = msgspec.structs.replace
    higher = change(good, certificate=change(good.certificate, height=10**6))
    short = change(good, certificate=change(good.certificate, signatures=good.certificate.signatures[:2]))
    twice = change(
        good, certificate=change(good.certificate, signatures=(BlockSignature(bytes(20), bytes(64)),) * 3)
    )
    for forged in (higher, short, twice):
        passed, fault = incoming.signed_answer(forged, replica)
        assert passed is None
        assert fault is not None
    later = change(good, certificate=change(good.certificate, epoch=7))
    assert incoming.signed_answer(later, replica) == (later, None)  # the replica does not believe it yet


def test_only_an_answer_that_was_asked_for_is_worth_checking(cluster: Cluster, replica: Replica) -> None:
    assert not replica.returning.expects(cluster.epoch.ids[0], answer_of(cluster))
