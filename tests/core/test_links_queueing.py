"""A node's way out: exact bandwidth, order, urgency, phases, changes; against a reference made of fractions."""

from __future__ import annotations

from math import ceil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from links_reference import Offer, left_at

from potchain.links import ANY, OFF, Conditions, Departure, LinkProfile, Outbound, Phase, Rule
from potchain.primitives import NS_PER_S

RECEIVERS = ("a", "b", "c")


def phase(from_ns: int = 0, *, link: int = 0, up: int = 0, only: dict[str, int] | None = None) -> Phase:
    """Bandwidth of every link, of the uplink, and of the links to some receivers."""
    rules = [Rule(conditions=Conditions(bandwidth_bits_per_s=link))]
    rules += [
        Rule(sender="me", receiver=name, conditions=Conditions(bandwidth_bits_per_s=rate))
        for name, rate in (only or {}).items()
    ]
    return Phase(from_ns=from_ns, rules=tuple(rules), up_bits_per_s=up)


def latency(**conditions: object) -> LinkProfile:
    """One phase with these conditions on all links."""
    rule = Rule(sender=ANY, receiver=ANY, conditions=Conditions(**conditions))
    return LinkProfile(seed=5, phases=(Phase(rules=(rule,)),)).checked()


def drain(outbound: Outbound, now_ns: int = 0) -> list[Departure]:
    """Ask whenever the model says so, until nothing waits."""
    found = outbound.collect(now_ns)
    while (due_ns := outbound.next_ns(now_ns)) is not None:
        now_ns = due_ns
        found += outbound.collect(now_ns)
    return found


RATES = st.sampled_from((0, 100, 10_000, 999_983, 25_000_000, 10**10, 10**12))


@st.composite
def profiles(draw: st.DrawFn) -> LinkProfile:
    starts = [0, *sorted(draw(st.sets(st.integers(1, 2_000_000), max_size=4)))]
    return LinkProfile(
        phases=tuple(
            phase(start, link=draw(RATES), up=draw(RATES), only={draw(st.sampled_from(RECEIVERS)): draw(RATES)})
            for start in starts
        )
    ).checked()


OFFERS = st.lists(
    st.builds(
        Offer,
        st.integers(0, 2_500_000),
        st.sampled_from(RECEIVERS),
        st.one_of(st.integers(1, 200), st.integers(1, 70_000)),
        st.booleans(),
    ),
    max_size=25,
)


@settings(max_examples=300, deadline=None)
@given(profiles(), OFFERS, st.lists(st.integers(0, 3_000_000), max_size=10))
def test_frames_leave_when_exact_arithmetic_says_so(
    profile: LinkProfile, offers: list[Offer], asked: list[int]
) -> None:
    offers.sort(key=lambda each: each.at_ns)
    outbound = Outbound(profile, "me", 0)
    departures: list[Departure] = []
    asked.sort()
    for number, offer in enumerate(offers):
        while asked and asked[0] <= offer.at_ns:
            departures += outbound.collect(asked.pop(0))
        outbound.offer(offer.receiver, number, offer.size_bytes, urgent=offer.urgent, now_ns=offer.at_ns)
    departures += drain(outbound, offers[-1].at_ns if offers else 0)
    expected = left_at(profile, "me", offers)
    assert sorted(each.item for each in departures) == list(range(len(offers)))  # type: ignore[type-var]
    assert [each.left_ns for each in departures] == sorted(each.left_ns for each in departures)
    for each in departures:
        assert isinstance(each.item, int)
        assert ceil(expected[each.item]) <= each.left_ns <= ceil(expected[each.item]) + 1
        assert each.arrives_ns == (each.left_ns,)
    for name in RECEIVERS:
        assert outbound.waiting_bytes(name, urgent=True) == outbound.waiting_bytes(name, urgent=False) == 0


