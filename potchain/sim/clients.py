"""Clients of a simulated network: transfers and rubbish through the HTTP handlers of the nodes, and some reads.

A client sends its account's transactions in the order of their nonces, without waiting for one before the next. When
nobody answers, or the node says that it cannot now, it goes to the next node with the very same transaction until one
takes it. Rubbish is sent once.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import cache
from hashlib import sha256
from typing import Any

import msgspec

from potchain.crypto import SigningKey, checksum_address
from potchain.genesis import Genesis
from potchain.primitives import NS_PER_MS, uint256
from potchain.sim.node import SimNode
from potchain.sim.observation import ApiAnswer
from potchain.sim.plan import Workload
from potchain.sim.scheduler import Scheduler
from potchain.transactions import Transaction, TransactionBody, TransactionTypes, Transfer
from potchain.typed_data import struct_to_json

ACCOUNT_BALANCE = 10**12
"""What each client's account begins with, base units."""
TRAVEL_NS = 2 * NS_PER_MS
"""Between a client and a node, each way."""
BURST_MAX = 6
"""Up to so many transactions are submitted at one moment, so that several sequences are in flight together."""
RETRY_NS = 300 * NS_PER_MS
"""How long a client waits before it tries the next node."""
_FOR_NOW = (b"nonce_gap_too_large", b"not_covered", b"not_bound", b"settlement_paused")
"""Codes of refusals that pass: a client tries again."""
READ_AFTER_NS = 700 * NS_PER_MS
"""When a client asks what became of its transaction."""
READS = ("/v1/status", "/v1/consensus", "/v1/blocks?limit=5", "/v1/pool", "/readyz", "/v1/accounts/{}", "/metrics")
"""What is read now and then, so that its handlers run in every state of a node."""

Report = Callable[[ApiAnswer], None]
Script = Callable[["Clients"], None]
"""Plans submissions of its own before the run begins, from the accounts of `script_key`."""
SCRIPT_ACCOUNTS = 4
"""Funded accounts that only scripts use."""


@cache
def account_key(number: int) -> SigningKey:
    """The same key for the same client, in every run."""
    return SigningKey(sha256(f"potchain simulated account {number}".encode()).digest())


def script_key(number: int) -> SigningKey:
    """The key of one of the accounts that are kept for scripts, from 0."""
    assert 0 <= number < SCRIPT_ACCOUNTS
    return account_key(1_000_000 + number)


