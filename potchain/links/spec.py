"""Network conditions as people write them: in Mbps, ms and shares of one; TOML tables and JSON objects alike.

    bandwidth_mbps = 25.0              # keys of this level hold for all links,
    region_matrix = "..."              # then what the table of regions says,
    [regions]
    node0 = "eu"
    [[rules]]                          # then rules, in their order; each changes only the keys that it names
    from = "eu"
    to = "node3"
    loss = 0.05
    [[schedule]]                       # from then on other values; keys that it does not name stay as they were
    at_s = 60
    latency_ms = 300

`building.link_profile` makes a profile of it, `describing.describe` is the way back. Every fault is a LinkError that
names the key, its value and what is possible.
"""

from __future__ import annotations

from typing import Any, Literal, TypeVar, get_args

import msgspec

from potchain.errors import ConfigError, LinkError
from potchain.links.conditions import ANY, DISTRIBUTIONS, Distribution
from potchain.tables import Table, decode_table, nearest_hint

BandwidthModel = Literal["per_link", "shared"]


class LinkKeys(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Keys of a rule; what is not given stays as it is."""

    bandwidth_mbps: float | None = None
    """Of the link, 10^6 bits per second; 0: no limit."""
    latency_ms: float | None = None
    """L, one way."""
    distribution: Distribution | None = None
    """"constant", "uniform" or "jitter"."""
    jitter_ms: float | None = None
    """For "jitter"."""
    loss: float | None = None
    """Share of frames that never arrive."""
    duplicate: float | None = None
    """Share of frames that arrive twice."""
    reorder: bool | None = None
    """Whether frames may overtake each other."""


class LinkRule(LinkKeys, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Links that differ from the rest: from whom to whom, each a node's name, a region or "*", and how."""

    sender: str = msgspec.field(default=ANY, name="from")
    receiver: str = msgspec.field(default=ANY, name="to")


class ScheduleEntry(LinkKeys, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What changes at a time; what is not named stays as it was."""

    at_s: float
    """Since the conditions were applied."""
    bandwidth_model: BandwidthModel | None = None
    up_mbps: float | None = None
    down_mbps: float | None = None
    rules: tuple[LinkRule, ...] | None = None
    """Instead of the rules of before."""


class LinkSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Network conditions to emulate; with everything at its default nothing is emulated."""

    bandwidth_mbps: float = 0.0
    """10^6 bits per second, of each link and direction, or as `bandwidth_model` says; 0: no limit."""
    bandwidth_model: BandwidthModel = "per_link"
    """What has that bandwidth: "per_link", each link and direction; "shared", each node's uplink and its downlink."""
    up_mbps: float | None = None
    """Of each node's uplink, over all its links together, if it differs from its downlink."""
    down_mbps: float | None = None
    """Of each node's downlink, over all its links together, if it differs from its uplink."""
    latency_ms: float = 0.0
    """L, one way: what a frame takes from its last bit sent to its arrival."""
    distribution: Distribution = "constant"
    """Of the latency of each frame: "constant", L; "uniform", in [0.1 L, L]; "jitter", in [L - jitter, L + jitter]."""
    jitter_ms: float = 0.0
    """For "jitter"; at most L."""
    loss: float = 0.0
    """Share of frames that never arrive, from 0 to below 1."""
    duplicate: float = 0.0
    """Share of frames that arrive twice, from 0 to below 1."""
    reorder: bool = False
    """Whether a frame may overtake an earlier one of the same link; else it waits for it, as on one connection."""
    seed: int = 0
    """Of all draws; the same on every node that shall draw alike."""
    regions: dict[str, str] = {}
    """Name of a node to its region: the table [links.regions]."""
    region_matrix: str = ""
    """Latencies between regions: "cloud" for the table that comes along, else a file of comma-separated values."""
    rules: tuple[LinkRule, ...] = ()
    """Links that differ: tables [[links.rules]] with `from`, `to` (a node, a region or "*") and the keys that do."""
    schedule: tuple[ScheduleEntry, ...] = ()
    """What changes at times: tables [[links.schedule]] with `at_s` and the keys that change."""


S = TypeVar("S", bound=LinkSpec)
T = TypeVar("T", bound=msgspec.Struct)

_WORDS = {"distribution": DISTRIBUTIONS, "bandwidth_model": get_args(BandwidthModel)}


def decode_spec(table: Table, kind: type[S], at: str) -> S:
    """Conditions from a TOML table or JSON object that is named `at` in messages. Raises LinkError."""
    try:
        for key, entry_kind in (("rules", LinkRule), ("schedule", ScheduleEntry)):
            for number, entry in enumerate(_entries(table, key, at)):
                where = f"{at}.{key}[{number}]"
                for inner, each in enumerate(_entries(entry, "rules", where)):
                    _decode(each, LinkRule, f"{where}.rules[{inner}]")
                _decode(entry, entry_kind, where)
        return _decode(table, kind, at)
    except ConfigError as fault:
        raise LinkError(str(fault)) from None


def _entries(table: Table, key: str, at: str) -> list[Table]:
    entries: Any = table.get(key) or []
    if not isinstance(entries, list | tuple) or not all(isinstance(entry, dict) for entry in entries):
        raise LinkError(f"{at}.{key} must be a list of tables, each headed [[{at}.{key}]], not {entries!r}")
    return list(entries)


def _decode(table: Table, kind: type[T], at: str) -> T:
    for key, known in _WORDS.items():
        word = table.get(key)
        if isinstance(word, str) and word not in known:
            raise LinkError(f"{at}.{key} is {word!r} ({nearest_hint(word, known)})")
    return decode_table(table, kind, at)
