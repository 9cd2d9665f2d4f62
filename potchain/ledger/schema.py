"""The tables of both databases. Migrations create them; a test compares the two.

The ledger database holds blocks as blobs, which are the truth, and projections, which are rows derived from them and
can be thrown away at any time: state rows, inclusions, account histories, events. The vote database holds what this
node has signed and must find again, and the transactions its pool has promised to keep. Tables of both have different
names, so that on Postgres one database can hold both.

Keys that grow with the chain are (height, position), appended in order; everything keyed by random bytes is kept
narrow, because random index pages are what a large ledger pays for.
"""

from __future__ import annotations

from typing import Literal

import sqlalchemy as sa

from potchain.ledger.columns import amount, raw, text, whole

Role = Literal["ledger", "votes"]
"""Which of the two databases."""

LEDGER_FORMAT = 1
"""Version of the canonical blobs inside the ledger's rows."""

ledger_metadata = sa.MetaData()
votes_metadata = sa.MetaData()

chain = sa.Table(
    "chain",
    ledger_metadata,
    whole("id", primary_key=True),
    raw("genesis_hash", 32),
    raw("genesis"),
    whole("format"),
    sa.CheckConstraint("id = 1", name="chain_has_one_row"),
)
"""One row: which network this is."""

epochs = sa.Table(
    "epochs",
    ledger_metadata,
    whole("number", primary_key=True),
    whole("first_sequence"),
    raw("digest", 32),
    raw("data"),
)
"""Canonical bytes of every epoch that has begun or is named by a block."""

blocks = sa.Table(
    "blocks",
    ledger_metadata,
    whole("height", primary_key=True),
    raw("hash", 32),
    raw("digest", 32),
    whole("epoch"),
    whole("block_time_ms"),
    raw("proposer", 20),
    whole("tx_count"),
    whole("tx_total"),
    raw("checksum", 32),
    raw("header"),
    # Large columns last: SQLite reads a row's beginning without its overflow pages.
    raw("order_certificate"),
    raw("proposal"),
    raw("bodies"),
    raw("receipts"),
    raw("changes"),
    sa.UniqueConstraint("hash", name="blocks_hash"),
)
"""The truth. `tx_total` counts inclusions from genesis to this block; `checksum` covers the six blobs."""

block_certificates = sa.Table(
    "block_certificates",
    ledger_metadata,
    whole("height", sa.ForeignKey("blocks.height", name="block_certificates_block"), primary_key=True),
    raw("checksum", 32),
    raw("data"),
)

evidence = sa.Table(
    "evidence",
    ledger_metadata,
    whole("number", primary_key=True),
    raw("id", 32),
    raw("slot", 32),
    raw("accused", 20),
    whole("epoch"),
    whole("seen_ms"),
    raw("data"),
    sa.UniqueConstraint("id", name="evidence_id"),
    sa.UniqueConstraint("slot", name="evidence_slot"),
)
"""Two votes of one member for one slot, checked; `number` is the order of arrival here, `data` the canonical bytes."""

state_records = sa.Table(
    "state_records",
    ledger_metadata,
    raw("key", primary_key=True),
    raw("value"),
    whole("height"),
    sqlite_with_rowid=False,
)
"""Projection: the records of the state that are not accounts. `height` changed it last."""

accounts = sa.Table(
    "accounts",
    ledger_metadata,
    raw("address", 20, primary_key=True),
    whole("nonce"),
    amount("balance"),
    whole("first_height"),
    whole("last_height"),
    sqlite_with_rowid=False,
)
"""Projection: the account records of the state, in columns."""

transactions = sa.Table(
    "transactions",
    ledger_metadata,
    whole("height", primary_key=True),
    whole("position", primary_key=True),
    raw("id", 32),
    raw("sender", 20),
    whole("nonce"),
    text("kind"),
    amount("fee"),
    text("status"),
    text("code"),
    raw("recipient", 20, nullable=True),
    amount("amount", nullable=True),
    sqlite_with_rowid=False,
)
"""Projection: one row per inclusion."""

