"""The built-in application: records of accounts, transfers, and the treasury."""

from __future__ import annotations

import pytest
from core_network import START_MS, Chain, key, make_genesis
from hypothesis import given
from hypothesis import strategies as st

from potchain.application.accounts import (
    NO_ACCOUNT,
    TREASURY_KEY,
    Account,
    Transferred,
    account_key,
    add_to_treasury,
    load_account,
    store_account,
    treasury_balance,
)
from potchain.application.execution import WorkingState
from potchain.application.state import AuthenticatedState
from potchain.codec import decode, encode
from potchain.errors import InvalidTransaction
from potchain.primitives import UINT64_MAX, UINT256_MAX, ZERO_ADDRESS, uint, uint256

BALANCES = [("alice", 1_000), ("bob", 50)]


@given(st.binary(min_size=20, max_size=20), st.integers(0, UINT64_MAX), st.integers(0, UINT256_MAX))
def test_an_account_is_stored_and_loaded(address: bytes, nonce: int, balance: int) -> None:
    state = WorkingState(AuthenticatedState())
    assert load_account(state, address) == NO_ACCOUNT
    store_account(state, address, nonce, balance)
    assert load_account(state, address) == Account(nonce, uint256(balance))
    stored = state.get(account_key(address))
    assert stored is not None
    assert decode(Account, stored) == Account(nonce, uint256(balance)), "the record is canonical"


def test_the_treasury_starts_empty_and_adds_up() -> None:
    state = WorkingState(AuthenticatedState())
    assert treasury_balance(state) == 0
    add_to_treasury(state, 0)
    assert state.get(TREASURY_KEY) is None
    add_to_treasury(state, 5)
    add_to_treasury(state, 7)
    assert treasury_balance(state) == 12


def test_genesis_balances_become_records() -> None:
    chain = Chain(make_genesis(BALANCES))
    assert load_account(chain.state, key("alice").address) == Account(0, uint256(1_000))
    assert len(chain.state) == 3, "and one that names the epoch"


CHECKS = [
    ("zero_address", {"to": ZERO_ADDRESS}),
    ("zero_amount", {"amount": 0}),
    ("memo_too_long", {"memo": bytes(65)}),
    ("insufficient_funds", {"amount": 991}),
    ("insufficient_funds", {"amount": UINT256_MAX}),
    ("insufficient_funds", {"fee": UINT256_MAX}),
    ("insufficient_fee", {"fee": 9}),
    ("expired", {"valid_until": START_MS - 1}),
]


@pytest.mark.parametrize(("code", "changes"), CHECKS)
def test_a_transfer_that_could_not_succeed_is_refused_at_the_door(code: str, changes: dict[str, int]) -> None:
    chain = Chain(make_genesis(BALANCES))
    transaction = chain.transfer("alice", **{"to": "bob", "amount": 5, **changes})  # type: ignore[arg-type]
    with pytest.raises(InvalidTransaction) as caught:
        chain.executor.check(transaction, chain.state, chain.genesis.first_epoch, START_MS)
    assert caught.value.code == code


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"amount": 990},
        {"memo": bytes(64)},
        {"valid_until": START_MS},
        {"nonce": 77},
        {"to": "alice", "amount": 990},
    ],
)
def test_a_transfer_that_could_succeed_is_let_in_whatever_its_nonce(changes: dict[str, int]) -> None:
    chain = Chain(make_genesis(BALANCES))
    transaction = chain.transfer("alice", **{"to": "bob", "amount": 5, **changes})  # type: ignore[arg-type]
    chain.executor.check(transaction, chain.state, chain.genesis.first_epoch, START_MS)


def test_a_transfer_moves_the_amount_and_says_so() -> None:
    chain = Chain(make_genesis(BALANCES))
    block = chain.run(chain.transfer("alice", "carol", 300, memo=b"rent"))
    assert load_account(chain.state, key("alice").address) == Account(1, uint256(690))
    assert load_account(chain.state, key("carol").address) == Account(0, uint256(300))
    event = block.receipts[0].events[0]
    assert event.kind == "Transferred"
    expected = Transferred(key("alice").address, key("carol").address, uint256(300), b"rent")
    assert event.data == encode(expected)


def test_a_transfer_to_oneself_costs_only_the_fee() -> None:
    chain = Chain(make_genesis(BALANCES))
    block = chain.run(chain.transfer("alice", "alice", 990))
    assert block.receipts[0].status == "ok"
    assert uint(load_account(chain.state, key("alice").address).balance) == 990
