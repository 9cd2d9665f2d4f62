"""Votes on the contract's events: quorum, order, replacing, split votes, and events that do not fit."""

from __future__ import annotations

import pytest
from core_network import key, make_validators
from epoch_application import ChangeEpoch, EpochApplication
from prize_application import Award, PrizeApplication
from settlement_ledger import (
    CHAIN_ID,
    CONTRACT,
    RELAYER,
    RICH,
    Books,
    observation,
    operator_key,
    seen_of,
    with_member,
)

from potchain.application.governance.bodies import GovBindContract
from potchain.application.settlement import records
from potchain.application.settlement.bodies import (
    ActionExecuted,
    DepositCredited,
    Layer2Applied,
    Layer2Mismatch,
    ObserveL2,
    RelayPaid,
)
from potchain.application.settlement.duties import CHANGES_FREE_MAX
from potchain.application.settlement.observing import Observation, vote_hash
from potchain.codec import Canonical
from potchain.crypto import keccak256
from potchain.genesis import Genesis, InitialBalance, Parameters
from potchain.primitives import UINT256_MAX, uint, uint256
from potchain.settlement import BatchSeen, DepositSeen, PauseSeen, RootSeen, RotationSeen


def bound_books(**parameters: int) -> Books:
    books = Books(**parameters)
    books.bind()
    return books


def deposit(name: str, amount: int) -> DepositSeen:
    return DepositSeen(key(name).address, uint256(amount))


def test_a_deposit_is_credited_at_the_quorums_last_vote_and_makes_the_account() -> None:
    books = bound_books()
    for voter in range(2):
        assert books.events(books.observe(deposit("new", 70), voters=[operator_key(voter)], number=0)) == []
        assert books.balance("new") == 0
    block = books.observe(deposit("new", 70), voters=[operator_key(2)], number=0)
    told = books.events(block)
    assert told[0] == DepositCredited(key("new").address, uint256(70))
    assert isinstance(told[1], Layer2Applied)
    assert (told[1].event_nonce, told[1].kind) == (0, "deposit")
    assert books.balance("new") == 70
    assert uint(books.counters.credited) == 70
    assert records.event_votes(books.state, 0) == ()
    late = books.send(operator_key(3), ObserveL2, *observation(0, deposit("new", 70)))
    assert (late.status, late.code) == ("failed", "stale_event")


def test_events_are_applied_in_order_however_their_votes_come() -> None:
    books = bound_books()
    for number in (3, 1, 2):
        assert books.events(books.observe(deposit("alice", 10**number), number=number)) == []
    block = books.observe(deposit("alice", 1), number=0)
    amounts = [uint(event.amount) for event in books.events(block) if isinstance(event, DepositCredited)]
    assert amounts == [1, 10, 100, 1_000]
    assert books.counters.next_event == 4
    assert books.balance("alice") == RICH + 1_111


def test_what_is_applied_already_or_too_far_ahead_is_refused() -> None:
    books = bound_books()
    books.deposit("alice", 5)
    voter = operator_key(0)
    assert books.code(voter, ObserveL2, *observation(0, deposit("alice", 5))) == "stale_event"
    assert books.code(voter, ObserveL2, *observation(65, deposit("alice", 5))) == "too_far_ahead"
    assert books.code(voter, ObserveL2, *observation(64, deposit("alice", 5))) == ""
    books.set_term("observe_ahead", 2)
    assert books.code(voter, ObserveL2, *observation(3, deposit("alice", 5))) == "too_far_ahead"
    # What was voted on before the bound was lowered still counts when its turn comes.
    assert len(records.event_votes(books.state, 64)) == 1


def test_payloads_that_are_none_are_refused() -> None:
    books = bound_books()
    voter = operator_key(0)
    good = observation(0, deposit("alice", 5))
    payload = good[2]
    assert isinstance(payload, bytes)
    for kind, rubbish in (
        ("deposits", payload),
        ("", payload),
        ("batch", payload),
        ("deposit", b""),
        ("deposit", payload + b"\x00"),
        ("deposit", payload[:-1]),
        ("deposit", bytes(300)),
    ):
        assert books.code(voter, ObserveL2, 0, kind, rubbish, *good[3:]) == "bad_payload"
    assert books.code(voter, ObserveL2, *good) == ""


