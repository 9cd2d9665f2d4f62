"""View changes of whole clusters: liars, laggards, restarts, timers and bounds."""

from __future__ import annotations

import pytest
from pbft_cluster import NS_PER_MS, Cluster
from pbft_host import Host
from pbft_members import block_certificate, digest_of, make_proposal, sign, test_key

from potchain.blocks import null_request, proposal_digest
from potchain.codec import encode
from potchain.consensus.interface import (
    Certified,
    CheckProposal,
    ConsensusMessage,
    Discard,
    EngineStatus,
    MessageName,
    MessageReceived,
    Misbehaviour,
    WorkWaiting,
)
from potchain_pbft.log import VIEWS_AHEAD_MAX
from potchain_pbft.view_messages import NEW_VIEW, VIEW_CHANGE, NewView, ViewChange, body_digest

TIMEOUT_NS = 2_000 * NS_PER_MS
CAP_NS = 8_000 * NS_PER_MS
HUGE = 1 << 50


def status(host: Host) -> EngineStatus:
    assert host.engine is not None
    return host.engine.status()


def views(cluster: Cluster) -> list[tuple[int, str]]:
    """View and mode of every node that is up."""
    return [(status(host).view, status(host).mode) for host in cluster.hosts if host.engine is not None]


def busy(nodes: int = 4, **parameters: int) -> Cluster:
    """A proposal is accepted everywhere and prepared nowhere: every backup's time runs."""
    cluster = Cluster(nodes, **parameters)
    cluster.start()
    cluster.work(1)
    cluster.deliver(lambda packet: packet.message.kind == "pre-prepare")
    cluster.wire.clear()
    return cluster


def wait(cluster: Cluster, duration_ns: int = TIMEOUT_NS) -> None:
    """Time passes and everything is delivered as it comes."""
    cluster.advance(duration_ns, cluster.run)
    cluster.run()


def accuse(cluster: Cluster, *indexes: int) -> None:
    """The hosts of these nodes (none named: of all) say that work has been left out for long; no other timer fires."""
    cluster.now_ns += 2 * CAP_NS
    for host in cluster.hosts:
        if not indexes or host.index in indexes:
            host.feed(WorkWaiting(1, 0))


def resend_all(cluster: Cluster) -> None:
    for host in cluster.hosts:
        host.resend()
    cluster.run()


def empty_view_change(sender: int, view: int, stable: int = 0) -> ConsensusMessage:
    certificate = encode(block_certificate(stable, 0, 1, 2)) if stable else b""
    body = encode(ViewChange(stable, certificate, ()))
    return sign(sender, VIEW_CHANGE, view, 0, body_digest(body), body)


def bogus_new_view(sender: int, view: int, nodes: int = 4, salt: int = 7) -> ConsensusMessage:
    """Names view changes that do not exist."""
    members = sorted(test_key(index).address for index in range(nodes))[: Cluster(nodes).quorum.quorum]
    body = encode(NewView(tuple(MessageName(member, bytes([salt]) * 32) for member in members)))
    return sign(sender, NEW_VIEW, view, 0, body_digest(body), body)


def tell(cluster: Cluster, message: ConsensusMessage) -> None:
    """A faulty member's message reaches everyone else."""
    for host in cluster.hosts:
        if host.engine is not None and host.node != message.sender:
            host.receive(message)


# --- liars ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("view", [4, 4 * HUGE])
def test_a_new_view_of_nothing_far_ahead_does_not_keep_the_next_view_from_beginning(view: int) -> None:
    """Member 0 is the primary of view 4, 8, ... too, and may sign new views there at any time."""
    cluster = busy()
    tell(cluster, bogus_new_view(0, view))
    cluster.hosts[0].crash()
    wait(cluster)
    assert views(cluster) == [(1, "normal")] * 3
    cluster.work(1)
    cluster.run()
    assert [host.disk.executed for host in cluster.hosts] == [0, 1, 1, 1]


