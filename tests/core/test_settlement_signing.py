"""Signatures of actions: the worked example's batch and signatures, every refusal, and duties without a fee."""

from __future__ import annotations

import pytest
from core_network import key, make_validators
from prize_application import Award, PrizeApplication
from settlement_ledger import CONTRACT, Books, observation, operator_key, reward_key

from potchain.application.settlement import records
from potchain.application.settlement.application import WITHDRAWAL
from potchain.application.settlement.bodies import ActionFormed, ActionSigned, ObserveL2, SignBatch, Withdraw
from potchain.application.settlement.payouts import create_payout
from potchain.crypto import CURVE_ORDER
from potchain.errors import InvalidTransaction
from potchain.genesis import Genesis, InitialBalance, Parameters, Validator
from potchain.primitives import uint, uint256
from potchain.settlement import DepositSeen

ENTRIES = {
    "W": 50_000, "V1": 37_500, "V2": 37_500, "V3": 37_500, "P1": 850_007,
}  # fmt: skip
ADDRESSES = (
    "1ed98b012d773c9eea5b18113fb4c7ed87af124e", "396810f7a70183bc8c507f90f2670dabcd78eca9",
    "8f60f535ecd8f2398288365c021270a5dd8caaa4", "9e1f2b7d401e79373e053f63cecaac3b451f9c39",
    "ab6540634613c724b74c112d06797d938237c2c9",
)  # fmt: skip
DIGEST = "d7ee6a198ad5f4f9f5ad75e0f3a118cdf89b84627429eaee8752df683abad5db"
SIGNATURES = {
    "N2": "e81ff75fd7da795bb738982bd470319c0e55f4ad3ca68781527dc3628798a0c0"
    "5a0689a6d6c693a8963f9aa4bbdaa62f3b055b7120b851d165f91119281505131c",
    "N0": "c2638328701c3eb71720741fb12e9aaac74dd45e75e03ee77319e1136a5f6e0e"
    "1cce093c50c111ae1a187d077ee538c638e6863060a4d1eb7cc16a1a81ee4ca71c",
    "N1": "a3ec8cfcc9dde31d1b59507de71140a7effad8c3d14d9b9d428a0ef2820652a8"
    "7ab9cf296973ec7bddf9d4cc3c16a2a54d4dff9910722987ebd9b5f96ff181b11b",
}


def example_genesis() -> Genesis:
    """Four nodes with the operators of the worked example, and those who are paid with what they are paid."""
    plain = make_validators([f"v{index}" for index in range(4)])
    validators = tuple(
        Validator(each.name, each.node_key, each.consensus_key, reward_key(f"N{index}").address)
        for index, each in enumerate(plain)
    )
    accounts = sorted((reward_key(name).address, amount + 10) for name, amount in ENTRIES.items())
    balances = tuple(InitialBalance(address, uint256(amount)) for address, amount in accounts)
    return Genesis("example-1", 1_700_000_000_000, validators, balances, Parameters())


def example() -> Books:
    """Bound to the example's contract."""
    books = Books(genesis=example_genesis(), keys=[reward_key(f"N{index}") for index in range(4)])
    books.bind()
    return books


def bound_books() -> Books:
    """Bound, with action 0 for alice open."""
    books = Books()
    books.bind()
    books.withdraw("alice", 1_000)
    return books


def test_the_worked_examples_batch_has_its_digest_and_takes_its_signatures() -> None:
    books = example()
    for name, amount in ENTRIES.items():
        books.collect(reward_key(name), Withdraw, uint256(amount), fee=10)
    books.run()
    record = records.action(books.state, 0)
    assert record is not None
    assert [entry.account.hex() for entry in record.action.entries] == list(ADDRESSES)
    assert uint(record.total) == record.action.total == 1_012_507
    assert record.digest.hex() == DIGEST
    for name, signature in SIGNATURES.items():
        assert books.code(reward_key(name), SignBatch, 0, bytes.fromhex(signature)) == ""
    record = records.action(books.state, 0)
    assert record is not None
    assert (record.status, record.ready_height) == ("signed", books.chain.tip.height)
    assert [signature.hex() for _, signature in records.signatures(books.state, 0)] == [
        SIGNATURES[name] for name in ("N0", "N2", "N1")
    ]


