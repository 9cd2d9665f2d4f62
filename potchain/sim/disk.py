"""A node's two databases as a disk that outlives crashes: real SQLite, in memory or in files.

In memory is the default: the connection is the disk and stays open while the node is down; a write that was under way
at a crash simply never happened, which is what SQLite makes of a torn one. A run with torn writes uses files in a
temporary folder: at a crash the files are copied as they are, the write-ahead log cut or overwritten in the middle of
the write under way, and SQLite has to recover from that. Weak spot: a relaxed commit (history rows) survives a crash
here, while a real power cut may undo the last ones; they are derived again either way.
"""

from __future__ import annotations

import random
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Protocol, cast

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.pool import StaticPool

from potchain.ledger.database import Database, open_database
from potchain.ledger.migrate import upgrade
from potchain.ledger.schema import Role

ROLES: tuple[Role, Role] = ("ledger", "votes")
_FAST_FOLDER = Path("/dev/shm")


class DiskCopy(Protocol):
    """The databases as they were at a time; opaque."""


class Disk(Protocol):
    """Both databases of one node."""

    @property
    def ledger(self) -> Database:
        """The ledger, open while the node is up."""
        ...

    @property
    def votes(self) -> Database:
        """Vote log, guard and bodies."""
        ...

    def power_off(self, torn: Callable[[], None] | None) -> None:
        """Everything that is not durable is gone. `torn` carries out the write that was under way, to be cut."""
        ...

    def copy(self) -> DiskCopy:
        """Both databases as they are now; the node may be up."""
        ...

    def restore(self, copy: DiskCopy) -> None:
        """Both databases as they were; the node is down."""
        ...

    def lose_votes(self) -> None:
        """The vote database is gone; the node is down."""
        ...

    def close(self) -> None:
        """The end of the run."""
        ...


class MemoryDisk:
    """SQLite in memory."""

    def __init__(self) -> None:
        self._drivers = {role: _connect(_template(role)) for role in ROLES}
        self._databases = {role: _over(role, self._drivers[role]) for role in ROLES}

    @property
    def ledger(self) -> Database:
        """The ledger."""
        return self._databases["ledger"]

    @property
    def votes(self) -> Database:
        """Vote log, guard and bodies."""
        return self._databases["votes"]

    def power_off(self, torn: Callable[[], None] | None) -> None:
        """A write that was under way never happened."""

    def copy(self) -> dict[Role, bytes]:
        """Images of both databases."""
        return {role: self._drivers[role].serialize() for role in ROLES}

    def restore(self, copy: DiskCopy) -> None:
        """Open the images instead."""
        assert isinstance(copy, dict)
        for role in ROLES:
            self._replace(role, copy[role])

    def lose_votes(self) -> None:
        """An empty vote database."""
        self._replace("votes", _template("votes"))

    def close(self) -> None:
        """Forget everything."""
        for database in self._databases.values():
            database.close()
        for driver in self._drivers.values():
            driver.close()

    def _replace(self, role: Role, image: bytes) -> None:
        self._databases[role].close()
        self._drivers[role].close()
        self._drivers[role] = _connect(image)
        self._databases[role] = _over(role, self._drivers[role])


