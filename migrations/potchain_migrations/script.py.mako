"""${message}"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context, op
${imports if imports else ""}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}


def upgrade() -> None:
    """Forward."""
    if context.config.attributes["role"] == "ledger":
        ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    """Back."""
    if context.config.attributes["role"] == "ledger":
        ${downgrades if downgrades else "pass"}
