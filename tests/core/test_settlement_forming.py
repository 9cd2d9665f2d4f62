"""When actions are formed and of what; the cumulative tree against a little verifier of its own; rotation and pause."""

from __future__ import annotations

from core_network import key
from hypothesis import given, settings
from hypothesis import strategies as st
from prize_application import Award, PrizeApplication
from settlement_ledger import RICH, Books, operator_key, seen_of

from potchain.application.execution import WorkingState
from potchain.application.settlement import records
from potchain.application.settlement.bodies import ActionFormed, Withdraw
from potchain.application.settlement.roots import executed_root, root_claim, updated, write_tree
from potchain.application.state import AuthenticatedState
from potchain.blocks import ExecutedBlock
from potchain.crypto import keccak256
from potchain.primitives import uint, uint256
from potchain.settlement import Entry
from potchain.settlement.actions import multisig_digest


def formed(books: Books, block: ExecutedBlock) -> list[ActionFormed]:
    return [event for event in books.events(block) if isinstance(event, ActionFormed)]


def withdrawals(books: Books, *amounts: tuple[str, int]) -> ExecutedBlock:
    """Everybody's in one block."""
    for name, amount in amounts:
        books.collect(key(name), Withdraw, uint256(amount), fee=10)
    return books.run()


def awards(books: Books, *amounts: tuple[str, int]) -> ExecutedBlock:
    """Everybody is owed what an application says, whatever deposits cover."""
    for name, amount in amounts:
        books.collect(key(name), Award, key(name).address, uint256(amount), fee=10)
    return books.run()


def prize_books() -> Books:
    return Books(extra=(PrizeApplication(),))


def bound_books(**terms: int) -> Books:
    books = Books()
    books.bind()
    for name, value in terms.items():
        books.set_term(name, value)
    return books


def conclude(books: Books) -> None:
    """Sign and execute whatever is open, until nothing is."""
    while books.counters.actions_open:
        nonce = books.counters.next_executed
        books.sign(nonce)
        books.executed(nonce)


def verified(root: bytes, account: bytes, cumulative: int, proof: tuple[bytes, ...]) -> bool:
    """OpenZeppelin's MerkleProof.verify over StandardMerkleTree leaves, written from their documentation."""
    inner = keccak256(bytes(12) + account + cumulative.to_bytes(32, "big"))
    node = keccak256(inner)
    for sibling in proof:
        low, high = sorted((node, sibling))
        node = keccak256(low + high)
    return node == root


def test_a_batch_sums_payouts_by_account_sorted() -> None:
    books = bound_books()
    block = withdrawals(books, ("bob", 5), ("alice", 7), ("bob", 11), ("carol", 1))
    (event,) = formed(books, block)
    record = records.action(books.state, 0)
    assert record is not None
    expected = sorted([(key("alice").address, 7), (key("bob").address, 16), (key("carol").address, 1)])
    assert [(entry.account, uint(entry.amount)) for entry in record.action.entries] == expected
    assert (record.first_payout, record.last_payout, record.payouts) == (0, 3, 4)
    assert (event.first_payout, event.last_payout, uint(event.total)) == (0, 3, 24)
    contract = records.bound_contract(books.state)
    assert contract is not None
    assert record.digest == event.digest == multisig_digest(contract, record.action)
    assert record.action.height == block.height


def test_one_action_at_a_time_is_signed_until_a_batch_is_full() -> None:
    books = bound_books(batch_max=2, open_max=4)
    assert formed(books, withdrawals(books, ("alice", 1)))
    assert not formed(books, withdrawals(books, ("bob", 1)))
    assert formed(books, withdrawals(books, ("carol", 1)))
    assert books.counters.actions_open == 2
    assert not formed(books, withdrawals(books, ("dave", 1)))
    assert not formed(books, books.sign(0))
    assert formed(books, books.sign(1)), "what is signed may wait for the chain; the next need not"
    assert (books.counters.pending, books.counters.actions_open) == (0, 3)
    books.sign(2)
    assert formed(books, withdrawals(books, ("alice", 1)))
    books.sign(3)
    assert not formed(books, withdrawals(books, ("alice", 1))), "open_max are under way"
    assert formed(books, books.executed(0))


