"""Gas on a real anvil: exactly the committed figures, and every promise kept."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

PROMISED = {
    "one reward, existing recipient": 58_000,
    "one reward, new recipient": 75_000,
    "per reward, batch of 100, existing": 8_300,
    "per reward, batch of 100, new": 25_500,
    "per reward, Merkle commit of 1,000": 60,
    "compatible path: propose, 3 confirm, existing recipient": 170_000,
    "compatible path: propose, 3 confirm, new recipient": None,  # 170,000 is out of reach: docs/reference/gas.md
    "withdraw": 32_000,
    "deploy (30 owners)": 2_000_000,
}


@pytest.fixture(scope="module")
def gas() -> ModuleType:
    spec = importlib.util.spec_from_file_location("contracts_gas", ROOT / "contracts" / "gas.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def committed() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "bench" / "results" / "gas.json").read_text(encoding="utf-8"))
    return found


def test_every_promise_is_in_the_table_and_kept(gas: ModuleType, committed: dict[str, Any]) -> None:
    assert {row["what"]: row["allowed"] for row in committed["promised"]} == PROMISED
    assert gas.broken(committed) == []


def test_every_figure_is_measured_again_to_the_last_unit(gas: ModuleType, committed: dict[str, Any]) -> None:
    assert gas.differences(committed, gas.measured()) == [], "if it is meant: python contracts/gas.py"


def test_a_figure_that_moves_by_one_is_found(gas: ModuleType, committed: dict[str, Any]) -> None:
    row, *others = committed["figures"]
    moved = {**committed, "figures": [{**row, "gas": row["gas"] + 1}, *others]}
    (line,) = gas.differences(committed, moved)
    assert str(row["gas"] + 1) in line
    assert gas.broken({**committed, "promised": [{**committed["promised"][0], "gas": 10**9}]})
