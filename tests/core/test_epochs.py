"""Epochs in whole replicas: turns, laggards, observers, crashes at every write, and sets of one, two and three."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from core_network import make_validators
from epoch_application import EpochApplication, change
from replica_cluster import Cluster, Node, frames_of, is_vote

from potchain.application.accounts import AccountsApplication
from potchain.blocks import BLOCK_VOTE
from potchain.consensus.interface import ConsensusMessage
from potchain.replica import wire
from potchain.replica.actions import CertificatesVerified, FrameReceived
from potchain.replica.turning import EARLY_PER_MEMBER_MAX
from potchain.transactions import Transaction

LAST = 12
"""C of a change that is decided in block 1: checkpoints are every 4 heights, the window is 8."""
FOUR = ["v0", "v1", "v2", "v3"]
CRASH_STEP = 6
"""Every so many writes of a turn are crashed at here; the simulator's sweep takes each."""


def cluster_of(nodes: int = 4, outsiders: int = 0, **parameters: int) -> Cluster:
    everybody = make_validators([f"v{number}" for number in range(nodes + outsiders)])
    applications = (AccountsApplication(), EpochApplication(everybody))
    parameters = {"checkpoint_interval": 4, "log_window": 8, **parameters}
    cluster = Cluster(nodes, outsiders=outsiders, applications=applications, **parameters)
    cluster.settle()
    return cluster


def wanted(
    cluster: Cluster, nonce: int, members: Sequence[str] = (), sender: str = "alice", **parameters: int
) -> Transaction:
    return change(cluster.types, sender, nonce, members, parameters)


def epochs(cluster: Cluster) -> list[int]:
    return [node.replica.epoch.number for node in cluster.live]


def level(cluster: Cluster, epoch: int) -> int:
    """All live nodes are in that epoch, certified to one height with one state; the height."""
    assert epochs(cluster) == [epoch] * len(cluster.live)
    height = max(node.certified for node in cluster.live)
    cluster.assert_agreement(height)
    return height


def signed_by(cluster: Cluster, index: int) -> set[int]:
    """Epochs in which a node has signed anything."""
    return {epoch for sender, epoch, _, _, _ in cluster.signed if sender == cluster.nodes[index].me}


def observes(node: Node) -> bool:
    return node.replica.standing.startswith("observ")


# --- a turn ---------------------------------------------------------------------------------------------------------


def test_four_become_five_and_four_again() -> None:
    cluster = cluster_of(outsiders=1)
    newcomer, leaver = cluster.nodes[4], cluster.nodes[0]
    cluster.submit(0, cluster.transfer("bob", 0))
    cluster.advance(3_000)
    assert newcomer.certified == 1, "who is no validator follows"
    assert observes(newcomer)

    cluster.submit(1, wanted(cluster, 0, [*FOUR, "v4"]))
    cluster.advance(4_000)
    first_end = level(cluster, 1)
    assert first_end == LAST, "2 + 8 is below 12 as well"
    cluster.submit(4, cluster.transfer("bob", 1))
    cluster.advance(2_000)
    level(cluster, 1)

    cluster.submit(2, wanted(cluster, 1, [*FOUR[1:], "v4"]))
    cluster.advance(6_000)
    level(cluster, 2)
    assert observes(leaver)
    cluster.submit(0, cluster.transfer("bob", 2))
    cluster.advance(3_000)
    height = level(cluster, 2)

    assert signed_by(cluster, 0) == {0, 1}
    assert signed_by(cluster, 4) == {1, 2}
    assert signed_by(cluster, 1) == {0, 1, 2}
    assert [block.header.epoch for block in newcomer.disk.blocks] == sorted(
        block.header.epoch for block in newcomer.disk.blocks
    )
    ids = [transaction for block in cluster.block_ids(leaver) for transaction in block]
    assert len(ids) == len(set(ids)) == 5
    assert height == len(cluster.block_ids(leaver))


