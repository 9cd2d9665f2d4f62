"""Governance: who may propose and vote, when it is decided, what each kind checks, and what expires."""

from __future__ import annotations

import pytest
from core_network import key, make_validators
from epoch_application import ChangeEpoch, EpochApplication
from settlement_ledger import CHAIN_ID, CONTRACT, Books, joined, operator_key

from potchain.application.accounts import AccountsApplication
from potchain.application.epochs import EpochPlanned, planned_epoch
from potchain.application.execution import Executor
from potchain.application.governance.application import GovernanceApplication
from potchain.application.governance.bodies import (
    GovApplied,
    GovBindContract,
    GovPause,
    GovProposed,
    GovRejected,
    GovRotateOwners,
    GovSetParameter,
    GovVote,
    GovVoted,
)
from potchain.application.governance.measures import PARAMETER_BOUNDS
from potchain.application.governance.records import (
    EXPIRY_MS,
    PROPOSALS_OPEN_MAX,
    PROPOSALS_PER_OPERATOR_MAX,
    open_proposals,
    proposal,
)
from potchain.application.settlement import records
from potchain.application.settlement.binding import TERM_BOUNDS
from potchain.application.settlement.bodies import ContractBound
from potchain.blocks import ExecutedBlock
from potchain.errors import PluginError
from potchain.genesis import Parameters
from potchain.primitives import UINT256_MAX, ZERO_ADDRESS, uint, uint256

OWNERS = joined([operator_key(index).address for index in range(4)])
FEE = ("base_fee", uint256(12))


def propose(books: Books, operator: int = 0, members: tuple[object, ...] = FEE) -> bytes:
    """A proposal to change a parameter; its id."""
    receipt = books.send(operator_key(operator), GovSetParameter, *members)
    assert receipt.status == "ok", receipt.code
    return receipt.transaction_id


def vote(books: Books, proposal_id: bytes, operator: int, approve: int = 1) -> ExecutedBlock:
    books.collect(operator_key(operator), GovVote, proposal_id, approve)
    return books.run()


def bind_members(**other: object) -> tuple[object, ...]:
    """Members of a sound GovBindContract, some changed."""
    members: dict[str, object] = {
        "scheme": "multisig", "chain_id": CHAIN_ID, "contract": CONTRACT, "safe": ZERO_ADDRESS, "safe_nonce": 0,
        "from_block": 1, "owners": OWNERS, "threshold": 3,
    }  # fmt: skip
    assert set(other) <= set(members)
    return tuple((members | other).values())


def test_a_proposal_is_done_at_the_quorums_last_yes() -> None:
    books = Books()
    books.collect(operator_key(0), GovSetParameter, *FEE)
    block = books.run()
    subject = block.receipts[0].transaction_id
    assert books.events(block) == [GovProposed(subject, "GovSetParameter")]
    assert books.events(vote(books, subject, 1)) == [GovVoted(subject, operator_key(1).address, 1)]
    found = proposal(books.state, subject)
    assert found is not None
    assert found.yes == (operator_key(0).address, operator_key(1).address)
    told = books.events(vote(books, subject, 3))
    assert told[1] == GovApplied(subject)
    assert isinstance(told[2], EpochPlanned)
    assert proposal(books.state, subject) is None
    assert open_proposals(books.state) == ()
    late = books.send(operator_key(2), GovVote, subject, 1)
    assert late.code == "unknown_proposal"
    assert uint(late.fee) == 0


def test_the_new_parameter_is_that_of_the_next_epoch() -> None:
    books = Books(checkpoint_interval=4, log_window=8)
    books.decide(GovSetParameter, *FEE)
    while not books.chain.epoch.number:
        books.run()
    assert books.chain.epoch.parameters == Parameters(checkpoint_interval=4, log_window=8, base_fee=12)


def test_changes_of_several_parameters_join() -> None:
    books = Books()
    books.decide(GovSetParameter, *FEE)
    books.decide(GovSetParameter, "batch_max", uint256(77))
    context = type("Context", (), {"epoch": books.chain.epoch})
    _, planned = planned_epoch(context, books.state)  # type: ignore[arg-type]
    assert (planned.base_fee, planned.batch_max) == (12, 77)


def test_so_many_nos_that_no_quorum_is_left_reject_it() -> None:
    books = Books()
    subject = propose(books)
    assert len(books.events(vote(books, subject, 1, approve=0))) == 1
    assert books.events(vote(books, subject, 2, approve=0))[1] == GovRejected(subject, "votes")
    assert open_proposals(books.state) == ()


