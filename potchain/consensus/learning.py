"""Until when a validator that forgot what it signed only learns: a height and a view, durable beside its votes.

A forgotten message for a slot is harmless once a stable checkpoint covers the slot, and a forgotten view change or new
view once the network is in a higher view. Everything that the node can have signed lies at most one log window above
the highest height that its peers can prove.
"""

from __future__ import annotations

import msgspec

from potchain.consensus.interface import ConsensusMessage

TARGET_MAX = 2**63 - 1
"""What a database column holds. Who abused this key may have signed any number; none so high is ever reached."""


class LearnerTarget(msgspec.Struct, frozen=True):
    """What must be reached before this node signs consensus messages again; all zero: nothing is forgotten."""

    height: int = 0
    """The stable checkpoint must have reached it: one log window above the highest forgotten height."""
    epoch: int = 0
    """In this epoch ..."""
    view: int = 0
    """... nothing is signed below this view. In later epochs every view is good."""

    def raised(self, height: int, epoch: int, view: int) -> LearnerTarget:
        """The higher of both, part by part."""
        epoch, view = max((self.epoch, self.view), (epoch, view))
        return LearnerTarget(min(max(self.height, height), TARGET_MAX), min(epoch, TARGET_MAX), min(view, TARGET_MAX))

    def reached(self, stable: int, epoch: int, view: int) -> bool:
        """Whether nothing that was forgotten can matter any more."""
        return stable >= self.height and (epoch, view) >= (self.epoch, self.view)

    def covers(self, message: ConsensusMessage, window: int) -> bool:
        """Whether this target was set with such a forgotten message in mind; `window` in sequences."""
        if message.sequence == 0:
            return (message.epoch, message.view) < (self.epoch, self.view)
        return message.sequence + window <= self.height