def test_the_primary_fills_up_at_once_and_nobody_goes_beyond() -> None:
    cluster = cluster_of(min_block_interval_ms=60_000)
    cluster.passes = lambda sender, to, frame: not (is_vote(frame, BLOCK_VOTE) and frame_sequence(frame) == LAST)
    cluster.submit(1, wanted(cluster, 0, FOUR[:3]))
    cluster.settle()
    assert [node.replica.applied for node in cluster.nodes] == [LAST] * 4
    cluster.submit(2, cluster.transfer("bob", 0))
    cluster.advance(20_000)
    assert epochs(cluster) == [0] * 4, "C is executed everywhere and certified nowhere"
    assert all(node.replica.tip.height == LAST for node in cluster.nodes)
    assert not [f for f in frames_of(cluster, [ConsensusMessage]) if frame_sequence(f) > LAST]
    cluster.heal()
    cluster.advance(9_000)  # after so long in vain votes are sent again every 8 s
    assert level(cluster, 1) > LAST
    assert cluster.nodes[0].disk.blocks[LAST - 1].header.next_epoch


def late_block_vote(frame: wire.Frame) -> bool:
    """A vote for a block above the last checkpoint but one."""
    return is_vote(frame, BLOCK_VOTE) and frame_sequence(frame) > LAST - 4


def frame_sequence(frame: wire.Frame) -> int:
    assert isinstance(frame, ConsensusMessage)
    return frame.sequence


def test_parameters_change_with_the_epoch() -> None:
    cluster = cluster_of()
    changed = {"checkpoint_interval": 5, "log_window": 15, "batch_max": 2, "view_timeout_ms": 500}
    cluster.submit(1, wanted(cluster, 0, **changed))
    cluster.advance(3_000)
    assert level(cluster, 1) == LAST
    for node in cluster.nodes:
        parameters = node.replica.epoch.parameters
        assert {name: getattr(parameters, name) for name in changed} == changed
        assert node.replica.engine.status().low_water_mark == LAST
        assert node.replica.engine.status().high_water_mark == LAST + 15
        assert node.replica.engine.status().view_timeout_ns == 500 * 10**6
    cluster.submit(1, *[cluster.transfer("bob", nonce) for nonce in range(8)])
    cluster.advance(3_000)
    assert level(cluster, 1) == LAST + 4, "two transactions to a block"
    assert {node.replica.engine.status().low_water_mark for node in cluster.nodes} == {15}


def test_work_goes_on_across_the_turn_and_nothing_is_lost_or_doubled() -> None:
    cluster = cluster_of(outsiders=1, batch_max=2)
    transfers = [cluster.transfer("bob", nonce) for nonce in range(60)]
    for number in range(0, 60, 6):
        cluster.submit(number % 4, *transfers[number : number + 6])
        if number == 12:
            cluster.submit(3, wanted(cluster, 0, [*FOUR, "v4"], log_window=12))
        cluster.advance(50)
    cluster.advance(8_000)
    level(cluster, 1)
    included = [transaction for block in cluster.block_ids(cluster.nodes[4]) for transaction in block]
    asked = wanted(cluster, 0, [*FOUR, "v4"], log_window=12)
    assert sorted(included) == sorted([asked.id, *(transfer.id for transfer in transfers)])


def test_a_change_that_came_too_late_makes_a_second_turn() -> None:
    cluster = cluster_of(outsiders=1)
    cluster.passes = lambda sender, to, frame: not (is_vote(frame, "commit") and frame_sequence(frame) > 6)
    cluster.submit(1, wanted(cluster, 0, [*FOUR, "v4"]))
    cluster.settle()
    assert {node.replica.tip.height for node in cluster.nodes[:4]} == {6}
    cluster.submit(1, wanted(cluster, 1, FOUR))
    cluster.heal()
    cluster.advance(12_000)
    level(cluster, 2)
    assert [len(cluster.nodes[0].replica.epochs.near[number].members) for number in (0, 1)] == [5, 4]
    assert observes(cluster.nodes[4])


