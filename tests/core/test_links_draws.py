"""The draws of the link model: golden numbers, and nothing of the process in them. See also test_links_conditions."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from potchain.links import Conditions
from potchain.links.conditions import PPM
from potchain.links.draws import draw, link_seed

UNIFORM = Conditions(latency_ns=300_000_000, distribution="uniform", loss_ppm=50_000, duplicate_ppm=100_000)

# Published results depend on these numbers: change them only with the version of the experiments.
GOLDEN = [
    (74015846,), (), (270904894,), (190123835,), (54897652, 185563743), (146414836, 67732042), (166587342,),
    (268739824,), (71075649,), (172534330,), (145017785,), (236692838,), (284442362, 151234450), (153879744,),
]  # fmt: skip

PROGRAM = """
from potchain.links import *
profile = LinkProfile(seed=9, phases=(Phase(rules=(
    Rule(conditions=Conditions(latency_ns=10**8, distribution="uniform", loss_ppm=10**5, bandwidth_bits_per_s=10**6)),
    Rule(receiver="b", conditions=Conditions(latency_ns=10**7)),
)), Phase(from_ns=10**7, up_bits_per_s=10**7)))
outbound = Outbound(profile, "me", 0)
for number in range(300):
    outbound.offer("abc"[number % 3], number, 100 + number, urgent=number % 7 == 0, now_ns=number * 10**5)
print([(each.receiver, each.item, each.left_ns, each.arrives_ns) for each in outbound.collect(10**10)])
"""


def test_the_draws_are_what_they_were() -> None:
    link = link_seed(1, "node0", "node1")
    assert link.hex() == "c1abdea782698c1d5cf986fff68d918b107ffe25db0998f84895158bdb044cbd"
    assert [draw(link, number, UNIFORM).latencies_ns for number in range(len(GOLDEN))] == GOLDEN
    other = link_seed(0, "ä", "node1")
    assert other.hex() == "28ae2faa7bbf72d97ac9ec35fc57373ed5538c40f8e3811324deae6df7acabab"
    assert draw(other, 2**40, UNIFORM).latencies_ns == (266683165,)


def test_names_cannot_run_into_each_other() -> None:
    links = [(0, "a b", "c"), (0, "a", "b c"), (0, "a", "bc"), (0, "ab", "c"), (1, "a", "bc"), (0, "bc", "a")]
    assert len({link_seed(*link) for link in links}) == len(links)


@pytest.mark.parametrize("conditions", [Conditions(), Conditions(latency_ns=7), Conditions(bandwidth_bits_per_s=10**6)])
def test_what_leaves_no_choice_is_not_drawn(conditions: Conditions) -> None:
    assert draw(b"", 0, conditions).latencies_ns == (conditions.latency_ns,)


@given(st.integers(0, 10**11), st.integers(0, 10**11), st.sampled_from(("constant", "uniform", "jitter")), st.binary())
def test_latencies_stay_in_their_range(latency_ns: int, jitter_ns: int, distribution: str, link: bytes) -> None:
    jitter_ns = min(jitter_ns, latency_ns) if distribution == "jitter" else 0
    conditions = Conditions(
        latency_ns=latency_ns, distribution=distribution, jitter_ns=jitter_ns, duplicate_ppm=PPM - 1  # type: ignore[arg-type]
    )
    low_ns, high_ns = conditions.latency_range_ns
    assert 0 <= low_ns <= latency_ns <= high_ns
    for number in range(5):
        assert all(low_ns <= each <= high_ns for each in draw(link, number, conditions).latencies_ns)


def test_latencies_fill_their_range_evenly() -> None:
    conditions = Conditions(latency_ns=10, distribution="uniform")
    link = link_seed(2, "a", "b")
    drawn = [draw(link, number, conditions).latencies_ns[0] for number in range(20_000)]
    assert set(drawn) == set(range(1, 11)), "both ends belong to it"
    assert all(1_850 <= drawn.count(value) <= 2_150 for value in range(1, 11))


def test_runs_do_not_depend_on_the_hash_seed() -> None:
    outputs = [
        subprocess.run(
            [sys.executable, "-c", PROGRAM], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    ]
    assert outputs[0] == outputs[1]
    assert len(outputs[0]) > 10_000
