"""Conditions as people write them: what they mean link by link, the way back, and every mistake by its name."""

from __future__ import annotations

from math import inf, nan
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from potchain.config.links import cloud_matrix, cloud_regions, profile_of
from potchain.errors import LinkError
from potchain.links import (
    OFF,
    Conditions,
    LinkProfile,
    LinkRule,
    LinkSpec,
    Phase,
    Rule,
    decode_spec,
    describe,
    link_profile,
    rules_left_out,
)
from potchain.links.regions import parse_matrix

NAMES = ("node0", "node1", "node2", "node3")
MATRIX = "# one-way\nregion, eu, us\neu, 0.5, 40\n\nus, 42.25, 1\n"
MS = 1_000_000


def built(document: dict[str, Any], names: tuple[str, ...] | None = NAMES) -> LinkProfile:
    return link_profile(decode_spec(document, LinkSpec, "links"), names)


def test_keys_of_the_top_hold_for_all_links() -> None:
    profile = built({
        "bandwidth_mbps": 0.01, "latency_ms": 40.5, "distribution": "jitter", "jitter_ms": 0.25, "loss": 0.05,
        "duplicate": 0.001, "reorder": True, "seed": 9,
    })  # fmt: skip
    conditions = Conditions(
        bandwidth_bits_per_s=10_000, latency_ns=40_500_000, distribution="jitter", jitter_ns=250_000, loss_ppm=50_000,
        duplicate_ppm=1_000, reorder=True,
    )  # fmt: skip
    assert profile == LinkProfile(seed=9, phases=(Phase(rules=(Rule(conditions=conditions),)),))


@pytest.mark.parametrize("document", [{}, {"distribution": "uniform", "seed": 4}, {"regions": {"node0": "eu"}}])
def test_nothing_said_is_off(document: dict[str, Any]) -> None:
    assert built(document) is OFF


def test_shared_bandwidth_is_up_and_down() -> None:
    (phase,) = built({"bandwidth_mbps": 25, "bandwidth_model": "shared"}).phases
    assert (phase.up_bits_per_s, phase.down_bits_per_s) == (25_000_000, 25_000_000)
    assert phase.conditions("node0", "node1").bandwidth_bits_per_s == 0
    (phase,) = built({"up_mbps": 10, "down_mbps": 50}).phases
    assert (phase.up_bits_per_s, phase.down_bits_per_s) == (10_000_000, 50_000_000)


def test_regions_rules_and_a_schedule_lie_on_each_other() -> None:
    profile = built({
        "latency_ms": 5,
        "regions": {"node0": "eu", "node1": "us", "node2": "us"},
        "region_matrix": MATRIX,
        "rules": [
            {"from": "node0", "loss": 0.5},
            {"from": "us", "to": "eu", "reorder": True},
            {"to": "node3", "latency_ms": 100},
        ],
        "schedule": [
            {"at_s": 1.5, "latency_ms": 7, "bandwidth_mbps": 1},
            {"at_s": 3, "rules": []},
        ],
    })  # fmt: skip
    assert [phase.from_ns for phase in profile.phases] == [0, 1_500_000_000, 3_000_000_000]

    def link(phase: int, sender: str, receiver: str) -> tuple[int, int, bool]:
        found = profile.conditions(phase, sender, receiver)
        assert found.bandwidth_bits_per_s == (0 if phase == 0 else 1_000_000)
        return found.latency_ns, found.loss_ppm, found.reorder

    assert link(0, "node0", "node1") == (40 * MS, 500_000, False)
    assert link(0, "node1", "node0") == (42_250_000, 0, True)
    assert link(0, "node1", "node2") == (MS, 0, False)
    assert link(0, "node0", "node3") == (100 * MS, 500_000, False)
    assert link(0, "node1", "node3") == (100 * MS, 0, False)
    assert link(0, "node3", "node1") == (5 * MS, 0, False)
    assert link(0, "a stranger", "node3") == (100 * MS, 0, False)
    assert link(1, "node3", "node1") == (7 * MS, 0, False)
    assert link(1, "node0", "node3") == (100 * MS, 500_000, False)
    assert link(2, "node0", "node1") == (40 * MS, 0, False)
    assert link(2, "node0", "node3") == (7 * MS, 0, False)


