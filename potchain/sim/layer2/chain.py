"""The chain of Layer 2: blocks, one pool, and branches that win over the newest blocks.

There is one chain for all nodes; what a node's endpoint shows of it (`potchain.sim.layer2.endpoint`) may be older. A
transaction is signed by its account, and an account's transactions are mined in the order of their nonces, each nonce
once. A reorganisation takes blocks away and puts a longer branch in their place at the same moment.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from potchain.crypto import SigningKey, keccak256, recover_address
from potchain.errors import InvalidProof, SettlementError
from potchain.primitives import NS_PER_S
from potchain.settlement import Contract, Layer2Event
from potchain.sim.layer2.contract import Book, Call, Reverted, executed
from potchain.sim.scheduler import Scheduler

BLOCK_TRANSACTIONS_MAX = 20
POOL_MAX = 1_000
"""Transactions that wait; more are refused."""
BUMP_PERCENT = 10
"""By so much a replacement must pay more."""
LEFT_OUT_PERCENT = 40
"""How many of the transactions of a lost branch each block of the winning one leaves out."""


class Mail(msgspec.Struct, frozen=True, array_like=True):
    """A transaction without its signature."""

    account_nonce: int
    fee_wei: int
    call: Call


class Transaction(msgspec.Struct, frozen=True, kw_only=True):
    """One that is signed."""

    hash: bytes
    account: bytes
    mail: Mail
    raw: bytes

    @property
    def place(self) -> tuple[bytes, int]:
        """What it competes for."""
        return self.account, self.mail.account_nonce


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """One block with what it did."""

    number: int
    hash: bytes
    made_ns: int
    transactions: tuple[Transaction, ...] = ()
    results: tuple[str, ...] = ()
    """Of each: empty, or the contract's error."""
    events: tuple[Layer2Event, ...] = ()
    book: Book
    """The contract after it."""
    nonces: Mapping[bytes, int] = {}
    """Of each account, mined transactions."""


Branch = Sequence[Block]
"""Blocks from number 0 on."""


def signed(key: SigningKey, mail: Mail) -> Transaction:
    """A transaction of the key's account."""
    data = msgspec.msgpack.encode(mail)
    raw = msgspec.msgpack.encode((data, key.sign_digest(keccak256(data))))
    return Transaction(hash=keccak256(raw), account=key.address, mail=mail, raw=raw)


def read_back(raw: bytes) -> Transaction:
    """A transaction from its bytes. Raises SettlementError(`refused`)."""
    try:
        data, signature = msgspec.msgpack.decode(raw, type=tuple[bytes, bytes])
        mail = msgspec.msgpack.decode(data, type=Mail)
        account = recover_address(keccak256(data), signature)
    except (msgspec.MsgspecError, InvalidProof) as fault:
        raise SettlementError("refused", f"no transaction: {fault}") from None
    return Transaction(hash=keccak256(raw), account=account, mail=mail, raw=raw)


