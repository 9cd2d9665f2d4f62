"""Two processes under one validator's key: noticed by their peers, silent themselves, stopped after half a minute."""

from __future__ import annotations

import pytest
from replica_cluster import Cluster, Disk, Node

from potchain.consensus.interface import ConsensusMessage
from potchain.primitives import NS_PER_MS, NodeId
from potchain.replica import Replica, wire
from potchain.replica.actions import Begin, FrameReceived, Halt, PeerConnected, PeerDisconnected, ReplicaEvent, Transmit
from potchain.replica.copies import BOOTS_MAX, GRACE_NS, TAKEN_OVER_NS, CopyWatch
from potchain.replica.rejoin import Standing

MEMBER = NodeId(bytes(20))
SECOND_NS = 1_000 * NS_PER_MS


# --- what a peer notices --------------------------------------------------------------------------------------------


def test_a_process_that_ended_before_its_successor_began_leaves_no_trace() -> None:
    watch = CopyWatch()
    watch.heard(MEMBER, b"a", 0)
    watch.gone(MEMBER, SECOND_NS)
    watch.heard(MEMBER, b"b", SECOND_NS + TAKEN_OVER_NS)
    assert not watch.another(MEMBER, b"b", SECOND_NS + TAKEN_OVER_NS)
    assert not watch.doubled(SECOND_NS + TAKEN_OVER_NS)


def test_a_session_that_was_taken_over_counts_as_alive_until_the_grace_has_passed() -> None:
    watch = CopyWatch()
    watch.heard(MEMBER, b"a", 0)
    watch.gone(MEMBER, SECOND_NS)
    watch.heard(MEMBER, b"b", SECOND_NS + 1)
    assert watch.another(MEMBER, b"b", GRACE_NS - 1)
    assert watch.doubled(GRACE_NS - 1) == (MEMBER,)
    assert not watch.another(MEMBER, b"b", GRACE_NS)
    assert not watch.doubled(GRACE_NS)


def test_a_boot_id_that_comes_back_means_two_processes_however_long_it_was_away() -> None:
    watch = CopyWatch()
    watch.heard(MEMBER, b"a", 0)
    watch.gone(MEMBER, 1)
    now_ns = 100 * SECOND_NS
    watch.heard(MEMBER, b"b", now_ns)
    watch.gone(MEMBER, now_ns + 1)
    now_ns += 100 * SECOND_NS
    watch.heard(MEMBER, b"a", now_ns)
    assert watch.another(MEMBER, b"a", now_ns)
    assert watch.doubled(now_ns) == (MEMBER,)


def test_a_member_with_ever_new_boot_ids_fills_nothing() -> None:
    watch = CopyWatch()
    for number in range(1_000):
        watch.heard(MEMBER, number.to_bytes(4, "big"), number)
    (known,) = watch._members.values()
    assert len(known.earlier) == BOOTS_MAX
    watch.heard(MEMBER, bytes(1_000), 1_000)
    watch.heard(MEMBER, b"", 1_000)
    assert known.current == (999).to_bytes(4, "big")


# --- whole replicas -------------------------------------------------------------------------------------------------

ORIGINAL, COPY = 0, 4