def test_nobody_observes_before_a_contract_is_bound() -> None:
    books = Books()
    assert books.code(operator_key(0), ObserveL2, *observation(0, deposit("alice", 5))) == "not_bound"


def test_only_operators_of_the_epoch_observe() -> None:
    books = bound_books()
    assert books.code(key("alice"), ObserveL2, *observation(0, deposit("alice", 5)), fee=10) == "not_operator"


def test_a_repeated_vote_fails_and_another_one_replaces_it() -> None:
    books = bound_books()
    voter = operator_key(0)
    assert books.code(voter, ObserveL2, *observation(0, deposit("alice", 5))) == ""
    assert books.code(voter, ObserveL2, *observation(0, deposit("alice", 5))) == "already_voted"
    assert books.code(voter, ObserveL2, *observation(0, deposit("alice", 6))) == ""
    (vote,) = records.event_votes(books.state, 0)
    assert vote[0] == voter.address
    votes = records.observations(books.state, 0)
    assert len(votes.observations) == 1
    books.observe(deposit("alice", 5), voters=[operator_key(1), operator_key(2)], number=0)
    assert books.counters.next_event == 0
    books.observe(deposit("alice", 5), voters=[voter], number=0)
    assert books.balance("alice") == RICH + 5


@pytest.mark.parametrize("member", range(4))
def test_votes_are_equal_only_when_all_of_them_is(member: int) -> None:
    first = Observation("deposit", b"x", 1, bytes(32), bytes(32), 0)
    others = (
        Observation("batch", b"x", 1, bytes(32), bytes(32), 0),
        Observation("deposit", b"y", 1, bytes(32), bytes(32), 0),
        Observation("deposit", b"x", 2, bytes(32), b"\x01" * 32, 0),
        Observation("deposit", b"x", 1, bytes(32), bytes(32), 1),
    )
    assert vote_hash(0, first) != vote_hash(0, others[member])
    assert vote_hash(0, first) != vote_hash(1, first)
    assert vote_hash(0, first) == vote_hash(0, Observation("deposit", b"x", 1, bytes(32), bytes(32), 0))


