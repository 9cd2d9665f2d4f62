"""Everything that one node sends: votes, which go ahead, and in the time that they leave bodies and progress reports.

A frame goes to several receivers. Where each link has a bandwidth of its own, the copies leave together; where a node's
links share one, they leave one after another, in the order of the members. Votes go to all other nodes.
"""

from __future__ import annotations

import msgspec
import numpy as np

from potchain.experiment.arrivals.latencies import Numbers, Times
from potchain.experiment.arrivals.network import Network
from potchain.experiment.arrivals.pipes import FreeClock, Mask, queue, queue_by_time
from potchain.experiment.arrivals.traffic import REPORT_BYTES
from potchain.primitives import NS_PER_S

REPORTS_FROM_NS = NS_PER_S / 2
"""First report of a node's progress: in mode "virtual" the client begins half-way between two of them."""
REPORTS_MAX = 4_096
"""Reports of one node that wait among its bodies; later ones are taken to leave at once."""


class Bulk(msgspec.Struct, frozen=True):
    """Bulk frames of one node when they have left."""

    left_ns: Times
    """[frame, receiver]; infinity: not sent there. Bodies and pre-prepares as they were given, then reports."""
    numbers: Numbers | None
    """[frame, receiver]: how many frames left before it on the link; None where draws do not depend on it."""
    reports: int

    def before(self, moment_ns: float) -> Numbers:
        """Bulk frames that have left on each link by a moment."""
        later = max(0, int(reports_before(np.array(moment_ns))) - self.reports)
        return np.asarray(np.sum(self.left_ns <= moment_ns, axis=0) + later)


class Sender:
    """One node with its votes."""

    def __init__(self, network: Network, node: int, offered_ns: Times, one_ns: Times) -> None:
        """When each vote is offered (infinity: never), and what one copy of it takes to leave."""
        rates = network.rates
        self._network = network
        self._node = node
        takes_ns = one_ns * network.copies()
        begins_ns, ranks = queue_by_time(offered_ns[:, None], takes_ns[:, None])
        self._clock = FreeClock(offered_ns, takes_ns)
        self._ranks = ranks[:, 0]
        self._begins_ns = begins_ns[:, 0]
        place = turns(network.up, node) if rates.node else np.ones(network.up, dtype=np.int64)
        self.votes_left_ns: Times = begins_ns + one_ns[:, None] * place
        """[vote, receiver]"""

    def bulk(self, at_ns: Times, size_ns: Times, goes: Mask) -> Bulk:
        """When frames leave that the node has at these moments; `goes`: [frame, receiver].

        Reports are too small to matter but for the numbers that they take: they leave where those decide.
        """
        rates = self._network.rates
        reports = 0
        if self._network.latencies.exact:
            copies = goes.sum(axis=1) if rates.node else 1
            reports = self._reports(float(at_ns.max(initial=0.0) + (size_ns * copies).sum()))
            at_ns = np.concatenate([at_ns, REPORTS_FROM_NS + float(NS_PER_S) * np.arange(reports)])
            size_ns = np.concatenate([size_ns, np.full(reports, rates.one_ns(REPORT_BYTES))])
            others = np.arange(self._network.up) != self._node
            goes = np.concatenate([goes, np.repeat(others[None, :], reports, axis=0)])
        order = np.argsort(at_ns, kind="stable")
        offered_ns = self._clock.free_at(at_ns)[order]
        left_ns = np.full(goes.shape, np.inf)
        if rates.node:
            turn = np.cumsum(goes, axis=1)
            # The client is told of a node's progress, too.
            copies = turn[:, -1] + (np.arange(len(turn)) >= len(turn) - reports)
            left_ns[order] = self._leave(offered_ns, (size_ns * copies)[order], (size_ns[:, None] * turn)[order])
        else:
            alike = bool((goes == goes[:1]).all())
            for pattern in np.ones((1, len(goes)), dtype=bool) if alike else np.unique(goes, axis=1).T:
                mine = order[pattern[order]]
                columns = np.flatnonzero((goes == pattern[:, None]).all(axis=0))
                ends_ns = self._leave(offered_ns[pattern[order]], size_ns[mine], size_ns[mine, None])
                left_ns[np.ix_(mine, columns)] = ends_ns
        left_ns = np.where(goes, np.maximum(left_ns, at_ns[:, None]), np.inf)
        return Bulk(left_ns, self._numbers(left_ns, goes, order), reports)

    def vote_numbers(self, vote: int, bulk: Bulk) -> Numbers:
        """[receiver]: how many frames left before a vote on each link."""
        # No bulk frame leaves between the moment at which a vote begins to leave and its last copy.
        return np.asarray(self._ranks[vote] + bulk.before(self._begins_ns[vote]))

    def _leave(self, offered_ns: Times, takes_ns: Times, until_ns: Times) -> Times:
        """When copies leave of frames that pass one pipe in this order; `until_ns`: [frame, copy], since it begins."""
        begins_ns = queue(offered_ns, takes_ns) - takes_ns
        return self._clock.real_at(begins_ns[:, None] + until_ns)

    def _numbers(self, left_ns: Times, goes: Mask, order: Numbers) -> Numbers | None:
        if not self._network.latencies.exact:
            return None
        numbers = np.empty(goes.shape, dtype=np.int64)
        numbers[order] = np.cumsum(goes[order], axis=0) - 1
        for vote_ns in self.votes_left_ns:
            numbers += vote_ns < left_ns
        return numbers

    def _reports(self, end_ns: float) -> int:
        """Reports up to the end of all that waits; there are more as long as they put off the end."""
        rates = self._network.rates
        per_s_ns = min(rates.one_ns(REPORT_BYTES) * rates.copies(self._network.up), NS_PER_S / 2)
        end_ns = (end_ns + self._clock.busy_ns) * NS_PER_S / (NS_PER_S - per_s_ns)
        return min(int(reports_before(np.array(end_ns))), REPORTS_MAX)


def turns(nodes: int, node: int) -> Numbers:
    """How many copies of a node's vote leave up to each receiver's; the node's own entry has no meaning."""
    place = np.arange(nodes)
    return np.asarray(place + 1 - (place > node))


def reports_before(moments_ns: Times) -> Numbers:
    """Progress reports that a node has sent by then; a moment that never comes counts as the first."""
    moments_ns = np.where(np.isfinite(moments_ns), moments_ns, 0.0)
    count = np.floor((moments_ns - REPORTS_FROM_NS) / NS_PER_S) + 1
    return np.maximum(0, count.astype(np.int64))
