"""What the source says beside what the interpreter knows: docstrings of fields and constants, types in words."""

import ast
import inspect
import textwrap
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
from msgspec import inspect as types

ROOT = Path(__file__).parent.parent.parent
RANGE_MAX = 10**9
"""A larger bound is there for the computer and says nothing to people."""


def prose(text: str | None) -> str:
    """One paragraph on one line, safe in a table."""
    return " ".join((text or "").split()).replace("|", "\\|")


def first_paragraph(text: str | None) -> str:
    return prose(inspect.cleandoc(text or "").split("\n\n")[0])


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [
        "| " + " | ".join(header) + " |",
        "|" + "---|" * len(header),
        *("| " + " | ".join(row) + " |" for row in rows),
        "",
    ]


def _texts(body: Sequence[ast.stmt]) -> dict[str, str]:
    """Name of every assignment that has a docstring right below it, to that docstring."""
    found: dict[str, str] = {}
    for node, below in pairwise(body):
        if not isinstance(node, ast.AnnAssign | ast.Assign):
            continue
        target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
        is_text = isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
        if isinstance(target, ast.Name) and is_text and isinstance(below.value.value, str):
            found[target.id] = prose(below.value.value)
    return found


@cache
def assignment_texts(module: ModuleType) -> dict[str, str]:
    return _texts(ast.parse(Path(module.__file__ or "").read_text(encoding="utf-8")).body)


def field_texts(struct: type) -> dict[str, str]:
    found: dict[str, str] = {}
    for each in reversed(struct.__mro__):
        if each.__module__.startswith("potchain"):
            definition = ast.parse(textwrap.dedent(inspect.getsource(each))).body[0]
            assert isinstance(definition, ast.ClassDef)
            found.update(_texts(definition.body))
    return found


def shown(value: Any) -> str:  # noqa: ANN401
    if isinstance(value, str):
        return f'`"{value}"`'
    if isinstance(value, tuple):
        return "`[" + ", ".join(f'"{each}"' for each in value) + "]`"
    return f"`{value}`"


def _range(ge: int | None, le: int | None) -> str:
    if ge is not None and le is not None and le < RANGE_MAX:
        return f", {ge} to {le}"
    return f", at least {ge}" if ge is not None else ""


def type_in_words(kind: types.Type) -> str:
    match kind:
        case types.Metadata():
            return type_in_words(kind.type)
        case types.IntType():
            return "whole number" + _range(kind.ge, kind.le)
        case types.StrType():
            return "text"
        case types.FloatType():
            return "number"
        case types.UnionType():
            return " or ".join(type_in_words(each) for each in kind.types if not isinstance(each, types.NoneType))
        case types.DictType():
            return "table"
        case types.StructType():
            return "tables"
        case types.LiteralType():
            return " or ".join(f'`"{value}"`' for value in kind.values)
        case types.VarTupleType() | types.ListType():
            return f"list of {type_in_words(kind.item_type)}"
        case types.BoolType():
            return "`true` or `false`"
    raise AssertionError(f"say what {kind} is called")


class Field(msgspec.Struct):
    """One key of a table."""

    name: str
    kind: str
    default: str
    meaning: str


def fields(struct: type[msgspec.Struct]) -> list[Field]:
    """Keys with type, default and meaning; a key without a meaning is an error."""
    texts = field_texts(struct)
    info = types.type_info(struct)
    assert isinstance(info, types.StructType)
    described = []
    for field in info.fields:
        if not texts.get(field.name):
            raise SystemExit(f"{struct.__module__}.{struct.__name__}.{field.name} has no docstring")
        made = field.default_factory() if callable(field.default_factory) else field.default
        default = "must be given" if field.required else "" if made is None else shown(made)
        described.append(Field(field.encode_name, type_in_words(field.type), default, texts[field.name]))
    return described
