"""What a point means for the nodes: genesis and keys, limits that fit its links, the link profile."""

from __future__ import annotations

from collections.abc import Sequence

from potchain.dissemination import DisseminationOptions
from potchain.experiment.lab.payload import client_key, payload_bytes, transactions_of
from potchain.experiment.point import TRANSFERS_MOST, Point
from potchain.genesis import Genesis, InitialBalance, Parameters
from potchain.keyfiles import ValidatorKeys
from potchain.links import Conditions, LinkProfile, Phase, Rule
from potchain.pool.interface import PoolLimits
from potchain.primitives import NS_PER_MS, NS_PER_S, NodeId, uint256
from potchain.sim.keys import repeatable_keys, repeatable_validator

KEY_SCOPE = "experiment"
GENESIS_MS = 1_767_225_600_000
BALANCE = 10**18
CLIENT = "client"
"""The client's name on the links."""
POOL_ROOM = 4
"""The pool holds so many times what one experiment brings."""
PATIENCE_FACTOR = 4
"""A view timeout is so many times what one decision should take: nobody is accused for the links."""


def node_name(index: int) -> str:
    """A validator's name, in genesis and on the links."""
    return f"node{index}"


def keys_of(name: str) -> ValidatorKeys:
    """The same keys for the same name in every run."""
    return repeatable_keys(KEY_SCOPE, name)


def client_id() -> NodeId:
    """How nodes know the client."""
    return keys_of(CLIENT).node_id


def make_genesis(points: Sequence[Point]) -> Genesis:
    """The network on which these points are measured one after another; they agree in `nodes`."""
    timeout_ms = max(view_timeout_ms(point) for point in points)
    accounts = sorted(client_key(ordinal).address for ordinal in range(len(points)))
    return Genesis(
        chain_id="experiment",
        timestamp_ms=GENESIS_MS,
        validators=tuple(
            repeatable_validator(KEY_SCOPE, name, name) for name in map(node_name, range(points[0].nodes))
        ),
        accounts=tuple(InitialBalance(address, uint256(BALANCE)) for address in accounts),
        parameters=Parameters(
            view_timeout_ms=timeout_ms,
            view_timeout_cap_ms=4 * timeout_ms,
            batch_max=TRANSFERS_MOST,
            batch_bytes_max=1 << 30,
            clock_bound_ms=86_400_000,
        ),
    )


def view_timeout_ms(point: Point) -> int:
    """T for a point: the default, or more where the links themselves need longer for a decision."""
    return max(Parameters().view_timeout_ms, int(PATIENCE_FACTOR * round_ms(point)), 2 * _grace_ms(point))


def round_ms(point: Point) -> float:
    """About how long one decision takes once the bodies are there: four latencies and the votes' bits."""
    vote_bits = 8 * 250 * 3 * (point.nodes if point.bandwidth_model == "shared" else 1)
    return 4 * point.latency_ms + 1000 * _seconds(point, vote_bits)


def pool_limits(points: Sequence[Point]) -> PoolLimits:
    """Room for all of it, in whatever order it comes."""
    count = max(transactions_of(point) for point in points)
    size = max(_all_bytes(point) for point in points)
    return PoolLimits(
        count_max=max(50_000, POOL_ROOM * count),
        bytes_max=max(64 << 20, POOL_ROOM * size),
        per_sender_max=max(1_024, POOL_ROOM * count),
        nonce_gap_max=max(16, count),
        pinned_bytes_max=max(128 * 4_194_304, POOL_ROOM * size),
    )


def dissemination_options(points: Sequence[Point]) -> DisseminationOptions:
    """What saves bytes, and patience for bodies that are on their way. The points agree in whether it is a tree."""
    return DisseminationOptions(
        spread="tree" if points[0].dissemination == "tree" else "gossip",
        short_ids=True,
        compress=True,
        body_grace_ms=max(_grace_ms(point) for point in points),
    )


def profile_of(point: Point) -> LinkProfile:
    """The links of a point. Frames of one link may overtake each other, as the Go demo's do: each is delayed alone."""
    bits_per_s = round(point.bandwidth_mbps * point.megabit)
    shared = point.bandwidth_model == "shared"
    conditions = Conditions(
        bandwidth_bits_per_s=0 if shared else bits_per_s,
        latency_ns=round(point.latency_ms * NS_PER_MS),
        distribution=point.distribution,
        loss_ppm=round(point.loss * 1_000_000),
        reorder=True,
    )
    return LinkProfile(
        seed=point.seed,
        phases=(
            Phase(
                rules=(Rule(conditions=conditions),),
                up_bits_per_s=bits_per_s if shared else 0,
                down_bits_per_s=bits_per_s if shared else 0,
            ),
        ),
    ).checked()


def time_limit_ns(point: Point) -> int:
    """When a run is given up: many times what any of its phases should take."""
    bits = 8 * _all_bytes(point)
    copies = point.nodes if point.bandwidth_model == "shared" else 1
    return int((60 + 5 * _seconds(point, bits * copies) + round_ms(point) / 50) * NS_PER_S)


def _all_bytes(point: Point) -> int:
    return payload_bytes(point) + max(point.transactions, transactions_of(point)) * 400


def _grace_ms(point: Point) -> int:
    copies = point.nodes if point.bandwidth_model == "shared" else 1
    return 100 + int(2 * point.latency_ms + 1000 * _seconds(point, 8 * _all_bytes(point) * copies))


def _seconds(point: Point, bits: int) -> float:
    rate = point.bandwidth_mbps * point.megabit
    return bits / rate if rate else 0.0

