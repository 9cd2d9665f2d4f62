"""Stable checkpoints (OSDI'99 section 4.3), from what the host executed and what the validators certified.

Deviation: the paper's replicas exchange checkpoint messages. Here every block gets a certificate from the replicas
above the engines, so the engine only looks for the highest multiple of the interval that is both executed at this node
and certified. A certificate that is ahead of own execution moves nothing: the host catches up first.
"""

from __future__ import annotations

CERTIFIED_AHEAD_MAX = 1_024
"""Certified checkpoints that may wait for own execution; the lowest are forgotten first, a later one serves as well."""


class Checkpoints:
    """Which checkpoint is stable."""

    def __init__(self, interval: int, stable: int, executed: int) -> None:
        """`interval` is K; `stable` and `executed` are heights from before."""
        self._interval = interval
        self._executed = executed
        self._waiting: list[int] = []
        self.stable = stable
        """Height of the stable checkpoint."""

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def waiting(self) -> tuple[int, ...]:
        """Certified checkpoints that are not executed here yet, in order."""
        return tuple(self._waiting)

    def executed(self, height: int) -> None:
        """A height was executed here; heights come in order."""
        self._executed = max(self._executed, height)
        if self._waiting and self._waiting[0] <= self._executed:
            self._settle()

    def certified(self, height: int) -> None:
        """A block certificate is durable here; in any order."""
        if height % self._interval or height in self._waiting:
            return
        self._waiting.append(height)
        self._waiting.sort()
        del self._waiting[:-CERTIFIED_AHEAD_MAX]
        self._settle()

    def _settle(self) -> None:
        done = [height for height in self._waiting if height <= self._executed]
        self.stable = max([self.stable, *done])
        self._waiting = [height for height in self._waiting if height > self.stable]
