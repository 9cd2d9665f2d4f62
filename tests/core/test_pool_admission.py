"""What gets into the pool, and what must go for it."""

from __future__ import annotations

import pytest
from pool_transactions import RICH, SECOND, Harness, digest_named, pooled, sender_named

from potchain.errors import InvalidTransaction
from potchain.transactions import TRANSACTION_BYTES_MAX, Transaction


def refusal(harness: Harness, transaction: Transaction, base_fee: int = 1) -> str:
    before = harness.pool.status()
    with pytest.raises(InvalidTransaction) as caught:
        harness.admit(transaction, base_fee)
    assert harness.pool.status() == before
    return caught.value.code


def test_an_admitted_transaction_is_in_the_pool_and_a_second_time_known() -> None:
    harness = Harness()
    transaction = pooled("a", 0)
    assert harness.admit(transaction).status == "added"
    assert harness.admit(transaction).status == "known"
    assert harness.pool.contains(transaction.id)
    assert harness.pool.get(transaction.id) is transaction
    state = harness.pool.pending_state(transaction.id)
    assert state is not None
    assert state.state == "pool"
    assert len(harness.pool) == 1


def test_what_the_transaction_and_its_account_tell_is_refused_with_its_code() -> None:
    harness = Harness()
    harness.accounts[sender_named("a")] = 5, 1_000
    assert refusal(harness, pooled("a", 5, fee=9), base_fee=10) == "insufficient_fee"
    assert refusal(harness, pooled("a", 5, valid_until=999)) == "expired"
    assert refusal(harness, pooled("a", 4)) == "stale_nonce"
    assert refusal(harness, pooled("a", 5, fee=1_001)) == "insufficient_funds"
    assert refusal(harness, pooled("a", 5, size=TRANSACTION_BYTES_MAX + 1)) == "oversize"
    harness.admit(pooled("a", 5, valid_until=1_000))


def test_the_nonce_gap_counts_from_the_end_of_the_contiguous_run() -> None:
    harness = Harness(nonce_gap_max=16)
    assert refusal(harness, pooled("a", 17)) == "nonce_gap_too_large"
    for nonce in range(100):
        harness.admit(pooled("a", nonce))
    harness.admit(pooled("a", 116))
    assert refusal(harness, pooled("a", 117)) == "nonce_gap_too_large"
    assert harness.pool.next_nonce(sender_named("a"), 0) == 100


def test_the_balance_must_pay_the_fees_of_all_pooled_transactions_of_the_sender() -> None:
    harness = Harness()
    harness.accounts[sender_named("a")] = 0, 250
    harness.admit(pooled("a", 0))
    harness.admit(pooled("a", 1))
    assert refusal(harness, pooled("a", 2)) == "insufficient_funds"
    assert refusal(harness, pooled("a", 1, fee=151)) == "insufficient_funds"
    harness.admit(pooled("a", 1, fee=150))


def test_a_sender_has_at_most_its_limit_in_the_pool_and_may_still_replace() -> None:
    harness = Harness(per_sender_max=3)
    for nonce in range(3):
        harness.admit(pooled("a", nonce))
    assert refusal(harness, pooled("a", 3)) == "sender_limit"
    assert harness.admit(pooled("a", 2, fee=200)).status == "replaced"
    harness.admit(pooled("b", 0))


@pytest.mark.parametrize(("old", "too_low", "enough"), [(100, 109, 110), (1, 1, 2), (0, 0, 1), (15, 16, 17)])
def test_a_replacement_pays_the_bump_and_at_least_one_more(old: int, too_low: int, enough: int) -> None:
    harness = Harness()
    first = pooled("a", 0, fee=old)
    harness.admit(first, base_fee=0)
    assert refusal(harness, pooled("a", 0, fee=too_low, salt="other"), base_fee=0) == "fee_too_low_to_replace"
    second = pooled("a", 0, fee=enough)
    admission = harness.admit(second, base_fee=0)
    assert (admission.status, admission.replaced) == ("replaced", first.id)
    state = harness.pool.pending_state(first.id)
    assert state is not None
    assert state.code == "replaced"
    assert harness.select() == (second,)
    assert harness.pool.drain_forgotten() == (first.id,)


def test_a_full_pool_refuses_what_pays_no_more_than_the_cheapest() -> None:
    harness = Harness(count_max=3)
    for name, fee in (("a", 50), ("b", 60), ("c", 70)):
        harness.admit(pooled(name, 0, fee))
    assert refusal(harness, pooled("d", 0, fee=50)) == "pool_full"
    assert len(harness.pool) == 3


def test_a_full_pool_evicts_the_last_transaction_of_the_cheapest_sender() -> None:
    harness = Harness(count_max=4)
    early, late = pooled("a", 0, 10), pooled("a", 1, 40)
    for transaction in (early, late, pooled("b", 0, 50), pooled("c", 0, 60)):
        harness.admit(transaction)
    admission = harness.admit(pooled("d", 0, 55))
    assert admission.evicted == (late.id,)
    assert harness.pool.contains(early.id)
    state = harness.pool.pending_state(late.id)
    assert state is not None
    assert state.code == "evicted"
    assert harness.admit(pooled("e", 0, 55)).evicted == (early.id,)


