"""Tells the checkers of a run what happens, and keeps the first violation.

A checker's complaint never travels through the code under test: it is noted, and the run ends after the callback that
is under way. Methods that a checker does not override cost nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from potchain.sim.observation import Checker, PromiseBroken
from potchain.sim.plan import Violation

_EVENTS = tuple(name for name, value in vars(Checker).items() if callable(value) and not name.startswith("_"))


class Watchers:
    """All checkers of one run."""

    def __init__(self, checkers: Sequence[Checker], now_ns: Callable[[], int]) -> None:
        self._now_ns = now_ns
        self.violation: Violation | None = None
        """The first."""
        self._listeners: dict[str, tuple[tuple[str, Callable[..., None]], ...]] = {
            event: tuple(
                (checker.name, getattr(checker, event))
                for checker in checkers
                if getattr(type(checker), event) is not getattr(Checker, event)
            )
            for event in _EVENTS
        }

    def wants(self, event: str) -> bool:
        """Whether anybody looks at this kind of event."""
        return bool(self._listeners[event])

    def tell(self, event: str, *args: Any) -> None:  # noqa: ANN401 - each event has its own arguments
        """Something happened: the method of `Checker` of that name."""
        for name, listener in self._listeners[event]:
            if self.violation is not None:
                return
            try:
                listener(*args)
            except PromiseBroken as broken:
                self.broken(name, broken.node, broken.detail)

    def broken(self, promise: str, node: int | None, detail: str) -> None:
        """A promise was broken; only the first counts."""
        if self.violation is None:
            self.violation = Violation(checker=promise, node=node, at_ns=self._now_ns(), detail=detail)