class FileDisk:
    """SQLite files, opened as a node opens them: write-ahead log, `synchronous=FULL`."""

    def __init__(self, rng: random.Random) -> None:
        """`rng` chooses where a torn write is cut."""
        self._rng = rng
        parent = _FAST_FOLDER if _FAST_FOLDER.is_dir() else None
        self._folder = Path(tempfile.mkdtemp(prefix="potchain-sim-", dir=parent))
        for role in ROLES:
            self._path(role).write_bytes(_template(role))
        self._databases = self._open()
        self.torn_writes = 0

    @property
    def ledger(self) -> Database:
        """The ledger."""
        return self._databases["ledger"]

    @property
    def votes(self) -> Database:
        """Vote log, guard and bodies."""
        return self._databases["votes"]

    def power_off(self, torn: Callable[[], None] | None) -> None:
        """The files as they are, the tail of the write under way cut or made rubbish."""
        before = {role: self._log_size(role) for role in ROLES}
        if torn is not None:
            torn()
        images = self.copy()
        for role in ROLES:
            if len(images[role][1]) > before[role]:
                images[role] = (images[role][0], self._tear(images[role][1], before[role]))
                self.torn_writes += 1
        self._put_back(images)

    def copy(self) -> dict[Role, tuple[bytes, bytes]]:
        """File and log of both databases."""
        return {role: (self._path(role).read_bytes(), _bytes_of(self._log(role))) for role in ROLES}

    def restore(self, copy: DiskCopy) -> None:
        """Put copied files in place."""
        assert isinstance(copy, dict)
        self._put_back(copy)

    def lose_votes(self) -> None:
        """An empty vote database."""
        images = self.copy()
        images["votes"] = (_template("votes"), b"")
        self._put_back(images)

    def close(self) -> None:
        """Remove the folder."""
        for database in self._databases.values():
            database.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _tear(self, log: bytes, durable: int) -> bytes:
        cut = self._rng.randrange(durable, len(log))
        if self._rng.random() < 0.5:
            return log[:cut]
        # The file system had made room for the write, and its last blocks never came.
        return log[:cut] + bytes(len(log) - cut)

    def _put_back(self, images: dict[Role, tuple[bytes, bytes]]) -> None:
        for database in self._databases.values():
            database.close()  # which also writes the log back: what we put in place is what counts
        for role, (data, log) in images.items():
            for suffix in ("-wal", "-shm"):
                self._path(role).with_name(self._path(role).name + suffix).unlink(missing_ok=True)
            self._path(role).write_bytes(data)
            if log:
                self._log(role).write_bytes(log)
        self._databases = self._open()

    def _open(self) -> dict[Role, Database]:
        return {role: open_database(self._path(role), role=role) for role in ROLES}

    def _path(self, role: Role) -> Path:
        return self._folder / f"{role}.sqlite"

    def _log(self, role: Role) -> Path:
        return self._folder / f"{role}.sqlite-wal"

    def _log_size(self, role: Role) -> int:
        return len(_bytes_of(self._log(role)))


def _bytes_of(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


@cache
def _template(role: Role) -> bytes:
    """An empty, upgraded database: made once for a process, because migrations take longer than many a run."""
    driver = _connect(None)
    database = _over(role, driver)
    upgrade(database)
    image = driver.serialize()
    database.close()
    driver.close()
    return image


def _connect(image: bytes | None) -> sqlite3.Connection:
    # The driver's own transactions, begun before the first change: nobody else reads or writes meanwhile.
    driver = sqlite3.connect(":memory:", isolation_level="DEFERRED", check_same_thread=False)
    if image is not None:
        with sqlite3.connect(":memory:") as source:
            source.deserialize(image)
            source.backup(driver)
        source.close()
    driver.execute("PRAGMA foreign_keys = ON")
    return driver


def _over(role: Role, driver: sqlite3.Connection) -> Database:
    model = _model()
    engine = sa.Engine(
        StaticPool(cast(Any, lambda: driver), reset_on_return=None, dialect=model.dialect),
        model.dialect,
        model.url,
        execution_options={"compiled_cache": _COMPILED},
    )
    return MemoryDatabase(role, engine, driver)


class MemoryDatabase(Database):
    """A database on one connection that stays open; transactions are the driver's own."""

    def __init__(self, role: Role, engine: sa.Engine, driver: sqlite3.Connection) -> None:
        super().__init__(role, f"{role} in memory", engine, engine, engine)
        self._driver = driver
        self._connection = engine.connect()

    @contextmanager
    def write(self, *, relaxed: bool = False) -> Iterator[Connection]:
        """One transaction: all of it, or nothing when anything raises."""
        done = False
        try:
            with self._mapped("write"):
                yield self._connection
            done = True
        finally:
            if done:
                self._driver.commit()
            else:
                self._driver.rollback()

    @contextmanager
    def read(self, deadline_ns: int | None = None) -> Iterator[Connection]:
        """Nobody writes meanwhile; no deadline passes."""
        with self._mapped("read"):
            yield self._connection

    def close(self) -> None:
        """Let the driver go."""
        self._connection.close()
        super().close()


_COMPILED: dict[Any, Any] = {}
"""SQL of all simulated databases of this process: compiling it once for each of them would take longer than its use."""


@cache
def _model() -> sa.Engine:
    """An engine that has looked at SQLite once; the others share its dialect."""
    engine = sa.create_engine("sqlite://", poolclass=StaticPool)
    engine.connect().close()
    return engine
