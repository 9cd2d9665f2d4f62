"""Mode "model" against mode "virtual", and by itself where that cannot go."""

from __future__ import annotations

from statistics import median

import msgspec
import pytest

from potchain.consensus.quorum import Quorum
from potchain.errors import ExperimentError
from potchain.experiment.arrivals.passes import network_of, run
from potchain.experiment.arrivals.plan import plan
from potchain.experiment.model import measure_model
from potchain.experiment.point import Point
from potchain.experiment.result import SynchronizeResult
from potchain.experiment.virtual import measure_virtual
from potchain.primitives import NS_PER_S

SLOW = Point(nodes=10, transactions=100, latency_ms=300, bandwidth_mbps=0.1)
SHARED = Point(nodes=10, transactions=300, latency_ms=100, bandwidth_mbps=25, bandwidth_model="shared")


def changed(point: Point, **values: object) -> Point:
    return msgspec.structs.replace(point, **values)


def both(point: Point) -> tuple[SynchronizeResult, SynchronizeResult]:
    return measure_model(changed(point, mode="model")), measure_virtual(point.checked())


def seconds(result: SynchronizeResult) -> tuple[float, float, float]:
    assert result.seconds_to_weak_quorum is not None
    assert result.seconds_to_quorum is not None
    assert result.seconds_to_all is not None
    return result.seconds_to_weak_quorum, result.seconds_to_quorum, result.seconds_to_all


@pytest.mark.parametrize(
    "point",
    [
        SLOW,
        changed(SLOW, nodes=4, distribution="constant"),
        changed(SLOW, transactions=10_000, bandwidth_mbps=30),
        changed(SLOW, dissemination="multicast"),
        changed(SLOW, dissemination="tree", nodes=13),
        changed(SLOW, dissemination="striped", distribution="constant"),
        changed(SLOW, dissemination="coded", transactions=500),
        changed(SLOW, dissemination="coded", crashed=3),
        changed(SLOW, payload="transfers", bandwidth_mbps=1),
        changed(SLOW, nodes=1),
        changed(SLOW, dissemination="striped", distribution="constant", nodes=18, transactions=1),
    ],
    ids=["plain", "constant", "fast", "multicast", "tree", "striped", "coded", "crashed", "transfers", "alone", "few"],
)
def test_on_links_of_their_own_every_seed_agrees_with_virtual(point: Point) -> None:
    for seed in range(2):
        model, virtual = both(changed(point, seed=seed))
        assert seconds(model) == pytest.approx(seconds(virtual), rel=0.005)
        assert (model.blocks, model.views) == (virtual.blocks, 0)


@pytest.mark.parametrize(
    "point",
    [
        # Parts overtake each other, so it takes several blocks, and some messages are asked for again.
        changed(SLOW, dissemination="striped"),
        SHARED,
        changed(SHARED, dissemination="multicast"),
        changed(SHARED, dissemination="striped", distribution="constant"),
        changed(SHARED, dissemination="coded"),
        changed(SHARED, nodes=13, crashed=4, transactions=100),
    ],
    ids=["striped", "plain-shared", "multicast-shared", "striped-shared", "coded-shared", "crashed-shared"],
)
def test_elsewhere_the_median_agrees_with_virtual(point: Point) -> None:
    pairs = [both(changed(point, seed=seed)) for seed in range(5)]
    for part in (0, 1):
        model, virtual = (median(seconds(pair[mode])[part] for pair in pairs) for mode in (0, 1))
        assert model == pytest.approx(virtual, rel=0.02)


def test_every_phase_sends_what_it_sends_in_virtual() -> None:
    model, virtual = both(changed(SLOW, bandwidth_mbps=1))
    ours = {phase.phase: phase for phase in model.phases}
    for theirs in virtual.phases:
        if theirs.phase != "other":
            mine = ours[theirs.phase]
            assert (mine.messages, mine.bytes) == (theirs.messages, theirs.bytes)
            assert mine.first_sent_s == pytest.approx(theirs.first_sent_s, abs=0.001)
    reports = virtual.bytes_sent - model.bytes_sent
    assert reports == sum(phase.bytes for phase in virtual.phases if phase.phase == "other")
    assert 0 <= virtual.most_sent_by_a_node_bytes - model.most_sent_by_a_node_bytes <= reports


def test_other_draws_of_the_same_distribution_give_the_same_medians() -> None:
    def quorum_s(seed: int, exact_nodes_max: int) -> float:
        point = Point(nodes=31, latency_ms=300, bandwidth_mbps=1, seed=seed)
        done = run(network_of(point, exact_nodes_max), plan(point))
        return float(done.replies.at_client_ns[Quorum(31).quorum - 1]) / NS_PER_S

    exact, other = (median(quorum_s(seed, most) for seed in range(25)) for most in (31, 0))
    assert other == pytest.approx(exact, rel=0.03)


@pytest.mark.parametrize("dissemination", ["plain", "multicast", "tree"])
def test_a_thousand_nodes(dissemination: str) -> None:
    point = Point(nodes=1_000, transactions=50, latency_ms=300, bandwidth_mbps=30, mode="model")
    result = measure_model(changed(point, dissemination=dissemination))
    # Five hops or more, each of 30 to 300 ms.
    assert 0.6 < seconds(result)[1] < 1.8
    assert result.messages_sent > 2 * 999 * 1_000


def test_the_same_point_gives_the_same_bytes() -> None:
    point = changed(SHARED, mode="model", dissemination="coded")
    assert msgspec.json.encode(measure_model(point)) == msgspec.json.encode(measure_model(point))


def test_the_model_refuses_what_it_does_not_know() -> None:
    with pytest.raises(ExperimentError, match="mode 'model' knows neither loss"):
        measure_model(changed(SLOW, mode="model", loss=0.1))
