"""What blocks may do, worked out again from their bodies by a model of accounts that shares no code with the executor.

The model is stepped once for each height, by the first honest node that executes it; that all others did the same is
`Agreement`'s and `EqualRoots`' business. Kinds of transaction that the model does not know (those of settlement,
governance and test applications) are held to signature, nonce and fee; what their bodies write to accounts is taken as
it is, and that it makes no money is `Conservation`'s business.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from potchain.blocks import ExecutedBlock, Receipt, StateChange
from potchain.crypto import recover_address
from potchain.errors import InvalidProof, PotchainError
from potchain.genesis import Genesis
from potchain.sim.observation import Checker, ClusterView, NodeView, PromiseBroken
from potchain.transactions import SignedTransaction, Transaction, TransactionBody, TransactionTypes, Transfer

ACCOUNT = b"account/"
TREASURY = b"treasury"
DUTIES = frozenset(
    ("SignBatch", "ObserveL2", "GovBindContract", "GovSetParameter", "GovRotateOwners", "GovPause", "GovVote")
)
"""Kinds that may take effect for less than the base fee."""
CREDITING = frozenset(("DepositCredited", "RelayPaid"))
"""Events at the end of a block after which accounts and treasury may differ from what transactions made of them."""
PAYOUT = b"settlement/payout/"
COUNTERS = b"settlement/counters"
_NOBODY = bytes(20)
_MEMO_MAX = 64
_PAYOUT_AMOUNT = 4
"""Place of the amount in a payout's record."""
_CREDITED_EXECUTED = (10, 11)
"""Places of the two sums in the record of the counters."""


class _Account(msgspec.Struct):
    nonce: int = 0
    balance: int = 0


class _Refused(PotchainError):
    """A block holds what may not take effect."""


