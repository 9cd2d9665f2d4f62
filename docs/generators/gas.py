"""reference/gas.md: the gas of the settlement contracts, from `bench/results/gas.json`."""

import json
import re
from itertools import groupby
from typing import Any

from generators.sources import ROOT, table
from potchain_multisig.operator.gas_report import SEED_ROWS

RESULTS = ROOT / "bench" / "results" / "gas.json"

HEAD = """# Gas of settlement

What the settlement contracts cost to use, on anvil {anvil} under the rules of {hardfork}, with 30 owners of whom 3
sign. Every figure is exact: keys, accounts and the order of the transactions are fixed, `python contracts/gas.py`
measures them, and a test compares each with this table to the last unit. `potchain contract gas` measures the first
table on your machine.

## What was promised

Shares of a transaction are rounded up. *Existing* is an account that was credited before and has not withdrawn
everything since; *new* is any other. "seed" is the project that this one began from, by its README.
"""

SEED = """
**Missed:** the compatible path to a *new* recipient was to cost at most 170,000 too. Four transactions, a
permanent mark for each payment (so that none is made twice) and a new recipient's slot make about 173,000 the
least we can count; if the proposal counted as its proposer's confirmation, three transactions would do for about
151,500, but the seed's procedure (propose, confirm three times) would no longer work. Batches cost a third of it.

The seed needs these transactions for one reward, and has no way to withdraw:
"""

REST = """
## Everything else

A transaction's gas, and its share for each reward where it pays several. Batches and commits were warmed up by one
before; the contract's very first action costs 17,100 to 34,200 more, because it writes slots for the first time.
"""


def _bound(row: dict[str, Any]) -> str:
    return f"{row['allowed']:,}" if row["allowed"] else ""


def _promised(rows: list[dict[str, Any]]) -> list[str]:
    cells = [
        (row["what"], f"{row['seed']:,}" if row["seed"] else "", f"**{row['gas']:,}**", _bound(row))
        for row in rows
    ]
    return table(("", "seed", "ours", "promised at most"), cells)


def page() -> str:
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    seed = [(row.what, f"{row.gas:,}", row.times) for row in SEED_ROWS]
    parts = [HEAD.format(**results), *_promised(results["promised"]), SEED]
    parts += [*table(("function", "gas", "times"), seed), REST]
    for group, rows in groupby(results["figures"], key=lambda row: row["group"]):
        cells = [(row["what"], f"{row['gas']:,}", f"{-(-row['gas'] // row['rewards']):,}") for row in rows]
        parts += [f"### {group[0].upper()}{group[1:]}", "", *table(("", "gas", "per reward"), cells)]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(parts))
