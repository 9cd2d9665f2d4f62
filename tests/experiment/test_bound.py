"""What the links imply at least: by hand, and never above what the model and the shipping nodes take."""

from __future__ import annotations

import random

import msgspec
import pytest

from potchain.consensus.quorum import Quorum
from potchain.experiment.bound import bound
from potchain.experiment.model import measure_model
from potchain.experiment.point import Point
from potchain.experiment.virtual import measure_virtual

CONSTANT = Point(nodes=7, transactions=100, latency_ms=100, distribution="constant")
PAYLOAD_BITS = 100 * 315 * 8


def bound_of(**values: object) -> float:
    least = bound(msgspec.structs.replace(CONSTANT, **values))
    assert least is not None
    return least


def test_without_bandwidth_it_is_five_latencies() -> None:
    # Submit, then pre-prepare and bodies side by side, prepare, commit, reply.
    assert bound_of() == pytest.approx(0.5)
    assert bound_of(nodes=1) == pytest.approx(0.2)
    assert bound_of(latency_ms=0.0) == 0.0


def test_plain_bodies_pass_each_link_once() -> None:
    # The primary sends every bit on when it comes.
    assert bound_of(bandwidth_mbps=0.1) == pytest.approx(0.5 + PAYLOAD_BITS / 100_000)
    assert bound_of(bandwidth_mbps=0.1, megabit=2**20) == pytest.approx(0.5 + PAYLOAD_BITS / 104_857.6, rel=1e-4)


def test_multicast_bodies_come_from_the_client_alone() -> None:
    # Bodies are there a latency before the pre-prepare.
    assert bound_of(bandwidth_mbps=0.1, dissemination="multicast") == pytest.approx(0.5 + PAYLOAD_BITS / 100_000)


def test_shares_take_their_part_of_the_payload() -> None:
    needed = 7 - Quorum(7).faults_max
    expected = 0.5 + PAYLOAD_BITS / needed / 100_000
    # The primary needs others' shares before it proposes: one hop more than whole bodies take.
    assert bound_of(bandwidth_mbps=0.1, dissemination="coded") == pytest.approx(expected + 0.1)


def test_a_shared_uplink_passes_all_copies() -> None:
    # The last copy that a quorum needs is the fourth of six: the primary is one of five.
    least = bound_of(bandwidth_mbps=1, bandwidth_model="shared")
    assert least >= 0.5 + PAYLOAD_BITS * 4 / 1_000_000


def any_point(rng: random.Random) -> Point:
    nodes = rng.choice([1, 2, 4, 5, 7, 10, 13, 31])
    mbps = rng.choice([0.0, 0.1, 1.0, 25.0])
    return Point(
        nodes=nodes,
        transactions=rng.choice([1, 20, 100, 500]),
        payload=rng.choice(["opaque", "opaque", "transfers"]),
        bandwidth_mbps=mbps,
        bandwidth_model=rng.choice(["per_link", "shared"]) if mbps else "per_link",
        latency_ms=rng.choice([0.0, 10.0, 300.0]),
        distribution=rng.choice(["uniform", "constant"]),
        dissemination=rng.choice(["plain", "multicast", "striped", "coded", "tree"]),
        crashed=rng.choice([0, Quorum(nodes).faults_max]),
        seed=rng.randrange(1_000),
        mode="model",
    )


@pytest.mark.parametrize("seed", range(60))
def test_it_is_never_above_the_model(seed: int) -> None:
    point = any_point(random.Random(seed))
    result = measure_model(point)
    if result.seconds_to_quorum is not None:
        assert result.bound_seconds is not None
        assert result.bound_seconds <= result.seconds_to_quorum + 1e-8, point
        assert result.bound_seconds == bound(point)


@pytest.mark.parametrize("seed", range(6))
def test_it_is_never_above_virtual_and_not_far_below(seed: int) -> None:
    point = Point(nodes=10, transactions=1_000, latency_ms=300, bandwidth_mbps=0.1, seed=seed)
    result = measure_virtual(point.checked())
    assert result.bound_seconds is not None
    assert result.seconds_to_quorum is not None
    assert result.bound_seconds <= result.seconds_to_quorum <= 1.1 * result.bound_seconds


@pytest.mark.parametrize("dissemination", ["plain", "striped"])
def test_what_is_sent_again_does_not_hold_up_bodies_on_a_shared_uplink(dissemination: str) -> None:
    point = Point(nodes=16, latency_ms=300, bandwidth_mbps=0.1, bandwidth_model="shared")
    point = msgspec.structs.replace(point, dissemination=dissemination)
    result, model = measure_virtual(point.checked()), measure_model(msgspec.structs.replace(point, mode="model"))
    assert result.seconds_to_quorum is not None
    assert model.seconds_to_quorum is not None, "nothing is sent again there"
    assert result.seconds_to_quorum <= 1.08 * model.seconds_to_quorum
