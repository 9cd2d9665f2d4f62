"""What links are like: plain data in integers, with the checks that make it meaningful.

A profile is a list of phases, each a list of rules for directed links and a bandwidth that each node shares over all
its links. The first phase holds from the start; a later one replaces it whole at its time.
"""

from __future__ import annotations

from bisect import bisect_right
from functools import cached_property
from typing import Literal, get_args

import msgspec

from potchain.errors import LinkError
from potchain.primitives import NS_PER_S

ANY = "*"
"""In a rule: every endpoint."""
PPM = 1_000_000
BANDWIDTH_LEAST_BITS_PER_S = 100
"""Below this a single vote would take a quarter of a minute: taken for a mistake in the unit."""
BANDWIDTH_MOST_BITS_PER_S = 10**12
LATENCY_MOST_NS = 600 * NS_PER_S
SEED_MAX = 2**63 - 1
PHASES_MAX = 1_000
RULES_MAX = 1_000_000
"""A thousand regions, every way between two of them."""

Distribution = Literal["constant", "uniform", "jitter"]
DISTRIBUTIONS: tuple[str, ...] = get_args(Distribution)


class Conditions(msgspec.Struct, frozen=True, kw_only=True):
    """One directed link. Zero turns a condition off."""

    bandwidth_bits_per_s: int = 0
    """What passes in a second; 0: no limit. 10^6-based."""
    latency_ns: int = 0
    """L: from the moment a frame's last bit is sent until it arrives."""
    distribution: Distribution = "constant"
    """"constant": L. "uniform": uniform in [0.1 L, L], as in the Go demo. "jitter": uniform in [L - jitter,
    L + jitter]."""
    jitter_ns: int = 0
    """For "jitter": at most L."""
    loss_ppm: int = 0
    """Frames of a million that never arrive."""
    duplicate_ppm: int = 0
    """Frames of a million that arrive twice, the second with a latency of its own."""
    reorder: bool = False
    """Whether a frame may overtake one that left earlier; else it waits for it, as on one TCP connection."""

    @property
    def off(self) -> bool:
        """Whether they change nothing: a frame arrives when it is sent, once."""
        return not (self.bandwidth_bits_per_s or self.latency_ns or self.loss_ppm or self.duplicate_ppm)

    @property
    def latency_range_ns(self) -> tuple[int, int]:
        """Least and greatest latency, both included."""
        if self.distribution == "uniform":
            return self.latency_ns // 10, self.latency_ns
        if self.distribution == "jitter":
            return self.latency_ns - self.jitter_ns, self.latency_ns + self.jitter_ns
        return self.latency_ns, self.latency_ns


UNSHAPED = Conditions()
"""A link that the model leaves alone."""


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """Conditions of the links from one endpoint to another; of several rules that fit, the last one holds."""

    sender: str = ANY
    receiver: str = ANY
    conditions: Conditions


