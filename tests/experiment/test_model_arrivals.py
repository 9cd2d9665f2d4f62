"""The arrays of mode "model" against things that step: the link model itself, and an event simulation of PBFT."""

from __future__ import annotations

import itertools
import random
from heapq import heappop, heappush

import msgspec
import numpy as np
import pytest

from potchain.consensus.quorum import Quorum
from potchain.experiment.arrivals.downlinks import Downlinks, waiting_ns
from potchain.experiment.arrivals.latencies import CLIENT, Latencies, endpoint, scaled
from potchain.experiment.arrivals.network import Network
from potchain.experiment.arrivals.passes import network_of, run
from potchain.experiment.arrivals.pipes import FreeClock, Rates, queue
from potchain.experiment.arrivals.plan import plan
from potchain.experiment.arrivals.senders import REPORTS_FROM_NS, Sender
from potchain.experiment.arrivals.spreading import CHECK_NS, Spreading
from potchain.experiment.arrivals.voting import VoteTakes, Voting
from potchain.experiment.lab.settings import profile_of
from potchain.experiment.point import Point
from potchain.links import Conditions, LinkProfile, Outbound, Phase, Rule
from potchain.links.draws import draw, link_seed
from potchain.primitives import NS_PER_MS, NS_PER_S

UNIFORM = Conditions(latency_ns=300 * NS_PER_MS, distribution="uniform", reorder=True)


class Events:
    """PBFT's normal case on links without bandwidth limit, message by message: an independent account of it."""

    def __init__(self, point: Point) -> None:
        self.up = point.nodes - point.crashed
        self.quorum = Quorum(point.nodes).quorum
        self.conditions = profile_of(point).conditions(0, "", "")
        self.seed = point.seed
        self.queue: list[tuple[float, int, int, int, str]] = []
        self.order = itertools.count()
        self.frames: dict[tuple[int, int], int] = {}
        self.seen: dict[tuple[int, str], set[int]] = {}
        self.decided: dict[int, float] = {}
        self.replies: list[float] = []

    def send(self, now: float, sender: int, kind: str, receivers: list[int]) -> None:
        for receiver in receivers:
            number = self.frames[sender, receiver] = self.frames.get((sender, receiver), -1) + 1
            link = link_seed(self.seed, endpoint(sender), endpoint(receiver))
            latency = draw(link, number, self.conditions).latencies_ns[0]
            heappush(self.queue, (now + latency, next(self.order), sender, receiver, kind))

    def everybody(self, node: int) -> list[int]:
        return [other for other in range(self.up) if other != node]

    def run(self) -> None:
        self.send(0, CLIENT, "body", [0])
        while self.queue:
            now, _, sender, node, kind = heappop(self.queue)
            if node == CLIENT:
                self.replies.append(now)
            elif kind == "body":
                heappush(self.queue, (now + CHECK_NS, next(self.order), sender, node, "checked"))
            else:
                self.receive(now, sender, node, kind)

    def receive(self, now: float, sender: int, node: int, kind: str) -> None:
        def has(what: str) -> set[int]:
            return self.seen.setdefault((node, what), set())

        def once(what: str, *, due: bool) -> bool:
            return due and not has(f"did {what}") and not has(f"did {what}").add(node)  # type: ignore[func-returns-value]

        has(kind).add(sender)
        if node == 0 and once("propose", due=bool(has("checked"))):
            self.send(now, node, "body", self.everybody(node))
            self.send(now, node, "pre-prepare", self.everybody(node))
            has("pre-prepare").add(node)
        accepted = bool(has("checked") and has("pre-prepare"))
        late = len(has("commit")) >= self.quorum and not has("did prepare")
        if node and once("prepare", due=accepted and not late):
            has("prepare").add(node)
            self.send(now, node, "prepare", self.everybody(node))
        if once("commit", due=accepted and not late and len(has("prepare")) >= self.quorum - 1):
            has("commit").add(node)
            self.send(now, node, "commit", self.everybody(node))
        if once("decide", due=accepted and len(has("commit")) >= self.quorum):
            self.decided[node] = now
            self.send(now, node, "reply", [*self.everybody(node), CLIENT])