def test_no_more_batches_than_open_max_are_under_way() -> None:
    books = bound_books(batch_max=1, open_max=3)
    for _ in range(6):
        withdrawals(books, ("alice", 1))
    assert (books.counters.actions_open, books.counters.pending) == (3, 3)
    conclude(books)
    assert books.counters.payouts_open == 0
    # What was pending is one payee's, and one batch.
    assert books.counters.next_action == 4


def test_a_batch_takes_no_more_payees_than_it_may_and_leaves_the_rest_in_order() -> None:
    books = prize_books()
    awards(books, ("alice", 1), ("bob", 1), ("alice", 1), ("carol", 1), ("alice", 1))
    books.set_term("batch_max", 2)
    books.bind()
    books.run()
    record = records.action(books.state, 0)
    assert record is not None
    assert (record.first_payout, record.last_payout) == (0, 2)
    assert books.counters.next_batched == 3
    conclude(books)
    assert books.counters.next_action == 2
    assert books.money()[0] == books.money()[1] == 4 * RICH - 5


def test_many_pending_payouts_become_a_root_and_the_next_builds_on_it() -> None:
    books = prize_books()
    books.set_term("root_min", 3)
    books.set_term("root_entries_max", 4)
    books.set_term("batch_max", 2)
    awards(books, ("alice", 1), ("bob", 20), ("alice", 300), ("carol", 4_000), ("alice", 50_000), ("dave", 6))
    books.bind()
    books.run()
    first = records.action(books.state, 0)
    assert first is not None
    assert (first.action.kind, first.payouts, uint(first.total)) == ("root", 4, 4_321)
    # Not claimable before it is executed; and meanwhile batches are formed, since a root builds on the one before.
    assert executed_root(books.state) is None
    assert root_claim(books.state, key("alice").address) is None
    withdrawals(books, ("bob", 7), ("bob", 8))
    second = records.action(books.state, 1)
    assert second is not None
    assert second.action.kind == "batch"
    books.sign(0)
    books.executed(0)
    assert executed_root(books.state) == first.action.root
    claim = root_claim(books.state, key("alice").address)
    assert claim is not None
    assert claim.cumulative == 301
    assert verified(first.action.root, claim.account, claim.cumulative, claim.branch)
    assert root_claim(books.state, key("dave").address) is None
    withdrawals(books, ("carol", 1), ("carol", 1), ("alice", 9))
    conclude(books)
    third = executed_root(books.state)
    assert third is not None
    assert third != first.action.root
    claims = [root_claim(books.state, key(name).address) for name in ("alice", "bob", "carol")]
    assert all(each and verified(third, each.account, each.cumulative, each.branch) for each in claims)
    assert books.counters.payouts_open == books.counters.roots_open == 0
    assert books.money()[0] == books.money()[1]


def test_old_branches_hold_until_the_new_root_is_executed() -> None:
    books = bound_books(root_min=1)
    withdrawals(books, ("alice", 1))
    conclude(books)
    before = root_claim(books.state, key("alice").address)
    withdrawals(books, ("alice", 1), ("bob", 1))
    books.sign(1)
    assert root_claim(books.state, key("alice").address) == before
    assert before is not None
    assert executed_root(books.state) == before.root


def test_accounts_beyond_the_bound_of_the_tree_are_paid_by_batches() -> None:
    books = bound_books(root_min=1, root_accounts_max=2)
    withdrawals(books, ("alice", 1), ("bob", 1))
    conclude(books)
    withdrawals(books, ("carol", 1))
    record = records.action(books.state, 1)
    assert record is not None
    assert record.action.kind == "batch"
    conclude(books)
    withdrawals(books, ("bob", 5))
    record = records.action(books.state, 2)
    assert record is not None
    assert record.action.kind == "root"
    # Lowering the bound below what is under way hinders nothing.
    books.set_term("root_accounts_max", 0)
    conclude(books)
    claim = root_claim(books.state, key("bob").address)
    assert claim is not None
    assert claim.cumulative == 6


