"""How the ledger comes to owe something on Layer 2."""

from __future__ import annotations

import msgspec

from potchain.application.interface import BlockContext, StateWriter
from potchain.application.settlement.bodies import PayoutCreated
from potchain.application.settlement.records import (
    PAYOUTS_OPEN_MAX,
    PayoutRecord,
    counters,
    save_counters,
    save_payout,
)
from potchain.crypto import checksum_address
from potchain.errors import TransactionFailed
from potchain.primitives import ZERO_ADDRESS, uint, uint256

KIND_LENGTH_MAX = 32
"""Characters of a payout's kind."""


def create_payout(
    context: BlockContext, state: StateWriter, kind: str, reference: bytes, account: bytes, amount: int
) -> PayoutCreated:
    """Owe `amount` base units to `account` on Layer 2, paid once, as soon as an action takes it up.

    For applications, in `execute` and `end_block`; return the event among yours. The caller takes the money from
    where it is - a balance, an escrow - by the same amount in the same call: this only adds to what is owed. `kind`
    (1 to 32 characters) and `reference` (32 bytes) tell readers of the history what it is for. The settlement
    application must be enabled.

    Raises TransactionFailed: `zero_amount`, `zero_address`, `too_many_payouts`. ValueError for a kind or reference of
    another length: that is a mistake of the application's author.
    """
    if not 0 < len(kind) <= KIND_LENGTH_MAX or len(reference) != 32:
        raise ValueError(f"kind {kind!r} must have 1 to {KIND_LENGTH_MAX} characters, the reference 32 bytes")
    if amount <= 0:
        raise TransactionFailed("zero_amount", f"the amount is {amount}; it must be at least 1")
    if account == ZERO_ADDRESS:
        raise TransactionFailed("zero_address", "the payee is the zero address; money sent there would be lost")
    now = counters(state)
    if now.payouts_open >= PAYOUTS_OPEN_MAX:
        raise TransactionFailed(
            "too_many_payouts",
            f"{now.payouts_open} payouts wait already, {PAYOUTS_OPEN_MAX} are kept; {checksum_address(account)} must "
            f"wait until some are executed",
        )
    number = now.next_payout
    record = PayoutRecord(
        id=number, kind=kind, reference=reference, account=account, amount=uint256(amount), height=context.height
    )
    save_payout(state, record)
    changed = msgspec.structs.replace(
        now,
        next_payout=number + 1,
        payouts_open=now.payouts_open + 1,
        owed=uint256(uint(now.owed) + amount),
    )
    save_counters(state, changed)
    return PayoutCreated(number, kind, reference, account, record.amount)
