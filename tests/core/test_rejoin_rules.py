"""The decision after a start, rule by rule, without replicas; and what peers remember of each other."""

from __future__ import annotations

from hashlib import sha256

import msgspec
import pytest
from core_network import key, make_genesis

from potchain.blocks import BLOCK_VOTE, BlockCertificate, BlockSignature
from potchain.consensus.interface import ConsensusMessage
from potchain.consensus.learning import LearnerTarget
from potchain.consensus.signer import Signer, guard_entry
from potchain.errors import GuardRefusal
from potchain.primitives import NS_PER_S, NodeId
from potchain.replica.epochs import KnownEpochs
from potchain.replica.heard import KINDS_MAX, PER_KIND, HeardMessages
from potchain.replica.rejoin import CLAIM_NS, STOP_AFTER_NS, Position, Rejoin, Standing
from potchain.replica.wire import SIGNED_MESSAGES_MAX, SignedAnswer

GENESIS = make_genesis([], 4)
EPOCH = GENESIS.first_epoch
ME, *PEERS = EPOCH.ids
WINDOW = EPOCH.parameters.log_window
DIGEST = sha256(b"digest").digest()
AT = Position(executed=10, stable=0, view=0)
BOOT = b"boot"


def signer(entries: tuple[ConsensusMessage, ...] = (), stable: int = 0) -> Signer:
    guard = [guard_entry(message) for message in entries]
    return Signer(key("consensus v0"), GENESIS.hash, guard, stable)


def signed(kind: str, view: int, sequence: int) -> ConsensusMessage:
    return signer().sign(0, kind, view, sequence, DIGEST, b"")


class Case:
    """One validator of four that has just started."""

    def __init__(
        self,
        known: tuple[ConsensusMessage, ...] = (),
        *,
        doubtful: bool = False,
        target: LearnerTarget | None = None,
        own: tuple[ConsensusMessage, ...] = (),
    ) -> None:
        self.rejoin = Rejoin(
            me=ME,
            epochs=KnownEpochs((EPOCH,)),
            boot_id=BOOT,
            remembers=signer(known).remembers,
            doubtful=doubtful,
            target=target or LearnerTarget(),
            own=own,
        )

    def answer(
        self,
        peer: NodeId,
        *messages: ConsensusMessage,
        certified: int = 0,
        doubled: bool = False,
        round: int = 0,
        boot_id: bytes = BOOT,
        epoch: int = 0,
        executed: int = 0,
    ) -> None:
        certificate = BlockCertificate(epoch, certified, DIGEST, ()) if certified else None
        answer = SignedAnswer(boot_id, round, messages, executed, 0, certificate, doubled)
        self.rejoin.answered(peer, answer, 0)

    def review(self, position: Position = AT, now_ns: int = 0) -> LearnerTarget | None:
        return self.rejoin.review(position, now_ns)


def test_a_quorum_of_answers_counts_this_node_and_each_peer_once() -> None:
    case = Case()
    case.answer(PEERS[0])
    case.answer(PEERS[0])
    assert case.review() is None
    assert case.rejoin.words(AT) == "asking: answers from v1; waiting for 1 more"
    case.answer(PEERS[1])
    case.review()
    assert case.rejoin.standing is Standing.VOTING


def test_strangers_and_answers_to_another_run_or_to_a_question_not_asked_count_for_nothing() -> None:
    case = Case()
    case.answer(NodeId(bytes(20)))
    case.answer(ME)
    case.answer(PEERS[0], boot_id=b"earlier")
    case.answer(PEERS[1], round=1)
    case.review()
    assert case.rejoin.missing == 2


@pytest.mark.parametrize(
    "message",
    [signed("prepare", 0, 12), signed("commit", 3, 9), signed("view-change", 2, 0), signed(BLOCK_VOTE, 0, 11)],
    ids=lambda message: message.kind,
)
def test_an_own_message_that_the_guard_does_not_know_makes_a_learner_and_one_it_knows_does_not(
    message: ConsensusMessage,
) -> None:
    case = Case()
    case.answer(PEERS[0], message)
    case.answer(PEERS[1])
    target = case.review()
    assert target is not None
    assert target.height == max(message.sequence, AT.executed) + WINDOW
    assert (target.epoch, target.view) == ((0, 3) if message.kind == "view-change" else (0, 0))
    assert case.rejoin.standing is Standing.LEARNER
    knowing = Case((message,))
    knowing.answer(PEERS[0], message)
    knowing.answer(PEERS[1])
    assert knowing.review() is None
    assert knowing.rejoin.standing is Standing.VOTING


def test_a_hole_below_the_highest_message_of_a_kind_is_noticed() -> None:
    """Slots may be committed out of order: the copy knows commit 12 and not commit 11, which came later."""
    heard = HeardMessages()
    for sequence in (12, 11):
        heard.note(signed("commit", 0, sequence))
    case = Case((signed("commit", 0, 12),))
    case.answer(PEERS[0], *heard.of(ME))
    case.answer(PEERS[1])
    assert case.review() is not None


def test_the_target_is_one_window_above_all_that_is_proved_and_claims_prove_nothing() -> None:
    case = Case(doubtful=True)
    case.answer(PEERS[0], certified=40, executed=10**9)
    case.answer(PEERS[1], signed("prepare", 0, 45), certified=30)
    target = case.review()
    assert target == LearnerTarget(45 + WINDOW, 0, 0)


