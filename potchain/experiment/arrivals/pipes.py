"""One sender's way out and one receiver's way in, for all their frames at once.

The same arithmetic as `potchain.links.queueing` and `potchain.links.inbound`, solved instead of stepped. Votes wait for
votes alone, for they interrupt bulk. Bulk is passed on in the time that votes leave free: on a clock that stands still
while votes leave, it is a plain queue, and a queue's departures are a running maximum. So are a downlink's.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from potchain.experiment.arrivals.latencies import Numbers, Times
from potchain.primitives import NS_PER_S

Mask = NDArray[np.bool_]


class Rates(msgspec.Struct, frozen=True):
    """Bandwidths in bits per second; 0: no limit. One of them at most is set."""

    link: int
    """Of each directed link."""
    node: int
    """Of each endpoint's way out, and of its way in."""

    def one_ns(self, size_bytes: int) -> float:
        """How long one copy of a frame takes to leave."""
        bits_per_s = self.node or self.link
        return float(-(-size_bytes * 8 * NS_PER_S // bits_per_s)) if bits_per_s else 0.0

    def copies(self, receivers: int) -> int:
        """Copies of a frame to so many receivers that pass one pipe."""
        return receivers if self.node else 1


class FreeClock:
    """The time that urgent frames leave to bulk on one pipe."""

    def __init__(self, offered_ns: Times, takes_ns: Times) -> None:
        """Urgent frames, or rounds of copies of one, in any order; those that are never offered at infinity."""
        order = np.argsort(offered_ns, kind="stable")
        order = order[np.isfinite(offered_ns[order])]
        ends_ns = queue(offered_ns[order], takes_ns[order])
        begins_ns = ends_ns - takes_ns[order]
        busy_ns = np.cumsum(takes_ns[order])
        self.busy_ns = float(busy_ns[-1]) if len(order) else 0.0
        self._real = np.concatenate([[0.0], np.stack([begins_ns, ends_ns], axis=1).ravel()])
        self._free = np.concatenate([[0.0], np.repeat(ends_ns - busy_ns, 2)])
        self.begins_ns = begins_ns
        """Of those that are offered, ascending."""

    @staticmethod
    def of(urgent: tuple[Times, Times] | None) -> FreeClock:
        """Of these frames, or of none."""
        return FreeClock(*urgent) if urgent is not None else FreeClock(np.empty(0), np.empty(0))

    def free_at(self, real_ns: Times) -> Times:
        """Time left to bulk up to a moment."""
        within_ns = np.interp(real_ns, self._real, self._free)
        return np.where(real_ns >= self._real[-1], real_ns - self.busy_ns, within_ns)

    def real_at(self, free_ns: Times) -> Times:
        """The first moment up to which so much time was left to bulk."""
        # At a break the clock stands still; its left end is the moment at which the last bit has left.
        last = len(self._free) - 1
        index = np.searchsorted(self._free, free_ns, side="left")
        reached = np.minimum(index, last)
        before = np.where(index > last, last, np.maximum(reached - 1, 0))
        between_ns = self._real[before] + (free_ns - self._free[before])
        return np.where((index <= last) & (self._free[reached] == free_ns), self._real[reached], between_ns)


def queue(offered_ns: Times, takes_ns: Times) -> Times:
    """When each of several jobs ends that one server does in the order of axis 0; the columns are servers."""
    done_ns = np.cumsum(takes_ns, axis=0)
    return done_ns + np.maximum.accumulate(offered_ns - (done_ns - takes_ns), axis=0)


def queue_by_time(offered_ns: Times, takes_ns: Times) -> tuple[Times, Numbers]:
    """When jobs of several servers (columns) begin, done in the order in which they are offered, and their ranks."""
    order = np.argsort(offered_ns, axis=0, kind="stable")
    sorted_takes_ns = np.take_along_axis(takes_ns, order, axis=0)
    begins_ns = queue(np.take_along_axis(offered_ns, order, axis=0), sorted_takes_ns) - sorted_takes_ns
    result = np.empty_like(begins_ns)
    np.put_along_axis(result, order, begins_ns, axis=0)
    return result, np.argsort(order, axis=0, kind="stable")
