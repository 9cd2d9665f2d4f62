"""reference/command-line.md: every command, from what click knows of it."""

import inspect
from typing import Any

import click

from generators.sources import RANGE_MAX, table
from potchain.cli.program import EXIT_CODES, potchain

HEAD = """# Command line

`potchain COMMAND --help` says the same on the terminal. Every command has `--json`, which prints one JSON document
instead of text; progress goes to standard error. Commands that ask a node take `--url` (or `POTCHAIN_URL`) and
`--token` (or `POTCHAIN_TOKEN`); commands that sign take the password of the key from `--password-file`, else from
`POTCHAIN_KEY_PASSWORD`, else from a prompt.
"""


def _kind(info: dict[str, Any]) -> str:
    kind = info["type"]
    if info.get("is_flag"):
        return ""
    if kind["param_type"] == "IntRange":
        if kind["min"] is None:
            return "whole number"
        upper = kind["max"]
        return f"{kind['min']} to {upper}" if upper is not None and upper < RANGE_MAX else f"from {kind['min']}"
    if kind["param_type"] == "Path":
        return "folder" if not kind.get("file_okay", True) else "file"
    return {"String": "text"}.get(kind["param_type"], kind["name"])


def _option(parameter: click.Parameter, context: click.Context) -> tuple[str, str, str, str]:
    info = parameter.to_info_dict()
    if isinstance(parameter, click.Argument):
        name = f"`{parameter.make_metavar(context)}`"
    else:
        name = ", ".join(f"`{option}`" for option in info["opts"])
    default = info.get("default")
    shown = "must be given" if info["required"] else "" if default in (None, False, "") else f"`{default}`"
    meaning = info.get("help") or ""
    if info.get("envvar"):
        meaning += f" Variable: `{info['envvar']}`."
    return name, _kind(info), shown, meaning.replace("|", "\\|")


def _text(command: click.Command) -> list[str]:
    paragraphs = inspect.cleandoc(command.help or "").replace("\b\n", "").split("\n\n")
    lines = []
    for paragraph in paragraphs:
        if paragraph.startswith("Example:"):
            example = inspect.cleandoc("\n" + "\n".join(paragraph.splitlines()[1:]))
            lines += ["```text", example, "```", ""]
        else:
            lines += [" ".join(paragraph.split()), ""]
    return lines


def _describe(command: click.Command, path: tuple[str, ...], parent: click.Context | None) -> list[str]:
    context = click.Context(command, info_name=path[-1], parent=parent)
    lines: list[str] = []
    if parent is not None:
        lines += [f"{'#' * len(path)} {' '.join(path)}", "", *_text(command)]
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            lines += _describe(inner, (*path, name), context)
        return lines
    usage = " ".join(command.collect_usage_pieces(context))
    lines += [f"Usage: `{' '.join(path)} {usage}`", ""]
    rows = [_option(parameter, context) for parameter in command.params]
    return lines + table(("option", "value", "default", "meaning"), rows)


def page() -> str:
    codes = table(("code", "meaning"), ((str(code), meaning) for code, meaning in EXIT_CODES.items()))
    lines = [HEAD, "## Exit codes", "", *codes, *_describe(potchain, ("potchain",), None)]
    return "\n".join(lines)
