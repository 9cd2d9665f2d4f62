"""`potchain start` runs one node; `potchain status` asks one."""

from __future__ import annotations

import os
from pathlib import Path

import click

from potchain.cli.options import aligned, emit, json_option, run_async, url_options


@click.command()
@click.option("--home", required=True, type=click.Path(exists=True, file_okay=False, path_type=Path),
              help="Home folder of the node, with potchain.toml.")
@click.option("--json", "as_json", is_flag=True, help="Log JSON lines, whatever log.format says.")
def start(home: Path, as_json: bool) -> int:
    """Run a node until SIGTERM or Ctrl-C; its log goes to stderr.

    \b
    Example:
      potchain start --home net/node0
    """
    from potchain.config import load_config
    from potchain.node import run_node

    environment = dict(os.environ)
    if as_json:
        environment["POTCHAIN_LOG_FORMAT"] = "json"
    return run_async(run_node(load_config(home, environment), home))


@click.command()
@url_options
@json_option
def status(url: str, token: str, as_json: bool) -> None:
    """Where a node is: height, state root, peers, pool, and whether it is stalled.

    \b
    Example:
      potchain status --url http://127.0.0.1:8080
    """
    answer = run_async(_status(url, token))
    emit(answer, as_json, aligned([(name, _shown(value)) for name, value in answer.items()]))


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shown(inner)}" for name, inner in value.items())
    if isinstance(value, list):
        return "; ".join(map(_shown, value)) or "none"
    if value is None:
        return "-"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


async def _status(url: str, token: str) -> dict[str, object]:
    from potchain.client import NodeClient

    async with NodeClient(url, token=token, attempts_max=1) as node:
        return await node.status()