transaction_ids = sa.Table(
    "transaction_ids",
    ledger_metadata,
    whole("id_prefix", primary_key=True),
    whole("height", primary_key=True),
    whole("position", primary_key=True),
    sqlite_with_rowid=False,
)
"""Projection: where an executed transaction is, by the first 8 bytes of its id as a signed integer."""

account_transactions = sa.Table(
    "account_transactions",
    ledger_metadata,
    raw("address", 20, primary_key=True),
    whole("height", primary_key=True),
    whole("position", primary_key=True),
    sqlite_with_rowid=False,
)
"""Projection: the history of every address that an executed inclusion names; the key covers the query."""

events = sa.Table(
    "events",
    ledger_metadata,
    whole("height", primary_key=True),
    whole("position", primary_key=True),
    whole("transaction_position", nullable=True),
    text("kind"),
    text("data"),
    sqlite_with_rowid=False,
)
"""Projection: events in block order; `transaction_position` is NULL for those of the block's end. `data` is JSON."""

projection_progress = sa.Table(
    "projection_progress",
    ledger_metadata,
    text("name", primary_key=True),
    whole("height"),
    whole("position"),
)
"""What comes next: for "history" (transactions, events) inclusion `position` of block `height`; for "keyed" (the rest)
block `height`."""

payouts = sa.Table(
    "payouts",
    ledger_metadata,
    whole("id", primary_key=True),
    whole("height"),
    whole("position"),
    text("kind"),
    raw("reference"),
    raw("account", 20),
    amount("amount"),
    sa.Index("payouts_account", "account", "id"),
)
"""What the ledger owes on Layer 2, from the blocks' events, written with the block that owes it. `position` is that of
the event in its block; `reference` is the transaction's id for a withdrawal."""

settlement_contracts = sa.Table(
    "settlement_contracts",
    ledger_metadata,
    whole("binding", primary_key=True),
    text("scheme"),
    whole("chain_id"),
    raw("contract", 20),
    raw("safe", 20),
    whole("from_block"),
    whole("height", primary_key=True),
    whole("position"),
    sqlite_with_rowid=False,
)
"""The contracts on Layer 2 that the ledger was bound to, numbered from 1; the last row is in force. One that was bound
again because its Safe moved on keeps its number."""

settlement_actions = sa.Table(
    "settlement_actions",
    ledger_metadata,
    whole("binding", primary_key=True),
    whole("nonce", primary_key=True),
    text("kind"),
    whole("epoch"),
    raw("digest", 32),
    whole("first_payout", nullable=True),
    whole("last_payout", nullable=True),
    amount("total"),
    whole("formed_height"),
    whole("signed_height", nullable=True),
    whole("executed_height", nullable=True),
    raw("transaction_hash", 32, nullable=True),
    whole("block_number", nullable=True),
    sa.Index("settlement_actions_first_payout", "first_payout"),
    sqlite_with_rowid=False,
)
"""What the ledger wants done on Layer 2, and how far it has come; written with the blocks. `nonce` counts from 0 in
each binding. Payouts belong to an action by their ids; `first_payout` is NULL for one that pays nobody. The last two
columns are Layer 2's."""

layer2_events = sa.Table(
    "layer2_events",
    ledger_metadata,
    whole("binding", primary_key=True),
    whole("event_nonce", primary_key=True),
    text("kind"),
    raw("account", 20, nullable=True),
    amount("amount", nullable=True),
    whole("action", nullable=True),
    text("mismatch", nullable=True),
    raw("transaction_hash", 32),
    whole("height"),
    whole("position"),
    sa.Index("layer2_events_action", "binding", "action"),
    sqlite_with_rowid=False,
)
"""Events of the contract that a quorum of operators has seen, in the contract's order; written with the block that
applied them. `account` and `amount` are those of a deposit, `action` the nonce of what was executed; `mismatch` says in
words why an event had no effect."""