ENDS = st.sampled_from(("*", "node0", "node1", "node2", "eu", "us"))
RULES = st.lists(
    st.builds(
        LinkRule,
        sender=ENDS,
        receiver=ENDS,
        latency_ms=st.sampled_from((None, 0.0, 1.0, 70.5)),
        loss=st.sampled_from((None, 0.0, 0.25)),
        bandwidth_mbps=st.sampled_from((None, 0.0, 3.0)),
    ),
    max_size=5,
)


@settings(deadline=None)
@given(RULES, st.booleans())
def test_every_link_gets_what_one_reads_from_top_to_bottom(rules: list[LinkRule], with_matrix: bool) -> None:
    regions = {"node0": "eu", "node1": "us", "node3": "us"}
    spec = LinkSpec(latency_ms=5, rules=tuple(rules), regions=regions, region_matrix=MATRIX if with_matrix else "")
    if {"eu", "us"} & {end for rule in rules for end in (rule.sender, rule.receiver)}:
        assert set(regions.values()) == {"eu", "us"}
    profile = link_profile(spec, NAMES)
    matrix = parse_matrix(MATRIX).latencies_ms
    for sender in (*NAMES, "stranger"):
        for receiver in (*NAMES, "stranger"):
            if sender == receiver:
                continue
            read: dict[str, float] = {"latency_ms": 5, "loss": 0, "bandwidth_mbps": 0}
            if with_matrix and sender in regions and receiver in regions:
                read["latency_ms"] = matrix[regions[sender], regions[receiver]]
            for rule in rules:
                if rule.sender in ("*", sender, regions.get(sender)) and rule.receiver in (
                    "*", receiver, regions.get(receiver)
                ):  # fmt: skip
                    read |= {key: value for key in read if (value := getattr(rule, key)) is not None}
            found = profile.conditions(0, sender, receiver)
            assert found.latency_ns == round(read["latency_ms"] * MS)
            assert found.loss_ppm == round(read["loss"] * 10**6)
            assert found.bandwidth_bits_per_s == round(read["bandwidth_mbps"] * 10**6)


CONDITIONS = st.builds(
    Conditions,
    bandwidth_bits_per_s=st.one_of(st.just(0), st.integers(100, 10**12)),
    latency_ns=st.integers(0, 600 * 10**9),
    distribution=st.sampled_from(("constant", "uniform")),
    loss_ppm=st.integers(0, 999_999),
    duplicate_ppm=st.integers(0, 999_999),
    reorder=st.booleans(),
)
RATES = st.one_of(st.just(0), st.integers(100, 10**12))


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(1, 10**15),
            RATES,
            RATES,
            st.lists(st.tuples(st.sampled_from("*ab"), st.sampled_from("*ab"), CONDITIONS)),
        ),
        max_size=3,
        unique_by=lambda each: each[0],
    )
)
def test_there_and_back(drawn: list[tuple[int, int, int, list[tuple[str, str, Conditions]]]]) -> None:
    phases = [
        Phase(
            from_ns=from_ns if number else 0,
            up_bits_per_s=up,
            down_bits_per_s=down,
            rules=tuple(Rule(sender=one, receiver=other, conditions=conditions) for one, other, conditions in rules),
        )
        for number, (from_ns, up, down, rules) in enumerate(sorted(drawn, key=lambda each: each[0]))
    ]
    profile = LinkProfile(seed=3, phases=tuple(phases)).checked()
    again = link_profile(describe(profile))
    if again.off:
        assert profile.off
        return
    assert len(again.phases) == len(profile.phases)
    for number, (one, other) in enumerate(zip(profile.phases, again.phases, strict=True)):
        assert (one.from_ns, one.up_bits_per_s, one.down_bits_per_s) == (
            other.from_ns, other.up_bits_per_s, other.down_bits_per_s
        )  # fmt: skip
        for sender, receiver in ("ab", "ba", "ac", "ca", "cb", "cd"):
            assert profile.conditions(number, sender, receiver) == again.conditions(number, sender, receiver)