def test_a_learner_votes_when_checkpoint_and_view_have_passed_and_not_before() -> None:
    target = LearnerTarget(100, 0, 3)
    for stable, view, standing in [
        (99, 3, Standing.LEARNER),
        (100, 2, Standing.LEARNER),
        (100, 3, Standing.VOTING),
    ]:
        case = Case(target=target)
        case.answer(PEERS[0], signed("view-change", 2, 0), signed("prepare", 0, 100 - WINDOW))
        case.answer(PEERS[1])
        assert case.review(Position(200, stable, view)) is None
        assert case.rejoin.standing is standing
    assert Case(target=target).rejoin.words(Position(99, 64, 2)).startswith("asking")


def test_a_learner_votes_for_blocks_above_what_it_can_have_forgotten_only() -> None:
    case = Case(doubtful=True)
    assert not case.rejoin.signs_block(100)
    case.answer(PEERS[0], certified=40)
    case.answer(PEERS[1])
    case.review()
    assert not case.rejoin.signs_block(40)
    assert case.rejoin.signs_block(41)


def test_a_peer_in_an_epoch_that_cannot_be_checked_yet_does_not_set_a_doubtful_nodes_target() -> None:
    case = Case(doubtful=True)
    case.answer(PEERS[0], certified=900, epoch=1)
    case.answer(PEERS[1])
    assert case.review() is None
    assert case.rejoin.standing is Standing.ASKING


def test_own_view_changes_in_an_old_log_count_for_the_target_too() -> None:
    mine = signed("view-change", 5, 0)
    case = Case((mine,), doubtful=True, own=(mine,))
    case.answer(PEERS[0])
    case.answer(PEERS[1])
    assert case.review() == LearnerTarget(AT.executed + WINDOW, 0, 6)


def test_before_the_first_signature_an_answer_that_hears_another_copy_does_not_count() -> None:
    case = Case()
    case.answer(PEERS[0], doubled=True)
    case.answer(PEERS[1])
    case.review()
    assert case.rejoin.standing is Standing.ASKING
    case.answer(PEERS[2])
    case.review()
    assert case.rejoin.standing is Standing.VOTING


def test_a_weak_quorum_that_hears_another_copy_silences_and_in_the_end_stops_this_node() -> None:
    case = Case()
    for peer in PEERS:
        case.answer(peer)
    case.review()
    case.rejoin.claimed(PEERS[0], 0, doubled=True)
    case.review()
    assert case.rejoin.standing is Standing.VOTING
    for second in range(STOP_AFTER_NS // NS_PER_S):
        now_ns = second * NS_PER_S
        for peer in PEERS[:2]:
            case.rejoin.claimed(peer, now_ns, doubled=True)
        case.review(now_ns=now_ns)
        assert case.rejoin.standing is Standing.ASKING
        assert case.rejoin.overdue(now_ns) is None
    reason = case.rejoin.overdue(STOP_AFTER_NS)
    assert reason is not None
    assert "v1, v2 heard it" in reason


def test_when_nobody_says_so_any_more_the_node_asks_afresh_and_old_answers_are_worth_nothing() -> None:
    case = Case()
    for peer in PEERS:
        case.answer(peer)
    case.review()
    for peer in PEERS[:2]:
        case.rejoin.claimed(peer, 0, doubled=True)
    case.review()
    case.review(now_ns=CLAIM_NS)
    assert case.rejoin.standing is Standing.ASKING
    for peer in PEERS:
        case.answer(peer, round=0)
    case.review(now_ns=CLAIM_NS)
    assert case.rejoin.standing is Standing.ASKING
    for peer in PEERS:
        case.answer(peer, round=case.rejoin.question.round)
    case.review(now_ns=CLAIM_NS)
    assert case.rejoin.standing is Standing.VOTING


def test_the_signer_refuses_a_view_that_was_forgotten() -> None:
    one = signer()
    one.never_below(0, 4)
    with pytest.raises(GuardRefusal, match="below the announced view 4"):
        one.sign(0, "prepare", 3, 1, DIGEST, b"")
    one.sign(0, "prepare", 4, 1, DIGEST, b"")


def test_a_signer_remembers_its_slots_and_what_the_checkpoint_covers() -> None:
    message = signed("prepare", 0, 7)
    assert not signer().remembers(message)
    assert signer((message,)).remembers(message)
    assert signer(stable=7).remembers(message)
    assert not signer((message,)).remembers(msgspec.structs.replace(message, digest=bytes(32)))


def test_what_is_heard_of_a_member_is_bounded_and_has_no_bodies() -> None:
    heard = HeardMessages()
    for number in range(100):
        message = signed(f"kind {number % 20}", number % 7, number)
        heard.note(msgspec.structs.replace(message, body=b"body"))
    assert len(heard.of(ME)) <= KINDS_MAX * PER_KIND == SIGNED_MESSAGES_MAX
    assert not any(message.body for message in heard.of(ME))
    heard.keep_only(PEERS)
    assert len(heard) == 0


def test_block_certificates_prove_the_highest_block_vote_of_each_signer() -> None:
    votes = [signed(BLOCK_VOTE, 0, height) for height in (5, 6)]
    heard = HeardMessages(
        [
            BlockCertificate(0, vote.sequence, vote.digest, (BlockSignature(vote.sender, vote.signature),))
            for vote in votes
        ]
    )
    assert heard.of(ME) == (votes[1],)


def test_a_number_from_the_end_of_the_wire_makes_a_target_that_can_be_stored() -> None:
    """Somebody who had this node's key signed it; the node learns for good, and does not fall over its own books."""
    target = LearnerTarget().raised(2**64 - 1 + 128, 0, 2**64)
    assert max(target.height, target.view) < 2**63
    assert not target.reached(2**62, 0, 2**62)
