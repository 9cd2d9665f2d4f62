"""Mode "model" from 10 to 3,000 nodes: wall time and memory of one result with its bound, each in a process of its own.

    python bench/model.py [--nodes 10,100,1000,3000] [--repeat 5] [--out bench/results/model.json]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import time
from pathlib import Path
from typing import Any

from potchain.experiment.model import measure_model
from potchain.experiment.point import Point

SETTINGS: tuple[dict[str, Any], ...] = (
    {"bandwidth_mbps": 30.0},
    {"bandwidth_mbps": 30.0, "dissemination": "striped"},
    {"bandwidth_mbps": 30.0, "dissemination": "coded"},
    {"bandwidth_mbps": 25.0, "bandwidth_model": "shared"},
    {"bandwidth_mbps": 25.0, "bandwidth_model": "shared", "dissemination": "coded"},
)


def measured(point: Point, repeat: int) -> dict[str, Any]:
    """Least wall time of several calls with other seeds, and the most memory that the process took."""
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    for seed in range(repeat):
        began = time.perf_counter()
        result = measure_model(Point(**{**point_fields(point), "seed": seed}))
        seconds.append(time.perf_counter() - began)
    return {
        "nodes": point.nodes,
        "bandwidth_model": point.bandwidth_model,
        "dissemination": point.dissemination,
        "wall_s": round(min(seconds), 4),
        "memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "memory_before_mb": round(before_kb / 1024),
        "seconds_to_quorum": result.seconds_to_quorum,
        "bound_seconds": result.bound_seconds,
    }


def point_fields(point: Point) -> dict[str, Any]:
    """As keyword arguments."""
    return {field: getattr(point, field) for field in point.__struct_fields__}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", default="10,31,100,200,300,1000,3000")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    rows = []
    context = multiprocessing.get_context("spawn")  # memory of one run must not count for the next
    for setting in SETTINGS:
        for nodes in (int(each) for each in args.nodes.split(",")):
            point = Point(nodes=nodes, transactions=100, latency_ms=300, mode="model", **setting)
            with context.Pool(1) as pool:
                row = pool.apply(measured, (point, args.repeat))
            rows.append(row)
            print(
                f"{row['bandwidth_model']:9} {row['dissemination']:9} n = {nodes:5}  {row['wall_s']:8.3f} s  "
                f"{row['memory_mb']:5} MB  quorum {row['seconds_to_quorum']:.3f} s, bound {row['bound_seconds']:.3f} s",
                flush=True,
            )
    if args.out:
        args.out.write_text(json.dumps({"rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