def test_a_long_list_of_rules_is_cut_and_says_so() -> None:
    rules = tuple(Rule(sender=f"n{at}", conditions=Conditions(latency_ns=at * MS + MS)) for at in range(30))
    profile = LinkProfile(phases=(Phase(rules=rules),))
    assert len(describe(profile, 10).rules) == 10
    assert rules_left_out(profile, 10) == 20
    assert rules_left_out(profile) == 0


REGIONS = {"regions": {"node0": "eu", "node1": "us"}}
MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"bandwith_mbps": 1}, r"links has no key 'bandwith_mbps' \(did you mean 'bandwidth_mbps'\?\)"),
    ({"bandwidth_mbps": "1"}, r"links\.bandwidth_mbps: Expected `float`, got `str`"),
    ({"bandwidth_mbps": -1}, r"links\.bandwidth_mbps is -1; it must be from 0\.0001 to 1000000, or 0 for no limit"),
    ({"bandwidth_mbps": nan}, r"links\.bandwidth_mbps is nan"),
    ({"bandwidth_mbps": inf}, r"links\.bandwidth_mbps is inf"),
    ({"bandwidth_mbps": 0.00001}, r"links\.bandwidth_mbps is 1e-05"),
    ({"up_mbps": -3}, r"links\.up_mbps is -3"),
    ({"bandwidth_model": "shard"}, r"links\.bandwidth_model is 'shard' \(did you mean 'shared'\?\)"),
    ({"bandwidth_model": "shared"}, r"links\.bandwidth_model is 'shared', but bandwidth_mbps is 0"),
    ({"latency_ms": -0.1}, r"links\.latency_ms is -0\.1; it must be from 0 to 600000"),
    ({"latency_ms": nan}, r"links\.latency_ms is nan"),
    ({"distribution": "unifrom"}, r"links\.distribution is 'unifrom' \(did you mean 'uniform'\?\)"),
    ({"jitter_ms": 3, "latency_ms": 9}, r"jitter_ms is 3, but distribution is 'constant'; set it to 'jitter'"),
    ({"jitter_ms": 9, "latency_ms": 3, "distribution": "jitter"}, r"jitter_ms is 9; at most latency_ms, 3"),
    ({"loss": 1}, r"links\.loss is 1; it must be from 0 to 0\.999999"),
    ({"duplicate": nan}, r"links\.duplicate is nan"),
    ({"seed": -1}, r"links\.seed is -1"),
    ({"rules": {"from": "node0"}}, r"links\.rules must be a list of tables, each headed \[\[links\.rules\]\]"),
    ({"rules": [{"form": "node0"}]}, r"links\.rules\[0\] has no key 'form' \(did you mean 'from'\?\)"),
    ({"rules": [{"from": "nod0"}]}, r"rules\[0\]\.from is 'nod0', neither a node nor a region.*'node0'"),
    ({"rules": [{"to": ""}]}, r"rules\[0\]\.to is '', neither a node nor a region"),
    ({"rules": [{}, {"loss": -1}]}, r"links\.rules\[1\]\.loss is -1"),
    ({"rules": [{"to": "node1", "jitter_ms": 3}]}, r"link from \* to node1: jitter_ms is 3"),
    ({"schedule": [{"latency_ms": 3}]}, r"links\.schedule\[0\].*missing required field `at_s`"),
    ({"schedule": [{"at_s": 0}]}, r"schedule\[0\]\.at_s is 0; it must be later than what is before it, 0"),
    ({"schedule": [{"at_s": 5}, {"at_s": 5}]}, r"schedule\[1\]\.at_s is 5; it must be later than what is before it, 5"),
    ({"schedule": [{"at_s": nan}]}, r"schedule\[0\]\.at_s is nan"),
    ({"schedule": [{"at_s": 1, "rules": [{"losss": 1}]}]}, r"schedule\[0\]\.rules\[0\] has no key 'losss'"),
    ({"schedule": [{"at_s": 1, "rules": [{"loss": 3}]}]}, r"schedule\[0\]\.rules\[0\]\.loss is 3"),
    ({"schedule": [{"at_s": at + 1} for at in range(1_000)]}, r"links\.schedule has 1000 entries; at most 999"),
    ({"regions": {"nod1": "eu"}}, r"links\.regions: no node is called 'nod1' \(did you mean 'node1'\?\)"),
    ({"regions": {"node0": "node1"}}, r"node0 is in region 'node1', but a node is called so"),
    ({"region_matrix": MATRIX}, r"region_matrix is given, but no node is in a region"),
    ({"regions": {"node0": "ue"}, "region_matrix": MATRIX}, r"region 'ue', .*region_matrix \(known: eu, us\)"),
    ({**REGIONS, "region_matrix": ",eu,us\neu,1,2\n"}, r"no row for 'us'; the table must be square"),
    ({**REGIONS, "region_matrix": ",eu,us\neu,1\n"}, r"line 2: 1 latencies for 2 regions; the table must be square"),
    ({**REGIONS, "region_matrix": ",eu,us\neu,1,x\n"}, r"line 2: eu to us is 'x'; a latency in ms is wanted"),
    ({**REGIONS, "region_matrix": ",eu,us\neu,1,nan\nus,1,1"}, r"region_matrix: eu to us is nan"),
    ({**REGIONS, "region_matrix": ",eu,us\neu,1,-4\nus,1,1"}, r"region_matrix: eu to us is -4; it must be from 0"),
    ({**REGIONS, "region_matrix": ",eu,eu\neu,1,1\n"}, r"line 1: the header names 2 regions; .* each once"),
    ({**REGIONS, "region_matrix": ",eu,us\neu,1,1\neu,1,1"}, r"line 3: region 'eu' stands twice"),
    ({**REGIONS, "region_matrix": ",eu,us\nue,1,1"}, r"line 2: region 'ue' is not in the header \(known: eu, us\)"),
    ({**REGIONS, "region_matrix": "# nothing\n"}, r"region_matrix is empty"),
]