class Clients:
    """All clients of one run."""

    def __init__(
        self,
        scheduler: Scheduler,
        nodes: Sequence[SimNode],
        genesis: Genesis,
        types: TransactionTypes,
        workload: Workload,
        rng: random.Random,
        report: Report,
    ) -> None:
        """`rng` decides who pays whom, when and where; nothing else draws from it."""
        self._scheduler = scheduler
        self._nodes = nodes
        self._genesis = genesis
        self._types = types
        self._workload = workload
        self._rng = rng
        self._report = report
        self._nonces = [0] * workload.accounts

    def begin(self) -> None:
        """Plan the whole run's submissions."""
        work, rng = self._workload, self._rng
        span_ns = work.until_ns - work.from_ns
        burst_ends = 0
        at_ns = work.from_ns
        for number in range(work.transactions):
            if number >= burst_ends:
                burst_ends = number + 1 + rng.randrange(BURST_MAX)
                at_ns = work.from_ns + span_ns * number // work.transactions
            self._scheduler.at(at_ns, self._pay, rng.randrange(work.accounts), rng.randrange(len(self._nodes)))
            if number % 4 == 0:
                self._scheduler.at(at_ns, self._read, rng.choice(READS), rng.randrange(len(self._nodes)))
        for number in range(work.rubbish):
            at_ns = work.from_ns + rng.randrange(max(1, span_ns))
            self._scheduler.at(at_ns, self._send_rubbish, number, rng.randrange(len(self._nodes)))

    # --- what a script may do -----------------------------------------------------------------------------------------

    def submit_at(self, at_ns: int, node: int, body: TransactionBody, key: SigningKey) -> Transaction:
        """Have a transaction of any kind submitted, with the same patience as all others; its `from_` is `key`'s."""
        transaction = self._types.sign(body, key)
        self._scheduler.at(at_ns, self._submit, transaction, _submission(transaction), node)
        return transaction

    def read_at(self, at_ns: int, node: int, path: str) -> None:
        """Have a GET made; the answer goes to the checkers."""
        self._scheduler.at(at_ns, self._read, path, node)

    # --- good ones ----------------------------------------------------------------------------------------------------

    def _pay(self, account: int, at_node: int) -> None:
        transaction = self._transfer(account, self._nonces[account])
        self._nonces[account] += 1
        body = _submission(transaction)
        targets = range(len(self._nodes)) if self._workload.everywhere else (at_node,)
        for node in targets:
            self._submit(transaction, body, node)

    def _submit(self, transaction: Transaction, body: bytes, node: int) -> None:
        def answered(answer: ApiAnswer | None) -> None:
            if answer is None or answer.status in (429, 503) or any(code in answer.document for code in _FOR_NOW):
                if not self._workload.everywhere:
                    after_ns = self._scheduler.now_ns + RETRY_NS
                    self._scheduler.at(after_ns, self._submit, transaction, body, (node + 1) % len(self._nodes))
            elif answer.status == 202 and transaction.nonce % 4 == 0:
                path = f"/v1/transactions/0x{transaction.id.hex()}"
                self._scheduler.at(self._scheduler.now_ns + READ_AFTER_NS, self._call, node, "GET", path, b"")

        self._call(node, "POST", "/v1/transactions", body, (transaction,), "", answered)

    def _transfer(self, account: int, nonce: int, **changes: Any) -> Transaction:  # noqa: ANN401 - members of Transfer
        values: dict[str, Any] = {
            "from_": account_key(account).address,
            "nonce": nonce,
            "fee": uint256(self._genesis.parameters.base_fee + self._rng.randrange(5)),
            "valid_until": 0,
            "to": account_key(self._rng.randrange(self._workload.accounts)).address,
            "amount": uint256(1 + self._rng.randrange(1_000)),
            "memo": b"",
        }
        body = Transfer(**{**values, **changes})
        return self._types.sign(body, account_key(account))

    # --- bad ones -----------------------------------------------------------------------------------------------------

    def _send_rubbish(self, number: int, node: int) -> None:
        account = self._rng.randrange(self._workload.accounts)
        nonce = self._nonces[account]
        what = ("not_json", "bad_signature", "stale_nonce", "no_funds", "expired", "unknown_field")[number % 6]
        transactions: tuple[Transaction, ...] = ()
        if what == "not_json":
            body = b'{"kind": "Transfer", ' + self._rng.randbytes(20)
        elif what == "unknown_field":
            body = b'{"kind": "Transfer", "message": {"nonsense": 1}, "signature": "0x' + b"00" * 65 + b'"}'
        else:
            transaction = self._bad_transaction(what, account, nonce)
            transactions, body = (transaction,), _submission(transaction)
        self._call(node, "POST", "/v1/transactions", body, transactions, what)

    def _bad_transaction(self, what: str, account: int, nonce: int) -> Transaction:
        match what:
            case "bad_signature":
                good = self._transfer(account, nonce)
                other = account_key((account + 1) % self._workload.accounts)
                return self._types.assemble(good.body, other.sign_digest(good.id))
            case "stale_nonce":
                return self._transfer(account, max(0, nonce - 1), fee=uint256(1))
            case "no_funds":
                return self._transfer(account, nonce, amount=uint256(ACCOUNT_BALANCE * 1_000))
            case _:
                return self._transfer(account, nonce, valid_until=1)

    # --- calls --------------------------------------------------------------------------------------------------------

    def _read(self, path: str, node: int) -> None:
        self._call(node, "GET", path.format(checksum_address(account_key(0).address)), b"")

    def _call(
        self,
        node: int,
        method: str,
        path: str,
        body: bytes,
        transactions: tuple[Transaction, ...] = (),
        rubbish: str = "",
        then: Callable[[ApiAnswer | None], None] | None = None,
    ) -> None:
        sent_ns = self._scheduler.now_ns

        def answered(status: int | None, document: bytes) -> None:
            self._scheduler.at(self._scheduler.now_ns + TRAVEL_NS, arrived, status, document)

        def arrived(status: int | None, document: bytes) -> None:
            answer = None
            if status is not None:
                answer = ApiAnswer(
                    node=node,
                    sent_ns=sent_ns,
                    answered_ns=self._scheduler.now_ns,
                    method=method,
                    path=path,
                    status=status,
                    document=document,
                    transactions=transactions,
                    rubbish=rubbish,
                )
                self._report(answer)
            if then is not None:
                then(answer)

        self._scheduler.at(sent_ns + TRAVEL_NS, self._nodes[node].request, method, path, body, answered)


def _submission(transaction: Transaction) -> bytes:
    return msgspec.json.encode(
        {
            "kind": transaction.kind,
            "message": struct_to_json(transaction.body),
            "signature": "0x" + transaction.signature.hex(),
        }
    )
