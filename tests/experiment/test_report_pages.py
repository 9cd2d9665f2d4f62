"""Reports: which pictures they get, that they need nothing but themselves, and that the same results give the same
bytes."""

import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest
from experiment_measures import made_up, sometimes_failing

from potchain.experiment.cells import cells_of
from potchain.experiment.grid import parse_sweep
from potchain.experiment.plots.selection import PICTURES_MAX, pictures
from potchain.experiment.plots.style import COLOURS, DARK, GRID, INK, MUTED, NAMES
from potchain.experiment.report import report, write_report
from potchain.experiment.sweep import Measure, Outcome, failed

COMMAND = "potchain experiment sweep sweep.toml --out out"


def outcomes_of(text: str, measure: Measure = made_up) -> list[Outcome]:
    found = []
    for point in parse_sweep(text, "s.toml").points:
        if measure is sometimes_failing and point.seed == 2:
            found.append(failed(point, ValueError("<b>too & big</b>")))
        else:
            found.append(Outcome(point=point, result=made_up(point)))
    return found


def names_of(text: str) -> list[str]:
    return [re.sub(r"-\d+$", "", each.name) for each in pictures(cells_of(outcomes_of(text)))]


@pytest.mark.parametrize(
    ("grid", "names"),
    [
        ("", ["phases"]),
        ("[grid]\nnodes=[4,10,31,50,100]", ["time-nodes"]),
        ("[grid]\nnodes=[4,10,31]\nbandwidth_mbps=[0.1,25,0]", ["time-nodes", "heat-map"]),
        ("[grid]\ntransactions=[1,10,100,1000,2000]", ["throughput-latency", "time-transactions"]),
        ("[grid]\ndissemination=['plain','coded']\nnodes=[10,31,50]", ["time-nodes", "by-dissemination"]),
        ("[grid]\nloss=[0,0.01,0.02,0.05,0.1]", ["time-loss"]),
        (
            "[grid]\nnodes=[4,10,31]\n[[series]]\ncrashed='f'\n[[series]]\nslow_primary_ms=50\n[[series]]\nloss=0.05",
            ["time-nodes", "faults"],
        ),
        ("[grid]\nmode=['virtual','model']\nlatency_ms=[10,50,100]", ["time-latency-ms", "by-mode"]),
        (
            "[grid]\nnodes=[4,10]\nbandwidth_mbps=[1,2]\ntransactions=[1,2,5]",
            ["throughput-latency", "time-nodes", "time-transactions", "heat-map", "heat-map", "heat-map"],
        ),
    ],
)
def test_pictures_follow_from_what_varies(grid: str, names: list[str]) -> None:
    assert names_of(grid) == names


def test_the_fault_study_is_one_picture_with_every_fault() -> None:
    text = "[grid]\nnodes=[4,10,31]\n[[series]]\ncrashed='f'\n[[series]]\nslow_primary_ms=50\n[[series]]\nloss=0.05"
    (study,) = [each for each in pictures(cells_of(outcomes_of(text))) if each.name == "faults"]
    for words in ("no fault", "f crashed", "slow primary (50 ms)", "5% loss", "n = 4", "n = 10", "n = 31"):
        assert words in study.svg


def test_pictures_have_a_bound() -> None:
    text = (
        "[grid]\nnodes=[4,7]\nbandwidth_mbps=[1,2]\nlatency_ms=[1,2,3,4]\ntransaction_bytes=[1,2,3,4]\n"
        "payload=['opaque','transfers']\nengine=['pbft','fpbft']"
    )
    assert len(pictures(cells_of(outcomes_of(text)))) == PICTURES_MAX


def test_the_page_needs_nothing_but_itself() -> None:
    grid = "title='<n> & time'\n[grid]\nnodes=[4,10,31]\nbandwidth_mbps=[0.1,25]"
    page, files = report(outcomes_of(grid), "<n> & time", COMMAND, grid)
    assert not re.search(r'(src|href)="(?!#)', re.sub(r'xmlns(:\w+)?="[^"]*"', "", page))
    assert "url(http" not in page
    assert "<script" not in page
    assert "&lt;n&gt; &amp; time" in page
    assert COMMAND in page
    assert "prefers-color-scheme: dark" in page
    identifiers = re.findall(r'\bid="([^"]+)"', page)
    assert len(identifiers) == len(set(identifiers))
    for reference in re.findall(r'(?:href="#|url\(#)([^")]+)', page):
        assert reference in identifiers
    for svg in files.values():
        ElementTree.fromstring(svg)
        assert "prefers-color-scheme: dark" in svg
        for colour in (*COLOURS, INK, MUTED, GRID):
            assert f": {colour};" not in re.sub(r"<style>.*?</style>", "", svg, flags=re.DOTALL)


def test_what_failed_is_on_the_page() -> None:
    outcomes = outcomes_of("seeds='1-2'\n[grid]\nnodes=[4,7]", sometimes_failing)
    page, _ = report(outcomes, "", COMMAND, "")
    assert "ValueError: &lt;b&gt;too &amp; big&lt;/b&gt;" in page
    assert "2 failed" in page
    assert "nodes = 7, seed = 2" in page


def test_a_page_of_nothing_but_failures() -> None:
    outcomes = [msgspec.structs.replace(each, result=None, error="x") for each in outcomes_of("[grid]\nnodes=[4,7]")]
    page, files = report(outcomes, "", COMMAND, "")
    assert not files
    assert "2 failed" in page
    empty, _ = report([], "", COMMAND, "")
    assert "0 points" in empty


def test_a_run_that_never_ends_makes_no_median_better() -> None:
    outcomes = outcomes_of("seeds='1-3'")
    assert outcomes[0].result is not None
    never = msgspec.structs.replace(outcomes[0].result, seconds_to_quorum=None)
    (cell,) = cells_of([msgspec.structs.replace(outcomes[0], result=never), *outcomes[1:]])
    times = [each.result.seconds_to_quorum for each in outcomes[1:] if each.result is not None]
    assert cell.median_s == max(time for time in times if time is not None)
    assert cell.high_s is None
    (lost,) = cells_of([msgspec.structs.replace(outcomes[0], result=never)])
    assert lost.median_s is None


def test_the_same_results_give_the_same_bytes(tmp_path: Path) -> None:
    script = f"""
import sys
from pathlib import Path
from test_report_pages import outcomes_of, write_report
folder = Path(sys.argv[1])
folder.mkdir()
grid = "seeds='1-3'\\n[grid]\\nnodes=[4,10,31]\\nbandwidth_mbps=[0.1,25]\\ndissemination=['plain','coded']"
write_report(folder, outcomes_of(grid), "t", {COMMAND!r}, grid)
"""
    folders = []
    for seed in ("1", "2"):
        folders.append(tmp_path / seed)
        here = Path(__file__).parent
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": f"{here}{os.pathsep}{here.parent}"}
        subprocess.run([sys.executable, "-c", script, str(folders[-1])], env=environment, check=True)
    one, two = ({path.name: path.read_bytes() for path in folder.rglob("*.*")} for folder in folders)
    assert len(one) > 3
    assert one == two
    assert write_report.__module__ == "potchain.experiment.report"


def luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_colours_are_readable_on_light_and_dark_pages() -> None:
    for colour in (*COLOURS, INK, MUTED):
        assert contrast(colour, "#ffffff") >= 4.5, colour
        assert contrast(DARK[colour], "#14181d") >= 4.5, colour
    assert set(NAMES) == set(DARK)
