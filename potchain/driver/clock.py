"""The one clock of a node."""

from __future__ import annotations

import time
from typing import Protocol

from potchain.replica.actions import Now


class Clock(Protocol):
    """Readings of time."""

    def now(self) -> Now:
        """Monotonic nanoseconds and Unix milliseconds, taken together."""
        ...


class SystemClock:
    """The operating system's clocks."""

    def now(self) -> Now:
        """Monotonic nanoseconds and Unix milliseconds, taken together."""
        return Now(time.monotonic_ns(), time.time_ns() // 1_000_000)
