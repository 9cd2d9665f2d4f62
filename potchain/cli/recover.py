"""`potchain recover`: carry on a network in which too many validators lost what they had signed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from potchain.cli.options import FILE, FOLDER, aligned, emit, json_option, password_from, password_option
from potchain.typed_data import JsonObject

if TYPE_CHECKING:
    from potchain.cli.recovery_steps import Outcome

OUT = click.Path(dir_okay=False, path_type=Path)
HOME = click.option("--home", required=True, type=FOLDER, help="Home folder of the node, which must not run.")


@click.group()
def recover() -> None:
    """Carry on a network that stopped for good, from its last certified block, under a new genesis.

    \b
    Example:
      potchain recover prepare --home net/node0 --out recovery.json
      potchain recover sign recovery.json --home net/node0 --operator net/operators/node0.json
      potchain recover finish recovery.json --out genesis.json
      potchain recover install genesis.json --home net/node0
    """


@recover.command()
@HOME
@click.option("--out", required=True, type=OUT, help="File to write; the state goes beside it, as .state.")
@click.option("--validators", type=FILE,
              help="JSON file with the new `validators`, and `parameters` if they change; else all stays.")
@json_option
def prepare(home: Path, out: Path, validators: Path | None, as_json: bool) -> None:
    """Write what the operators have to sign, from the last certified block of a stopped node.

    \b
    Example:
      potchain recover prepare --home net/node0 --out recovery.json
    """
    from potchain.cli.recovery_steps import prepare as run

    outcome = run(home, out, validators)
    files = f"{out} and {out.with_suffix('.state')}"
    _tell(outcome, as_json, f"written to {files}; each operator compares and signs: potchain recover sign")


@recover.command()
@click.argument("document", type=FILE)
@HOME
@click.option("--operator", required=True, type=FILE, help="Web3 V3 keystore of the operator.")
@click.option("--supersede", is_flag=True, help="Sign although another recovery was signed beside this home.")
@password_option
@json_option
def sign(
    document: Path, home: Path, operator: Path, supersede: bool, password_file: Path | None, as_json: bool
) -> None:
    """Check a recovery DOCUMENT against this node's ledger and sign it; the node then leaves the old network.

    Refused when this node holds a certified block above the recovery's, or another block at its height.

    \b
    Example:
      potchain recover sign recovery.json --home net/node0 --operator net/operators/node0.json
    """
    from potchain.cli.recovery_steps import sign as run
    from potchain.keyfiles import load_account_key

    key = load_account_key(operator, password_from(password_file))
    outcome = run(document, home, key, supersede=supersede)
    _tell(outcome, as_json, f"signed in {document}; this node starts again only with the new genesis")


@recover.command()
@click.argument("documents", type=FILE, nargs=-1, required=True)
@click.option("--out", required=True, type=OUT, help="File to write.")
@json_option
def combine(documents: tuple[Path, ...], out: Path, as_json: bool) -> None:
    """Put the signatures of several copies of one recovery into one document.

    \b
    Example:
      potchain recover combine alice.json bob.json carol.json --out recovery-signed.json
    """
    from potchain.cli.recovery_steps import combine as run

    _tell(run(documents, out), as_json, f"written to {out}")


@recover.command()
@click.argument("document", type=FILE)
@click.option("--out", required=True, type=OUT, help="Genesis file to write; the state goes beside it, as .state.")
@json_option
def finish(document: Path, out: Path, as_json: bool) -> None:
    """Make the new genesis file from a recovery DOCUMENT that a quorum of operators signed.

    \b
    Example:
      potchain recover finish recovery.json --out genesis.json
    """
    from potchain.cli.recovery_steps import finish as run

    files = f"{out} and {out.with_suffix('.state')}"
    _tell(run(document, out), as_json, f"written to {files}; on every node: potchain recover install {out} --home HOME")


@recover.command()
@click.argument("genesis", type=FILE)
@HOME
@json_option
def install(genesis: Path, home: Path, as_json: bool) -> None:
    """Put a recovered GENESIS into a node's home; the old ledger and vote log are kept, but moved away.

    \b
    Example:
      potchain recover install genesis.json --home net/node0
    """
    from potchain.cli.recovery_steps import install as run

    archive = run(genesis, home)
    kept = "there was no old ledger" if archive is None else f"the old ledger and vote log are in {archive}"
    result: JsonObject = {"home": str(home), "archive": None if archive is None else str(archive)}
    emit(result, as_json, [f"installed; {kept}. Start the node: potchain start --home {home}"])


def _tell(outcome: Outcome, as_json: bool, head: str) -> None:
    genesis = outcome.genesis
    before = genesis.recovery.predecessor
    names = {member.operator: member.name for member in outcome.old_epoch.members}
    signed = [names[entry.operator] for entry in genesis.recovery.signatures]
    result: JsonObject = {
        "genesis_hash": "0x" + genesis.hash.hex(),
        "old_genesis_hash": "0x" + before.genesis_hash.hex(),
        "height": genesis.height,
        "block_hash": "0x" + genesis.parent_hash.hex(),
        "block_time_ms": genesis.timestamp_ms,
        "state_root": "0x" + genesis.recovery.state_root.hex(),
        "epoch": genesis.recovery.epoch,
        "validators": [validator.name for validator in genesis.validators],
        "signed_by": signed,
        "signatures_wanted": outcome.signatures_wanted,
        "warnings": list(outcome.warnings),
    }
    shown = {name: ", ".join(value) if isinstance(value, list) else value for name, value in result.items()}
    rows = [(name, value) for name, value in shown.items() if name != "warnings" and value != ""]
    emit(result, as_json, [head, *aligned(rows), *(f"warning: {warning}" for warning in outcome.warnings)])
