"""The tutorial about bandwidth: its commands print what it says, and its rule of thumb holds for what they print."""

import re
import shlex
from pathlib import Path

import pytest

from potchain import cli
from potchain.consensus.quorum import Quorum
from potchain.experiment.grid import read_sweep

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "tutorial" / "bandwidth.md").read_text(encoding="utf-8")
NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")
SWEEPS = sorted((ROOT / "bench" / "sweeps").glob("*.toml"))


def runs() -> dict[str, tuple[list[str], str]]:
    """By dissemination: arguments and printed output of every `potchain experiment run` that has one on the page."""
    blocks = re.findall(r"```console\n\$ potchain (experiment run .*)\n([^$`]+)```", PAGE)
    found = [(shlex.split(command), output) for command, output in blocks]
    return {(words[words.index("--dissemination") + 1] if "--dissemination" in words else "plain"): (words, output)
            for words, output in found}  # fmt: skip


def numbers(text: str) -> list[float]:
    return [float(each.replace(",", "")) for each in NUMBER.findall(text)]


@pytest.mark.parametrize("dissemination", ["plain", "coded"])
def test_the_page_shows_what_the_program_prints(dissemination: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments, shown = runs()[dissemination]
    assert cli.main(arguments) == 0
    printed = capsys.readouterr().out
    assert NUMBER.sub("0", printed).split() == NUMBER.sub("0", shown).split(), printed
    for here, there in zip(shown.splitlines(), printed.splitlines(), strict=True):
        # The share over the bound is a small difference of large numbers.
        allowed = pytest.approx(numbers(there.partition("(")[0] if "bound" in there else there), rel=0.05, abs=0.02)
        assert numbers(here.partition("(")[0] if "bound" in here else here) == allowed, printed


@pytest.mark.parametrize("dissemination", ["plain", "coded"])
def test_the_rule_of_thumb_holds_for_what_is_shown(dissemination: str) -> None:
    arguments, shown = runs()[dissemination]
    value = {name: arguments[arguments.index(f"--{name}") + 1] for name in ("nodes", "transactions", "bandwidth-mbps")}
    nodes, count = int(value["nodes"]), int(value["transactions"])
    payload_mb = count * int(arguments[arguments.index("--transaction-bytes") + 1]) / 1e6
    needed = nodes - Quorum(nodes).faults_max if dissemination == "coded" else 1
    sent = re.search(r"most by one node +([\d.]+) MB", shown)
    took = re.search(r"to 2f \+ 1 replies +([\d.]+) s", shown)
    assert sent is not None
    assert took is not None
    assert float(sent[1]) == pytest.approx(payload_mb * (nodes - 1) / needed, rel=0.03)
    line_s = payload_mb * 8 * nodes / needed / float(value["bandwidth-mbps"])
    latencies_s = 5 * int(arguments[arguments.index("--latency-ms") + 1]) / 1e3
    hops = 2 if dissemination == "coded" else 1  # shares pass on whole, pieces one by one
    assert payload_mb * 8 / float(value["bandwidth-mbps"]) < float(took[1]) < hops * line_s + latencies_s


def test_the_sweep_of_the_page_is_the_one_that_was_run() -> None:
    text = (ROOT / "bench" / "sweeps" / "consortium.toml").read_text(encoding="utf-8")
    assert f"```toml\n# consortium.toml\n{text}```" in PAGE


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.name)
def test_committed_sweeps_can_be_run(path: Path) -> None:
    assert read_sweep(path).points


def test_the_latencies_are_those_of_the_table() -> None:
    rows = (ROOT / "potchain" / "links" / "cloud_regions.csv").read_text(encoding="utf-8").splitlines()
    table = [row.split(",") for row in rows if row and row[0] != "#"]
    cells = {(row[0], name): cell for row in table[1:] for name, cell in zip(table[0][1:], row[1:], strict=True)}
    shown = re.findall(r"^\| \*\*([\w-]+)\*\* \| (.*) \|$", PAGE, re.MULTILINE)
    names = [name for name, _ in shown]
    assert len(names) == 3
    for name, values in shown:
        assert values.split(" | ") == [cells[name, other] for other in names]