def test_split_votes_halt_the_queue_and_nothing_else() -> None:
    books = bound_books()
    books.withdraw("alice", 50)
    for voter in range(4):
        books.observe(deposit("bob", 1 + voter // 2), voters=[operator_key(voter)], number=0)
    books.observe(deposit("carol", 9), number=1)
    assert books.counters.next_event == 0
    assert books.balance("carol") == RICH
    # Payments, signatures and governance go on.
    assert books.chain.run(books.chain.transfer("dave", "alice", 1)).receipts[0].status == "ok"
    books.sign(0)
    books.set_term("batch_max", 7)
    record = records.action(books.state, 0)
    assert record is not None
    assert record.status == "signed"
    # One of them sees what it should have seen, and the queue goes on.
    books.observe(deposit("bob", 1), voters=[operator_key(2)], number=0)
    assert books.counters.next_event == 2
    assert (books.balance("bob"), books.balance("carol")) == (RICH + 1, RICH + 9)


def test_reorganised_events_are_voted_anew() -> None:
    books = bound_books()
    books.observe(deposit("bob", 1), voters=[operator_key(0), operator_key(1)], number=0, block_number=100)
    books.observe(deposit("bob", 1), number=0, block_number=101)
    assert books.balance("bob") == RICH + 1
    assert books.counters.next_event == 1


def test_the_batch_that_was_executed_is_paid_and_forgotten() -> None:
    books = bound_books()
    books.withdraw("alice", 50)
    books.sign(0)
    block = books.executed(0, block_number=123)
    transaction_hash = keccak256(b"transaction" + bytes(8))
    assert ActionExecuted(0, transaction_hash, 123) in books.events(block)
    record = records.action(books.state, 0)
    assert record is not None
    assert (record.status, record.receipt_block, record.receipt_hash) == ("executed", 123, transaction_hash)
    assert record.action.entries == ()
    assert uint(record.total) == 50
    assert records.signatures(books.state, 0) == ()
    assert records.payout(books.state, 0) is None
    assert records.open_actions(books.state) == ()
    assert uint(books.counters.executed) == 50
    assert books.counters.payouts_open == records.owed(books.state) == 0
    assert books.money()[0] == books.money()[1] == 4 * RICH - 50


def test_an_action_that_was_executed_without_our_signatures_is_executed_all_the_same() -> None:
    books = bound_books()
    books.withdraw("alice", 50)
    books.sign(0, [operator_key(0)])
    books.executed(0)
    record = records.action(books.state, 0)
    assert record is not None
    assert record.status == "executed"


def test_the_relayer_gets_its_fee_as_far_as_the_treasury_goes() -> None:
    books = bound_books()
    books.set_term("relay_fee", 25)
    books.withdraw("alice", 50)
    books.sign(0)
    books.withdraw("bob", 50)
    books.withdraw("carol", 50)
    assert RelayPaid(0, RELAYER, uint256(25)) in books.events(books.executed(0))
    assert books.balance(RELAYER) == 25
    books.sign(1)
    assert RelayPaid(1, RELAYER, uint256(5)) in books.events(books.executed(1))
    books.withdraw("dave", 50)
    books.sign(2)
    books.set_term("relay_fee", 0)
    assert not [event for event in books.events(books.executed(2)) if isinstance(event, RelayPaid)]
    assert books.balance(RELAYER) == 30
    assert books.money()[0] == books.money()[1]


def surprises(books: Books) -> list[Canonical]:
    """What the contract must not say while action 0, a batch, is the only open one."""
    good = seen_of(books.state, 0)
    return [
        with_member(good, total=uint256(51)),
        with_member(good, nonce=1),
        RootSeen(0, bytes(32), uint256(50), RELAYER),
        RotationSeen(0, 1, bytes(32), 3),
        PauseSeen(0, paused=True),
        deposit("bob", UINT256_MAX),
    ]


@pytest.mark.parametrize("surprise", range(6))
def test_an_event_that_does_not_fit_stops_forming_and_nothing_else(surprise: int) -> None:
    books = Books(extra=(PrizeApplication(),))
    books.bind()
    books.withdraw("alice", 50)
    books.sign(0)
    seen = surprises(books)[surprise]
    told = books.events(books.observe(seen))
    assert isinstance(told[0], Layer2Mismatch)
    assert told[0].event_nonce == 0
    assert isinstance(told[1], Layer2Applied)
    assert books.counters.halted
    assert books.counters.next_event == 1
    record = records.action(books.state, 0)
    assert record is not None
    assert record.status == "signed"
    # Deposits and receipts still come in, and what was under way ends; nothing new is formed.
    books.deposit("bob", 3)
    books.executed(0)
    assert books.withdraw("bob", 2).code == "settlement_paused"
    books.send(key("bob"), Award, key("bob").address, uint256(2), fee=10)
    assert books.counters.actions_open == 0
    assert books.counters.pending == 1
    assert books.money()[0] == books.money()[1]
    # Governance goes on: an action says so to the contract, and behind it batches are formed again.
    books.pause(0)
    assert (books.counters.halted, books.counters.paused) == (False, False)
    assert [each.action.kind for each in records.open_actions(books.state)] == ["pause"]
    books.sign(1)
    books.executed(1)
    assert [each.action.kind for each in records.open_actions(books.state)] == ["batch"]


def test_batches_out_of_order_or_of_nobody_are_surprises() -> None:
    books = bound_books()
    told = books.events(books.observe(BatchSeen(0, uint256(5), RELAYER)))
    assert isinstance(told[0], Layer2Mismatch)
    assert "no action is open" in told[0].reason


def test_deposits_are_bounded_so_that_no_sum_overflows() -> None:
    books = bound_books()
    books.deposit("alice", records.MONEY_MAX - 10)
    told = books.events(books.observe(deposit("alice", 11)))
    assert isinstance(told[0], Layer2Mismatch)
    assert books.balance("alice") == RICH + records.MONEY_MAX - 10
    books.deposit("alice", 10)
    assert books.balance("alice") == RICH + records.MONEY_MAX


def test_no_contract_is_bound_where_money_leaves_no_room() -> None:
    plain = Books().genesis
    rich = InitialBalance(key("alice").address, uint256(UINT256_MAX - records.MONEY_MAX + 1))
    books = Books(genesis=Genesis(plain.chain_id, plain.timestamp_ms, plain.validators, (rich,), Parameters()))
    assert books.bind().receipts[0].code == "too_much_money"
    assert records.bound_contract(books.state) is None


def epoch_books() -> Books:
    """Seven validators and an application that can change them; a boundary every few blocks."""
    everybody = make_validators([f"v{index}" for index in range(7)])
    books = Books(7, extra=(EpochApplication(everybody),), checkpoint_interval=4, log_window=8)
    books.bind()
    return books


def until_epoch(books: Books, number: int) -> list[object]:
    """Empty blocks until that epoch has begun; what they tell."""
    told: list[object] = []
    while books.chain.epoch.number < number:
        told += books.events(books.run())
    return told


def test_votes_of_who_is_no_operator_any_more_do_not_count() -> None:
    books = epoch_books()
    books.observe(deposit("alice", 5), voters=[operator_key(index) for index in (3, 4, 5, 6)], number=0)
    books.send(key("alice"), ChangeEpoch, "v0,v1,v2,v3", "", fee=10)
    assert books.counters.next_event == 0
    until_epoch(books, 1)
    books.observe(deposit("alice", 5), voters=[operator_key(0)], number=0)
    assert books.counters.next_event == 0
    assert [who for who, _ in records.event_votes(books.state, 0)] == [operator_key(3).address, operator_key(0).address]
    books.observe(deposit("alice", 5), voters=[operator_key(1)], number=0)
    assert books.counters.next_event == 1


def test_votes_that_are_enough_for_the_next_epoch_count_when_it_begins() -> None:
    books = epoch_books()
    books.observe(deposit("alice", 5), voters=[operator_key(index) for index in range(4)], number=0)
    assert books.counters.next_event == 0
    books.send(key("alice"), ChangeEpoch, "v0,v1,v2,v3", "", fee=10)
    told = until_epoch(books, 1)
    assert DepositCredited(key("alice").address, uint256(5)) in told
    assert books.counters.next_event == 1
    assert books.money()[0] == books.money()[1]


def test_the_contract_that_is_bound_is_the_proposed_one() -> None:
    books = bound_books()
    contract = records.bound_contract(books.state)
    assert contract is not None
    assert (contract.scheme, contract.chain_id, contract.address) == ("multisig", CHAIN_ID, CONTRACT)
    owners = records.current_owners(books.state)
    assert owners is not None
    assert owners.owners == tuple(sorted(operator_key(index).address for index in range(4)))
    assert (owners.epoch, owners.threshold) == (0, 3)


def test_a_safe_gets_no_relay_fee_that_nobody_could_spend() -> None:
    books = Books()
    addresses = b"".join(sorted(owner.address for owner in books.owners))
    books.decide(GovBindContract, "safe", CHAIN_ID, CONTRACT, RELAYER, 0, 1, addresses, books.quorum)
    books.set_term("relay_fee", 25)
    books.fund(50)
    books.withdraw("alice", 50)
    books.sign(0)
    assert not [event for event in books.events(books.executed(0)) if isinstance(event, RelayPaid)]
    assert books.balance(RELAYER) == 0
    assert books.money()[0] == books.money()[1]


def test_an_operator_that_changes_its_vote_again_and_again_pays_for_it() -> None:
    books = bound_books()
    voter = operator_key(0)
    for amount in range(CHANGES_FREE_MAX + 1):
        books.observe(deposit("a", amount), voters=[voter], number=0)
    assert records.observations(books.state, 0).votes[0].changes == CHANGES_FREE_MAX
    before = records.event_votes(books.state, 0)
    books.observe(deposit("a", 1_000), voters=[voter], number=0)  # without a fee: skipped
    assert records.event_votes(books.state, 0) == before
    for other in (1, 2, 3):
        books.observe(deposit("a", 70), voters=[operator_key(other)], number=0)
    assert books.balance("a") == 70
