"""Forging is total and a function of its dice; every behaviour does what it says, and nodes survive all of them."""

from __future__ import annotations

import random
from collections.abc import Iterable
from hashlib import sha256
from types import SimpleNamespace

import msgspec
import pytest
from sim_observations import FakeWorld

from potchain.blocks import build_proposal, proposal_digest, proposal_fault, vote_bytes
from potchain.codec import Canonical, encode
from potchain.consensus.interface import ConsensusMessage
from potchain.crypto import SigningKey, digest_of, parse_public_key, verify_vote
from potchain.errors import CodecError, ConfigError
from potchain.primitives import NodeId, Uint64
from potchain.replica import wire
from potchain.sim.byzantine import BEHAVIOURS, Liar
from potchain.sim.campaign import run_plan
from potchain.sim.cluster import validator_keys
from potchain.sim.forging import Forger, frame_of, proposal_of
from potchain.sim.plan import Byzantine, Outcome, Plan, Workload
from potchain.sim.report import violation_text
from potchain_pbft import PbftFactory

WORLD = FakeWorld()
ME = validator_keys(0)
PEERS = tuple(NodeId(validator_keys(number).node_id) for number in (1, 2, 3))


class Inner(Canonical, frozen=True):
    """An engine's own structure."""

    number: Uint64
    names: tuple[bytes, ...]
    proof: bytes


BODY = encode(Inner(7, (b"a", b"b", b"c"), encode(Inner(1, (), b""))))


def forger(seed: int = 1, key: SigningKey = ME.consensus) -> Forger:
    return Forger(
        key=key, me=ME.node_id, genesis_hash=WORLD.genesis.hash, engine="pbft", dice=random.Random(seed)
    )


def pre_prepare() -> ConsensusMessage:
    proposal = build_proposal(WORLD.genesis.hash, 0, 3, 1_000, ME.node_id, [b"t" * 32])
    return WORLD.message(0, "pre-prepare", 0, 3, proposal_digest(proposal.header), encode(proposal))


def frames() -> list[bytes]:
    block = WORLD.block(WORLD.transfer(0, 0)) if not hasattr(frames, "made") else None
    if block is not None:
        sync = wire.BlocksAnswer((msgspec.convert([block.proposal, block.bodies, block.order_certificate, None],
                                                  type=_sync_block_type()),))  # fmt: skip
        frames.made = [  # type: ignore[attr-defined]
            wire.encode_frame(frame)
            for frame in (
                pre_prepare(), WORLD.message(0, "prepare", 1, 3, b"d" * 32), wire.Gossip(block.bodies),
                wire.PeerProgress(3, 2, 0), wire.FetchBlocks(1, 5), sync,
            )
        ]  # fmt: skip
    made: list[bytes] = frames.made  # type: ignore[attr-defined]
    return made


def _sync_block_type() -> type:
    from potchain.blocks import SyncBlock

    return SyncBlock


def is_good(message: ConsensusMessage) -> bool:
    signed = vote_bytes(
        WORLD.genesis.hash, message.epoch, message.kind, message.view, message.sequence, message.digest, message.sender
    )
    return verify_vote(parse_public_key(ME.consensus.public_key), signed, message.signature)


# --- forging ----------------------------------------------------------------------------------------------------------


def test_mutations_are_total_and_mostly_still_frames() -> None:
    forge, decoded, total = forger(), 0, 0
    for _ in range(150):
        for data in frames():
            total += 1
            try:
                wire.decode_frame(forge.mutated_frame(data))
                decoded += 1
            except CodecError:
                pass
    assert total // 4 < decoded < total


def test_mutations_are_a_function_of_their_dice() -> None:
    def some(seed: int) -> list[bytes]:
        forge = forger(seed)
        return [forge.mutated_frame(data) for data in frames()]

    assert some(5) == some(5)
    assert some(5) != some(6)


def test_mutated_messages_are_signed_by_the_liar() -> None:
    forge, changed = forger(), set()
    original = WORLD.message(0, "view-change", 4, 0, digest_of(b"potchain.pbft.view.1", BODY), BODY)
    for _ in range(200):
        message = forge.mutated_message(original)
        assert message is not None
        assert is_good(message) or frame_of(message) is None
        changed |= {name for name in ConsensusMessage.__struct_fields__
                    if getattr(message, name) != getattr(original, name)}  # fmt: skip
    assert changed == {"epoch", "kind", "view", "sequence", "digest", "body", "signature"}


@pytest.mark.parametrize(
    "rule",
    [lambda body: sha256(body).digest(), lambda body: digest_of(b"potchain.pbft.view.1", body)],
    ids=["plain", "tagged"],
)
def test_a_changed_body_gets_the_digest_that_commits_to_it(rule: type) -> None:
    original = WORLD.message(0, "view-change", 4, 0, rule(BODY), BODY)
    lies = forger().lies(original)
    assert len(lies) > 5
    for lie in lies:
        assert lie.digest == rule(lie.body)
        assert lie.body != BODY
        assert is_good(lie)
    assert any(msgspec.msgpack.decode(lie.body)[1] == [] for lie in lies)


def test_the_other_proposal_is_as_valid_as_the_first() -> None:
    first = pre_prepare()
    double, null = forger().other_proposal(first), forger().null_proposal(first)
    assert double is not None
    assert null is not None
    proposal = proposal_of(double.body)
    assert proposal is not None
    assert proposal_fault(proposal) is None
    assert double.digest == proposal_digest(proposal.header) != first.digest
    assert proposal.transaction_ids == (b"t" * 32,)
    nothing = proposal_of(null.body)
    assert nothing is not None
    assert nothing.transaction_ids == ()
    assert null.digest == proposal_digest(nothing.header)
    assert is_good(double)
    assert is_good(null)
    assert forger().other_proposal(WORLD.message(0, "prepare", 0, 3, b"d" * 32)) is None


