"""The ledger side of settlement on paper: a chain with every core application, and short words for what people do.

Operators are those of `core_network` (N0 is v0's), the owners of the contract are the operators unless a test says
otherwise. The contract itself is played by `Events`, which numbers what it says.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from core_network import Chain, key, make_genesis

from potchain.application.accounts import ACCOUNT_PREFIX, AccountsApplication, load_account, treasury_balance
from potchain.application.governance.application import GovernanceApplication
from potchain.application.governance.bodies import (
    GovBindContract,
    GovPause,
    GovRotateOwners,
    GovSetParameter,
    GovVote,
)
from potchain.application.interface import Application, EventData
from potchain.application.settlement import records
from potchain.application.settlement.application import SettlementApplication
from potchain.application.settlement.bodies import ObserveL2, SignBatch, Withdraw
from potchain.blocks import ExecutedBlock, Receipt, StateChange
from potchain.codec import Canonical, decode, encode
from potchain.crypto import SigningKey, keccak256
from potchain.genesis import Genesis
from potchain.primitives import ZERO_ADDRESS, uint, uint256
from potchain.settlement import BatchSeen, DepositSeen, PauseSeen, RootSeen, RotationSeen
from potchain.settlement.actions import owners_hash
from potchain.settlement.events import EVENT_TYPES
from potchain.transactions import Transaction, TransactionBody

CONTRACT = bytes.fromhex("11" * 20)
CHAIN_ID = 97
RELAYER = key("relayer").address
PEOPLE = ("alice", "bob", "carol", "dave")
RICH = 1_000_000


def reward_key(name: str) -> SigningKey:
    """The key of somebody in the worked example: keccak256("key" + name)."""
    return SigningKey(keccak256(b"key" + name.encode()))


def operator_key(index: int) -> SigningKey:
    """The operator of validator v<index>."""
    return key(f"operator v{index}")


def joined(owners: Sequence[bytes]) -> bytes:
    """As governance takes them."""
    return b"".join(sorted(owners))


def core_applications() -> tuple[Application, ...]:
    """Those that are enabled by default, in their order."""
    return AccountsApplication(), GovernanceApplication(), SettlementApplication()


class Books:
    """A chain, its people and its operators. Each call is a block of its own unless its transactions are collected."""

    def __init__(
        self,
        validators: int = 4,
        *,
        genesis: Genesis | None = None,
        keys: Sequence[SigningKey] | None = None,
        extra: Sequence[Application] = (),
        **parameters: int,
    ) -> None:
        people = [(name, RICH) for name in PEOPLE]
        self.genesis = genesis or make_genesis(people, validators, **parameters)
        self.chain = Chain(self.genesis, (*core_applications(), *extra))
        self.operators = list(keys or [operator_key(index) for index in range(validators)])
        self.owners = list(self.operators)
        self.supply = sum(uint(account.balance) for account in self.genesis.accounts)
        self.next_event = 0
        self._collected: list[Transaction] = []
        self._planned: dict[bytes, int] = {}

    @property
    def state(self) -> records.StateReader:
        """After the last block."""
        return self.chain.state

    @property
    def counters(self) -> records.Counters:
        """Where settlement stands."""
        return records.counters(self.chain.state)

    # Transactions

    def make(self, signer: SigningKey, kind: type[TransactionBody], *members: object, fee: int = 0) -> Transaction:
        """Signed, with the sender's next nonce, what is collected counted in."""
        account = load_account(self.chain.state, signer.address)
        nonce = self._planned.get(signer.address, account.nonce)
        body = kind(signer.address, nonce, uint256(fee), 0, *members)  # type: ignore[arg-type]
        return self.chain.executor.types.sign(body, signer)

    def collect(self, signer: SigningKey, kind: type[TransactionBody], *members: object, fee: int = 0) -> None:
        """For the next block."""
        made = self.make(signer, kind, *members, fee=fee)
        self._collected.append(made)
        self._planned[signer.address] = made.nonce + 1

    def run(self, *, later_ms: int = 1_000) -> ExecutedBlock:
        """A block of what was collected."""
        transactions, self._collected, self._planned = self._collected, [], {}
        return self.chain.run(*transactions, timestamp_ms=self.chain.tip.block_time_ms + later_ms)

    def send(self, signer: SigningKey, kind: type[TransactionBody], *members: object, fee: int = 0) -> Receipt:
        """A block with one transaction; its receipt."""
        self.collect(signer, kind, *members, fee=fee)
        return self.run().receipts[0]

    def code(self, signer: SigningKey, kind: type[TransactionBody], *members: object, fee: int = 0) -> str:
        """The code with which it fails; empty if it does not."""
        return self.send(signer, kind, *members, fee=fee).code

    def withdraw(self, name: str, amount: int) -> Receipt:
        """Somebody takes money out."""
        return self.send(key(name), Withdraw, uint256(amount), fee=10)

    # Governance

    def bind(
        self,
        contract: bytes = CONTRACT,
        owners: Sequence[SigningKey] | None = None,
        threshold: int | None = None,
        funds: int = RICH * RICH,
    ) -> ExecutedBlock:
        """Bind a contract in one block, by all operators that it takes. `funds`: see `fund`."""
        if owners is not None:
            self.owners = list(owners)
        addresses = joined([owner.address for owner in self.owners])
        self.next_event = 0
        needed = self.quorum if threshold is None else threshold
        block = self.decide(GovBindContract, "multisig", CHAIN_ID, contract, ZERO_ADDRESS, 0, 1, addresses, needed)
        if block.receipts[0].code == "" and self.counters.binding:
            self.fund(funds)
        return block

    def fund(self, amount: int) -> None:
        """The contract has deposits, which the books know of by no event: for tests that number events from 0."""
        changed = msgspec.structs.replace(self.counters, funds=uint256(amount))
        self.chain.state.apply([StateChange(records.COUNTERS_KEY, encode(changed))])

    @property
    def quorum(self) -> int:
        """Of operators: ceil((n + f + 1) / 2), as `Quorum` says, counted by hand."""
        return {1: 1, 2: 2, 3: 2, 4: 3, 5: 4, 6: 4, 7: 5}[len(self.operators)]

    def decide(self, kind: type[TransactionBody], *members: object) -> ExecutedBlock:
        """Propose and accept in one block."""
        self.collect(self.operators[0], kind, *members)
        proposal = self._collected[-1].id
        for operator in self.operators[1 : self.quorum]:
            self.collect(operator, GovVote, proposal, 1)
        return self.run()

    def set_term(self, name: str, value: int) -> None:
        """Decide a term of settlement."""
        self.decide(GovSetParameter, f"settlement.{name}", uint256(value))

    def pause(self, paused: int) -> ExecutedBlock:
        """Decide to stop, or to go on."""
        return self.decide(GovPause, paused)

    def rotate(self, owners: Sequence[SigningKey], threshold: int) -> ExecutedBlock:
        """Decide on other owners."""
        return self.decide(GovRotateOwners, joined([owner.address for owner in owners]), threshold)

    # Duties

    def sign(self, nonce: int, signers: Sequence[SigningKey] | None = None) -> ExecutedBlock:
        """Enough owners sign an action, in one block."""
        record = records.action(self.chain.state, nonce)
        assert record is not None
        owners = records.owners_of(self.chain.state, record.action.epoch)
        assert owners is not None
        for signer in self.owners[: owners.threshold] if signers is None else signers:
            self.collect(signer, SignBatch, nonce, signer.sign_digest(record.digest))
        return self.run()

    def observe(
        self, seen: Canonical, *, voters: Sequence[SigningKey] | None = None, number: int | None = None, **other: int
    ) -> ExecutedBlock:
        """A quorum of operators, or these, say in one block what the contract did."""
        nonce = self.next_event if number is None else number
        for voter in self.operators[: self.quorum] if voters is None else voters:
            self.collect(voter, ObserveL2, *observation(nonce, seen, **other))
        block = self.run()
        if number is None:
            self.next_event += 1
        return block

    def deposit(self, name: str, amount: int) -> ExecutedBlock:
        """Money comes from Layer 2."""
        return self.observe(DepositSeen(key(name).address, uint256(amount)))

    def executed(self, nonce: int, **other: int) -> ExecutedBlock:
        """The contract executed an open action as it was asked to."""
        return self.observe(seen_of(self.chain.state, nonce), **other)

    # What there is

    def money(self) -> tuple[int, int]:
        """What there is on the ledger, and what there must be."""
        balances = [
            uint(load_account(self.chain.state, name[len(ACCOUNT_PREFIX) :]).balance)
            for name, _ in self.chain.state.items()
            if name.startswith(ACCOUNT_PREFIX)
        ]
        owed = [
            uint(decode(records.PayoutRecord, value).amount)
            for name, value in self.chain.state.items()
            if name.startswith(records.PAYOUT_PREFIX)
        ]
        now = self.counters
        assert sum(owed) == uint(now.owed)
        assert len(owed) == now.payouts_open
        there = sum(balances) + treasury_balance(self.chain.state) + sum(owed)
        return there, self.supply + uint(now.credited) - uint(now.executed)

    def balance(self, who: str | bytes) -> int:
        """Of a name or an address."""
        address = who if isinstance(who, bytes) else key(who).address
        return uint(load_account(self.chain.state, address).balance)

    def events(self, block: ExecutedBlock) -> list[EventData]:
        """Everything that a block tells, in order."""
        told = [event for receipt in block.receipts for event in receipt.events] + list(block.end_events)
        return [decode(self.chain.executor.event_types[event.kind], event.data) for event in told]


def observation(nonce: int, seen: Canonical, *, block_number: int = 100, log_index: int = 0) -> tuple[object, ...]:
    """Members of an ObserveL2 after the common ones."""
    kind = next(name for name, each in EVENT_TYPES.items() if type(seen) is each)
    block_hash = keccak256(b"block" + block_number.to_bytes(8, "big"))
    transaction_hash = keccak256(b"transaction" + nonce.to_bytes(8, "big"))
    return nonce, kind, encode(seen), block_number, block_hash, transaction_hash, log_index


def seen_of(state: records.StateReader, nonce: int) -> Canonical:
    """The event with which the contract answers an open action."""
    record = records.action(state, nonce)
    assert record is not None
    action = record.action
    if action.kind == "batch":
        return BatchSeen(nonce, record.total, RELAYER)
    if action.kind == "root":
        return RootSeen(nonce, action.root, record.total, RELAYER)
    if action.kind == "rotate":
        return RotationSeen(nonce, action.epoch + 1, owners_hash(action.owners), action.threshold)
    return PauseSeen(nonce, action.paused)


def with_member(seen: Canonical, **members: object) -> Canonical:
    """Another event."""
    changed: Canonical = msgspec.structs.replace(seen, **members)
    return changed
