"""Order, proposals, pins, execution and expiry."""

from __future__ import annotations

from pool_transactions import RICH, SECOND, Harness, digest_named, pooled, sender_named

from potchain.pool import PooledTransaction
from potchain.pool.ordering import fee_rank, ready_order
from potchain.primitives import UINT256_MAX, Digest


def code_of(harness: Harness, transaction_id: Digest) -> str:
    state = harness.pool.pending_state(transaction_id)
    return "" if state is None else state.code or state.state


def test_senders_go_by_fee_then_by_arrival_and_each_sender_by_nonce() -> None:
    harness = Harness()
    cheap_first, dear_second = pooled("a", 0, 10), pooled("a", 1, 900)
    middle, same = pooled("b", 0, 50), pooled("c", 0, 50)
    for transaction in (dear_second, middle, same, cheap_first):
        harness.admit(transaction)
    assert harness.select() == (middle, same, cheap_first, dear_second)


def test_a_duty_stands_higher_than_its_fee() -> None:
    harness = Harness(count_max=3)
    dear, cheap, duty, other = pooled("a", 0, 90), pooled("b", 0, 10), pooled("operator", 0, 0), pooled("c", 0, 50)
    harness.admit(dear)
    harness.admit(cheap)
    harness.admit(duty, base_fee=0, standing_fee=80)
    assert harness.select() == (dear, duty, cheap)
    harness.admit(other)  # the pool is full: the cheapest goes, and that is not the duty
    assert harness.select() == (dear, duty, other)


def test_one_sender_may_fill_a_proposal() -> None:
    harness = Harness()
    run = tuple(pooled("a", nonce) for nonce in range(1_000))
    for transaction in reversed(run[:17]):
        harness.admit(transaction)
    for transaction in run[17:]:
        harness.admit(transaction)
    assert harness.select() == run


def test_a_parked_transaction_is_not_selected_until_the_gap_is_filled() -> None:
    harness = Harness()
    first, third = pooled("a", 0), pooled("a", 2)
    harness.admit(first)
    harness.admit(third)
    assert harness.select() == (first,)
    second = pooled("a", 1)
    harness.admit(second)
    assert harness.select() == (first, second, third)


def test_selection_changes_nothing_and_obeys_its_bounds() -> None:
    harness = Harness()
    for name in "abcdef":
        harness.admit(pooled(name, 0))
    assert harness.select() == harness.select()
    assert len(harness.select(count_max=4)) == 4
    assert len(harness.select(bytes_max=599)) == 2
    assert harness.select(count_max=0) == ()


def test_a_transaction_too_big_for_the_room_left_lets_smaller_ones_by() -> None:
    harness = Harness()
    big, behind, small = pooled("a", 0, 900, size=500), pooled("a", 1, 900), pooled("b", 0, 10)
    for transaction in (big, behind, small):
        harness.admit(transaction)
    assert harness.select(bytes_max=400) == (small,)


def test_one_that_would_expire_is_passed_over_with_what_follows_it() -> None:
    harness = Harness()
    harness.admit(pooled("a", 0, valid_until=1_500))
    harness.admit(pooled("a", 1))
    other = pooled("b", 0, 1)
    harness.admit(other)
    harness.block_time_ms = 1_501
    assert harness.select() == (other,)


def test_waiting_the_doubling_time_counts_as_a_doubled_fee() -> None:
    harness = Harness(ageing_doubling_s=10)
    old = pooled("a", 0, 99)
    harness.admit(old)
    harness.now_ns = 10 * SECOND
    more_than_double, less_than_double = pooled("b", 0, 200), pooled("c", 0, 198)
    harness.admit(more_than_double)
    harness.admit(less_than_double)
    assert harness.select() == (more_than_double, old, less_than_double)


def test_a_replacement_keeps_the_age_of_what_it_replaces_but_waits_anew() -> None:
    harness = Harness(ageing_doubling_s=10)
    harness.admit(pooled("a", 0, 100))
    harness.now_ns = 10 * SECOND
    replacement, other = pooled("a", 0, 110), pooled("b", 0, 210)
    harness.admit(other)
    harness.admit(replacement)
    assert harness.select() == (replacement, other)
    assert harness.pool.proposable() == (2, 10 * SECOND)


