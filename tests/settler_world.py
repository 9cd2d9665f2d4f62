"""A ledger that executes for real, a scripted Layer 2, and the settlers of its validators, in steps of one second.

The ledger is one executor with its applications and one pool in place of consensus: every transaction that is submitted
is in the next block, and every block is certified at once unless a test holds certificates back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
from settler_layer2 import Boundary, Layer2, ScriptedBackend

from potchain.api.ports import SubmitOutcome
from potchain.application.accounts import AccountsApplication, load_account
from potchain.application.execution import Executor
from potchain.application.governance.application import GovernanceApplication
from potchain.application.governance.bodies import GovBindContract, GovRotateOwners, GovSetParameter, GovVote
from potchain.application.settlement import records
from potchain.application.settlement.application import SettlementApplication
from potchain.application.settlement.bodies import ObserveL2, Withdraw
from potchain.application.state import AuthenticatedState
from potchain.blocks import FAILED, ExecutedBlock, OrderCertificate, build_proposal
from potchain.consensus.quorum import Quorum
from potchain.crypto import SigningKey, keccak256, node_id_of
from potchain.errors import InvalidTransaction
from potchain.genesis import Genesis, InitialBalance, Parameters, Validator
from potchain.primitives import NS_PER_S, ZERO_ADDRESS, uint, uint256
from potchain.replica.actions import Now
from potchain.settlement import Contract, Prepared, SettlementBackend
from potchain.settlement.report import SettlerReport
from potchain.settler.intents import scope_of
from potchain.settler.reconcile import SettlerOptions
from potchain.settler.relaying import RelayOptions
from potchain.settler.settler import Settler
from potchain.settler.view import LedgerView, ledger_view
from potchain.transactions import Transaction, TransactionBody

STARTED_AT_MS = 1_700_000_000_000
TURN_S = 8
STUCK_AFTER_S = 12
BURIED = 30
"""Blocks of Layer 2 that no test takes back."""


class Crash(BaseException):
    """The process dies here: nobody catches it."""


def key_of(name: str) -> SigningKey:
    """The key that a name gives."""
    return SigningKey(keccak256(b"key" + name.encode()))


def silent(what: str) -> None:
    """No crash at any boundary."""


class Clock:
    """Time that the test moves."""

    def __init__(self) -> None:
        self.ns = 0

    def now(self) -> Now:
        """Both readings."""
        return Now(self.ns, STARTED_AT_MS + self.ns // 1_000_000)


class Ledger:
    """Executes what is submitted, a block at a time."""

    def __init__(self, operators: Sequence[SigningKey], accounts: Sequence[SigningKey]) -> None:
        members = tuple(
            Validator(
                name=f"v{index}",
                node_key=bytes([index + 1]) * 32,
                consensus_key=key_of(f"consensus{index}").public_key,
                operator=key.address,
            )
            for index, key in enumerate(operators)
        )
        balances = sorted((InitialBalance(key.address, uint256(10**24)) for key in accounts), key=lambda e: e.address)
        self.genesis = Genesis("settler-test", STARTED_AT_MS, members, tuple(balances), Parameters())
        self.executor = Executor(
            self.genesis, [AccountsApplication(), GovernanceApplication(), SettlementApplication()]
        )
        self.types = self.executor.types
        self.state = AuthenticatedState.from_records(tuple(self.executor.genesis_records()))
        self.tip = self.executor.genesis_block(self.state.root)
        self.pool: dict[tuple[bytes, int], Transaction] = {}
        self.certified = 0
        self.holds_certificates = False
        self.is_behind = False
        self.failures: list[str] = []
        """Codes of transactions that failed."""
        self.sent: list[Transaction] = []

    def nonce(self, address: bytes) -> int:
        """Of the state."""
        return load_account(self.state, address).nonce

    def next_nonce(self, address: bytes) -> int:
        """What is pooled included."""
        nonce = self.nonce(address)
        while (address, nonce) in self.pool:
            nonce += 1
        return nonce

    def send(self, key: SigningKey, make: Callable[[int], TransactionBody]) -> Transaction:
        """Sign with the next nonce and pool."""
        transaction = self.types.sign(make(self.next_nonce(key.address)), key)
        assert self.submit((transaction,))[0].status == "accepted"
        return transaction

    def submit(self, transactions: Sequence[Transaction]) -> tuple[SubmitOutcome, ...]:
        """As the gateway does."""
        return tuple(self._admit(transaction) for transaction in transactions)

    def _admit(self, transaction: Transaction) -> SubmitOutcome:
        self.types.check_signature(transaction)
        place = (transaction.sender, transaction.nonce)
        try:
            if place in self.pool:
                raise InvalidTransaction("fee_too_low_to_replace", "the nonce is taken")
            if transaction.nonce < self.nonce(transaction.sender):
                raise InvalidTransaction("stale_nonce", "the nonce is used")
            self.executor.check(transaction, self.state, self.genesis.first_epoch, self.tip.block_time_ms)
        except InvalidTransaction as refusal:
            return SubmitOutcome(transaction.id, "refused", refusal.code, refusal.detail)
        self.pool[place] = transaction
        self.sent.append(transaction)
        return SubmitOutcome(transaction.id, "accepted", "", "")

    def make_block(self) -> ExecutedBlock:
        """Everything that is in its turn, by sender and nonce."""
        chosen: list[Transaction] = []
        for sender in sorted({sender for sender, _ in self.pool}):
            nonce = self.nonce(sender)
            while (sender, nonce) in self.pool:
                chosen.append(self.pool.pop((sender, nonce)))
                nonce += 1
        height = self.tip.height + 1
        proposer = node_id_of(self.genesis.validators[0].consensus_key)
        ids = [transaction.id for transaction in chosen]
        proposal = build_proposal(self.genesis.hash, 0, height, STARTED_AT_MS + 1_000 * height, proposer, ids)
        order = OrderCertificate("test", 1, b"")
        block = self.executor.execute_block(
            self.tip, self.genesis.first_epoch, proposal, chosen, self.state, order
        )
        self.tip = block.header
        self.failures += [receipt.code for receipt in block.receipts if receipt.status == FAILED]
        if not self.holds_certificates:
            self.certified = height
        return block

    def view(self, operator: bytes) -> LedgerView:
        """As the node gives it."""
        return ledger_view(
            self.state,
            certified_height=self.certified,
            is_behind=self.is_behind,
            operator=operator,
            operators=tuple(member.operator for member in self.genesis.validators),
            account_nonce=self.nonce(operator),
            next_nonce=self.next_nonce(operator),
        )


class MemoryIntents:
    """What survives a crash. A crash may come before or after each write."""

    def __init__(self) -> None:
        self.rows: dict[bytes, tuple[bytes, Prepared]] = {}
        self.boundary: Boundary = silent
        self.order: list[str] = []

    async def load(self, scope: bytes) -> tuple[Prepared, ...]:
        """All of a scope."""
        self.boundary("load")
        return tuple(prepared for where, prepared in self.rows.values() if where == scope)

    async def put(self, scope: bytes, prepared: Prepared) -> None:
        """Written."""
        self.boundary("put")
        self.rows[prepared.transaction_hash] = (scope, prepared)
        self.boundary("put done")

    async def remove(self, scope: bytes, prepared: Prepared) -> None:
        """Struck out."""
        self.boundary("remove")
        self.rows.pop(prepared.transaction_hash, None)
        self.boundary("remove done")


class Node:
    """One validator's settler, which can die and come back."""

    def __init__(self, world: World, index: int, key: SigningKey, *, relays: bool = True) -> None:
        self.world = world
        self.index = index
        self.key = key
        self.relay = key_of(f"relay{index}").address if relays else b""
        self.clock = Clock()
        self.clock.ns = world.clock.ns + index * 1_000_003  # no two processes began together
        self.intents = MemoryIntents()
        self.boundary: Boundary = silent
        self.backend: ScriptedBackend
        self.settler: Settler
        self.down = None
        self.types = world.ledger.types
        self.start()

    def start(self) -> None:
        """A new process over what is durable."""
        world = self.world
        self.settler = Settler(
            backend="scripted",
            make_backend=self._make,
            intents=self.intents,
            clock=self.clock,
            genesis_hash=world.ledger.genesis.hash,
            operator=self.key,
            options=SettlerOptions(
                relay=RelayOptions(
                    account=self.relay,
                    confirmations=world.confirmations,
                    turn_ns=world.turn_ns,
                    stuck_after_ns=STUCK_AFTER_S * NS_PER_S,
                ),
            ),
            poll_ms=250,
        )
        self.settler.attach(self)

    async def _make(self, contract: Contract) -> SettlementBackend:
        self.backend = ScriptedBackend(
            self.world.layer2,
            self.relay,
            self.world.confirmations,
            self.world.relay_ahead,
            lambda what: self.boundary(what),
        )
        self.backend.down = self.world.down
        return self.backend

    async def tick(self) -> SettlerReport:
        """One round."""
        self.intents.boundary = self.boundary
        return await self.settler.tick()

    # --- LedgerPort ---------------------------------------------------------------------------------------------------

    def settlement_view(self, operator: bytes) -> LedgerView:
        """The ledger is one for all nodes here."""
        return self.world.ledger.view(operator)

    async def submit(self, transactions: Sequence[Transaction]) -> tuple[SubmitOutcome, ...]:
        """Into the pool, unless the process dies before or right after."""
        self.boundary("ledger")
        outcomes = self.world.ledger.submit(transactions)
        self.boundary("ledger done")
        return outcomes

    async def wait_height(self, height: int, *, certified: bool, timeout_s: float) -> bool:
        """Nobody waits in these tests."""
        raise AssertionError("ticks are the test's")


