"""Opens a database, keeps its durability, and turns a driver's errors into sentences.

SQLite is the default: a path. Write-ahead log, `synchronous=FULL` (a node that has answered must not forget, and NORMAL
may lose the last commits when the power fails), a busy timeout, foreign keys on. Postgres 14 or later is a URL and
needs the extra `postgres`. A database that would be less durable is refused, not warned about.

One thread writes, through `write`; anyone reads, through `read`, on pooled connections that cannot write and that see
one snapshot for the whole block. A read that passes its deadline raises; it never returns less than was asked for.
Projections are written through `write(relaxed=True)`: their commits do not wait for the disk, because they and their
progress can be derived again; they never run ahead of the blocks, which lie earlier in the same log.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.pool import QueuePool

from potchain.errors import ConfigError, LedgerError
from potchain.ledger.schema import Role
from potchain.primitives import NS_PER_MS, NS_PER_S

BUSY_TIMEOUT_MS = 10_000
"""How long SQLite waits for another process, such as a backup, to release the file."""
WAL_CHECKPOINT_PAGES = 10_000
"""SQLite copies the log of 4 kB pages back into the file at this length; longer is cheaper per row."""
CACHE_KIB = 8_192
"""SQLite's page cache of each writing connection; a reading one has a quarter. More has measured no faster."""
READERS_MAX = 8
"""Reading connections at once; further readers wait."""
READ_DEADLINE_NS = 30 * NS_PER_S
"""Default deadline of a read."""
POSTGRES_VERSION_MIN = 14

_PROGRESS_STEPS = 20_000  # SQLite virtual machine steps between looks at the clock: about 0.2 ms