def test_an_application_that_asks_for_nonsense_changes_nothing() -> None:
    cluster = cluster_of()
    cluster.submit(0, wanted(cluster, 0, ["v0", "v0"]), wanted(cluster, 1, log_window=1))
    cluster.advance(2_000)
    assert level(cluster, 0) == 1
    assert {receipt.code for receipt in cluster.nodes[0].disk.blocks[0].receipts} == {"invalid_epoch"}
    assert not any(node.replica.has_work for node in cluster.nodes)


def test_all_validators_change_at_once() -> None:
    cluster = cluster_of(outsiders=4)
    cluster.submit(0, wanted(cluster, 0, ["v4", "v5", "v6", "v7"]))
    cluster.advance(8_000)
    level(cluster, 1)
    cluster.submit(7, cluster.transfer("bob", 0))
    cluster.submit(0, cluster.transfer("carol", 0))
    cluster.advance(4_000)
    assert level(cluster, 1) > LAST
    assert [observes(node) for node in cluster.nodes] == [True] * 4 + [False] * 4


# --- ahead and behind -----------------------------------------------------------------------------------------------


def test_messages_of_the_next_epoch_wait_for_it() -> None:
    cluster = cluster_of()
    late = 3
    cluster.passes = lambda sender, to, frame: to != late or not late_block_vote(frame)
    cluster.submit(1, wanted(cluster, 0, FOUR))
    cluster.settle()
    assert epochs(cluster) == [1, 1, 1, 0], "one lacks the votes that certify C"
    cluster.submit(1, cluster.transfer("bob", 0))
    cluster.settle()
    assert cluster.nodes[late].replica.sizes()["early_messages"] > 0
    assert cluster.nodes[late].replica.tip.height == LAST
    cluster.heal()
    cluster.nodes[late].inbox.append(certificates_from(cluster, 0, late))
    cluster.settle()
    assert level_but(cluster, 1) == LAST + 1, "without another word of anybody"
    assert cluster.nodes[late].replica.sizes()["early_messages"] == 0


def certificates_from(cluster: Cluster, index: int, to: int) -> CertificatesVerified:
    held = cluster.nodes[index].disk.certificates
    wants = range(cluster.nodes[to].certified + 1, LAST + 1)
    return CertificatesVerified(tuple(held[height] for height in wants))


def level_but(cluster: Cluster, epoch: int) -> int:
    assert epochs(cluster) == [epoch] * 4
    assert len({node.replica.tip.height for node in cluster.nodes}) == 1
    return cluster.nodes[0].replica.tip.height


def test_early_messages_are_bounded() -> None:
    cluster = cluster_of()
    node, other = cluster.nodes[0], cluster.nodes[1].me
    for sequence in range(3 * EARLY_PER_MEMBER_MAX):
        message = ConsensusMessage(1, "prepare", 0, sequence + 1, bytes(32), other, b"", bytes(64))
        node.inbox.append(FrameReceived(other, message))
    cluster.settle()
    assert node.replica.sizes()["early_messages"] == EARLY_PER_MEMBER_MAX


def consensus_less(sender: int, to: int, frame: wire.Frame) -> bool:
    """The last node gets no consensus message at all."""
    return to != 3 or not isinstance(frame, ConsensusMessage)


@pytest.mark.parametrize("change_of_members", [True, False])
def test_a_laggard_catches_up_over_two_turns_with_no_other_hint_than_progress(change_of_members: bool) -> None:
    cluster = cluster_of(outsiders=1)
    cluster.cut_off(3)
    for turn in range(2):
        with_fifth = [*FOUR, "v4"] if change_of_members and turn == 0 else FOUR
        cluster.submit(0, wanted(cluster, turn, with_fifth, batch_max=100 + turn))
        cluster.advance(6_000)
    assert epochs(cluster) == [2, 2, 2, 0, 2]
    cluster.passes = consensus_less
    cluster.advance(8_000)
    level(cluster, 2)
    cluster.heal()
    cluster.submit(3, cluster.transfer("bob", 0))
    cluster.advance(3_000)
    level(cluster, 2)