def test_an_operator_votes_once_and_yes_or_no() -> None:
    books = Books()
    subject = propose(books)
    assert books.code(operator_key(0), GovVote, subject, 1) == "already_voted"
    assert books.code(operator_key(1), GovVote, subject, 2) == "bad_value"
    assert books.code(operator_key(1), GovVote, subject, 0) == ""
    assert books.code(operator_key(1), GovVote, subject, 1) == "already_voted"
    assert books.code(operator_key(1), GovVote, bytes(32), 1) == "unknown_proposal"


def test_who_is_no_operator_proposes_nothing_and_votes_on_nothing() -> None:
    books = Books()
    subject = propose(books)
    assert books.send(key("alice"), GovVote, subject, 1).code == "insufficient_fee"
    assert books.code(key("alice"), GovVote, subject, 1, fee=10) == "not_operator"
    assert books.code(key("alice"), GovSetParameter, *FEE, fee=10) == "not_operator"


def test_a_proposal_expires_by_block_time() -> None:
    books = Books()
    subject = propose(books)
    made_ms = books.chain.tip.block_time_ms
    assert books.events(books.run(later_ms=EXPIRY_MS)) == []
    assert books.chain.tip.block_time_ms == made_ms + EXPIRY_MS
    books.collect(operator_key(1), GovVote, subject, 1)
    block = books.run(later_ms=1)
    assert block.receipts[0].code == "unknown_proposal"
    assert books.events(block) == [GovRejected(subject, "expired")]
    assert open_proposals(books.state) == ()
    assert not [name for name, _ in books.chain.state.items() if name.startswith(b"governance/")]


def test_open_proposals_are_bounded_for_each_operator_and_in_all() -> None:
    books = Books()
    subjects = [propose(books) for _ in range(PROPOSALS_PER_OPERATOR_MAX)]
    assert books.code(operator_key(0), GovSetParameter, *FEE) == "too_many_proposals"
    propose(books, operator=1)
    vote(books, subjects[0], 1, approve=0)
    vote(books, subjects[0], 2, approve=0)
    propose(books)
    assert PROPOSALS_OPEN_MAX % PROPOSALS_PER_OPERATOR_MAX == 0
    operators = PROPOSALS_OPEN_MAX // PROPOSALS_PER_OPERATOR_MAX
    crowd = Books(operators + 1)
    for index in range(operators):
        for _ in range(PROPOSALS_PER_OPERATOR_MAX):
            propose(crowd, operator=index)
    assert crowd.code(operator_key(operators), GovSetParameter, *FEE) == "too_many_proposals"


def test_one_validator_decides_alone_and_at_once() -> None:
    books = Books(1)
    told = books.events(books.decide(GovSetParameter, *FEE))
    assert [type(event) for event in told] == [GovProposed, GovApplied, EpochPlanned]


@pytest.mark.parametrize(("name", "bounds"), [*PARAMETER_BOUNDS.items()])
def test_parameters_have_bounds(name: str, bounds: tuple[int, int]) -> None:
    books = Books()
    for value in (bounds[0] - 1, bounds[1] + 1):
        if value >= 0:
            assert books.code(operator_key(0), GovSetParameter, name, uint256(value)) == "out_of_range"
    assert books.code(operator_key(0), GovSetParameter, name, uint256(UINT256_MAX)) == "out_of_range"


def test_every_parameter_of_genesis_and_every_term_can_be_set() -> None:
    assert set(PARAMETER_BOUNDS) == set(Parameters.__struct_fields__)
    assert set(TERM_BOUNDS) == set(records.Terms.__struct_fields__)
    defaults, terms = Parameters(), records.Terms()
    for name, (least, most) in PARAMETER_BOUNDS.items():
        assert least <= getattr(defaults, name) <= most
    for name, (least, most) in TERM_BOUNDS.items():
        value = getattr(terms, name)
        assert least <= (uint(value) if isinstance(value, bytes) else value) <= most


@pytest.mark.parametrize(("name", "bounds"), [*TERM_BOUNDS.items()])
def test_terms_have_bounds_and_take_effect_at_once(name: str, bounds: tuple[int, int]) -> None:
    books = Books()
    for value in (bounds[0] - 1, bounds[1] + 1):
        if value >= 0:
            assert books.code(operator_key(0), GovSetParameter, f"settlement.{name}", uint256(value)) == "out_of_range"
    for wanted in bounds:
        books.set_term(name, wanted)
        value = getattr(records.terms(books.state), name)
        assert (uint(value) if isinstance(value, bytes) else value) == wanted