@settings(max_examples=40)
@given(
    st.lists(st.lists(st.tuples(st.integers(0, 120), st.integers(1, 2**64)), min_size=1, max_size=90), max_size=5),
)
def test_every_account_of_every_tree_has_a_branch_that_verifies(rounds: list[list[tuple[int, int]]]) -> None:
    state = WorkingState(AuthenticatedState())
    model: dict[bytes, int] = {}
    for drawn in rounds:
        sums: dict[bytes, int] = {}
        for number, amount in drawn:
            account = keccak256(number.to_bytes(2, "big"))[12:]
            sums[account] = sums.get(account, 0) + amount
        update = updated(state, [Entry(account, uint256(amount)) for account, amount in sorted(sums.items())], 1_000)
        assert update is not None
        write_tree(state, update)
        for account, amount in sums.items():
            model[account] = model.get(account, 0) + amount
        assert executed_root(state) == update.root
        for account, cumulative in model.items():
            claim = root_claim(state, account)
            assert claim is not None
            assert (claim.root, claim.cumulative) == (update.root, cumulative)
            assert verified(update.root, account, cumulative, claim.branch)
            assert not verified(update.root, account, cumulative + 1, claim.branch)
            assert len(claim.branch) <= 12


def test_rotation_is_signed_by_the_old_owners_and_what_follows_by_the_new_ones() -> None:
    books = bound_books(batch_max=1)
    newcomers = [key(f"newcomer {index}") for index in range(5)]
    withdrawals(books, ("alice", 1))
    (event,) = formed(books, books.rotate(newcomers, 4))
    assert (event.nonce, event.kind, event.epoch) == (1, "rotate", 0)
    withdrawals(books, ("bob", 1))
    assert [record.action.epoch for record in records.open_actions(books.state)] == [0, 0, 1]
    assert [owners.epoch for owners in records.live_owners(books.state)] == [0, 1]
    latest = records.current_owners(books.state)
    assert latest is not None
    assert latest.owners == tuple(sorted(each.address for each in newcomers))
    books.sign(0)
    books.sign(1)
    books.sign(2, newcomers[:4])
    books.executed(0)
    books.executed(1)
    assert (books.counters.confirmed_epoch, books.counters.epoch) == (1, 1)
    assert records.owners_of(books.state, 0) is None
    books.executed(2)
    assert books.money()[0] == books.money()[1]


def test_two_rotations_under_way_keep_three_epochs_alive() -> None:
    books = bound_books()
    first, second = [key("one")], [key("two"), operator_key(0)]
    books.rotate(first, 1)
    books.rotate(second, 2)
    assert [owners.epoch for owners in records.live_owners(books.state)] == [0, 1, 2]
    books.sign(0)
    books.sign(1, first)
    books.executed(0)
    books.executed(1)
    assert [owners.epoch for owners in records.live_owners(books.state)] == [2]


def test_nothing_is_formed_while_settlement_is_paused() -> None:
    books = prize_books()
    books.bind()
    (event,) = formed(books, books.pause(1))
    assert event.kind == "pause"
    conclude(books)
    assert books.withdraw("alice", 1).code == "settlement_paused"
    awards(books, ("alice", 1))
    assert books.counters.pending == 1
    books.deposit("bob", 5)
    assert books.balance("bob") == RICH + 5
    assert [each.kind for each in formed(books, books.pause(0))] == ["pause"]
    assert [each.kind for each in formed(books, books.sign(1))] == ["batch"]
    books.executed(1)
    conclude(books)


