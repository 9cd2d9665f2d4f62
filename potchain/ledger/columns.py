"""Column types that SQLite and Postgres share."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator


class Uint256Column(TypeDecorator[int]):
    """0 to 2^256 - 1: NUMERIC(78, 0) on Postgres, decimal text on SQLite, whose integers end at 2^63."""

    impl = sa.Numeric
    cache_ok = True

    def __init__(self) -> None:
        super().__init__(78, 0)

    def load_dialect_impl(self, dialect: Dialect) -> sa.types.TypeEngine[Any]:
        """The dialect's own storage."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(sa.String(78))
        return dialect.type_descriptor(sa.Numeric(78, 0))

    def process_bind_param(self, value: int | None, dialect: Dialect) -> Any:  # noqa: ANN401 - the driver's type
        """An int as the driver wants it."""
        return str(value) if value is not None and dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> int | None:  # noqa: ANN401
        """Always an int, or None."""
        return None if value is None else int(value)


def whole(name: str, *constraints: sa.ForeignKey, **options: Any) -> sa.Column[int]:  # noqa: ANN401
    """A signed integer of 64 bits, not NULL unless `nullable`."""
    # SQLite's INTEGER holds 64 bits, and only under that name a primary key is the table's own order.
    kind = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    options.setdefault("nullable", False)
    return sa.Column(name, kind, *constraints, autoincrement=False, **options)


def raw(name: str, length: int | None = None, **options: Any) -> sa.Column[bytes]:  # noqa: ANN401
    """Bytes, not NULL unless `nullable`; `length` is documentation."""
    options.setdefault("nullable", False)
    return sa.Column(name, sa.LargeBinary(length), **options)


def text(name: str, **options: Any) -> sa.Column[str]:  # noqa: ANN401
    """Text, not NULL unless `nullable`."""
    options.setdefault("nullable", False)
    return sa.Column(name, sa.Text(), **options)


def amount(name: str, *, nullable: bool = False) -> sa.Column[int]:
    """Base units."""
    return sa.Column(name, Uint256Column(), nullable=nullable)
