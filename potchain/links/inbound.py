"""One node's way in, where all senders share its downlink.

A frame's bits came in while they were sent: a downlink as fast as the uplink, with nothing else on it, adds nothing.
What comes at the same time from several senders is passed on one frame after another, in the order in which frames
have come whole. From the first bit of a busy time on, bandwidth times time passes, neither less nor more; a frame is
never handed over before its last bit has come.
"""

from __future__ import annotations

from potchain.links.conditions import LinkProfile
from potchain.primitives import NS_PER_S


class Inbound:
    """When frames that have come from the links are through the downlink of one node. Ask in the order of arrivals."""

    def __init__(self, profile: LinkProfile, began_ns: int) -> None:
        """`began_ns`: when the profile was applied; its phases count from then."""
        self._busy_ns = 0
        """Until then the downlink passes what has come before..."""
        self._over = 0
        """...and in its last nanosecond could have passed so many bits times 10^9 more..."""
        self._over_rate = 1
        """...at this rate."""
        self._use(profile, began_ns)

    def change(self, profile: LinkProfile, now_ns: int) -> None:
        """From now on another profile, whose phases count from now; what the old one has promised stays."""
        self._use(profile, now_ns)

    def _use(self, profile: LinkProfile, began_ns: int) -> None:
        self._profile = profile
        self._began_ns = began_ns
        self._limited = any(phase.down_bits_per_s for phase in profile.phases)

    def through_ns(self, size_bytes: int, sending_ns: int, arrived_ns: int) -> int:
        """When a frame whose last bit came at `arrived_ns` is handed over; `sending_ns` as in `Departure`."""
        if not self._limited:
            return max(arrived_ns, self._busy_ns)
        at_ns = arrived_ns - sending_ns
        over, over_rate = 0, 1
        if self._busy_ns >= at_ns:
            at_ns, over, over_rate = self._busy_ns, self._over, self._over_rate
        left = size_bytes * 8 * NS_PER_S
        phases = self._profile.phases
        number = self._profile.phase_at(at_ns - self._began_ns)
        while rate := phases[number].down_bits_per_s:
            left -= over * rate // over_rate
            over = 0
            ends_ns = at_ns + max(0, -(-left // rate))
            number += 1
            if number == len(phases) or ends_ns <= (boundary_ns := self._began_ns + phases[number].from_ns):
                over, over_rate = (ends_ns - at_ns) * rate - left, rate
                at_ns = ends_ns
                break
            left -= (boundary_ns - at_ns) * rate
            at_ns = boundary_ns
        self._busy_ns, self._over, self._over_rate = at_ns, over, over_rate
        return max(arrived_ns, at_ns)
