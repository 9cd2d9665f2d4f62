"""`potchain tx load`: a client that signs many transfers beforehand, sends them, and waits until all are final.

The demo and the benchmark run it as a process of its own. Each sender keeps to one node, and senders go round-robin
over the nodes, so that a sender's nonces reach its node in order. A transaction is final when the node that it was sent
to lists it in a certified block; the load is done when all nodes list all of them and the senders' nonces agree.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from potchain.cli.options import AMOUNT, FOLDER, aligned, emit, json_option
from potchain.errors import ClientError, ConfigError
from potchain.event_loop import run_async
from potchain.primitives import NS_PER_MS, NS_PER_S, uint256

if TYPE_CHECKING:
    from rich.progress import Progress

    from potchain.cli.testnet_folder import Endpoint, Network
    from potchain.client import NodeClient
    from potchain.crypto import SigningKey

BATCH = 200
"""Transactions in one request."""
RETRIABLE = frozenset({"pool_full", "sender_limit", "nonce_gap_too_large", "syncing", "unavailable", "rate_limited"})
"""Codes of refusals that pass when the pool drains; anything else ends the load."""
RETRY_MS = 200
ACCOUNT_QUERIES_MAX = 16
"""Account queries in flight at once."""


class SignedTransfer(msgspec.Struct, frozen=True, gc=False):
    """A transfer ready to send."""

    id: str
    sender: str
    document: dict[str, object]
    """What `POST /v1/transactions` takes."""


class LoadReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a load measured; latencies are from the request to the certified block, as the client saw both."""

    transactions: int
    blocks: int
    """Blocks that hold them."""
    seconds: float
    """From the first request until the last node had the last of them final."""
    transactions_per_s: float
    latency_p50_ms: float
    latency_p99_ms: float
    resubmitted: int
    """Times that a transaction was sent again because a pool was full."""


