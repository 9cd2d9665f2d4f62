"""Real networks for tests: four processes, their folders, funded accounts, and a client that pays."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from potchain.cli.node_processes import NodeProcess, free_base_port, wait_ready
from potchain.cli.testnet_folder import Network, create_network, local_hosts
from potchain.client import NodeClient
from potchain.crypto import SigningKey, checksum_address
from potchain.errors import ClientError
from potchain.genesis import InitialBalance, Parameters
from potchain.primitives import uint256
from potchain.transactions import TransactionTypes, Transfer
from potchain.typed_data import struct_to_json

BALANCE = 10**12
ACCOUNTS = 20


class LiveNetwork:
    """Node processes of one folder; `kill` is SIGKILL."""

    def __init__(self, network: Network, keys: Sequence[SigningKey]) -> None:
        self.network = network
        self.keys = tuple(keys)
        self.types = TransactionTypes([Transfer], network.genesis().hash)
        self.nonces = dict.fromkeys((key.address for key in keys), 0)
        self.processes: list[NodeProcess | None] = [None] * len(network.nodes)

    @property
    def urls(self) -> list[str]:
        return [node.url for node in self.network.nodes]

    def home(self, index: int) -> Path:
        return self.network.nodes[index].home

    def start(self, *indexes: int) -> None:
        """Start nodes (all by default) and wait until they are ready."""
        chosen = indexes or range(len(self.processes))
        started = [NodeProcess(self.network.nodes[index]) for index in chosen]
        for index, process in zip(chosen, started, strict=True):
            self.processes[index] = process
        asyncio.run(wait_ready(started))

    def kill(self, *indexes: int) -> None:
        for index in indexes:
            process = self.processes[index]
            assert process is not None
            process.process.kill()
            process.process.wait()
            self.processes[index] = None

    def stop(self) -> list[int]:
        """SIGTERM to all that run; their exit codes."""
        running = [process for process in self.processes if process is not None]
        for process in running:
            process.process.terminate()
        codes = [process.process.wait(20) for process in running]
        self.processes = [None] * len(self.processes)
        return codes

    def transfer(self, sender: int = 0, amount: int = 1, to: bytes | None = None) -> dict[str, Any]:
        """A signed transfer with the sender's next nonce, as `POST /v1/transactions` takes it."""
        key = self.keys[sender]
        body = Transfer(
            from_=key.address,
            nonce=self.nonces[key.address],
            fee=uint256(10),
            valid_until=0,
            to=to or self.keys[(sender + 1) % len(self.keys)].address,
            amount=uint256(amount),
            memo=b"",
        )
        self.nonces[key.address] += 1
        transaction = self.types.sign(body, key)
        return {
            "kind": "Transfer",
            "message": struct_to_json(body),
            "signature": "0x" + transaction.signature.hex(),
        }

    def pay(self, node: int, count: int, *, sender: int = 0) -> list[str]:
        """Submit transfers to one node and wait until the last is final there; their ids."""
        documents = [self.transfer(sender) for _ in range(count)]

        async def run() -> list[str]:
            async with NodeClient(self.urls[node]) as client:
                outcomes = await client.submit(documents)
                assert [outcome.status for outcome in outcomes] == ["accepted"] * count, outcomes
                ids = [str(outcome.id) for outcome in outcomes]
                for transaction_id in ids:
                    answer = await client.wait_transaction(transaction_id, timeout_s=30)
                    assert answer["state"] == "executed", answer
                return ids

        return asyncio.run(run())

    def submitted(self, node: int, document: dict[str, Any]) -> dict[str, Any]:
        """Submit one transaction and wait until it is final there; the answer, with its receipt."""

        async def run() -> dict[str, Any]:
            async with NodeClient(self.urls[node]) as client:
                return await client.submit_one(document, wait="final", timeout_s=60)

        return asyncio.run(run())

    def get(self, node: int, path: str, **query: str | int) -> dict[str, Any]:
        async def run() -> dict[str, Any]:
            async with NodeClient(self.urls[node], attempts_max=1) as client:
                return await client.get(path, **query)

        return asyncio.run(run())

    def wait_final(self, node: int, height: int, timeout_s: int = 60) -> dict[str, Any]:
        """The node's status once that height is final there."""

        async def run() -> dict[str, Any]:
            async with NodeClient(self.urls[node]) as client:
                reached = 0
                async with asyncio.timeout(timeout_s):
                    while reached < height:
                        for block in await client.blocks_after(height - 1, wait_s=2):
                            reached = block.height
                    return await client.status()

        return asyncio.run(run())

    def block(self, node: int, height: int) -> dict[str, Any]:
        return self.get(node, f"/v1/blocks/{height}")

    def refusal(self, node: int, document: object, **query: str | int) -> ClientError:
        """The problem with which a submission is refused."""

        async def run() -> ClientError:
            async with NodeClient(self.urls[node], attempts_max=1) as client:
                try:
                    answer = await client.submit_one(document, **query)  # type: ignore[arg-type]
                except ClientError as problem:
                    return problem
                raise AssertionError(f"accepted: {answer}")

        return asyncio.run(run())


@contextmanager
def live_network(folder: Path, validators: int = 4, parameters: Parameters | None = None) -> Iterator[LiveNetwork]:
    """A network that is not started yet; everything that runs at the end is killed."""
    keys = [SigningKey(secrets.token_bytes(32)) for _ in range(ACCOUNTS)]
    network = create_network(
        folder,
        local_hosts(validators, free_base_port(28_000, validators)),
        chain_id="potchain-live",
        accounts=0,
        funded=[InitialBalance(key.address, uint256(BALANCE)) for key in keys],
        parameters=parameters or Parameters(),
    )
    live = LiveNetwork(network, keys)
    try:
        yield live
    finally:
        live.kill(*(index for index, process in enumerate(live.processes) if process is not None))


def address(key: SigningKey) -> str:
    return checksum_address(key.address)
