"""From a plan that breaks a promise to a smaller one that breaks the same promise.

Delta debugging (Zeller and Hildebrandt, TSE 2002) over the lists of a plan, then over its numbers, until nothing more
can be left out or the budget of runs is spent. A candidate counts when a run of it breaks the promise of the same name;
where and when may differ. Runs are deterministic, so a candidate is tried once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import msgspec

from potchain.sim.plan import Layer2, Link, Outcome, Plan, Workload

T = TypeVar("T")

RUNS_MAX = 250
"""Runs that a minimisation may cost."""


class Minimised(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it."""

    plan: Plan
    outcome: Outcome
    """Of the smaller plan."""
    runs: int
    """How many candidates were run."""


class Minimiser:
    """Cuts one plan down."""

    def __init__(
        self,
        run: Callable[[Plan], Outcome],
        *,
        runs_max: int = RUNS_MAX,
        on_run: Callable[[int], None] = lambda _: None,
    ) -> None:
        """`run` must be deterministic; `on_run(count)` is told before each run."""
        self._run = run
        self._left = runs_max
        self._on_run = on_run
        self._runs = 0
        self._promise = ""
        self._best: Plan
        self._outcome: Outcome
        self._tried: set[bytes] = set()

    def minimise(self, plan: Plan, outcome: Outcome) -> Minimised:
        """A plan from which nothing more can be left out, within the budget. `outcome` is that of `plan`."""
        assert outcome.violation is not None, "only a plan that breaks a promise can be minimised"
        self._promise = outcome.violation.checker
        self._best, self._outcome = plan, outcome
        changed = True
        while changed and self._left > 0:
            before = self._best
            for field in ("faults", "byzantine", "twins", "leaders"):
                self._shrink_list(field)
            self._shrink_behaviours()
            for candidate in self._simpler():
                self._try(candidate)
            changed = self._best != before
        return Minimised(plan=self._best, outcome=self._outcome, runs=self._runs)

    def _try(self, candidate: Plan) -> bool:
        """Whether the candidate breaks the same promise; then it is the best so far."""
        key = msgspec.msgpack.encode(candidate)
        if candidate == self._best or key in self._tried or self._left <= 0:
            return False
        self._tried.add(key)
        self._left -= 1
        self._runs += 1
        self._on_run(self._runs)
        outcome = self._run(candidate)
        if outcome.violation is None or outcome.violation.checker != self._promise:
            return False
        self._best, self._outcome = candidate, outcome
        return True

    def _shrink_list(self, field: str) -> None:
        """ddmin: leave out ever smaller pieces, as long as the promise stays broken."""
        pieces = 1
        while True:
            items = getattr(self._best, field)
            if not items or self._left <= 0:
                return
            size = -(-len(items) // pieces)
            for kept in _without_pieces(items, size):
                if self._try(msgspec.structs.replace(self._best, **{field: kept})):
                    pieces = max(pieces - 1, 1)
                    break
            else:
                if size == 1:
                    return
                pieces = min(2 * pieces, len(items))

    def _shrink_behaviours(self) -> None:
        for index in range(len(self._best.byzantine)):
            position = 0
            while position < len(self._best.byzantine[index].behaviours) > 1:
                liar = self._best.byzantine[index]
                fewer = liar.behaviours[:position] + liar.behaviours[position + 1 :]
                others = list(self._best.byzantine)
                others[index] = msgspec.structs.replace(liar, behaviours=fewer)
                if not self._try(msgspec.structs.replace(self._best, byzantine=tuple(others))):
                    position += 1

    def _simpler(self) -> Iterator[Plan]:
        """Candidates with simpler numbers; each is made from the best plan at its time."""

        def changed(**values: object) -> Plan:
            return msgspec.structs.replace(self._best, **values)

        def with_work(**values: int | bool) -> Plan:
            return changed(workload=msgspec.structs.replace(self._best.workload, **values))

        yield with_work(rubbish=0)
        yield with_work(everywhere=False)
        for count in (0, 1, 2, 5, 10, 20):
            if count < self._best.workload.transactions:
                yield with_work(transactions=count)
        yield with_work(accounts=min(2, self._best.workload.accounts))
        yield changed(workload=Workload(transactions=self._best.workload.transactions))
        yield changed(observers=0)
        yield changed(link=Link(latency_min_ns=1_000_000, latency_max_ns=1_000_000))
        yield changed(link=msgspec.structs.replace(self._best.link, loss_ppm=0, duplicate_ppm=0, reorder=False))
        yield from self._simpler_layer2()
        yield changed(write_ns=Plan(seed=0).write_ns)
        yield changed(parameters=())
        violation = self._outcome.violation
        if violation is not None and self._promise != "liveness":
            shorter_ns = violation.at_ns + 1_000_000
            if shorter_ns < self._best.duration_ns:
                yield changed(duration_ns=shorter_ns)

    def _simpler_layer2(self) -> Iterator[Plan]:
        """With less to settle and to decide, as long as one more thing can be left out."""
        while (options := self._best.layer2) is not None:
            for fewer in _dropped(options):
                yield msgspec.structs.replace(self._best, layer2=fewer)
                if self._best.layer2 != options:
                    break
            else:
                return


def _dropped(options: Layer2) -> Iterator[Layer2]:
    """With one lie, decision or payment less, or many."""
    for field in ("liars", "decisions"):
        items = getattr(options, field)
        for kept in _without_pieces(items, 1):
            yield msgspec.structs.replace(options, **{field: kept})
    for field, counts in (("withdrawals", (0, 1, 2, 4)), ("deposits", (0, 1, 2)), ("holders", (1, 2))):
        for count in counts:
            if count < getattr(options, field):
                yield msgspec.structs.replace(options, **{field: count})


def _without_pieces(items: tuple[T, ...], size: int) -> Iterator[tuple[T, ...]]:
    for start in range(0, len(items), size):
        yield items[:start] + items[start + size :]
