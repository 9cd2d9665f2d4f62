"""Network conditions as pure arithmetic: when a frame arrives, given bandwidth, latency, loss and the rest.

Nothing here sleeps, reads a clock or knows sockets. The live transport and the simulator ask the same functions with
their own time, so a profile means the same on both (design section 7).

    conditions   what a link is like: data, and the checks on it
    draws        the random numbers of a frame: a pure function of seed, link and frame number
    queueing     one node's way out: frames wait for bandwidth, leave, and arrive after their latency
    inbound      one node's way in, where all senders share its downlink
    spec         the same as people write it; regions: a table of latencies; building and describing: there and back

Endpoints are names (a validator's name in genesis), so that draws do not depend on keys.
"""

from potchain.links.building import link_profile
from potchain.links.conditions import (
    ANY,
    OFF,
    UNSHAPED,
    Conditions,
    LinkProfile,
    Phase,
    Rule,
)
from potchain.links.describing import describe, rules_left_out
from potchain.links.inbound import Inbound
from potchain.links.queueing import Departure, Outbound
from potchain.links.spec import LinkRule, LinkSpec, ScheduleEntry, decode_spec

__all__ = [
    "ANY", "OFF", "UNSHAPED", "Conditions", "Departure", "Inbound", "LinkProfile", "LinkRule", "LinkSpec", "Outbound",
    "Phase", "Rule", "ScheduleEntry", "decode_spec", "describe", "link_profile",
    "rules_left_out",
]  # fmt: skip
