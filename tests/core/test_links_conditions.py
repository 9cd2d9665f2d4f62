"""Profiles of links: which rule holds, what is off, and what no link can have."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from potchain.errors import LinkError
from potchain.links import ANY, OFF, UNSHAPED, Conditions, LinkProfile, Phase, Rule

NAMES = st.sampled_from((ANY, "a", "b", "c"))


@given(st.lists(st.tuples(NAMES, NAMES), max_size=12), st.sampled_from("abcd"), st.sampled_from("abcd"))
def test_the_last_rule_that_fits_holds(pairs: list[tuple[str, str]], sender: str, receiver: str) -> None:
    rules = tuple(
        Rule(sender=one, receiver=other, conditions=Conditions(latency_ns=number + 1))
        for number, (one, other) in enumerate(pairs)
    )
    fitting = [
        rule.conditions for rule in rules if rule.sender in (ANY, sender) and rule.receiver in (ANY, receiver)
    ]
    profile = LinkProfile(phases=(Phase(rules=rules),))
    assert profile.conditions(0, sender, receiver) == (fitting[-1] if fitting else UNSHAPED)


@pytest.mark.parametrize(
    "profile",
    [
        OFF,
        LinkProfile(seed=3),
        LinkProfile(phases=(Phase(), Phase(from_ns=5))),
        LinkProfile(phases=(Phase(rules=(Rule(conditions=Conditions(distribution="uniform", reorder=True)),)),)),
    ],
)
def test_zero_is_off(profile: LinkProfile) -> None:
    assert profile.off


@pytest.mark.parametrize("field", ["bandwidth_bits_per_s", "latency_ns", "loss_ppm", "duplicate_ppm"])
def test_anything_else_is_not(field: str) -> None:
    rule = Rule(receiver="b", conditions=Conditions(**{field: 1_000}))
    assert not LinkProfile(phases=(Phase(), Phase(from_ns=1, rules=(rule,)))).off


@pytest.mark.parametrize("field", ["up_bits_per_s", "down_bits_per_s"])
def test_shared_bandwidth_is_not_off(field: str) -> None:
    assert not LinkProfile(phases=(Phase(**{field: 1_000}),)).off


def test_the_phase_of_a_moment() -> None:
    profile = LinkProfile(phases=(Phase(), Phase(from_ns=10), Phase(from_ns=20)))
    assert [profile.phase_at(at) for at in (-5, 0, 9, 10, 19, 20, 10**12)] == [0, 0, 0, 1, 1, 2, 2]


def test_the_lower_of_two_bandwidths_counts() -> None:
    rule = Rule(receiver="b", conditions=Conditions(bandwidth_bits_per_s=1_000))
    profile = LinkProfile(phases=(Phase(rules=(rule,), up_bits_per_s=8_000), Phase(from_ns=1)))
    assert [profile.rate_bits_per_s(0, "a", name) for name in "bc"] == [1_000, 8_000]
    assert profile.sending_ns(0, "a", "b", 1_000) == 8 * 10**9
    assert profile.sending_ns(1, "a", "b", 1_000) == 0
    assert OFF.sending_ns(0, "a", "b", 1_000) == 0


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ({"bandwidth_bits_per_s": 99}, "bandwidth_bits_per_s is 99; it must be 0"),
        ({"bandwidth_bits_per_s": -1}, "bandwidth_bits_per_s is -1"),
        ({"bandwidth_bits_per_s": 10**13}, "to 1000000000000 bits"),
        ({"latency_ns": -1}, "latency_ns is -1"),
        ({"latency_ns": 10**13}, "latency_ns is 10000000000000"),
        ({"jitter_ns": 5, "latency_ns": 9}, "jitter_ns is 5, but the distribution is 'constant'"),
        ({"jitter_ns": 5, "latency_ns": 4, "distribution": "jitter"}, "from 0 to the latency, 4"),
        ({"loss_ppm": 10**6}, "loss_ppm is 1000000"),
        ({"duplicate_ppm": -1}, "duplicate_ppm is -1"),
        ({"distribution": "normal"}, "distribution is 'normal'; known: constant, uniform, jitter"),
    ],
)
def test_what_no_link_can_have_is_refused(conditions: dict[str, Any], message: str) -> None:
    rule = Rule(sender="a", receiver="b", conditions=Conditions(**conditions))
    with pytest.raises(LinkError, match="phase 0, link a to b.*" + message):
        LinkProfile(phases=(Phase(rules=(rule,)),)).checked()


@pytest.mark.parametrize(
    ("profile", "message"),
    [
        (LinkProfile(phases=(Phase(from_ns=1),)), "phase 0 begins at 1 ns"),
        (LinkProfile(phases=(Phase(), Phase())), "phase 1 begins at 0 ns"),
        (LinkProfile(phases=(Phase(), Phase(from_ns=9), Phase(from_ns=9))), "phase 2 begins at 9 ns"),
        (LinkProfile(seed=-1), "seed is -1"),
        (LinkProfile(phases=(Phase(up_bits_per_s=5),)), "up_bits_per_s is 5"),
        (LinkProfile(phases=tuple(Phase(from_ns=at) for at in range(1_001))), "1001 phases"),
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused(profile: LinkProfile, message: str) -> None:
    with pytest.raises(LinkError, match=message):
        profile.checked()