@pytest.mark.parametrize("name", ["", "basefee", "settlement.", "settlement.batch", "__class__", "settlement.__doc__"])
def test_unknown_names_are_refused(name: str) -> None:
    assert Books().code(operator_key(0), GovSetParameter, name, uint256(1)) == "bad_parameter"


def test_parameters_that_contradict_each_other_are_refused_when_proposed() -> None:
    books = Books()
    assert books.code(operator_key(0), GovSetParameter, "log_window", uint256(100)) == "invalid_epoch"


def test_what_became_impossible_is_rejected_with_the_reason() -> None:
    books = Books()
    wider = propose(books, 0, ("checkpoint_interval", uint256(32)))
    narrow = propose(books, 1, ("log_window", uint256(256)))
    contradicting = propose(books, 2, ("in_flight_max", uint256(128)))
    lower = propose(books, 3, ("log_window", uint256(127 + 1)))
    for subject in (wider, narrow, contradicting, lower):
        assert proposal(books.state, subject) is not None
    # The window is lowered first, so the proposal that needs it wide is accepted and yet impossible.
    shrink = propose(books, 1, ("checkpoint_interval", uint256(64)))
    assert proposal(books.state, shrink) is not None
    for voter in (1, 2):
        vote(books, wider, voter)
    small = propose(books, 3, ("log_window", uint256(64)))
    for voter in (1, 2):
        vote(books, small, voter)
    told: list[object] = []
    for voter in (0, 2):
        told += books.events(vote(books, shrink, voter))
    assert GovRejected(shrink, "invalid_epoch") in told
    assert GovApplied(shrink) not in told
    assert proposal(books.state, shrink) is None


BAD_BINDINGS: list[tuple[dict[str, object], str]] = [
    ({"scheme": "trust"}, "bad_scheme"),
    ({"scheme": ""}, "bad_scheme"),
    ({"chain_id": 0}, "bad_chain"),
    ({"chain_id": 2**63}, "out_of_range"),
    ({"from_block": 2**64 - 1}, "out_of_range"),
    ({"contract": ZERO_ADDRESS}, "zero_address"),
    ({"safe": b"\x01" * 20}, "bad_safe"),
    ({"safe_nonce": 1}, "bad_safe"),
    ({"scheme": "safe"}, "bad_safe"),
    ({"scheme": "safe", "safe": CONTRACT}, "bad_safe"),
    ({"owners": b""}, "bad_owners"),
    ({"owners": OWNERS + b"\x01"}, "bad_owners"),
    ({"owners": OWNERS[20:] + OWNERS[:20]}, "bad_owners"),
    ({"owners": OWNERS[:20] * 2}, "bad_owners"),
    ({"owners": ZERO_ADDRESS + OWNERS}, "bad_owners"),
    ({"owners": b"".join(number.to_bytes(20, "big") for number in range(1, 257))}, "bad_owners"),
    ({"threshold": 0}, "bad_threshold"),
    ({"threshold": 5}, "bad_threshold"),
]


@pytest.mark.parametrize(("other", "code"), BAD_BINDINGS)
def test_contracts_that_cannot_be_are_not_bound(other: dict[str, object], code: str) -> None:
    books = Books()
    assert books.code(operator_key(0), GovBindContract, *bind_members(**other)) == code
    assert open_proposals(books.state) == ()


def test_a_contract_is_bound_once_and_the_next_one_only_when_nothing_is_under_way() -> None:
    books = Books()
    told = books.events(books.decide(GovBindContract, *bind_members()))
    (bound,) = [event for event in told if isinstance(event, ContractBound)]
    assert (bound.binding, bound.contract, bound.threshold, bound.epoch) == (1, CONTRACT, 3, 0)
    assert books.code(operator_key(0), GovBindContract, *bind_members()) == "already_bound"
    other = b"\x22" * 20
    books.fund(5)
    books.withdraw("alice", 5)
    assert books.code(operator_key(0), GovBindContract, *bind_members(contract=other)) == "actions_open"
    books.sign(0)
    books.executed(0)
    books.deposit("bob", 1)
    books.bind(other, funds=0)
    now = books.counters
    assert (now.binding, now.next_action, now.next_event, now.next_payout) == (2, 0, 0, 1)
    assert records.action(books.state, 0) is None
    # Going back would count the old contract's events again.
    assert books.code(operator_key(0), GovBindContract, *bind_members()) == "already_bound"
    books.deposit("bob", 1)
    assert books.withdraw("alice", 2).code == "not_covered"  # the first contract's coins are there, not here
    books.deposit("bob", 4)
    books.withdraw("alice", 5)
    books.sign(0)
    books.executed(0)
    assert books.money()[0] == books.money()[1]


