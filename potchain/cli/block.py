"""`potchain block`: one block as a node has it."""

from __future__ import annotations

import json

import click

from potchain.cli.options import aligned, emit, json_option, url_options
from potchain.event_loop import run_async


@click.command()
@click.argument("height")
@url_options
@json_option
def block(height: str, url: str, token: str, as_json: bool) -> None:
    """A block by its HEIGHT or hash.

    \b
    Example:
      potchain block 7 --url http://127.0.0.1:8080
    """
    if not (height.isdigit() or (height.startswith("0x") and len(height) == 66)):
        raise click.BadParameter(f"a height such as 7, or a hash of 0x and 64 hex digits, not {height!r}")
    answer = run_async(_block(url, token, height))
    pairs = [(name, json.dumps(value) if isinstance(value, dict | list) else value) for name, value in answer.items()]
    emit(answer, as_json, aligned(pairs))


async def _block(url: str, token: str, height: str) -> dict[str, object]:
    from potchain.client import NodeClient

    async with NodeClient(url, token=token, attempts_max=2) as node:
        return await node.get(f"/v1/blocks/{height}")