class TwinCluster(Cluster):
    """Four validators, and a copy of the first beside it. One session per key: each peer hears one of the two."""

    def __init__(self) -> None:
        self.holder = {1: ORIGINAL, 2: ORIGINAL, 3: ORIGINAL}
        super().__init__(checkpoint_interval=4, log_window=8)
        self.settle()

    def start_copy(self, disk: Disk) -> None:
        copy = Node(self.nodes[ORIGINAL].me)
        copy.disk, copy.run, copy.up = disk, 100, True
        self.nodes.append(copy)
        self.clock_ahead_ms[COPY] = 0
        copy.replica = self._replica(COPY, copy)
        copy.inbox.append(Begin())

    def take_over(self, peer: int) -> None:
        """The process that has no session with the peer dials it; the transport closes the other one's session."""
        before, self.holder[peer] = self.holder[peer], ORIGINAL + COPY - self.holder[peer]
        me, node = self.nodes[ORIGINAL].me, self.nodes[peer]
        node.inbox += [PeerDisconnected(me), PeerConnected(me)]
        for index, event in ((before, PeerDisconnected(node.me)), (self.holder[peer], PeerConnected(node.me))):
            if self.nodes[index].up:
                self.nodes[index].inbox.append(event)
        self.settle()

    def quarrel(self, seconds: int) -> None:
        """Each is pushed out by the other once a second, at every peer, in turns."""
        for _ in range(seconds):
            for peer in (1, 2, 3):
                self.take_over(peer)
                self.advance(333)
            for node in self.nodes:
                if node.halted:
                    node.up = False

    def _step(self, node: Node, event: ReplicaEvent) -> None:
        self.index[node.me] = next(index for index, each in enumerate(self.nodes) if each is node)
        super()._step(node, event)

    def _transmit(self, sender: int, action: Transmit) -> None:
        self.index[self.nodes[ORIGINAL].me] = ORIGINAL
        if isinstance(action.frame, ConsensusMessage):
            self._audit(self.nodes[sender], action.frame)
        data = wire.encode_frame(action.frame)
        for to in range(4) if action.to is None else (self.index[action.to],):
            reached = self.holder[sender] if to == ORIGINAL and sender in self.holder else to
            if to % 4 == sender % 4 or (sender in (ORIGINAL, COPY) and self.holder[to] != sender):
                continue
            self.sent.append((sender, reached, action.frame))
            self.wire.append((sender, reached, data))

    def _replica(self, index: int, node: Node) -> Replica:
        return super()._replica(index % 4, node)

    def standing(self, index: int) -> Standing:
        return self.nodes[index].replica.returning.standing


def work(cluster: TwinCluster, nonces: range) -> None:
    for nonce in nonces:
        cluster.submit(1, cluster.transfer("alice", nonce))
        cluster.settle()


@pytest.mark.parametrize("blocks_since_the_copy", [0, 3], ids=["a clone of an idle node", "an old copy"])
def test_both_copies_fall_silent_and_stop_and_the_network_goes_on(blocks_since_the_copy: int) -> None:
    cluster = TwinCluster()
    work(cluster, range(4))
    disk = cluster.nodes[ORIGINAL].disk.copy()
    work(cluster, range(4, 4 + blocks_since_the_copy))
    cluster.advance(1_000)
    cluster.start_copy(disk)
    cluster.quarrel(5)
    mark = len(cluster.sent)
    assert cluster.standing(COPY) is not Standing.VOTING
    assert cluster.standing(ORIGINAL) is Standing.ASKING
    assert cluster.nodes[ORIGINAL].replica.standing == "another copy runs: v1, v2, v3 hear it"
    work(cluster, range(4 + blocks_since_the_copy, 6 + blocks_since_the_copy))
    cluster.quarrel(20)
    own = cluster.nodes[ORIGINAL].me
    earlier = {frame for _, _, frame in cluster.sent[:mark] if isinstance(frame, ConsensusMessage)}
    new = [frame for _, _, frame in cluster.sent[mark:] if isinstance(frame, ConsensusMessage)]
    assert not [frame for frame in new if frame.sender == own and frame not in earlier]
    cluster.quarrel(15)
    for index in (ORIGINAL, COPY):
        (halt,) = {action.reason for action in cluster.nodes[index].others if isinstance(action, Halt)}
        assert halt.startswith("another copy of this validator runs: v1, v2, v3 heard it for 30 s")
    assert [node.replica.standing for node in cluster.live] == ["voting"] * 3


def test_when_the_copy_goes_in_time_the_original_asks_and_votes_again() -> None:
    cluster = TwinCluster()
    work(cluster, range(4))
    cluster.start_copy(cluster.nodes[ORIGINAL].disk.copy())
    cluster.quarrel(6)
    assert cluster.standing(ORIGINAL) is Standing.ASKING
    cluster.nodes[COPY].up = False
    for peer in (1, 2, 3):
        if cluster.holder[peer] == COPY:
            cluster.take_over(peer)
    cluster.advance(12_000)
    assert cluster.standing(ORIGINAL) is Standing.VOTING
    work(cluster, range(4, 7))
    cluster.advance(10_000)
    assert {node.replica.applied for node in cluster.live} == {7}


def test_one_lying_peer_silences_nobody() -> None:
    cluster = Cluster()
    cluster.settle()
    victim, liar = cluster.nodes[0], cluster.nodes[3].me
    lie = wire.PeerProgress(0, 0, 0, b"boot", tuple(cluster.epoch.ids))
    for _ in range(60):
        cluster.advance(1_000)
        victim.inbox.append(FrameReceived(liar, lie))
        cluster.settle()
        assert victim.replica.standing == "voting"
    assert not victim.halted
