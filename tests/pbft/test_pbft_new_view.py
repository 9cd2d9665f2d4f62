"""What a new view needs and what it waits for: proposals, bodies, time; and the bounds on all that is kept."""

from __future__ import annotations

from pbft_cluster import NS_PER_MS, Cluster
from pbft_members import GENESIS_HASH, block_certificate, digest_of, make_proposal, sign, test_key
from pbft_scenes import (
    CAP_NS,
    TIMEOUT_NS,
    accuse,
    bogus_new_view,
    busy,
    empty_view_change,
    resend_all,
    status,
    views,
)

from potchain.blocks import null_request, proposal_digest
from potchain.codec import encode
from potchain.consensus.interface import (
    Certified,
    CheckProposal,
    MessageReceived,
)
from potchain_pbft.log import VIEWS_AHEAD_MAX
from potchain_pbft.view_messages import VIEW_CHANGE

# --- availability ---------------------------------------------------------------------------------------------------


def lonely_primary(**parameters: int) -> Cluster:
    """All but node 1 have prepared a proposal in view 0; node 1 becomes the primary and has never seen it."""
    cluster = Cluster(4, **parameters)
    cluster.start()
    cluster.work(1)
    cluster.run(lambda packet: packet.to != 1 and packet.message.kind != "commit")
    cluster.wire.clear()
    accuse(cluster)
    cluster.run()
    assert views(cluster)[1] == (1, "normal")
    assert [(ask.sequence, ask.digest) for ask in cluster.hosts[1].fetches] == [
        (1, digest_of(make_proposal(cluster.epoch, 1)))
    ]
    return cluster


def test_a_new_primary_fetches_what_it_lacks_until_it_comes() -> None:
    cluster = lonely_primary()
    host = cluster.hosts[1]
    host.fetches.clear()
    cluster.advance(1_000 * NS_PER_MS)
    assert len(host.fetches) == 1, "it asks again"
    cluster.answer_all()
    cluster.run()
    cluster.check_agreement(1)


def test_a_new_primary_that_gets_it_decided_proposes_it_all_the_same() -> None:
    cluster = Cluster()
    cluster.start()
    cluster.work(1)
    cluster.run(lambda packet: packet.to != 1)
    cluster.wire.clear()
    accuse(cluster)
    cluster.run()
    host = cluster.hosts[1]
    host.certificate_from(cluster.hosts[2], 1)
    assert [message.kind for message in host.disk.own_messages][-1] == "pre-prepare"
    cluster.run()
    assert host.disk.own_messages[-1].kind == "commit"
    cluster.check_agreement(1)


def test_what_was_decided_above_the_high_mark_can_be_proposed_again_once_it_is_below() -> None:
    cluster = Cluster(4, checkpoint_interval=2, log_window=4)
    cluster.start()
    host = cluster.hosts[1]
    for height in (2, 4, 6, 8):
        cluster.work(2)
        cluster.run(lambda packet: packet.to != 1)
        cluster.certify(height, 0, 2, 3)
    cluster.work(1)
    cluster.run(lambda packet: packet.to != 1)
    cluster.wire.clear()
    for sequence in range(1, 10):
        host.certificate_from(cluster.hosts[2], sequence)
    assert (host.disk.executed, status(host).high_water_mark) == (9, 4)
    cluster.certify(8, 1)
    accuse(cluster)
    cluster.run()
    assert [ask.sequence for ask in host.fetches] == [9], "it was not kept two windows above the mark"
    host.certificate_from(cluster.hosts[2], 9)
    cluster.run()
    assert [message.sequence for message in host.disk.own_messages if message.kind == "pre-prepare"] == [9]


def test_what_a_new_view_chose_is_not_checked_for_clock_and_proposer() -> None:
    cluster = Cluster()
    cluster.start()
    cluster.work(1)
    cluster.run(lambda packet: packet.to != 3 and packet.message.kind != "commit")
    cluster.wire.clear()
    host = cluster.hosts[3]
    host.answers_checks = False
    accuse(cluster)
    cluster.run()
    (check,) = host.checks
    assert isinstance(check, CheckProposal)
    assert (check.view, check.fresh) == (1, False)
    assert set(check.sources) == {test_key(index).address for index in (0, 1, 2)}, "those who signed its certificate"
    host.answer_check()
    assert [message.kind for message in host.disk.own_messages[-2:]] == ["prepare", "commit"]