def test_a_new_view_of_nothing_in_the_next_view_is_given_up_when_its_time_is_over() -> None:
    cluster = busy()
    cluster.hosts[1].crash()
    accuse(cluster, 1, 2, 3)
    cluster.run()
    tell(cluster, bogus_new_view(1, 1))
    wait(cluster)
    assert views(cluster) == [(2, "normal")] * 3


def test_one_member_alone_moves_nobody_however_high_its_view() -> None:
    cluster = busy(7)
    tell(cluster, empty_view_change(6, HUGE))
    tell(cluster, empty_view_change(5, HUGE + 1))
    for kind in ("prepare", "commit"):
        tell(cluster, sign(6, kind, HUGE, 1, bytes(32)))
    assert views(cluster) == [(0, "normal")] * 7
    tell(cluster, empty_view_change(4, 3))
    assert views(cluster)[:4] == [(3, "view change")] * 4, "three have reached view 3: one of them is correct"


def test_two_view_changes_of_one_view_are_evidence_once() -> None:
    cluster = busy(checkpoint_interval=2)
    host = cluster.hosts[1]
    first, second, third = (empty_view_change(3, 5, stable) for stable in (0, 2, 4))
    for message in (first, second, third, second, first):
        host.receive(message)
    misbehaviour = [report for report in host.reports if isinstance(report, Misbehaviour)]
    assert misbehaviour == [Misbehaviour(first, second)]
    host.receive(empty_view_change(3, 6))
    host.receive(empty_view_change(3, 6, 2))
    assert len([report for report in host.reports if isinstance(report, Misbehaviour)]) == 2


def test_two_new_views_of_one_view_are_evidence_once() -> None:
    cluster = busy()
    host = cluster.hosts[1]
    first, second, third = (bogus_new_view(3, 3, salt=salt) for salt in (1, 2, 3))
    for message in (first, second, third, first):
        host.receive(message)
    assert [report for report in host.reports if isinstance(report, Misbehaviour)] == [Misbehaviour(first, second)]


def test_a_new_primary_must_propose_what_was_chosen() -> None:
    cluster = busy()
    cluster.hosts[1].crash()  # the faulty one; its key signs below
    prepared = make_proposal(cluster.epoch, 1)
    for host in cluster.hosts:
        if host.engine is not None:
            for member in (2, 3):
                host.receive(sign(member, "prepare", 0, 1, digest_of(prepared)))
    cluster.wire.clear()
    accuse(cluster)
    cluster.run()
    changes = [host.disk.own_messages[-1] for host in cluster.hosts if host.index != 1]
    assert [change.kind for change in changes] == [VIEW_CHANGE] * 3
    named = sorted(changes, key=lambda change: change.sender)
    body = encode(NewView(tuple(MessageName(change.sender, change.digest) for change in named)))
    tell(cluster, sign(1, NEW_VIEW, 1, 0, body_digest(body), body))
    assert views(cluster) == [(1, "normal")] * 3
    host = cluster.hosts[2]
    null = null_request(cluster.epoch.members and make_proposal(cluster.epoch, 1).header.genesis_hash, 0, 1)
    for wrong in (make_proposal(cluster.epoch, 1, 1, salt=9), null):
        host.reports.clear()
        host.receive(sign(1, "pre-prepare", 1, 1, digest_of(wrong), encode(wrong)))
        (report,) = host.reports
        assert isinstance(report, Discard)
        assert (report.reason, report.blame) == ("not the digest that the new view chose", True)
    host.receive(sign(1, "pre-prepare", 1, 1, digest_of(prepared), encode(prepared)))
    assert host.disk.own_messages[-1].kind == "prepare"


def test_a_null_request_is_refused_unless_a_new_view_chose_it() -> None:
    cluster = Cluster()
    cluster.start()
    genesis_hash = make_proposal(cluster.epoch, 1).header.genesis_hash
    null = null_request(genesis_hash, 0, 1)
    for _ in range(2):
        view = views(cluster)[1][0]
        host = cluster.hosts[3]
        host.reports.clear()
        host.receive(sign(view, "pre-prepare", view, 1, proposal_digest(null.header), encode(null)))
        (report,) = host.reports
        assert isinstance(report, Discard)
        assert "the proposer is" in report.reason
        accuse(cluster)
        cluster.run()
    assert views(cluster)[3] == (2, "normal")


