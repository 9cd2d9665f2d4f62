"""What a mutant is: shipping code with one rule taken out, in this process, for as long as a context lasts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from unittest.mock import patch

import msgspec
from sim_scenarios import SCENARIOS, play

from potchain.sim.plan import Outcome
from potchain.sim.trace import TraceSink

Patches = Callable[[], Iterator[None]]


class Mutant(msgspec.Struct, frozen=True):
    """One wrong engine or host."""

    name: str
    wrong: str
    """What is wrong, for people."""
    mutate: Callable[[], AbstractContextManager[None]]
    kills: Mapping[str, str]
    """Scenario to the promise that is broken there; each of them must kill it."""

    def play(self, scenario: str, trace: TraceSink | None = None) -> Outcome:
        """The mutant in a scenario."""
        with self.mutate():
            return play(SCENARIOS[scenario], trace)


MUTANTS: dict[str, Mutant] = {}
"""By name."""


def mutant(name: str, wrong: str, kills: Mapping[str, str]) -> Callable[[Patches], Patches]:
    """Registers one; the function under it applies its patches, and undoes them when it goes on."""

    def register(patches: Patches) -> Patches:
        assert name not in MUTANTS, name
        MUTANTS[name] = Mutant(name, wrong, contextmanager(patches), kills)
        return patches

    return register


def patched(owner: object, name: str, replacement: object) -> AbstractContextManager[object]:
    """One patch."""
    return patch.object(owner, name, replacement)