class World:
    """All of it."""

    def __init__(
        self,
        count: int = 1,
        *,
        confirmations: int = 2,
        turn_s: int = TURN_S,
        relayers: int | None = None,
        relay_ahead: int = 4,
    ) -> None:
        self.clock = Clock()
        self.confirmations = confirmations
        self.turn_ns = turn_s * NS_PER_S
        self.relay_ahead = relay_ahead
        self.down = None
        self.keys = [key_of(f"operator{index}") for index in range(count)]
        self.spare = [key_of(f"spare{index}") for index in range(count)]
        """Owners after a rotation."""
        self.users = [key_of(f"user{index}") for index in range(6)]
        self.ledger = Ledger(self.keys, [*self.keys, *self.users])
        self.contract = Contract("multisig", 31_337, keccak256(b"contract")[12:], ZERO_ADDRESS, 0, 0)
        self.owners = tuple(sorted(key.address for key in self.keys))
        self.threshold = Quorum(count).quorum
        self.layer2 = Layer2(self.contract, self.owners, self.threshold)
        self.scope = scope_of(self.ledger.genesis.hash, self.contract)
        self.withdrawn: dict[bytes, int] = {}
        relays = count if relayers is None else relayers
        self.nodes = [Node(self, index, key, relays=index < relays) for index, key in enumerate(self.keys)]

    # --- what people do -----------------------------------------------------------------------------------------------

    def govern(self, make: Callable[[SigningKey, int], TransactionBody]) -> None:
        """The first operator proposes, the others agree."""
        first, *others = self.keys
        proposal = self.ledger.send(first, lambda nonce: make(first, nonce))
        self.ledger.make_block()
        for key in others:
            self.ledger.send(key, lambda nonce, key=key: _yes(key, nonce, proposal.id))
        self.ledger.make_block()

    def bind(self, funds: int = 1_000_000) -> None:
        """The contract becomes this ledger's; somebody pays `funds` in, deep in the chain, and operators say so."""
        contract, owners = self.contract, b"".join(self.owners)
        self.govern(
            lambda key, nonce: GovBindContract(
                key.address, nonce, uint256(0), 0, contract.scheme, contract.chain_id, contract.address,
                contract.safe, 0, 0, owners, self.threshold,
            )
        )  # fmt: skip
        assert records.bound_contract(self.ledger.state) == contract
        if not funds:
            return
        self.layer2.deposit(key_of("backer").address, funds)
        self.layer2.mine(BURIED)
        (event,) = self.layer2.events()
        for key in self.keys:
            self.ledger.send(
                key,
                lambda nonce, key=key: ObserveL2(
                    key.address, nonce, uint256(0), 0, event.event_nonce, event.kind, event.payload,
                    event.block_number, event.block_hash, event.transaction_hash, event.log_index,
                ),
            )  # fmt: skip
        self.ledger.make_block()
        assert records.counters(self.ledger.state).withdrawable == funds

    def set_parameter(self, name: str, value: int) -> None:
        """A term of settlement."""
        self.govern(lambda key, nonce: GovSetParameter(key.address, nonce, uint256(0), 0, name, uint256(value)))

    def rotate(self, owners: Sequence[SigningKey]) -> None:
        """Ask the contract for other owners."""
        listed = sorted(key.address for key in owners)
        threshold = Quorum(len(listed)).quorum
        self.govern(
            lambda key, nonce: GovRotateOwners(key.address, nonce, uint256(0), 0, b"".join(listed), threshold)
        )

    def withdraw(self, user: int, amount: int) -> None:
        """A user wants money on Layer 2."""
        key = self.users[user]
        self.ledger.send(key, lambda nonce: Withdraw(key.address, nonce, uint256(10), 0, uint256(amount)))
        self.withdrawn[key.address] = self.withdrawn.get(key.address, 0) + amount

    def deposit(self, user: int, amount: int) -> None:
        """A user pays in on Layer 2."""
        self.layer2.deposit(self.users[user].address, amount)

    # --- time ---------------------------------------------------------------------------------------------------------

    def pass_time(self, seconds: int = 1) -> None:
        """For everybody."""
        for clock in [self.clock, *(node.clock for node in self.nodes)]:
            clock.ns += seconds * NS_PER_S

    async def step(self, *, mine: bool = True, blocks: bool = True) -> None:
        """One second: each settler looks, then a block of each chain."""
        for node in self.nodes:
            await node.tick()
        if blocks and self.ledger.pool:
            self.ledger.make_block()
        if mine:
            self.layer2.mine()
        self.pass_time()

    async def settle(self, steps_max: int = 200) -> int:
        """Until nothing is left to do; the steps it took."""
        for taken in range(steps_max):
            if self.is_settled():
                return taken
            await self.step()
        raise AssertionError(f"not settled: {[node.settler.status().report for node in self.nodes]}")

    def is_settled(self) -> bool:
        """Everything owed is paid, everything seen is applied, nothing is followed."""
        counters = records.counters(self.ledger.state)
        return (
            not self.ledger.pool
            and not self.layer2.pool
            and not counters.payouts_open
            and not counters.actions_open
            and counters.next_event == self.layer2.state.next_event
            and not any(node.intents.rows for node in self.nodes)
        )

    def check_books(self) -> None:
        """Everybody got on Layer 2 what left the ledger, once; everybody has on the ledger what was paid in."""
        counters = records.counters(self.ledger.state)
        assert self.layer2.executions() == list(range(self.layer2.state.next_nonce))
        assert dict(self.layer2.state.rewards) == self.withdrawn
        assert uint(counters.executed) == sum(self.withdrawn.values())
        assert uint(counters.credited) == self.layer2.state.deposited
        assert not counters.halted


def _yes(key: SigningKey, nonce: int, proposal: bytes) -> GovVote:
    return GovVote(key.address, nonce, uint256(0), 0, proposal, 1)


def replaced(prepared: Prepared, **changes: object) -> Prepared:
    """The same with other members."""
    return msgspec.structs.replace(prepared, **changes)
