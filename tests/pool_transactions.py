"""Transactions for tests of the pool: unsigned, since the pool takes verified ones."""

from __future__ import annotations

import hashlib

from potchain.blocks import Receipt
from potchain.pool import Admission, PoolLimits, TransactionPool
from potchain.primitives import Digest, uint256
from potchain.transactions import Transaction, Transfer

RICH = 10**12
SECOND = 1_000_000_000


def sender_named(name: str) -> bytes:
    """An address."""
    return hashlib.sha256(name.encode()).digest()[:20]


def pooled(
    name: str, nonce: int, fee: int = 100, *, valid_until: int = 0, size: int = 200, salt: str = ""
) -> Transaction:
    """A transaction of that sender; equal arguments give equal ids."""
    sender = sender_named(name)
    seed = f"{name}/{nonce}/{fee}/{valid_until}/{size}/{salt}".encode()
    body = Transfer(
        from_=sender, nonce=nonce, fee=uint256(fee), valid_until=valid_until, to=sender, amount=uint256(1), memo=b""
    )
    return Transaction(
        id=Digest(hashlib.sha256(seed).digest()),
        kind="Transfer",
        body=body,
        signature=b"",
        raw=bytes(size),
        sender=sender,
        nonce=nonce,
        fee=fee,
        valid_until=valid_until,
    )


def digest_named(name: str) -> Digest:
    """A proposal's digest."""
    return Digest(hashlib.sha256(name.encode()).digest())


def executed_receipt(transaction: Transaction) -> Receipt:
    """It took its place."""
    return Receipt(transaction.id, 0, "ok", "", uint256(transaction.fee))


def skipped(transaction: Transaction, code: str) -> Receipt:
    """It did not."""
    return Receipt(transaction.id, 0, "skipped", code, uint256(0))


class Harness:
    """A pool with accounts that the test changes, and a clock that it turns."""

    def __init__(self, **limits: int) -> None:
        self.pool = TransactionPool(PoolLimits(**limits))
        self.accounts: dict[bytes, tuple[int, int]] = {}
        self.now_ns = 0
        self.block_time_ms = 1_000

    def account(self, address: bytes) -> tuple[int, int]:
        return self.accounts.get(address, (0, RICH))

    def admit(self, transaction: Transaction, base_fee: int = 1, standing_fee: int = 0) -> Admission:
        nonce, balance = self.account(transaction.sender)
        return self.pool.admit(
            transaction,
            account_nonce=nonce,
            balance=balance,
            base_fee=base_fee,
            block_time_ms=self.block_time_ms,
            now_ns=self.now_ns,
            standing_fee=standing_fee,
        )

    def select(self, count_max: int = 1_000, bytes_max: int = 1 << 20) -> tuple[Transaction, ...]:
        return self.pool.select(
            count_max=count_max, bytes_max=bytes_max, now_ns=self.now_ns, block_time_ms=self.block_time_ms
        )

    def propose(self, name: str, transactions: tuple[Transaction, ...]) -> Digest:
        digest = digest_named(name)
        assert self.pool.pin(digest, transactions)
        assert self.pool.mark_proposed(digest, [transaction.id for transaction in transactions])
        return digest

    def execute(self, *transactions: Transaction, codes: dict[Digest, str] | None = None) -> tuple[str, ...]:
        """Execute a block; `codes` names the ones that are skipped. Returns the codes of what was dropped."""
        codes = codes or {}
        receipts = []
        for transaction in transactions:
            code = codes.get(transaction.id)
            if code is None:
                nonce, balance = self.account(transaction.sender)
                assert nonce == transaction.nonce
                self.accounts[transaction.sender] = nonce + 1, balance - transaction.fee
                receipts.append(executed_receipt(transaction))
            else:
                receipts.append(skipped(transaction, code))
        dropped = self.pool.executed(transactions, receipts, self.account, self.now_ns)
        return tuple(each.code for each in dropped)
