"""A real chain for tests of settlement: anvil with our contracts, owners who sign, and endpoints that misbehave.

`Chain` starts anvil on a free port of loopback and ends it; `Meddler` is a small HTTP server between a back end and
anvil that can lie, lag, fall silent or fail.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import msgspec
from aiohttp import web
from eth_abi.abi import encode

from potchain import (
    Action,
    BackendContext,
    Contract,
    Entry,
    Prepared,
    ReadyAction,
    RelayState,
    SettlementBackend,
    SigningKey,
    action_digest,
    keccak256,
    uint256,
)
from potchain_multisig import EvmFactory, EvmOptions
from potchain_multisig.calls import Interface, load_artifact
from potchain_multisig.operator.devnet import Devnet, DevnetOptions, find_anvil
from potchain_multisig.safe import SAFE_ABI

CHAIN_ID = 31_337
COIN = 10**18
NOW_MS = 1_700_000_000_000
"""Wall clock of the tests."""
NOBODY = bytes(20)
FOLLOWS_MAX = 1_000
"""Looks at a transaction until it must be mined."""
SAFE_BUILD = (
    Path(__file__).parents[1] / "contracts/node_modules/@safe-global/safe-contracts/build/artifacts/contracts"
)
SETUP = "setup(address[],uint256,address,bytes,address,address,uint256,address)"

Json = dict[str, Any]
Meddling = Callable[[str, list[Any], Json], Json | None]
"""Method, parameters and the true response; gives the one to send, or None for no answer at all."""


def key_of(name: str) -> SigningKey:
    """The key of somebody in a test."""
    return SigningKey(keccak256(b"key" + name.encode()))


def owner_keys(count: int) -> tuple[SigningKey, ...]:
    """Owners, sorted by address."""
    return tuple(sorted((key_of(f"owner {number}") for number in range(count)), key=lambda key: key.address))


RELAYER = key_of("relayer")


def hexed(data: bytes) -> str:
    """As JSON-RPC writes it."""
    return "0x" + data.hex()


def arguments(kinds: Sequence[str], *values: object) -> bytes:
    """abi.encode."""
    return encode(list(kinds), list(values))


class Chain:
    """anvil, and the first of its rich accounts, which deploys and deposits."""

    def __init__(self, chain_id: int = CHAIN_ID) -> None:
        self.devnet = Devnet(find_anvil(), DevnetOptions(port=0, chain_id=chain_id))
        self.chain_id = chain_id
        self.url = self.devnet.url
        self.rich = str(self.rpc("eth_accounts")[0])
        self.rpc("anvil_setBalance", hexed(RELAYER.address), hex(100 * COIN))

    def rpc(self, method: str, *parameters: object) -> Any:  # noqa: ANN401 - JSON
        """One call, past every meddler."""
        return self.devnet.call(method, *parameters)

    def mine(self, blocks: int = 1) -> None:
        """Blocks, with what waits in the pool."""
        self.rpc("anvil_mine", hex(blocks))

    def height(self) -> int:
        """Of the newest block."""
        return int(self.rpc("eth_blockNumber"), 16)

    def transact(self, to: bytes | None, data: bytes, value: int = 0, sender: str = "") -> Json:
        """A transaction of an account whose key anvil has, mined at once; its receipt. It must succeed."""
        members = {"from": sender or self.rich, "data": hexed(data), "value": hex(value), "gas": hex(15_000_000)}
        if to is not None:
            members["to"] = hexed(to)
        receipt: Json = self.rpc("eth_sendTransactionSync", members)
        assert receipt["status"] == "0x1", receipt
        return receipt

    def deploy(self, bytecode: str, constructor: bytes = b"") -> tuple[bytes, int]:
        """Address and block of a new contract."""
        receipt = self.transact(None, bytes.fromhex(bytecode.removeprefix("0x")) + constructor)
        return bytes.fromhex(receipt["contractAddress"][2:]), int(receipt["blockNumber"], 16)

    def deploy_settlement(self, owners: Iterable[SigningKey], threshold: int) -> Contract:
        """PotSettlement for the native coin."""
        listed = [key.address for key in owners]
        constructor = arguments(["address[]", "uint256", "address", "bool"], listed, threshold, NOBODY, False)
        address, block = self.deploy(load_artifact("PotSettlement").bytecode, constructor)
        return Contract("multisig", self.chain_id, address, NOBODY, 0, block)

    def deploy_safe(self, owners: Iterable[SigningKey], threshold: int) -> Contract:
        """A Safe 1.4.1 behind its proxy, as its factory makes them, and a PotBook that it owns."""
        singleton, _ = self.deploy(built("Safe.sol/Safe.json"))
        proxy, _ = self.deploy(built("proxies/SafeProxy.sol/SafeProxy.json"), arguments(["address"], singleton))
        kinds = ["address[]", "uint256", "address", "bytes", "address", "address", "uint256", "address"]
        listed = [key.address for key in owners]
        setup = arguments(kinds, listed, threshold, NOBODY, b"", NOBODY, NOBODY, 0, NOBODY)
        self.transact(proxy, keccak256(SETUP.encode())[:4] + setup)
        constructor = arguments(["address", "address"], proxy, NOBODY)
        book, block = self.deploy(load_artifact("PotBook").bytecode, constructor)
        return Contract("safe", self.chain_id, book, proxy, 0, block)

    def deposit(self, contract: Contract, account: bytes, amount: int) -> Json:
        """A deposit, mined at once; its receipt."""
        data = Interface(load_artifact("PotSettlement").abi).encode("deposit", account)
        return self.transact(contract.address, data, amount)

    def reward(self, contract: Contract, account: bytes) -> int:
        """What the contract has credited to an account."""
        interface = Interface(load_artifact("PotSettlement").abi)
        call = {"to": hexed(contract.address), "data": hexed(interface.encode("rewards", account))}
        return int(self.rpc("eth_call", call, "latest"), 16)

    def stop(self) -> None:
        """End anvil."""
        self.devnet.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, _: TracebackType | None) -> None:
        self.stop()


def built(path: str) -> str:
    """Bytecode of a published Safe contract."""
    return str(json.loads((SAFE_BUILD / path).read_text())["bytecode"])


def safe_interface() -> Interface:
    """The Safe's functions that we call."""
    return Interface(SAFE_ABI)