class Database:
    """An open database: one writing connection, several reading ones."""

    def __init__(self, role: Role, place: str, writer: Engine, relaxed: Engine, reader: Engine) -> None:
        self.role: Role = role
        self.place = place
        """File or URL without password, for messages."""
        self.writer = writer
        self._relaxed = relaxed
        self._reader = reader
        self._driver_error: type[Exception] = writer.dialect.loaded_dbapi.Error

    @property
    def is_sqlite(self) -> bool:
        """Whether this is SQLite; otherwise it is Postgres."""
        return self.writer.dialect.name == "sqlite"

    @contextmanager
    def write(self, *, relaxed: bool = False) -> Iterator[Connection]:
        """One transaction: all of it durable at the end, or nothing of it when anything raises.

        `relaxed`: atomic, but durable a little later; for what can be derived again. Raises LedgerError.
        """
        with self._mapped("write"):
            engine = self._relaxed if relaxed and self.is_sqlite else self.writer
            with engine.begin() as connection:
                if relaxed and not self.is_sqlite:
                    connection.exec_driver_sql("SET LOCAL synchronous_commit = off")
                yield connection

    @contextmanager
    def read(self, deadline_ns: int | None = READ_DEADLINE_NS) -> Iterator[Connection]:
        """One snapshot. Raises LedgerError when the database takes longer than `deadline_ns` (None: no limit)."""
        with self._mapped("read"), self._reader.connect() as connection, connection.begin():
            if deadline_ns is None:
                yield connection
            elif not self.is_sqlite:
                timeout_ms = max(1, deadline_ns // NS_PER_MS)
                connection.exec_driver_sql(f"SET LOCAL statement_timeout = {timeout_ms}")
                yield connection
            else:
                ends_ns = time.monotonic_ns() + deadline_ns
                driver: Any = connection.connection.driver_connection
                driver.set_progress_handler(lambda: time.monotonic_ns() > ends_ns, _PROGRESS_STEPS)
                try:
                    yield connection
                finally:
                    driver.set_progress_handler(None, 0)

    def close(self) -> None:
        """Close every connection; SQLite then copies its log back into the file."""
        for engine in (self._reader, self._relaxed, self.writer):
            engine.dispose()

    @contextmanager
    def _mapped(self, doing: str) -> Iterator[None]:
        try:
            yield
        except sa.exc.DBAPIError as fault:
            raise _ledger_error(fault.orig or fault, self.place, doing) from fault
        except self._driver_error as fault:
            raise _ledger_error(fault, self.place, doing) from fault
        except sa.exc.TimeoutError as fault:
            raise LedgerError(
                f"no free connection to read {self.place}: {READERS_MAX} reads are running; try again later"
            ) from fault


def open_database(target: str | Path, *, role: Role) -> Database:
    """Open the database at a path (SQLite) or URL (`sqlite:///...`, `postgresql://...`); create the SQLite file.

    Raises ConfigError for a URL that cannot be used or a missing driver, LedgerError when it cannot be opened or is not
    durable enough. The tables are `potchain.ledger.migrate`'s business.
    """
    url = _url_of(target)
    opener = _open_sqlite if url.get_backend_name() == "sqlite" else _open_postgres
    database = opener(url, role)
    try:
        with database.write() as connection:
            connection.exec_driver_sql("SELECT 1")
    except LedgerError:
        database.close()
        raise
    return database


def _url_of(target: str | Path) -> URL:
    text = str(target)
    if isinstance(target, Path) or "://" not in text:
        return URL.create("sqlite", database=text)
    try:
        url = make_url(text)
    except sa.exc.ArgumentError:
        raise ConfigError(f"{text!r} is no database URL; use a path or postgresql://user@host/name") from None
    backend = url.get_backend_name()
    if backend == "sqlite" and url.database and url.database != ":memory:":
        return url
    if backend in ("postgresql", "postgres"):
        return url.set(drivername="postgresql+psycopg")
    raise ConfigError(f"{url!r}: the ledger lives in an SQLite file or in Postgres; use a path or postgresql://...")


def _open_sqlite(url: URL, role: Role) -> Database:
    place = str(url.database)

    def engine(synchronous: str, *, begin: str, query_only: bool, connections: int) -> Engine:
        made = sa.create_engine(
            url,
            poolclass=QueuePool,
            pool_size=connections,
            max_overflow=0,
            connect_args={"timeout": BUSY_TIMEOUT_MS / 1000, "check_same_thread": False},
        )

        @sa.event.listens_for(made, "connect")
        def connected(driver: Any, _record: object) -> None:  # noqa: ANN401 - sqlite3.Connection behind SQLAlchemy
            driver.isolation_level = None  # transactions begin where we say, DDL included
            _set_pragmas(driver, place, synchronous, query_only=query_only)

        @sa.event.listens_for(made, "begin")
        def begun(connection: Connection) -> None:
            connection.exec_driver_sql(begin)

        return made

    return Database(
        role,
        place,
        writer=engine("FULL", begin="BEGIN IMMEDIATE", query_only=False, connections=1),
        relaxed=engine("NORMAL", begin="BEGIN IMMEDIATE", query_only=False, connections=1),
        reader=engine("FULL", begin="BEGIN", query_only=True, connections=READERS_MAX),
    )


def _set_pragmas(driver: Any, place: str, synchronous: str, *, query_only: bool) -> None:  # noqa: ANN401
    level = {"FULL": 2, "NORMAL": 1}[synchronous]
    for pragma in (
        "journal_mode = WAL",
        f"synchronous = {synchronous}",
        "foreign_keys = ON",
        f"wal_autocheckpoint = {WAL_CHECKPOINT_PAGES}",
        f"cache_size = -{CACHE_KIB // 4 if query_only else CACHE_KIB}",
        f"query_only = {'ON' if query_only else 'OFF'}",
    ):
        driver.execute(f"PRAGMA {pragma}")
    for pragma, wanted in (("journal_mode", "wal"), ("synchronous", level), ("foreign_keys", 1)):
        found = driver.execute(f"PRAGMA {pragma}").fetchone()[0]
        if found != wanted:
            raise LedgerError(
                f"{place}: SQLite gives {pragma} = {found} where {wanted} is needed to keep what was promised; "
                f"put the file on a local disk with a file system that supports shared memory"
            )


def _open_postgres(url: URL, role: Role) -> Database:
    place = url.render_as_string(hide_password=True)

    def engine(*, read_only: bool, connections: int) -> Engine:
        try:
            made = sa.create_engine(
                url,
                poolclass=QueuePool,
                pool_size=connections,
                max_overflow=0,
                isolation_level="REPEATABLE READ" if read_only else "READ COMMITTED",
            )
        except ModuleNotFoundError:
            raise ConfigError(
                f"{place}: Postgres needs the driver psycopg; install it with: pip install 'potchain[postgres]'"
            ) from None

        @sa.event.listens_for(made, "connect")
        def connected(driver: Any, _record: object) -> None:  # noqa: ANN401 - psycopg.Connection behind SQLAlchemy
            _set_session(driver, place, read_only=read_only)

        return made

    writer = engine(read_only=False, connections=1)
    return Database(role, place, writer, writer, engine(read_only=True, connections=READERS_MAX))


def _set_session(driver: Any, place: str, *, read_only: bool) -> None:  # noqa: ANN401
    before = driver.autocommit
    driver.autocommit = True
    try:
        driver.execute("SET synchronous_commit = on")
        driver.execute(f"SET default_transaction_read_only = {'on' if read_only else 'off'}")
        major = driver.info.server_version // 10_000
        if major < POSTGRES_VERSION_MIN:
            raise LedgerError(f"{place}: Postgres {major} is too old; {POSTGRES_VERSION_MIN} or later is needed")
        for setting in ("fsync", "full_page_writes"):
            found = driver.execute(f"SHOW {setting}").fetchone()[0]
            if found != "on":
                raise LedgerError(
                    f"{place}: the server runs with {setting} = {found} and may forget what was promised; "
                    f"set {setting} = on in postgresql.conf"
                )
    finally:
        driver.autocommit = before


def _ledger_error(fault: BaseException, place: str, doing: str) -> LedgerError:
    name = getattr(fault, "sqlite_errorname", "") or getattr(fault, "sqlstate", "") or ""
    said = str(fault).strip().split("\n")[0]
    if name == "SQLITE_FULL" or name == "53100":
        return LedgerError(
            f"the disk is full: {place} could not be written ({said}); nothing of this write was kept. "
            f"Free space on that disk and start the node again"
        )
    if name == "SQLITE_INTERRUPT" or name == "57014":
        return LedgerError(f"a query on {place} passed its deadline and was stopped; ask for less or try again later")
    if name.startswith("SQLITE_BUSY"):
        return LedgerError(
            f"{place} has been locked by another program for {BUSY_TIMEOUT_MS // 1000} s; end it and try again"
        )
    if name in ("SQLITE_CORRUPT", "SQLITE_NOTADB"):
        return LedgerError(f"{place} is damaged as an SQLite file ({said}); restore it from a backup or catch up anew")
    if name.startswith("SQLITE_CANTOPEN"):
        return LedgerError(f"{place} cannot be opened ({said}); check that its folder exists and is writable")
    if name.startswith("SQLITE_READONLY"):
        return LedgerError(f"{place} may not be written ({said}); check the permissions of the file and its folder")
    if name.startswith("SQLITE_IOERR"):
        return LedgerError(f"the disk of {place} failed ({said}); nothing of this write was kept. Check the disk")
    return LedgerError(f"cannot {doing} {place}: {said}")
