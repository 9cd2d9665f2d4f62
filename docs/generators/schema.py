"""reference/schema.md: views and tables of the ledger database, as the migrations make them."""

import tempfile
from pathlib import Path

import sqlalchemy as sa

from generators.sources import assignment_texts, table
from potchain.ledger import schema
from potchain.ledger.columns import Uint256Column
from potchain.ledger.database import open_database
from potchain.ledger.migrate import upgrade

HEAD = """# Schema of the ledger

The ledger of a node is one SQL database: the file `ledger.sqlite` in its home folder, or Postgres. The views
are the stable interface for people; columns are added to them and never renamed. The tables below them may change
with a migration. [How to query the ledger](../how-to/query-the-ledger.md) has examples.

Hashes and addresses are 0x-hex text in the views and raw bytes in the tables. Times are Unix milliseconds.
"""

AMOUNTS = """Amounts have up to 256 bits: `NUMERIC(78, 0)` on Postgres, decimal text on SQLite, whose integers end
at 2^63. There `CAST(amount AS INTEGER)` is exact below 9,223,372,036,854,775,808, and
`ORDER BY length(balance), balance` sorts any.
"""

MEANINGS = {
    "height": "Place in the ledger; 0 is genesis.",
    "block_hash": "What block votes and the next block name.",
    "proposal_digest": "What consensus decided.",
    "epoch": "Epoch whose validators decided it.",
    "block_time_ms": "The only time that execution sees.",
    "proposer": "Node id of the primary that proposed it; NULL for genesis and for a null request.",
    "tx_count": "Inclusions in this block.",
    "tx_total": "Inclusions from genesis to this block.",
    "certified": "Whether this node has the block certificate: the block is final.",
    "position": "Place in the block, from 0.",
    "id": "EIP-712 digest of the transaction.",
    "sender": "Account that signed it.",
    "kind": "Primary type, such as `Transfer`.",
    "fee": "Fee that it offers, base units; taken unless it was skipped.",
    "status": "`ok`, `failed` or `skipped`.",
    "code": "Why it failed or was skipped; empty when ok.",
    "recipient": "Receiver of a transfer, else NULL.",
    "amount": "Amount of a transfer, base units, else NULL.",
    "address": "The account.",
    "balance": "Base units.",
    "first_height": "Height of its first record.",
    "last_height": "Height that changed it last.",
    "reference": "Where it comes from: the transaction's id for a withdrawal.",
    "account": "Who is paid.",
    "binding": "Number of the contract, from 1.",
    "action": "Nonce of the action that pays it, NULL while it is pending.",
    "transaction_hash": "Layer 2 transaction that executed it, NULL before.",
    "digest": "What owners sign.",
    "first_payout": "First payout that it pays; NULL when it pays nobody.",
    "last_payout": "Last payout that it pays; NULL when it pays nobody.",
    "payouts": "How many it pays.",
    "total": "Base units that it pays.",
    "formed_height": "Block that made it.",
    "formed_ms": "Time of that block.",
    "signed_height": "Block in which it had enough signatures, NULL before.",
    "executed_height": "Block in which a quorum of operators had seen it executed, NULL before.",
    "block_number": "Layer 2 block that executed it, NULL before.",
    "event_nonce": "The contract's own number of the event, from 0 without a gap.",
    "mismatch": "Why the event had no effect on the ledger, else NULL.",
    "outcome": "`applied`, or why it was rejected; NULL while it is open.",
    "decided_height": "Block that decided it, NULL while it is open.",
}
OTHER_MEANINGS = {
    ("v_transactions", "nonce"): "Nonce that it used.",
    ("v_accounts", "nonce"): "Transactions of it that took their place.",
    ("v_payouts", "id"): "Number, from 0 without a gap.",
    ("v_payouts", "kind"): "What it is for: `withdrawal`, or what a plug-in says.",
    ("v_payouts", "status"): "`pending` (no action has it), `batched` (its action is not executed) or `paid`.",
    ("v_payouts", "amount"): "Base units.",
    ("v_payouts", "height"): "Block that made the ledger owe it.",
    ("v_settlement_actions", "kind"): "`batch`, `root`, `rotate` or `pause`.",
    ("v_settlement_actions", "status"): "`open` (owners sign it), `signed` (it may be relayed) or `executed`.",
    ("v_settlement_actions", "nonce"): "From 0 without a gap in each binding; the contract executes them in order.",
    ("v_settlement_actions", "epoch"): "Epoch of the contract, whose owners sign.",
    ("v_layer2_events", "kind"): "`deposit`, `batch`, `root`, `rotate` or `pause`.",
    ("v_layer2_events", "account"): "Who got a deposit on the ledger, else NULL.",
    ("v_layer2_events", "amount"): "Base units of a deposit, else NULL.",
    ("v_layer2_events", "action"): "Nonce of the action that it executed, else NULL.",
    ("v_layer2_events", "height"): "Block in which a quorum of operators agreed on it.",
    ("v_proposals", "id"): "Id of the transaction that proposed it.",
    ("v_proposals", "kind"): "Primary type of that transaction, such as `GovPause`.",
    ("v_proposals", "status"): "`open`, `applied` or `rejected`.",
    ("v_proposals", "height"): "Block that made it.",
}
"""Columns that mean another thing in one view."""


def _view(connection: sa.Connection, name: str) -> list[tuple[str, str]]:
    columns = connection.exec_driver_sql(f"SELECT name FROM pragma_table_info('{name}') ORDER BY cid").scalars()
    return [(f"`{column}`", OTHER_MEANINGS.get((name, column)) or MEANINGS[column]) for column in columns]


def _type(column: sa.Column[object]) -> str:
    if isinstance(column.type, Uint256Column):
        return "amount"
    if isinstance(column.type, sa.LargeBinary):
        return f"{column.type.length} bytes" if column.type.length else "bytes"
    return {"BigInteger": "whole number", "Integer": "whole number", "Text": "text"}[type(column.type).__name__]


def page() -> str:
    lines = [HEAD, "## Views", ""]
    with tempfile.TemporaryDirectory() as folder:
        database = open_database(Path(folder) / "ledger.sqlite", role="ledger")
        upgrade(database)
        with database.read() as connection:
            views = connection.exec_driver_sql(
                "SELECT name FROM sqlite_master WHERE type = 'view' ORDER BY name"
            ).scalars()
            for name in list(views):
                lines += [f"### {name}", "", *table(("column", "meaning"), _view(connection, name))]
        database.close()
    lines += [AMOUNTS, "## Tables", ""]
    texts = assignment_texts(schema)
    for each in schema.ledger_metadata.tables.values():
        rows = [
            (f"`{column.name}`" + (" (key)" if column.primary_key else ""), _type(column)) for column in each.columns
        ]
        lines += [f"### {each.name}", "", texts.get(each.name, ""), "", *table(("column", "type"), rows)]
    lines += [
        "## The vote database",
        "",
        "`votes.sqlite` holds what this node has signed and must find again, and the transactions that its pool",
        "promised to keep. It is the node's own business: leave it alone while the node runs, and never restore it",
        "from a backup.",
        "",
    ]
    rows = [(f"`{each.name}`", texts.get(each.name, "")) for each in schema.votes_metadata.tables.values()]
    lines += table(("table", "meaning"), rows)
    return "\n".join(lines)
