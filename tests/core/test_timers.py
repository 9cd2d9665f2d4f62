"""Timers with generations: the late firing of a cancelled or replaced one is ignored."""

from potchain.replica.actions import StartTimer
from potchain.replica.outbox import Outbox
from potchain.replica.timers import Timers


def test_a_timer_fires_once() -> None:
    outbox = Outbox()
    timers = Timers(outbox)
    timers.start("tick", 0, 100)
    assert outbox.drain() == [StartTimer("tick", 1, 100)]
    assert timers.next() == ("tick", 100)
    assert timers.fired("tick", 1)
    assert not timers.fired("tick", 1)
    assert timers.next() is None


def test_a_replaced_or_cancelled_timer_does_not_count() -> None:
    outbox = Outbox()
    timers = Timers(outbox)
    timers.start("view", 0, 100)
    timers.start("view", 50, 100)
    assert not timers.fired("view", 1)
    timers.cancel("view")
    timers.cancel("view")
    timers.cancel("never")
    assert not timers.fired("view", 2)
    timers.start("view", 60, 10)
    generation = [action.generation for action in outbox.drain() if isinstance(action, StartTimer)][-1]
    assert not timers.fired("view", 2)
    assert timers.fired("view", generation)


def test_start_at_keeps_one_that_is_due_then_already() -> None:
    outbox = Outbox()
    timers = Timers(outbox)
    timers.start_at("batch", 10, 100)
    timers.start_at("batch", 20, 100)
    assert outbox.drain() == [StartTimer("batch", 1, 90)]
    timers.start_at("batch", 30, 90)
    timers.start_at("batch", 95, 80)
    assert outbox.drain() == [StartTimer("batch", 2, 60), StartTimer("batch", 3, 0)]
    timers.start_at("batch", 95, None)
    assert timers.next() is None
    assert not timers.fired("batch", 3)


def test_the_next_is_the_earliest() -> None:
    timers = Timers(Outbox())
    timers.start("a", 0, 300)
    timers.start("b", 0, 200)
    assert timers.next() == ("b", 200)


def test_a_stranger_s_firing_does_not_count() -> None:
    assert not Timers(Outbox()).fired("never", 1)