# --- views that drift apart -----------------------------------------------------------------------------------------


def test_who_is_further_counts_when_the_others_wait_for_a_quorum() -> None:
    """Member 3 is faulty and shows its view change to node 0 alone. Node 0 goes on to view 2; nodes 1 and 2 are left in
    view 1, where no quorum will ever be, for only the newest view change of node 0 is sent again."""
    cluster = busy()
    cluster.hosts[3].crash()
    accuse(cluster, 1, 2)
    cluster.deliver(lambda packet: packet.to == 0)
    cluster.hosts[0].receive(empty_view_change(3, 1))
    cluster.wire.clear()
    cluster.advance(TIMEOUT_NS)
    assert [view for view, _ in views(cluster)] == [2, 1, 1]
    cluster.wire.clear()
    for _ in range(10):
        resend_all(cluster)
        cluster.answer_all()
        wait(cluster, 1_000 * NS_PER_MS)
    assert len(set(views(cluster))) == 1
    cluster.work(1)
    cluster.run()
    assert [host.disk.executed for host in cluster.hosts[:3]] == [1, 1, 1]


def test_an_old_certificate_is_executed_and_does_not_lower_the_view() -> None:
    cluster = Cluster()
    cluster.start()
    cluster.work(1)
    cluster.run(lambda packet: packet.to != 3)
    cluster.wire.clear()
    host = cluster.hosts[3]
    accuse(cluster, host.index)
    assert views(cluster)[3] == (1, "view change")
    host.certificate_from(cluster.hosts[1], 1)
    assert host.disk.executed == 1
    assert views(cluster)[3] == (1, "view change")
    before = list(host.disk.own_messages)
    cluster.wire.clear()
    cluster.work(1)
    cluster.run(lambda packet: packet.message.kind not in (VIEW_CHANGE, NEW_VIEW))
    cluster.answer_all()
    assert host.disk.own_messages == before, "it signs nothing below the view that it has announced"
    assert host.disk.executed == 2, "what the others commit is decided all the same"


def test_a_certificate_of_a_higher_view_raises_it_and_its_new_view_is_asked_for() -> None:
    cluster = Cluster()
    cluster.start()
    accuse(cluster, 0, 1, 2)
    cluster.run(lambda packet: packet.to != 3)
    cluster.work(1)
    cluster.run(lambda packet: packet.to != 3)
    cluster.wire.clear()
    host = cluster.hosts[3]
    host.certificate_from(cluster.hosts[2], 1)
    assert (host.disk.executed, views(cluster)[3]) == (1, (1, "following"))
    voted = len(host.disk.own_messages)
    cluster.work(1)
    cluster.run()
    assert host.proposal_from(cluster.hosts[2], host.fetches[0])
    assert (host.disk.executed, len(host.disk.own_messages)) == (2, voted), "it decides, and does not vote yet"
    cluster.answer_all()
    cluster.run()
    cluster.answer_all()
    cluster.run()
    assert views(cluster) == [(1, "normal")] * 4
    cluster.work(1)
    cluster.run()
    assert host.disk.own_messages[-1].view == 1


def test_an_observer_follows_the_others_into_a_view() -> None:
    cluster = Cluster(4, observers=1)
    cluster.start()
    cluster.hosts[0].crash()
    accuse(cluster)
    cluster.run()
    cluster.work(2)
    cluster.run()
    assert views(cluster) == [(1, "normal")] * 4
    assert [host.disk.executed for host in cluster.hosts] == [0, 2, 2, 2, 2]
    assert cluster.hosts[4].disk.own_messages == []


def test_an_observer_that_missed_everything_asks_for_the_newest_view() -> None:
    cluster = Cluster(4, observers=1)
    cluster.start()
    for _ in range(2):
        accuse(cluster)
        cluster.run(lambda packet: packet.to != 4)
    cluster.wire.clear()
    cluster.hosts[4].receive(bogus_new_view(1, 1))
    resend_all(cluster)
    for _ in range(3):
        wait(cluster, 1_000 * NS_PER_MS)
        cluster.answer_all()
        cluster.run()
    assert views(cluster) == [(2, "normal")] * 5


