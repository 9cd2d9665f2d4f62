"""What test applications have in common: nothing at genesis, nothing refused before, no duty, nothing due by time."""

from __future__ import annotations

from collections.abc import Iterable

from potchain import BlockContext, Epoch, EventData, Genesis, StateReader, StateWriter, Transaction


class QuietApplication:
    """All of the interface but `name`, `body_types` and `execute`."""

    event_types: tuple[type[EventData], ...] = ()

    def genesis_records(self, genesis: Genesis) -> Iterable[tuple[bytes, bytes]]:
        """None."""
        return ()

    def check(self, transaction: Transaction, state: StateReader, epoch: Epoch) -> None:
        """Anything may be tried."""

    def is_duty(self, transaction: Transaction, state: StateReader, epoch: Epoch) -> bool:
        """Nothing is anybody's duty."""
        return False

    def end_block(self, context: BlockContext, state: StateWriter) -> tuple[EventData, ...]:
        """Nothing is due by time."""
        return ()
