"""Accounts: nonce and balance of every Ethereum address, transfers between them, and the treasury that fees go to."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from potchain.application.interface import BlockContext, EventData, StateReader, StateWriter
from potchain.codec import Canonical, encode
from potchain.crypto import checksum_address
from potchain.errors import InvalidTransaction, TransactionFailed
from potchain.genesis import Epoch, Genesis
from potchain.primitives import UINT256_MAX, ZERO_ADDRESS, Address, Bytes, Uint64, Uint256, uint, uint256
from potchain.transactions import MEMO_BYTES_MAX, Transaction, TransactionBody, Transfer

ACCOUNT_PREFIX = b"account/"
TREASURY_KEY = b"treasury"


class Account(Canonical, frozen=True):
    """The record of one address. An address without a record has nonce 0 and balance 0."""

    nonce: Uint64
    balance: Uint256


_decode_account = msgspec.msgpack.Decoder(Account).decode
"""Records were written by `store_account`, so they are not checked for canonical form on every read."""

NO_ACCOUNT = Account(nonce=0, balance=uint256(0))


class Transferred(EventData, frozen=True):
    """An amount moved."""

    from_: Address
    to: Address
    amount: Uint256
    memo: Bytes


def account_key(address: bytes) -> bytes:
    """Record key of an address."""
    return ACCOUNT_PREFIX + address


def load_account(state: StateReader, address: bytes) -> Account:
    """The account of an address, empty if it has no record."""
    data = state.get(ACCOUNT_PREFIX + address)
    return NO_ACCOUNT if data is None else _decode_account(data)


def store_account(state: StateWriter, address: bytes, nonce: int, balance: int) -> None:
    """Write an account; `balance` must be in [0, 2^256)."""
    state.put(ACCOUNT_PREFIX + address, encode(Account(nonce=nonce, balance=uint256(balance))))


def treasury_balance(state: StateReader) -> int:
    """Fees taken since genesis, base units."""
    return uint(state.get(TREASURY_KEY) or b"")


def add_to_treasury(state: StateWriter, fees: int) -> None:
    """Credit fees; the sum of all money is bounded by genesis, so this cannot overflow."""
    if fees:
        state.put(TREASURY_KEY, uint256(treasury_balance(state) + fees))


def take_from_treasury(state: StateWriter, wanted: int) -> int:
    """Take so much out, or all there is if that is less; what was taken. The caller says whose it is."""
    if not wanted:
        return 0
    held = treasury_balance(state)
    taken = min(held, wanted)
    if taken:
        state.put(TREASURY_KEY, uint256(held - taken))
    return taken


def credit_account(state: StateWriter, address: bytes, amount: int) -> None:
    """Add to a balance; the caller knows where the money comes from, and that all there is stays below 2^256."""
    account = load_account(state, address)
    store_account(state, address, account.nonce, uint(account.balance) + amount)


class AccountsApplication:
    """The built-in application: `Transfer`."""

    name = "accounts"
    body_types: tuple[type[TransactionBody], ...] = (Transfer,)
    event_types: tuple[type[EventData], ...] = (Transferred,)

    def genesis_records(self, genesis: Genesis) -> Iterable[tuple[bytes, bytes]]:
        """One record per initial balance."""
        for initial in genesis.accounts:
            yield account_key(initial.address), encode(Account(nonce=0, balance=initial.balance))

    def check(self, transaction: Transaction, state: StateReader, epoch: Epoch) -> None:
        """Shape of the transfer, and funds for amount and fee. Raises InvalidTransaction."""
        body = transaction.body
        assert isinstance(body, Transfer)
        fault = _shape_fault(body)
        if fault:
            raise InvalidTransaction(*fault)
        balance = uint(load_account(state, body.from_).balance)
        needed = uint(body.amount) + transaction.fee
        if balance < needed:
            sender = checksum_address(body.from_)
            raise InvalidTransaction("insufficient_funds", f"{sender} has {balance}, needs {needed} with the fee")

    def is_duty(self, transaction: Transaction, state: StateReader, epoch: Epoch) -> bool:
        """Nobody has to transfer anything."""
        return False

    def execute(self, transaction: Transaction, context: BlockContext, state: StateWriter) -> tuple[EventData, ...]:
        """Move the amount. Raises TransactionFailed."""
        body = transaction.body
        assert isinstance(body, Transfer)
        fault = _shape_fault(body)
        if fault:
            raise TransactionFailed(*fault)
        sender = load_account(state, body.from_)
        amount = uint(body.amount)
        left = uint(sender.balance) - amount
        if left < 0:
            raise TransactionFailed("insufficient_funds", f"balance {uint(sender.balance)}, amount {amount}")
        store_account(state, body.from_, sender.nonce, left)
        receiver = load_account(state, body.to)
        credited = uint(receiver.balance) + amount
        assert credited <= UINT256_MAX, "money is conserved, and genesis bounds its sum"
        store_account(state, body.to, receiver.nonce, credited)
        return (Transferred(from_=body.from_, to=body.to, amount=body.amount, memo=body.memo),)

    def end_block(self, context: BlockContext, state: StateWriter) -> tuple[EventData, ...]:
        """Nothing is due by time."""
        return ()


def _shape_fault(body: Transfer) -> tuple[str, str] | None:
    if body.to == ZERO_ADDRESS:
        return "zero_address", "the receiver is the zero address; money sent there would be lost"
    if uint(body.amount) == 0:
        return "zero_amount", "the amount is 0; it must be at least 1"
    if len(body.memo) > MEMO_BYTES_MAX:
        return "memo_too_long", f"the memo has {len(body.memo)} bytes, at most {MEMO_BYTES_MAX} are allowed"
    return None