def test_a_laggard_that_lacks_only_cs_certificate_gets_it() -> None:
    cluster = cluster_of()
    cluster.passes = lambda sender, to, frame: to != 3 or not late_block_vote(frame)
    cluster.submit(0, wanted(cluster, 0, FOUR, batch_max=100))
    cluster.settle()
    assert [node.replica.tip.height for node in cluster.nodes] == [LAST] * 4
    assert epochs(cluster) == [1, 1, 1, 0]
    cluster.passes = consensus_less
    cluster.advance(5_000)
    assert level(cluster, 1) == LAST


def test_a_laggard_whose_validators_have_all_gone_follows_whom_it_reaches() -> None:
    cluster = cluster_of(outsiders=4)
    cluster.cut_off(3)
    cluster.submit(0, wanted(cluster, 0, ["v4", "v5", "v6", "v7"]))
    cluster.advance(8_000)
    for index in range(3):
        cluster.crash(index)
    cluster.heal()
    cluster.advance(10_000)
    level(cluster, 1)


def test_a_removed_validator_signs_nothing_and_serves_what_it_has() -> None:
    cluster = cluster_of()
    cluster.submit(0, wanted(cluster, 0, FOUR[1:]))
    cluster.advance(3_000)
    level(cluster, 1)
    cluster.sent.clear()
    cluster.submit(0, cluster.transfer("bob", 0))
    cluster.advance(5_000)
    level(cluster, 1)
    assert not frames_of(cluster, [ConsensusMessage], 0)
    cluster.crash(2)
    cluster.start(2)
    cluster.advance(5_000)
    level(cluster, 1)


# --- views and epochs -----------------------------------------------------------------------------------------------


def test_a_primary_that_does_not_fill_up_is_replaced_and_the_next_epoch_begins_in_view_0() -> None:
    cluster = cluster_of()
    primary = cluster.primary
    others = [index for index in range(4) if index != primary]
    cluster.passes = lambda sender, to, frame: not (
        sender == primary and is_vote(frame, "pre-prepare") and frame_sequence(frame) > 3
    )
    cluster.submit(others[0], wanted(cluster, 0, FOUR, batch_max=100))
    cluster.advance(20_000)
    level(cluster, 1)
    assert any(is_vote(frame, "new-view") for frame in frames_of(cluster, [ConsensusMessage]))
    assert {node.replica.engine.status().view for node in cluster.nodes} == {0}
    for node in cluster.nodes:
        assert node.replica.engine.status().primary == node.replica.epoch.ids[1]
    cluster.heal()
    # Own view messages of the old epoch are neither re-sent nor taken for the new epoch's after a restart.
    for index in range(4):
        cluster.crash(index)
    for index in range(4):
        cluster.start(index)
    cluster.sent.clear()
    cluster.submit(0, cluster.transfer("bob", 0))
    cluster.advance(5_000)
    assert level(cluster, 1) > LAST
    assert not [f for f in frames_of(cluster, [ConsensusMessage]) if isinstance(f, ConsensusMessage) and not f.epoch]


# --- crashes --------------------------------------------------------------------------------------------------------


def writes_of_a_turn() -> int:
    cluster = cluster_of(outsiders=1)
    before = cluster.nodes[1].disk.writes
    cluster.submit(0, wanted(cluster, 0, [*FOUR, "v4"]))
    cluster.advance(6_000)
    return cluster.nodes[1].disk.writes - before


