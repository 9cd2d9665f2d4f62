"""The tables of both databases. Migrations create them; a test compares the two.

The ledger database holds blocks as blobs, which are the truth, and projections, which are rows derived from them and
can be thrown away at any time: state rows, inclusions, account histories, events. The vote database holds what this
node has signed and must find again, and the transactions its pool has promised to keep. Tables of both have different
names, so that on Postgres one database can hold both.

Keys that grow with the chain are (height, position), appended in order; everything keyed by random bytes is kept
narrow, because random index pages are what a large ledger pays for.
"""

from __future__ import annotations

from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

Role = Literal["ledger", "votes"]
"""Which of the two databases."""

LEDGER_FORMAT = 1
"""Version of the canonical blobs inside the ledger's rows."""


class Uint256Column(TypeDecorator[int]):
    """0 to 2^256 - 1: NUMERIC(78, 0) on Postgres, decimal text on SQLite, whose integers end at 2^63."""

    impl = sa.Numeric
    cache_ok = True

    def __init__(self) -> None:
        super().__init__(78, 0)

    def load_dialect_impl(self, dialect: Dialect) -> sa.types.TypeEngine[Any]:
        """The dialect's own storage."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(sa.String(78))
        return dialect.type_descriptor(sa.Numeric(78, 0))

    def process_bind_param(self, value: int | None, dialect: Dialect) -> Any:  # noqa: ANN401 - the driver's type
        """An int as the driver wants it."""
        return str(value) if value is not None and dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> int | None:  # noqa: ANN401
        """Always an int, or None."""
        return None if value is None else int(value)


def _big(name: str, *constraints: sa.ForeignKey, **options: Any) -> sa.Column[int]:  # noqa: ANN401
    # SQLite's INTEGER holds 64 bits, and only under that name a primary key is the table's own order.
    kind = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    options.setdefault("nullable", False)
    return sa.Column(name, kind, *constraints, autoincrement=False, **options)


def _bytes(name: str, length: int | None = None, **options: Any) -> sa.Column[bytes]:  # noqa: ANN401
    options.setdefault("nullable", False)
    return sa.Column(name, sa.LargeBinary(length), **options)


def _text(name: str, **options: Any) -> sa.Column[str]:  # noqa: ANN401
    options.setdefault("nullable", False)
    return sa.Column(name, sa.Text(), **options)


ledger_metadata = sa.MetaData()
votes_metadata = sa.MetaData()

chain = sa.Table(
    "chain",
    ledger_metadata,
    _big("id", primary_key=True),
    _bytes("genesis_hash", 32),
    _bytes("genesis"),
    _big("format"),
    sa.CheckConstraint("id = 1", name="chain_has_one_row"),
)
"""One row: which network this is."""

epochs = sa.Table(
    "epochs",
    ledger_metadata,
    _big("number", primary_key=True),
    _big("first_sequence"),
    _bytes("digest", 32),
    _bytes("data"),
)
"""Canonical bytes of every epoch that has begun or is named by a block."""

blocks = sa.Table(
    "blocks",
    ledger_metadata,
    _big("height", primary_key=True),
    _bytes("hash", 32),
    _bytes("digest", 32),
    _big("epoch"),
    _big("block_time_ms"),
    _bytes("proposer", 20),
    _big("tx_count"),
    _big("tx_total"),
    _bytes("checksum", 32),
    _bytes("header"),
    # Large columns last: SQLite reads a row's beginning without its overflow pages.
    _bytes("order_certificate"),
    _bytes("proposal"),
    _bytes("bodies"),
    _bytes("receipts"),
    _bytes("changes"),
    sa.UniqueConstraint("hash", name="blocks_hash"),
)
"""The truth. `tx_total` counts inclusions from genesis to this block; `checksum` covers the six blobs."""

block_certificates = sa.Table(
    "block_certificates",
    ledger_metadata,
    _big("height", sa.ForeignKey("blocks.height", name="block_certificates_block"), primary_key=True),
    _bytes("checksum", 32),
    _bytes("data"),
)

evidence = sa.Table(
    "evidence",
    ledger_metadata,
    _big("number", primary_key=True),
    _bytes("id", 32),
    _bytes("slot", 32),
    _bytes("accused", 20),
    _big("epoch"),
    _big("seen_ms"),
    _bytes("data"),
    sa.UniqueConstraint("id", name="evidence_id"),
    sa.UniqueConstraint("slot", name="evidence_slot"),
)
"""Two votes of one member for one slot, checked; `number` is the order of arrival here, `data` the canonical bytes."""

state_records = sa.Table(
    "state_records",
    ledger_metadata,
    _bytes("key", primary_key=True),
    _bytes("value"),
    _big("height"),
    sqlite_with_rowid=False,
)
"""Projection: the records of the state that are not accounts. `height` changed it last."""

accounts = sa.Table(
    "accounts",
    ledger_metadata,
    _bytes("address", 20, primary_key=True),
    _big("nonce"),
    sa.Column("balance", Uint256Column(), nullable=False),
    _big("first_height"),
    _big("last_height"),
    sqlite_with_rowid=False,
)
"""Projection: the account records of the state, in columns."""

transactions = sa.Table(
    "transactions",
    ledger_metadata,
    _big("height", primary_key=True),
    _big("position", primary_key=True),
    _bytes("id", 32),
    _bytes("sender", 20),
    _big("nonce"),
    _text("kind"),
    sa.Column("fee", Uint256Column(), nullable=False),
    _text("status"),
    _text("code"),
    _bytes("recipient", 20, nullable=True),
    sa.Column("amount", Uint256Column(), nullable=True),
    sqlite_with_rowid=False,
)
"""Projection: one row per inclusion."""

transaction_ids = sa.Table(
    "transaction_ids",
    ledger_metadata,
    _big("id_prefix", primary_key=True),
    _big("height", primary_key=True),
    _big("position", primary_key=True),
    sqlite_with_rowid=False,
)
"""Projection: where an executed transaction is, by the first 8 bytes of its id as a signed integer."""

account_transactions = sa.Table(
    "account_transactions",
    ledger_metadata,
    _bytes("address", 20, primary_key=True),
    _big("height", primary_key=True),
    _big("position", primary_key=True),
    sqlite_with_rowid=False,
)
"""Projection: the history of every address that an executed inclusion names; the key covers the query."""

events = sa.Table(
    "events",
    ledger_metadata,
    _big("height", primary_key=True),
    _big("position", primary_key=True),
    _big("transaction_position", nullable=True),
    _text("kind"),
    _text("data"),
    sqlite_with_rowid=False,
)
"""Projection: events in block order; `transaction_position` is NULL for those of the block's end. `data` is JSON."""

