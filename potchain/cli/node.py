"""`potchain start` runs one node; `potchain status` asks one."""

from __future__ import annotations

import os
from pathlib import Path

import click

from potchain.cli.options import aligned, emit, json_option, url_options
from potchain.event_loop import run_async
from potchain.typed_data import JsonObject


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
@click.option("--why", is_flag=True, help="Say instead what the node waits for, from whom, and when it acts next.")
@json_option
def status(url: str, token: str, why: bool, as_json: bool) -> None:
    """Where a node is: height, state root, peers, pool, and whether it is stalled.

    \b
    Example:
      potchain status --url http://127.0.0.1:8080
      potchain status --why --url http://127.0.0.1:8080
    """
    if why:
        picture = run_async(_get(url, token, "/v1/consensus"))
        emit(picture, as_json, _why(picture))
        return
    answer = run_async(_get(url, token, "/v1/status"))
    emit(answer, as_json, aligned([(name, _shown(value)) for name, value in answer.items()]))


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shown(inner)}" for name, inner in value.items())
    if isinstance(value, list):
        return "; ".join(map(_shown, value)) or "none"
    if value is None:
        return "-"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


TIMERS = {
    "tick": "looks whether it makes progress, and if not sends its messages again",
    "batch": "proposes what its pool holds",
    "fetch": "asks the next peer for bodies it lacks",
    "engine:agreement": "asks for another primary if the oldest sequence in flight is not decided",
    "engine:work": "asks for another primary if what waits longest is not proposed",
    "engine:new-view": "asks for the view after this one if this one has not begun",
    "engine:ask-view": "asks for view change messages it lacks",
    "engine:fetch": "asks again for proposals it lacks",
}
"""What the node does when a timer fires; those of another engine than pbft are shown by their names."""


def _why(picture: JsonObject) -> list[str]:
    """Sentences from the answer of `/v1/consensus`."""
    stalled = picture["stalled"]
    lines = [f"stalled: {stalled}"] if stalled else ["not stalled", f"waiting for {picture['waiting_for']}"]
    lines += [f"also for {wait['text']}" for wait in picture["waits"] if wait["text"] != picture["waiting_for"]]
    primary = picture["primary"]["name"]
    lines += [
        f"this node: {picture['standing']}",
        f"epoch {picture['epoch']}, view {picture['view']} ({picture['mode']}), primary {primary}; "
        f"it may leave work undone for {picture['view_timeout_ms']:,} ms",
    ]
    return [*lines, *(_due(timer["name"], timer["in_ms"]) for timer in picture["timers"])]


def _due(name: str, in_ms: int) -> str:
    does = TIMERS.get(name, f"hears its engine's timer {name.removeprefix('engine:')!r}")
    return f"in {in_ms:,} ms the node {does}"


async def _get(url: str, token: str, path: str) -> JsonObject:
    from potchain.client import NodeClient

    async with NodeClient(url, token=token, attempts_max=1) as node:
        return await node.get(path)
