"""Fees: enough for blocks to come, never above a cap, and always enough more to replace what waits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from potchain import SettlementError
from potchain_multisig.fees import FeeLimits, Offer, bumped, offer

GWEI = 10**9
LIMITS = FeeLimits(fee_cap=100 * GWEI, tip_min=GWEI, tip_cap=5 * GWEI)
AMOUNTS = st.integers(0, 10**30)


@pytest.mark.parametrize(
    ("base_fee", "suggested", "expected"),
    [
        (10 * GWEI, 2 * GWEI, Offer(22 * GWEI, 2 * GWEI)),
        (10 * GWEI, None, Offer(21 * GWEI, GWEI)),
        (10 * GWEI, 0, Offer(21 * GWEI, GWEI)),
        (10 * GWEI, 50 * GWEI, Offer(25 * GWEI, 5 * GWEI)),
        (60 * GWEI, 2 * GWEI, Offer(100 * GWEI, 2 * GWEI)),
        (98 * GWEI, 2 * GWEI, Offer(100 * GWEI, 2 * GWEI)),
        (0, None, Offer(GWEI, GWEI)),
        (None, 3 * GWEI, Offer(3 * GWEI, None)),
        (None, None, Offer(GWEI, None)),
    ],
)
def test_offers(base_fee: int | None, suggested: int | None, expected: Offer) -> None:
    assert offer(LIMITS, base_fee, suggested) == expected


@pytest.mark.parametrize(
    ("base_fee", "suggested", "replaced", "text"),
    [
        (99 * GWEI + 1, 0, None, "the chain asks 100.000000001 gwei per gas; fee_cap_wei allows 100"),
        (None, 101 * GWEI, None, "the chain asks 101 gwei"),
        (10 * GWEI, 0, Offer(90 * GWEI, GWEI), "a replacement must offer 101.25 gwei"),
        (None, 0, Offer(90 * GWEI, None), "a replacement must offer 101.25 gwei"),
    ],
)
def test_above_the_cap(base_fee: int | None, suggested: int, replaced: Offer | None, text: str) -> None:
    with pytest.raises(SettlementError, match=text) as caught:
        offer(LIMITS, base_fee, suggested, replaced)
    assert caught.value.code == "gas_too_dear"


@pytest.mark.parametrize(("old", "new"), [(0, 1), (1, 2), (8, 9), (9, 11), (16, 18), (1000, 1125), (1001, 1127)])
def test_a_bump_is_an_eighth_rounded_up(old: int, new: int) -> None:
    assert bumped(old) == new


@given(
    cap=AMOUNTS, tip_min=AMOUNTS, tip_cap=AMOUNTS, base_fee=st.none() | AMOUNTS, suggested=st.none() | AMOUNTS,
    old=st.none() | st.tuples(AMOUNTS, st.none() | AMOUNTS),
)  # fmt: skip
def test_any_offer_is_within_the_cap_and_outbids(
    cap: int,
    tip_min: int,
    tip_cap: int,
    base_fee: int | None,
    suggested: int | None,
    old: tuple[int, int | None] | None,
) -> None:
    replaced = None if old is None else Offer(*old)
    try:
        made = offer(FeeLimits(cap, tip_min, tip_cap), base_fee, suggested, replaced)
    except SettlementError:
        return
    assert made.fee_per_gas <= cap
    assert (made.tip_per_gas is None) == (base_fee is None)
    if base_fee is not None:
        assert made.tip_per_gas is not None
        assert made.fee_per_gas >= base_fee + made.tip_per_gas
    if replaced is not None:
        assert 8 * made.fee_per_gas >= 9 * replaced.fee_per_gas
        assert made.fee_per_gas > replaced.fee_per_gas
        if made.tip_per_gas is not None and replaced.tip_per_gas is not None:
            assert 8 * made.tip_per_gas >= 9 * replaced.tip_per_gas
