"""What the paper claims of view changes' correctness, claim by claim: Castro and Liskov, "Practical Byzantine Fault
Tolerance", OSDI'99, section 4.5. The engine is stepped by hand: an event in, effects out."""

from __future__ import annotations

from itertools import combinations

from pbft_members import make_epoch, make_proposal
from pbft_replica import EPOCH, TIMEOUT_NS, Replica, discarded
from pbft_replica_views import certificate, changed, expired, new_view, timers, view_change, waiting

from potchain.consensus.interface import (
    CancelTimer,
    TimerFired,
)
from potchain.genesis import Epoch
from potchain_pbft.view_messages import VIEW_CHANGE

FIRST = make_proposal(EPOCH, 1)
SEVEN = make_epoch(7)


# --- section 4.5.1 --------------------------------------------------------------------------------------------------


def test_what_a_quorum_has_prepared_is_chosen_by_every_quorum_of_view_changes() -> None:
    """Any two quorums share a correct replica: the certificate of a request that committed anywhere reaches every later
    view. Section 4.5.1."""
    holders = (0, 1, 3)
    changes = [view_change(sender, 2, *([certificate(FIRST)] if sender in holders else [])) for sender in range(4)]
    for chosen in combinations(changes, 3):
        backup = Replica(0)
        for message in (*chosen, new_view(2, *chosen)):
            effects = backup.receive(message)
        assert "base 0, 1 sequences chosen" in str(effects.report)


# --- section 4.5.2 --------------------------------------------------------------------------------------------------


def test_the_timer_for_a_new_view_starts_with_a_quorum_of_view_changes() -> None:
    """To avoid starting a view change too soon, a replica that multicasts a view change for v + 1 waits for 2f + 1 view
    changes for v + 1, and then starts its timer to expire after T. Section 4.5.2."""
    backup = waiting(3)
    effects = expired(backup)
    assert "new-view" not in timers(effects)
    assert CancelTimer("agreement") in effects.timers
    backup.echo(effects)
    assert "new-view" not in timers(backup.receive(view_change(0, 1)))
    assert timers(backup.receive(view_change(1, 1)))["new-view"] == TIMEOUT_NS
    assert timers(backup.receive(view_change(2, 1))) == {}, "once"


def test_without_a_new_view_it_moves_on_and_waits_twice_as_long() -> None:
    """If the timer expires before it receives a valid new view, it starts the view change for v + 2, but this time it
    waits 2T. Section 4.5.2."""
    backup = changed(3)
    for sender in (0, 2):
        backup.receive(view_change(sender, 1))
    effects = backup.step(TimerFired("new-view"))
    assert [(send.kind, send.view) for send in effects.send] == [(VIEW_CHANGE, 2)]
    backup.echo(effects)
    for sender in (0, 1):
        effects = backup.receive(view_change(sender, 2))
    assert timers(effects)["new-view"] == 2 * TIMEOUT_NS


def test_a_new_view_that_executes_nothing_new_is_left_after_the_same_time() -> None:
    """... or before it executes a request in the new view that it had not executed previously. Section 4.5.2."""
    backup = changed(3)
    changes = [view_change(sender, 1, certificate(FIRST)) for sender in (0, 1, 2)]
    for message in (*changes, new_view(1, *changes)):
        effects = backup.receive(message)
    assert timers(effects) == {"agreement": TIMEOUT_NS}
    effects = expired(backup)
    assert [(send.kind, send.view) for send in effects.send] == [(VIEW_CHANGE, 2)]


def joining(epoch: Epoch, views: list[int]) -> int | None:
    """The view for which replica 0 sends a view change when others announce these."""
    replica = Replica(0, epoch)
    joined = None
    for sender, view in enumerate(views, start=1):
        for send in replica.receive(view_change(sender, view)).send:
            joined = send.view
    return joined


def test_view_changes_of_a_weak_quorum_are_joined_even_if_no_timer_expired() -> None:
    """If a replica receives f + 1 valid view changes from others for views greater than its own, it sends a view change
    for the smallest view in the set. Section 4.5.2."""
    assert joining(EPOCH, [1]) is None
    assert joining(EPOCH, [1, 1]) == 1
    assert joining(EPOCH, [5, 3]) == 3
    assert joining(SEVEN, [2, 9]) is None
    assert joining(SEVEN, [2, 9, 4]) == 2


def test_of_more_than_a_weak_quorum_the_highest_view_that_so_many_have_reached_is_joined() -> None:
    """Deviation from 4.5.2: the smallest view of *some* f + 1 of them; f + 1 contain a correct one."""
    assert joining(EPOCH, [3, 5, 6]) == 5
    assert joining(SEVEN, [1, 2, 3, 4, 5]) == 3


def test_faulty_replicas_alone_force_no_view_change() -> None:
    """A faulty replica cannot cause a view change by sending a view change: at least f + 1 are needed. 4.5.2."""
    for count in range(1, 3):
        assert joining(SEVEN, [10**9] * count) is None


def test_a_replica_in_a_higher_view_does_not_go_back() -> None:
    """View changes are for views greater than its current view. Section 4.5.2."""
    replica = changed(3)
    for sender in (0, 1):
        replica.receive(view_change(sender, 4))
    assert replica.engine.status().view == 4
    for sender in (0, 1, 2):
        assert replica.receive(view_change(sender, 3)).send == ()
    changes = [view_change(sender, 2) for sender in (0, 1, 2)]
    assert "is over" in discarded(replica.receive(new_view(2, *changes)))
    assert replica.engine.status().view == 4
