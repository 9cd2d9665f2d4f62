"""What the simulator has found: each plan broke a promise once, and must never again. No list of exceptions."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from potchain.sim.campaign import run_plan
from potchain.sim.plan import Plan
from potchain.sim.report import violation_text
from potchain_pbft import PbftFactory

PLANS = sorted((Path(__file__).parent / "found").glob("*.json"))
PAGE = Path(__file__).parent.parent.parent / "docs" / "how-to" / "simulate.md"


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.stem)
def test_found_once_and_never_again(path: Path) -> None:
    outcome = run_plan(msgspec.json.decode(path.read_bytes(), type=Plan), PbftFactory())
    assert outcome.violation is None, violation_text(outcome.violation)


def test_the_page_says_what_each_of_them_was() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert len(PLANS) > 5
    for path in PLANS:
        assert f"| `{path.stem}` |" in page
