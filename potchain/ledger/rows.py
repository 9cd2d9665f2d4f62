"""Many rows at once, the cheap way of each driver.

Core's `insert()` with dicts costs two to five times the CPU of the driver's own bulk path, so blocks and projections go
through these functions: values in column order, SQL text compiled once per table. Values are what the driver stores:
amounts as decimal text (Postgres reads text into NUMERIC), bytes, ints, None.

Python's SQLite module gives up the interpreter's lock for every statement it steps, and beside a busy event loop it
waits for it each time. So one statement inserts many rows there, and bulk rows come as one flat list of values: it
is cut into statements without an object per row.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import chain
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

Row = tuple[Any, ...]
"""Values of one row, in the order of the table's columns."""

# Every parameter of type bytes is looked up among the adapters; finding none costs an exception inside the module.
sqlite3.register_adapter(bytes, bytes)

_PARAMETERS_MAX = 999  # SQLite before 3.32 takes no more in one statement
_STATEMENT_ROWS = (64, 8, 1)  # few lengths, so that all statements stay prepared
_COPY_ROWS_MIN = 16  # below this, COPY's two round trips cost more than they save


def insert_rows(connection: Connection, table: sa.Table, rows: Sequence[Row]) -> None:
    """Insert whole rows; a duplicate key raises."""
    if rows:
        insert_values(connection, table, list(chain.from_iterable(rows)))


def upsert_rows(connection: Connection, table: sa.Table, rows: Sequence[Row], update: Iterable[str]) -> None:
    """Insert whole rows; where the primary key exists, set the columns `update` instead (none: leave the row)."""
    if rows:
        upsert_values(connection, table, list(chain.from_iterable(rows)), update)


def delete_rows(connection: Connection, table: sa.Table, keys: Sequence[Row]) -> None:
    """Delete rows by primary key."""
    if keys:
        mark = "?" if connection.dialect.name == "sqlite" else "%s"
        where = " AND ".join(f'"{column.name}" = {mark}' for column in table.primary_key.columns)
        connection.exec_driver_sql(f'DELETE FROM "{table.name}" WHERE {where}', list(keys))


def insert_values(connection: Connection, table: sa.Table, values: list[Any]) -> None:
    """`insert_rows` of rows that are written one after the other, without a tuple for each."""
    if connection.dialect.name == "sqlite":
        _execute_sqlite(connection, table, values, None)
        return
    rows = cut_rows(table, values)
    if len(rows) < _COPY_ROWS_MIN:
        _execute_postgres(connection, table, rows, None)
        return
    driver: Any = connection.connection.driver_connection
    columns = ", ".join(f'"{column.name}"' for column in table.columns)
    with driver.cursor() as cursor, cursor.copy(f'COPY "{table.name}" ({columns}) FROM STDIN') as copy:
        for row in rows:
            copy.write_row(row)


def upsert_values(connection: Connection, table: sa.Table, values: list[Any], update: Iterable[str]) -> None:
    """`upsert_rows` of rows that are written one after the other."""
    if connection.dialect.name == "sqlite":
        _execute_sqlite(connection, table, values, tuple(update))
    else:
        _execute_postgres(connection, table, cut_rows(table, values), tuple(update))


def cut_rows(table: sa.Table, values: list[Any]) -> list[list[Any]]:
    """The rows that are written one after the other in `values`."""
    width = len(table.columns)
    return [values[at : at + width] for at in range(0, len(values), width)]


def _execute_sqlite(connection: Connection, table: sa.Table, values: list[Any], update: tuple[str, ...] | None) -> None:
    # Past SQLAlchemy: `Database` begins, ends and names the errors of either.
    driver: Any = connection.connection.driver_connection
    done = 0
    for sql, width in _sqlite_statements(table, update):
        end = len(values) - (len(values) - done) % width
        if end > done:
            driver.executemany(sql, [values[at : at + width] for at in range(done, end, width)])
            done = end


def _execute_postgres(
    connection: Connection, table: sa.Table, rows: list[list[Any]], update: tuple[str, ...] | None
) -> None:
    if rows:
        connection.exec_driver_sql(_insert_sql(table, "%s", 1, update), list(map(tuple, rows)))


@cache
def _sqlite_statements(table: sa.Table, update: tuple[str, ...] | None) -> tuple[tuple[str, int], ...]:
    """Statements for many rows and fewer, the last for one, each with its count of parameters."""
    width = len(table.columns)
    counts = [count for count in _STATEMENT_ROWS if count * width <= _PARAMETERS_MAX]
    return tuple((_insert_sql(table, "?", count, update), count * width) for count in counts)


@cache
def _insert_sql(table: sa.Table, mark: str, count: int, update: tuple[str, ...] | None) -> str:
    names = [column.name for column in table.columns]
    columns = ", ".join(f'"{name}"' for name in names)
    row = f"({', '.join([mark] * len(names))})"
    sql = f'INSERT INTO "{table.name}" ({columns}) VALUES {", ".join([row] * count)}'
    if update is None:
        return sql
    if not update:
        return sql + " ON CONFLICT DO NOTHING"
    key = ", ".join(f'"{column.name}"' for column in table.primary_key.columns)
    changes = ", ".join(f'"{name}" = excluded."{name}"' for name in update)
    return f"{sql} ON CONFLICT ({key}) DO UPDATE SET {changes}"
