"""reference/contract.md: calls, events and errors of the settlement contracts, from the NatSpec in their artifacts."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from generators.sources import table

ARTIFACTS = Path(__file__).parents[2] / "plugins" / "potchain_multisig" / "artifacts"
CONTRACTS = ("PotSettlement", "PotBook")

HEAD = """# The settlement contracts

Sources: `contracts/src`. Everything below is their NatSpec, as the compiler put it into the committed artifacts.
Amounts are in base units of the contract's asset: wei of the native coin, or the smallest unit of its ERC-20
token. What a call costs is in [gas](gas.md); what a bad quorum can and cannot do is in [the bridge and its
dangers](../explanation/bridge.md).
"""


def page() -> str:
    """The whole page."""
    return HEAD + "".join(_contract(json.loads((ARTIFACTS / f"{name}.json").read_text())) for name in CONTRACTS)


def _contract(artifact: dict[str, Any]) -> str:
    userdoc, devdoc = artifact["userdoc"], artifact["devdoc"]
    parts = [f"\n## {artifact['contract']}\n\n{userdoc.get('notice', '')}\n"]
    if devdoc.get("details"):
        parts.append(f"\n{devdoc['details']}\n")
    parts.append(f"\nCompiled with {artifact['compiler']}. Source hash `{artifact['sourceHash']}`.\n")
    items = sorted(artifact["abi"], key=lambda item: item.get("name", ""))
    functions = [each for each in items if each["type"] == "function"]
    reading = [each for each in functions if each["stateMutability"] in ("view", "pure")]
    changing = [each for each in functions if each not in reading]
    constructor = [each for each in items if each["type"] == "constructor"]
    parts += [_callable(each, userdoc, devdoc) for each in constructor]
    parts.append(f"\n### Calls that change something ({artifact['contract']})\n")
    parts += [_callable(each, userdoc, devdoc) for each in changing]
    parts.append(f"\n### Views ({artifact['contract']})\n\n")
    parts.append(_lines(("View", "Returns"), _views(reading, userdoc, devdoc)))
    parts.append(f"\n### Events ({artifact['contract']})\n\n")
    parts.append(_lines(("Event", "Meaning"), _declared("event", items, userdoc, devdoc)))
    parts.append(f"\n### Errors ({artifact['contract']})\n\n")
    parts.append(_lines(("Error", "Meaning"), _declared("error", items, userdoc, devdoc)))
    return "".join(parts)


def _lines(header: tuple[str, str], rows: list[tuple[str, str]]) -> str:
    return "\n".join(table(header, rows)) + "\n"


def _signature(item: dict[str, Any]) -> str:
    return f"{item.get('name', 'constructor')}({','.join(each['type'] for each in item.get('inputs', ()))})"


def _shown(item: dict[str, Any]) -> str:
    inputs = ", ".join(
        f"{each['type']}{' indexed' if each.get('indexed') else ''} {each['name']}".strip() for each in item["inputs"]
    )
    return f"{item.get('name', 'constructor')}({inputs})"


def _callable(item: dict[str, Any], userdoc: dict[str, Any], devdoc: dict[str, Any]) -> str:
    signature = _signature(item) if item["type"] == "function" else "constructor"
    user = userdoc.get("methods", {}).get(signature, {})
    developer = devdoc.get("methods", {}).get(signature, {})
    payable = " payable" if item["stateMutability"] == "payable" else ""
    notice = user.get("notice") or "Deploys it."
    text = f"\n`{_shown(item)}`{payable}\n: " + " ".join(filter(None, (notice, developer.get("details"))))
    parameters = developer.get("params", {})
    if parameters:
        named = [each["name"] for each in item["inputs"] if each["name"] in parameters]
        text += "\n\n" + "\n".join(f"  - `{name}`: {parameters[name]}" for name in named)
    returned = developer.get("returns", {})
    if returned:
        text += "\n\n  Returns " + "; ".join(returned.values())
    return text + "\n"


def _views(items: Iterable[dict[str, Any]], userdoc: dict[str, Any], devdoc: dict[str, Any]) -> list[tuple[str, str]]:
    rows = []
    for item in items:
        signature = _signature(item)
        known = userdoc.get("methods", {}).get(signature, {}).get("notice")
        variable = devdoc.get("stateVariables", {}).get(item["name"], {})
        meaning = known or variable.get("details", "")
        returned = devdoc.get("methods", {}).get(signature, {}).get("returns", {})
        rows.append((f"`{_shown(item)}`", " ".join([meaning, *returned.values()]).strip()))
    return rows


def _declared(
    kind: str, items: Iterable[dict[str, Any]], userdoc: dict[str, Any], devdoc: dict[str, Any]
) -> list[tuple[str, str]]:
    rows = []
    for item in items:
        if item["type"] != kind:
            continue
        user: Any = userdoc.get(f"{kind}s", {}).get(_signature(item), {})
        developer: Any = devdoc.get(f"{kind}s", {}).get(_signature(item), {})
        user = user[0] if isinstance(user, list) else user
        developer = developer[0] if isinstance(developer, list) else developer
        members = "; ".join(f"`{name}`: {meaning}" for name, meaning in developer.get("params", {}).items())
        rows.append((f"`{_shown(item)}`", " ".join(filter(None, (user.get("notice"), members)))))
    return rows
