"""Votes that need no check yet wait, each once, and none of them is lost."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from core_network import key, make_genesis

from potchain.blocks import BLOCK_VOTE, vote_bytes
from potchain.consensus.interface import ConsensusMessage
from potchain.consensus.quorum import Quorum
from potchain.driver.late_votes import HEIGHTS_MAX, WAIT_S, WAITING_MAX, LateVotes
from potchain.primitives import NodeId
from potchain.replica.heard import HeardMessages

GENESIS = make_genesis(validators=7)
EPOCH = GENESIS.first_epoch
ENOUGH = Quorum(7).quorum - 1
"""Others' votes that make a certificate with this node's own."""
CERTIFIED = 99


class Waiting:
    """A room, what it handed on, and its timer."""

    def __init__(self) -> None:
        self.delivered: list[tuple[NodeId, ConsensusMessage]] = []
        self.timers: list[Callable[[], None]] = []
        self.enough: set[tuple[str, int, bytes]] = set()
        self.room = LateVotes(lambda *found: self.delivered.append(found), self._later, self._has_enough)

    def _has_enough(self, message: ConsensusMessage) -> bool:
        return (message.kind, message.sequence, message.digest) in self.enough

    def has(self, message: ConsensusMessage) -> None:
        """The engine has its quorum of votes like this one."""
        self.enough.add((message.kind, message.sequence, message.digest))

    def _later(self, after_s: float, callback: Callable[[], None]) -> None:
        assert after_s == WAIT_S
        self.timers.append(callback)

    def keep(self, message: ConsensusMessage, peer: bytes | None = None) -> bool:
        sender = NodeId(message.sender if peer is None else peer)
        return self.room.keep(sender, message, EPOCH, CERTIFIED)

    @property
    def messages(self) -> list[ConsensusMessage]:
        return [message for _, message in self.delivered]


def message_of(
    member: int, sequence: int, kind: str = BLOCK_VOTE, view: int = 0, body: bytes = b""
) -> ConsensusMessage:
    validator = EPOCH.members[member]
    digest = sequence.to_bytes(32, "big")
    signed = vote_bytes(GENESIS.hash, 0, kind, view, sequence, digest, validator.node_id)
    signature = key("consensus " + validator.name).sign_vote(signed)
    return ConsensusMessage(0, kind, view, sequence, digest, validator.node_id, body, signature)


def test_votes_for_a_block_wait_for_a_quorum() -> None:
    waiting = Waiting()
    votes = [message_of(member, 100) for member in range(ENOUGH)]
    for vote in votes[:-1]:
        assert waiting.keep(vote)
    assert (waiting.delivered, len(waiting.room)) == ([], ENOUGH - 1)
    assert waiting.keep(votes[-1])
    assert waiting.delivered == [(vote.sender, vote) for vote in votes]
    assert len(waiting.room) == 0
    assert not waiting.keep(message_of(ENOUGH, 100)), "perhaps it is the one that this node's own vote should have been"


def test_a_quorum_for_a_height_lets_go_those_below() -> None:
    waiting = Waiting()
    lower = message_of(0, 100)
    assert waiting.keep(lower)
    higher = [message_of(member, 101) for member in range(ENOUGH)]
    for vote in higher:
        assert waiting.keep(vote)
    assert sorted(waiting.messages, key=lambda each: each.sequence) == [lower, *higher]
    assert not waiting.keep(message_of(1, 100))


def test_votes_wait_until_the_time_is_up() -> None:
    waiting = Waiting()
    votes = [message_of(0, 100), message_of(1, 100), message_of(0, 102)]
    for vote in votes:
        assert waiting.keep(vote)
    (ring,) = waiting.timers
    ring()
    assert waiting.messages == votes
    assert len(waiting.room) == 0
    assert waiting.keep(message_of(0, 100)), "the same again"
    assert len(waiting.timers) == 2


@pytest.mark.parametrize(
    "message",
    [
        message_of(0, 100, "commit"),
        message_of(0, 0, "view-change"),
        message_of(0, 100, body=b"what a vote has not"),
        message_of(0, CERTIFIED),
        message_of(0, CERTIFIED + HEIGHTS_MAX + 1),
    ],
    ids=lambda message: f"{message.kind} {message.sequence}",
)
def test_what_may_matter_now_does_not_wait(message: ConsensusMessage) -> None:
    assert not Waiting().keep(message)


def test_one_vote_of_each_member_and_only_its_signers() -> None:
    waiting = Waiting()
    vote = message_of(0, 100)
    assert not waiting.keep(vote, peer=EPOCH.members[1].node_id)
    assert waiting.keep(vote)
    assert not waiting.keep(vote)
    assert len(waiting.room) == 1


def test_there_is_a_bound_on_what_waits() -> None:
    epoch = make_genesis(validators=64).first_epoch
    room = Waiting().room
    kept = [
        room.keep(member.node_id, ConsensusMessage(0, BLOCK_VOTE, 0, height, bytes(32), member.node_id, b"", bytes(64)),
                  epoch, CERTIFIED)
        for member in epoch.members[:40]
        for height in range(CERTIFIED + 1, CERTIFIED + HEIGHTS_MAX + 1)
    ]  # fmt: skip
    assert kept == [True] * WAITING_MAX + [False] * (len(kept) - WAITING_MAX)
    room.release()
    assert len(room) == 0


def test_what_the_engine_has_enough_of_can_wait() -> None:
    waiting = Waiting()
    surplus = message_of(3, 100, "commit")
    assert not waiting.keep(surplus), "not before the engine says so"
    waiting.has(surplus)
    assert waiting.keep(surplus)
    assert not waiting.keep(surplus), "the same again"
    assert waiting.keep(message_of(4, 100, "commit"))
    assert not waiting.keep(message_of(5, 100, "commit"), peer=EPOCH.members[0].node_id)
    assert not waiting.keep(message_of(5, 101, "commit"))
    assert not waiting.keep(message_of(5, 100, "prepare"))
    (ring,) = waiting.timers
    ring()
    assert waiting.messages == [surplus, message_of(4, 100, "commit")]
    assert len(waiting.room) == 0


def test_evidence_is_not_put_off() -> None:
    waiting = Waiting()
    surplus = message_of(3, 100, "commit")
    waiting.has(surplus)
    assert waiting.keep(surplus)
    assert not waiting.keep(msgspec.structs.replace(surplus, digest=bytes(32)))
    assert waiting.messages == [surplus], "both are checked now"
    assert len(waiting.room) == 0


def test_nothing_waits_beyond_its_checkpoint() -> None:
    waiting = Waiting()
    low, high = message_of(3, 100, "commit"), message_of(3, 130, "commit")
    for each in (low, high):
        waiting.has(each)
        assert waiting.keep(each)
    waiting.room.checkpoint(64)
    assert waiting.messages == []
    waiting.room.checkpoint(128)
    assert waiting.messages == [low]
    assert not waiting.keep(low), "the engine may forget its slot at any moment"
    final = message_of(3, CERTIFIED, "commit")
    waiting.has(final)
    assert not waiting.keep(final)
    assert len(waiting.room) == 1


def test_who_sends_a_message_again_is_known_by_the_very_same_bytes() -> None:
    heard = HeardMessages()
    message = message_of(0, 5, "commit")
    assert not heard.holds(message)
    heard.note(message)
    assert heard.holds(message_of(0, 5, "commit"))
    forged = ConsensusMessage(0, "commit", 0, 5, message.digest, message.sender, b"", bytes(64))
    assert not heard.holds(forged)
    heard.note(message_of(1, 5, "pre-prepare", body=b"a proposal"))
    assert not heard.holds(message_of(1, 5, "pre-prepare", body=b"a proposal")), "bodies are not remembered"