@pytest.mark.parametrize("victim", [0, 1, 3, 4])
def test_a_crash_at_any_write_of_a_turn_costs_nothing(victim: int) -> None:
    """Four become five and lose one again in the next turn, while one node loses its power at a write of the first."""
    count = writes_of_a_turn()
    for at in range(1 + victim, count + 1, CRASH_STEP):
        cluster = cluster_of(outsiders=1)
        node = cluster.nodes[victim]
        crash_at = node.disk.writes + at

        def power_fails(written: Node, node: Node = node, cluster: Cluster = cluster, crash_at: int = crash_at) -> None:
            if written is node and node.disk.writes == crash_at and node.up:
                cluster.crash(victim)

        cluster.after_write = power_fails
        cluster.submit(0 if victim else 1, wanted(cluster, 0, [*FOUR, "v4"]))
        cluster.advance(5_000)
        if not node.up:
            cluster.start(victim)
        cluster.advance(8_000)
        cluster.submit(2, wanted(cluster, 1, [*FOUR[:3], "v4"], sender="alice"))
        cluster.advance(12_000)
        assert level(cluster, 2) > LAST, at
        assert observes(cluster.nodes[3])


@pytest.mark.parametrize("certified", [False, True], ids=["before C is certified", "after"])
def test_all_crash_at_the_turn(certified: bool) -> None:
    cluster = cluster_of(outsiders=1)
    if not certified:
        cluster.passes = lambda sender, to, frame: not late_block_vote(frame)
    cluster.submit(0, wanted(cluster, 0, [*FOUR, "v4"]))
    cluster.settle()
    assert cluster.nodes[0].replica.tip.height == LAST
    assert epochs(cluster)[:4] == [int(certified)] * 4
    for index in range(5):
        cluster.crash(index)
    cluster.heal()
    for index in range(5):
        cluster.start(index)
        cluster.nodes[index].replica.sizes()
    cluster.advance(6_000)
    level(cluster, 1)
    cluster.submit(4, cluster.transfer("bob", 0))
    cluster.advance(3_000)
    assert level(cluster, 1) > LAST


def test_certificates_of_the_old_epoch_are_still_made_after_the_turn() -> None:
    cluster = cluster_of()
    # Nobody gets a vote for block 7 before the epoch has changed: its certificate needs the old validators.
    cluster.passes = lambda sender, to, frame: not (is_vote(frame, BLOCK_VOTE) and frame_sequence(frame) == 7)
    cluster.submit(0, wanted(cluster, 0, FOUR[:3]))
    cluster.settle()
    assert epochs(cluster) == [1] * 4
    assert {node.certified for node in cluster.nodes} == {6}
    for index in (1, 3):
        cluster.crash(index)
        cluster.start(index)
    cluster.heal()
    cluster.advance(5_000)
    assert level(cluster, 1) == LAST


# --- small sets -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nodes", [1, 2, 3])
def test_networks_that_tolerate_no_fault_run(nodes: int) -> None:
    cluster = cluster_of(nodes)
    for nonce in range(10):
        cluster.submit(nonce % nodes, cluster.transfer("alice", nonce))
        cluster.advance(100)
    cluster.advance(2_000)
    level(cluster, 0)
    assert len([transaction for ids in cluster.block_ids(cluster.nodes[0]) for transaction in ids]) == 10
    cluster.crash(nodes - 1)
    cluster.start(nodes - 1)
    cluster.submit(0, cluster.transfer("bob", 0))
    cluster.advance(5_000)
    level(cluster, 0)


def test_one_becomes_two_and_three_and_one_again() -> None:
    cluster = cluster_of(1, outsiders=2)
    sets = (["v0", "v1"], ["v0", "v1", "v2"], ["v2"])
    for turn, members in enumerate(sets):
        cluster.submit(turn % 3, wanted(cluster, turn, members))
        cluster.advance(8_000)
        level(cluster, turn + 1)
    cluster.submit(0, cluster.transfer("bob", 0))
    cluster.advance(4_000)
    level(cluster, 3)
    assert [observes(node) for node in cluster.nodes] == [True, True, False]
