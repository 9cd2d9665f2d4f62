"""Holds the ledger's books against the contract: every decided payout paid exactly once, and nothing else credited.

Theory of operation. The books are a node's: payouts by id, and actions that pay ranges of them. The chain is the
contract's logs from its deployment to one block: credits, gathered into the batch that ends them, and roots. Both sides
are read completely and compared here, without I/O:

- what an action pays each account by the books is what it credited, or, for a root, the root of the tree that the books
  make; neither side has an action that the other has not;
- no payout is in two actions, and what the books call paid is in an executed one;
- no credit stands outside an action (the compatible path makes such credits; they are named);
- the contract's own sums are those of its logs, and deposits that the books have applied are those of the logs.

The books are read first. An action that the contract has executed and the books do not know to be executed yet is no
difference, and is counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from potchain import checksum_address, keccak256

DIFFERENCES_MAX = 100
"""More are counted, not kept."""


class BookPayout(msgspec.Struct, frozen=True):
    """Something that the ledger owes or owed."""

    id: int
    account: bytes
    amount: int
    """Base units."""
    paid: bool


class BookAction(msgspec.Struct, frozen=True):
    """Something that the ledger asked of the contract."""

    nonce: int
    kind: str
    """"batch", "root", "rotate" or "pause"."""
    executed: bool
    first_payout: int | None
    last_payout: int | None
    """The payouts that it pays; None for a kind that pays nobody."""
    total: int
    transaction_hash: bytes | None
    """Of the executing transaction."""


class Books(msgspec.Struct, frozen=True):
    """The ledger's side, of one bound contract."""

    height: int
    binding: int
    """Which contract it is, of all that were ever bound; the first is 1."""
    payouts: tuple[BookPayout, ...]
    """By id, without a gap."""
    actions: tuple[BookAction, ...]
    """By nonce, without a gap."""
    earlier_payouts: int
    """Payouts below this id were paid through contracts bound before."""
    next_event: int
    """Events of the contract that are applied."""
    credited: int
    """All deposits that were credited on the ledger, through every contract ever bound."""


class ChainAction(msgspec.Struct, frozen=True):
    """A batch or a root that the contract executed."""

    nonce: int
    kind: str
    total: int
    transaction_hash: bytes
    credits: tuple[tuple[bytes, int], ...] = ()
    """Of a batch, in order."""
    root: bytes = b""
    """Of a root."""


class ChainSide(msgspec.Struct, frozen=True):
    """The contract's side, from its deployment to one block."""

    block_number: int
    actions: tuple[ChainAction, ...]
    """In order."""
    strays: tuple[tuple[bytes, bytes, int], ...]
    """(transaction hash, account, amount) of credits outside batches."""
    claims: tuple[tuple[bytes, int], ...]
    """(account, amount)."""
    deposits: tuple[tuple[int, int], ...]
    """(event nonce, amount)."""
    next_event: int
    deposited: int
    allocated: int
    """As the contract says."""


class Audit(msgspec.Struct, frozen=True):
    """What came of it. Amounts in base units."""

    height: int
    binding: int
    """More than 1: contracts were bound before this one. They were not looked at."""
    earlier_payouts: int
    earlier_paid: int
    """Payouts of contracts bound before, and their sum: not looked at."""
    block_number: int
    payouts: int
    owed: int
    """All payouts that this contract has to pay or has paid."""
    paid_payouts: int
    paid: int
    """Credited by batches and promised by roots that the contract executed."""
    pending_payouts: int
    """Decided, and not in an executed action."""
    unseen_actions: int
    """Executed by the contract; the books did not know yet."""
    claimed: int
    deposited: int
    differences: tuple[str, ...]
    more_differences: int


class _Findings:
    def __init__(self) -> None:
        self.kept: list[str] = []
        self.more = 0

    def add(self, text: str) -> None:
        if len(self.kept) < DIFFERENCES_MAX:
            self.kept.append(text)
        else:
            self.more += 1

    def expect(self, what: str, books: object, chain: object) -> None:
        if books != chain:
            self.add(f"{what}: {_shown(books)} by the books, {_shown(chain)} on the chain")


def compare(books: Books, chain: ChainSide) -> Audit:
    """Everything that differs."""
    found = _Findings()
    paying = {action.nonce: action for action in books.actions if action.first_payout is not None}
    owners = _payouts_of_actions(books, paying.values(), found)
    executed = {action.nonce: action for action in chain.actions}
    if len(executed) != len(chain.actions):
        found.add("the contract executed two actions with one nonce")
    tree: dict[bytes, int] = {}
    paid_payouts, paid = 0, 0
    for nonce in sorted(paying.keys() | executed.keys()):
        asked, done = paying.get(nonce), executed.get(nonce)
        if asked is None:
            found.add(f"action {nonce}: the contract executed it, and the books know none that pays")
        elif done is None:
            if asked.executed:
                found.add(f"action {nonce}: executed by the books, and the contract has not")
        else:
            _compare_action(asked, done, owners[nonce], tree, found)
            paid_payouts += len(owners[nonce])
            paid += done.total
    for transaction_hash, account, amount in chain.strays:
        found.add(
            f"transaction 0x{transaction_hash.hex()} credited {amount:,} to {checksum_address(account)} and is no batch"
        )
    _compare_claims(tree, chain, found)
    _compare_sums(books, chain, found)
    ours = [payout for payout in books.payouts if payout.id >= books.earlier_payouts]
    return Audit(
        height=books.height,
        binding=books.binding,
        earlier_payouts=len(books.payouts) - len(ours),
        earlier_paid=sum(payout.amount for payout in books.payouts if payout.id < books.earlier_payouts),
        block_number=chain.block_number,
        payouts=len(ours),
        owed=sum(payout.amount for payout in ours),
        paid_payouts=paid_payouts,
        paid=paid,
        pending_payouts=len(ours) - paid_payouts,
        unseen_actions=sum(
            nonce in executed and not action.executed for nonce, action in paying.items()
        ),
        claimed=sum(amount for _, amount in chain.claims),
        deposited=chain.deposited,
        differences=tuple(found.kept),
        more_differences=found.more,
    )


