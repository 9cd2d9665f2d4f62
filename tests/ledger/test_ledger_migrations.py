"""The migrations and the schema say the same, whatever the path of the installation."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from potchain.errors import LedgerError
from potchain.ledger.database import Database, open_database
from potchain.ledger.migrate import HEAD, MIGRATIONS_PACKAGE, alembic_config, revision_of, upgrade, version_table
from potchain.ledger.schema import Role, metadata_of

ROLES: tuple[Role, ...] = ("ledger", "votes")


@pytest.mark.parametrize("role", ROLES)
def test_upgrade_gives_the_schema(open_role: Callable[[Role], Database], role: Role) -> None:
    database = open_role(role)
    assert revision_of(database) == HEAD
    assert not upgrade(database)
    with database.read() as connection:
        options = {"version_table": version_table(role), "compare_type": True, "compare_server_default": True}
        assert compare_metadata(MigrationContext.configure(connection, opts=options), metadata_of(role)) == []


@pytest.mark.parametrize("role", ROLES)
def test_down_and_up_again(open_role: Callable[[Role], Database], role: Role) -> None:
    database = open_role(role)
    with database.write() as connection:
        command.downgrade(alembic_config(role, connection), "base")
    with database.read() as connection:
        assert set(sa.inspect(connection).get_table_names()) == {version_table(role)}
        assert sa.inspect(connection).get_view_names() == []
    assert upgrade(database)


def test_both_databases_fit_into_one(open_role: Callable[[Role], Database]) -> None:
    open_role("ledger")
    assert revision_of(open_role("votes")) == HEAD


def test_head_is_the_newest_revision(open_role: Callable[[Role], Database]) -> None:
    with open_role("ledger").write() as connection:
        script = ScriptDirectory.from_config(alembic_config("ledger", connection))
    assert script.get_heads() == [HEAD]


def test_a_newer_database_is_refused(open_role: Callable[[Role], Database]) -> None:
    database = open_role("ledger")
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE ledger_revision SET version_num = '9999'")
    with pytest.raises(LedgerError, match="made by a newer potchain"):
        upgrade(database)


def test_a_failed_upgrade_leaves_nothing(target: str) -> None:
    database = open_database(target, role="ledger")
    with database.write() as connection:
        connection.exec_driver_sql("CREATE TABLE events (id INTEGER)")  # in the way of the last tables
    with pytest.raises(LedgerError):
        upgrade(database)
    with database.read() as connection:
        assert sa.inspect(connection).get_table_names() == ["events"]
    database.close()


def test_the_package_may_lie_under_a_path_with_a_percent_sign(tmp_path: Path) -> None:
    place = tmp_path / "100%s" / "site"
    shutil.copytree(str(files(MIGRATIONS_PACKAGE)), place / MIGRATIONS_PACKAGE)
    program = (
        "from potchain.ledger.database import open_database\n"
        "from potchain.ledger.migrate import upgrade\n"
        "import potchain_migrations\n"
        f"database = open_database({str(tmp_path / 'a.db')!r}, role='ledger')\n"
        "assert upgrade(database)\n"
        "assert '100%s' in potchain_migrations.__file__\n"
        "database.close()\n"
    )
    path = [str(place), *(entry for entry in sys.path if not entry.endswith("migrations"))]
    program = f"import sys; sys.path[:] = {path!r}\n" + program
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_alembic_is_not_imported_when_there_is_nothing_to_do(tmp_path: Path) -> None:
    database = open_database(tmp_path / "a.db", role="ledger")
    upgrade(database)
    database.close()
    program = (
        "import sys\n"
        "from potchain.ledger.database import open_database\n"
        "from potchain.ledger.migrate import upgrade\n"
        f"database = open_database({str(tmp_path / 'a.db')!r}, role='ledger')\n"
        "assert not upgrade(database)\n"
        "assert 'alembic' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