@pytest.mark.parametrize(
    ("nodes", "crashed"), [(1, 0), (2, 0), (4, 0), (4, 1), (5, 0), (7, 2), (8, 1), (13, 0), (22, 7)]
)
def test_the_order_statistics_are_those_of_an_event_simulation(nodes: int, crashed: int) -> None:
    # Below half a second nobody reports progress, which would take numbers on the links.
    for seed in range(5):
        point = Point(nodes=nodes, crashed=crashed, transactions=3, latency_ms=80, seed=seed)
        events = Events(point)
        events.run()
        assert max(events.replies) < REPORTS_FROM_NS
        done = run(network_of(point), plan(point))
        executed = [events.decided[node] for node in range(nodes - crashed)]
        np.testing.assert_allclose(done.replies.executed_ns, executed, atol=1)
        np.testing.assert_allclose(done.replies.at_client_ns, sorted(events.replies), atol=1)


def test_who_learns_the_decision_first_does_not_vote() -> None:
    network, traffic = network_of(Point(nodes=4, transactions=3, latency_ms=80)), plan(Point(nodes=4, transactions=3))
    downlinks = Downlinks(traffic, network)
    spread = Spreading(traffic, network, downlinks).run(None)
    accepted_ns = spread.accepted_ns.copy()
    accepted_ns[0, 2] = 10.0 * NS_PER_S
    spread = msgspec.structs.replace(spread, accepted_ns=accepted_ns)
    voting = Voting(network, VoteTakes(0.0, 0.0, 0.0), downlinks)
    replies = voting.run(spread, None, None)
    assert replies.silent.tolist() == [[False, False, True, False]]
    replies = voting.run(spread, replies.votes, replies.silent)
    votes = np.isfinite(replies.votes.offered_ns).tolist()
    assert votes == [[False, True, False, True], [True, True, False, True], [True, True, True, True]]
    assert replies.executed_ns[2] == 10.0 * NS_PER_S


@pytest.mark.parametrize("span", [1, 2, 999_999_937, 2**32 + 15, 600_000_000_000])
def test_a_word_is_scaled_as_the_link_model_scales_it(span: int) -> None:
    words = [0, 1, 2**63, 2**64 - 1, *(random.Random(span).getrandbits(64) for _ in range(200))]
    expected = [word * span >> 64 for word in words]
    assert scaled(np.array(words, dtype=np.uint64), span).tolist() == expected


def test_latencies_are_the_link_models_own() -> None:
    latencies = Latencies(7, 4, UNIFORM, exact=True)
    numbers = np.array([0, 3, 3])
    drawn = latencies.from_one(2, (0, 1, 3), numbers, 0).tolist()
    links = [link_seed(7, "node2", f"node{receiver}") for receiver in (0, 1, 3)]
    pairs = zip(links, numbers.tolist(), strict=True)
    assert drawn == [draw(link, number, UNIFORM).latencies_ns[0] for link, number in pairs]
    assert latencies.from_one(2, (0, 1, 3), None, 0).tolist() == drawn


def test_drawn_matrices_have_the_distribution() -> None:
    latencies = Latencies(7, 500, UNIFORM, exact=False)
    matrix = latencies.among_all(1, None)
    assert matrix.dtype == np.float32
    assert 30 * NS_PER_MS <= matrix.min() < 31 * NS_PER_MS
    assert 299 * NS_PER_MS < matrix.max() <= 300 * NS_PER_MS
    assert abs(matrix.mean() / (165 * NS_PER_MS) - 1) < 0.01
    assert np.array_equal(matrix, latencies.among_all(1, None))
    assert not np.array_equal(matrix, latencies.among_all(2, None))