@pytest.mark.parametrize("rate", [10_000, 1_048_576, 25_000_000, 10_000_000_000, 10**12])
@pytest.mark.parametrize("shared", [True, False])
def test_bytes_through_are_bandwidth_times_time(rate: int, shared: bool) -> None:
    outbound = Outbound(LinkProfile(phases=(phase(up=rate if shared else 0, link=0 if shared else rate),)), "me", 7)
    sizes = [1 + 37 * number % 1009 for number in range(500)]
    for number, size in enumerate(sizes):
        outbound.offer("a", number, size, urgent=number % 5 == 0, now_ns=7)
    departures = drain(outbound, 7)
    bits = 0
    for departure in departures:
        bits += 8 * departure.size_bytes
        assert departure.left_ns == 7 + -(-bits * NS_PER_S // rate), "rounded once, not once for each frame"
    assert sum(each.sending_ns for each in departures) == departures[-1].left_ns - 7


def test_a_vote_interrupts_bulk_between_two_bits() -> None:
    outbound = Outbound(LinkProfile(phases=(phase(link=1_000),)), "me", 0)
    outbound.offer("a", "bulk", 125, urgent=False, now_ns=0)  # a second
    outbound.offer("a", "more", 125, urgent=False, now_ns=0)
    outbound.offer("a", "vote", 25, urgent=True, now_ns=333_333_333)
    outbound.offer("a", "later vote", 25, urgent=True, now_ns=400_000_000)
    departures = {each.item: (each.left_ns, each.sending_ns) for each in drain(outbound, 400_000_000)}
    assert departures == {
        "vote": (533_333_333, 200_000_000),
        "later vote": (733_333_333, 200_000_000),
        "bulk": (1_400_000_000, 1_000_000_000),
        "more": (2_400_000_000, 1_000_000_000),
    }


def test_a_vote_that_comes_late_does_not_go_back_in_time() -> None:
    """Between two calls of `collect` frames leave as if one had asked all the time."""
    outbound = Outbound(LinkProfile(phases=(phase(link=1_000),)), "me", 0)
    outbound.offer("a", "bulk", 125, urgent=False, now_ns=0)
    outbound.offer("a", "vote", 25, urgent=True, now_ns=5 * NS_PER_S)
    assert [(each.item, each.left_ns) for each in drain(outbound, 9 * NS_PER_S)] == [
        ("bulk", NS_PER_S), ("vote", 5_200_000_000)
    ]  # fmt: skip


def test_receivers_share_an_uplink_first_come_first_served() -> None:
    outbound = Outbound(LinkProfile(phases=(phase(up=8_000),)), "me", 0)
    for number in range(6):
        outbound.offer(RECEIVERS[number % 3], number, 1_000, urgent=False, now_ns=number)
    assert [(each.item, each.left_ns) for each in drain(outbound)] == [
        (number, (number + 1) * NS_PER_S) for number in range(6)
    ]


def test_links_of_their_own_do_not_wait_for_each_other() -> None:
    outbound = Outbound(LinkProfile(phases=(phase(link=8_000),)), "me", 0)
    for name in RECEIVERS:
        outbound.offer(name, name, 1_000, urgent=False, now_ns=0)
    assert {each.left_ns for each in drain(outbound)} == {NS_PER_S}


def test_a_rate_that_changes_in_the_middle_of_a_frame() -> None:
    half = NS_PER_S // 2
    phases = (phase(link=8_000), phase(half, link=2_000), phase(2 * half), phase(3 * half, link=100))
    outbound = Outbound(LinkProfile(phases=phases), "me", 0)
    outbound.offer("a", "first", 600, urgent=False, now_ns=0)  # 4,000 bits, then 800 of 1,000
    outbound.offer("a", "second", 5_000, urgent=False, now_ns=0)  # 200 bits more, and the rest at no limit
    assert outbound.next_ns(0) == half
    found = [(each.item, each.left_ns, each.sending_ns) for each in drain(outbound)]
    assert found == [("first", 900_000_000, 900_000_000), ("second", NS_PER_S, 100_000_000)]
    outbound.offer("a", "unlimited", 5_000, urgent=False, now_ns=NS_PER_S + 1)
    assert outbound.next_ns(NS_PER_S + 1) == NS_PER_S + 1
    assert [each.left_ns for each in outbound.collect(NS_PER_S + 1)] == [NS_PER_S + 1]
    assert outbound.next_ns(NS_PER_S + 1) is None


def test_another_profile_takes_over_what_waits() -> None:
    outbound = Outbound(LinkProfile(phases=(phase(link=8_000),)), "me", 0)
    for number in range(6):
        outbound.offer(RECEIVERS[number % 3], number, 1_000, urgent=False, now_ns=0)
    outbound.change(LinkProfile(seed=1, phases=(phase(up=12_000),)), NS_PER_S // 2)
    # Half of each link's first frame has passed: 3 times 4,000 bits are left, then 3 times 8,000.
    third, two_thirds = NS_PER_S // 3 + 1, 2 * NS_PER_S // 3 + 1
    left = [each.left_ns - NS_PER_S // 2 for each in drain(outbound, NS_PER_S // 2)]
    assert left == [
        third, two_thirds, NS_PER_S, NS_PER_S + two_thirds, 2 * NS_PER_S + third, 3 * NS_PER_S
    ]  # fmt: skip
    for number in range(6):
        outbound.offer("a", number, 1_000, urgent=number == 4, now_ns=5 * NS_PER_S)
    outbound.change(OFF, 6 * NS_PER_S)
    found = [(each.item, each.left_ns) for each in outbound.collect(6 * NS_PER_S)]
    # The vote in two thirds of a second, so a third and a half of the next 8,000 bits in the rest: no frame more.
    assert found == [(4, 5 * NS_PER_S + two_thirds), *((number, 6 * NS_PER_S) for number in (0, 1, 2, 3, 5))]
    assert outbound.next_ns(6 * NS_PER_S) is None


def test_what_waits_for_a_peer_that_left_is_lost_and_its_time_is_gone() -> None:
    outbound = Outbound(LinkProfile(phases=(phase(up=8_000),)), "me", 0)
    outbound.offer("a", "first", 1_000, urgent=False, now_ns=0)
    outbound.offer("b", "second", 1_000, urgent=False, now_ns=0)
    outbound.offer("a", "third", 1_000, urgent=True, now_ns=NS_PER_S // 4)
    assert outbound.waiting_bytes("a", urgent=False) == 1_000
    assert outbound.forget("a", NS_PER_S // 2) == 2
    assert outbound.forget("a") == 0
    assert outbound.waiting_bytes("a", urgent=False) == 0
    assert [(each.item, each.left_ns) for each in drain(outbound)] == [("second", 3 * NS_PER_S // 2)]


def test_frames_keep_their_order_unless_they_may_overtake() -> None:
    for reorder in (False, True):
        profile = latency(latency_ns=300_000_000, distribution="uniform", reorder=reorder)
        outbound = Outbound(profile, "me", 0)
        for number in range(200):
            outbound.offer("a", number, 100, urgent=False, now_ns=number)
        arrivals = [each.arrives_ns[0] for each in outbound.collect(200)]
        assert all(30_000_000 <= at - number <= 300_000_000 for number, at in enumerate(arrivals) if reorder)
        assert (arrivals == sorted(arrivals)) is not reorder


def test_a_duplicate_holds_nothing_up() -> None:
    profile = latency(latency_ns=200_000_000, distribution="jitter", jitter_ns=200_000_000, duplicate_ppm=999_999)
    outbound = Outbound(profile, "me", 0)
    single = Outbound(latency(latency_ns=200_000_000, distribution="jitter", jitter_ns=200_000_000), "me", 0)
    for number in range(100):
        outbound.offer("a", number, 100, urgent=False, now_ns=number)
        single.offer("a", number, 100, urgent=False, now_ns=number)
    twice, once = outbound.collect(100), single.collect(100)
    assert all(len(each.arrives_ns) == 2 for each in twice)
    assert [each.arrives_ns[0] for each in twice] == [each.arrives_ns[0] for each in once]
    before = 0
    for each in twice:
        assert min(each.arrives_ns) >= before
        before = each.arrives_ns[0]


def test_loss_is_as_frequent_as_asked_and_takes_bandwidth() -> None:
    rule = Rule(conditions=Conditions(bandwidth_bits_per_s=8_000_000, loss_ppm=50_000))
    outbound = Outbound(LinkProfile(seed=3, phases=(Phase(rules=(rule,)),)), "me", 0)
    for number in range(20_000):
        outbound.offer("a", number, 1_000, urgent=False, now_ns=0)
    departures = drain(outbound)
    assert departures[-1].left_ns == 20 * NS_PER_S
    assert 900 <= sum(not each.arrives_ns for each in departures) <= 1_100