@pytest.mark.parametrize("nodes", [1, 2, 3])
def test_networks_without_faults_to_tolerate_change_views_too(nodes: int) -> None:
    cluster = busy(nodes)
    wait(cluster)
    expected = (0, "normal") if nodes == 1 else (1, "normal")
    assert views(cluster) == [expected] * nodes
    cluster.work(1)
    cluster.run()
    cluster.check_agreement(1)


# --- restart --------------------------------------------------------------------------------------------------------


def test_the_same_view_change_is_sent_after_a_restart_whatever_became_prepared_since() -> None:
    cluster = busy()
    host = cluster.hosts[2]
    accuse(cluster, host.index)
    (sent,) = [message for message in host.disk.own_messages if message.kind == VIEW_CHANGE]
    for member in (1, 3):
        host.receive(sign(member, "prepare", 0, 1, digest_of(make_proposal(cluster.epoch, 1))))
    host.crash()
    cluster.wire.clear()
    host.start()
    assert views(cluster)[2] == (1, "view change")
    host.resend()
    assert {packet.message for packet in cluster.wire if packet.message.kind == VIEW_CHANGE} == {sent}


@pytest.mark.parametrize("writes", range(1, 12))
def test_a_new_primary_that_crashes_anywhere_makes_no_second_new_view(writes: int) -> None:
    """The auditor of the cluster fails the test at a second one."""
    cluster = busy()
    cluster.hosts[0].crash()
    primary = cluster.hosts[1]
    primary.crash_at = primary.writes + writes
    cluster.batches = 2
    wait(cluster)
    primary.crash_at = None
    for _ in range(6):
        if primary.engine is None:
            primary.start()
        resend_all(cluster)
        cluster.answer_all()
        wait(cluster, 1_000 * NS_PER_MS)
        cluster.work(1)
        cluster.run()
    assert all(host.disk.executed >= 1 for host in cluster.hosts[1:])
    assert len(set(views(cluster))) == 1


def test_a_view_change_beyond_an_own_new_view_is_the_one_that_a_restart_finds() -> None:
    """Node 1 has made the new view of view 1, lost power before it could begin it, and left for view 2 afterwards."""
    cluster = busy()
    cluster.hosts[0].crash()
    host = cluster.hosts[1]
    host.crash_at = host.writes + 2  # its view change, its new view
    wait(cluster, TIMEOUT_NS)
    assert host.engine is None
    host.crash_at = None
    cluster.wire.clear()
    host.start()
    host.receive(empty_view_change(2, 2))
    host.receive(empty_view_change(3, 2))
    assert views(cluster)[0] == (2, "view change")
    host.crash()
    host.start()
    assert views(cluster)[0] == (2, "view change")
    host.receive(empty_view_change(2, 2))
    host.receive(empty_view_change(3, 2))
    assert "new-view" in host.timers, "it waits for view 2 no longer than the others"


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
    for height in (2, 4):
        cluster.work(2)
        cluster.run(lambda packet: packet.to != 1)
        cluster.certify(height, 0, 2, 3)
    cluster.work(1)
    cluster.run(lambda packet: packet.to != 1)
    cluster.wire.clear()
    for sequence in range(1, 6):
        host.certificate_from(cluster.hosts[2], sequence)
    assert (host.disk.executed, status(host).high_water_mark) == (5, 4)
    cluster.certify(4, 1)
    accuse(cluster)
    cluster.run()
    assert [ask.sequence for ask in host.fetches] == [5], "it was not kept above the mark"
    host.certificate_from(cluster.hosts[2], 5)
    cluster.run()
    assert [message.sequence for message in host.disk.own_messages if message.kind == "pre-prepare"] == [5]


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
    assert cluster.decided(1)[0] == proposal_digest(
        null_request(make_proposal(cluster.epoch, 1).header.genesis_hash, 0, 1).header
    )


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
        cluster.now_ns += 10 * CAP_NS
        for host in cluster.hosts:
            host.feed(WorkWaiting(1, 0))
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