def batch(nonce: int, *entries: tuple[bytes, int], epoch: int = 0) -> Action:
    """An action that pays."""
    listed = tuple(Entry(account, uint256(amount)) for account, amount in sorted(entries))
    return Action(nonce=nonce, epoch=epoch, kind="batch", height=nonce + 1, entries=listed)


def ready(contract: Contract, action: Action, signers: Iterable[SigningKey]) -> ReadyAction:
    """The action with those signatures, sorted by owner."""
    digest = action_digest(contract, action)
    signatures = tuple(sorted((key.address, key.sign_digest(digest)) for key in signers))
    return ReadyAction(action=action, digest=digest, signatures=signatures)


class Meddler:
    """Forwards JSON-RPC calls, changed by `meddle`. Raw text in place of any answer: `rubbish`."""

    def __init__(self, chain: Chain) -> None:
        self.target = chain.url
        self.meddle: Meddling = lambda method, parameters, response: response
        self.rubbish: bytes | None = None
        self.status = 200
        self.drop_next = False
        """Cut the connection instead of the next answer."""
        self.asked: list[tuple[str, list[Any]]] = []
        self.url = ""
        self._silent = asyncio.Event()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """One call."""
        question = await request.json()
        if self.drop_next:
            self.drop_next = False
            assert request.transport is not None
            request.transport.abort()
        self.asked.append((question["method"], question["params"]))
        if self.rubbish is not None:
            return web.Response(body=self.rubbish, status=self.status)
        async with aiohttp.ClientSession() as session, session.post(self.target, json=question) as answer:
            response = await answer.json()
        changed = self.meddle(question["method"], question["params"], response)
        if changed is None:
            await self._silent.wait()
        return web.json_response(changed, status=self.status)

    def counted(self, method: str) -> int:
        """How often it was asked that."""
        return sum(asked == method for asked, _ in self.asked)

    def release(self) -> None:
        """Let the silent answers end."""
        self._silent.set()


@asynccontextmanager
async def meddlers(chain: Chain, count: int) -> AsyncIterator[list[Meddler]]:
    """Endpoints on loopback, all of one chain."""
    found: list[Meddler] = []
    runners: list[web.AppRunner] = []
    try:
        for _ in range(count):
            meddler = Meddler(chain)
            app = web.Application()
            app.router.add_post("/", meddler.handle)
            runner = web.AppRunner(app, shutdown_timeout=0.1)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            meddler.url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
            found.append(meddler)
            runners.append(runner)
        yield found
    finally:
        for meddler in found:
            meddler.release()
        for runner in runners:
            await runner.cleanup()


@asynccontextmanager
async def running(
    contract: Contract,
    endpoints: Iterable[str],
    *,
    confirmations: int = 0,
    key: SigningKey | None = RELAYER,
    opened: bool = True,
    **chosen: object,
) -> AsyncIterator[SettlementBackend]:
    """An open back end for the contract's scheme; `chosen` are members of EvmOptions."""
    options = msgspec.convert({"endpoints": tuple(endpoints), **chosen}, EvmOptions)
    context = BackendContext(contract=contract, relay_key=key, confirmations=confirmations)
    backend = EvmFactory(contract.scheme).create(options, context)
    try:
        if opened:
            await backend.open()
        yield backend
    finally:
        await backend.close()


async def carried_out(backend: SettlementBackend, action: ReadyAction) -> tuple[Prepared, RelayState]:
    """Prepared, submitted and followed until it is mined."""
    prepared = await backend.prepare(action, NOW_MS)
    await backend.submit(prepared)
    return prepared, await followed(backend, prepared)


async def followed(backend: SettlementBackend, prepared: Prepared) -> RelayState:
    """Its state once anvil, which mines at once but not before it answers, has mined it."""
    for _ in range(FOLLOWS_MAX):
        state = await backend.follow(prepared)
        if state.phase not in ("pending", "unknown"):
            break
    return state
