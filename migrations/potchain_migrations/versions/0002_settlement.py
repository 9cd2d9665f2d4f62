"""What the ledger owes on Layer 2, and what has become of it.

Blocks of the release before know nothing of settlement, so the new tables of an older ledger are rightly empty.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import context, op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

LEDGER_VIEWS = ("v_payouts", "v_settlement_actions", "v_layer2_events", "v_proposals")
LEDGER_TABLES = ("payouts", "settlement_contracts", "settlement_actions", "layer2_events", "proposals")


def upgrade() -> None:
    """Create the tables and views."""
    if context.config.attributes["role"] == "ledger":
        _create_ledger_tables()
        _create_views()
    else:
        _create_vote_tables()


def downgrade() -> None:
    """Drop them."""
    if context.config.attributes["role"] == "ledger":
        for name in LEDGER_VIEWS:
            op.execute(f"DROP VIEW {name}")
        for name in LEDGER_TABLES:
            op.drop_table(name)
    else:
        op.drop_table("relay_intents")


def _big(name: str, *, nullable: bool = False) -> sa.Column[int]:
    kind = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    return sa.Column(name, kind, nullable=nullable, autoincrement=False)


def _bytes(name: str, length: int | None = None, *, nullable: bool = False) -> sa.Column[bytes]:
    return sa.Column(name, sa.LargeBinary(length), nullable=nullable)


def _text(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=nullable)


def _uint256(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.Numeric(78, 0).with_variant(sa.String(78), "sqlite"), nullable=nullable)


def _create_ledger_tables() -> None:
    op.create_table(
        "payouts",
        _big("id"),
        _big("height"),
        _big("position"),
        _text("kind"),
        _bytes("reference"),
        _bytes("account", 20),
        _uint256("amount"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("payouts_account", "payouts", ["account", "id"])
    op.create_table(
        "settlement_contracts",
        _big("binding"),
        _text("scheme"),
        _big("chain_id"),
        _bytes("contract", 20),
        _bytes("safe", 20),
        _big("from_block"),
        _big("height"),
        _big("position"),
        sa.PrimaryKeyConstraint("binding", "height"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "settlement_actions",
        _big("binding"),
        _big("nonce"),
        _text("kind"),
        _big("epoch"),
        _bytes("digest", 32),
        _big("first_payout", nullable=True),
        _big("last_payout", nullable=True),
        _uint256("total"),
        _big("formed_height"),
        _big("signed_height", nullable=True),
        _big("executed_height", nullable=True),
        _bytes("transaction_hash", 32, nullable=True),
        _big("block_number", nullable=True),
        sa.PrimaryKeyConstraint("binding", "nonce"),
        sqlite_with_rowid=False,
    )
    op.create_index("settlement_actions_first_payout", "settlement_actions", ["first_payout"])
    _create_what_comes_back()


def _create_what_comes_back() -> None:
    """Events of Layer 2, and decisions of operators."""
    op.create_table(
        "layer2_events",
        _big("binding"),
        _big("event_nonce"),
        _text("kind"),
        _bytes("account", 20, nullable=True),
        _uint256("amount", nullable=True),
        _big("action", nullable=True),
        _text("mismatch", nullable=True),
        _bytes("transaction_hash", 32),
        _big("height"),
        _big("position"),
        sa.PrimaryKeyConstraint("binding", "event_nonce"),
        sqlite_with_rowid=False,
    )
    op.create_index("layer2_events_action", "layer2_events", ["binding", "action"])
    op.create_table(
        "proposals",
        _big("height"),
        _big("position"),
        _bytes("id", 32),
        _text("kind"),
        _big("decided_height", nullable=True),
        _text("outcome", nullable=True),
        sa.PrimaryKeyConstraint("height", "position"),
        sa.UniqueConstraint("id", name="proposals_id"),
    )


def _create_vote_tables() -> None:
    op.create_table(
        "relay_intents",
        _bytes("transaction_hash", 32),
        _bytes("scope", 32),
        _big("action_nonce"),
        _bytes("data"),
        _big("checksum"),
        sa.PrimaryKeyConstraint("transaction_hash"),
    )


def _create_views() -> None:
    if op.get_bind().dialect.name == "sqlite":

        def shown(column: str) -> str:
            return f"CASE WHEN {column} IS NULL THEN NULL ELSE '0x' || lower(hex({column})) END"
    else:

        def shown(column: str) -> str:
            return f"'0x' || encode({column}, 'hex')"

    # Payouts are taken up in order, so the last action that begins at or before a payout holds it, or none does: one
    # look into an index for each.
    op.execute(
        f"""CREATE VIEW v_payouts AS
        SELECT p.id, p.height, b.block_time_ms, p.kind, {shown("p.reference")} AS reference,
            {shown("p.account")} AS account, p.amount,
            CASE WHEN a.nonce IS NULL THEN 'pending' WHEN a.executed_height IS NULL THEN 'batched' ELSE 'paid' END
                AS status,
            a.binding, a.nonce AS action, {shown("a.transaction_hash")} AS transaction_hash
        FROM payouts AS p LEFT JOIN blocks AS b ON b.height = p.height
        LEFT JOIN settlement_actions AS a ON p.id <= a.last_payout
            AND a.first_payout = (
                SELECT max(s.first_payout) FROM settlement_actions AS s WHERE s.first_payout <= p.id)"""
    )
    op.execute(
        f"""CREATE VIEW v_settlement_actions AS
        SELECT a.binding, a.nonce, a.kind, a.epoch,
            CASE WHEN a.executed_height IS NOT NULL THEN 'executed' WHEN a.signed_height IS NOT NULL THEN 'signed'
                ELSE 'open' END AS status,
            {shown("a.digest")} AS digest, a.first_payout, a.last_payout,
            CASE WHEN a.first_payout IS NULL THEN 0 ELSE a.last_payout - a.first_payout + 1 END AS payouts,
            a.total, a.formed_height, b.block_time_ms AS formed_ms, a.signed_height, a.executed_height,
            {shown("a.transaction_hash")} AS transaction_hash, a.block_number
        FROM settlement_actions AS a LEFT JOIN blocks AS b ON b.height = a.formed_height"""
    )
    op.execute(
        f"""CREATE VIEW v_layer2_events AS
        SELECT e.binding, e.event_nonce, e.kind, {shown("e.account")} AS account, e.amount, e.action, e.mismatch,
            {shown("e.transaction_hash")} AS transaction_hash, e.height, b.block_time_ms
        FROM layer2_events AS e JOIN blocks AS b ON b.height = e.height"""
    )
    op.execute(
        f"""CREATE VIEW v_proposals AS
        SELECT {shown("p.id")} AS id, p.kind,
            CASE WHEN p.outcome IS NULL THEN 'open' WHEN p.outcome = 'applied' THEN 'applied' ELSE 'rejected' END
                AS status,
            p.outcome, p.height, b.block_time_ms, p.decided_height
        FROM proposals AS p LEFT JOIN blocks AS b ON b.height = p.height"""
    )