def test_fees_of_what_left_do_not_count_against_the_balance() -> None:
    harness = Harness()
    harness.accounts[sender_named("a")] = 0, 300
    run = tuple(pooled("a", nonce) for nonce in range(3))
    for transaction in run:
        harness.admit(transaction)
    harness.execute(*run[:2])
    harness.accounts[sender_named("a")] = 2, 200
    harness.admit(pooled("a", 3))
    assert len(harness.select()) == 2


def test_no_fee_overtakes_for_longer_than_256_doubling_times() -> None:
    assert ready_order(0, 0, 10) < ready_order(UINT256_MAX, 2_561 * SECOND, 10)


def test_the_rank_of_fees_is_monotone_and_adds_one_per_doubling() -> None:
    ranks = [fee_rank(fee) for fee in range(5_000)]
    assert ranks == sorted(set(ranks))
    assert all(fee_rank(2 * fee + 1) - fee_rank(fee) == 1 << 64 for fee in range(5_000))
    assert fee_rank(10**18) < fee_rank(10**18 + 1)


def test_what_a_proposal_in_flight_has_is_not_selected_and_the_run_goes_on_behind_it() -> None:
    harness = Harness()
    run = tuple(pooled("a", nonce) for nonce in range(12))
    for transaction in run:
        harness.admit(transaction)
    harness.propose("p", run[:5])
    digest = harness.propose("q", run[5:10])
    assert harness.select() == run[10:]
    assert harness.pool.proposable()[0] == 2
    harness.now_ns = 7
    harness.pool.expire(harness.now_ns, harness.block_time_ms)
    harness.pool.unmark_proposed(digest)
    assert harness.select() == run[5:]
    assert harness.pool.proposable() == (7, 0)


def test_what_a_proposal_gives_back_waits_from_then_on_but_keeps_its_age() -> None:
    harness = Harness()
    transaction = pooled("a", 0)
    harness.admit(transaction)
    digest = harness.propose("p", (transaction,))
    assert harness.pool.proposable() == (0, None)
    harness.now_ns = 15 * SECOND
    newer = pooled("b", 0, 150)
    harness.admit(newer)
    harness.pool.unmark_proposed(digest)
    assert harness.pool.proposable() == (2, 15 * SECOND)
    assert harness.select() == (transaction, newer)


def test_two_proposals_may_hold_the_same_transaction() -> None:
    harness = Harness()
    transaction = pooled("a", 0)
    harness.admit(transaction)
    first = harness.propose("p", (transaction,))
    second = harness.propose("q", (transaction,))
    harness.pool.unmark_proposed(first)
    assert harness.select() == ()
    harness.pool.unmark_proposed(second)
    assert harness.select() == (transaction,)


def test_a_proposal_may_hold_nonces_whose_bodies_were_never_pooled() -> None:
    harness = Harness()
    stranger = pooled("a", 0)
    digest = harness.propose("p", (stranger,))
    following = pooled("a", 1)
    harness.admit(following)
    assert harness.pool.next_nonce(sender_named("a"), 0) == 2
    assert harness.select() == (following,)
    harness.pool.unmark_proposed(digest)
    assert harness.select() == ()
    assert harness.pool.next_nonce(sender_named("a"), 0) == 0


def test_what_comes_into_a_place_that_a_proposal_holds_is_ready_and_waits_for_the_place() -> None:
    harness = Harness()
    stranger, mine, following = pooled("a", 0, 50), pooled("a", 0, 100), pooled("a", 1)
    digest = harness.propose("p", (stranger,))
    harness.admit(following)
    harness.admit(mine)
    assert harness.pool.status().ready == 2
    assert harness.select() == (following,)
    harness.pool.unmark_proposed(digest)
    assert harness.select() == (mine, following)
    assert harness.pool.proposable()[0] == 2


