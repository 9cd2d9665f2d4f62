"""A steady load on a live network while nodes die under it: what was accepted, when it became final, the gaps."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import Any

from live_network import LiveNetwork

from potchain.client import NodeClient
from potchain.errors import ClientError

RESUBMIT_S = 2.0
"""A client that has seen nothing of its transaction for so long gives it to another node, too."""


class SteadyLoad:
    """Submits at a rate to whatever node answers, follows final blocks, and remembers both."""

    def __init__(self, live: LiveNetwork, rate_per_s: int) -> None:
        self.live = live
        self.rate_per_s = rate_per_s
        self.accepted: dict[str, float] = {}
        """Ids that some node answered for with 202, by when."""
        self.final: dict[str, float] = {}
        self.blocks: list[tuple[int, float, int]] = []
        """(height, when it was seen final, transactions)."""
        self._documents: dict[str, tuple[dict[str, Any], float, int]] = {}
        self._stopped = False
        self._turn = 0

    async def run(self, script: asyncio.Task[None]) -> None:
        """Until the script of faults is over and all that was accepted is final."""
        tasks = [asyncio.create_task(self._submit()), asyncio.create_task(self._follow())]
        tasks.append(asyncio.create_task(self._resubmit()))
        try:
            await script
            self._stopped = True
            async with asyncio.timeout(60):
                while len(self.final) < len(self.accepted):
                    await asyncio.sleep(0.05)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def gap_after(self, moment: float) -> float:
        """Seconds from a moment to the next final block, if it was seen."""
        return min((seen - moment for _, seen, _ in self.blocks if seen > moment), default=float("inf"))

    def pause_after(self, moment: float, within_s: float) -> float:
        """The longest time without a final block that ends, or goes on, within so many seconds of a moment."""
        seen = [moment, *(at for _, at, _ in self.blocks if moment < at)]
        ends = [after - before for before, after in itertools.pairwise(seen) if before < moment + within_s]
        return max(ends, default=float("inf"))

    def rate(self, begin: float, end: float) -> float:
        """Final transactions per second between two moments."""
        return sum(1 for seen in self.final.values() if begin <= seen < end) / (end - begin)

    def _node(self) -> int:
        running = [index for index, process in enumerate(self.live.processes) if process is not None]
        self._turn += 1
        return running[self._turn % len(running)]

    async def _submit(self) -> None:
        due = time.monotonic()
        sender = 0
        while not self._stopped:
            document = self.live.transfer(sender % len(self.live.keys))
            sender += 1
            await self._offer(document)
            due += 1 / self.rate_per_s
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def _offer(self, document: dict[str, Any]) -> None:
        """To one node after another until one takes it: the next nonces of its sender need it."""
        while True:
            node = self._node()
            try:
                async with NodeClient(self.live.urls[node], attempts_max=1, timeout_s=3) as client:
                    (outcome,) = await client.submit([document])
            except ClientError:
                await asyncio.sleep(0.05)
                continue
            if outcome.status in ("accepted", "known") or outcome.code == "stale_nonce":
                transaction_id = str(outcome.id)
                self.accepted.setdefault(transaction_id, time.monotonic())
                self._documents[transaction_id] = (document, time.monotonic(), node)
                return
            await asyncio.sleep(0.05)  # such as a nonce gap, while its predecessor travels

    async def _resubmit(self) -> None:
        while True:
            await asyncio.sleep(RESUBMIT_S / 4)
            now = time.monotonic()
            waiting = [each for each, (_, offered, _) in self._documents.items() if now - offered > RESUBMIT_S]
            for transaction_id in waiting:
                if transaction_id in self.final:
                    del self._documents[transaction_id]
                else:
                    await self._offer(self._documents[transaction_id][0])

    async def _follow(self) -> None:
        height = 0
        while True:
            try:
                async with NodeClient(self.live.urls[self._node()], attempts_max=1, timeout_s=3) as client:
                    for block in await client.blocks_after(height, wait_s=1, ids=True):
                        height = block.height
                        now = time.monotonic()
                        self.blocks.append((height, now, block.transaction_count))
                        for transaction_id in block.transaction_ids:
                            self.final.setdefault(transaction_id, now)
            except ClientError:
                await asyncio.sleep(0.05)


async def primary(live: LiveNetwork) -> int:
    """Index of the primary in the view of the highest running node that says so."""
    views = []
    for index, process in enumerate(live.processes):
        if process is None:
            continue
        async with NodeClient(live.urls[index], timeout_s=3) as client:
            answer = await client.get("/v1/consensus")
        views.append((int(answer["view"]), str(answer["primary"]["name"])))
    name = max(views)[1]
    return [node.name for node in live.network.nodes].index(name)


def assert_nothing_lost_or_doubled(live: LiveNetwork, load: SteadyLoad) -> None:
    """Every accepted transaction is final, each in one block, alike on every node that runs."""
    assert set(load.accepted) <= set(load.final)
    height = max(height for height, _, _ in load.blocks)
    roots = set()
    for index, process in enumerate(live.processes):
        if process is not None:
            live.wait_final(index, height)
            block = live.block(index, height)
            roots.add((block["hash"], block["state_root"]))
    assert len(roots) == 1, roots