def test_signatures_are_kept_sorted_by_owner_and_no_more_than_are_needed() -> None:
    books = bound_books()
    block = books.sign(0, [books.owners[index] for index in (3, 1, 0)])
    assert books.events(block) == [ActionSigned(0)]
    owners = [owner for owner, _ in records.signatures(books.state, 0)]
    assert owners == sorted(operator_key(index).address for index in (3, 1, 0))
    assert books.code(books.owners[2], SignBatch, 0, bytes(65)) == "batch_closed"


def test_every_signature_that_does_not_fit_is_refused_with_its_code() -> None:
    books = Books()
    owner = operator_key(0)
    assert books.code(owner, SignBatch, 0, bytes(65)) == "not_bound"
    books.bind()
    assert books.code(owner, SignBatch, 0, bytes(65)) == "unknown_action"
    books.withdraw("alice", 1_000)
    record = records.action(books.state, 0)
    assert record is not None
    good = owner.sign_digest(record.digest)
    high = good[:32] + (CURVE_ORDER - int.from_bytes(good[32:64], "big")).to_bytes(32, "big")
    rubbish = {
        "short": good[:64],
        "long": good + b"\x00",
        "v": good[:64] + b"\x00",
        "high s": high + bytes((55 - good[64],)),
        "no point": bytes(64) + b"\x1b",
        "another digest": owner.sign_digest(bytes(32)),
        "another owner": operator_key(1).sign_digest(record.digest),
    }
    for name, signature in rubbish.items():
        assert books.code(owner, SignBatch, 0, signature) == "bad_signature", name
    assert books.code(owner, SignBatch, 1, good) == "unknown_action"
    assert books.code(key("alice"), SignBatch, 0, good, fee=10) == "not_operator"
    assert books.code(owner, SignBatch, 0, good) == ""
    assert books.code(owner, SignBatch, 0, good) == "already_signed"
    books.sign(0, [operator_key(1), operator_key(2)])
    books.executed(0)
    assert books.code(operator_key(3), SignBatch, 0, operator_key(3).sign_digest(record.digest)) == "batch_closed"


def test_who_owns_another_epoch_of_the_contract_signs_in_that_one_only() -> None:
    books = bound_books()
    newcomers = [key(f"newcomer {index}") for index in range(3)]
    books.rotate(newcomers, 2)
    first = records.action(books.state, 0)
    assert first is not None
    assert books.code(newcomers[0], SignBatch, 0, newcomers[0].sign_digest(first.digest)) == "wrong_epoch"
    books.sign(0)
    books.executed(0)
    books.withdraw("bob", 500)
    books.sign(1)
    books.executed(1)
    second = records.action(books.state, 2)
    assert second is not None
    assert second.action.epoch == 1
    old = operator_key(0)
    assert books.code(old, SignBatch, 2, old.sign_digest(second.digest)) == "not_operator"
    books.owners = newcomers
    assert books.events(books.sign(2)) == [ActionSigned(2)]


def test_duties_of_operators_and_owners_are_free_and_those_of_others_are_not() -> None:
    books = Books()
    stranger, owner = key("stranger"), key("an owner")
    books.bind(owners=[owner, operator_key(0)], threshold=2)
    books.withdraw("alice", 1_000)
    deposit = observation(0, DepositSeen(key("bob").address, uint256(5)))
    refused = books.send(stranger, ObserveL2, *deposit)
    assert (refused.status, refused.code) == ("skipped", "insufficient_fee")
    refused = books.send(stranger, SignBatch, 0, bytes(65))
    assert (refused.status, refused.code) == ("skipped", "insufficient_fee")
    # An owner who is no operator may send duties, and fails where they are not his.
    failed = books.send(owner, ObserveL2, *deposit)
    assert (failed.status, failed.code, uint(failed.fee)) == ("failed", "not_operator", 0)
    record = records.action(books.state, 0)
    assert record is not None
    taken = books.send(owner, SignBatch, 0, owner.sign_digest(record.digest))
    assert (taken.status, uint(taken.fee)) == ("ok", 0)
    # Withdrawing is nobody's duty, and a fee that is offered is taken.
    assert books.send(operator_key(0), Withdraw, uint256(1)).code == "insufficient_fee"
    paid = books.send(key("alice"), ObserveL2, *deposit, fee=10)
    assert (paid.status, paid.code, uint(paid.fee)) == ("failed", "not_operator", 10)


