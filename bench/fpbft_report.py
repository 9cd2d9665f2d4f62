"""Everything behind docs/reference/fpbft-report.md that runs in mode "virtual": python bench/fpbft_report.py [FOLDER].

It measures into FOLDER (`fpbft` unless given), where it goes on after an interruption, and copies what the page is made
of into `bench/results` and `docs/_static/fpbft`; then it writes the page. `--seeds` says how many for plain
dissemination; the others have a quarter of them, signed transfers a tenth. `--publish` measures nothing and copies what
is in FOLDER. With 20 seeds it takes about half an hour on two cores.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import msgspec

from potchain.experiment.report import report
from potchain.experiment.seed_table import comparisons
from potchain.experiment.storage import load_outcomes, read_provenance, write_results

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "bench" / "results"
STATIC = ROOT / "docs" / "_static" / "fpbft"
TABLES = ("plain", "multicast", "striped", "coded")
SWEEPS = (("growth", "time-nodes"), ("faults", "faults"), ("demo-shared", ""))
"""With the picture that the page shows."""
TRANSFERS = "transfers"
"""The second table: signed transfers, by plain dissemination."""
PICTURE_OF = "plain"
"""The one table with plots; the page shows all cells of the others."""


def potchain(*arguments: str) -> None:
    """A command of the program, in a process of its own."""
    subprocess.run([sys.executable, "-m", "potchain", "experiment", *arguments], check=True)


def measure(folder: Path, seeds: int) -> None:
    """All of it; what is done before is not done again."""
    for sweep, _ in SWEEPS:
        potchain("sweep", str(ROOT / "bench" / "sweeps" / f"{sweep}.toml"), "--out", str(folder / sweep))
    for dissemination in TABLES:
        count = seeds if dissemination == PICTURE_OF else max(1, seeds // 4)
        potchain(
            "table", "--mode", "virtual", "--dissemination", dissemination,
            "--seeds", str(count), "--out", str(folder / f"virtual-{dissemination}"),
        )  # fmt: skip
    potchain(
        "table", "--mode", "virtual", "--payload", TRANSFERS,
        "--seeds", str(max(1, seeds // 10)), "--out", str(folder / f"virtual-{TRANSFERS}"),
    )  # fmt: skip


def publish(folder: Path) -> None:
    """Copy results, pages and pictures; of what was interrupted as many seeds as there are, which the page says."""
    STATIC.mkdir(parents=True, exist_ok=True)
    for table in (*TABLES, TRANSFERS):
        publish_table(folder / f"virtual-{table}", table)
    for name, picture in SWEEPS:
        outcomes, origin = load_outcomes(folder / name), read_provenance(folder / name)
        write_results(RESULTS / f"fpbft-{name}.parquet", outcomes)
        command = f"potchain experiment sweep bench/sweeps/{name}.toml --out {name}"
        page, pictures = report(outcomes, origin.title, command, origin.sweep_text)
        if picture:
            (STATIC / f"{name}.html").write_text(page, encoding="utf-8")
            (STATIC / f"{name}.svg").write_text(pictures[picture], encoding="utf-8")


def publish_table(folder: Path, name: str) -> None:
    """One table of the Go demo's cells."""
    outcomes, origin = load_outcomes(folder), read_provenance(folder)
    document = {"cells": msgspec.to_builtins(comparisons(outcomes)), "points": len(outcomes)}
    (RESULTS / f"table-virtual-{name}.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    page, pictures = report(outcomes, origin.title, origin.command, origin.sweep_text)
    if name == PICTURE_OF:
        (STATIC / f"table-{name}.html").write_text(page, encoding="utf-8")
        for picture, text in pictures.items():
            (STATIC / f"{picture}.svg").write_text(text, encoding="utf-8")


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", nargs="?", type=Path, default=Path("fpbft"))
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--publish", action="store_true")
    arguments = parser.parse_args()
    if not arguments.publish:
        measure(arguments.folder, arguments.seeds)
    publish(arguments.folder)
    subprocess.run([sys.executable, str(ROOT / "docs" / "generate.py")], check=True)


if __name__ == "__main__":
    main()
