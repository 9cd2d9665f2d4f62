"""All tables and views of the first release."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import context, op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

VIEWS = ("v_blocks", "v_transactions", "v_accounts")


def upgrade() -> None:
    """Create them."""
    if context.config.attributes["role"] == "votes":
        _create_votes()
        return
    _create_blocks()
    _create_projections()
    _create_views()


def downgrade() -> None:
    """Drop them: the way back from the first release is an empty database."""
    if context.config.attributes["role"] == "votes":
        for name in ("pool_bodies", "pinned_proposals", "vote_guard", "vote_messages", "vote_records", "vote_marks"):
            op.drop_table(name)
        return
    for name in VIEWS:
        op.execute(f"DROP VIEW {name}")
    for name in (
        "projection_progress", "events", "account_transactions", "transaction_ids", "transactions", "accounts",
        "state_records", "evidence", "block_certificates", "blocks", "epochs", "chain",
    ):  # fmt: skip
        op.drop_table(name)


def _big(name: str, *constraints: sa.ForeignKey, nullable: bool = False) -> sa.Column[int]:
    kind = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    return sa.Column(name, kind, *constraints, nullable=nullable, autoincrement=False)


def _bytes(name: str, length: int | None = None, nullable: bool = False) -> sa.Column[bytes]:
    return sa.Column(name, sa.LargeBinary(length), nullable=nullable)


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=False)


def _uint256(name: str, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.Numeric(78, 0).with_variant(sa.String(78), "sqlite"), nullable=nullable)


def _create_blocks() -> None:
    op.create_table(
        "chain",
        _big("id"),
        _bytes("genesis_hash", 32),
        _bytes("genesis"),
        _big("format"),
        sa.PrimaryKeyConstraint("id"),
        sa.CheckConstraint("id = 1", name="chain_has_one_row"),
    )
    op.create_table(
        "epochs",
        _big("number"),
        _big("first_sequence"),
        _bytes("digest", 32),
        _bytes("data"),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_table(
        "blocks",
        _big("height"),
        _bytes("hash", 32),
        _bytes("digest", 32),
        _big("epoch"),
        _big("block_time_ms"),
        _bytes("proposer", 20),
        _big("tx_count"),
        _big("tx_total"),
        _bytes("checksum", 32),
        _bytes("header"),
        _bytes("order_certificate"),
        _bytes("proposal"),
        _bytes("bodies"),
        _bytes("receipts"),
        _bytes("changes"),
        sa.PrimaryKeyConstraint("height"),
        sa.UniqueConstraint("hash", name="blocks_hash"),
    )
    op.create_table(
        "block_certificates",
        _big("height", sa.ForeignKey("blocks.height", name="block_certificates_block")),
        _bytes("checksum", 32),
        _bytes("data"),
        sa.PrimaryKeyConstraint("height"),
    )
    op.create_table(
        "evidence",
        _big("number"),
        _bytes("id", 32),
        _bytes("slot", 32),
        _bytes("accused", 20),
        _big("epoch"),
        _big("seen_ms"),
        _bytes("data"),
        sa.PrimaryKeyConstraint("number"),
        sa.UniqueConstraint("id", name="evidence_id"),
        sa.UniqueConstraint("slot", name="evidence_slot"),
    )


def _create_projections() -> None:
    op.create_table(
        "state_records",
        _bytes("key"),
        _bytes("value"),
        _big("height"),
        sa.PrimaryKeyConstraint("key"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "accounts",
        _bytes("address", 20),
        _big("nonce"),
        _uint256("balance"),
        _big("first_height"),
        _big("last_height"),
        sa.PrimaryKeyConstraint("address"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "transactions",
        _big("height"),
        _big("position"),
        _bytes("id", 32),
        _bytes("sender", 20),
        _big("nonce"),
        _text("kind"),
        _uint256("fee"),
        _text("status"),
        _text("code"),
        _bytes("recipient", 20, nullable=True),
        _uint256("amount", nullable=True),
        sa.PrimaryKeyConstraint("height", "position"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "transaction_ids",
        _big("id_prefix"),
        _big("height"),
        _big("position"),
        sa.PrimaryKeyConstraint("id_prefix", "height", "position"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "account_transactions",
        _bytes("address", 20),
        _big("height"),
        _big("position"),
        sa.PrimaryKeyConstraint("address", "height", "position"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "events",
        _big("height"),
        _big("position"),
        _big("transaction_position", nullable=True),
        _text("kind"),
        _text("data"),
        sa.PrimaryKeyConstraint("height", "position"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "projection_progress", _text("name"), _big("height"), _big("position"), sa.PrimaryKeyConstraint("name")
    )


def _create_views() -> None:
    if op.get_bind().dialect.name == "sqlite":

        def shown(column: str) -> str:
            return f"'0x' || lower(hex({column}))"

    else:

        def shown(column: str) -> str:
            return f"'0x' || encode({column}, 'hex')"

    op.execute(
        f"""CREATE VIEW v_blocks AS
        SELECT b.height, {shown("b.hash")} AS block_hash, {shown("b.digest")} AS proposal_digest, b.epoch,
            b.block_time_ms, CASE WHEN length(b.proposer) = 0 THEN NULL ELSE {shown("b.proposer")} END AS proposer,
            b.tx_count, b.tx_total, c.height IS NOT NULL AS certified
        FROM blocks AS b LEFT JOIN block_certificates AS c ON c.height = b.height"""
    )
    op.execute(
        f"""CREATE VIEW v_transactions AS
        SELECT t.height, t.position, {shown("t.id")} AS id, b.block_time_ms, {shown("t.sender")} AS sender, t.nonce,
            t.kind, t.fee, t.status, t.code, {shown("t.recipient")} AS recipient, t.amount
        FROM transactions AS t JOIN blocks AS b ON b.height = t.height"""
    )
    op.execute(
        f"""CREATE VIEW v_accounts AS
        SELECT {shown("address")} AS address, nonce, balance, first_height, last_height FROM accounts"""
    )


def _create_votes() -> None:
    op.create_table(
        "vote_marks",
        _big("log"),
        _bytes("genesis_hash", 32),
        _big("stable"),
        _big("sequence_high"),
        _big("block_vote_high"),
        _big("epoch_high"),
        _big("view_high"),
        _big("doubtful"),
        _big("learner_height"),
        _big("learner_epoch"),
        _big("learner_view"),
        _big("checksum"),
        sa.PrimaryKeyConstraint("log"),
        sa.UniqueConstraint("genesis_hash", name="vote_marks_genesis_hash"),
    )
    op.create_table(
        "vote_records",
        _big("id"),
        _big("log", sa.ForeignKey("vote_marks.log")),
        _text("kind"),
        _big("view"),
        _big("sequence"),
        _bytes("data"),
        _big("checksum"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "vote_messages",
        _big("id"),
        _big("log", sa.ForeignKey("vote_marks.log")),
        _big("epoch"),
        _big("view"),
        _big("sequence"),
        _text("kind"),
        _bytes("data"),
        _big("checksum"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("log", "epoch", "view", "sequence", "kind", name="vote_messages_slot"),
    )
    op.create_table(
        "vote_guard",
        _big("log", sa.ForeignKey("vote_marks.log")),
        _big("epoch"),
        _big("view"),
        _big("sequence"),
        _text("kind"),
        _bytes("digest", 32),
        _big("checksum"),
        sa.PrimaryKeyConstraint("log", "epoch", "view", "sequence", "kind"),
        sqlite_with_rowid=False,
    )
    _create_proposals_and_bodies()


def _create_proposals_and_bodies() -> None:
    """What votes and answers to clients promise to keep."""
    op.create_table(
        "pinned_proposals",
        _big("log", sa.ForeignKey("vote_marks.log")),
        _big("sequence"),
        _bytes("digest", 32),
        _bytes("data"),
        _big("checksum"),
        sa.PrimaryKeyConstraint("log", "sequence", "digest"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "pool_bodies",
        _big("id"),
        _big("log", sa.ForeignKey("vote_marks.log")),
        _bytes("data"),
        _big("checksum"),
        sa.PrimaryKeyConstraint("id"),
    )
