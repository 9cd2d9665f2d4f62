"""One run of the normal case: passes over bodies and votes until each agrees with the other.

Bodies make way for votes, votes wait for bodies, and where downlinks are shared everything waits for everything. So
both are computed in turns, each with what is known of the other, until nothing changes.
"""

from __future__ import annotations

import msgspec

from potchain.blocks import BLOCK_VOTE
from potchain.experiment.arrivals.downlinks import Downlinks
from potchain.experiment.arrivals.latencies import EXACT_NODES_MAX, Latencies
from potchain.experiment.arrivals.network import Network
from potchain.experiment.arrivals.pipes import Rates
from potchain.experiment.arrivals.spreading import Spread, Spreading
from potchain.experiment.arrivals.traffic import VOTE_BYTES, Traffic
from potchain.experiment.arrivals.voting import Replies, VoteTakes, Voting
from potchain.experiment.lab.settings import profile_of
from potchain.experiment.point import Point

PASSES_MAX = 12
"""Passes after which times are taken as they are."""
NEAR = 0.001
"""Where draws are not the link model's own, it is enough that another pass changes the result by this part of it."""


class Run(msgspec.Struct, frozen=True):
    """What happened."""

    traffic: Traffic
    spread: Spread
    replies: Replies


def network_of(point: Point, exact_nodes_max: int = EXACT_NODES_MAX) -> Network:
    """Nodes and links of a point, without loss; up to so many nodes with the link model's own draws."""
    profile = profile_of(point)
    phase = profile.phases[0]
    conditions = profile.conditions(0, "", "")
    up = point.nodes - point.crashed
    latencies = Latencies(profile.seed, up, conditions, exact=point.nodes <= exact_nodes_max)
    return Network(point.nodes, up, Rates(conditions.bandwidth_bits_per_s, phase.up_bits_per_s), latencies, profile)


def run(network: Network, traffic: Traffic) -> Run:
    """All passes."""
    one_ns = network.rates.one_ns
    takes = VoteTakes(*(one_ns(VOTE_BYTES[kind]) for kind in ("prepare", "commit", BLOCK_VOTE)))
    downlinks = Downlinks(traffic, network)
    spreading, voting = Spreading(traffic, network, downlinks), Voting(network, takes, downlinks)
    spread = spreading.run(None)
    replies = voting.run(spread, None, None)
    for _ in range(1, PASSES_MAX):
        differs = downlinks.learn(spread.arrivals)
        before, spread = spread, spreading.run(replies.votes)
        silent, reached_ns = replies.silent.copy(), _quorum_ns(network, replies)
        if not differs and len(spread.accepted_ns) == 1 and not silent.any() and spread.same(before):
            break
        replies = voting.run(spread, replies.votes, silent)
        near = not network.latencies.exact and abs(_quorum_ns(network, replies) - reached_ns) <= NEAR * reached_ns
        if near:
            break
    return Run(traffic, spread, replies)


def _quorum_ns(network: Network, replies: Replies) -> float:
    return float(replies.at_client_ns[network.thresholds.quorum - 1])
