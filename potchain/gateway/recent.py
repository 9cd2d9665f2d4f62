"""Blocks that are durable but that history rows have not reached, and the calls that wait for a block.

A block becomes visible when it is durable and is forgotten only when its rows can be read, so a look-up that comes in
between finds it in one place or in both, never in none. Bounded by the projection's largest lag.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence

import msgspec

from potchain.blocks import OK, SKIPPED, BlockCertificate, ExecutedBlock, Receipt
from potchain.ledger.history import history_addresses
from potchain.ledger.stored import BlockContents
from potchain.transactions import TransactionTypes, Transfer

DROPPED_CHECK_S = 0.25
"""How often a waiting call looks whether its transaction was dropped."""

Find = Callable[[bytes], Awaitable[tuple[int, int] | None]]
"""(height, index) of a transaction's executed inclusion, wherever it is kept."""

_ADDRESS_BYTES = 20
_INDEX_BITS = 20


class _Recent(msgspec.Struct):
    height: int
    ids: tuple[bytes, ...]
    addresses: bytes
    """Of every inclusion its addresses, one after the other, filled up to the same number of them with zeros."""
    slots: int
    """Addresses for each inclusion."""

    def mentions(self, address: bytes) -> list[int]:
        """Indexes of the inclusions that name the address."""
        found: list[int] = []
        at = self.addresses.find(address)
        while at >= 0:
            if at % _ADDRESS_BYTES == 0:
                index = at // (_ADDRESS_BYTES * self.slots)
                if not found or found[-1] != index:
                    found.append(index)
            at = self.addresses.find(address, at + 1)
        return found


class _HeightWait(msgspec.Struct):
    height: int
    certified: bool
    future: asyncio.Future[bool]


