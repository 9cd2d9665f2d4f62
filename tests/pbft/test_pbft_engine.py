"""Determinism, bounds, rubbish, observers, catch-up, status and dump."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pbft_cluster import Cluster
from pbft_members import FACTORY, block_certificate, digest_of, make_epoch, make_proposal, sign, test_key

from potchain.blocks import BlockCertificate
from potchain.codec import encode
from potchain.consensus.interface import (
    BuildProposal,
    CertificateReceived,
    ConsensusMessage,
    Discard,
    Effects,
    KeepInFlight,
    MessageName,
    MessageReceived,
    Note,
    ProposalBuilt,
    ProposalChecked,
    TimerFired,
    WorkWaiting,
)
from potchain.primitives import NodeId
from potchain_pbft import PbftOptions, consensus_engines
from potchain_pbft.checkpoints import CERTIFIED_AHEAD_MAX, Checkpoints
from potchain_pbft.log import CHECKS_MAX, VIEWS_AHEAD_MAX
from potchain_pbft.messages import PreparedCertificate, order_certificate, vote_signatures
from potchain_pbft.view_messages import NewView, ViewChange, body_digest


def reason(effects: Effects) -> str:
    """Why a message was discarded, and nothing else came of it."""
    (report,) = effects.report
    assert isinstance(report, Discard)
    assert effects == Effects(report=effects.report)
    return report.reason


def busy_cluster() -> Cluster:
    """A little of everything: pipelining, a lost node, a restart, checkpoints, equivocation, rubbish."""
    cluster = Cluster(4, observers=1, checkpoint_interval=4, log_window=8, in_flight_max=3)
    cluster.start()
    cluster.work(6)
    cluster.run(lambda packet: packet.to != 3)
    cluster.certify(4, 0, 1, 2, 4)
    cluster.hosts[2].crash()
    cluster.start()
    cluster.inject(3, "prepare", make_proposal(cluster.epoch, 7, salt=1), 1)
    cluster.inject(3, "prepare", make_proposal(cluster.epoch, 7, salt=2), 1)
    cluster.run()
    for sequence in range(cluster.hosts[3].disk.executed + 1, 7):
        cluster.hosts[3].certificate_from(cluster.hosts[1], sequence)
    cluster.work(3)
    cluster.run()
    cluster.work(2)
    cluster.run(lambda packet: packet.message.kind == "pre-prepare")
    cluster.hosts[0].crash()
    cluster.advance(2_000_000_000, cluster.run)
    cluster.hosts[3].crash()
    cluster.start()
    cluster.advance(4_000_000_000, cluster.run)
    cluster.answer_all()
    cluster.work(2)
    cluster.run()
    assert all(host.engine.status().view > 0 for host in cluster.hosts if host.engine is not None)
    return cluster


def fingerprint() -> str:
    """Of all effects, dumps and statuses of a busy cluster."""
    cluster = busy_cluster()
    sha = hashlib.sha256()
    for host in cluster.hosts:
        assert host.engine is not None
        for effects in host.effects:
            sha.update(msgspec.msgpack.encode(effects))
        sha.update(host.engine.dump())
        sha.update(msgspec.json.encode(host.engine.status()))
    return sha.hexdigest()


def test_the_same_boot_and_events_give_the_same_bytes() -> None:
    for host in busy_cluster().hosts:
        assert host.booted is not None
        assert host.engine is not None
        again = FACTORY.create(host.booted, host.cluster.options)
        for event, now_ns, effects in zip(host.events, host.times_ns, host.effects, strict=True):
            replayed = again.step(event, now_ns)
            assert msgspec.msgpack.encode(replayed) == msgspec.msgpack.encode(effects)
        assert again.dump() == host.engine.dump()


@pytest.mark.parametrize("seed", ["1", "20231"])
def test_the_hash_seed_of_the_process_does_not_matter(seed: str) -> None:
    folder = Path(__file__).parent
    program = "import sys; sys.path[:0] = sys.argv[1:]; import test_pbft_engine; print(test_pbft_engine.fingerprint())"
    printed = subprocess.run(
        [sys.executable, "-c", program, str(folder), str(folder.parent)],
        env={**os.environ, "PYTHONHASHSEED": seed},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert printed.strip() == fingerprint()


# --- rubbish and bounds ---------------------------------------------------------------------------------------------

EPOCH = make_epoch(4, checkpoint_interval=2, log_window=4)
PROPOSALS = [make_proposal(EPOCH, sequence, salt=salt) for sequence in (1, 2) for salt in (0, 1)]
MESSAGES = st.builds(
    ConsensusMessage,
    epoch=st.sampled_from([0, 0, 0, 1, 2**64 - 1]),
    kind=st.sampled_from(["pre-prepare", "prepare", "commit", "view-change", "new-view"]) | st.text(max_size=40),
    view=st.integers(0, 4) | st.integers(0, 2**64 - 1),
    sequence=st.integers(0, 6) | st.integers(0, 2**64 - 1),
    digest=st.sampled_from([digest_of(proposal) for proposal in PROPOSALS]) | st.binary(min_size=32, max_size=32),
    sender=st.sampled_from([test_key(index).address for index in range(5)]) | st.binary(max_size=30),
    body=st.sampled_from([b"", *(encode(proposal) for proposal in PROPOSALS)]) | st.binary(max_size=200),
    signature=st.binary(min_size=64, max_size=64),
)
VIEWS = st.integers(1, 4) | st.integers(1, 2**64 - 1)


def view_change(sender: int, view: int, stable: int, entries: dict[int, int]) -> ConsensusMessage:
    """A view change that a faulty member can make: of good certificates, with anything left out."""
    prepared = []
    for sequence, salt in sorted(entries.items()):
        if stable < sequence <= stable + 4:
            digest = digest_of(make_proposal(EPOCH, sequence, salt=salt))
            votes = sorted([sign(b, "prepare", 0, sequence, digest) for b in (1, 2)], key=lambda vote: vote.sender)
            signature = sign(0, "pre-prepare", 0, sequence, digest).signature
            prepared.append(PreparedCertificate(0, sequence, digest, signature, vote_signatures(votes)))
    certificate = encode(block_certificate(stable, 0, 1, 2)) if stable else b""
    body = encode(ViewChange(stable, certificate, tuple(prepared)))
    return sign(sender, "view-change", view, 0, body_digest(body), body)


def new_view(view: int, names: dict[int, bytes]) -> ConsensusMessage:
    """A new view by the primary of the view."""
    named = sorted([MessageName(test_key(sender).address, names[sender]) for sender in names], key=lambda n: n.sender)
    body = encode(NewView(tuple(named)))
    return sign(view % 4, "new-view", view, 0, body_digest(body), body)


VIEW_CHANGES = st.builds(
    view_change,
    st.integers(0, 3),
    VIEWS,
    st.sampled_from([0, 0, 2]),
    st.dictionaries(st.integers(1, 6), st.integers(0, 1), max_size=3),
)
EMPTY = view_change(0, 1, 0, {}).digest
NEW_VIEWS = st.builds(
    new_view,
    VIEWS,
    st.dictionaries(st.integers(0, 3), st.just(EMPTY) | st.binary(min_size=32, max_size=32), min_size=3, max_size=4),
)
EVENTS = st.lists(
    st.builds(MessageReceived, MESSAGES | VIEW_CHANGES | NEW_VIEWS)
    | st.builds(
        ProposalChecked, st.sampled_from(PROPOSALS), st.integers(0, 1), st.sampled_from([None, "clock", "bodies"])
    )
    | st.builds(ProposalBuilt, st.sampled_from(PROPOSALS), st.integers(0, 1))
    | st.builds(TimerFired, st.sampled_from(["fetch", "agreement", "work", "new-view", "ask-view", "other"]))
    | st.builds(WorkWaiting, st.integers(0, 5), st.none() | st.just(-10_000_000_000)),
    max_size=60,
)


@given(events=EVENTS, index=st.integers(0, 4))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_nothing_that_a_peer_sends_raises_or_grows_without_bound(events: list, index: int) -> None:  # type: ignore[type-arg]
    cluster = Cluster(4, observers=1, checkpoint_interval=2, log_window=4)
    host = cluster.hosts[index]
    host.start()
    assert host.engine is not None
    for event in events:
        host.engine.step(event, 0)
    slots = 4 * (VIEWS_AHEAD_MAX + 3)
    buffers = host.engine.status().buffers
    bounds = {"slots": slots, "pre_prepares": slots, "prepares": 3 * slots, "commits": 4 * slots, "proposals": slots}
    assert all(buffers[name] <= bounds.get(name, 4) for name in buffers)
    json.loads(host.engine.dump())
    for kind in ("view-change", "new-view", "gossip"):
        host.engine.find(kind, 1, MessageName(test_key(0).address, b""))


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (sign(2, "gossip", 0, 1, bytes(32)), "unknown kind 'gossip'"),
        (sign(7, "commit", 0, 1, bytes(32)), "not a member of the epoch"),
        (sign(7, "view-change", 1, 0, bytes(32)), "not a member of the epoch"),
    ],
)
def test_what_no_member_would_send_is_blamed_even_if_a_host_lets_it_through(
    message: ConsensusMessage, why: str
) -> None:
    cluster = Cluster()
    cluster.start()
    engine = cluster.hosts[1].engine
    assert engine is not None
    effects = engine.step(MessageReceived(message), 0)
    assert effects.report == (Discard(NodeId(message.sender), message.kind, why, blame=True),)


def test_there_are_enough_votes_when_a_quorum_of_first_votes_agrees() -> None:
    cluster = Cluster(7)
    cluster.start()
    engine = cluster.hosts[1].engine
    assert engine is not None
    real, junk = bytes([1]) * 32, bytes([2]) * 32

    def take(sender: int, kind: str, digest: bytes) -> None:
        engine.step(MessageReceived(sign(sender, kind, 0, 1, digest)), 0)

    for kind, needed in (("prepare", 4), ("commit", 5)):
        late = sign(6, kind, 0, 1, real)
        take(2, kind, junk)
        take(2, kind, real)  # a liar's second word counts for nothing
        for sender in (3, 4, 5, 1, 0)[: needed - 1]:
            take(sender, kind, real)
        assert not engine.has_enough(late), kind
        if kind == "prepare":
            take(0, kind, real)  # nor does a prepare of the primary
            assert not engine.has_enough(late)
            take(6, kind, real)
            assert not engine.has_enough(late), "its sender has voted: this may be evidence"
            assert engine.has_enough(sign(0, kind, 0, 1, real))
        else:
            take(0, kind, real)
            assert engine.has_enough(late)
        assert not engine.has_enough(sign(6, kind, 0, 1, junk))
        assert not engine.has_enough(sign(6, kind, 0, 2, real))
        assert not engine.has_enough(sign(6, kind, 1, 1, real))
    assert not engine.has_enough(sign(6, "view-change", 1, 0, real))


def test_a_flood_of_one_member_stays_in_its_own_slots() -> None:
    cluster = Cluster(4, checkpoint_interval=2, log_window=4)
    cluster.start()
    host = cluster.hosts[1]
    for view in range(6):
        for sequence in range(12):
            for salt in range(3):
                cluster.inject(3, "commit", make_proposal(cluster.epoch, sequence, salt=salt), 1, view)
    cluster.run()
    assert host.engine is not None
    assert host.engine.status().buffers["commits"] == 4 * (VIEWS_AHEAD_MAX + 1)


def test_certified_checkpoints_that_run_ahead_are_bounded() -> None:
    checkpoints = Checkpoints(2, 0, 0, None)
    for height in range(1, 4 * CERTIFIED_AHEAD_MAX):
        checkpoints.certified(BlockCertificate(0, height, bytes(32), ()))
    assert len(checkpoints) == CERTIFIED_AHEAD_MAX
    checkpoints.executed(4 * CERTIFIED_AHEAD_MAX)
    assert checkpoints.stable == 4 * CERTIFIED_AHEAD_MAX - 2
    assert checkpoints.certificate is not None
    assert checkpoints.certificate.height == checkpoints.stable
    assert len(checkpoints) == 0


def test_a_refused_proposal_is_checked_again_a_bounded_number_of_times() -> None:
    cluster = Cluster()
    cluster.hosts[1].answers_checks = False
    cluster.start()
    cluster.work(1)
    host = cluster.hosts[1]
    checks = 0
    for _ in range(2 * CHECKS_MAX):
        cluster.deliver(lambda packet: packet.to == 1, keep=True)
        while host.checks:
            checks += 1
            host.answer_check("no bodies")
    assert checks == CHECKS_MAX


VERIFIED = order_certificate(0, ())
"""A certificate of view 0; hosts verify before an engine sees one."""


# --- observers, catch-up, late answers ------------------------------------------------------------------------------


def test_an_observer_decides_and_never_sends() -> None:
    cluster = Cluster(4, observers=1)
    cluster.start()
    cluster.work(3)
    cluster.run()
    cluster.check_agreement(3)
    assert all(effects.send == () and effects.persist == () for effects in cluster.hosts[4].effects)


def test_catch_up_goes_beyond_the_window_in_order_only() -> None:
    cluster = Cluster(checkpoint_interval=2, log_window=4)
    cluster.start()
    host = cluster.hosts[3]

    def certificate(sequence: int) -> Effects:
        proposal = make_proposal(cluster.epoch, sequence)
        assert host.engine is not None
        return host.engine.step(CertificateReceived(sequence, digest_of(proposal), VERIFIED, proposal), 0)

    assert isinstance(certificate(5).report[0], Note)
    assert [len(certificate(sequence).decide) for sequence in (1, 2, 4, 3, 5, 6)] == [1] * 6
    assert certificate(6) == Effects()
    assert host.engine is not None
    assert host.engine.status().last_decided == 6


def test_a_pre_prepare_for_what_a_certificate_decided_is_of_no_use() -> None:
    cluster = Cluster()
    cluster.start()
    cluster.work(1)
    cluster.run(lambda packet: packet.to != 3)
    host = cluster.hosts[3]
    host.certificate_from(cluster.hosts[0], 1)
    cluster.run()
    assert [report.reason for report in host.reports if isinstance(report, Discard)] == ["already decided"]
    assert host.disk.own_messages == []


def test_a_stable_checkpoint_empties_the_buffers() -> None:
    cluster = Cluster(checkpoint_interval=2)
    cluster.start()
    cluster.work(2)
    cluster.run()
    cluster.certify(2)
    for host in cluster.hosts:
        assert host.engine is not None
        assert set(host.engine.status().buffers.values()) == {0}


def test_a_proposal_that_is_built_too_late_is_not_used() -> None:
    cluster = Cluster()
    cluster.start()
    engine = cluster.hosts[0].engine
    assert engine is not None
    proposal = make_proposal(cluster.epoch, 1)
    decided = engine.step(CertificateReceived(1, digest_of(proposal), VERIFIED, proposal), 0)
    assert decided.ask == (BuildProposal(2, 0),)
    effects = engine.step(ProposalBuilt(proposal, 0), 0)
    # What it holds is free to be proposed again, in the answer to the question that is asked anew.
    assert effects == Effects(ask=(KeepInFlight(()), BuildProposal(2, 0)), report=effects.report)
    assert engine.step(ProposalBuilt(make_proposal(cluster.epoch, 2), 1), 0).send == ()
    assert len(engine.step(ProposalBuilt(make_proposal(cluster.epoch, 2), 0), 0).send) == 1


def test_a_refusal_of_what_the_others_committed_asks_for_it() -> None:
    cluster = Cluster()
    host = cluster.hosts[1]
    host.answers_checks = False
    cluster.start()
    cluster.work(1)
    cluster.run()
    assert host.fetches == []
    assert "fetch" in host.timers
    host.answer_check("clock")
    (ask,) = host.fetches
    assert (ask.sequence, ask.digest) == (1, digest_of(make_proposal(cluster.epoch, 1)))
    assert sorted(ask.sources) == sorted({*cluster.epoch.ids} - {cluster.epoch.ids[1]}), "they committed to it"
    host.certificate_from(cluster.hosts[0], 1)
    cluster.check_agreement(1)
    fetches = len(host.fetches)
    for name in list(host.timers):
        host.fire(name)
    assert host.timers == {}, "nothing is in flight or lacking, so nothing is waited for"
    assert len(host.fetches) == fetches


def test_a_slow_check_of_what_the_others_committed_decides_without_a_vote() -> None:
    cluster = Cluster()
    host = cluster.hosts[1]
    host.answers_checks = False
    cluster.start()
    cluster.work(1)
    cluster.run()
    host.answer_check()
    cluster.check_agreement(1)
    assert host.disk.own_messages == []


def test_status_names_who_is_missing() -> None:
    cluster = Cluster()
    cluster.start()
    cluster.work(1)
    cluster.run(lambda packet: packet.to != 3 and packet.message.kind == "pre-prepare")
    cluster.run(lambda packet: packet.to == 0 and packet.message.sender == test_key(1).address)
    engine = cluster.hosts[0].engine
    assert engine is not None
    status = engine.status()
    (slot,) = status.in_flight
    assert status.primary == cluster.epoch.ids[0]
    assert slot.phase == "preparing"
    assert slot.held == {"pre-prepare": ["node0"], "prepare": ["node1"], "commit": []}
    assert slot.missing == {"prepare": ["node2", "node3"]}
    assert slot.digest == "0x" + digest_of(make_proposal(cluster.epoch, 1)).hex()


def test_a_body_on_a_vote_is_refused() -> None:
    cluster = Cluster()
    cluster.start()
    engine = cluster.hosts[1].engine
    assert engine is not None
    proposal = make_proposal(cluster.epoch, 1)
    effects = engine.step(MessageReceived(sign(2, "commit", 0, 1, digest_of(proposal), b"x")), 0)
    (report,) = effects.report
    assert isinstance(report, Discard)
    assert report.blame


def test_an_own_pre_prepare_that_was_never_made_is_refused() -> None:
    cluster = Cluster()
    cluster.start()
    engine = cluster.hosts[0].engine
    assert engine is not None
    proposal = make_proposal(cluster.epoch, 1)
    echo = MessageReceived(sign(0, "pre-prepare", 0, 1, digest_of(proposal), encode(proposal)))
    assert "made" in reason(engine.step(echo, 0))
    engine.step(ProposalBuilt(proposal, 0), 0)
    assert engine.step(echo, 0) == Effects()
    assert reason(engine.step(echo, 0)) == "duplicate"


def test_the_plug_in_offers_one_engine() -> None:
    (factory,) = consensus_engines()
    assert (factory.name, factory.wire_version) == ("pbft", 1)
    assert msgspec.convert({"fetch_retry_ms": 50}, factory.options_type) == PbftOptions(fetch_retry_ms=50)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"fetch_retry": 50}, factory.options_type)
