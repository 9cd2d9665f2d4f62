"""Stable checkpoints (OSDI'99 section 4.3), from what the host executed and what the validators certified.

Deviation: the paper's replicas exchange checkpoint messages. Here every block gets a certificate from the replicas
above the engines, so the engine only looks for the highest multiple of the interval that is both executed at this node
and certified. A certificate that is ahead of own execution moves nothing: the host catches up first.
"""

from __future__ import annotations

from potchain import BlockCertificate

CERTIFIED_AHEAD_MAX = 1_024
"""Certified checkpoints that may wait for own execution; the lowest are forgotten first, a later one serves as well."""


class Checkpoints:
    """Which checkpoint is stable."""

    def __init__(self, interval: int, stable: int, executed: int, certificate: BlockCertificate | None) -> None:
        """`interval` is K; `stable` and `executed` are heights from before, `certificate` is of `stable`."""
        self._interval = interval
        self._executed = executed
        self._waiting: list[int] = []
        self._certificates: dict[int, BlockCertificate] = {}
        self.stable = stable
        """Height of the stable checkpoint."""
        self.certificate = certificate
        """Its block certificate; None where the epoch begins."""

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

    def certified(self, certificate: BlockCertificate) -> None:
        """A block certificate is durable here; in any order."""
        height = certificate.height
        if height % self._interval or height in self._waiting or height <= self.stable:
            return
        self._certificates[height] = certificate
        self._waiting.append(height)
        self._waiting.sort()
        for forgotten in self._waiting[:-CERTIFIED_AHEAD_MAX]:
            del self._certificates[forgotten]
        del self._waiting[:-CERTIFIED_AHEAD_MAX]
        self._settle()

    def _settle(self) -> None:
        done = [height for height in self._waiting if height <= self._executed]
        if done:
            self.stable = done[-1]
            self.certificate = self._certificates[self.stable]
        self._waiting = [height for height in self._waiting if height > self.stable]
        self._certificates = {height: self._certificates[height] for height in self._waiting}
