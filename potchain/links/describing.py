"""From a profile back to what people write: for a node that is asked which conditions are in force."""

from __future__ import annotations

from typing import Any

import msgspec

from potchain.links.building import BITS_PER_MEGABIT
from potchain.links.conditions import ANY, PPM, UNSHAPED, Conditions, LinkProfile, Phase
from potchain.links.spec import LinkRule, LinkSpec, ScheduleEntry
from potchain.primitives import NS_PER_MS, NS_PER_S

RULES_SHOWN_MAX = 1_000
"""Of each phase."""


def describe(profile: LinkProfile, rules_max: int = RULES_SHOWN_MAX) -> LinkSpec:
    """A profile in human units; `link_profile` of it makes every link what it is.

    Regions have become pairs of nodes. Of more rules than `rules_max` in a phase the rest is left out.
    """
    if not profile.phases:
        return LinkSpec(seed=profile.seed)
    first, *later = profile.phases
    common = _common(first)
    if common["bandwidth_model"] == "shared" or not (common["up_mbps"] or common["down_mbps"]):
        common["up_mbps"] = common["down_mbps"] = None  # it says the same
    schedule = tuple(
        ScheduleEntry(at_s=phase.from_ns / NS_PER_S, rules=_rules(phase, rules_max), **_common(phase))
        for phase in later
    )
    spec = LinkSpec(seed=profile.seed, rules=_rules(first, rules_max), schedule=schedule)
    return msgspec.structs.replace(spec, **common)


def rules_left_out(profile: LinkProfile, rules_max: int = RULES_SHOWN_MAX) -> int:
    """How many rules `describe` does not tell."""
    return sum(max(0, len(phase.rules) - rules_max - _is_general(phase)) for phase in profile.phases)


def _common(phase: Phase) -> dict[str, Any]:
    keys = _keys(phase.rules[0].conditions if _is_general(phase) else UNSHAPED)
    up, down = phase.up_bits_per_s / BITS_PER_MEGABIT, phase.down_bits_per_s / BITS_PER_MEGABIT
    keys |= {"bandwidth_model": "per_link", "up_mbps": up, "down_mbps": down}
    if up == down != 0 and not keys["bandwidth_mbps"]:
        keys |= {"bandwidth_model": "shared", "bandwidth_mbps": up}
    return keys


def _rules(phase: Phase, rules_max: int) -> tuple[LinkRule, ...]:
    first = 1 if _is_general(phase) else 0
    return tuple(
        LinkRule(sender=rule.sender, receiver=rule.receiver, **_keys(rule.conditions))
        for rule in phase.rules[first : first + rules_max]
    )


def _is_general(phase: Phase) -> bool:
    return bool(phase.rules) and phase.rules[0].sender == phase.rules[0].receiver == ANY


def _keys(conditions: Conditions) -> dict[str, Any]:
    return {
        "bandwidth_mbps": conditions.bandwidth_bits_per_s / BITS_PER_MEGABIT,
        "latency_ms": conditions.latency_ns / NS_PER_MS,
        "distribution": conditions.distribution,
        "jitter_ms": conditions.jitter_ns / NS_PER_MS,
        "loss": conditions.loss_ppm / PPM,
        "duplicate": conditions.duplicate_ppm / PPM,
        "reorder": conditions.reorder,
    }
