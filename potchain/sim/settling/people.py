"""The people of a run with settlement: those who pay in and withdraw, and the operators as those who govern.

A wallet sends again what the chain has forgotten, as wallets do. Operators look at their own node's state now and
then: they propose what is due and not proposed, in turns, and vote for what is. Withdrawals go through the API like
transfers.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import cache
from hashlib import sha256
from typing import Protocol

import msgspec

from potchain.application.accounts import load_account
from potchain.application.governance.bodies import (
    GovBindContract,
    GovPause,
    GovRotateOwners,
    GovSetParameter,
    GovVote,
)
from potchain.application.governance.records import Proposal, open_proposals
from potchain.application.interface import StateReader
from potchain.application.settlement import records
from potchain.application.settlement.bodies import Withdraw
from potchain.application.settlement.roots import root_claim
from potchain.codec import decode
from potchain.crypto import SigningKey
from potchain.primitives import NS_PER_MS, NS_PER_S, NodeId, uint, uint256
from potchain.replica import wire
from potchain.settlement import Contract
from potchain.sim.layer2.chain import Chain, Mail, Transaction, signed
from potchain.sim.layer2.contract import Book, Call
from potchain.sim.observation import NodeView
from potchain.sim.plan import Decision, Layer2
from potchain.sim.scheduler import Scheduler
from potchain.sim.settling.settler import operator_key
from potchain.transactions import Transaction as LedgerTransaction
from potchain.transactions import TransactionBody, TransactionTypes
from potchain.typed_data import struct_to_json

WALLET_FEE_WEI = 1_000_000
"""What people offer: always enough."""
WALLET_PAUSE_NS = NS_PER_S
LOOK_PAUSE_NS = 300 * NS_PER_MS
PROPOSER_TURN_NS = 1_500 * NS_PER_MS
"""After this long another operator proposes."""
AMOUNT_MAX = 1_000
BACKER = "backer"


class Patient(NodeView, Protocol):
    """A node that people ask."""

    stays_down: bool

    def peers(self) -> dict[NodeId, bool]:
        """Other identities, and whether they are connected."""
        ...

    def inject(self, to: NodeId, frame: wire.Frame) -> None:
        """A frame that a liar made up."""
        ...

    def request(
        self, method: str, path: str, body: bytes, answered: Callable[[int | None, bytes], None]
    ) -> None:
        """An HTTP request; a status of None says that nobody answers."""
        ...


class SubmitAt(Protocol):
    """`Clients.submit_at`."""

    def __call__(self, at_ns: int, node: int, body: TransactionBody, key: SigningKey) -> LedgerTransaction:
        """Have a transaction submitted at a time, at that node first."""
        ...


@cache
def person_key(name: str) -> SigningKey:
    """The same key for the same person, in every run."""
    return SigningKey(sha256(f"potchain simulated person {name}".encode()).digest())


def holder_key(number: int) -> SigningKey:
    """Of an account that withdraws; funded at genesis."""
    return person_key(f"holder {number}")


class Paying:
    """Withdrawals, deposits and claims."""

    def __init__(self, scheduler: Scheduler, chain: Chain, options: Layer2, rng: random.Random) -> None:
        """`rng` decides who, when and how much; nothing else draws from it."""
        self._scheduler = scheduler
        self._chain = chain
        self._options = options
        self._rng = rng
        self._nonces: dict[bytes, int] = {}
        self._sent: list[Transaction] = []
        """Everything that people sent to Layer 2, in order."""
        self._planned = 0
        """Deposits that are still to be made."""

    def begin(self, submit_at: SubmitAt, base_fee: int, nodes: int) -> None:
        """Plan everything."""
        options, rng = self._options, self._rng
        nonces = [0] * options.holders
        total = 0
        for at_ns in sorted(self._moment() for _ in range(options.withdrawals)):
            holder, amount = rng.randrange(options.holders), 1 + rng.randrange(AMOUNT_MAX)
            key, total = holder_key(holder), total + amount
            body = Withdraw(key.address, nonces[holder], uint256(base_fee + rng.randrange(3)), 0, uint256(amount))
            nonces[holder] += 1
            submit_at(at_ns, rng.randrange(nodes), body, key)
        for number in range(options.deposits):
            to = holder_key(rng.randrange(options.holders + 2)).address
            self._plan_deposit(self._moment(), person_key(f"depositor {number % 3}"), to, 1 + rng.randrange(AMOUNT_MAX))
        if total:
            self._plan_deposit(options.backed_ns, person_key(BACKER), person_key(BACKER).address, total)
        self._wait()

    def left(self) -> str:
        """What is still to be paid in."""
        waiting = sum(not self._is_mined(each) for each in self._sent)
        if self._planned or waiting:
            return f"{self._planned} deposits are to be made, {waiting} transactions of people to be mined"
        return ""

    def claim(self, state: StateReader | None) -> None:
        """Each holder claims what the root on the chain promises and was not claimed."""
        for key, cumulative, proof in self._claims(state):
            call = Call(function="claim", accounts=(key.address,), total=cumulative, proof=proof)
            if self._nonces.get(key.address, 0) == self._chain.head.nonces.get(key.address, 0):
                self._send(key, call)

    def unclaimed(self, state: StateReader | None) -> str:
        """Who could still claim."""
        count = len(self._claims(state))
        return f"{count} accounts have something to claim" if count else ""

    def _claims(self, state: StateReader | None) -> list[tuple[SigningKey, int, tuple[bytes, ...]]]:
        if state is None or records.bound_contract(state) is None:
            return []
        book, found = self._chain.book, []
        for number in range(self._options.holders):
            key = holder_key(number)
            promised = root_claim(state, key.address)
            if promised is None or promised.root != book.root:
                continue
            if promised.cumulative > book.claimed.get(key.address, 0):
                found.append((key, promised.cumulative, promised.branch))
        return found

    def _moment(self) -> int:
        return self._options.from_ns + self._rng.randrange(max(1, self._options.until_ns - self._options.from_ns))

    def _plan_deposit(self, at_ns: int, key: SigningKey, account: bytes, amount: int) -> None:
        self._planned += 1
        self._scheduler.at(at_ns, self._deposit, key, Call(function="deposit", accounts=(account,), amounts=(amount,)))

    def _deposit(self, key: SigningKey, call: Call) -> None:
        self._planned -= 1
        self._send(key, call)

    def _send(self, key: SigningKey, call: Call) -> None:
        nonce = self._nonces.get(key.address, 0)
        self._nonces[key.address] = nonce + 1
        transaction = signed(key, Mail(nonce, WALLET_FEE_WEI, call))
        self._sent.append(transaction)
        self._chain.send(transaction)

    def _wait(self) -> None:
        """Wallets send again what was forgotten."""
        for transaction in self._sent:
            if not self._chain.is_known(transaction):
                self._chain.send(transaction)
        self._scheduler.at(self._scheduler.now_ns + WALLET_PAUSE_NS, self._wait)

    def _is_mined(self, transaction: Transaction) -> bool:
        return transaction.mail.account_nonce < self._chain.head.nonces.get(transaction.account, 0)


class Governing:
    """Operators bind the contract, then take the plan's decisions one after the other."""

    def __init__(self, scheduler: Scheduler, options: Layer2, contract: Contract, deployed: Book) -> None:
        self._scheduler = scheduler
        self._contract = contract
        self._deployed = deployed
        self._decisions = (Decision(at_ns=options.bind_ns, kind="bind"), *options.decisions)
        self._taken = 0
        self._height = 0
        """Of the block after which the last one was seen to be taken; older states say nothing of the next."""
        self._since_ns = 0
        self._waits: dict[int, LedgerTransaction] = {}
        """By operator, what was submitted last."""
        self._operators: Sequence[Patient] = ()
        self._types: TransactionTypes

    def begin(self, operators: Sequence[Patient], types: TransactionTypes) -> None:
        """Look at the nodes from now on."""
        self._operators, self._types = operators, types
        self._look()

    def left(self) -> str:
        """What is not decided yet."""
        return ", ".join(each.kind for each in self._decisions[self._taken :])

    def _look(self) -> None:
        for node in self._operators:
            if self._taken < len(self._decisions) and node.is_up:
                self._act(node)
        if self._taken < len(self._decisions):
            self._scheduler.at(self._scheduler.now_ns + LOOK_PAUSE_NS, self._look)

    def _act(self, node: Patient) -> None:
        chain = node.replica.chain
        decision, state, height = self._decisions[self._taken], chain.state, node.replica.tip.height
        if height < self._height or self._scheduler.now_ns < decision.at_ns:
            return
        if not node.is_faulty and self._is_taken(state, decision):
            self._taken, self._height, self._since_ns = self._taken + 1, height, self._scheduler.now_ns
            return
        key = operator_key(node.index)
        nonce = load_account(state, key.address).nonce
        last = self._waits.get(node.index)
        if last is not None and nonce <= last.nonce:
            pending = node.replica.pool.pending_state(last.id)
            if pending is not None and pending.state != "dropped":
                return
        nonce = node.replica.pool.next_nonce(key.address, nonce)
        body = self._body(node.index, key.address, nonce, decision)
        proposal = next((each for each in open_proposals(state) if _same(each, body)), None)
        if proposal is not None and key.address not in (*proposal.yes, *proposal.no):
            self._submit(node, key, GovVote(key.address, nonce, uint256(0), 0, proposal.id, 1))
        elif proposal is None and self._turn() == node.index:
            self._submit(node, key, body)

    def _turn(self) -> int:
        waited_ns = self._scheduler.now_ns - max(self._since_ns, self._decisions[self._taken].at_ns)
        return self._operators[(self._taken + waited_ns // PROPOSER_TURN_NS) % len(self._operators)].index

    def _submit(self, node: Patient, key: SigningKey, body: TransactionBody) -> None:
        transaction = self._types.sign(body, key)
        self._waits[node.index] = transaction
        document = msgspec.json.encode(
            {
                "kind": transaction.kind,
                "message": struct_to_json(transaction.body),
                "signature": "0x" + transaction.signature.hex(),
            }
        )
        node.request("POST", "/v1/transactions", document, lambda status, answer: None)

    def _body(self, index: int, sender: bytes, nonce: int, decision: Decision) -> TransactionBody:
        free, deployed = uint256(0), self._deployed
        match decision.kind:
            case "bind":
                at, owners = self._contract, b"".join(deployed.owners)
                return GovBindContract(
                    sender, nonce, free, 0, at.scheme, at.chain_id, at.address, at.safe, 0, 0, owners,
                    deployed.threshold,
                )  # fmt: skip
            case "term":
                name = f"settlement.{decision.term}"
                return GovSetParameter(sender, nonce, free, 0, name, uint256(decision.value))
            case "rotate":
                return GovRotateOwners(sender, nonce, free, 0, b"".join(_owners(decision)), decision.value)
            case _:
                return GovPause(sender, nonce, free, 0, int(decision.kind == "pause"))

    def _is_taken(self, state: StateReader, decision: Decision) -> bool:
        if decision.kind == "bind":
            return records.bound_contract(state) is not None
        if decision.kind == "term":
            value = getattr(records.terms(state), decision.term)
            return decision.value == (uint(value) if isinstance(value, bytes) else value)
        if decision.kind == "rotate":
            owners = records.current_owners(state)
            return owners is not None and (owners.owners, owners.threshold) == (_owners(decision), decision.value)
        return records.counters(state).paused == (decision.kind == "pause")


def _owners(decision: Decision) -> tuple[bytes, ...]:
    return tuple(sorted(operator_key(node).address for node in decision.owners))


def _same(proposal: Proposal, body: TransactionBody) -> bool:
    """Whether a proposal asks for what a body would ask for."""
    if proposal.kind != type(body).__name__:
        return False
    asked = decode(type(body), proposal.body)
    first = 4  # after from, nonce, fee and valid_until
    return msgspec.structs.astuple(asked)[first:] == msgspec.structs.astuple(body)[first:]