class Phase(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """What holds from a moment on."""

    from_ns: int = 0
    """Since the profile was applied."""
    rules: tuple[Rule, ...] = ()
    up_bits_per_s: int = 0
    """What one node sends in a second over all its links together; 0: no limit."""
    down_bits_per_s: int = 0
    """What one node receives in a second over all its links together; 0: no limit."""

    @property
    def off(self) -> bool:
        """Whether nothing is shaped while it holds."""
        return not (self.up_bits_per_s or self.down_bits_per_s) and all(rule.conditions.off for rule in self.rules)

    def conditions(self, sender: str, receiver: str) -> Conditions:
        """Of one directed link: those of the last rule that fits. Its cost does not grow with the rules."""
        found = self._found
        fitting = [
            found[key]
            for key in ((sender, receiver), (sender, ANY), (ANY, receiver), (ANY, ANY))
            if key in found
        ]
        return max(fitting, key=_number)[1] if fitting else UNSHAPED

    @cached_property
    def _found(self) -> dict[tuple[str, str], tuple[int, Conditions]]:
        """Number and conditions of the last rule for each pair of names that rules use."""
        return {(rule.sender, rule.receiver): (at, rule.conditions) for at, rule in enumerate(self.rules)}


def _number(found: tuple[int, Conditions]) -> int:
    return found[0]


class LinkProfile(msgspec.Struct, frozen=True, kw_only=True):
    """Conditions of all links of a network, over time. Raises LinkError from `checked` for what makes no sense."""

    seed: int = 0
    """Of all draws."""
    phases: tuple[Phase, ...] = ()
    """By `from_ns`, the first at 0; none: off."""

    @property
    def off(self) -> bool:
        """Whether it changes nothing at all: a transport then does what it does without a profile, byte for byte."""
        return all(phase.off for phase in self.phases)

    def phase_at(self, elapsed_ns: int) -> int:
        """Index of the phase that holds so long after the profile was applied; 0 also where there is none."""
        return max(0, bisect_right(self.phases, elapsed_ns, key=_begin) - 1)

    def conditions(self, phase: int, sender: str, receiver: str) -> Conditions:
        """Of one directed link in a phase."""
        return self.phases[phase].conditions(sender, receiver) if self.phases else UNSHAPED

    def rate_bits_per_s(self, phase: int, sender: str, receiver: str) -> int:
        """At which a frame leaves; 0: no limit. Of a shared uplink and the link's own bandwidth the lower one."""
        if not self.phases:
            return 0
        up, link = self.phases[phase].up_bits_per_s, self.conditions(phase, sender, receiver).bandwidth_bits_per_s
        return min(up, link) if up and link else up or link

    def sending_ns(self, phase: int, sender: str, receiver: str, size_bytes: int) -> int:
        """How long the bits of one frame take to leave when nothing interrupts them; 0 where nothing limits them."""
        rate = self.rate_bits_per_s(phase, sender, receiver)
        return -(-size_bytes * 8 * NS_PER_S // rate) if rate else 0

    def checked(self) -> LinkProfile:
        """Itself. Raises LinkError for what is negative, absurd or contradictory, with the value and the bound."""
        if not 0 <= self.seed <= SEED_MAX:
            raise LinkError(f"seed is {self.seed}; it must be from 0 to {SEED_MAX}")
        if len(self.phases) > PHASES_MAX:
            raise LinkError(f"a schedule of {len(self.phases)} phases; at most {PHASES_MAX} are allowed")
        before = -1
        for number, phase in enumerate(self.phases):
            where = f"phase {number}"
            if (number == 0) != (phase.from_ns == 0) or phase.from_ns <= before:
                raise LinkError(f"{where} begins at {phase.from_ns} ns; the first begins at 0, each later one later")
            before = phase.from_ns
            if len(phase.rules) > RULES_MAX:
                raise LinkError(f"{where} has {len(phase.rules)} rules; at most {RULES_MAX} are allowed")
            for name in ("up_bits_per_s", "down_bits_per_s"):
                _check_bandwidth(getattr(phase, name), f"{where}: {name}")
            for rule in phase.rules:
                check_conditions(rule.conditions, f"{where}, link {rule.sender} to {rule.receiver}")
        return self


OFF = LinkProfile()
"""No shaping."""


def check_conditions(conditions: Conditions, where: str) -> None:
    """Raises LinkError for conditions that no link can have; `where` begins the message."""
    _check_bandwidth(conditions.bandwidth_bits_per_s, f"{where}: bandwidth_bits_per_s")
    if not 0 <= conditions.latency_ns <= LATENCY_MOST_NS:
        raise LinkError(f"{where}: latency_ns is {conditions.latency_ns}; it must be from 0 to {LATENCY_MOST_NS}")
    if conditions.distribution not in DISTRIBUTIONS:
        raise LinkError(f"{where}: distribution is {conditions.distribution!r}; known: {', '.join(DISTRIBUTIONS)}")
    if conditions.jitter_ns and conditions.distribution != "jitter":
        raise LinkError(f"{where}: jitter_ns is {conditions.jitter_ns}, but the distribution is "
                        f"{conditions.distribution!r}; set it to 'jitter', or jitter to 0")  # fmt: skip
    if not 0 <= conditions.jitter_ns <= conditions.latency_ns:
        raise LinkError(f"{where}: jitter_ns is {conditions.jitter_ns}; it must be from 0 to the latency, "
                        f"{conditions.latency_ns}")  # fmt: skip
    for name in ("loss_ppm", "duplicate_ppm"):
        value = getattr(conditions, name)
        if not 0 <= value < PPM:
            raise LinkError(f"{where}: {name} is {value}; it must be from 0 to {PPM - 1} (of a million)")


def _check_bandwidth(value: int, where: str) -> None:
    if value and not BANDWIDTH_LEAST_BITS_PER_S <= value <= BANDWIDTH_MOST_BITS_PER_S:
        raise LinkError(
            f"{where} is {value}; it must be 0 (no limit) or from {BANDWIDTH_LEAST_BITS_PER_S} to "
            f"{BANDWIDTH_MOST_BITS_PER_S} bits per second"
        )


def _begin(phase: Phase) -> int:
    return phase.from_ns
