"""View changes of whole clusters: liars, views that drift apart, restarts."""

from __future__ import annotations

import pytest
from pbft_cluster import NS_PER_MS, Cluster
from pbft_members import GENESIS_HASH, digest_of, make_proposal, sign
from pbft_scenes import (
    HUGE,
    TIMEOUT_NS,
    accuse,
    bogus_new_view,
    busy,
    empty_view_change,
    resend_all,
    tell,
    views,
    wait,
)

from potchain.blocks import null_request, proposal_digest
from potchain.codec import encode
from potchain.consensus.interface import (
    Discard,
    MessageName,
    Misbehaviour,
)
from potchain_pbft.view_messages import NEW_VIEW, VIEW_CHANGE, NewView, body_digest

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
    null = null_request(GENESIS_HASH, 0, 1)
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
    null = null_request(GENESIS_HASH, 0, 1)
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


def fail_over(crash_after: dict[int, int]) -> Cluster:
    """Node 0 is gone for good; the others lose power after so many durable writes in the view change, and come back."""
    cluster = busy()
    cluster.hosts[0].crash()
    for index, writes in crash_after.items():
        cluster.hosts[index].crash_at = cluster.hosts[index].writes + writes
    cluster.batches = 1
    wait(cluster)
    cluster.work(1)
    cluster.run()
    for host in cluster.hosts[1:]:
        host.crash_at = None
        if host.engine is None:
            host.start()
    return cluster


def check_recovery(cluster: Cluster) -> None:
    """The auditor of the cluster fails the test at a second view change, new view or vote."""
    for _ in range(8):
        resend_all(cluster)
        cluster.answer_all()
        wait(cluster, 1_000 * NS_PER_MS)
        cluster.work(1)
        cluster.run()
    assert all(host.disk.executed >= 2 for host in cluster.hosts[1:])
    assert len(set(views(cluster))) == 1


@pytest.mark.parametrize("index", [1, 2, 3])
def test_a_crash_at_any_write_of_a_view_change_contradicts_nothing(index: int) -> None:
    quiet = busy()
    before = quiet.hosts[index].writes
    last = fail_over({}).hosts[index].writes - before
    assert last > 6
    for writes in range(1, last + 1):
        check_recovery(fail_over({index: writes}))


def test_all_nodes_crash_in_the_middle_of_a_view_change() -> None:
    for writes in range(1, 9):
        check_recovery(fail_over({1: writes, 2: writes, 3: writes}))
        check_recovery(fail_over({1: writes, 2: 1, 3: 9 - writes}))


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