class Validity(Checker):
    """Only signed, valid, funded transactions take effect, and they do what they say and nothing else."""

    name = "validity"

    def __init__(self) -> None:
        self._height = 0
        self._time_ms = 0
        self._accounts: dict[bytes, _Account] = {}
        self._treasury = 0
        self._base_fee = 0
        self._types: TransactionTypes
        self._genesis: Genesis

    def begin(self, cluster: ClusterView) -> None:
        """Start from genesis."""
        self._genesis = cluster.genesis
        self._time_ms = cluster.genesis.timestamp_ms
        self._base_fee = cluster.genesis.parameters.base_fee
        self._types = TransactionTypes([Transfer], cluster.genesis.hash)
        for initial in cluster.genesis.accounts:
            self._accounts[initial.address] = _Account(0, int.from_bytes(initial.balance, "big"))

    def nonce_of(self, address: bytes) -> int:
        """The next nonce of an account, by the model."""
        account = self._accounts.get(address)
        return 0 if account is None else account.nonce

    @property
    def time_ms(self) -> int:
        """Block time of the highest block seen."""
        return self._time_ms

    def executed(self, node: NodeView, block: ExecutedBlock) -> None:
        """Work the block out again."""
        if node.is_faulty or block.height != self._height + 1:
            return
        epoch = node.replica.epoch
        if epoch.number == block.header.epoch:
            self._base_fee = epoch.parameters.base_fee
        try:
            self._execute(block)
        except _Refused as refusal:
            raise PromiseBroken(node.index, f"height {block.height} at {node.name}: {refusal}") from None

    def _execute(self, block: ExecutedBlock) -> None:
        self._height = block.height
        expected_ms = max(block.proposal.header.timestamp_ms, self._time_ms + 1)
        if block.header.block_time_ms != expected_ms:
            raise _Refused(f"block time {block.header.block_time_ms}, {expected_ms} is due")
        self._time_ms = expected_ms
        if not len(block.bodies) == len(block.receipts) == len(block.proposal.transaction_ids):
            raise _Refused("bodies, receipts and ids differ in number")
        foreign: dict[bytes, None] = {}
        touched: dict[bytes, None] = {}
        fees = 0
        for index, (raw, receipt) in enumerate(zip(block.bodies, block.receipts, strict=True)):
            if receipt.index != index or receipt.transaction_id != block.proposal.transaction_ids[index]:
                raise _Refused(f"receipt {index} is for another transaction")
            fees += self._include(raw, receipt, touched, foreign)
        self._treasury += fees
        self._compare(block, touched, foreign, fees)

    def _include(
        self, raw: bytes, receipt: Receipt, touched: dict[bytes, None], foreign: dict[bytes, None]
    ) -> int:
        """Step one inclusion; the fee that it paid."""
        signed = msgspec.msgpack.decode(raw, type=SignedTransaction)
        if signed.kind != "Transfer":
            return self._include_foreign(signed, receipt, touched, foreign)
        transaction = self._types.parse(raw)
        if transaction.id != receipt.transaction_id:
            raise _Refused(f"body {receipt.index} is not that of its id")
        self._check_signature(transaction)
        body = transaction.body
        assert isinstance(body, Transfer)
        expected = self._outcome(body, transaction.fee)
        if (receipt.status, int.from_bytes(receipt.fee, "big")) != (expected, self._paid(expected, transaction.fee)):
            raise _Refused(f"0x{transaction.id.hex()} is {receipt.status} {receipt.code!r}, must be {expected}")
        if expected == "skipped":
            return 0
        sender = self._accounts.setdefault(body.from_, _Account())
        sender.nonce += 1
        sender.balance -= transaction.fee
        touched[body.from_] = None
        if expected == "ok":
            amount = int.from_bytes(body.amount, "big")
            sender.balance -= amount
            self._accounts.setdefault(body.to, _Account()).balance += amount
            touched[body.to] = None
        return transaction.fee

    def _include_foreign(
        self, signed: SignedTransaction, receipt: Receipt, touched: dict[bytes, None], foreign: dict[bytes, None]
    ) -> int:
        """A kind that the model does not know begins with from, nonce, fee, valid until, like every kind."""
        members = msgspec.msgpack.decode(signed.body)
        sender, nonce = members[0], members[1]
        if recover_address(receipt.transaction_id, signed.signature) != sender:
            raise _Refused(f"0x{receipt.transaction_id.hex()} is not signed by its sender")
        account = self._accounts.setdefault(sender, _Account())
        if receipt.status == "skipped":
            return 0
        if nonce != account.nonce:
            raise _Refused(f"nonce {nonce} took effect, {account.nonce} is next")
        fee = int.from_bytes(members[2], "big")
        short = fee < self._base_fee and signed.kind not in DUTIES
        if short or fee != int.from_bytes(receipt.fee, "big") or account.balance < fee:
            raise _Refused(f"fee {fee} of 0x{receipt.transaction_id.hex()} does not fit")
        account.nonce += 1
        account.balance -= fee
        touched[sender] = None
        foreign[sender] = None
        return fee

    def _check_signature(self, transaction: Transaction) -> None:
        try:
            signer = recover_address(transaction.id, transaction.signature)
        except InvalidProof as fault:
            raise _Refused(f"0x{transaction.id.hex()}: {fault}") from None
        if signer != transaction.sender:
            raise _Refused(f"0x{transaction.id.hex()} is signed by 0x{signer.hex()}")

    def _outcome(self, body: TransactionBody, fee: int) -> str:
        assert isinstance(body, Transfer)
        account = self._accounts.get(body.from_, _Account())
        late = 0 < body.valid_until < self._time_ms
        if body.nonce != account.nonce or late or fee < self._base_fee or account.balance < fee:
            return "skipped"
        amount = int.from_bytes(body.amount, "big")
        shapeless = body.to == _NOBODY or amount == 0 or len(body.memo) > _MEMO_MAX
        return "failed" if shapeless or account.balance - fee < amount else "ok"

    @staticmethod
    def _paid(status: str, fee: int) -> int:
        return 0 if status == "skipped" else fee

    def _compare(
        self, block: ExecutedBlock, touched: Iterable[bytes], foreign: dict[bytes, None], fees: int
    ) -> None:
        """What the block wrote to accounts and treasury is what the model has."""
        written = {change.key: change.value for change in block.changes}
        known = not foreign and not any(event.kind in CREDITING for event in block.end_events)
        for address in touched:
            value = written.pop(ACCOUNT + address, None)
            if value is None:
                raise _Refused(f"account 0x{address.hex()} was not written")
            nonce, balance = _account_of(value)
            ours = self._accounts[address]
            if nonce != ours.nonce or (known and balance != ours.balance):
                raise _Refused(
                    f"account 0x{address.hex()} has nonce {nonce}, balance {balance}; the model {ours.nonce}, "
                    f"{ours.balance}"
                )
            ours.balance = balance
        treasury = written.pop(TREASURY, None)
        if treasury is not None:
            if known and int.from_bytes(treasury, "big") != self._treasury:
                raise _Refused(f"treasury {int.from_bytes(treasury, 'big')}, the model has {self._treasury}")
            self._treasury = int.from_bytes(treasury, "big")
        elif fees and known:
            raise _Refused(f"fees of {fees} did not reach the treasury")
        for key, value in written.items():
            if not key.startswith(ACCOUNT):
                continue
            if known:
                raise _Refused(f"account 0x{key[len(ACCOUNT):].hex()} changed without a transaction")
            if value is not None:
                nonce, balance = _account_of(value)
                self._accounts[key[len(ACCOUNT) :]] = _Account(nonce, balance)


