"""reference/public-api.md: every name that a plug-in may import from `potchain`."""

import ast
import importlib
import inspect
from collections.abc import Iterator

import msgspec

import potchain
from generators.sources import ROOT, assignment_texts, field_texts, first_paragraph, prose, shown, table

HEAD = """# Public API

Plug-ins import these names from `potchain` and nothing from below it; a test compares the list. Importing
`potchain` loads no server and no database. The rules for an engine stand at the head of [Write a consensus
engine](../how-to/write-an-engine.md), those of hooks in [Hooks](hooks.md).
"""

ROOMS = {
    "potchain.consensus.interface": "Consensus: events, effects and the engine",
    "potchain.consensus.quorum": "Consensus: thresholds",
    "potchain.transport": "Transport",
    "potchain.links": "Links: emulated network conditions",
    "potchain.application.interface": "Applications",
    "potchain.application.epochs": "Applications: another epoch",
    "potchain.application.settlement.payouts": "Applications: owing something on Layer 2",
    "potchain.application.settlement.bodies": "Applications: the event of a payout",
    "potchain.settlement": "Settlement: values of Layer 2 and the back end",
    "potchain.settlement.interface": "Settlement: bounds",
    "potchain.settlement.digests": "Settlement: digests",
    "potchain.blocks": "Proposals, blocks and certificates",
    "potchain.transactions": "Transactions",
    "potchain.genesis": "Genesis and epochs",
    "potchain.codec": "Canonical bytes",
    "potchain.crypto": "Hashes and signatures",
    "potchain.primitives": "Primitive types",
    "potchain.hookspecs": "Hooks",
    "potchain.errors": "Errors",
}


def _places() -> dict[str, list[str]]:
    tree = ast.parse((ROOT / "potchain" / "__init__.py").read_text(encoding="utf-8"))
    places: dict[str, list[str]] = {room: [] for room in ROOMS}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module:
            places[node.module].extend(alias.name for alias in node.names)
    return places


def _methods(value: type) -> Iterator[tuple[str, str]]:
    for name, member in vars(value).items():
        if name.startswith("_"):
            continue
        if inspect.isfunction(member):
            yield f"`{name}{_signature(member)}`", prose(inspect.cleandoc(member.__doc__ or ""))
        elif isinstance(member, property) or type(member).__name__ == "cached_property":
            function = member.fget if isinstance(member, property) else member.func
            yield f"`{name}`", prose(inspect.cleandoc(function.__doc__ or ""))


def _signature(function: object) -> str:
    return str(inspect.signature(function)).replace("'", "")  # type: ignore[arg-type]


def _class(name: str, value: type) -> list[str]:
    lines = [f"### {name}", "", *_paragraphs(value.__doc__)]
    texts = field_texts(value)
    if issubclass(value, msgspec.Struct):
        names = list(value.__struct_fields__)
    else:
        names = [each for each in inspect.get_annotations(value) if not each.startswith("_")]
        if issubclass(value, int):
            names = [member.name for member in value]  # type: ignore[attr-defined]
    if names:
        rows = [(f"`{each}`", texts.get(each, "")) for each in names]
        lines += table(("field", "meaning"), rows) if any(text for _, text in rows) else [_inline(names), ""]
    methods = list(_methods(value))
    return lines + (table(("method", "meaning"), methods) if methods else [])


def _inline(names: list[str]) -> str:
    return "Fields: " + ", ".join(f"`{name}`" for name in names) + "."


def _paragraphs(text: str | None) -> list[str]:
    kept = [part for part in inspect.cleandoc(text or "").split("\n\n") if ">>>" not in part]
    return [line for part in kept for line in (" ".join(part.split()), "")]


def _entry(name: str, module: str) -> list[str]:
    value = getattr(potchain, name)
    if isinstance(value, type):
        return _class(name, value)
    if inspect.isfunction(value):
        return [f"### {name}", "", f"`{name}{_signature(value)}`", "", *_paragraphs(value.__doc__)]
    text = assignment_texts(importlib.import_module(module)).get(name)
    if text is None:
        text = first_paragraph(
            "Marks a function of a plug-in as the implementation of a hook: `@hookimpl`."
            if name == "hookimpl"
            else "Any of: " + str(value).replace(" | ", ", ")
        )
        text = text.replace("potchain.consensus.interface.", "")
    number = [f"{shown(value)}.", ""] if isinstance(value, int) else []
    return [f"### {name}", "", *number, text, ""]


def page() -> str:
    lines = [HEAD]
    for module, names in _places().items():
        lines += [f"## {ROOMS[module]}", ""]
        for name in names:
            lines += _entry(name, module)
    return "\n".join(lines)