class Load:
    """Sends signed transfers and watches them become final."""

    def __init__(
        self,
        nodes: Sequence[NodeClient],
        lanes: Sequence[Sequence[SignedTransfer]],
        *,
        batch: int = BATCH,
        rate_per_s: int = 0,
        on_sent: Callable[[int], None] = lambda count: None,
        on_final: Callable[[int, int], None] = lambda node, count: None,
    ) -> None:
        """`lanes[i]` goes to `nodes[i]`, in order. `rate_per_s` over all nodes, 0 for as fast as they take them.

        `on_sent(count)` and `on_final(node index, count)` are told of progress.
        """
        self._nodes = nodes
        self._lanes = lanes
        self._batch = batch
        self._rate_per_s = rate_per_s
        self._on_sent = on_sent
        self._on_final = on_final
        self._sent_ns: dict[str, int] = {}
        self._final_ns: list[dict[str, int]] = [{} for _ in nodes]
        self._heights: set[int] = set()
        self._resubmitted = 0
        self._expected = {transfer.id for lane in lanes for transfer in lane}

    async def run(self) -> LoadReport:
        """Until everything is final everywhere. Raises ClientError when a node refuses or does not answer."""
        start = min([int((await node.status())["certified_height"]) for node in self._nodes])
        try:
            async with asyncio.TaskGroup() as group:
                for index in range(len(self._nodes)):
                    group.create_task(self._follow(index, start))
                for index in range(len(self._nodes)):
                    group.create_task(self._send(index))
        except ExceptionGroup as faults:
            raise faults.exceptions[0] from None
        return self._report()

    async def _send(self, index: int) -> None:
        lane, node = self._lanes[index], self._nodes[index]
        interval_ns = 0
        if self._rate_per_s:
            interval_ns = self._batch * len(self._nodes) * NS_PER_S // self._rate_per_s
        due_ns = time.perf_counter_ns() + index * interval_ns // len(self._nodes)
        for first in range(0, len(lane), self._batch):
            pause_ns = due_ns - time.perf_counter_ns()
            if interval_ns and pause_ns > 0:
                await asyncio.sleep(pause_ns / NS_PER_S)
            due_ns += interval_ns
            await self._send_batch(node, lane[first : first + self._batch])

    async def _send_batch(self, node: NodeClient, batch: Sequence[SignedTransfer]) -> None:
        left = batch
        while left:
            now = time.perf_counter_ns()
            for transfer in left:
                self._sent_ns.setdefault(transfer.id, now)
            outcomes = await node.submit([transfer.document for transfer in left])
            again = []
            for transfer, outcome in zip(left, outcomes, strict=True):
                if outcome.status != "refused":
                    continue
                if outcome.code not in RETRIABLE:
                    raise ClientError(422, outcome.code, f"{node.url} refused {transfer.id}: {outcome.detail}")
                again.append(transfer)
            self._on_sent(len(left) - len(again))
            self._resubmitted += len(again)
            left = again
            if left:
                await asyncio.sleep(RETRY_MS / 1000)

    async def _follow(self, index: int, height: int) -> None:
        final = self._final_ns[index]
        async for block in self._nodes[index].follow(height, ids=True):
            now = time.perf_counter_ns()
            before = len(final)
            for transaction_id in block.transaction_ids:
                if transaction_id in self._expected:
                    final[transaction_id] = now
                    self._heights.add(block.height)
            self._on_final(index, len(final) - before)
            if len(final) == len(self._expected):
                return

    def _report(self) -> LoadReport:
        latencies = sorted(
            self._final_ns[index][transfer.id] - self._sent_ns[transfer.id]
            for index, lane in enumerate(self._lanes)
            for transfer in lane
        )
        last_ns = max(moment for final in self._final_ns for moment in final.values())
        spent_ns = last_ns - min(self._sent_ns.values())
        count = len(latencies)
        return LoadReport(
            transactions=count,
            blocks=len(self._heights),
            seconds=round(spent_ns / NS_PER_S, 3),
            transactions_per_s=round(count * NS_PER_S / spent_ns, 1),
            latency_p50_ms=round(latencies[(count - 1) // 2] / NS_PER_MS, 1),
            latency_p99_ms=round(latencies[(count - 1) * 99 // 100] / NS_PER_MS, 1),
            resubmitted=self._resubmitted,
        )


def sign_transfers(
    keys: Sequence[SigningKey],
    nonces: Sequence[int],
    genesis_hash: bytes,
    count: int,
    *,
    lanes: int,
    fee: int,
    amount: int,
    on_signed: Callable[[], None] = lambda: None,
) -> list[list[SignedTransfer]]:
    """`count` transfers, each key paying the next one in turn; a key's transfers share one lane, nonces ascending."""
    from potchain.transactions import TransactionTypes, Transfer
    from potchain.typed_data import struct_to_json

    types = TransactionTypes([Transfer], genesis_hash)
    signed: list[list[SignedTransfer]] = [[] for _ in range(lanes)]
    for number in range(count):
        round_number, index = divmod(number, len(keys))
        key, receiver = keys[index], keys[(index + 1) % len(keys)]
        body = Transfer(
            from_=key.address, nonce=nonces[index] + round_number, fee=uint256(fee), valid_until=0,
            to=receiver.address, amount=uint256(amount), memo=b"",
        )
        transaction = types.sign(body, key)
        document: dict[str, object] = {
            "kind": transaction.kind,
            "message": struct_to_json(body),
            "signature": "0x" + transaction.signature.hex(),
        }
        signed[index % lanes].append(
            SignedTransfer(id="0x" + transaction.id.hex(), sender="0x" + key.address.hex(), document=document)
        )
        on_signed()
    return signed


@asynccontextmanager
async def clients_of(endpoints: Sequence[Endpoint]) -> AsyncIterator[list[NodeClient]]:
    """One client for each node."""
    from potchain.client import NodeClient

    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(NodeClient(endpoint.url, token=endpoint.token)) for endpoint in endpoints
        ]


async def ask_accounts(node: NodeClient, addresses: Sequence[str], member: str) -> list[int]:
    """A number of each account, "nonce" or "next_nonce", in order."""
    gate = asyncio.Semaphore(ACCOUNT_QUERIES_MAX)

    async def ask(address: str) -> int:
        async with gate:
            return int((await node.get(f"/v1/accounts/{address}"))[member])

    return await asyncio.gather(*map(ask, addresses))


@click.command()
@click.argument("folder", type=FOLDER)
@click.option("--transactions", default=2_000, show_default=True, type=click.IntRange(1, 10_000_000), help="How many.")
@click.option("--batch", default=BATCH, show_default=True, type=click.IntRange(1, 1000), help="In one request.")
@click.option("--rate", default=0, type=click.IntRange(0), help="Per second over all nodes [default: no limit].")
@click.option("--amount", default=1, show_default=True, type=AMOUNT, help="Of each transfer, base units.")
@click.option("--timeout", default=300, show_default=True, type=click.IntRange(1), help="Seconds for all.")
@json_option
def load(
    folder: Path, transactions: int, batch: int, rate: int, amount: int, timeout: int, as_json: bool
) -> None:
    """Send many transfers between the funded accounts of a test network and wait until all are final everywhere.

    \b
    Example:
      potchain tx load net --transactions 2000
    """
    from potchain.cli.testnet_folder import read_network

    report = run_async(_run(read_network(folder), transactions, batch, rate, amount, timeout))
    document = msgspec.to_builtins(report)
    emit(document, as_json, aligned(list(document.items())))


async def _run(network: Network, count: int, batch: int, rate: int, amount: int, timeout_s: int) -> LoadReport:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from potchain.keyfiles import load_account_key

    files = network.account_files()[:count]
    if not files:
        raise ConfigError(f"{network.folder} has no funded accounts; make the network with --accounts")
    columns = (TextColumn("{task.description:<14}"), BarColumn(), MofNCompleteColumn())
    async with clients_of(network.nodes) as nodes:
        chain = await nodes[0].chain()
        with Progress(*columns, console=Console(stderr=True)) as progress:
            password = network.account_password()
            keys = [load_account_key(file, password) for file in progress.track(files, description="accounts")]
            addresses = ["0x" + key.address.hex() for key in keys]
            nonces = await ask_accounts(nodes[0], addresses, "next_nonce")
            signing = progress.add_task("signed", total=count)
            lanes = sign_transfers(
                keys, nonces, chain.genesis_hash, count, lanes=len(nodes), fee=chain.base_fee, amount=amount,
                on_signed=lambda: progress.advance(signing),
            )
            work = _Watched(progress, network, count).load(nodes, lanes, batch, rate)
            try:
                async with asyncio.timeout(timeout_s):
                    report = await work.run()
                    await _wait_executed(nodes[0], addresses, nonces, count)
            except TimeoutError:
                raise ClientError(504, "timeout", f"not all of {count} are final after {timeout_s} s") from None
            return report


class _Watched:
    """Progress bars of a load."""

    def __init__(self, progress: Progress, network: Network, count: int) -> None:
        self._progress = progress
        self._sent = progress.add_task("submitted", total=count)
        self._final = [progress.add_task(f"final at {node.name}", total=count) for node in network.nodes]

    def load(
        self, nodes: Sequence[NodeClient], lanes: Sequence[Sequence[SignedTransfer]], batch: int, rate: int
    ) -> Load:
        return Load(
            nodes,
            lanes,
            batch=batch,
            rate_per_s=rate,
            on_sent=lambda done: self._progress.advance(self._sent, done),
            on_final=lambda index, done: self._progress.advance(self._final[index], done),
        )


async def _wait_executed(node: NodeClient, addresses: Sequence[str], nonces: Sequence[int], count: int) -> None:
    """Until every sender's nonce shows that all its transfers took their place and none was skipped for good."""
    senders = len(addresses)
    wanted = [nonce + len(range(index, count, senders)) for index, nonce in enumerate(nonces)]
    while await ask_accounts(node, addresses, "nonce") != wanted:
        await asyncio.sleep(RETRY_MS / 1000)
