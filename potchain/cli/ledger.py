"""`potchain ledger`: look after the database of a node that is not running."""

from __future__ import annotations

import os
from pathlib import Path

import click

from potchain.cli.options import FOLDER, aligned, emit, json_option


@click.group()
def ledger() -> None:
    """The ledger of one node.

    \b
    Example:
      potchain ledger verify --home net/node0
    """


@ledger.command()
@click.option("--home", required=True, type=FOLDER, help="Home folder of the node.")
@json_option
def verify(home: Path, as_json: bool) -> None:
    """Derive every hash, root, signature and certificate again, from genesis on; names the first bad height.

    \b
    Example:
      potchain ledger verify --home net/node0
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from potchain.config import load_config
    from potchain.node import verify_home

    load_config(home, os.environ)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("blocks", total=None)
        report = verify_home(home, lambda height, last: progress.update(task, completed=height, total=last))
    members = {name: getattr(report, name) for name in report.__struct_fields__}
    document = {name: "0x" + value.hex() if isinstance(value, bytes) else value for name, value in members.items()}
    emit(document, as_json, ["ledger is sound", *aligned(list(document.items()))])


@ledger.command()
@click.option("--home", required=True, type=FOLDER, help="Home folder of the node, which must not run.")
@json_option
def reindex(home: Path, as_json: bool) -> None:
    """Derive all history rows again from the blocks, for instance after `verify` found some that differ.

    \b
    Example:
      potchain ledger reindex --home net/node0
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from potchain.node import reindex_home

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("blocks", total=None)
        height = reindex_home(home, lambda done, last: progress.update(task, completed=done, total=last))
    emit({"history_height": height}, as_json, [f"history is derived again up to height {height}"])
