"""Who watches what a driver makes durable."""

from __future__ import annotations

from typing import Protocol

from potchain.blocks import BlockCertificate, ExecutedBlock


class Observer(Protocol):
    """Who wants to know what became durable; called on the event loop."""

    def block_executed(self, block: ExecutedBlock) -> None:
        """A block was executed and is on its way to the disk."""
        ...

    def blocks_applied(self, height: int) -> None:
        """Every block up to here is durable."""
        ...

    def history_reached(self, height: int) -> None:
        """History rows up to here can be read."""
        ...

    def certificates_stored(self, certificates: tuple[BlockCertificate, ...]) -> None:
        """These blocks are final."""
        ...