def _payouts_of_actions(
    books: Books, actions: Iterable[BookAction], found: _Findings
) -> Mapping[int, Sequence[BookPayout]]:
    """The payouts of each paying action; each payout must be in at most one."""
    by_id = {payout.id: payout for payout in books.payouts}
    if sorted(by_id) != list(range(len(by_id))) or len(by_id) != len(books.payouts):
        found.add("the books' payouts are not numbered without a gap")
    taken: dict[int, int] = {}
    in_executed: set[int] = set()
    owned: dict[int, list[BookPayout]] = {}
    for action in actions:
        owned[action.nonce] = []
        assert action.first_payout is not None
        assert action.last_payout is not None
        for number in range(action.first_payout, action.last_payout + 1):
            if number in taken:
                found.add(f"payout {number} is in the actions {taken[number]} and {action.nonce}")
            taken[number] = action.nonce
            if action.executed:
                in_executed.add(number)
            if number in by_id:
                owned[action.nonce].append(by_id[number])
            else:
                found.add(f"payout {number} of action {action.nonce} is not in the books")
    for payout in books.payouts:
        if payout.id >= books.earlier_payouts and payout.paid != (payout.id in in_executed):
            state = "paid" if payout.paid else "not paid"
            found.add(f"payout {payout.id} is {state} by the books, against the state of its action")
    return owned


def _compare_action(
    asked: BookAction, done: ChainAction, payouts: Sequence[BookPayout], tree: dict[bytes, int], found: _Findings
) -> None:
    place = f"action {asked.nonce}"
    owed: Counter[bytes] = Counter()
    for payout in payouts:
        owed[payout.account] += payout.amount
    found.expect(f"{place}, kind", asked.kind, done.kind)
    found.expect(f"{place}, total", asked.total, done.total)
    found.expect(f"{place}, sum of its payouts", sum(owed.values()), done.total)
    if asked.executed:
        found.expect(f"{place}, transaction", asked.transaction_hash, done.transaction_hash)
    if done.kind == "root":
        for account in sorted(owed):
            tree[account] = tree.get(account, 0) + owed[account]
        found.expect(f"{place}, root", _root_of(tree), done.root)
        return
    got: Counter[bytes] = Counter()
    for account, amount in done.credits:
        got[account] += amount
    for account in sorted(owed.keys() | got.keys()):
        found.expect(f"{place}, {checksum_address(account)}", owed[account], got[account])
    found.expect(f"{place}, credits", len(owed), len(done.credits))


def _compare_claims(tree: Mapping[bytes, int], chain: ChainSide, found: _Findings) -> None:
    claimed: Counter[bytes] = Counter()
    for account, amount in chain.claims:
        claimed[account] += amount
    for account in sorted(claimed):
        if claimed[account] > tree.get(account, 0):
            found.expect(f"claims of {checksum_address(account)}", tree.get(account, 0), claimed[account])


def _compare_sums(books: Books, chain: ChainSide, found: _Findings) -> None:
    deposited = sum(amount for _, amount in chain.deposits)
    if deposited != chain.deposited:
        found.add(f"the contract says {chain.deposited:,} were deposited, its logs {deposited:,}")
    logged = sum(action.total for action in chain.actions) + sum(amount for _, _, amount in chain.strays)
    if logged != chain.allocated:
        found.add(f"the contract says {chain.allocated:,} are allocated, its logs {logged:,}")
    if books.next_event > chain.next_event:
        found.expect("events", books.next_event, chain.next_event)
    applied = sum(amount for nonce, amount in chain.deposits if nonce < books.next_event)
    # The books have one sum for all contracts: one before this may have brought deposits, whether it paid or not.
    if books.binding == 1 or books.credited < applied:
        found.expect("deposits that are credited on the ledger", books.credited, applied)


def _root_of(tree: Mapping[bytes, int]) -> bytes:
    """The ledger's cumulative tree: leaves in the order in which accounts came; a node without a sibling moves up."""
    level = [
        keccak256(keccak256(account.rjust(32, b"\x00") + cumulative.to_bytes(32, "big")))
        for account, cumulative in tree.items()
    ]
    while len(level) > 1:
        pairs = zip(level[::2], level[1::2], strict=False)
        above = [keccak256(min(one, other) + max(one, other)) for one, other in pairs]
        level = above + (level[-1:] if len(level) % 2 else [])
    return level[0] if level else b""


def _shown(value: object) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return "0x" + value.hex() if isinstance(value, bytes) else str(value)
