"""How long frames wait at their receivers, where all senders share a receiver's downlink.

A frame's wait depends on everything else that comes to that receiver, so it is computed when one pass over all arrival
times is complete, and counts in the next pass.
"""

from __future__ import annotations

from math import isfinite

import numpy as np

from potchain.experiment.arrivals.latencies import Times
from potchain.experiment.arrivals.network import Network
from potchain.experiment.arrivals.pipes import Rates
from potchain.experiment.arrivals.traffic import Traffic
from potchain.links import Inbound
from potchain.primitives import NS_PER_S

ALIKE_NS = 1_000.0
"""Waits that are this near count as the same."""
RECEIVERS_AT_ONCE = 128
"""Receivers whose frames are sorted together: more of them would only take more memory."""


class Arrivals:
    """When frames have come from the links, of one pass; votes by receiver and sender, one matrix for each."""

    def __init__(self, bodies_ns: Times, pre_prepares_ns: Times, lead_takes_ns: tuple[float, ...]) -> None:
        """[body, node] and [block, node]; what one copy of each pre-prepare takes."""
        self.bodies_ns = bodies_ns
        self.pre_prepares_ns = pre_prepares_ns
        self.lead_takes_ns = lead_takes_ns
        self.votes_ns: list[Times] = []
        self.votes_take_ns: list[float] = []


class Downlinks:
    """The waits of one run as far as they are known; all zero where downlinks are not shared."""

    def __init__(self, traffic: Traffic, network: Network) -> None:
        self._network = network
        self._sizes_ns = np.array([network.rates.one_ns(body.size_bytes) for body in traffic.bodies])
        # Bodies that were cut out of one frame of the client came to its receiver in that frame.
        submissions = [body.submission for body in traffic.bodies]
        self._later = np.diff(np.array(submissions), prepend=-1) == 0
        self._entry = np.array([traffic.submissions[each].entries[0] for each in submissions])
        self.bodies_ns: Times = np.zeros((len(traffic.bodies), network.up))
        """[body, node]"""
        self._pre_prepares_ns: Times | None = None
        self._votes_ns: list[Times] = []

    def pre_prepares(self, blocks: int) -> Times | float:
        """[block, node]"""
        known = self._pre_prepares_ns
        return known if known is not None and len(known) == blocks else 0.0

    def votes(self, row: int, rows: int) -> Times | None:
        """[receiver, sender] of one of so many votes."""
        return self._votes_ns[row] if len(self._votes_ns) == rows else None

    def learn(self, arrivals: Arrivals) -> bool:
        """Compute the waits of a complete pass; whether they differ from those it was made with."""
        if not self._network.rates.node:
            return False
        before = (self.bodies_ns, self._pre_prepares_ns, self._votes_ns)
        nodes, blocks, bodies = self._network.up, len(arrivals.pre_prepares_ns), len(self._sizes_ns)
        takes_ns = np.concatenate([self._sizes_ns, arrivals.lead_takes_ns, np.repeat(arrivals.votes_take_ns, nodes)])
        kind = arrivals.votes_ns[0].dtype
        self.bodies_ns = np.empty_like(self.bodies_ns)
        self._pre_prepares_ns = np.empty((blocks, nodes))
        self._votes_ns = [np.empty_like(each) for each in arrivals.votes_ns]
        for first in range(0, nodes, RECEIVERS_AT_ONCE):
            some = slice(first, min(first + RECEIVERS_AT_ONCE, nodes))
            parts = [arrivals.bodies_ns[:, some].T, arrivals.pre_prepares_ns[:, some].T]
            arrived_ns = np.concatenate([*parts, *(each[some] for each in arrivals.votes_ns)], axis=1, dtype=kind)
            mine_ns = np.repeat(takes_ns[None, :].astype(kind), some.stop - first, axis=0)
            for node in range(first, some.stop):
                mine_ns[node - first, :bodies][self._later & (self._entry == node)] = 0.0
            waits_ns = waiting_ns(arrived_ns, mine_ns, self._network)
            self.bodies_ns[:, some] = waits_ns[:, :bodies].T
            self._pre_prepares_ns[:, some] = waits_ns[:, bodies : bodies + blocks].T
            for row, matrix in enumerate(self._votes_ns):
                begin = bodies + blocks + row * nodes
                matrix[some] = waits_ns[:, begin : begin + nodes]
        after = (self.bodies_ns, self._pre_prepares_ns, self._votes_ns)
        return not (
            _alike(before[0], after[0])
            and before[1] is not None
            and _alike(before[1], after[1])
            and len(before[2]) == len(after[2])
            and all(_alike(one, other) for one, other in zip(before[2], after[2], strict=True))
        )


def waiting_ns(arrived_ns: Times, takes_ns: Times, network: Network) -> Times:
    """How long each frame waits at its downlink (rows); 0 for one that never comes.

    A frame's bits came in while they were sent, so alone it is through when its last bit arrives. Where draws are the
    link model's own, its very downlinks are asked; else what comes is passed on in the order of its last bits, each
    frame as a whole.
    """
    if network.latencies.exact:
        each = zip(arrived_ns, takes_ns, strict=True)
        return np.array([_waiting(Inbound(network.profile, 0), *row, network.rates) for row in each])
    order = np.argsort(arrived_ns, axis=1)
    done_ns = np.take_along_axis(takes_ns, order, axis=1)
    np.cumsum(done_ns, axis=1, out=done_ns)
    came_ns = np.take_along_axis(arrived_ns, order, axis=1)
    through_ns = came_ns - done_ns
    np.maximum.accumulate(through_ns, axis=1, out=through_ns)
    through_ns += done_ns
    comes = np.isfinite(came_ns)
    waits_ns = np.empty_like(through_ns)
    np.put_along_axis(waits_ns, order, np.where(comes, through_ns, 0.0) - np.where(comes, came_ns, 0.0), axis=1)
    return waits_ns


def _waiting(downlink: Inbound, arrived_ns: Times, takes_ns: Times, rates: Rates) -> Times:
    """The same of one receiver, by its downlink."""
    waits_ns = np.zeros(len(arrived_ns))
    order = np.argsort(arrived_ns, kind="stable").tolist()
    sizes = np.rint(takes_ns * rates.node / (8 * NS_PER_S)).astype(int).tolist()
    sending, arrived = takes_ns.astype(int).tolist(), arrived_ns.tolist()
    for frame in order:
        if isfinite(arrived[frame]):
            came_ns = int(arrived[frame])
            waits_ns[frame] = downlink.through_ns(sizes[frame], sending[frame], came_ns) - came_ns
    return waits_ns


def _alike(one: Times, other: Times) -> bool:
    return one.shape == other.shape and bool(np.all(np.abs(one - other) <= ALIKE_NS))