def test_a_large_newcomer_evicts_as_many_as_its_bytes_need_or_none() -> None:
    harness = Harness(bytes_max=1_000)
    for name, fee in (("a", 50), ("b", 60), ("c", 70), ("d", 80), ("e", 90)):
        harness.admit(pooled(name, 0, fee))
    assert refusal(harness, pooled("f", 0, fee=75, size=800)) == "pool_full"
    assert len(harness.admit(pooled("f", 0, fee=75, size=600)).evicted) == 3
    assert harness.pool.status().bytes == 1_000


def test_nothing_that_is_pinned_or_in_a_proposal_is_evicted() -> None:
    harness = Harness(count_max=2)
    proposed, pinned = pooled("a", 0, 10), pooled("b", 0, 10)
    harness.admit(proposed)
    harness.admit(pinned)
    # The heap of tails exists before the marks are made.
    assert refusal(harness, pooled("c", 0, fee=5)) == "pool_full"
    proposal = harness.propose("p", (proposed,))
    harness.pool.unpin(proposal)
    pin = harness.propose("q", (pinned,))
    harness.pool.unmark_proposed(pin)
    assert refusal(harness, pooled("c", 0, fee=1_000)) == "pool_full"
    harness.pool.unpin(pin)
    assert harness.admit(pooled("c", 0, fee=1_000)).evicted == (pinned.id,)
    harness.pool.unmark_proposed(proposal)
    assert harness.admit(pooled("d", 0, fee=1_000)).evicted == (proposed.id,)


def test_what_was_proposed_after_the_order_of_eviction_was_made_is_not_evicted() -> None:
    harness = Harness(count_max=3)
    cheapest, proposed, dearest = pooled("a", 0, 10), pooled("b", 0, 20), pooled("c", 0, 30)
    for transaction in (cheapest, proposed, dearest):
        harness.admit(transaction)
    assert harness.admit(pooled("d", 0, 1_000)).evicted == (cheapest.id,)
    harness.pool.mark_proposed(digest_named("p"), [proposed.id])
    assert harness.admit(pooled("e", 0, 1_000)).evicted == (dearest.id,)
    harness.pool.unmark_proposed(digest_named("p"))
    assert harness.admit(pooled("f", 0, 1_000)).evicted == (proposed.id,)


def test_a_newcomer_never_evicts_what_its_own_sender_has_before_it() -> None:
    harness = Harness(count_max=2)
    harness.admit(pooled("a", 0, 10))
    harness.admit(pooled("a", 1, 10))
    assert refusal(harness, pooled("a", 2, fee=1_000)) == "pool_full"


def test_a_ready_newcomer_displaces_a_parked_transaction_whatever_that_promises() -> None:
    harness = Harness(count_max=2)
    parked = pooled("a", 5, fee=1_000_000)
    harness.admit(parked)
    harness.admit(pooled("b", 0, 500))
    assert refusal(harness, pooled("c", 3, fee=999_999)) == "pool_full"
    assert harness.admit(pooled("c", 0, fee=1)).evicted == (parked.id,)


def test_waiting_protects_against_eviction_as_it_raises_the_effective_fee() -> None:
    harness = Harness(count_max=1, ageing_doubling_s=10)
    harness.admit(pooled("a", 0, 100))
    harness.now_ns = 20 * SECOND
    assert refusal(harness, pooled("b", 0, fee=300)) == "pool_full"
    harness.admit(pooled("b", 0, fee=500))


def test_what_is_unpaid_since_the_balance_fell_goes_first() -> None:
    harness = Harness(count_max=3)
    first, second = pooled("a", 0, 100), pooled("a", 1, 100_000)
    harness.admit(first)
    harness.admit(second)
    harness.admit(pooled("b", 0, 50))
    harness.accounts[sender_named("a")] = 0, 200
    harness.execute(first)
    assert harness.pool.status().ready == 1
    harness.admit(pooled("c", 0, 10))
    assert harness.admit(pooled("d", 0, 10)).evicted == (second.id,)


def test_facts_given_at_admission_are_taken_over() -> None:
    harness = Harness()
    stale = pooled("a", 0)
    harness.admit(stale)
    harness.accounts[sender_named("a")] = 1, RICH
    following = pooled("a", 1)
    harness.admit(following)
    assert harness.select() == (following,)
    state = harness.pool.pending_state(stale.id)
    assert state is not None
    assert state.code == "stale_nonce"


def test_a_transaction_dropped_once_may_come_again() -> None:
    harness = Harness()
    transaction = pooled("a", 0)
    harness.admit(transaction)
    harness.now_ns = 3_600 * SECOND
    assert [each.code for each in harness.pool.expire(harness.now_ns, harness.block_time_ms)] == ["pool_timeout"]
    harness.admit(transaction)
    state = harness.pool.pending_state(transaction.id)
    assert state is not None
    assert state.state == "pool"
    assert harness.pool.drain_forgotten() == ()
