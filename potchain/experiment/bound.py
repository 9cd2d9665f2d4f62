"""The time that the link model itself implies at least, for a dissemination and for the draws of one run.

What is counted. The client's payload alone passes the links that the dissemination uses, at their bandwidth: opaque
records without signatures, headers or frames; of transfers the signatures, for the rest can be compressed. A node
passes every bit on the moment it comes. Where links share a bandwidth, copies leave in the order of the members, and
what a node needs passes its downlink. Each frame has the latency that the link model drew for it: the client's frames,
bodies, pre-prepare, prepares, commits and replies. Votes and pre-prepares have no size, nodes take no time, nobody
waits for anything but what the protocol demands: the primary proposes when it has everything, a backup prepares when it
has pre-prepare and bodies, and every later step takes the order statistic of its quorum.

Why nothing is faster. Each of these times is a minimum over what must have happened before: a frame cannot leave before
its last bit is there, arrive before its latency has passed, nor a set of frames pass a pipe before their bits have. The
real thing adds framing, waiting behind other frames, votes' bits, whole frames at relays, and batches. It has no better
draws: which number each frame has on its link, and so its draw, is taken from a run of the model. The shipping nodes
number frames as the model does but for what they send again, fetch or report, and where several blocks are under way at
once: then their draws may be kinder, and a run may come out below this by about 1%. Loss and a slow node are not
counted: they add.
"""

from __future__ import annotations

from math import isfinite

import numpy as np

from potchain.dissemination import children
from potchain.experiment.arrivals.latencies import CLIENT, Numbers, Times
from potchain.experiment.arrivals.network import PRIMARY, Network
from potchain.experiment.arrivals.passes import Run, network_of, run
from potchain.experiment.arrivals.plan import plan
from potchain.experiment.arrivals.senders import turns
from potchain.experiment.arrivals.voting import reached
from potchain.experiment.point import NODES_MOST, Point
from potchain.primitives import NS_PER_S


def bound(point: Point) -> float | None:
    """Seconds to a quorum of replies at least; None where too few nodes ever have the payload."""
    # Modes with real frames draw by hash however many nodes there are.
    network = network_of(point) if point.mode == "model" else network_of(point, NODES_MOST["virtual"])
    return bound_of(network, run(network, plan(point)))


def bound_of(network: Network, done: Run) -> float | None:
    """The bound for the draws of a run of the model, in seconds."""
    needs_ns, has_ns = _Bodies(network, done).complete()
    proposed_ns = float(has_ns[PRIMARY])
    everybody = tuple(range(network.up))
    block = len(done.spread.accepted_ns) - 1
    latencies = network.latencies
    accepted_ns = needs_ns.copy()
    if network.up > 1:
        latency_ns = latencies.from_one(PRIMARY, everybody[1:], None, len(done.traffic.bodies) + block)
        accepted_ns[1:] = np.maximum(needs_ns[1:], proposed_ns + latency_ns)
    accepted_ns[PRIMARY] = proposed_ns
    quorum = network.thresholds.quorum
    rows = len(done.spread.accepted_ns)
    own_ns = np.where(np.arange(network.up) == PRIMARY, np.inf, accepted_ns)
    prepared_ns = np.maximum(accepted_ns, _votes(network, block, own_ns, quorum - 1))
    decided_ns = np.maximum(accepted_ns, _votes(network, rows + block, prepared_ns, quorum))
    executed_ns = np.maximum(decided_ns, has_ns)
    replies_ns = np.sort(executed_ns + latencies.to_client(None))
    bound_ns = float(replies_ns[quorum - 1])
    return bound_ns / NS_PER_S if isfinite(bound_ns) else None


def _votes(network: Network, row: int, sent_ns: Times, count: int) -> Times:
    """When each node has so many votes that were sent at these moments, its own included."""
    arrives_ns = network.latencies.among_all(row, None)
    arrives_ns += sent_ns.astype(arrives_ns.dtype)
    np.fill_diagonal(arrives_ns, np.inf)
    return reached(arrives_ns, sent_ns, count)[0].astype(float)