def test_an_old_action_is_forgotten_when_enough_came_after_it() -> None:
    books = bound_books(batch_max=1)
    for _ in range(records.ACTIONS_KEPT + 2):
        withdrawals(books, ("alice", 1))
        nonce = books.counters.next_executed
        books.observe(seen_of(books.state, nonce))
    assert records.action(books.state, 1) is None
    assert records.action(books.state, 2) is not None
    kept = [name for name, _ in books.chain.state.items() if name.startswith(records.ACTION_PREFIX)]
    assert len(kept) == records.ACTIONS_KEPT


def test_a_network_that_does_not_settle_writes_nothing_of_it() -> None:
    books = Books()
    books.chain.run(books.chain.transfer("alice", "bob", 1))
    assert not [name for name, _ in books.chain.state.items() if name.startswith((b"settlement/", b"governance/"))]


def test_only_what_deposits_cover_is_asked_of_the_contract() -> None:
    books = prize_books()
    awards(books, ("alice", 60), ("bob", 30), ("carol", 20))
    books.bind(funds=0)
    books.deposit("dave", 59)
    assert books.counters.next_action == 0
    books.deposit("dave", 32)
    first = records.action(books.state, 0)
    assert first is not None
    assert (first.payouts, uint(first.total), books.counters.unbatched) == (2, 90, 1)
    # Carol's waits, and holds up nothing: a rotation is formed behind the batch that can be executed.
    books.rotate(books.owners[:3], 2)
    conclude(books)
    assert (books.counters.next_executed, books.counters.pending, books.counters.epoch) == (2, 1, 1)
    books.deposit("dave", 19)
    conclude(books)
    assert (books.counters.payouts_open, uint(books.counters.funds)) == (0, 0)
    assert books.money()[0] == books.money()[1]


def test_a_withdrawal_that_deposits_do_not_cover_is_refused() -> None:
    books = Books()
    books.bind(funds=0)
    assert books.withdraw("alice", 1).code == "not_covered"
    books.deposit("bob", 10)
    assert books.withdraw("alice", 11).code == "not_covered"
    assert books.withdraw("alice", 4).code == ""
    assert books.withdraw("bob", 7).code == "not_covered"
    assert books.withdraw("bob", 6).code == ""
    assert books.counters.withdrawable == 0
    conclude(books)
    assert books.withdraw("carol", 1).code == "not_covered"
    assert (uint(books.counters.funds), books.counters.payouts_open) == (0, 0)


def test_few_covered_payouts_are_a_batch_where_many_would_be_a_root() -> None:
    books = prize_books()
    books.set_term("root_min", 3)
    awards(books, ("alice", 10), ("bob", 10), ("carol", 10), ("dave", 10))
    books.bind(funds=0)
    books.deposit("dave", 20)
    record = records.action(books.state, 0)
    assert record is not None
    assert (record.action.kind, record.payouts) == ("batch", 2)


def test_a_contract_that_was_bound_by_mistake_is_replaced_though_payouts_wait() -> None:
    books = prize_books()
    awards(books, ("alice", 5))
    books.bind(funds=0)
    books.bind(b"\x22" * 20, funds=0)
    books.deposit("bob", 5)
    conclude(books)
    assert (books.counters.binding, books.counters.payouts_open) == (2, 0)


def test_nothing_new_is_formed_while_open_max_is_none() -> None:
    """How a ledger comes to rest without a pause of the contract: for another contract, or a Safe that moved."""
    books = bound_books(open_max=0)
    assert not formed(books, withdrawals(books, ("alice", 5)))
    assert (books.counters.pending, books.counters.paused) == (1, False)
    books.set_term("open_max", 8)
    conclude(books)
    assert books.counters.payouts_open == 0


def test_a_paused_contract_is_not_left_behind_with_what_its_roots_promised() -> None:
    books = bound_books()
    books.pause(1)
    conclude(books)
    books.bind(b"\x22" * 20)
    assert books.counters.binding == 1, "nothing could unpause it afterwards"
    books.pause(0)
    conclude(books)
    books.bind(b"\x22" * 20)
    assert books.counters.binding == 2
