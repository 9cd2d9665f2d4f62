"""The tutorial about the contract: a reader who types its commands sees what it shows, on a real chain."""

import re
from pathlib import Path

import pytest
from settlement_transcript import commands_of, rewritten, run_page

from potchain.settlement.interface import FAULTS
from potchain.settlement.report import SETTLER_FAULTS

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "tutorial" / "devnet-settlement.md").read_text(encoding="utf-8")
HEX = re.compile(r"0x[0-9a-fA-F]{9,}")
NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")


def words(text: str) -> list[str]:
    """Keys are drawn anew at every run, and the chain's port; figures are compared apart."""
    plain = re.sub(r"127\.0\.0\.1:\d+", "URL", HEX.sub("HASH", text))
    return NUMBER.sub("0", plain).split()


def numbers(text: str) -> list[float]:
    plain = re.sub(r"127\.0\.0\.1:\d+", "URL", HEX.sub("HASH", text))
    return [float(each.replace(",", "")) for each in NUMBER.findall(plain)]


def test_every_code_of_a_fault_is_explained() -> None:
    page = (ROOT / "docs" / "how-to" / "settlement.md").read_text(encoding="utf-8")
    assert [code for code in (*FAULTS, *SETTLER_FAULTS) if f"| `{code}` |" not in page] == []


@pytest.mark.processes
def test_the_page_shows_what_the_commands_print(tmp_path: Path) -> None:
    printed = run_page(PAGE, tmp_path)
    for (command, shown), output in zip(commands_of(PAGE), printed, strict=True):
        assert words(output) == words(shown), f"{command} prints:\n{output}"
        # Keys of the report are fixed; elsewhere zero bytes of an address and its place among the owners matter.
        rel = 0 if command.endswith("contract gas") else 0.1
        assert numbers(output) == pytest.approx(numbers(shown), rel=rel, abs=0), f"{command} prints:\n{output}"
    assert "state        credited" in "".join(printed)
    assert rewritten(PAGE, printed).count("```console") == PAGE.count("```console")
