"""reference/errors.md: the tree of errors, exit codes, and the codes of transactions."""

import inspect

from generators.sources import first_paragraph, table
from potchain import errors
from potchain.api.problems import PROBLEMS
from potchain.cli.program import EXIT_CODES, exit_code_of

HEAD = """# Errors and exit codes

Every message says what happened, with which value, and what to do about it. What is expected to go wrong is one
tree of exceptions; anything else that is raised is a bug, and stops the node.
"""

CODES = """## Codes of transactions

A transaction that is refused, fails or is dropped carries one stable code, everywhere the same: in a problem
document of the [HTTP API](http-api.md#problems), in a receipt, in `v_transactions.code`, on the command line. Which
of the three it is tells what it cost:

- **refused or dropped**: it took no place in the ledger and cost nothing. It may be sent again as the code says.
- **skipped** (a receipt of an inclusion): its block had room for it, but nonce, funds, fee or expiry did not fit
  when its turn came. It changed nothing and cost nothing; if it can still become valid it is in the pool again.
- **failed** (a receipt): it took its place, its nonce and its fee are used, its action was refused.

`status` is that of the HTTP answer.
"""

EXAMPLES: dict[str, tuple[object, ...]] = {
    "GenesisError": ("genesis.json", ["a fault"]),
    "InvalidTransaction": ("code", "detail"),
    "TransactionFailed": ("code", "detail"),
    "SettlementError": ("code", "detail"),
    "LedgerCorrupt": (1, "detail"),
    "ClientError": (409, "code", "detail"),
}


def _tree() -> str:
    text = inspect.getdoc(errors) or ""
    return text.split("\n\n")[1]


def _classes() -> list[tuple[str, str, str]]:
    rows = []
    for name, value in vars(errors).items():
        if isinstance(value, type) and issubclass(value, errors.PotchainError):
            code = exit_code_of(value(*EXAMPLES.get(name, ("detail",))))
            rows.append(
                (f"`{name}`", first_paragraph(value.__doc__), "3, 4 or 5" if name == "ClientError" else str(code))
            )
    return rows


def page() -> str:
    codes = [
        (f"`{kind.code}`", str(kind.status), kind.meaning) for kind in PROBLEMS.values() if 400 < kind.status < 500
    ]
    lines = [HEAD, "## The tree", "", "```text", inspect.cleandoc(_tree()), "```", ""]
    lines += table(("error", "meaning", "exit code of a command that ends with it"), _classes())
    lines += [
        "## Exit codes",
        "",
        *table(("code", "meaning"), ((str(code), text) for code, text in EXIT_CODES.items())),
    ]
    lines += [CODES, *table(("code", "status", "meaning"), codes)]
    lines += ["All problems, those of requests and of the node included: [HTTP API](http-api.md#problems)."]
    return "\n".join(lines)
