"""The tables of docs/reference/fpbft-report.md in mode "live": python bench/fpbft_live.py [FOLDER].

It measures into FOLDER (`fpbft-live` unless given), where it goes on after an interruption, network by network and seed
by seed; then it writes `bench/results/table-live*.json`. `--publish` measures nothing and writes what is there. With 20
seeds, and 5 of those cells that take long, it takes half an hour. Nothing else should run meanwhile: all nodes share
one process, and at 50 nodes the processor is the limit.
"""

import argparse
import json
from collections.abc import Iterable
from pathlib import Path

import msgspec

from potchain.experiment.live import measure_live
from potchain.experiment.point import Point
from potchain.experiment.result import SynchronizeResult
from potchain.experiment.seed_table import TableOptions, comparisons, table_points
from potchain.experiment.sweep import Outcome

RESULTS = Path(__file__).parent / "results"
SLOW_MBPS = 1.0
"""Below that bandwidth a cell takes many seconds."""


def points(dissemination: str, seeds: int) -> list[Point]:
    """Of the Go demo's table, sorted so that one network serves many of them."""
    options = msgspec.convert(
        {"mode": "live", "dissemination": dissemination, "seeds": tuple(range(1, seeds + 1))}, TableOptions
    )
    return sorted(table_points(options), key=lambda point: (-point.nodes, point.seed))


def wanted(seeds: int, slow_seeds: int) -> list[Point]:
    """Plain: all cells. Striped and coded: what they are for. Multicast: small payloads of many nodes on fast links."""
    fast = [point for point in points("plain", seeds) if point.bandwidth_mbps > SLOW_MBPS]
    slow = [point for point in points("plain", slow_seeds) if point.bandwidth_mbps < SLOW_MBPS]
    spread = [
        point
        for dissemination in ("coded", "striped")
        for point in points(dissemination, slow_seeds)
        if point.bandwidth_mbps < SLOW_MBPS and point.transactions >= 500
    ]
    multicast = [
        point
        for point in points("multicast", slow_seeds)
        if point.bandwidth_mbps > SLOW_MBPS and point.nodes == 50 and point.transactions <= 500
    ]
    return [*fast, *slow, *spread, *multicast]


def measured(path: Path) -> list[SynchronizeResult]:
    """What is there."""
    if not path.exists():
        return []
    decoder = msgspec.json.Decoder(SynchronizeResult)
    return [decoder.decode(line) for line in path.read_bytes().splitlines()]


def measure(path: Path, todo: Iterable[Point]) -> None:
    """Every point that is not there, each written as it comes."""
    done = {result.point for result in measured(path)}
    rest = [point for point in todo if point not in done]
    with path.open("ab") as out:
        for number, point in enumerate(rest, 1):
            result = measure_live(point)
            out.write(msgspec.json.encode(result) + b"\n")
            out.flush()
            seconds = result.seconds_to_quorum or 0.0
            print(
                f"{number} of {len(rest)}: {point.dissemination} {point.transactions} on {point.nodes} at "
                f"{point.bandwidth_mbps:g} Mbps, seed {point.seed}: {seconds:.3f} s",
                flush=True,
            )


def publish(path: Path) -> None:
    """The cells as the page reads them."""
    results = measured(path)
    for dissemination in sorted({result.point.dissemination for result in results}):
        of_it = [result for result in results if result.point.dissemination == dissemination]
        outcomes = [Outcome(point=result.point, result=result) for result in of_it]
        document = {"cells": msgspec.to_builtins(comparisons(outcomes))}
        name = "table-live" if dissemination == "plain" else f"table-live-{dissemination}"
        (RESULTS / f"{name}.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", nargs="?", type=Path, default=Path("fpbft-live"))
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--slow-seeds", type=int, default=5)
    parser.add_argument("--publish", action="store_true")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    path = arguments.folder / "results.jsonl"
    if not arguments.publish:
        measure(path, wanted(arguments.seeds, arguments.slow_seeds))
    publish(path)


if __name__ == "__main__":
    main()
