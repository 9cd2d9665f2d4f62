"""`potchain config`: what a node would really use."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from potchain.cli.options import FOLDER, emit, json_option, table

if TYPE_CHECKING:
    from potchain.config import NodeConfig, Setting


@click.group()
def config() -> None:
    """The configuration of a node.

    \b
    Example:
      potchain config show --home net/node0
    """


@config.command()
@click.option("--home", required=True, type=FOLDER, help="Home folder of the node.")
@json_option
def show(home: Path, as_json: bool) -> None:
    """Every setting with its effective value and where it came from; options of plug-ins are checked too.

    \b
    Example:
      POTCHAIN_API_PORT=9000 potchain config show --home net/node0
    """
    from potchain.config import load_config

    loaded = load_config(home, os.environ)
    settings = [*loaded.settings, *_plugin_defaults(loaded)]
    settings.sort(key=lambda setting: setting.key)
    document = [{"key": entry.key, "value": entry.value, "source": entry.source} for entry in settings]
    emit(document, as_json, table(["setting", "value", "from"], [[e.key, repr(e.value), e.source] for e in settings]))


def _plugin_defaults(loaded: NodeConfig) -> list[Setting]:
    """Options of the chosen plug-ins that nobody has set."""
    from potchain.config import Setting
    from potchain.registry import load_plugins
    from potchain.tables import decode_table

    registry = load_plugins(loaded.plugins.disabled)
    chosen = [
        (f"consensus.{loaded.consensus.engine}", registry.engine(loaded.consensus.engine).options_type),
        (f"transport.{loaded.transport.name}", registry.transport(loaded.transport.name).options_type),
    ]
    backend = loaded.settlement.backend
    chosen.append((f"settlement.{backend}", registry.settlement(backend).options_type))
    chosen += [(f"application.{name}", registry.application(name).options_type) for name in loaded.application.enabled]
    known = {setting.key for setting in loaded.settings}
    found = []
    for place, options_type in chosen:
        options = decode_table(loaded.options_table(*place.split(".", 1)), options_type, place)
        for field in options_type.__struct_fields__:
            key = f"{place}.{field}"
            if key not in known:
                found.append(Setting(key=key, value=getattr(options, field), source="default"))
    return found
