"""Finding the contract's events in the chain, in bounded questions, without looking twice at the same blocks.

Theory of operation. Floors (in memory only) say: no event of that nonce or a later one lies below that block. A search
for an event begins at the highest floor that speaks of it. They are learned from events that were found, from blocks
that were searched in vain, and from the contract itself, which says how many events it had after a block: where nothing
is new, nothing is searched. After a restart the only floors are the contract's deployment and what the caller knows.

A floor may be wrong after a reorganisation deeper than the confirmations. Then an event is missing where the contract
says there is one; all floors are forgotten and the next search begins at the deployment.
"""

from __future__ import annotations

from potchain import Layer2Event, SettlementError
from potchain_multisig.agreement import Look, Panel
from potchain_multisig.endpoints import Endpoint
from potchain_multisig.events import consecutive, event_from, event_topics


class EventSearch:
    """Finds events of one contract."""

    def __init__(self, panel: Panel, address: bytes, from_block: int, blocks_max: int, questions_max: int) -> None:
        self._panel = panel
        self._address = address
        self._from_block = from_block
        self._blocks_max = blocks_max
        self._blocks = blocks_max
        """Blocks of one question; halved when an endpoint refuses, doubled again when it does not."""
        self._questions_max = questions_max
        self._floors: dict[int, int] = {}
        """Block by event nonce; at most as many as events in one answer, and two."""
        self._misled = False
        """The last search ended in a contradiction: what callers say is not heard until one succeeds."""

    def nothing_after(self, nonce: int, block: int) -> None:
        """The contract says that it had exactly `nonce` events after that block."""
        self._floors = {nonce: block + 1}

    def begin_at(self, nonce: int, block: int) -> None:
        """The caller knows that no event of that nonce or a later one lies below that block."""
        if not self._misled and not any(known <= nonce for known in self._floors):
            self._floors[nonce] = block

    async def find(self, look: Look, first: int, count: int, last_block: int) -> tuple[Layer2Event, ...]:
        """The events `first` to `first + count - 1`, which the contract says to lie at or below `last_block`.

        Fewer when the search is longer than one call may be: the next one goes on. Raises SettlementError: `rubbish`
        when endpoints agree on events that do not fit the contract's count, and the faults of asking.
        """
        self._prune(first)
        block = max([self._from_block, *(floor for nonce, floor in self._floors.items() if nonce <= first)])
        found: tuple[Layer2Event, ...] = ()
        for _ in range(self._questions_max):
            if len(found) == count or block > last_block:
                break
            end = min(block + self._blocks - 1, last_block)
            logs = await self._logs(look, first + len(found), count - len(found), block, end)
            if logs is None:
                self._blocks = max(1, self._blocks // 2)
                continue
            self._blocks = min(self._blocks_max, 2 * self._blocks)
            found = self._continued(found, logs, first)
            # Events after the ones that were asked for may be in the same block as the last of them, or above.
            block = found[-1].block_number if len(found) == count else end + 1
            self._floors[first + len(found)] = block
        if len(found) < count and block > last_block:
            self._forget()
            raise SettlementError(
                "rubbish",
                f"the contract has event {first + len(found)} by block {last_block}, but no log of it is to be found",
            )
        self._misled = self._misled and not found
        return found

    def _continued(
        self, found: tuple[Layer2Event, ...], logs: tuple[Layer2Event, ...], first: int
    ) -> tuple[Layer2Event, ...]:
        try:
            whole = consecutive((*found, *logs), first)
        except SettlementError:
            self._forget()
            raise
        for event in logs:
            self._floors[event.event_nonce] = event.block_number
        return whole

    def _prune(self, first: int) -> None:
        """Keep the highest floor that speaks of the event, and those of later ones."""
        kept = max([nonce for nonce in self._floors if nonce <= first], default=first)
        self._floors = {nonce: floor for nonce, floor in self._floors.items() if nonce >= kept}

    def _forget(self) -> None:
        self._floors.clear()
        self._misled = True

    async def _logs(
        self, look: Look, first: int, count: int, start: int, end: int
    ) -> tuple[Layer2Event, ...] | None:
        """Events in a range of blocks that enough endpoints agree on; None: the range is too wide for one of them."""
        topics = event_topics(first, count)

        async def ask(endpoint: Endpoint) -> tuple[Layer2Event, ...]:
            logs = await endpoint.logs(self._address, topics, start, end, count)
            return tuple(sorted([event_from(log) for log in logs], key=lambda event: event.event_nonce))

        try:
            return await self._panel.agreed(look, ask, f"events in blocks {start} to {end}")
        except SettlementError as fault:
            if fault.code in ("refused", "unreachable") and end > start:
                return None
            raise
