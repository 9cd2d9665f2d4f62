"""Requests per second and client address: a token bucket each, in a table that forgets the least recently seen."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from potchain.primitives import NS_PER_S


class RateLimit:
    """Token buckets in integer nanoseconds: a request costs NS_PER_S / rate, and a bucket holds `burst` of those."""

    def __init__(self, rate_per_s: int, burst: int, clients_max: int, now_ns: Callable[[], int]) -> None:
        """`rate_per_s` 0 allows everything. `now_ns` is a monotonic clock."""
        self._cost_ns = NS_PER_S // rate_per_s if rate_per_s else 0
        self._burst_ns = self._cost_ns * burst
        self._clients_max = clients_max
        self._now_ns = now_ns
        self._busy_until_ns: OrderedDict[str, int] = OrderedDict()

    def allows(self, client: str) -> bool:
        """Count one request; False when the client has used its burst and its rate."""
        if not self._cost_ns:
            return True
        now_ns = self._now_ns()
        busy_until_ns = max(now_ns, self._busy_until_ns.get(client, 0)) + self._cost_ns
        if busy_until_ns - now_ns > self._burst_ns:
            return False
        self._busy_until_ns[client] = busy_until_ns
        self._busy_until_ns.move_to_end(client)
        if len(self._busy_until_ns) > self._clients_max:
            self._busy_until_ns.popitem(last=False)
        return True

    @property
    def clients(self) -> int:
        """How many addresses are remembered."""
        return len(self._busy_until_ns)