# --- behaviours -------------------------------------------------------------------------------------------------------


def liar(*behaviours: str) -> Liar:
    attacker = SimpleNamespace(
        node_id=ME.node_id, key=ME.consensus, peers=PEERS, genesis=WORLD.genesis, engine=PbftFactory(),
        rng=random.Random(3),
    )  # fmt: skip
    return Liar(Byzantine(node=0, behaviours=behaviours), attacker)  # type: ignore[arg-type]


def said(behaviour: str, frame: wire.Frame, times: int = 1) -> list[tuple[NodeId, wire.Frame | bytes]]:
    node = liar(behaviour)
    return [out for _ in range(times) for peer in PEERS for out in node.outgoing(peer, frame, 0)]


def messages(out: Iterable[tuple[NodeId, wire.Frame | bytes]]) -> list[ConsensusMessage]:
    return [frame for _, frame in out if isinstance(frame, ConsensusMessage)]


def test_silence_and_mute() -> None:
    progress = wire.PeerProgress(3, 2, 0)
    assert said("silence", pre_prepare()) == []
    assert said("silence", progress) == [(peer, progress) for peer in PEERS]
    assert said("mute", progress) == []


def test_selective_serves_some_and_always_the_same() -> None:
    served = {peer for peer, _ in said("selective", pre_prepare())}
    assert served < set(PEERS)
    node = liar("selective")
    for _ in range(4):
        assert {peer for peer in PEERS if node.outgoing(peer, pre_prepare(), 0)} == served


def test_an_equivocator_shows_two_histories() -> None:
    node, first = liar("equivocate"), pre_prepare()
    shown = [messages(node.outgoing(peer, first, 0))[0] for peer in PEERS]
    assert shown[0] == shown[2] == first
    assert shown[1].digest != first.digest
    assert (shown[1].sequence, shown[1].kind) == (first.sequence, first.kind)
    vote = WORLD.message(0, "commit", 0, 3, first.digest)
    votes = [messages(node.outgoing(peer, vote, 0))[0] for peer in PEERS]
    assert [each.digest for each in votes] == [first.digest, shown[1].digest, first.digest]
    assert all(is_good(each) for each in (*shown, *votes))


def test_an_accomplice_votes_for_both_histories_of_a_lying_primary() -> None:
    node, first = liar("equivocate"), pre_prepare()
    node.incoming(PEERS[0], first, 0)
    vote = WORLD.message(0, "prepare", 0, 3, first.digest)
    votes = [messages(node.outgoing(peer, vote, 0))[0] for peer in PEERS]
    assert len({each.digest for each in votes}) == 2


def test_replay_sends_what_is_old() -> None:
    node = liar("replay")
    for number in range(40):
        node.incoming(PEERS[1], wire.FetchBlocks(number, 1), 0)
    out = [frame for _ in range(20) for _, frame in node.outgoing(PEERS[0], wire.PeerProgress(9, 9, 9), 0)]
    assert any(isinstance(frame, wire.FetchBlocks) for frame in out)


@pytest.mark.parametrize(
    ("behaviour", "frame"),
    [
        ("mutate", wire.PeerProgress(3, 2, 0)),
        ("mutate-signed", pre_prepare()),
        ("lie-in-view-change", WORLD.message(0, "view-change", 4, 0, digest_of(b"potchain.pbft.view.1", BODY), BODY)),
        ("lie-in-new-view", WORLD.message(0, "new-view", 4, 0, digest_of(b"potchain.pbft.view.1", BODY), BODY)),
        ("lie-in-catch-up", wire.PeerProgress(3, 2, 0)),
        ("flood", pre_prepare()),
    ],
)
def test_liars_say_many_things(behaviour: str, frame: wire.Frame) -> None:
    out = said(behaviour, frame, times=30)
    assert len({each if isinstance(each, bytes) else wire.encode_frame(each) for _, each in out}) > 3


def test_who_refuses_answers_nothing() -> None:
    assert said("refuse", wire.Gossip(())) == []
    assert len(said("refuse", wire.PeerProgress(1, 1, 0))) == len(said("refuse", pre_prepare())) == 3


def test_an_unknown_behaviour_is_named() -> None:
    with pytest.raises(ConfigError, match="'kindness'"):
        liar("kindness")


def test_leaving_a_behaviour_out_does_not_change_the_others() -> None:
    frame = wire.PeerProgress(3, 2, 0)
    both, alone = liar("silence", "mutate"), liar("mutate")
    for _ in range(20):
        assert both.outgoing(PEERS[0], frame, 0) == alone.outgoing(PEERS[0], frame, 0)


# --- whole nodes ------------------------------------------------------------------------------------------------------


def run_with(*behaviours: str) -> Outcome:
    plan = Plan(
        seed=11,
        byzantine=(Byzantine(node=0, behaviours=behaviours),),
        parameters=(("view_timeout_ms", 500), ("view_timeout_cap_ms", 1_000)),
        heal_ns=3_000_000_000,
        workload=Workload(accounts=4, transactions=10, until_ns=2_000_000_000, rubbish=0),
        duration_ns=15_000_000_000,
    )
    return run_plan(plan, PbftFactory())


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_nodes_survive_a_primary_that_lies(behaviour: str) -> None:
    outcome = run_with(behaviour)
    assert outcome.violation is None, violation_text(outcome.violation)
    assert outcome.height > 0
