"""Wrong engines and hosts, each of which the simulator must catch: a mutant that survives is a failed test.

A mutant is shipping code with one rule taken out. What kills it is a promise that a checker or the cluster holds
against every run, never something that the mutation itself would say. Its killing plans are directed scenarios
(`sim_scenarios`); shipping code gets through the same ones.

    python tests/sim_mutants.py                    every mutant on its killing plans, as a table
    python tests/sim_mutants.py --search NAME      seeds of the random profiles and Twins scenarios that kill it, too
    python tests/sim_mutants.py --trace NAME       the first run that kills it, event by event
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import islice

import sim_engine_mutants
import sim_host_mutants
import sim_settlement_mutants
from sim_mutant_registry import MUTANTS, Mutant

from potchain.consensus.quorum import Quorum
from potchain.sim.campaign import run_plan
from potchain.sim.plan import Plan, Violation
from potchain.sim.profiles import PROFILES, plan_of
from potchain.sim.twins import scenario as twins_scenario
from potchain_pbft import PbftFactory

__all__ = [
    "MUTANTS", "Mutant", "main", "search", "sim_engine_mutants", "sim_host_mutants", "sim_settlement_mutants", "table",
]  # fmt: skip

TWINS = 200


def random_plans(seeds: range, nodes: int) -> Iterator[tuple[str, Plan]]:
    """The first seed of every profile, then the second of each, and so on; and how to run each of them by hand."""
    for seed in seeds:
        for profile in PROFILES:
            yield f"run --nodes {nodes} --profile {profile} --seeds {seed}", plan_of(profile, seed, nodes)
        if Quorum(nodes).faults_max:
            number = seed * 7 % TWINS
            words = f"twins --nodes {nodes} --scenarios {TWINS} --only {number}"
            yield words, twins_scenario(number, nodes=nodes, scenarios=TWINS)


@cache
def _survived(plan: Plan) -> bool:
    """Whether shipping code gets through."""
    return run_plan(plan, PbftFactory()).violation is None


def search(mutant: Mutant, seeds: range, nodes: int = 4) -> Iterator[tuple[str, Violation]]:
    """Random plans that kill a mutant, and that shipping code survives."""
    for words, plan in random_plans(seeds, nodes):
        with mutant.mutate():
            violation = run_plan(plan, PbftFactory()).violation
        if violation is not None and _survived(plan):
            yield words, violation


def table(names: Sequence[str]) -> int:
    """Print every mutant on its killing plans; how many survive one."""
    survivors = 0
    for name in names:
        mutant = MUTANTS[name]
        for scenario in mutant.kills:
            began_s = time.process_time()
            violation = mutant.play(scenario).violation
            spent_s = time.process_time() - began_s
            survivors += violation is None
            said = "SURVIVES" if violation is None else f"{violation.checker}: {violation.detail}"
            print(f"{spent_s:5.2f} s  {name:38} {scenario:62} {said}")
    return survivors


def main() -> int:
    """Command line; code 1 when a mutant survives."""
    parser = argparse.ArgumentParser(description="Mutants and what kills them.")
    parser.add_argument("--search", metavar="NAME", choices=MUTANTS)
    parser.add_argument("--seeds", type=int, default=20, help="of each profile, for --search")
    parser.add_argument("--nodes", type=int, default=4, help="validators, for --search")
    parser.add_argument("--first", type=int, default=3, help="stop the search after so many")
    parser.add_argument("--trace", metavar="NAME", choices=MUTANTS)
    parser.add_argument("names", nargs="*", metavar="NAME", help="mutants; all of them when none is given")
    words = parser.parse_args()
    if words.search:
        found_by_search = search(MUTANTS[words.search], range(words.seeds), words.nodes)
        for command, found in islice(found_by_search, words.first):
            print(f"potchain sim {command}: {found.checker}: {found.detail}", flush=True)
        return 0
    if words.trace:
        mutant = MUTANTS[words.trace]
        print(mutant.play(next(iter(mutant.kills)), print).violation)
        return 0
    return 1 if table(words.names or list(MUTANTS)) else 0


if __name__ == "__main__":
    sys.exit(main())
