"""Chains for the conformance kit: anvil with our contracts, and the simulator's chain."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

import msgspec
from settlement_chain import COIN, Chain, hexed, key_of

from potchain import BackendContext, Contract, SettlementBackend, SettlementError, SigningKey
from potchain.sim.layer2.chain import Chain as SimulatedChain
from potchain.sim.layer2.chain import Mail, signed
from potchain.sim.layer2.contract import Book, Call
from potchain.sim.layer2.endpoint import Endpoint, SimBackend
from potchain.sim.plan import Layer2
from potchain.sim.scheduler import Scheduler
from potchain_multisig import EvmOptions
from potchain_multisig.calls import Interface, load_artifact

T = TypeVar("T")
CALL_TIMEOUT_MS = 5_000
FOR_EVER_NS = 10**15
"""Virtual time within which a case must end."""


class _OwnersByAddress:
    """What `Chain` asks of owners."""

    def __init__(self, address: bytes) -> None:
        self.address = address


class AnvilScenario:
    """anvil that mines when it is told to. Implements `potchain.testing.SettlementScenario`."""

    def __init__(self, scheme: str, owners: tuple[bytes, ...], threshold: int) -> None:
        self._chain = Chain()
        deploy = self._chain.deploy_safe if scheme == "safe" else self._chain.deploy_settlement
        self.contract: Contract = deploy([_OwnersByAddress(owner) for owner in owners], threshold)  # type: ignore[arg-type]
        self.relay_keys = (key_of("relayer"), key_of("rival"))
        for key in self.relay_keys:
            self._chain.rpc("anvil_setBalance", hexed(key.address), hex(100 * COIN))
        self._chain.rpc("evm_setAutomine", False)
        self._interface = Interface(load_artifact("PotSettlement").abi)
        self._runner = asyncio.Runner()

    def options(self, deadline_ms: int) -> EvmOptions:
        """The chain's one endpoint."""
        timeout_ms = min(deadline_ms, CALL_TIMEOUT_MS)
        return EvmOptions(endpoints=(self._chain.url,), deadline_ms=deadline_ms, call_timeout_ms=timeout_ms)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """In real time."""
        return self._runner.run(work)

    def mine(self, blocks: int) -> None:
        """See `SettlementScenario.mine`."""
        self._chain.mine(blocks)

    def deposit(self, account: bytes, amount: int) -> None:
        """See `SettlementScenario.deposit`."""
        data = self._interface.encode("deposit", account)
        members = {"from": self._chain.rich, "to": hexed(self.contract.address), "data": hexed(data)}
        name = self._chain.rpc("eth_sendTransaction", {**members, "value": hex(amount), "gas": hex(10**6)})
        self._chain.mine()
        assert self._chain.rpc("eth_getTransactionReceipt", name)["status"] == "0x1"

    def reorganise(self, blocks: int) -> None:
        """See `SettlementScenario.reorganise`."""
        self._chain.rpc("anvil_reorg", blocks, [])

    def drop_waiting(self) -> None:
        """See `SettlementScenario.drop_waiting`."""
        self._chain.rpc("anvil_dropAllTransactions")

    def credited(self, account: bytes) -> int:
        """See `SettlementScenario.credited`."""
        return self._chain.reward(self.contract, account)

    def empty(self, account: bytes) -> None:
        """See `SettlementScenario.empty`."""
        self._chain.rpc("anvil_setBalance", hexed(account), hex(1_000))

    def cut(self) -> None:
        """The process stands still: connections are taken, and nothing is answered."""
        os.kill(self._chain.devnet.pid, signal.SIGSTOP)

    def restore(self) -> None:
        """It goes on."""
        os.kill(self._chain.devnet.pid, signal.SIGCONT)

    def close(self) -> None:
        """End it."""
        self.restore()
        self._chain.stop()
        self._runner.close()


class _ByHand(SimulatedChain):
    """The simulator's chain, which never begins to make blocks by itself."""

    def mine(self, blocks: int) -> None:
        """Blocks, now."""
        for _ in range(blocks):
            self._mine()


class SimulatedOptions(msgspec.Struct, frozen=True):
    """Which chain a simulated back end is on, and how many actions it has under way."""

    scenario: Any
    relay_ahead: int = 1


