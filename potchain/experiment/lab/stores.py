"""Vote log and ledger of a node in memory: an experiment measures links, and the Go demo keeps nothing either.

Everything else of the shipping node is as it is: what would be durable is reported as durable, in the same order.
"""

from __future__ import annotations

from collections.abc import Callable

from potchain.blocks import BlockCertificate, ExecutedBlock, SyncBlock
from potchain.driver.bookkeeper import LedgerItem
from potchain.driver.journal import JournalItem
from potchain.replica.actions import Persist


class MemoryJournal:
    """`potchain.driver.journal.JournalPort`."""

    def __init__(self, persisted: Callable[[int], None]) -> None:
        self._persisted = persisted

    @property
    def depth(self) -> int:
        """Nothing waits."""
        return 0

    def put(self, item: JournalItem) -> None:
        """Nothing is kept."""
        if isinstance(item, Persist):
            self._persisted(item.token)


class MemoryLedger:
    """`potchain.driver.bookkeeper.BookkeeperPort`, and what is read from it for peers that are behind."""

    def __init__(
        self, applied: Callable[[int], None], certified: Callable[[tuple[BlockCertificate, ...]], None]
    ) -> None:
        self._applied = applied
        self._certified = certified
        self.blocks: dict[int, ExecutedBlock] = {}
        self._certificates: dict[int, BlockCertificate] = {}

    @property
    def depth(self) -> int:
        """Nothing waits."""
        return 0

    @property
    def history_height(self) -> int:
        """There is no history to write."""
        return len(self.blocks)

    @property
    def lag(self) -> int:
        """None."""
        return 0

    def put(self, item: LedgerItem) -> None:
        """Keep blocks and certificates."""
        if isinstance(item, ExecutedBlock):
            self.blocks[item.height] = item
            self._applied(item.height)
        elif isinstance(item, BlockCertificate):
            self._certificates[item.height] = item
            self._certified((item,))

    def certificate(self, height: int) -> BlockCertificate | None:
        """The block certificate of a height."""
        return self._certificates.get(height)

    def sync_blocks(self, from_height: int, count_max: int, bytes_max: int) -> list[SyncBlock]:
        """Consecutive blocks from a height on; one at least, if it exists, whatever its size."""
        found: list[SyncBlock] = []
        size = 0
        for height in range(max(1, from_height), from_height + count_max):
            block = self.blocks.get(height)
            size += 0 if block is None else sum(len(body) for body in block.bodies)
            if block is None or (found and size > bytes_max):
                break
            found.append(
                SyncBlock(block.proposal, block.bodies, block.order_certificate, self._certificates.get(height))
            )
        return found