class RecentBlocks:
    """Index of recent blocks; an observer of the driver."""

    def __init__(
        self, types: TransactionTypes, height: int, certified: int, certified_ahead: Iterable[int] = ()
    ) -> None:
        """`height`: highest durable block. `certified`: every block up to it is final; `certified_ahead`: those above
        it that are, too."""
        self._types = types
        self.height = height
        self.certified = certified
        self._executed: deque[ExecutedBlock] = deque()
        self._recent: deque[_Recent] = deque()
        self._places: dict[bytes, int] = {}  # one integer for (height, index): there may be hundreds of thousands
        self._certified_ahead = set(certified_ahead)
        self._height_waits: list[_HeightWait] = []
        self._transaction_waits: dict[bytes, list[asyncio.Future[int]]] = {}

    # --- observer ---------------------------------------------------------------------------------------------------

    def block_executed(self, block: ExecutedBlock) -> None:
        """A block is on its way to the disk."""
        self._executed.append(block)

    def blocks_applied(self, height: int) -> None:
        """Blocks up to here are durable: from now on they are visible."""
        while self._executed and self._executed[0].height <= height:
            self._add(self._executed.popleft())
        self._wake()

    def certificates_stored(self, certificates: tuple[BlockCertificate, ...]) -> None:
        """These blocks are final."""
        self._certified_ahead.update(certificate.height for certificate in certificates)
        while self.certified + 1 in self._certified_ahead:
            self.certified += 1
            self._certified_ahead.discard(self.certified)
        self._wake()

    def restore(self, contents: BlockContents) -> None:
        """A durable block that history had not reached at start."""
        self._index(contents.header.height, contents.transaction_ids, contents.bodies, contents.receipts.receipts)

    def history_reached(self, height: int) -> None:
        """Rows up to here can be read."""
        while self._recent and self._recent[0].height <= height:
            gone = self._recent.popleft()
            for transaction_id in gone.ids:
                if self._places.get(transaction_id, 0) >> _INDEX_BITS <= gone.height:
                    self._places.pop(transaction_id, None)

    def is_certified(self, height: int) -> bool:
        """Whether that block's certificate is durable."""
        return height <= self.certified or height in self._certified_ahead

    # --- look-ups ---------------------------------------------------------------------------------------------------

    def place_of(self, transaction_id: bytes) -> tuple[int, int] | None:
        """(height, index) of the executed inclusion."""
        place = self._places.get(transaction_id)
        return None if place is None else (place >> _INDEX_BITS, place & (1 << _INDEX_BITS) - 1)

    def history_of(self, address: bytes) -> tuple[tuple[int, int], ...]:
        """(height, index) of the address's inclusions, newest first."""
        return tuple(
            (block.height, index) for block in reversed(self._recent) for index in reversed(block.mentions(address))
        )

    @property
    def count(self) -> int:
        """Blocks held."""
        return len(self._recent)

    # --- waiting ----------------------------------------------------------------------------------------------------

    async def wait_height(self, height: int, *, certified: bool, timeout_s: float) -> bool:
        """Until that height is durable (and final); False when the time ran out."""
        if (self.certified if certified else self.height) >= height:
            return True
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        wait = _HeightWait(height, certified, future)
        self._height_waits.append(wait)
        try:
            return await asyncio.wait_for(future, timeout_s)
        except TimeoutError:
            return False
        finally:
            if wait in self._height_waits:
                self._height_waits.remove(wait)

    async def wait_place(
        self, transaction_id: bytes, *, find: Find, is_dropped: Callable[[bytes], bool], timeout_s: float
    ) -> int | None:
        """Height of the block that executes it, once durable; None when the time ran out, or it is dropped.

        `find` looks in the rows of history, too, which takes time in another thread. The wait begins before that: a
        block that becomes visible in between would be in neither, and nothing may come after it.
        """
        known = self.place_of(transaction_id)
        if known is not None:
            return known[0]
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        future: asyncio.Future[int] = loop.create_future()
        waits = self._transaction_waits.setdefault(transaction_id, [])
        waits.append(future)
        search = asyncio.ensure_future(find(transaction_id))
        try:
            await asyncio.wait((search, future), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if not future.done() and search.done():
                place = search.result()
                if place is not None:
                    return place[0]
            while not future.done():
                left = deadline - loop.time()
                if left <= 0 or is_dropped(transaction_id):
                    return None
                await asyncio.wait((future,), timeout=min(left, DROPPED_CHECK_S))
            return future.result()
        finally:
            search.cancel()
            waits.remove(future)
            if not waits:
                self._transaction_waits.pop(transaction_id, None)

    def _add(self, block: ExecutedBlock) -> None:
        ids = block.proposal.transaction_ids
        self._index(block.height, ids, block.bodies, block.receipts)
        self.height = block.height
        for transaction_id in ids:
            if transaction_id in self._transaction_waits and transaction_id in self._places:
                for future in self._transaction_waits[transaction_id]:
                    if not future.done():
                        future.set_result(block.height)

    def _index(self, height: int, ids: Sequence[bytes], bodies: Sequence[bytes], receipts: Sequence[Receipt]) -> None:
        named: list[tuple[bytes, ...]] = []
        for index, (raw, receipt) in enumerate(zip(bodies, receipts, strict=True)):
            body = self._types.body_of(raw)
            # Two cheap reads for each of thousands of transfers a second; the general rule is `history_addresses`.
            if type(body) is Transfer and receipt.status == OK:
                named.append((body.from_, body.to))
            else:
                named.append(history_addresses(body, receipt.status))
            if receipt.status != SKIPPED:
                self._places[ids[index]] = height << _INDEX_BITS | index
        slots = max(map(len, named), default=0) or 1
        addresses = b"".join([b"".join(each).ljust(_ADDRESS_BYTES * slots, b"\x00") for each in named])
        self._recent.append(_Recent(height, tuple(ids), addresses, slots))

    def _wake(self) -> None:
        still = []
        for wait in self._height_waits:
            if (self.certified if wait.certified else self.height) < wait.height:
                still.append(wait)
            elif not wait.future.done():
                wait.future.set_result(True)
        self._height_waits = still
