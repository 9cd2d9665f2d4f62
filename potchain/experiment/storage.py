"""What a sweep leaves in its folder: a journal while it runs, one Parquet file when it is done.

    points.jsonl       one line for each outcome as it comes: what is done need not be done again
    results.parquet    one row for each point, sorted by point
    sweep.toml         the file that asked for them, as it was
    origin.json        title and command, for the report

The Parquet file's bytes are a function of the outcomes and of the version of pyarrow: no time, no machine, one row
group, and columns made from the fields of `Point` and `SynchronizeResult`, so that a new field is a new column.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from potchain.errors import ExperimentError
from potchain.experiment.extra import require
from potchain.experiment.grid import order_of
from potchain.experiment.point import Point
from potchain.experiment.result import SynchronizeResult
from potchain.experiment.sweep import Outcome
from potchain.version import distribution_version

if TYPE_CHECKING:
    import pyarrow

JOURNAL = "points.jsonl"
RESULTS = "results.parquet"
SWEEP = "sweep.toml"
ORIGIN = "origin.json"
POINT_FIELDS = Point.__struct_fields__
RESULT_FIELDS = tuple(field for field in SynchronizeResult.__struct_fields__ if field != "point")


class Provenance(msgspec.Struct, frozen=True, kw_only=True):
    """Where results come from."""

    title: str = ""
    command: str = ""
    """That makes them again."""
    sweep_text: str = ""
    """The sweep file; empty when there was none."""


class JournalHeader(msgspec.Struct, frozen=True, tag="sweep"):
    """First line of a journal."""

    potchain: str
    """Version whose outcomes these are; another one may measure otherwise."""


class JournalLine(msgspec.Struct, frozen=True, tag="point"):
    """A point that is done."""

    outcome: Outcome


class JournalFile:
    """JSON lines, appended to and flushed for each outcome; a line that was torn by a crash is ignored."""

    def __init__(self, path: Path) -> None:
        """Open it, or make it. Raises ExperimentError when it is something else, or of another version."""
        self._path = path
        self._outcomes: dict[Point, Outcome] = {}
        stored = path.read_bytes() if path.exists() else b""
        if b"\n" in stored:
            self._outcomes = read_journal(path, stored)
        else:
            stored = b""  # torn in its first line: there is nothing to keep
            path.write_bytes(b"")
        self._file = path.open("ab")
        if not stored:
            self._write(JournalHeader(distribution_version()))
        elif not stored.endswith(b"\n"):
            self._file.write(b"\n")

    def finished(self) -> dict[Point, Outcome]:
        """What need not be measured again. What failed is tried again."""
        return {point: outcome for point, outcome in self._outcomes.items() if outcome.result is not None}

    def others(self, points: Collection[Point]) -> list[Point]:
        """What it holds, measured or failed, that is none of these; sorted."""
        return sorted(self._outcomes.keys() - set(points), key=order_of)

    def add(self, outcome: Outcome) -> None:
        """One more."""
        self._outcomes[outcome.point] = outcome
        self._write(JournalLine(outcome))

    def close(self) -> None:
        """No more are coming."""
        self._file.close()

    def _write(self, entry: JournalHeader | JournalLine) -> None:
        self._file.write(msgspec.json.encode(entry) + b"\n")
        self._file.flush()


def open_folder(folder: Path, origin: Provenance, points: Collection[Point], *, fresh: bool = False) -> JournalFile:
    """Make the folder of a sweep of these points, or go on in it; `fresh`: forget what is done.

    Raises ExperimentError as `JournalFile` does, and when points of another sweep are in there; OSError when the folder
    cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if fresh:
        (folder / JOURNAL).unlink(missing_ok=True)
    journal = JournalFile(folder / JOURNAL)
    others = journal.others(points)
    if others:
        journal.close()
        titles = (read_provenance(folder).title, origin.title)
        before, now = (repr(title) if title else "without a title" for title in titles)
        raise ExperimentError(
            f"{folder} holds {len(others):,} point{'s' * (len(others) > 1)} of the sweep {before} that this one, "
            f"{now}, does not ask for, such as {_difference(others[0], points)}; give another --out, or "
            f"--fresh to measure everything again and forget what is there"
        )
    (folder / RESULTS).unlink(missing_ok=True)  # of another run; it must not be taken for this one's
    (folder / ORIGIN).write_bytes(msgspec.json.format(msgspec.json.encode(origin)) + b"\n")
    if origin.sweep_text:
        (folder / SWEEP).write_text(origin.sweep_text, encoding="utf-8")
    else:
        (folder / SWEEP).unlink(missing_ok=True)
    return journal


def _difference(other: Point, points: Collection[Point]) -> str:
    """Fields of a point whose values no wanted point has; all that are not at their defaults if there are none."""
    fields = msgspec.structs.asdict(other)
    strange = [key for key, value in fields.items() if all(getattr(point, key) != value for point in points)]
    changed = [key for key, value in fields.items() if value != getattr(Point(), key)]
    return ", ".join(f"{key} = {fields[key]!r}" for key in strange or changed) or "the point of all defaults"


def read_provenance(folder: Path) -> Provenance:
    """What `open_folder` wrote; empty when it is not there. Raises ExperimentError when it is something else."""
    path = folder / ORIGIN
    if not path.exists():
        return Provenance()
    try:
        return msgspec.json.decode(path.read_bytes(), type=Provenance)
    except msgspec.MsgspecError as fault:
        raise ExperimentError(f"{path} does not say where results come from: {fault}") from None


