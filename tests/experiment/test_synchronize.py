"""The shipping nodes under given conditions, in virtual time and on sockets."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import msgspec
import numpy as np
import pytest

from potchain.errors import ExperimentError
from potchain.experiment.point import Dissemination, Point
from potchain.experiment.result import SynchronizeResult
from potchain.experiment.synchronize import synchronize, synchronize_point

SEED = Point(nodes=7, transactions=60, bandwidth_mbps=1, latency_ms=300)


def changed(**values: object) -> Point:
    return msgspec.structs.replace(SEED, **values)


def messages(result: SynchronizeResult, phase: str) -> int:
    return next((each.messages for each in result.phases if each.phase == phase), 0)


def finished(result: SynchronizeResult) -> float:
    assert result.seconds_to_weak_quorum is not None
    assert result.seconds_to_quorum is not None
    assert result.seconds_to_all is not None
    assert result.seconds_to_weak_quorum <= result.seconds_to_quorum
    return result.seconds_to_quorum


def test_the_same_point_gives_the_same_bytes() -> None:
    assert msgspec.json.encode(synchronize_point(SEED)) == msgspec.json.encode(synchronize_point(SEED))


def test_the_result_does_not_depend_on_the_hash_seed() -> None:
    script = (
        "import msgspec; from potchain.experiment.synchronize import synchronize; "
        "print(msgspec.json.encode(synchronize(7, 60, bandwidth_mbps=1, latency_ms=300)).decode())"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", script], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(runs) == 1


def test_other_seeds_draw_other_latencies() -> None:
    assert len({synchronize_point(changed(seed=seed)).seconds_to_quorum for seed in range(5)}) == 5


def test_no_conditions_make_fpbft_plain_pbft() -> None:
    results = [synchronize(4, 10, engine=engine) for engine in ("pbft", "fpbft")]
    plain, shaped = (msgspec.structs.replace(each, point=SEED) for each in results)
    assert plain == shaped
    assert finished(plain) < 0.01


def test_the_normal_case_sends_what_the_paper_says() -> None:
    result = synchronize(7, 60, latency_ms=20)
    n = 7
    finished(result)
    assert (messages(result, "pre-prepare"), messages(result, "prepare")) == (n - 1, (n - 1) ** 2)
    assert (messages(result, "commit"), messages(result, "block-vote")) == (n * (n - 1), n * n)
    assert (result.blocks, result.views) == (1, 0)
    assert result.cpu_seconds is None


@pytest.mark.parametrize("dissemination", ["plain", "multicast", "tree", "striped", "coded"])
def test_every_dissemination_brings_all_bodies_everywhere(dissemination: Dissemination) -> None:
    result = synchronize_point(changed(dissemination=dissemination, transactions=300))
    assert finished(result) > 0.5
    assert result.views == 0


def test_stripes_and_shares_spare_the_entry_node() -> None:
    sent = {
        each: synchronize_point(changed(dissemination=each, transactions=300)).most_sent_by_a_node_bytes
        for each in ("plain", "striped", "coded")
    }
    assert sent["striped"] * 3 < sent["plain"]
    assert sent["coded"] * 3 < sent["plain"]


def test_a_tree_spares_the_entry_node_and_costs_levels() -> None:
    plain, tree = (
        synchronize_point(changed(nodes=16, dissemination=each, transactions=300)) for each in ("plain", "tree")
    )
    assert tree.most_sent_by_a_node_bytes * 3 < plain.most_sent_by_a_node_bytes, "4 copies instead of 15"
    assert finished(tree) > finished(plain)


def test_the_shared_model_makes_one_uplink_of_a_nodes_links() -> None:
    per_link = finished(synchronize_point(SEED))
    shared = finished(synchronize_point(changed(bandwidth_model="shared")))
    assert shared > per_link + 0.3, "six copies of 19 kB at 1 Mbps one after another"


@pytest.mark.parametrize(
    "faults", [{"crashed": 2}, {"loss": 0.05}, {"slow_primary_ms": 20.0}, {"crashed": 1, "loss": 0.05}]
)
def test_faults_delay_and_do_not_prevent(faults: dict[str, float]) -> None:
    result = synchronize_point(changed(**faults))
    finished(result)


def test_transfers_are_signed_one_by_one() -> None:
    result = synchronize_point(changed(payload="transfers"))
    assert finished(result) > 0


def test_sockets_do_the_same() -> None:
    points = [
        Point(nodes=4, transactions=20, latency_ms=20, mode="live", seed=seed, dissemination=dissemination)
        for seed, dissemination in ((1, "plain"), (2, "multicast"), (1, "coded"), (1, "striped"))
    ]
    results = [synchronize_point(point) for point in points]
    assert [result.point for result in results] == points
    for result in results:
        finished(result)
        assert result.cpu_seconds is not None
        assert result.views == 0
    assert messages(results[0], "commit") >= 12
    assert results[0].phases[0].phase == "submit"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"nodes": 301}, "nodes is 301; mode 'virtual' takes from 1 to 300"),
        ({"nodes": 0}, "from 1 to"),
        ({"bandwidth_mbps": -1.0}, "bandwidth_mbps is -1.0"),
        ({"bandwidth_mbps": float("nan")}, "bandwidth_mbps is nan"),
        ({"latency_ms": float("inf")}, "latency_ms is inf"),
        ({"loss": 1.0}, "loss is 1.0"),
        ({"crashed": 3}, "crashed is 3; it must be from 0 to 2"),
        ({"bandwidth_model": "shared", "bandwidth_mbps": 0.0}, "nothing to share"),
        ({"engine": "raft"}, "engine is 'raft'; installed are: fpbft, pbft"),
        ({"mode": "model", "loss": 0.1}, "take mode 'virtual'"),
        ({"megabit": 1000}, "megabit is 1000"),
        ({"mode": "zz"}, "mode is 'zz'; possible are 'live', 'virtual', 'model'"),
        (
            {"transactions": 1_000_000, "transaction_bytes": 60_000},
            "transactions is 1000000 and transaction_bytes is 60000, together 60,000,000,000 bytes; "
            "at most 450,000,000",
        ),
        ({"transactions": 1_000_001, "payload": "transfers"}, "is 1000001; of payload 'transfers' at most 10,000"),
        (
            {"nodes": 100, "mode": "live", "transactions": 8_001, "transaction_bytes": 10_000},
            "80,010,000 bytes; 100 nodes in mode 'live' take at most 80,000,000",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_starts(values: dict[str, object], words: str) -> None:
    with pytest.raises(ExperimentError, match=words):
        synchronize_point(changed(**values))


@pytest.mark.parametrize(
    "values",
    [
        {"transactions": 8_000, "transaction_bytes": 10_000, "nodes": 100},
        {"transactions": 9_000, "transaction_bytes": 50_000, "nodes": 3_000, "mode": "model"},
        {"transactions": 10_000, "transaction_bytes": 60_000, "payload": "transfers"},
    ],
)
def test_payloads_up_to_the_limits_are_possible(values: dict[str, object]) -> None:
    assert changed(**values).checked() == changed(**values)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"model": "zz"}, "model is 'zz'; possible are 'per_link', 'shared'"),
        ({"dissemination": "zz"}, "dissemination is 'zz'; possible are 'plain', 'multicast', 'tree', 'striped', "),
        ({"payload": "zz"}, "payload is 'zz'; possible are 'opaque', 'transfers'"),
        ({"mode": "zz"}, "mode is 'zz'; possible are 'live', 'virtual', 'model'"),
        ({"mode": ["live"]}, "mode is ['live']; possible are"),
        ({"seed": 1.5}, "seed is 1.5; it must be a whole number"),
        ({"seed": "a"}, "seed is 'a'; it must be a whole number"),
        ({"nodes": True}, "nodes is True; it must be a whole number"),
        ({"nodes": 4.5}, "nodes is 4.5; it must be a whole number"),
        ({"latency_ms": "x"}, "latency_ms is 'x'; it must be a number"),
        ({"loss": None}, "loss is None; it must be a number"),
        ({"engine": 5}, "engine is 5; it must be a text"),
        ({"crashed": "g"}, "crashed is 'g'; it must be a whole number, or 'f' for as many as n tolerates"),
    ],
)
def test_values_of_a_wrong_type_are_named(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ExperimentError) as caught:
        synchronize(**values)
    assert words in str(caught.value)


def test_whole_numbers_numpys_numbers_and_f_are_understood() -> None:
    numbers: dict[str, Any] = {"nodes": np.int64(7), "latency_ms": np.float32(20), "bandwidth_mbps": 1}
    result = synchronize(transactions=10, crashed="f", mode="model", **numbers)
    assert result.point == Point(nodes=7, transactions=10, latency_ms=20.0, bandwidth_mbps=1.0, crashed=2, mode="model")