class SimulatedScenario:
    """The simulator's chain, in virtual time. Implements `potchain.testing.SettlementScenario`."""

    def __init__(self, owners: tuple[bytes, ...], threshold: int, relay_ahead: int = 1) -> None:
        self.contract = Contract("multisig", 31_337, key_of("simulated contract").address, bytes(20), 0, 0)
        self.relay_keys = (key_of("relayer"), key_of("rival"))
        self._payer = key_of("payer")
        self._relay_ahead = relay_ahead
        self._scheduler = Scheduler()
        self._faults: list[dict[str, Any]] = []
        self._loop = self._scheduler.make_loop(self._faults.append)
        self._endpoints: list[Endpoint] = []
        self._is_cut = False
        self.chain = _ByHand(
            self._scheduler,
            self.contract,
            Book(owners=owners, threshold=threshold),
            block_ns=10**9,
            fee_wei=10,
            rng=random.Random("conformance"),
            changed=lambda _: None,
            arrived=lambda _: None,
        )

    def options(self, deadline_ms: int) -> SimulatedOptions:
        """The chain itself."""
        return SimulatedOptions(self, self._relay_ahead)

    def endpoint(self, options: SimulatedOptions, confirmations: int) -> Endpoint:
        """A way to the chain for a new back end."""
        number = len(self._endpoints)
        chosen = Layer2(confirmations=confirmations, relay_ahead=options.relay_ahead)
        endpoint = Endpoint(self.chain, self._scheduler, chosen, 0, random.Random(f"conformance {number}"))
        endpoint.gone = int(self._is_cut)
        self._endpoints.append(endpoint)
        return endpoint

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """In virtual time."""
        task = self._loop.create_task(work)
        self._scheduler.run(FOR_EVER_NS, task.done)
        assert task.done(), "the case waits for something that never comes"
        return task.result()

    def mine(self, blocks: int) -> None:
        """See `SettlementScenario.mine`."""
        self.chain.mine(blocks)

    def deposit(self, account: bytes, amount: int) -> None:
        """See `SettlementScenario.deposit`."""
        nonce = self.chain.head.nonces.get(self._payer.address, 0)
        call = Call(function="deposit", accounts=(account,), amounts=(amount,))
        self.chain.send(signed(self._payer, Mail(nonce, self.chain.fee_wei, call)))
        self.chain.mine(1)

    def reorganise(self, blocks: int) -> None:
        """See `SettlementScenario.reorganise`. No endpoint shows the lost branch any longer."""
        self.chain.pool.clear()
        self.chain.reorganise(blocks, forget=True)
        self.chain.lost_branch = ()

    def drop_waiting(self) -> None:
        """See `SettlementScenario.drop_waiting`."""
        self.chain.pool.clear()

    def credited(self, account: bytes) -> int:
        """See `SettlementScenario.credited`."""
        return self.chain.book.credits.get(account, 0)

    def empty(self, account: bytes) -> None:
        """See `SettlementScenario.empty`."""
        self.chain.penniless.add(account)

    def cut(self) -> None:
        """See `SettlementScenario.cut`."""
        self._is_cut = True
        for endpoint in self._endpoints:
            endpoint.gone += 1

    def restore(self) -> None:
        """See `SettlementScenario.restore`."""
        self._is_cut = False
        for endpoint in self._endpoints:
            endpoint.gone = 0

    def close(self) -> None:
        """Nothing outlives it."""
        self._loop.kill()
        self._scheduler.run(FOR_EVER_NS, lambda: False)


class SimulatedFactory:
    """Back ends of the simulator. What they were told to wrap them in is applied to each."""

    name = "simulated"
    version = "1"
    scheme = "multisig"
    options_type: type[msgspec.Struct] = SimulatedOptions

    def create(self, options: msgspec.Struct, context: BackendContext) -> SettlementBackend:
        """One on its scenario's chain."""
        assert isinstance(options, SimulatedOptions)
        if context.contract.scheme != self.scheme:
            raise SettlementError("not_configured", f"no back end for the scheme {context.contract.scheme!r}")
        key: SigningKey = context.relay_key or key_of("nobody")
        endpoint = options.scenario.endpoint(options, context.confirmations)
        return SimBackend(endpoint, key, lambda _: True, lambda _: None)