def read_journal(path: Path, stored: bytes) -> dict[Point, Outcome]:
    """The last outcome of each point in a journal. Raises ExperimentError when it is none, or of another version."""
    decoder = msgspec.json.Decoder(JournalHeader | JournalLine)
    outcomes: dict[Point, Outcome] = {}
    for number, line in enumerate(stored.split(b"\n")):
        try:
            entry = decoder.decode(line)
        except msgspec.MsgspecError as fault:
            if number == 0:
                raise ExperimentError(
                    f"{path} is no journal of a sweep: {fault}; give --fresh to measure everything again, or "
                    f"another --out"
                ) from None
            continue  # torn: its point is measured again
        if isinstance(entry, JournalLine):
            outcomes[entry.outcome.point] = entry.outcome
        elif entry.potchain != distribution_version():
            raise ExperimentError(
                f"{path} was made by potchain {entry.potchain}, this is {distribution_version()}; "
                f"give --fresh to measure everything again, or another --out"
            )
    return outcomes


def write_results(path: Path, outcomes: Sequence[Outcome]) -> None:
    """Write the Parquet file, in one step. Raises ExperimentError when pyarrow is missing."""
    require("a results file", "pyarrow.parquet")
    import pyarrow
    import pyarrow.parquet

    schema = _schema()
    rows = [_row(outcome) for outcome in sorted(outcomes, key=lambda outcome: order_of(outcome.point))]
    columns = [pyarrow.array([row[field.name] for row in rows], field.type) for field in schema]
    table = pyarrow.Table.from_arrays(columns, schema=schema)
    draft = path.with_name(path.name + ".part")
    pyarrow.parquet.write_table(
        table, draft, version="2.6", data_page_version="1.0", compression="zstd", row_group_size=max(1, len(rows))
    )
    os.replace(draft, path)


def read_results(path: Path) -> tuple[Outcome, ...]:
    """What `write_results` wrote. Raises ExperimentError when it is something else."""
    require("a results file", "pyarrow.parquet")
    import pyarrow
    import pyarrow.parquet

    try:
        rows: list[dict[str, Any]] = pyarrow.parquet.read_table(path).to_pylist()
        return tuple(_outcome(row) for row in rows)
    except (pyarrow.ArrowException, OSError, KeyError, msgspec.ValidationError) as fault:
        raise ExperimentError(f"{path} is no results file of potchain experiment: {fault}") from None


def load_outcomes(folder: Path) -> tuple[Outcome, ...]:
    """The outcomes in the folder of a sweep, also of one that was interrupted. Raises ExperimentError."""
    if (folder / RESULTS).is_file():
        return read_results(folder / RESULTS)
    journal = folder / JOURNAL
    if not journal.is_file():
        raise ExperimentError(f"{folder} has neither {RESULTS} nor {JOURNAL}; it is no folder of a sweep")
    outcomes = read_journal(journal, journal.read_bytes()).values()
    return tuple(sorted(outcomes, key=lambda outcome: order_of(outcome.point)))


def _row(outcome: Outcome) -> dict[str, object]:
    row: dict[str, object] = {field: getattr(outcome.point, field) for field in POINT_FIELDS}
    result = None if outcome.result is None else msgspec.to_builtins(outcome.result)
    row |= {field: None if result is None else result[field] for field in RESULT_FIELDS}
    row["error"] = outcome.error
    return row


def _outcome(row: dict[str, Any]) -> Outcome:
    point = {field: row[field] for field in POINT_FIELDS}
    if row["error"]:
        return Outcome(point=msgspec.convert(point, Point), error=row["error"])
    result = {field: row[field] for field in RESULT_FIELDS} | {"point": point}
    return Outcome(point=msgspec.convert(point, Point), result=msgspec.convert(result, SynchronizeResult))


def _schema() -> pyarrow.Schema:
    import pyarrow

    structs = ((Point, POINT_FIELDS), (SynchronizeResult, RESULT_FIELDS))
    columns = [
        pyarrow.field(field.encode_name, _column_type(field.type))
        for struct, names in structs
        for field in _described(struct)
        if field.name in names
    ]
    columns.append(pyarrow.field("error", pyarrow.string()))
    return pyarrow.schema(columns, {"potchain": distribution_version()})


def _described(struct: type[msgspec.Struct]) -> tuple[msgspec.inspect.Field, ...]:
    kind = msgspec.inspect.type_info(struct)
    assert isinstance(kind, msgspec.inspect.StructType)
    return kind.fields


def _column_type(kind: msgspec.inspect.Type) -> pyarrow.DataType:
    """The column type of a field's type."""
    import pyarrow

    match kind:
        case msgspec.inspect.UnionType():
            (present,) = (each for each in kind.types if not isinstance(each, msgspec.inspect.NoneType))
            return _column_type(present)
        case msgspec.inspect.BoolType():
            return pyarrow.bool_()
        case msgspec.inspect.IntType():
            return pyarrow.int64()
        case msgspec.inspect.FloatType():
            return pyarrow.float64()
        case msgspec.inspect.VarTupleType():
            return pyarrow.list_(_column_type(kind.item_type))
        case msgspec.inspect.StructType():
            return pyarrow.struct([(field.encode_name, _column_type(field.type)) for field in kind.fields])
        case msgspec.inspect.StrType():
            return pyarrow.string()
        case msgspec.inspect.LiteralType():
            return pyarrow.string() if isinstance(kind.values[0], str) else pyarrow.int64()
    raise AssertionError(f"no column type for {kind}")