def test_the_pool_refuses_what_execution_would_refuse() -> None:
    books = bound_books()
    check, epoch = books.chain.executor.check, books.chain.epoch
    record = records.action(books.state, 0)
    assert record is not None
    owner = operator_key(0)
    cases = [
        (books.make(owner, SignBatch, 0, bytes(65)), "bad_signature"),
        (books.make(key("alice"), SignBatch, 0, bytes(65)), "insufficient_fee"),
        (books.make(owner, ObserveL2, *observation(64, DepositSeen(owner.address, uint256(1)))), "too_far_ahead"),
        (books.make(key("alice"), Withdraw, uint256(0), fee=10), "below_minimum"),
        (books.make(key("alice"), Withdraw, uint256(2_000_000), fee=10), "insufficient_funds"),
        (books.make(key("alice"), Withdraw, uint256(1)), "insufficient_fee"),
    ]
    for transaction, code in cases:
        with pytest.raises(InvalidTransaction) as refusal:
            check(transaction, books.state, epoch, books.chain.tip.block_time_ms)
        assert refusal.value.code == code
    good = books.make(owner, SignBatch, 0, owner.sign_digest(record.digest))
    check(good, books.state, epoch, books.chain.tip.block_time_ms)
    assert books.chain.executor.least_fee(good, books.state, epoch) == 0
    check(books.make(key("alice"), Withdraw, uint256(5), fee=10), books.state, epoch, 0)


def test_withdrawing_without_a_contract_is_refused() -> None:
    """It would stand before everybody's deposits when one is bound."""
    books = Books()
    assert books.withdraw("alice", 400).code == "not_bound"
    assert books.counters.next_payout == 0


def test_a_withdrawal_is_owed_and_paid_by_the_next_action() -> None:
    books = Books()
    books.bind()
    receipt = books.withdraw("alice", 400)
    assert receipt.status == "ok"
    assert books.balance("alice") == 1_000_000 - 410
    first = records.payout(books.state, 0)
    assert first is not None
    assert (first.kind, first.account, uint(first.amount)) == (WITHDRAWAL, key("alice").address, 400)
    assert first.reference == receipt.transaction_id
    assert records.owed(books.state) == 400
    assert records.payout_action(books.state, 0) == 0
    contract = records.bound_contract(books.state)
    assert contract is not None
    assert contract.address == CONTRACT


def test_what_is_owed_before_a_contract_is_bound_waits_for_deposits() -> None:
    books = Books(extra=(PrizeApplication(),))
    books.send(key("alice"), Award, key("carol").address, uint256(400), fee=10)
    books.bind(funds=0)
    assert books.counters.pending == 1
    assert books.events(books.deposit("bob", 399))
    assert (books.counters.pending, books.counters.withdrawable) == (1, 0)
    block = books.deposit("bob", 1)
    assert [event.kind for event in books.events(block) if isinstance(event, ActionFormed)] == ["batch"]
    assert records.payout_action(books.state, 0) == 0


def test_too_little_and_too_much_is_not_paid_out() -> None:
    books = Books()
    books.bind()
    books.set_term("minimum_withdrawal", 100)
    assert books.withdraw("alice", 99).code == "below_minimum"
    assert books.withdraw("alice", 1_000_000).code == "insufficient_funds"
    assert books.withdraw("alice", 100).code == ""


def test_a_payout_of_another_shape_is_the_authors_mistake() -> None:
    for kind, reference in (("", bytes(32)), ("x" * 33, bytes(32)), ("prize", bytes(31))):
        with pytest.raises(ValueError, match="must have"):
            create_payout(None, None, kind, reference, bytes(20), 1)  # type: ignore[arg-type]
