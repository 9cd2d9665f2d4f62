"""What a transaction offers for gas: pure arithmetic over what the chain asks, with caps. All amounts in wei.

On chains with a base fee (EIP-1559) the offer is twice the base fee and a tip: the base fee rises by at most an eighth
a block, so that it stays enough for five full blocks. Elsewhere it is the price that endpoints suggest.

A pool takes a second transaction for an account's nonce only if it pays a good deal more: 10% in geth, 12.5% in others
(Nethermind, Erigon in the past), of both members. 12.5% satisfies all.
"""

from __future__ import annotations

import msgspec

from potchain import SettlementError

BUMP_NUMERATOR, BUMP_DENOMINATOR = 9, 8
BASE_FEE_FACTOR = 2
GWEI = 10**9


class Offer(msgspec.Struct, frozen=True):
    """Fee members of a transaction."""

    fee_per_gas: int
    """Most that is paid per gas; the gas price on a legacy chain."""
    tip_per_gas: int | None
    """Of it, most to the block's producer; None: a legacy transaction."""


class FeeLimits(msgspec.Struct, frozen=True):
    """From the options."""

    fee_cap: int
    tip_min: int
    tip_cap: int


def bumped(amount: int) -> int:
    """The least amount that replaces `amount`: 12.5% more, at least 1 wei."""
    return max(amount + 1, -(-amount * BUMP_NUMERATOR // BUMP_DENOMINATOR))


def offer(limits: FeeLimits, base_fee: int | None, suggested: int | None, replaced: Offer | None = None) -> Offer:
    """What to offer now.

    `base_fee` of the head, None on a legacy chain; `suggested`: tip there is a base fee, otherwise gas price, as
    endpoints say; `replaced`: the offer that must be outbid. Raises SettlementError(`gas_too_dear`).
    """
    if base_fee is None:
        return _legacy(limits, suggested, replaced)
    tip = min(max(suggested or 0, limits.tip_min), limits.tip_cap, limits.fee_cap)
    needed = base_fee + tip
    fee = max(needed, min(BASE_FEE_FACTOR * base_fee + tip, limits.fee_cap))
    if replaced is not None:
        tip = max(tip, bumped(replaced.fee_per_gas if replaced.tip_per_gas is None else replaced.tip_per_gas))
        needed = max(base_fee + tip, bumped(replaced.fee_per_gas))
        fee = max(fee, needed)
    _require(needed, limits, replaced)
    return Offer(min(fee, limits.fee_cap), tip)


def _legacy(limits: FeeLimits, suggested: int | None, replaced: Offer | None) -> Offer:
    price = max(suggested or 0, limits.tip_min, 1)
    if replaced is not None:
        price = max(price, bumped(replaced.fee_per_gas))
    _require(price, limits, replaced)
    return Offer(price, None)


def _require(needed: int, limits: FeeLimits, replaced: Offer | None) -> None:
    if needed > limits.fee_cap:
        why = "a replacement must offer" if replaced is not None else "the chain asks"
        raise SettlementError(
            "gas_too_dear", f"{why} {_gwei(needed)} gwei per gas; fee_cap_wei allows {_gwei(limits.fee_cap)}"
        )


def _gwei(amount: int) -> str:
    return f"{amount // GWEI}.{amount % GWEI:09d}".rstrip("0").rstrip(".")
