"""The settlement application: `Withdraw`, `SignBatch`, `ObserveL2`, and at the end of each block the next action."""

from __future__ import annotations

from collections.abc import Iterable

from potchain.application.accounts import load_account, store_account
from potchain.application.epochs import pending_epoch
from potchain.application.interface import BlockContext, EventData, StateReader, StateWriter
from potchain.application.settlement.bodies import (
    SETTLEMENT_BODIES,
    SETTLEMENT_EVENTS,
    ObserveL2,
    SignBatch,
    Withdraw,
)
from potchain.application.settlement.duties import is_fickle, is_on_duty
from potchain.application.settlement.forming import check_signature, form, sign
from potchain.application.settlement.observing import apply_agreed, check_observation, observe
from potchain.application.settlement.payouts import create_payout
from potchain.application.settlement.records import counters, terms
from potchain.crypto import checksum_address
from potchain.errors import InvalidTransaction, TransactionFailed
from potchain.genesis import Epoch, Genesis
from potchain.primitives import uint
from potchain.transactions import Transaction, TransactionBody

WITHDRAWAL = "withdrawal"
"""Kind of the payouts that `Withdraw` makes; their reference is the transaction's id."""


class SettlementApplication:
    """What the ledger owes on Layer 2, and what comes from there."""

    name = "settlement"
    body_types: tuple[type[TransactionBody], ...] = SETTLEMENT_BODIES
    event_types: tuple[type[EventData], ...] = SETTLEMENT_EVENTS

    def genesis_records(self, genesis: Genesis) -> Iterable[tuple[bytes, bytes]]:
        """None: what has no record has its default."""
        return ()

    def check(self, transaction: Transaction, state: StateReader, epoch: Epoch) -> None:
        """All that execution would refuse now. Raises InvalidTransaction with the same codes."""
        body = transaction.body
        try:
            if isinstance(body, Withdraw):
                _check_amount(body, state)
                balance = uint(load_account(state, body.from_).balance)
                needed = uint(body.amount) + transaction.fee
                if balance < needed:
                    sender = checksum_address(body.from_)
                    text = f"{sender} has {balance}, needs {needed} with the fee"
                    raise TransactionFailed("insufficient_funds", text)
            elif isinstance(body, SignBatch):
                check_signature(state, body)
            else:
                assert isinstance(body, ObserveL2)
                check_observation(state, epoch, body)
        except TransactionFailed as fault:
            raise InvalidTransaction(fault.code, fault.detail) from None

    def is_duty(self, transaction: Transaction, state: StateReader, epoch: Epoch) -> bool:
        """Signatures and observations, of operators and owners; of an observation changed too often no more."""
        body = transaction.body
        if isinstance(body, Withdraw) or not is_on_duty(body.from_, state, epoch):
            return False
        return not (isinstance(body, ObserveL2) and is_fickle(body.from_, body.event_nonce, state))

    def execute(self, transaction: Transaction, context: BlockContext, state: StateWriter) -> tuple[EventData, ...]:
        """Run the body. Raises TransactionFailed."""
        body = transaction.body
        if isinstance(body, SignBatch):
            return sign(context, state, body)
        if isinstance(body, ObserveL2):
            return observe(context, state, body)
        assert isinstance(body, Withdraw)
        _check_amount(body, state)
        account = load_account(state, body.from_)
        amount = uint(body.amount)
        left = uint(account.balance) - amount
        if left < 0:
            raise TransactionFailed("insufficient_funds", f"balance {uint(account.balance)}, amount {amount}")
        store_account(state, body.from_, account.nonce, left)
        return (create_payout(context, state, WITHDRAWAL, transaction.id, body.from_, amount),)

    def end_block(self, context: BlockContext, state: StateWriter) -> tuple[EventData, ...]:
        """Form an action when one is due. In an epoch's last block, count votes as the next epoch does.

        Those who voted under this epoch will not vote again, so votes that are enough for the next one must be counted
        when it begins; and the block before is the last that is sure to come.
        """
        if not counters(state).binding:
            return ()
        events: tuple[EventData, ...] = ()
        following = pending_epoch(state)
        if following is not None and following.first_sequence == context.height + 1:
            events = apply_agreed(state, following.members)
        return events + form(context, state)


def _check_amount(body: Withdraw, state: StateReader) -> None:
    amount, least = uint(body.amount), uint(terms(state).minimum_withdrawal)
    if amount < least:
        raise TransactionFailed("below_minimum", f"amount {amount}; the least that is paid out is {least}")
    now = counters(state)
    # What nothing covers yet would stand before everybody's deposits, and what is not formed would be lost to the next
    # contract's depositors.
    if not now.binding:
        raise TransactionFailed("not_bound", "no contract is bound; there is nothing that could pay it out")
    if now.paused or now.halted:
        why = "by governance" if now.paused else "since the contract did what it was not asked for"
        raise TransactionFailed("settlement_paused", f"settlement is paused {why}; try again when it goes on")
    if amount > now.withdrawable:
        raise TransactionFailed(
            "not_covered",
            f"amount {amount}; deposits cover {now.withdrawable} more on the contract now: take out less, or wait for "
            f"a deposit",
        )
