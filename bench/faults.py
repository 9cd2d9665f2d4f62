"""What faults cost a network of four real processes: how long until the next final block, and the rate afterwards.

    python bench/faults.py kill --minutes 3        # kill -9 of the primary every 20 s under load, restarted after 8 s
    python bench/faults.py freeze                  # SIGSTOP of the primary for 10 s
    python bench/faults.py halves --seconds 60     # a 50/50 partition, healed
    python bench/faults.py away --seconds 600      # f + 1 nodes down, then back
    python bench/faults.py all --out bench/results/faults.json

The rate with f nodes down for good is `bench/throughput.py --dead 1`. Every scenario ends by checking that what a node
accepted is final in exactly one block, alike on every node.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

# The live network, its load and its links are the ones that the tests use.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from fault_load import SteadyLoad, assert_nothing_lost_or_doubled, primary
from live_network import LiveNetwork, live_network
from severable_links import SeverableLinks

from potchain.genesis import Parameters

VIEW_TIMEOUT_S = Parameters().view_timeout_ms / 1000
SETTLE_S = 2.0

Script = Callable[[LiveNetwork, SteadyLoad], Awaitable[dict[str, Any]]]


def under_load(live: LiveNetwork, rate_per_s: int, script: Script) -> dict[str, Any]:
    """Run a script of faults under load, then check that nothing was lost or doubled."""
    found: dict[str, Any] = {}
    load = SteadyLoad(live, rate_per_s)

    async def faults() -> None:
        await asyncio.sleep(SETTLE_S)
        found.update(await script(live, load))

    async def run() -> None:
        await load.run(asyncio.create_task(faults()))

    asyncio.run(run())
    assert_nothing_lost_or_doubled(live, load)
    return {**found, "accepted": len(load.accepted), "blocks": len(load.blocks), "lost": 0, "doubled": 0}


def kill(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """kill -9 of the primary again and again."""

    async def script(live: LiveNetwork, load: SteadyLoad) -> dict[str, Any]:
        moments = []
        end = time.monotonic() + args.minutes * 60
        while time.monotonic() < end:
            began = time.monotonic()
            index = await primary(live)
            moments.append(time.monotonic())
            live.kill(index)
            await asyncio.sleep(args.down)
            await asyncio.to_thread(live.start, index)
            await asyncio.sleep(max(0.0, args.every - (time.monotonic() - began)))
        gaps = sorted(round(load.pause_after(moment, args.down), 2) for moment in moments)
        return {
            "kills": len(gaps),
            "failover_s": gaps,
            "failover_worst_s": gaps[-1],
            "worst_over_view_timeout": round(gaps[-1] / VIEW_TIMEOUT_S, 2),
        }

    with live_network(folder) as live:
        live.start()
        return under_load(live, args.rate, script)


def freeze(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """SIGSTOP of the primary for 10 s."""

    async def script(live: LiveNetwork, load: SteadyLoad) -> dict[str, Any]:
        process = live.processes[await primary(live)]
        assert process is not None
        stopped = time.monotonic()
        process.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(10)
        process.process.send_signal(signal.SIGCONT)
        await asyncio.sleep(SETTLE_S)
        return {"failover_s": round(load.pause_after(stopped, 9.0), 2)}

    with live_network(folder) as live:
        live.start()
        return under_load(live, args.rate, script)


def halves(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """A 50/50 partition: nothing is final while it lasts."""

    async def script(live: LiveNetwork, load: SteadyLoad) -> dict[str, Any]:
        cut = time.monotonic()
        links.partition((0, 1), (2, 3))
        await asyncio.sleep(args.seconds)
        healed = time.monotonic()
        links.heal()
        while load.gap_after(healed) == float("inf"):
            await asyncio.sleep(0.05)
        during = [seen for _, seen, _ in load.blocks if cut + SETTLE_S < seen < healed]
        return {"cut_s": args.seconds, "blocks_during": len(during), "first_block_s": round(load.gap_after(healed), 2)}

    with live_network(folder) as live, SeverableLinks(live) as links:
        live.start()
        return under_load(live, args.rate, script)


def away(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """f + 1 nodes down for long, then back."""

    async def script(live: LiveNetwork, load: SteadyLoad) -> dict[str, Any]:
        live.kill(2, 3)
        await asyncio.sleep(args.seconds)
        returned = time.monotonic()
        await asyncio.to_thread(live.start, 2, 3)
        while load.gap_after(returned) == float("inf"):
            await asyncio.sleep(0.05)
        return {"down_s": args.seconds, "first_block_s": round(load.gap_after(returned), 2)}

    with live_network(folder) as live:
        live.start()
        return under_load(live, min(args.rate, 5), script)


SCENARIOS = {"kill": kill, "freeze": freeze, "halves": halves, "away": away}


def main() -> None:
    """Run one scenario, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenario", choices=[*SCENARIOS, "all"])
    parser.add_argument("--seconds", type=float, default=None, help="how long a partition or absence lasts")
    parser.add_argument("--minutes", type=float, default=3.0, help="how long the primary is killed again and again")
    parser.add_argument("--every", type=float, default=20.0, help="seconds between two kills")
    parser.add_argument("--down", type=float, default=8.0, help="seconds until a killed node starts again")
    parser.add_argument("--rate", type=int, default=50, help="transactions submitted per second")
    parser.add_argument("--out", type=Path, default=None)
    args = parser.parse_args()
    defaults = {"halves": 60.0, "away": 600.0}
    given = args.seconds
    results = {}
    for name in SCENARIOS if args.scenario == "all" else [args.scenario]:
        args.seconds = given or defaults.get(name, 10.0)
        with tempfile.TemporaryDirectory(prefix="potchain-faults-") as folder:
            results[name] = SCENARIOS[name](Path(folder) / "net", args)
        print(name, json.dumps(results[name]), flush=True)
    if args.out:
        args.out.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