class ExactlyOnce(Checker):
    """An id is executed (ok or failed) at most once, at one place of the chain."""

    name = "exactly once"

    def __init__(self) -> None:
        self._height = 0
        self.executed_at: dict[bytes, int] = {}
        """Id to the height that executed it."""

    def executed(self, node: NodeView, block: ExecutedBlock) -> None:
        """Look at each height once."""
        if node.is_faulty or block.height != self._height + 1:
            return
        self._height = block.height
        for receipt in block.receipts:
            if receipt.status == "skipped":
                continue
            before = self.executed_at.setdefault(receipt.transaction_id, block.height)
            if before != block.height or self._twice(block, receipt):
                shown = receipt.transaction_id.hex()
                raise PromiseBroken(node.index, f"0x{shown} executed at height {before} and again at {block.height}")

    @staticmethod
    def _twice(block: ExecutedBlock, receipt: Receipt) -> bool:
        return any(
            other.transaction_id == receipt.transaction_id and other.status != "skipped"
            for other in block.receipts[: receipt.index]
        )


class Conservation(Checker):
    """All balances, the treasury and what is owed on Layer 2 are what genesis made and what came and went there."""

    name = "conservation of money"

    def __init__(self) -> None:
        self._height = 0
        self._total = 0
        self._records: dict[bytes, int] = {}
        """By record key: base units that there are by it; of the counters, those that came from Layer 2, negative."""

    def begin(self, cluster: ClusterView) -> None:
        """What there is."""
        for initial in cluster.genesis.accounts:
            self._records[ACCOUNT + initial.address] = int.from_bytes(initial.balance, "big")
        self._total = sum(self._records.values())

    def executed(self, node: NodeView, block: ExecutedBlock) -> None:
        """Only differences are summed up."""
        if node.is_faulty or block.height != self._height + 1:
            return
        self._height = block.height
        difference = 0
        for change in block.changes:
            amount = _money_of(change)
            if amount is None:
                continue
            difference += amount - self._records.get(change.key, 0)
            self._records[change.key] = amount
        if difference:
            raise PromiseBroken(
                node.index, f"height {block.height} at {node.name} makes {difference} of the {self._total} there are"
            )


def _money_of(change: StateChange) -> int | None:
    """Base units that a record stands for; None for one that is no money."""
    key, value = change.key, change.value
    if key == TREASURY:
        return int.from_bytes(value or b"", "big")
    if key.startswith(ACCOUNT):
        return 0 if value is None else _account_of(value)[1]
    if key.startswith(PAYOUT):
        return 0 if value is None else int.from_bytes(msgspec.msgpack.decode(value)[_PAYOUT_AMOUNT], "big")
    if key == COUNTERS and value is not None:
        counters = msgspec.msgpack.decode(value)
        credited, executed = [int.from_bytes(counters[place], "big") for place in _CREDITED_EXECUTED]
        return executed - credited
    return None


def _account_of(value: bytes) -> tuple[int, int]:
    nonce, balance = msgspec.msgpack.decode(value)
    return nonce, int.from_bytes(balance, "big")
