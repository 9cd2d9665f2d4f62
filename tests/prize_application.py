"""An application for tests that owes people money on Layer 2, whatever deposits cover: a stranger's `create_payout`.

`Award` moves money of its sender to a payout for somebody else, before a contract is bound and in a pause, too.
"""

from __future__ import annotations

from quiet_application import QuietApplication

from potchain import (
    Address,
    BlockContext,
    EventData,
    StateWriter,
    Transaction,
    TransactionBody,
    TransactionFailed,
    Uint256,
    create_payout,
    uint,
)
from potchain.application.accounts import load_account, store_account


class Award(TransactionBody, frozen=True):
    """A prize."""

    to: Address
    amount: Uint256


class PrizeApplication(QuietApplication):
    """The application."""

    name = "prizes"
    body_types: tuple[type[TransactionBody], ...] = (Award,)

    def execute(self, transaction: Transaction, context: BlockContext, state: StateWriter) -> tuple[EventData, ...]:
        """Take the money and owe it."""
        body = transaction.body
        assert isinstance(body, Award)
        account = load_account(state, body.from_)
        left = uint(account.balance) - uint(body.amount)
        if left < 0:
            raise TransactionFailed("insufficient_funds", f"balance {uint(account.balance)}")
        payout = create_payout(context, state, "prize", transaction.id, body.to, uint(body.amount))
        store_account(state, body.from_, account.nonce, left)
        return (payout,)