def test_ids_without_a_body_count_from_when_it_is_pinned_or_admitted() -> None:
    harness = Harness()
    first, second = pooled("a", 0), pooled("b", 0)
    digest = digest_named("p")
    harness.pool.mark_proposed(digest, [first.id, second.id])
    harness.admit(first)
    harness.pool.pin(digest, (first, second))
    harness.admit(second)
    assert harness.select() == ()
    harness.pool.unmark_proposed(digest)
    assert set(harness.select()) == {first, second}


def test_proposals_beyond_the_bound_are_not_tracked() -> None:
    harness = Harness(proposals_max=1)
    assert harness.pool.mark_proposed(digest_named("p"), [])
    assert harness.pool.mark_proposed(digest_named("p"), [])
    assert not harness.pool.mark_proposed(digest_named("q"), [])
    harness.pool.unmark_proposed(digest_named("q"))
    harness.pool.unmark_proposed(digest_named("p"))
    assert harness.pool.mark_proposed(digest_named("q"), [])


def test_a_pinned_body_stays_available_after_it_was_replaced() -> None:
    harness = Harness()
    old, new = pooled("a", 0, 100), pooled("a", 0, 200)
    harness.admit(old)
    digest = harness.propose("p", (old,))
    harness.admit(new)
    assert harness.pool.get(old.id) is old
    assert not harness.pool.contains(old.id)
    assert code_of(harness, old.id) == "pool"
    assert harness.select() == ()
    assert harness.pool.drain_forgotten() == ()
    harness.pool.unmark_proposed(digest)
    assert code_of(harness, old.id) == "replaced"
    assert harness.select() == (new,)
    harness.pool.unpin(digest)
    assert harness.pool.get(old.id) is None
    assert harness.pool.drain_forgotten() == (old.id,)


def test_pins_are_counted_per_digest_and_bounded_in_bytes() -> None:
    harness = Harness(pinned_bytes_max=500)
    first, second, third = pooled("a", 0), pooled("b", 0), pooled("c", 0)
    one, two, three = digest_named("1"), digest_named("2"), digest_named("3")
    assert harness.pool.pin(one, (first, second))
    assert harness.pool.pin(two, (second,))
    assert harness.pool.pin(two, (second,))
    assert not harness.pool.pin(three, (third,))
    assert harness.pool.get(third.id) is None
    harness.pool.unpin(one)
    assert harness.pool.get(second.id) is second
    assert harness.pool.status().pinned_bytes == 200
    harness.pool.unpin(two)
    harness.pool.unpin(two)
    assert harness.pool.drain_forgotten() == (first.id, second.id)
    assert harness.pool.status().pinned_count == 0


def test_executed_transactions_leave_and_the_rest_of_the_run_stays_ready() -> None:
    harness = Harness()
    run = tuple(pooled("a", nonce) for nonce in range(4))
    for transaction in run:
        harness.admit(transaction)
    digest = harness.propose("p", run[:2])
    assert harness.execute(*run[:2]) == ()
    harness.pool.unmark_proposed(digest)
    assert harness.select() == run[2:]
    assert harness.pool.pending_state(run[0].id) is None
    assert harness.pool.drain_forgotten() == ()
    harness.pool.unpin(digest)
    assert harness.pool.drain_forgotten() == (run[0].id, run[1].id)


def test_what_execution_overtakes_is_dropped_with_the_reason() -> None:
    harness = Harness()
    mine, theirs, later = pooled("a", 0, 100), pooled("a", 0, 90), pooled("a", 1)
    harness.admit(mine)
    harness.admit(later)
    assert harness.execute(theirs) == ("replaced_on_chain",)
    assert code_of(harness, mine.id) == "replaced_on_chain"
    assert harness.select() == (later,)
    harness.accounts[sender_named("a")] = 2, RICH  # blocks that were executed while nobody told the pool
    assert harness.execute(pooled("a", 2)) == ("stale_nonce",)


