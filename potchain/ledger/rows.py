"""Many rows at once, the cheap way of each driver.

Core's `insert()` with dicts costs two to five times the CPU of the driver's own bulk path, so blocks and projections go
through these three functions: tuples in column order, SQL text compiled once per table. Values are what the driver
stores: amounts as decimal text (Postgres reads text into NUMERIC), bytes, ints, None.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

Row = tuple[Any, ...]
"""Values of one row, in the order of the table's columns."""

_COPY_ROWS_MIN = 16  # below this, COPY's two round trips cost more than they save


def insert_rows(connection: Connection, table: sa.Table, rows: Sequence[Row]) -> None:
    """Insert whole rows; a duplicate key raises."""
    if not rows:
        return
    sqlite = connection.dialect.name == "sqlite"
    if sqlite or len(rows) < _COPY_ROWS_MIN:
        connection.exec_driver_sql(_insert_sql(table, sqlite, None), list(rows))
        return
    driver: Any = connection.connection.driver_connection
    columns = ", ".join(f'"{column.name}"' for column in table.columns)
    with driver.cursor() as cursor, cursor.copy(f'COPY "{table.name}" ({columns}) FROM STDIN') as copy:
        for row in rows:
            copy.write_row(row)


def upsert_rows(connection: Connection, table: sa.Table, rows: Sequence[Row], update: Iterable[str]) -> None:
    """Insert whole rows; where the primary key exists, set the columns `update` instead (none: leave the row)."""
    if rows:
        sqlite = connection.dialect.name == "sqlite"
        connection.exec_driver_sql(_insert_sql(table, sqlite, tuple(update)), list(rows))


def delete_rows(connection: Connection, table: sa.Table, keys: Sequence[Row]) -> None:
    """Delete rows by primary key."""
    if keys:
        mark = "?" if connection.dialect.name == "sqlite" else "%s"
        where = " AND ".join(f'"{column.name}" = {mark}' for column in table.primary_key.columns)
        connection.exec_driver_sql(f'DELETE FROM "{table.name}" WHERE {where}', list(keys))


@cache
def _insert_sql(table: sa.Table, sqlite: bool, update: tuple[str, ...] | None) -> str:
    names = [column.name for column in table.columns]
    columns = ", ".join(f'"{name}"' for name in names)
    marks = ", ".join(["?" if sqlite else "%s"] * len(names))
    sql = f'INSERT INTO "{table.name}" ({columns}) VALUES ({marks})'
    if update is None:
        return sql
    if not update:
        return sql + " ON CONFLICT DO NOTHING"
    key = ", ".join(f'"{column.name}"' for column in table.primary_key.columns)
    changes = ", ".join(f'"{name}" = excluded."{name}"' for name in update)
    return f"{sql} ON CONFLICT ({key}) DO UPDATE SET {changes}"
