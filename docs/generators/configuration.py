"""reference/configuration.md: sections of potchain.toml, options of the built-in plug-ins, genesis parameters."""

import msgspec

from generators.sources import fields, first_paragraph, table
from potchain.config.sections import SECTIONS, PeerSection
from potchain.genesis import Parameters
from potchain.registry import load_plugins

HEAD = """# Configuration

A node reads two files in its home folder. `potchain.toml` holds what one operator chooses for one node.
`genesis.json` holds what every node must agree on, the parameters at the end of this page among it; its hash is the
name of the network.

A value of `potchain.toml` comes from the environment, else from the file, else from the default below.
`potchain config show --home FOLDER` prints the effective values and where each came from. The environment variable of
`key` in `[section]` is `POTCHAIN_SECTION_KEY`, that of an option of a plug-in `POTCHAIN_SECTION_PLUGIN_OPTION`:

```console
$ POTCHAIN_API_PORT=9000 potchain config show --home net/node0
```

A section or key that does not exist is refused with the nearest that does, and so is a value of another type or range.
Spans carry their unit at the end of the name: `_ms`, `_s`.

A small file is enough:

```toml
[transport]
listen_port = 9080

[api]
port = 8080

[[peers]]
name = "node1"
host = "10.0.0.2"
port = 9080
```
"""

PARAMETERS = """
## Parameters of genesis

The object `parameters` of `genesis.json`. Every node of an epoch has the same, since the genesis hash covers them.
What is left out has its default.
"""


def _listed(struct: type[msgspec.Struct]) -> list[str]:
    rows = [(f"`{each.name}`", each.kind, each.default, each.meaning) for each in fields(struct)]
    return table(("key", "type", "default", "meaning"), rows) if rows else ["It has no options.", ""]


def page() -> str:
    registry = load_plugins()
    lines = [HEAD]
    for name, section in SECTIONS.items():
        lines += [f"## [{name}]", ""]
        if name == "pool":
            lines += [first_paragraph(section.__doc__), ""]
        lines += _listed(section)
        offered = {
            "consensus": registry.engines,
            "transport": registry.transports,
            "application": registry.applications,
            "settlement": registry.settlements,
        }
        for plugin, factory in sorted(offered.get(name, {}).items()):
            lines += [f"### [{name}.{plugin}]", "", first_paragraph(factory.options_type.__doc__), ""]
            lines += _listed(factory.options_type)
    lines += [
        "## [[peers]]",
        "",
        "One table for each other validator: where it is reached. Its keys come from genesis.",
        "",
    ]
    lines += _listed(PeerSection)
    lines += [PARAMETERS, *_listed(Parameters)]
    return "\n".join(lines)
