"""`potchain links`: the network conditions that nodes emulate; see what is in force, set others on running nodes."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import click

from potchain.cli.options import FILE, URL_DEFAULT, aligned, emit, json_option, table
from potchain.event_loop import run_async
from potchain.typed_data import JsonObject

if TYPE_CHECKING:
    from potchain.links import LinkSpec

AT = "links"
_TOKEN = click.option("--token", default="", envvar="POTCHAIN_TOKEN", help="Bearer token of the node's API.")


@click.group()
def links() -> None:
    """Network conditions that nodes emulate: bandwidth, latency, loss.

    \b
    Example:
      potchain links show --node http://127.0.0.1:8080
      potchain links set --node http://127.0.0.1:8080 --bandwidth-mbps 25 --latency-ms 40
    """


@links.command()
@click.option("--node", "--url", "url", default=URL_DEFAULT, show_default=True, envvar="POTCHAIN_URL",
              help="HTTP address of a node.")
@_TOKEN
@json_option
def show(url: str, token: str, as_json: bool) -> None:
    """What a node emulates now, and since when.

    \b
    Example:
      potchain links show --node http://127.0.0.1:8080
    """
    found = run_async(_get(url, token))
    emit(found, as_json, _lines(found))


@links.command("set")
@click.option("--node", "--url", "urls", multiple=True, default=(URL_DEFAULT,), show_default=True,
              help="HTTP address of a node; give it once for each node.")
@_TOKEN
@click.option("--bandwidth-mbps", type=float, help="Of each link and direction, 10^6 bits per second; 0: no limit.")
@click.option("--shared", is_flag=True, help="The bandwidth is that of a node's uplink and of its downlink instead.")
@click.option("--latency-ms", type=float, help="L, one way.")
@click.option("--distribution", type=click.Choice(["constant", "uniform", "jitter"]), help="Of the latency of a frame.")
@click.option("--jitter-ms", type=float, help="Latency is in [L - jitter, L + jitter].")
@click.option("--loss", type=float, help="Share of frames that never arrive, from 0 to below 1.")
@click.option("--duplicate", type=float, help="Share of frames that arrive twice, from 0 to below 1.")
@click.option("--reorder", is_flag=True, help="Frames may overtake each other.")
@click.option("--seed", type=int, help="Of all draws.")
@click.option("--file", "file", type=FILE, help="TOML file with the keys of [links], for rules, regions and schedules.")
@click.option("--off", is_flag=True, help="Emulate nothing any more.")
@json_option
def set_conditions(
    urls: tuple[str, ...], token: str, file: Path | None, off: bool, as_json: bool, shared: bool, reorder: bool,
    **given: float | str | None,
) -> None:  # fmt: skip
    """Let running nodes emulate these conditions, in place of what they emulate; needs links.control = true there.

    \b
    Example:
      potchain links set --node http://127.0.0.1:8080 --bandwidth-mbps 25 --latency-ms 40 --loss 0.01
      potchain links set --node http://127.0.0.1:8080 --file conditions.toml
      potchain links set --node http://127.0.0.1:8080 --off
    """
    document: JsonObject = {name: value for name, value in given.items() if value is not None}
    if shared:
        document["bandwidth_model"] = "shared"
    if reorder:
        document["reorder"] = True
    if document.get("jitter_ms"):
        document.setdefault("distribution", "jitter")
    if sum((bool(document), file is not None, off)) != 1:
        raise click.UsageError("say the conditions by options, or with --file, or --off; one of the three")
    spec = _spec(document, None) if file is None else _spec(_read(file), file.parent)
    answers = run_async(_put(urls, token, spec))
    lines = [f"{url}: in force" for url in urls]
    emit(answers, as_json, [*lines, *_lines(answers[0])])


def _read(file: Path) -> JsonObject:
    """The table of a file: its keys are at the top, or in [links]."""
    from potchain.errors import LinkError

    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as fault:
        raise LinkError(f"cannot read {file}: {fault}") from None
    inner = document.get(AT, document)
    if not isinstance(inner, dict) or (inner is not document and len(document) > 1):
        raise LinkError(f"{file}: the keys of [links] are wanted, at the top or in one table [links], and nothing else")
    return {key: value for key, value in inner.items() if key != "control"}


def _spec(document: JsonObject, folder: Path | None) -> LinkSpec:
    """Checked here already, but for names of nodes: only a node knows them."""
    from potchain.config.links import with_matrix
    from potchain.links import LinkSpec, decode_spec, link_profile

    spec = with_matrix(decode_spec(document, LinkSpec, AT), folder, AT)
    link_profile(spec, None, AT)
    return spec


async def _get(url: str, token: str) -> JsonObject:
    from potchain.client import NodeClient

    async with NodeClient(url, token=token, attempts_max=1) as node:
        return await node.get("/v1/links")


async def _put(urls: tuple[str, ...], token: str, spec: LinkSpec) -> list[JsonObject]:
    """Nothing is changed anywhere before every node has answered once."""
    from potchain.client import NodeClient

    for url in urls:
        await _get(url, token)
    answers: list[JsonObject] = []
    try:
        for url in urls:
            async with NodeClient(url, token=token, attempts_max=1) as node:
                answers.append(await node.put("/v1/links", spec))
    finally:
        if answers and len(answers) < len(urls):
            done, left = ", ".join(urls[: len(answers)]), ", ".join(urls[len(answers) :])
            click.echo(f"in force at {done}; not at {left}", err=True)
    return answers


def _lines(found: JsonObject) -> list[str]:
    conditions = found["conditions"]
    lines = ["links are not shaped" if found["off"] else f"links are shaped, as {_SOURCES[found['source']]} says"]
    if not found["off"]:
        lines += aligned([(key, value) for key, value in conditions.items() if not _is_quiet(key, value)])
        lines += [line for key in ("rules", "schedule") for line in _entries(key, conditions[key])]
    if found["rules_left_out"]:
        lines.append(f"and {found['rules_left_out']} rules more")
    if conditions["schedule"]:
        lines.append(f"entries of the schedule that have begun: {found['phase']}")
    lines.append(f"since (Unix ms): {found['since_ms']}; links.control: {'true' if found['control'] else 'false'}")
    return lines


def _is_quiet(key: str, value: object) -> bool:
    """Whether a value only says that a condition is off, or is shown elsewhere."""
    return value in (0, None, "", "constant", "per_link") or key in ("rules", "schedule", "regions")


def _entries(key: str, entries: list[JsonObject]) -> list[str]:
    """A table of entries, without the columns that say nothing; a list inside is shown by its length."""
    names = dict.fromkeys(name for entry in entries for name in entry)
    columns = ["from", "to"] if key == "rules" else ["at_s"]
    columns += [
        name for name in names if name not in columns and not all(_is_quiet("", entry.get(name)) for entry in entries)
    ]
    rows = [[_cell(name, entry) for name in columns] for entry in entries]
    return [f"{key}:", *table(columns, rows)] if entries else []


def _cell(name: str, entry: JsonObject) -> object:
    value = entry.get(name, "*" if name in ("from", "to") else "-")
    return len(value) if isinstance(value, list) else value


_SOURCES = {"links": "its [links]", "engine": "its engine's table", "api": "somebody over its API", "none": "nobody"}
