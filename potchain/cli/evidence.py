"""`potchain evidence`: members that signed two contradicting messages, as a node keeps it."""

from __future__ import annotations

from pathlib import Path

import click

from potchain.cli.options import HASH, emit, json_option, table, url_options
from potchain.event_loop import run_async
from potchain.typed_data import JsonObject


@click.group()
def evidence() -> None:
    """Evidence against members that signed two contradicting messages.

    \b
    Example:
      potchain evidence list --url http://127.0.0.1:8080
    """


@evidence.command("list")
@url_options
@json_option
def list_all(url: str, token: str, as_json: bool) -> None:
    """All pieces that a node keeps, in the order in which they came to it.

    \b
    Example:
      potchain evidence list --url http://127.0.0.1:8080
    """
    found = run_async(_list(url, token))
    rows = [
        (each["accused"]["name"], each["epoch"], each["kind"], each["view"], each["sequence"], each["id"])
        for each in found
    ]
    lines = table(("accused", "epoch", "kind", "view", "sequence", "id"), rows) if rows else ["no evidence"]
    emit(found, as_json, lines)


@evidence.command()
@click.argument("id", type=HASH)
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="File to write.")
@url_options
@json_option
def get(id: str, out: Path, url: str, token: str, as_json: bool) -> None:
    """Fetch one piece by its ID; `potchain verify evidence` checks the file offline.

    \b
    Example:
      potchain evidence get 0x6d0a... --out double-vote.evidence   (66 characters)
    """
    data = run_async(_get(url, token, id))
    out.write_bytes(data)
    line = f"written to {out}; check it: potchain verify evidence {out} --genesis FILE"
    emit({"id": id, "file": str(out), "bytes": len(data)}, as_json, [line])


async def _list(url: str, token: str) -> list[JsonObject]:
    from potchain.client import NodeClient

    found: list[JsonObject] = []
    async with NodeClient(url, token=token, attempts_max=2) as node:
        cursor = "0"
        while cursor:
            page = await node.get("/v1/evidence", cursor=cursor, limit=100)
            found += page["evidence"]
            cursor = page["next"]
    return found


async def _get(url: str, token: str, id: str) -> bytes:
    from potchain.client import NodeClient

    async with NodeClient(url, token=token, attempts_max=2) as node:
        return await node.get_bytes(f"/v1/evidence/{id}")
