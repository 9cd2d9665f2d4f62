"""Brings a database's tables to the revision this software was written for.

Alembic runs the package `potchain_migrations`, found as an installed package and named here only as text: its scripts
import the schema, not the other way round. One revision serves both databases; which one it works on is the attribute
`role` of the configuration, and each database keeps its own version table. Alembic costs 0.3 s to import, so it is
left alone when there is nothing to do.
"""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from potchain.errors import LedgerError
from potchain.ledger.database import Database
from potchain.ledger.schema import Role

if TYPE_CHECKING:
    from alembic.config import Config

HEAD = "0002"
"""Newest revision in the package; a test compares."""
MIGRATIONS_PACKAGE = "potchain_migrations"


def version_table(role: Role) -> str:
    """Name of the table in which alembic notes a database's revision."""
    return f"{role}_revision"


def revision_of(database: Database) -> str | None:
    """The database's revision; None when it is empty."""
    with database.read() as connection:
        return _revision(connection, database.role)


def upgrade(database: Database) -> bool:
    """Create or upgrade all tables in one transaction; whether anything was done.

    Raises LedgerError when the database was made by newer software.
    """
    found = revision_of(database)
    if found == HEAD:
        return False
    if found is not None and found > HEAD:
        raise LedgerError(
            f"{database.place} is at revision {found}, made by a newer potchain; this one knows {HEAD}. "
            "Upgrade potchain"
        )
    from alembic import command  # slow, and seldom needed

    with database.write() as connection:
        command.upgrade(alembic_config(database.role, connection), "head")
    return True


def alembic_config(role: Role, connection: Connection) -> Config:
    """Alembic's configuration for one database on an open connection."""
    from alembic.config import Config

    config = Config()
    # A configuration file's % is an interpolation, and a path may contain one.
    config.set_main_option("script_location", str(files(MIGRATIONS_PACKAGE)).replace("%", "%%"))
    config.attributes["connection"] = connection
    config.attributes["role"] = role
    return config


def _revision(connection: Connection, role: Role) -> str | None:
    name = version_table(role)
    if not sa.inspect(connection).has_table(name):
        return None
    table = sa.table(name, sa.column("version_num", sa.Text()))
    return connection.execute(sa.select(table.c.version_num)).scalar_one_or_none()