projection_progress = sa.Table(
    "projection_progress",
    ledger_metadata,
    _text("name", primary_key=True),
    _big("height"),
    _big("position"),
)
"""What comes next: for "history" (transactions, events) inclusion `position` of block `height`; for "keyed" (the rest)
block `height`."""

PROJECTIONS = (transactions, transaction_ids, account_transactions, events, accounts, state_records)
"""The tables that `reindex` empties and fills again."""

vote_marks = sa.Table(
    "vote_marks",
    votes_metadata,
    _big("log", primary_key=True),
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
    sa.UniqueConstraint("genesis_hash", name="vote_marks_genesis_hash"),
)
"""One row per network this node has ever voted in; the marks are never lowered."""


def _log() -> sa.Column[int]:
    return _big("log", sa.ForeignKey("vote_marks.log"))


vote_records = sa.Table(
    "vote_records",
    votes_metadata,
    _big("id", primary_key=True),
    _log(),
    _text("kind"),
    _big("view"),
    _big("sequence"),
    _bytes("data"),
    _big("checksum"),
)
"""What the engine must find again, in the order in which it was persisted."""

vote_messages = sa.Table(
    "vote_messages",
    votes_metadata,
    _big("id", primary_key=True),
    _log(),
    _big("epoch"),
    _big("view"),
    _big("sequence"),
    _text("kind"),
    _bytes("data"),
    _big("checksum"),
    sa.UniqueConstraint("log", "epoch", "view", "sequence", "kind", name="vote_messages_slot"),
)
"""Own signed messages, byte for byte, one per slot."""

vote_guard = sa.Table(
    "vote_guard",
    votes_metadata,
    _big("log", sa.ForeignKey("vote_marks.log"), primary_key=True),
    _big("epoch", primary_key=True),
    _big("view", primary_key=True),
    _big("sequence", primary_key=True),
    _text("kind", primary_key=True),
    _bytes("digest", 32),
    _big("checksum"),
    sqlite_with_rowid=False,
)
"""Slots that were signed, for the signer's guard."""

pinned_proposals = sa.Table(
    "pinned_proposals",
    votes_metadata,
    _big("log", sa.ForeignKey("vote_marks.log"), primary_key=True),
    _big("sequence", primary_key=True),
    _bytes("digest", 32, primary_key=True),
    _bytes("data"),
    _big("checksum"),
    sqlite_with_rowid=False,
)
"""Proposals that this node voted for or made, above the stable checkpoint."""

pool_bodies = sa.Table(
    "pool_bodies",
    votes_metadata,
    _big("id", primary_key=True),
    _log(),
    _bytes("data"),
    _big("checksum"),
)
"""Batches of signed transactions, append-only: one row is one blob of many."""

VOTE_TABLES = (vote_records, vote_messages, vote_guard, pinned_proposals, pool_bodies)
"""The tables whose rows belong to one log."""


def metadata_of(role: Role) -> sa.MetaData:
    """The tables of one database."""
    return ledger_metadata if role == "ledger" else votes_metadata