def test_a_queue_serves_one_after_another() -> None:
    assert queue(np.array([0.0, 1.0, 10.0]), np.array([3.0, 2.0, 1.0])).tolist() == [3.0, 5.0, 11.0]


def test_bulk_has_the_time_that_votes_leave() -> None:
    clock = FreeClock(np.array([10.0, 12.0, np.inf]), np.array([5.0, 5.0, 5.0]))
    assert clock.free_at(np.array([0.0, 10.0, 15.0, 20.0, 25.0])).tolist() == [0.0, 10.0, 10.0, 10.0, 15.0]
    assert clock.real_at(np.array([0.0, 9.0, 10.0, 11.0, 15.0])).tolist() == [0.0, 9.0, 10.0, 21.0, 25.0]


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_a_sender_does_what_the_link_model_does(shared: bool, seed: int) -> None:
    # Without latency a frame arrives when its last bit leaves.
    rng = random.Random(seed)
    nodes, rate = 5, 1_000_000
    conditions = Conditions(bandwidth_bits_per_s=0 if shared else rate, reorder=True)
    phase = Phase(rules=(Rule(conditions=conditions),), up_bits_per_s=rate if shared else 0)
    profile = LinkProfile(phases=(phase,))
    rates = Rates(conditions.bandwidth_bits_per_s, phase.up_bits_per_s)
    network = Network(nodes, nodes, rates, Latencies(1, nodes, conditions, exact=False), profile)
    votes = sorted((rng.randrange(400) * NS_PER_MS, rng.randrange(100, 300)) for _ in range(3))
    bodies = sorted((rng.randrange(400) * NS_PER_MS + 1, rng.randrange(1_000, 9_000)) for _ in range(6))
    outbound = Outbound(profile, "node2", 0)
    left: dict[tuple[str, int, str], int] = {}

    def collect(now_ns: int) -> None:
        for departure in outbound.collect(now_ns):
            kind, number = departure.item  # type: ignore[misc]
            left[kind, number, departure.receiver] = departure.left_ns

    offers = [(at, "vote", number, size) for number, (at, size) in enumerate(votes)]
    offers += [(at, "body", number, size) for number, (at, size) in enumerate(bodies)]
    for at, kind, number, size in sorted(offers):
        collect(at)
        for receiver in (0, 1, 3, 4):
            outbound.offer(f"node{receiver}", (kind, number), size, urgent=kind == "vote", now_ns=at)
    collect(60_000 * NS_PER_MS)

    one_ns = np.array([rates.one_ns(size) for _, size in votes])
    sender = Sender(network, 2, np.array([float(at) for at, _ in votes]), one_ns)
    sizes_ns = np.array([rates.one_ns(size) for _, size in bodies])
    goes = np.repeat(np.arange(nodes)[None, :] != 2, len(bodies), axis=0)
    bulk = sender.bulk(np.array([float(at) for at, _ in bodies]), sizes_ns, goes)
    for (kind, number, receiver), left_ns in left.items():
        table = sender.votes_left_ns if kind == "vote" else bulk.left_ns
        assert abs(table[number, int(receiver.removeprefix("node"))] - left_ns) <= 100, (kind, number, receiver)


def test_frames_that_come_at_once_pass_a_shared_downlink_one_by_one() -> None:
    point = Point(nodes=4, bandwidth_mbps=1, bandwidth_model="shared")
    arrived_ns = np.array([[5e6, np.inf, 5e6, 9e6], [1e6, 2e6, 3e6, 4e6]])
    takes_ns = np.full((2, 4), 1e6)
    for exact_nodes_max in (0, 10):
        waits_ns = waiting_ns(arrived_ns, takes_ns, network_of(point, exact_nodes_max))
        assert waits_ns.tolist() == [[0, 0, 1e6, 0], [0, 0, 0, 0]]