proposals = sa.Table(
    "proposals",
    ledger_metadata,
    whole("height", primary_key=True),
    whole("position", primary_key=True),
    raw("id", 32),
    text("kind"),
    whole("decided_height", nullable=True),
    text("outcome", nullable=True),
    sa.UniqueConstraint("id", name="proposals_id"),
)
"""Proposals of governance, written with the blocks. `id` is that of the transaction; `outcome` is `applied`, or why it
was rejected."""

SETTLEMENT_TABLES = (payouts, settlement_contracts, settlement_actions, layer2_events, proposals)
"""Written in the decide transaction; `reindex` derives them again too."""

PROJECTIONS = (transactions, transaction_ids, account_transactions, events, accounts, state_records)
"""The tables that `reindex` empties and fills again."""

vote_marks = sa.Table(
    "vote_marks",
    votes_metadata,
    whole("log", primary_key=True),
    raw("genesis_hash", 32),
    whole("stable"),
    whole("sequence_high"),
    whole("block_vote_high"),
    whole("epoch_high"),
    whole("view_high"),
    whole("doubtful"),
    whole("learner_height"),
    whole("learner_epoch"),
    whole("learner_view"),
    whole("checksum"),
    sa.UniqueConstraint("genesis_hash", name="vote_marks_genesis_hash"),
)
"""One row per network this node has ever voted in; the marks are never lowered."""


def _log() -> sa.Column[int]:
    return whole("log", sa.ForeignKey("vote_marks.log"))


vote_records = sa.Table(
    "vote_records",
    votes_metadata,
    whole("id", primary_key=True),
    _log(),
    text("kind"),
    whole("view"),
    whole("sequence"),
    raw("data"),
    whole("checksum"),
)
"""What the engine must find again, in the order in which it was persisted."""

vote_messages = sa.Table(
    "vote_messages",
    votes_metadata,
    whole("id", primary_key=True),
    _log(),
    whole("epoch"),
    whole("view"),
    whole("sequence"),
    text("kind"),
    raw("data"),
    whole("checksum"),
    sa.UniqueConstraint("log", "epoch", "view", "sequence", "kind", name="vote_messages_slot"),
)
"""Own signed messages, byte for byte, one per slot."""

vote_guard = sa.Table(
    "vote_guard",
    votes_metadata,
    whole("log", sa.ForeignKey("vote_marks.log"), primary_key=True),
    whole("epoch", primary_key=True),
    whole("view", primary_key=True),
    whole("sequence", primary_key=True),
    text("kind", primary_key=True),
    raw("digest", 32),
    whole("checksum"),
    sqlite_with_rowid=False,
)
"""Slots that were signed, for the signer's guard."""

pinned_proposals = sa.Table(
    "pinned_proposals",
    votes_metadata,
    whole("log", sa.ForeignKey("vote_marks.log"), primary_key=True),
    whole("sequence", primary_key=True),
    raw("digest", 32, primary_key=True),
    raw("data"),
    whole("checksum"),
    sqlite_with_rowid=False,
)
"""Proposals that this node voted for or made, above the stable checkpoint."""

pool_bodies = sa.Table(
    "pool_bodies",
    votes_metadata,
    whole("id", primary_key=True),
    _log(),
    raw("data"),
    whole("checksum"),
)
"""Batches of signed transactions, append-only: one row is one blob of many."""

relay_intents = sa.Table(
    "relay_intents",
    votes_metadata,
    raw("transaction_hash", 32, primary_key=True),
    raw("scope", 32),
    whole("action_nonce"),
    raw("data"),
    whole("checksum"),
)
"""Layer 2 transactions that this node has prepared and may have sent, until the ledger knows what became of them.
`scope` is a digest of the network and the bound contract; `data` the canonical bytes of the `Prepared`."""

VOTE_TABLES = (vote_records, vote_messages, vote_guard, pinned_proposals, pool_bodies)
"""The tables whose rows belong to one log."""


def metadata_of(role: Role) -> sa.MetaData:
    """The tables of one database."""
    return ledger_metadata if role == "ledger" else votes_metadata