class Chain:
    """The chain. It makes blocks by itself once it has begun."""

    def __init__(
        self,
        scheduler: Scheduler,
        contract: Contract,
        book: Book,
        *,
        block_ns: int,
        fee_wei: int,
        rng: random.Random,
        changed: Callable[[str], None],
        arrived: Callable[[Transaction], None],
    ) -> None:
        """`changed` is told in words of each new head, `arrived` of what comes into the pool; `rng` is for nothing
        else."""
        self.contract = contract
        self.blocks: list[Block] = [Block(number=0, hash=keccak256(b"simulated Layer 2"), made_ns=0, book=book)]
        self.pool: dict[tuple[bytes, int], Transaction] = {}
        self.fee_wei = fee_wei
        """A block takes nothing for less."""
        self.censored: dict[bytes, int] = {}
        """How many faults leave out an account's transactions now."""
        self.penniless: set[bytes] = set()
        """Accounts that cannot pay for gas; all others can."""
        self.stalled = 0
        """How many faults keep blocks from being made now."""
        self.lost_branch: Branch = ()
        """As it was before the last reorganisation."""
        self.lost_ns = 0
        """When that was."""
        self.forks = 0
        self._scheduler = scheduler
        self._block_ns = block_ns
        self._rng = rng
        self._changed = changed
        self._arrived = arrived

    @property
    def head(self) -> Block:
        """The newest block."""
        return self.blocks[-1]

    @property
    def book(self) -> Book:
        """The contract now."""
        return self.head.book

    def begin(self) -> None:
        """Make blocks from now on."""
        half_ns = self._block_ns // 2
        delay_ns = half_ns + self._rng.randrange(2 * half_ns + 1)
        self._scheduler.at(self._scheduler.now_ns + delay_ns, self._next)

    def _next(self) -> None:
        if not self.stalled:
            self._mine()
            self._changed(f"block {self.head.number} {_words(self.head)}")
        self.begin()

    def events(self) -> list[Layer2Event]:
        """All that stand, in order."""
        return [event for block in self.blocks for event in block.events]

    # --- the pool -----------------------------------------------------------------------------------------------------

    def send(self, transaction: Transaction) -> None:
        """As eth_sendRawTransaction; one that is known is fine. Raises SettlementError."""
        place = transaction.place
        if transaction.mail.account_nonce < self.head.nonces.get(transaction.account, 0):
            return  # used up: whoever sent it will see by what
        known = self.pool.get(place)
        if known is not None and known.hash != transaction.hash:
            if 100 * transaction.mail.fee_wei < (100 + BUMP_PERCENT) * known.mail.fee_wei:
                raise SettlementError("gas_too_dear", "replacement transaction underpriced")
        elif known is None and len(self.pool) >= POOL_MAX:
            raise SettlementError("refused", "the pool is full")
        self.pool[place] = transaction
        self._arrived(transaction)

    def is_known(self, transaction: Transaction) -> bool:
        """Whether it waits, or its nonce is used up."""
        used = transaction.mail.account_nonce < self.head.nonces.get(transaction.account, 0)
        return used or self.pool.get(transaction.place) == transaction

    # --- branches -----------------------------------------------------------------------------------------------------

    def reorganise(self, depth: int, *, forget: bool) -> None:
        """Another branch wins over the newest `depth` blocks."""
        depth = min(depth, self.head.number)
        if not depth:
            return
        self.lost_branch, self.lost_ns = tuple(self.blocks), self._scheduler.now_ns
        gone = self.blocks[-depth:]
        del self.blocks[-depth:]
        self.forks += 1
        for transaction in (each for block in gone for each in block.transactions):
            if not forget:
                known = self.pool.get(transaction.place)
                if known is None or known.mail.fee_wei < transaction.mail.fee_wei:
                    self.pool[transaction.place] = transaction
        for _ in range(depth + 1):
            self._mine(LEFT_OUT_PERCENT)
        self._changed(f"branch {self.forks} wins, {depth} blocks are gone, head {self.head.number}")

    def _mine(self, left_out_percent: int = 0) -> None:
        parent = self.head
        number = parent.number + 1
        name = keccak256(parent.hash + f"{number}/{self.forks}".encode())
        book, nonces = parent.book, dict(parent.nonces)
        taken: list[Transaction] = []
        results: list[str] = []
        events: list[Layer2Event] = []
        for transaction in self._chosen(nonces, left_out_percent):
            del self.pool[transaction.place]
            nonces[transaction.account] = transaction.mail.account_nonce + 1
            taken.append(transaction)
            try:
                book, emitted = executed(self.contract, book, transaction.mail.call, transaction.account)
            except Reverted as refusal:
                results.append(str(refusal))
                continue
            results.append("")
            if emitted is not None:
                events.append(
                    Layer2Event(
                        event_nonce=book.next_event - 1,
                        kind=emitted[0],
                        payload=emitted[1],
                        block_number=number,
                        block_hash=name,
                        transaction_hash=transaction.hash,
                        log_index=len(events),
                    )
                )
        for place in [each for each in self.pool if each[1] < nonces.get(each[0], 0)]:
            del self.pool[place]
        block = Block(
            number=number,
            hash=name,
            made_ns=self._scheduler.now_ns,
            transactions=tuple(taken),
            results=tuple(results),
            events=tuple(events),
            book=book,
            nonces=nonces,
        )
        self.blocks.append(block)

    def _chosen(self, nonces: Mapping[bytes, int], left_out_percent: int) -> list[Transaction]:
        """What a block takes: the dearest first, each account in the order of its nonces."""
        waiting = [
            each
            for each in self.pool.values()
            if each.mail.fee_wei >= self.fee_wei
            and not self.censored.get(each.account)
            and self._rng.randrange(100) >= left_out_percent
        ]
        next_nonces = dict(nonces)
        chosen: list[Transaction] = []
        while len(chosen) < BLOCK_TRANSACTIONS_MAX:
            ready = [each for each in waiting if each.mail.account_nonce == next_nonces.get(each.account, 0)]
            if not ready:
                break
            best = max(ready, key=lambda each: (each.mail.fee_wei, each.hash))
            next_nonces[best.account] = best.mail.account_nonce + 1
            chosen.append(best)
            waiting.remove(best)
        return chosen


def receipt(branch: Branch, transaction_hash: bytes) -> tuple[int, str] | None:
    """Number of the block that has a transaction, and why the contract refused it; None when no block has it."""
    for block in reversed(branch):
        for transaction, result in zip(block.transactions, block.results, strict=True):
            if transaction.hash == transaction_hash:
                return block.number, result
    return None


def events_of(branch: Iterable[Block], first: int, count: int) -> tuple[Layer2Event, ...]:
    """Events from a nonce on."""
    return tuple([event for block in branch for event in block.events if first <= event.event_nonce < first + count])


def block_time_s(start_ms: int, block: Block) -> int:
    """Unix seconds."""
    return start_ms // 1_000 + block.made_ns // NS_PER_S


def _words(block: Block) -> str:
    pairs = zip(block.transactions, block.results, strict=True)
    done = [f"{each.mail.call.function} {result}".strip() for each, result in pairs]
    return f"0x{block.hash[:4].hex()} [{', '.join(done)}]"
