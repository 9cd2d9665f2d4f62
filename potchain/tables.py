"""Typed values from tables that people write: unknown keys are refused with the nearest valid one, types are strict.

Used for the node's configuration and for the options of plug-ins, so that both complain in the same words.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from potchain.errors import ConfigError

T = TypeVar("T", bound=msgspec.Struct)

Table = Mapping[str, Any]
"""A TOML table as `tomllib` reads it; lives only until it is decoded."""


def nearest_hint(word: str, known: Iterable[str]) -> str:
    """What to suggest for an unknown word: the nearest known one, or all of them.

    >>> nearest_hint("pbtf", ["fpbft", "pbft"])
    "did you mean 'pbft'?"
    >>> nearest_hint("x", ["a", "b"])
    'known: a, b'
    """
    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names) or 'none'}"


def decode_table(table: Table, kind: type[T], at: str) -> T:
    """The struct of type `kind` that a table holds; `at` names the table, as in "consensus.pbft".

    Raises ConfigError that names the key, what was found there, and the nearest valid key.
    """
    known = [field.encode_name for field in msgspec.structs.fields(kind)]
    for key in table:
        if key not in known:
            raise ConfigError(f"{at} has no key {key!r} ({nearest_hint(key, known)})")
    try:
        return msgspec.convert(table, kind, strict=True)
    except msgspec.ValidationError as fault:
        reason, _, path = str(fault).partition(" - at `$")
        where = at + path.rstrip("`")
        raise ConfigError(f"{where}: {reason}") from None