@pytest.mark.parametrize(("document", "message"), MISTAKES)
def test_mistakes_are_named_with_what_is_possible(document: dict[str, Any], message: str) -> None:
    with pytest.raises(LinkError, match=message):
        built(document)


def test_more_pairs_than_anybody_needs_are_refused_before_they_are_made() -> None:
    names = tuple(f"n{at}" for at in range(1_001))
    with pytest.raises(LinkError, match="more than 1000000 pairs"):
        built({"regions": dict.fromkeys(names, "eu"), "region_matrix": ",eu\neu,1"}, names)


def test_the_shipped_regions_are_a_table_of_real_distances(tmp_path: Path) -> None:
    matrix = parse_matrix(cloud_matrix())
    assert 12 <= len(cloud_regions()) <= 20
    for (sender, receiver), latency_ms in matrix.latencies_ms.items():
        assert (latency_ms < 1) is (sender == receiver)
        back_ms = matrix.latencies_ms[receiver, sender]
        assert abs(latency_ms - back_ms) <= 30, "both directions were measured"
        assert latency_ms <= 200
        for via in matrix.names:
            detour_ms = matrix.latencies_ms[sender, via] + matrix.latencies_ms[via, receiver]
            assert detour_ms > 0.5 * latency_ms, (sender, via, receiver)
    spec = LinkSpec(regions={"node0": "uk-south", "node1": "japan-east"}, region_matrix="cloud")
    assert profile_of(spec, None).conditions(0, "node0", "node1").latency_ns == 117_500_000


def test_a_file_of_regions_lies_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text(MATRIX, encoding="utf-8")
    spec = LinkSpec(regions={"node0": "eu", "node1": "us"}, region_matrix="mine.csv")
    assert profile_of(spec, tmp_path).conditions(0, "node0", "node1").latency_ns == 40 * MS
    with pytest.raises(LinkError, match=r"cannot read .*mine\.csv: No such file"):
        profile_of(spec, tmp_path / "elsewhere")
    with pytest.raises(LinkError, match=r"'mine\.csv'; possible are 'cloud', or the text"):
        profile_of(spec, None)