def test_a_node_below_the_base_of_a_view_votes_above_it_and_catches_up_below() -> None:
    cluster = Cluster(4, checkpoint_interval=2, log_window=4)
    cluster.start()
    cluster.work(3)
    cluster.run(lambda packet: packet.to != 3)
    cluster.certify(2, 0, 1, 2)
    cluster.wire.clear()
    accuse(cluster)
    cluster.run()
    host = cluster.hosts[3]
    assert views(cluster) == [(1, "normal")] * 4
    assert (host.disk.executed, list(host.ahead)) == (0, [3])
    for sequence in (1, 2):
        host.certificate_from(cluster.hosts[0], sequence)
    cluster.check_agreement(3)


# --- timers ---------------------------------------------------------------------------------------------------------


def test_timeouts_double_to_the_cap_and_are_back_with_progress() -> None:
    cluster = busy()
    cluster.hosts[0].crash()
    survivors = cluster.hosts[1:]
    waits = []
    wait_ns = TIMEOUT_NS
    for view in range(1, 6):  # everyone hears the others' view changes, and nobody a new view
        cluster.advance(wait_ns)
        cluster.run(lambda packet: packet.message.kind == VIEW_CHANGE)
        cluster.wire.clear()
        assert {status(host).view for host in survivors} == {view}
        (wait_ns,) = {host.timers["new-view"] - cluster.now_ns for host in survivors if "new-view" in host.timers}
        waits.append(wait_ns)
    assert waits == [TIMEOUT_NS, 2 * TIMEOUT_NS, CAP_NS, CAP_NS, CAP_NS]
    cluster.advance(CAP_NS, cluster.run)
    assert views(cluster) == [(6, "normal")] * 3
    assert {status(host).view_timeout_ns for host in survivors} == {CAP_NS}
    cluster.work(1)
    cluster.run()
    assert [host.disk.executed for host in survivors] == [1, 1, 1]
    assert {status(host).view_timeout_ns for host in survivors} == {TIMEOUT_NS}


def test_the_primary_of_a_view_does_not_accuse_itself() -> None:
    cluster = busy()
    cluster.advance(10 * TIMEOUT_NS)
    assert [view for view, _ in views(cluster)] == [0, 1, 1, 1]


