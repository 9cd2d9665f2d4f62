"""The conditions of admission that need nothing but the transaction, its account and its sender's run. All raise
InvalidTransaction; the codes are listed at `TransactionPool.admit`.
"""

from __future__ import annotations

from potchain.crypto import checksum_address
from potchain.errors import InvalidTransaction
from potchain.pool.interface import PoolLimits
from potchain.pool.run import Entry, Run
from potchain.transactions import TRANSACTION_BYTES_MAX, Transaction


def check_alone(transaction: Transaction, account_nonce: int, base_fee: int, block_time_ms: int) -> None:
    """What the transaction and its account tell, whatever else is pooled."""
    if len(transaction.raw) > TRANSACTION_BYTES_MAX:
        raise InvalidTransaction(
            "oversize", f"{len(transaction.raw)} bytes, at most {TRANSACTION_BYTES_MAX} are allowed"
        )
    if transaction.fee < base_fee:
        raise InvalidTransaction("insufficient_fee", f"fee {transaction.fee}, at least {base_fee} is needed")
    if transaction.valid_until and transaction.valid_until < block_time_ms:
        raise InvalidTransaction(
            "expired", f"valid until block time {transaction.valid_until}, which is {block_time_ms} now; sign it anew"
        )
    if transaction.nonce < account_nonce:
        raise InvalidTransaction(
            "stale_nonce",
            f"nonce {transaction.nonce} of {checksum_address(transaction.sender)} is used; the account's next is "
            f"{account_nonce}",
        )


def check_place(
    transaction: Transaction,
    run: Run | None,
    old: Entry | None,
    end: int,
    balance: int,
    limits: PoolLimits,
    *,
    promised: bool,
) -> None:
    """What the sender's other pooled transactions allow; `end` is the end of its contiguous run.

    `promised`: it was here before a restart, and the gap that it stands behind is no fault of its own.
    """
    fees = transaction.fee
    if run is not None:
        fees += run.fees
    if old is not None:
        fees -= old.transaction.fee
        bump = max(1, -(-old.transaction.fee * limits.replacement_bump_percent // 100))
        if transaction.fee < old.transaction.fee + bump:
            raise InvalidTransaction(
                "fee_too_low_to_replace",
                f"fee {transaction.fee}; nonce {transaction.nonce} is taken by 0x{old.transaction.id.hex()} with fee "
                f"{old.transaction.fee}, and to replace it takes {old.transaction.fee + bump}",
            )
    elif transaction.nonce > end + limits.nonce_gap_max and not promised:
        raise InvalidTransaction(
            "nonce_gap_too_large",
            f"nonce {transaction.nonce}; the next of {checksum_address(transaction.sender)} is {end}, and at most "
            f"{limits.nonce_gap_max} above it are kept; send the missing ones first",
        )
    if fees > balance:
        raise InvalidTransaction(
            "insufficient_funds",
            f"{checksum_address(transaction.sender)} has {balance}; the fees of its pooled transactions and this "
            f"one are {fees}",
        )
    if old is None and run is not None and len(run.entries) >= limits.per_sender_max:
        raise InvalidTransaction(
            "sender_limit",
            f"{checksum_address(transaction.sender)} has {len(run.entries)} transactions in the pool, the most that "
            f"one sender may; wait until some are executed",
        )
