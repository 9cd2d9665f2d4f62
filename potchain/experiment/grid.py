"""A sweep file: which points are measured.

    title = "How the time grows with n"
    seeds = "1-20"

    [fixed]
    transactions = 500

    [grid]
    nodes = [4, 10, 31]
    bandwidth_mbps = [0.1, 25]

    [[series]]
    crashed = "f"

`[fixed]` gives fields of `Point` one value, `[grid]` several; every combination of the grid is measured with every
seed. Each `[[series]]` is the same set once more with some fields changed: a value, or a list of them. A file of
series alone (no `[grid]`) measures only these. `crashed = "f"` is as many as n tolerates. A point that several sets
contain is measured once.

Rules of this file: everything is checked here, before anything runs; the points come sorted by their fields, so their
order depends neither on the order of the file nor on who runs them.
"""

from __future__ import annotations

import itertools
import math
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from potchain.consensus.quorum import Quorum
from potchain.errors import ConfigError, ExperimentError
from potchain.experiment.point import Point
from potchain.tables import decode_table, nearest_hint

SEED_TEXT_MAX = 40
"""Characters of one seed or range of seeds."""
POINTS_MAX = 100_000
"""Of one sweep."""
SERIES_MAX = 1_000
"""Extra sets of one sweep file."""
SWEEP_FILE_BYTES_MAX = 1_000_000
ALL_TOLERATED = "f"
"""Value of `crashed` that stands for as many as n tolerates."""

Value = str | int | float
FIELDS = Point.__struct_fields__
POINT_KEYS = tuple(field for field in FIELDS if field != "seed")
"""Keys of `[fixed]`, `[grid]` and `[[series]]`; seeds have a key of their own."""


class SweepFile(msgspec.Struct, frozen=True, kw_only=True):
    """What a sweep file says, before its points are made."""

    title: str = ""
    """For the report."""
    seeds: str | int | list[int] = 1
    """Numbers and ranges, such as "1-20" or "1-5,8", or a list; each point is measured with each."""
    fixed: dict[str, object] = {}
    grid: dict[str, object] = {}
    series: list[dict[str, object]] = []


class Sweep(msgspec.Struct, frozen=True, kw_only=True):
    """Points to measure, sorted and each once, and the text that they come from."""

    title: str
    points: tuple[Point, ...]
    text: str


def order_of(point: Point) -> tuple[Value, ...]:
    """Key that sorts points by their fields, in the order in which `Point` declares them."""
    return tuple(getattr(point, field) for field in FIELDS)


def read_sweep(path: Path) -> Sweep:
    """The sweep of a file. Raises ConfigError or ExperimentError: what is wrong, where, and what is possible."""
    try:
        if path.stat().st_size > SWEEP_FILE_BYTES_MAX:
            raise ConfigError(f"sweep file {path} is larger than {SWEEP_FILE_BYTES_MAX} bytes")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        raise ConfigError(f"cannot read the sweep file {path}: {fault}") from None
    return parse_sweep(text, str(path))


