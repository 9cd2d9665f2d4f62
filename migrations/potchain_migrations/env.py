"""Alembic's entry. potchain passes an open connection and the role; developers may pass `-x url=... -x role=...`."""

from __future__ import annotations

from alembic import context
from sqlalchemy.engine import Connection

from potchain.ledger.database import open_database
from potchain.ledger.migrate import version_table
from potchain.ledger.schema import Role, metadata_of


def run(connection: Connection, role: Role) -> None:
    """Run the revisions on an open connection, inside its transaction."""
    context.config.attributes["role"] = role
    context.configure(
        connection=connection,
        target_metadata=metadata_of(role),
        version_table=version_table(role),
        transactional_ddl=True,
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()


def run_for_developer() -> None:
    """`alembic -x url=PATH_OR_URL [-x role=votes] ...` from the checkout."""
    arguments = context.get_x_argument(as_dictionary=True)
    role: Role = "votes" if arguments.get("role") == "votes" else "ledger"
    database = open_database(arguments.get("url", "development.db"), role=role)
    with database.write() as connection:
        run(connection, role)
    database.close()


if "connection" in context.config.attributes:
    run(context.config.attributes["connection"], context.config.attributes["role"])
else:
    run_for_developer()
