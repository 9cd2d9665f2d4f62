"""`potchain plugin`: what is installed."""

from __future__ import annotations

import click

from potchain.cli.options import emit, json_option, table


@click.group()
def plugin() -> None:
    """Plug-ins: consensus engines, transports, applications.

    \b
    Example:
      potchain plugin list
    """


@plugin.command(name="list")
@json_option
def list_plugins(as_json: bool) -> None:
    """Every plug-in with its distribution, version and what it offers.

    \b
    Example:
      potchain plugin list --json
    """
    from potchain.registry import load_plugins

    plugins = load_plugins().plugins
    document = [
        {
            "name": found.name,
            "module": found.module,
            "distribution": found.distribution,
            "version": found.version,
            "offers": list(found.offers),
        }
        for found in plugins
    ]
    rows = [[found.name, found.distribution, found.version, ", ".join(found.offers) or "nothing"] for found in plugins]
    emit(document, as_json, table(["plug-in", "distribution", "version", "offers"], rows))