def test_a_contract_proposed_while_nothing_was_under_way_is_not_bound_over_what_is_now() -> None:
    books = Books()
    books.bind()
    other = books.send(operator_key(0), GovBindContract, *bind_members(contract=b"\x22" * 20)).transaction_id
    books.withdraw("alice", 5)
    vote(books, other, 1)
    told = books.events(vote(books, other, 2))
    assert GovRejected(other, "actions_open") in told
    contract = records.bound_contract(books.state)
    assert contract is not None
    assert contract.address == CONTRACT


def test_a_safe_that_moved_is_bound_again_and_counts_on() -> None:
    books = Books()
    safe = b"\x33" * 20
    books.decide(GovBindContract, *bind_members(scheme="safe", safe=safe, safe_nonce=4))
    books.fund(5)
    books.withdraw("alice", 5)
    books.sign(0)
    books.executed(0)
    books.deposit("bob", 7)
    assert books.code(operator_key(0), GovRotateOwners, OWNERS[:40], 2) == "owners_in_safe"
    assert books.code(operator_key(0), GovBindContract, *bind_members(scheme="safe", safe=safe)) == "bad_safe"
    moved = bind_members(scheme="safe", safe=safe, safe_nonce=9, owners=OWNERS[:40], threshold=2)
    books.decide(GovBindContract, *moved)
    now = books.counters
    assert (now.binding, now.next_action, now.next_event, now.epoch, now.confirmed_epoch) == (1, 1, 2, 1, 1)
    assert uint(now.funds) == 7
    contract = records.bound_contract(books.state)
    assert contract is not None
    assert contract.safe_nonce == 8
    assert [owners.epoch for owners in records.live_owners(books.state)] == [1]


def test_owners_and_pause_need_a_contract_and_a_change() -> None:
    books = Books()
    assert books.code(operator_key(0), GovRotateOwners, OWNERS, 3) == "not_bound"
    assert books.code(operator_key(0), GovPause, 1) == "not_bound"
    books.bind()
    assert books.code(operator_key(0), GovRotateOwners, OWNERS, 3) == "unchanged"
    assert books.code(operator_key(0), GovRotateOwners, OWNERS, 5) == "bad_threshold"
    assert books.code(operator_key(0), GovRotateOwners, OWNERS[:19], 1) == "bad_owners"
    assert books.code(operator_key(0), GovPause, 0) == ""  # an owner may have stopped the contract alone
    assert books.code(operator_key(0), GovRotateOwners, b"".join(sorted((CONTRACT, OWNERS[:20]))), 1) == "bad_owners"
    assert books.code(operator_key(0), GovPause, 2) == "bad_value"
    books.pause(1)
    assert books.code(operator_key(0), GovPause, 1) == "unchanged"


def test_governance_makes_no_more_actions_than_may_be_open() -> None:
    books = Books()
    books.bind()
    for turn in range(records.ACTIONS_OPEN_MAX):
        books.pause(1 - turn % 2)
    assert books.counters.actions_open == records.ACTIONS_OPEN_MAX
    assert books.code(operator_key(0), GovPause, 1) == "too_many_actions"
    assert books.code(operator_key(0), GovRotateOwners, OWNERS, 1) == "too_many_actions"


def test_votes_are_counted_as_the_next_epoch_does_when_it_begins() -> None:
    everybody = make_validators([f"v{index}" for index in range(7)])
    books = Books(7, extra=(EpochApplication(everybody),), checkpoint_interval=4, log_window=8)
    subject = propose(books, members=("settlement.batch_max", uint256(7)))
    for voter in (1, 2):
        vote(books, subject, voter)
    refused = propose(books, operator=5, members=("settlement.batch_max", uint256(8)))
    for voter in (0, 1):
        vote(books, refused, voter, approve=0)
    books.send(key("alice"), ChangeEpoch, "v0,v1,v2,v3", "", fee=10)
    told: list[object] = []
    while not books.chain.epoch.number:
        told += books.events(books.run())
    assert GovApplied(subject) in told
    assert GovRejected(refused, "votes") in told
    assert records.terms(books.state).batch_max == 7


def test_governance_without_settlement_is_refused_at_the_start() -> None:
    with pytest.raises(PluginError, match="enable both"):
        Executor(Books().genesis, (AccountsApplication(), GovernanceApplication()))
