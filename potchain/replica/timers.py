"""Timers by name, each with a generation: the late firing of a replaced one is recognised and ignored (rule (e))."""

from __future__ import annotations

from potchain.replica.actions import StartTimer
from potchain.replica.outbox import Outbox


class Timers:
    """At most one timer of each name runs."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._generations: dict[str, int] = {}
        self._due_ns: dict[str, int] = {}

    def start(self, name: str, now_ns: int, after_ns: int) -> None:
        """(Re)start."""
        self._generations[name] = self._generations.get(name, 0) + 1
        self._due_ns[name] = now_ns + after_ns
        self._outbox.now(StartTimer(name, self._generations[name], after_ns))

    def start_at(self, name: str, now_ns: int, due_ns: int | None) -> None:
        """Run until `due_ns`, or stop (None); one that is due then already runs on."""
        if due_ns is None:
            if name in self._due_ns:
                self.cancel(name)
        elif self._due_ns.get(name) != due_ns:
            self.start(name, now_ns, max(0, due_ns - now_ns))
            self._due_ns[name] = due_ns

    def cancel(self, name: str) -> None:
        """Stop; nothing happens when none of that name runs."""
        if self._due_ns.pop(name, None) is not None:
            self._generations[name] += 1

    def names(self, prefix: str) -> tuple[str, ...]:
        """Running timers whose name begins so."""
        return tuple(name for name in self._due_ns if name.startswith(prefix))

    def fired(self, name: str, generation: int) -> bool:
        """Whether this firing counts; it is then over."""
        if self._generations.get(name) != generation or name not in self._due_ns:
            return False
        del self._due_ns[name]
        return True

    def due(self) -> tuple[tuple[str, int], ...]:
        """Name and monotonic time of all that run, the next one first."""
        return tuple(sorted(self._due_ns.items(), key=lambda timer: (timer[1], timer[0])))

    def next(self) -> tuple[str, int] | None:
        """Name and monotonic time of the one that fires next."""
        name = min(self._due_ns, key=lambda each: self._due_ns[each], default=None)
        return None if name is None else (name, self._due_ns[name])
