"""How long this replica waits before it accuses a primary: design section 5, timers; OSDI'99 section 4.4.

One timer watches the sequence in flight that has waited longest, another what waits to be proposed; the host judges the
latter and says since when (`WorkWaiting`). Progress is a sequence decided by votes of the current view. The timeout
doubles with each view change after the first without progress, up to a cap, and is back at T with progress.
Timers are lazy: one that finds that what it waited for has come sets itself again.
"""

from __future__ import annotations

from potchain import CancelTimer, Parameters, SetTimer
from potchain_pbft.effects import StepEffects

AGREEMENT_TIMER = "agreement"
"""Runs while a sequence is in flight."""
WORK_TIMER = "work"
"""Runs while something waits to be proposed."""
NEW_VIEW_TIMER = "new-view"
"""Runs from a quorum of view changes for a view until that view begins."""

NS_PER_MS = 1_000_000


class Patience:
    """The timers that lead to a view change."""

    def __init__(self, parameters: Parameters) -> None:
        self._base_ns = parameters.view_timeout_ms * NS_PER_MS
        self._cap_ns = parameters.view_timeout_cap_ms * NS_PER_MS
        self._since: dict[int, int] = {}
        """Sequences in flight, by when they became so: at most one window."""
        self._settled = 0
        self._progress_ns = 0
        self._agreement_runs = False
        self.changes = 0
        """View changes since the last progress."""

    def __len__(self) -> int:
        return len(self._since)

    def __contains__(self, sequence: int) -> bool:
        return sequence in self._since

    @property
    def timeout_ns(self) -> int:
        """The view timeout at present."""
        return min(self._base_ns << min(max(0, self.changes - 1), 32), self._cap_ns)

    def in_flight(self, sequence: int, out: StepEffects) -> None:
        """Not decided, but its pre-prepare was accepted, a weak quorum votes for it, a new view chose it, or something
        above it is decided."""
        if sequence not in self._since and sequence > self._settled:
            self._since[sequence] = out.now_ns
            self._watch(out)

    def decided(self, sequence: int, now_ns: int, *, progress: bool) -> None:
        """A sequence is not in flight any more; `progress`: by votes of the current view."""
        self._since.pop(sequence, None)
        if progress:
            self._progress_ns = now_ns
            self.changes = 0

    def settled(self, height: int) -> None:
        """A quorum has executed this height: who lacks anything up to it must catch up, the primary is not to blame."""
        self._settled = max(self._settled, height)
        self._since = {sequence: since for sequence, since in self._since.items() if sequence > self._settled}

    def overdue(self, out: StepEffects) -> int | None:
        """The agreement timer fired: the sequence that has waited too long, or None, and then it runs on."""
        self._agreement_runs = False
        if self._since and self._due_ns() <= out.now_ns:
            return next(iter(self._since))
        self._watch(out)
        return None

    def change(self, out: StepEffects) -> None:
        """A view change begins: what was in flight is in flight no more, until the new view says so."""
        self.changes += 1
        self.stop(out)

    def stop(self, out: StepEffects) -> None:
        """Wait for nothing."""
        self._since.clear()
        self._agreement_runs = False
        out.timers += [CancelTimer(AGREEMENT_TIMER), CancelTimer(WORK_TIMER), CancelTimer(NEW_VIEW_TIMER)]

    def begin(self, now_ns: int) -> None:
        """A view begins."""
        self._progress_ns = now_ns

    def neglected(self, since_ns: int, began_ns: int, out: StepEffects) -> bool:
        """Whether the primary left work out for too long; if not, the work timer says when to look again."""
        begin_ns = max(since_ns, began_ns)
        due_ns = begin_ns + self.timeout_ns
        if due_ns <= out.now_ns:
            return True
        # Half-way the host is asked for a report, too: it forwards to the primary what waits before it is accused.
        half_ns = begin_ns + (self.timeout_ns >> 1)
        out.timers.append(SetTimer(WORK_TIMER, (half_ns if half_ns > out.now_ns else due_ns) - out.now_ns))
        return False

    @property
    def progress_ns(self) -> int:
        """When the view last made progress, or began."""
        return self._progress_ns

    def _due_ns(self) -> int:
        return max(next(iter(self._since.values())), self._progress_ns) + self.timeout_ns

    def _watch(self, out: StepEffects) -> None:
        if self._since and not self._agreement_runs:
            self._agreement_runs = True
            out.timers.append(SetTimer(AGREEMENT_TIMER, max(0, self._due_ns() - out.now_ns)))
