"""reference/bounds.md: everything that can grow or wait, in one table for each place where it is set."""

import importlib
import pkgutil
import re
from collections.abc import Iterator
from types import ModuleType

import msgspec

import potchain
import potchain_pbft
import potchain_tcp
from generators.sources import assignment_texts, fields, shown, table
from potchain.config.sections import SECTIONS
from potchain.genesis import Parameters
from potchain.registry import load_plugins

HEAD = """# Defaults and bounds

Everything that can grow or wait has a bound with a name. There are three places where a bound is set, and three
tables: what all nodes must do alike stands in genesis, what a node may choose stands in its `potchain.toml`, the
rest is fixed in the code. Units stand at the end of a name; bytes are bytes, not kilobytes.
"""

FIXED = re.compile(r"(_MAX|_MIN|_LIMIT|_NS|_MS|_S|_BYTES|_KIB|_PAGES|_LENGTH|_PER_TURN|_PAGE|_ATTEMPTS|^BATCH|^CHUNK)$")
UNITS = {"NS_PER_MS", "NS_PER_S", "UINT64_MAX", "UINT256_MAX", "HALF_ORDER_BYTES"}
SETTING = re.compile(r"(_max|_min|_limit|_ms|_s|_bytes|_percent|_per_tick|_workers|_threads|_burst)$")


def _modules() -> Iterator[ModuleType]:
    for package in (potchain, potchain_pbft, potchain_tcp):
        for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            if not found.name.endswith("__main__"):
                yield importlib.import_module(found.name)


def _fixed() -> Iterator[tuple[str, str, str, str]]:
    for module in sorted(_modules(), key=lambda each: each.__name__):
        texts = assignment_texts(module)
        for name in texts:
            value = getattr(module, name, None)
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if is_number and FIXED.search(name) and name not in UNITS and not name.startswith("_"):
                yield f"`{name}`", shown(value), texts[name], f"`{module.__name__}`"


def _settings() -> Iterator[tuple[str, str, str]]:
    registry = load_plugins()
    structs: list[tuple[str, type[msgspec.Struct]]] = list(SECTIONS.items())
    structs += [(f"consensus.{name}", factory.options_type) for name, factory in sorted(registry.engines.items())]
    structs += [(f"transport.{name}", factory.options_type) for name, factory in sorted(registry.transports.items())]
    structs += [(f"settlement.{name}", factory.options_type) for name, factory in sorted(registry.settlements.items())]
    for place, struct in structs:
        for each in fields(struct):
            if SETTING.search(each.name):
                yield f"`{place}.{each.name}`", each.default, each.meaning


def page() -> str:
    parameters = [(f"`{each.name}`", each.default, each.meaning) for each in fields(Parameters)]
    lines = [HEAD, "## In genesis, the same on every node", ""]
    lines += table(("parameter", "default", "meaning"), parameters)
    lines += ["## In potchain.toml, each node's own choice", "", *table(("setting", "default", "meaning"), _settings())]
    lines += ["## Fixed in the code", "", *table(("name", "value", "meaning", "module"), _fixed())]
    return "\n".join(lines)