def test_a_skipped_transaction_that_can_become_valid_is_proposable_again() -> None:
    harness = Harness()
    first, second = pooled("a", 0), pooled("a", 1)
    for transaction in (first, second):
        harness.admit(transaction)
    digest = harness.propose("p", (second,))
    assert harness.execute(second, codes={second.id: "future_nonce"}) == ()
    harness.pool.unmark_proposed(digest)
    assert harness.select() == (first, second)


def test_a_skipped_stranger_comes_into_the_pool_if_it_is_admissible() -> None:
    harness = Harness()
    good, far, taken = pooled("a", 1), pooled("b", 99), pooled("c", 1, 50)
    harness.admit(pooled("c", 1, 60))
    codes = {each.id: "future_nonce" for each in (good, far, taken)}
    assert harness.execute(good, far, taken, codes=codes) == ("nonce_gap_too_large", "fee_too_low_to_replace")
    assert harness.pool.contains(good.id)
    assert code_of(harness, far.id) == "nonce_gap_too_large"


def test_a_skipped_transaction_that_can_never_be_valid_is_dropped_with_the_skips_code() -> None:
    harness = Harness()
    late, cheap = pooled("a", 0, valid_until=2_000), pooled("b", 0, 1)
    harness.admit(late)
    codes = {late.id: "expired", cheap.id: "insufficient_fee"}
    assert harness.execute(late, cheap, codes=codes) == ("expired", "insufficient_fee")
    assert len(harness.pool) == 0


def test_what_a_fallen_balance_does_not_pay_is_parked_until_money_comes() -> None:
    harness = Harness()
    run = tuple(pooled("a", nonce) for nonce in range(4))
    for transaction in run:
        harness.admit(transaction)
    harness.accounts[sender_named("a")] = 0, 250
    harness.execute(run[0])
    assert harness.select() == run[1:2]
    assert harness.pool.status().ready == 1
    harness.accounts[sender_named("a")] = 1, 1_000
    harness.execute()
    assert harness.select() == run[1:]


def test_what_expires_or_waits_too_long_is_dropped_and_what_follows_is_parked() -> None:
    harness = Harness(ttl_ms=60_000)
    run = (pooled("a", 0), pooled("a", 1, valid_until=5_000), pooled("a", 2))
    for transaction in run:
        harness.admit(transaction)
        harness.now_ns += SECOND
    assert harness.pool.expire(harness.now_ns, 5_000) == ()
    assert [each.code for each in harness.pool.expire(harness.now_ns, 5_001)] == ["expired"]
    assert harness.select() == run[:1]
    assert [each.code for each in harness.pool.expire(60 * SECOND, 5_001)] == ["pool_timeout"]
    assert harness.select() == ()
    assert [each.id for each in harness.pool.expire(62 * SECOND, 5_001)] == [run[2].id]
    assert harness.pool.status().senders == 0


def test_dropped_and_forgotten_ids_are_bounded_and_the_oldest_go_first() -> None:
    harness = Harness(dropped_remembered_max=2, forgotten_max=3, ttl_ms=1)
    ids = [pooled(name, 0).id for name in "abcd"]
    for name in "abcd":
        harness.admit(pooled(name, 0))
    assert len(harness.pool.expire(SECOND, 0)) == 4
    assert [code_of(harness, each) for each in ids] == ["", "", "pool_timeout", "pool_timeout"]
    assert harness.pool.drain_forgotten() == tuple(ids[1:])
    assert harness.pool.drain_forgotten() == ()


def test_pages_are_in_the_order_of_ids_and_tell_readiness_and_age() -> None:
    harness = Harness()
    for name in "abcdef":
        harness.admit(pooled(name, 0))
    parked = pooled("g", 3)
    harness.admit(parked)
    harness.now_ns = 3 * SECOND
    pages: list[PooledTransaction] = []
    after = None
    while page := harness.pool.page(after, 3, harness.now_ns):
        pages.extend(page)
        after = page[-1].transaction.id
    ids = [each.transaction.id for each in pages]
    assert ids == sorted(ids)
    assert len(ids) == 7
    assert all(each.age_ms == 3_000 and each.ready == (each.transaction is not parked) for each in pages)
