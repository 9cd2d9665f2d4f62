"""From what people write to a profile: numbers checked and turned into integers, names and regions into rules.

A profile takes the last rule that fits whole; people's rules change only the keys that they name. So every pair of
endpoints that a rule or region names gets one rule with all that holds for it, general ones first.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from potchain.errors import LinkError
from potchain.links.conditions import (
    ANY,
    BANDWIDTH_LEAST_BITS_PER_S,
    BANDWIDTH_MOST_BITS_PER_S,
    LATENCY_MOST_NS,
    OFF,
    PHASES_MAX,
    PPM,
    SEED_MAX,
    Conditions,
    LinkProfile,
    Phase,
    Rule,
)
from potchain.links.regions import RegionMatrix, parse_matrix
from potchain.links.spec import LinkKeys, LinkRule, LinkSpec, ScheduleEntry
from potchain.primitives import NS_PER_MS, NS_PER_S
from potchain.tables import nearest_hint

BITS_PER_MEGABIT = 1_000_000
PAIRS_MAX = 1_000_000
"""Changes of one pair of endpoints by one rule or the table of regions, over the whole schedule."""
AT_MOST_S = 10_000_000
"""A third of a year."""

_Pair = tuple[str, str]
_Keys = dict[str, Any]
_LINK_KEYS = LinkKeys.__struct_fields__
_MBPS_LEAST = BANDWIDTH_LEAST_BITS_PER_S / BITS_PER_MEGABIT
_MBPS_MOST = BANDWIDTH_MOST_BITS_PER_S // BITS_PER_MEGABIT
_MS_MOST = LATENCY_MOST_NS // NS_PER_MS
_SHARE_MOST = (PPM - 1) / PPM


def link_profile(spec: LinkSpec, names: Collection[str] | None = None, at: str = "links") -> LinkProfile:
    """The profile that was described; `region_matrix` holds the text of the table.

    `names`: of all nodes, where they are known. Raises LinkError; `at` begins its messages.
    """
    return _Builder(spec, names, at).profile()


class _Builder:
    def __init__(self, spec: LinkSpec, names: Collection[str] | None, at: str) -> None:
        self._spec = spec
        self._names = names
        self._at = at
        self._pairs_left = PAIRS_MAX
        self._members: dict[str, list[str]] = {}
        """Region to its nodes."""

    def profile(self) -> LinkProfile:
        spec, at = self._spec, self._at
        check_keys(spec, at)
        if not 0 <= spec.seed <= SEED_MAX:
            raise LinkError(f"{at}.seed is {spec.seed}; it must be from 0 to {SEED_MAX}")
        matrix = self._matrix()
        for name, region in spec.regions.items():
            self._check_region(name, region, matrix)
            self._members.setdefault(region, []).append(name)
        now = {key: getattr(spec, key) for key in (*_LINK_KEYS, "bandwidth_model", "up_mbps", "down_mbps", "rules")}
        phases = [self._phase(0, now, matrix, at)]
        for number, entry in enumerate(self._schedule()):
            where = f"{at}.schedule[{number}]"
            check_keys(entry, where)
            now |= {key: value for key in now if (value := getattr(entry, key)) is not None}
            phases.append(self._phase(_at_ns(entry, phases[-1].from_ns, where), now, matrix, where))
        is_shared = any(phase.up_bits_per_s or phase.down_bits_per_s for phase in phases)
        if spec.bandwidth_model == "shared" and not is_shared:
            raise LinkError(
                f"{at}.bandwidth_model is 'shared', but bandwidth_mbps is 0: there is nothing to share; give a "
                "bandwidth, or leave bandwidth_model at 'per_link'"
            )
        profile = LinkProfile(seed=spec.seed, phases=tuple(phases)).checked()
        return OFF if profile.off else profile

    def _schedule(self) -> tuple[ScheduleEntry, ...]:
        schedule = self._spec.schedule
        if len(schedule) >= PHASES_MAX:
            raise LinkError(f"{self._at}.schedule has {len(schedule)} entries; at most {PHASES_MAX - 1} are possible")
        return schedule

    def _matrix(self) -> RegionMatrix | None:
        spec, at = self._spec, self._at
        if not spec.region_matrix:
            return None
        if not spec.regions:
            raise LinkError(f"{at}.region_matrix is given, but no node is in a region: write them into [{at}.regions]")
        matrix = parse_matrix(spec.region_matrix)
        for (sender, receiver), value in matrix.latencies_ms.items():
            _within(f"{at}.region_matrix: {sender} to {receiver}", value, 0, _MS_MOST, " ms")
        return matrix

    def _check_region(self, name: str, region: str, matrix: RegionMatrix | None) -> None:
        where = f"{self._at}.regions"
        self._check_name(name, where)
        if matrix is not None and region not in matrix.names:
            hint = nearest_hint(region, matrix.names)
            raise LinkError(f"{where}: {name} is in region {region!r}, which is not in the region_matrix ({hint})")
        if region == ANY or region in self._spec.regions or (self._names is not None and region in self._names):
            raise LinkError(f"{where}: {name} is in region {region!r}, but a node is called so; rename the region")

    def _check_name(self, name: str, where: str) -> None:
        if self._names is not None and name not in self._names:
            raise LinkError(f"{where}: no node is called {name!r} ({nearest_hint(name, self._names)})")
        if name in ("", ANY):
            raise LinkError(f"{where}: {name!r} is no name of a node")

    # One phase

    def _phase(self, from_ns: int, now: Mapping[str, Any], matrix: RegionMatrix | None, where: str) -> Phase:
        shared = now["bandwidth_model"] == "shared"
        up, down = (
            now[key] if now[key] is not None else now["bandwidth_mbps"] if shared else 0
            for key in ("up_mbps", "down_mbps")
        )
        common = {key: now[key] for key in _LINK_KEYS}
        if shared:
            common["bandwidth_mbps"] = 0.0
        table: dict[_Pair, _Keys] = {(ANY, ANY): {}}
        self._lay_matrix(table, matrix)
        self._lay_rules(table, now["rules"], where)
        return Phase(
            from_ns=from_ns,
            rules=tuple(_rules(table, common, where)),
            up_bits_per_s=_bits(up),
            down_bits_per_s=_bits(down),
        )

    def _lay_matrix(self, table: dict[_Pair, _Keys], matrix: RegionMatrix | None) -> None:
        if matrix is None:
            return
        regions = self._spec.regions
        self._count(len(regions) ** 2)
        for sender, its in regions.items():
            for receiver, other in regions.items():
                if sender != receiver:
                    table[sender, receiver] = {"latency_ms": matrix.latencies_ms[its, other]}

    def _lay_rules(self, table: dict[_Pair, _Keys], rules: tuple[LinkRule, ...], where: str) -> None:
        ends = []
        named: dict[str, None] = dict.fromkeys(self._spec.regions)
        for number, rule in enumerate(rules):
            at = f"{where}.rules[{number}]"
            check_keys(rule, at)
            ends.append((self._expanded(rule.sender, f"{at}.from"), self._expanded(rule.receiver, f"{at}.to")))
            named |= dict.fromkeys(name for end in ends[-1] for name in end if name != ANY)
        everyone = [ANY, *named]
        for rule, (senders, receivers) in zip(rules, ends, strict=True):
            changes = {key: value for key in _LINK_KEYS if (value := getattr(rule, key)) is not None}
            sending = everyone if senders == [ANY] else senders
            receiving = everyone if receivers == [ANY] else receivers
            self._count(len(sending) * len(receiving))
            for sender in sending:
                for receiver in receiving:
                    if sender != receiver or sender == ANY:
                        table.setdefault((sender, receiver), {}).update(changes)

    def _expanded(self, end: str, where: str) -> list[str]:
        """The nodes that one end of a rule names."""
        if end == ANY:
            return [ANY]
        if end in self._members:
            return self._members[end]
        if self._names is not None and end not in self._names:
            known = [*self._names, *self._members]
            raise LinkError(f"{where} is {end!r}, neither a node nor a region in use ({nearest_hint(end, known)})")
        self._check_name(end, where)
        return [end]

    def _count(self, pairs: int) -> None:
        self._pairs_left -= pairs
        if self._pairs_left < 0:
            raise LinkError(
                f"{self._at}: rules, regions and schedule together describe more than {PAIRS_MAX} pairs of nodes; "
                "use fewer rules for '*', or fewer phases"
            )


def check_keys(keys: LinkKeys | LinkSpec, where: str) -> None:
    """Ranges of the numbers of one table, where they are given. Raises LinkError; not a number is in no range."""
    for key in ("bandwidth_mbps", "up_mbps", "down_mbps"):
        value = getattr(keys, key, None)
        if value:  # neither left out nor 0
            _within(f"{where}.{key}", value, _MBPS_LEAST, _MBPS_MOST, ", or 0 for no limit")
    for key in ("latency_ms", "jitter_ms"):
        _within(f"{where}.{key}", getattr(keys, key), 0, _MS_MOST)
    for key in ("loss", "duplicate"):
        _within(f"{where}.{key}", getattr(keys, key), 0, _SHARE_MOST)


def _within(where: str, value: float | None, least: float, most: float, more: str = "") -> None:
    if value is not None and not least <= value <= most:
        raise LinkError(f"{where} is {value:g}; it must be from {least:g} to {most:.15g}{more}")


def _at_ns(entry: ScheduleEntry, before_ns: int, where: str) -> int:
    _within(f"{where}.at_s", entry.at_s, 0, AT_MOST_S)
    at_ns = round(entry.at_s * NS_PER_S)
    if at_ns <= before_ns:
        before_s = before_ns / NS_PER_S
        raise LinkError(f"{where}.at_s is {entry.at_s:g}; it must be later than what is before it, {before_s:g}")
    return at_ns


def _rules(table: Mapping[_Pair, _Keys], common: _Keys, where: str) -> Iterator[Rule]:
    """One rule for each pair that needs one; those of pairs of names last, because they know all that holds there."""
    given: dict[_Pair, tuple[int, Conditions]] = {}
    made: dict[tuple[Any, ...], Conditions] = {}
    for pair in sorted(table, key=_generality):
        sender, receiver = pair
        keys = common | table[pair]
        values = tuple(keys[key] for key in _LINK_KEYS)
        conditions = made.get(values)
        if conditions is None:
            conditions = made[values] = _conditions(keys, where, pair)
        fitting = [given[key] for key in ((sender, ANY), (ANY, receiver), (ANY, ANY)) if key in given]
        if not fitting or max(fitting, key=_first)[1] != conditions:
            given[pair] = (len(given), conditions)
            yield Rule(sender=sender, receiver=receiver, conditions=conditions)


def _generality(pair: _Pair) -> int:
    return (pair[0] != ANY) + (pair[1] != ANY)


def _first(found: tuple[int, Conditions]) -> int:
    return found[0]


def _conditions(keys: _Keys, where: str, pair: _Pair) -> Conditions:
    latency_ms, jitter_ms, distribution = keys["latency_ms"], keys["jitter_ms"], keys["distribution"]
    link = f"{where}, link from {pair[0]} to {pair[1]}"
    if jitter_ms and distribution != "jitter":
        raise LinkError(
            f"{link}: jitter_ms is {jitter_ms:g}, but distribution is {distribution!r}; set it to 'jitter', or leave "
            "jitter_ms out"
        )
    if jitter_ms > latency_ms:
        raise LinkError(f"{link}: jitter_ms is {jitter_ms:g}; at most latency_ms, {latency_ms:g}, is possible")
    return Conditions(
        bandwidth_bits_per_s=_bits(keys["bandwidth_mbps"]),
        latency_ns=round(latency_ms * NS_PER_MS),
        distribution=distribution,
        jitter_ns=round(jitter_ms * NS_PER_MS),
        loss_ppm=round(keys["loss"] * PPM),
        duplicate_ppm=round(keys["duplicate"] * PPM),
        reorder=keys["reorder"],
    )


def _bits(mbps: float) -> int:
    return round(mbps * BITS_PER_MEGABIT)
