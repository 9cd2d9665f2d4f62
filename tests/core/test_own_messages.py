"""A node's own messages: signed once, durable before they are sent, the same bytes when sent again."""

from collections.abc import Iterable
from hashlib import sha256

from core_network import key

from potchain.blocks import BLOCK_VOTE
from potchain.consensus.interface import ConsensusMessage
from potchain.consensus.signer import Signer
from potchain.primitives import NS_PER_S, Digest, NodeId
from potchain.replica.actions import Notice, Persist, ReplicaAction, Transmit
from potchain.replica.outbox import Outbox
from potchain.replica.own_messages import FRESH_NS, OwnMessages

GENESIS_HASH = bytes(32)
PEER = NodeId(bytes(20))
ONE, OTHER = Digest(sha256(b"one").digest()), Digest(sha256(b"other").digest())


class Desk:
    """Own messages with what they need."""

    def __init__(self, *, signs: bool = True, kept: Iterable[ConsensusMessage] = ()) -> None:
        self.outbox = Outbox()
        self.counted: list[ConsensusMessage] = []
        signer = Signer(key("me"), GENESIS_HASH) if signs else None
        self.own = OwnMessages(signer, self.outbox, self.counted.append, kept)
        self.token = 0

    def send(self, kind: str, sequence: int, digest: Digest = ONE, to: NodeId | None = None) -> list[ReplicaAction]:
        self.own.send(0, kind, 0, sequence, digest, b"", to)
        return self.outbox.drain()

    def persisted(self) -> list[ReplicaAction]:
        self.token += 1
        self.outbox.persisted(self.token)
        return self.outbox.drain()

    def resent(self, certified: int, to: NodeId | None = None, now_ns: int = FRESH_NS) -> list[ReplicaAction]:
        if to is None:
            self.own.now_ns = now_ns
            self.own.resend_to_all(certified)
        else:
            self.own.resend(to, certified)
        return self.outbox.drain()


def test_a_message_is_sent_and_counts_only_when_it_is_durable() -> None:
    desk = Desk()
    (persist,) = desk.send("prepare", 1, to=PEER)
    assert isinstance(persist, Persist)
    (message,) = persist.batch.messages
    assert [entry.digest for entry in persist.batch.guard] == [ONE]
    assert desk.counted == []
    assert desk.resent(0) == [], "not before it is durable"
    assert desk.persisted() == [Transmit(PEER, message)]
    assert desk.counted == [message]
    assert len(desk.own) == 1
    assert desk.own.guard_size == 1


def test_a_refusal_of_the_guard_sends_nothing() -> None:
    desk = Desk()
    desk.send("commit", 1)
    desk.persisted()
    (notice,) = desk.send("commit", 1, OTHER)
    assert isinstance(notice, Notice)
    assert notice.level == "error"
    assert [message.digest for message in desk.counted] == [ONE]


def test_an_observer_signs_nothing() -> None:
    desk = Desk(signs=False)
    assert desk.send("prepare", 1) == []
    assert desk.own.guard_size == 0
    desk.own.stable(5)


def test_what_is_sent_again_is_the_very_same() -> None:
    desk = Desk()
    sent = []
    for kind in ("prepare", "commit"):
        desk.send(kind, 1)
        sent += desk.persisted()
    assert sent == [Transmit(None, message) for message in desk.counted]
    assert desk.resent(0) == [Transmit(None, message, again=True) for message in desk.counted]
    assert desk.resent(0, PEER) == [Transmit(PEER, message) for message in desk.counted]


def test_what_is_sent_again_in_vain_is_sent_more_and_more_seldom() -> None:
    desk = Desk()
    desk.send("commit", 1)
    desk.persisted()
    at_s = [second for second in range(64) if desk.resent(0, now_ns=second * NS_PER_S)]
    assert at_s == [1, 2, 3, 4, 6, 10, 18, 26, 34, 42, 50, 58], "at 0 it is still on its way"
    desk.send("commit", 2)
    desk.persisted()
    assert not desk.resent(0, now_ns=63 * NS_PER_S + FRESH_NS - 1)
    (again,) = desk.resent(0, now_ns=63 * NS_PER_S + FRESH_NS)
    assert isinstance(again, Transmit)
    assert again.frame == desk.counted[1], "each message has its own time"
    assert len(desk.resent(0, PEER)) == 2, "who has just connected gets all"
    desk.own.certified(2)
    assert desk.resent(2, now_ns=99 * NS_PER_S) == []


def test_nothing_of_a_final_height_is_sent_again_but_all_of_one_that_is_only_executed() -> None:
    desk = Desk()
    for sequence in (1, 2):
        for kind in ("commit", BLOCK_VOTE):
            desk.send(kind, sequence)
            desk.persisted()
    desk.own.certified(1)
    again = [action.frame for action in desk.resent(1) if isinstance(action, Transmit)]
    assert again == [message for message in desk.counted if message.sequence == 2]
    assert desk.own.block_vote(1) is None
    assert desk.own.block_vote(2) == desk.counted[3]


def test_a_stable_checkpoint_forgets_all_but_votes_for_blocks_without_certificate() -> None:
    desk = Desk()
    for kind, sequence in (("commit", 1), (BLOCK_VOTE, 1), ("commit", 2), ("new-view", 0)):
        desk.send(kind, sequence)
        desk.persisted()
    desk.own.stable(1)
    again = [action.frame for action in desk.resent(1) if isinstance(action, Transmit)]
    kinds = [(frame.kind, frame.sequence) for frame in again if isinstance(frame, ConsensusMessage)]
    assert kinds == [(BLOCK_VOTE, 1), ("commit", 2), ("new-view", 0)]
    (notice,) = desk.send("prepare", 1)
    assert isinstance(notice, Notice), "nothing at or below the checkpoint is signed"


def test_messages_of_an_earlier_run_are_sent_again_as_they_were() -> None:
    before = Desk()
    before.send("prepare", 3)
    before.persisted()
    after = Desk(kept=before.counted)
    assert after.resent(2) == [Transmit(None, before.counted[0], again=True)]
    assert after.counted == [], "the engine had them at its birth"