class _Bodies:
    """When the payload can be where."""

    def __init__(self, network: Network, done: Run) -> None:
        self._network = network
        self._traffic = done.traffic
        self._last_units = done.spread.proposals.units[-1]
        self._takes_ns = np.array([self._one_ns(body.payload_bytes) for body in self._traffic.bodies])
        self._units = np.array([body.unit for body in self._traffic.bodies])
        self._entries = [self._traffic.submissions[body.submission].entries for body in self._traffic.bodies]

    def complete(self) -> tuple[Times, Times]:
        """By node: when it has what the last proposal holds, and when it has everything, at the earliest."""
        at_ns = self._submitted()
        if self._traffic.relay == "tree":
            self._down_the_tree(at_ns)
        elif self._traffic.relay == "all":
            at_ns = self._to_all(at_ns)
        needs_ns: Times = np.max([self._unit_at(at_ns, unit) for unit in self._last_units], axis=0)
        has_ns: Times = np.max([self._unit_at(at_ns, unit) for unit in range(len(self._traffic.units))], axis=0)
        if self._network.rates.node:
            has_ns = np.maximum(has_ns, np.maximum(self._through(at_ns), self._out(at_ns)))
            if len(self._last_units) == len(self._traffic.units):
                needs_ns = has_ns
        return needs_ns, has_ns

    def _one_ns(self, payload_bytes: float) -> float:
        bits_per_s = self._network.rates.node or self._network.rates.link
        return payload_bytes * 8 * NS_PER_S / bits_per_s if bits_per_s else 0.0

    def _submitted(self) -> Times:
        """[body, node]: from the client."""
        at_ns = np.full((len(self._takes_ns), self._network.up), np.inf)
        left_ns = np.zeros(self._network.up)
        uplink_ns = 0.0
        bodies: list[list[int]] = [[] for _ in self._traffic.submissions]
        for place, body in enumerate(self._traffic.bodies):
            bodies[body.submission].append(place)
        for number, (submission, places) in enumerate(zip(self._traffic.submissions, bodies, strict=True)):
            nodes = np.array(submission.entries)
            takes_ns = float(self._takes_ns[places].sum())
            left_ns[nodes] += takes_ns
            ends_ns = left_ns[nodes]
            if self._network.rates.node:
                ends_ns = uplink_ns + takes_ns * np.arange(1, len(nodes) + 1)
                uplink_ns = float(ends_ns[-1])
            latency_ns = self._network.latencies.from_one(CLIENT, submission.entries, None, number)
            at_ns[np.ix_(np.array(places), nodes)] = ends_ns + latency_ns
        return at_ns

    def _copy_ns(self, takes_ns: float, turn: Numbers) -> Times:
        """How much later than the sender has a frame its copies can leave: bits leave as they come."""
        return (turn - 1.0) * (takes_ns if self._network.rates.node else 0.0)

    def _to_all(self, submitted_ns: Times) -> Times:
        """Each body from the node that has it from the client; or that can make it, once it has enough others."""
        up = self._network.up
        made = any(unit.enough < int((self._units == number).sum()) for number, unit in enumerate(self._traffic.units))
        delays = []
        for place, takes_ns in enumerate(self._takes_ns.tolist()):
            node = self._entries[place][0]
            receivers = tuple(each for each in range(up) if each != node)
            delay_ns = np.zeros(up)
            if receivers:
                latency_ns = self._network.latencies.from_one(node, receivers, None, place)
                delay_ns[list(receivers)] = latency_ns + self._copy_ns(takes_ns, turns(up, node)[list(receivers)])
            delays.append(delay_ns)
        entry = np.array([entries[0] for entries in self._entries])
        first_ns = submitted_ns[np.arange(len(entry)), entry]
        at_ns: Times = first_ns[:, None] + np.array(delays)
        while made:
            units_ns = np.array([self._unit_at(at_ns, unit) for unit in range(len(self._traffic.units))])
            sooner_ns = np.minimum(first_ns, units_ns[self._units, entry])
            made = not np.array_equal(sooner_ns, first_ns)
            first_ns = sooner_ns
            at_ns = first_ns[:, None] + np.array(delays)
        return at_ns

    def _down_the_tree(self, at_ns: Times) -> None:
        for node in range(self._network.up):
            below = children(self._network.members, self._traffic.fan_out, PRIMARY, node)
            receivers = tuple(each for each in below if each < self._network.up)
            if receivers:
                turn = np.arange(1, len(receivers) + 1)
                for place, takes_ns in enumerate(self._takes_ns.tolist()):
                    latency_ns = self._network.latencies.from_one(node, receivers, None, place)
                    later_ns = latency_ns + self._copy_ns(takes_ns, turn)
                    at_ns[place, list(receivers)] = at_ns[place, node] + later_ns

    def _unit_at(self, at_ns: Times, unit: int) -> Times:
        enough = self._traffic.units[unit].enough
        sorted_ns: Times = np.partition(at_ns[self._units == unit], enough - 1, axis=0)
        at: Times = sorted_ns[enough - 1]
        return at

    def _through(self, at_ns: Times) -> Times:
        """By node: when as many bits as everything has can be through its downlink."""
        takes_ns = [
            np.sort(self._takes_ns[self._units == number])[: unit.enough].sum()
            for number, unit in enumerate(self._traffic.units)
        ]
        first_bit_ns: Times = np.min(at_ns - self._takes_ns[:, None], axis=0)
        return first_bit_ns + float(np.sum(takes_ns))

    def _out(self, at_ns: Times) -> Times:
        """By node: when the copies that it needs of all that any one node sends can have left and arrived."""
        up = self._network.up
        done_ns = np.zeros(up)
        if self._traffic.relay != "all" or any(unit.enough > 1 for unit in self._traffic.units):
            return done_ns
        entry = np.array([entries[0] for entries in self._entries])
        for node in np.unique(entry).tolist():
            mine = np.flatnonzero(entry == node)
            takes_ns = self._takes_ns[mine]
            receivers = tuple(each for each in range(up) if each != node)
            if len(mine) < 2 or not receivers:
                continue  # one frame's copies are counted where it goes
            first_bit_ns = float(np.min(at_ns[mine, node] - takes_ns))
            # Whatever leaves last, all copies but those of later receivers have left before.
            later = len(receivers) - turns(up, node)[list(receivers)]
            left_ns = first_bit_ns + takes_ns.sum() * len(receivers) - later * takes_ns.max()
            latencies = [self._network.latencies.from_one(node, receivers, None, place) for place in mine.tolist()]
            cells = list(receivers)
            done_ns[cells] = np.maximum(done_ns[cells], left_ns + np.min(latencies, axis=0))
        return done_ns
