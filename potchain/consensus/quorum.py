"""Every threshold of the system, and nothing else divides by three.

f = (n - 1) // 3 faults are tolerated. A quorum is ceil((n + f + 1) / 2): any two quorums share f + 1 members, so at
least one correct one, and n - f correct members can always form one. It is 2f + 1 when n = 3f + 1 (OSDI'99 section 2).
"""

from __future__ import annotations

import msgspec


class Quorum(msgspec.Struct, frozen=True):
    """Thresholds of a set of `n` validators, n >= 1.

    >>> Quorum(4).quorum, Quorum(5).quorum, Quorum(8).quorum
    (3, 4, 6)
    """

    n: int

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"a validator set has at least one member, not {self.n}")

    @property
    def faults_max(self) -> int:
        """f: how many members may be faulty."""
        return (self.n - 1) // 3

    @property
    def quorum(self) -> int:
        """Any two share a correct member."""
        return (self.n + self.faults_max + 2) // 2

    @property
    def weak_quorum(self) -> int:
        """f + 1: at least one is correct."""
        return self.faults_max + 1