def parse_sweep(text: str, source: str) -> Sweep:
    """The sweep of a text; `source` names it in errors. Raises ConfigError and ExperimentError as `read_sweep` does."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as fault:
        raise ConfigError(f"{source} is not TOML: {fault}") from None
    file = decode_table(table, SweepFile, source)
    if len(file.series) > SERIES_MAX:
        raise ExperimentError(f"{source} has {len(file.series)} series; at most {SERIES_MAX}")
    sets = list(_sets_of(file, source))
    count = sum(each.size for each in sets)
    if count > POINTS_MAX:
        raise ExperimentError(f"{source} asks for {count:,} points; at most {POINTS_MAX:,} in one sweep")
    points = {point for each in sets for point in each.points()}
    return Sweep(title=file.title, points=tuple(sorted(points, key=order_of)), text=text)


def parse_seeds(value: str | int | Sequence[int], at: str) -> tuple[int, ...]:
    """Seeds in the order given, each once. `at` names the place in errors. Raises ConfigError.

    >>> parse_seeds("1-3,8", "seeds")
    (1, 2, 3, 8)
    """
    if isinstance(value, int):
        return (value,)
    if not isinstance(value, str):
        return tuple(dict.fromkeys(value))
    found: dict[int, None] = {}
    for part in value.split(","):
        first, dash, last = (word.strip() for word in part.partition("-"))
        numbers = len(part) <= SEED_TEXT_MAX and first.isdecimal() and (last.isdecimal() or not dash)
        if not numbers or (dash and int(last) < int(first)):
            raise ConfigError(f'{at} is {value!r}; write numbers and ranges such as "1-20" or "1-5,8"')
        begin, end = int(first), int(last if dash else first)
        if end - begin + 1 + len(found) > POINTS_MAX:
            raise ConfigError(f"{at} is {value!r}: more than {POINTS_MAX:,} seeds")
        found.update(dict.fromkeys(range(begin, end + 1)))
    return tuple(found)


class _Set(msgspec.Struct, frozen=True):
    """One grid with all its values, and where it stands in the file."""

    axes: dict[str, list[object]]
    seeds: tuple[int, ...]
    at: str

    @property
    def size(self) -> int:
        return len(self.seeds) * math.prod(len(values) for values in self.axes.values())

    def points(self) -> Iterator[Point]:
        for values in itertools.product(*self.axes.values()):
            fields = dict(zip(self.axes, values, strict=True))
            point = point_of(fields, self.at)
            yield from (msgspec.structs.replace(point, seed=seed).checked() for seed in self.seeds)


def point_of(fields: Mapping[str, object], at: str) -> Point:
    """The checked point with these fields; the others have their defaults. `at` names their place in errors.

    Raises ConfigError for a value of a wrong type, ExperimentError for one that is not possible.
    """
    wanted = with_tolerated(fields)
    crashed = wanted.get("crashed")
    if isinstance(crashed, str):
        known = f'a number, or "{ALL_TOLERATED}" for as many as n tolerates'
        raise ConfigError(f"{at}.crashed is {crashed!r}; write {known}")
    try:
        return decode_table(wanted, Point, at).checked()
    except ExperimentError as fault:
        shown = ", ".join(f"{key} = {value!r}" for key, value in fields.items())
        raise ExperimentError(f"{at}: {fault} (at {shown})") from None


def with_tolerated(fields: Mapping[str, object]) -> dict[str, object]:
    """The same fields, with `crashed = "f"` as a number."""
    wanted = dict(fields)
    if wanted.get("crashed") == ALL_TOLERATED:
        nodes = wanted.get("nodes", Point().nodes)
        wanted["crashed"] = Quorum(nodes).faults_max if isinstance(nodes, int) and nodes > 0 else 0
    return wanted


def _sets_of(file: SweepFile, source: str) -> Iterator[_Set]:
    _only_known(file.fixed, f"{source} [fixed]")
    _only_known(file.grid, f"{source} [grid]")
    twice = sorted(set(file.fixed) & set(file.grid))
    if twice:
        raise ConfigError(f"{source}: {', '.join(twice)} stands in [fixed] and in [grid]; leave one of them away")
    common = {key: [value] for key, value in file.fixed.items()}
    for key, values in file.grid.items():
        if not isinstance(values, list):
            raise ConfigError(f"{source} [grid]: {key} is {values!r}; write a list, or put it into [fixed]")
        common[key] = values
    if file.grid or not file.series:
        yield _set(common, file.seeds, f"{source} [grid]")
    for number, series in enumerate(file.series, start=1):
        at = f"{source} [[series]] {number}"
        own = {key: value if isinstance(value, list) else [value] for key, value in series.items()}
        seeds = own.pop("seeds", None)
        _only_known(own, at, "seeds")
        yield _set(common | own, file.seeds if seeds is None else _seeds_of(series["seeds"], at), at)


def _set(axes: dict[str, list[object]], seeds: str | int | Sequence[int], at: str) -> _Set:
    for key, values in axes.items():
        if not values:
            raise ConfigError(f"{at}: {key} has no values")
    parsed = parse_seeds(seeds, f"{at} seeds")
    if not parsed:
        raise ConfigError(f"{at}: seeds is empty")
    # In the order of `Point`, so that an error names the first bad point of a grid, whatever the order of the file.
    return _Set({key: axes[key] for key in POINT_KEYS if key in axes}, parsed, at)


def _seeds_of(value: object, at: str) -> str | int | list[int]:
    try:
        return msgspec.convert(value, str | int | list[int])
    except msgspec.ValidationError as fault:
        raise ConfigError(f"{at} seeds: {fault}") from None


def _only_known(keys: Mapping[str, object], at: str, *more: str) -> None:
    for key in keys:
        if key == "seed" and not more:
            raise ConfigError(f"{at} has no key 'seed'; write seeds = \"1-20\" at the top of the file")
        if key not in POINT_KEYS and key not in more:
            raise ConfigError(f"{at} has no key {key!r} ({nearest_hint(key, [*POINT_KEYS, *more])})")