def test_left_out_work_is_asked_for_once_more_before_the_primary_is_accused() -> None:
    cluster = Cluster()
    cluster.start()
    host = cluster.hosts[1]
    host.neglected_ns = 0
    host.tell_work()
    assert host.timers == {"work": TIMEOUT_NS // 2}, "half-way its host is asked, and forwards it"
    cluster.advance(TIMEOUT_NS // 2)
    assert host.timers == {"work": TIMEOUT_NS}
    host.neglected_ns = 500 * NS_PER_MS
    cluster.advance(TIMEOUT_NS // 2)
    assert host.timers == {"work": TIMEOUT_NS + 500 * NS_PER_MS}, "it was taken in the meantime, something else waits"
    host.neglected_ns = None
    cluster.advance(TIMEOUT_NS)
    assert (host.timers, views(cluster)[1]) == ({}, (0, "normal"))
    host.neglected_ns = 0
    host.tell_work()
    assert views(cluster)[1] == (1, "view change")


def test_a_primary_that_leaves_a_gap_is_accused_although_it_decides_what_is_above() -> None:
    """Nothing was ever heard of sequence 1, and what is decided above it can never be executed."""
    cluster = Cluster()
    cluster.start()
    cluster.work(5)
    cluster.drop(lambda packet: packet.message.sequence == 1)
    for sequence in (2, 3, 4, 5):
        cluster.run(lambda packet, sequence=sequence: packet.message.sequence == sequence)  # type: ignore[misc]
        cluster.advance(TIMEOUT_NS // 4 - 1)
    assert [sorted(host.ahead) for host in cluster.hosts] == [[2, 3, 4, 5]] * 4
    assert views(cluster) == [(0, "normal")] * 4
    cluster.advance(4)
    cluster.run()
    assert views(cluster) == [(1, "normal")] * 4
    assert [host.disk.executed for host in cluster.hosts] == [5] * 4
    assert cluster.decided(1)[0] == proposal_digest(null_request(GENESIS_HASH, 0, 1).header)


def test_who_is_behind_does_not_accuse_for_what_the_others_have_certified() -> None:
    cluster = Cluster()
    cluster.start()
    cluster.work(1)
    cluster.run(lambda packet: packet.to != 3)
    cluster.wire.clear()
    cluster.work(1)
    cluster.run()
    host = cluster.hosts[3]
    assert list(host.ahead) == [2]
    host.feed(Certified(1, block_certificate(1, 0, 1, 2)))
    cluster.advance(2 * TIMEOUT_NS)
    assert views(cluster)[3] == (0, "normal")


def test_a_primary_that_does_not_fill_up_to_the_end_of_the_epoch_is_accused() -> None:
    cluster = Cluster(4, checkpoint_interval=2, log_window=4)
    cluster.epoch_change = 1
    cluster.start()
    cluster.work(1)
    cluster.run(lambda packet: packet.message.sequence == 1)
    cluster.hosts[0].crash()
    cluster.wire.clear()
    cluster.advance(TIMEOUT_NS)
    for host in cluster.hosts:
        host.tell_work()
    cluster.run()
    assert views(cluster) == [(1, "normal")] * 3
    cluster.certify(2)
    cluster.run()
    cluster.certify(4)
    cluster.run()
    assert [host.disk.executed for host in cluster.hosts[1:]] == [6] * 3, "an epoch of 6, filled with empty proposals"


# --- bounds ---------------------------------------------------------------------------------------------------------


def test_floods_of_view_messages_stay_within_one_of_each_member() -> None:
    cluster = busy(checkpoint_interval=2, log_window=4)
    host = cluster.hosts[1]
    assert host.engine is not None
    for view in range(1, 200):
        for stable in (0, 2):
            host.receive(empty_view_change(3, view, stable))
        host.receive(bogus_new_view(3, 4 * view + 3))
        for sequence in range(1, 5):
            host.receive(sign(3, "commit", view, sequence, bytes([view]) * 32))
            proposal = make_proposal(cluster.epoch, sequence, 4 * view + 3)
            host.receive(sign(3, "pre-prepare", 4 * view + 3, sequence, digest_of(proposal), encode(proposal)))
    buffers = status(host).buffers
    assert buffers["view_changes"] <= 4
    assert buffers["new_views"] <= 4
    assert buffers["view_changes_of_new_view"] <= 4
    assert buffers["views_seen"] <= 4
    assert buffers["slots"] <= 4 * (VIEWS_AHEAD_MAX + 1)
    assert buffers["commits"] <= 4 * (VIEWS_AHEAD_MAX + 1)
    assert views(cluster)[1] == (0, "normal")


def test_many_view_changes_leave_a_bounded_log_before_and_after_a_restart() -> None:
    cluster = Cluster(4, checkpoint_interval=2, log_window=4, in_flight_max=4)
    cluster.start()
    for _ in range(12):
        cluster.work(4)
        cluster.run(lambda packet: packet.message.kind not in ("commit", "view-change", "new-view"))
        cluster.wire = [packet for packet in cluster.wire if packet.message.kind != "commit"]
        accuse(cluster)
        cluster.run(lambda packet: packet.message.kind in ("view-change", "new-view"))
    host = cluster.hosts[2]
    assert status(host).view == 12
    for _ in range(2):
        buffers = status(host).buffers
        assert buffers["slots"] <= 4 * 4
        assert buffers["prepares"] <= 4 * 4 * 4
        host.crash()
        host.start()
    resend_all(cluster)
    cluster.run()
    cluster.check_agreement(4)


def test_a_view_change_of_a_full_window_stays_far_below_the_bound_on_messages() -> None:
    cluster = Cluster(4)
    cluster.start()
    for host in cluster.hosts:
        assert host.engine is not None
    cluster.work(200)
    cluster.run()
    host = cluster.hosts[1]
    assert host.disk.executed == 128
    accuse(cluster, host.index)
    change = host.disk.own_messages[-1]
    assert change.kind == VIEW_CHANGE
    assert len(change.body) < 64 * 1024
    cluster.hosts[2].receive(change)
    assert cluster.hosts[2].events[-1] == MessageReceived(change)
