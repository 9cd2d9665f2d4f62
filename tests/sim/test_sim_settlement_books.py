"""The simulator's checkers of blocks on a ledger that settles: honest books pass, made money and paid duties do not."""

from __future__ import annotations

from types import SimpleNamespace

import msgspec
import pytest
from core_network import key, make_validators
from epoch_application import ChangeEpoch, EpochApplication
from settlement_ledger import RELAYER, Books, operator_key

from potchain.application.settlement import records
from potchain.application.settlement.bodies import SignBatch
from potchain.blocks import ExecutedBlock, StateChange
from potchain.codec import encode
from potchain.primitives import uint256
from potchain.settlement import DepositSeen
from potchain.sim.checkers import Conservation, ExactlyOnce, Validity
from potchain.sim.observation import Checker, NodeView, PromiseBroken

CHECKERS = (Validity, ExactlyOnce, Conservation)


def settled_books() -> Books:
    """Whatever settlement does with money: a deposit, a withdrawal, a batch, a relay fee, votes at an epoch's end."""
    everybody = make_validators([f"v{index}" for index in range(7)])
    books = Books(7, extra=(EpochApplication(everybody),), checkpoint_interval=4, log_window=8)
    books.bind()
    books.set_term("relay_fee", 7)
    books.deposit("new", 500)
    books.withdraw("new", 90)
    books.sign(0)
    books.executed(0)
    seen = DepositSeen(key("alice").address, uint256(5))
    books.observe(seen, voters=[operator_key(index) for index in range(4)], number=2)
    books.send(key("alice"), ChangeEpoch, "v0,v1,v2,v3", "", fee=10)
    while not books.chain.epoch.number:
        books.run()
    assert books.counters.next_event == 3
    assert books.balance(RELAYER) == 7
    return books


def node_of(books: Books) -> NodeView:
    replica = SimpleNamespace(epoch=books.genesis.first_epoch)
    return SimpleNamespace(is_faulty=False, index=0, name="v0", replica=replica)  # type: ignore[return-value]


def begun(make: type[Checker], books: Books) -> Checker:
    checker = make()
    checker.begin(SimpleNamespace(genesis=books.genesis))  # type: ignore[arg-type]
    return checker


@pytest.mark.parametrize("make", CHECKERS, ids=lambda make: make.__name__)
def test_honest_books_pass(make: type[Checker]) -> None:
    books = settled_books()
    checker, node = begun(make, books), node_of(books)
    for block in books.chain.blocks:
        checker.executed(node, block)


def with_change(block: ExecutedBlock, prefix: bytes, value: bytes | None) -> ExecutedBlock:
    """The block with another value for the first record of that kind that it writes."""
    changes = list(block.changes)
    place = next(index for index, change in enumerate(changes) if change.key.startswith(prefix))
    changes[place] = StateChange(changes[place].key, value)
    return msgspec.structs.replace(block, changes=tuple(changes))


def moves_money(block: ExecutedBlock, prefix: bytes) -> bool:
    """Whether it writes an account and a record of that kind."""
    written = [change.key for change in block.changes if change.value is not None]
    return all(any(each.startswith(start) for each in written) for start in (b"account/", prefix))


def test_a_payout_that_vanishes_and_a_deposit_that_nobody_counted_are_noticed() -> None:
    books = settled_books()
    node = node_of(books)
    for prefix, value in ((b"settlement/payout/", None), (b"settlement/counters", encode(records.Counters()))):
        checker = begun(Conservation, books)
        blocks = books.chain.blocks
        place = max(index for index, block in enumerate(blocks) if moves_money(block, prefix))
        for block in blocks[:place]:
            checker.executed(node, block)
        with pytest.raises(PromiseBroken, match="makes"):
            checker.executed(node, with_change(blocks[place], prefix, value))


def test_only_duties_take_effect_without_a_fee() -> None:
    books = Books()
    books.bind()
    books.withdraw("alice", 5)
    books.sign(0, [operator_key(0)])
    checker, node = begun(Validity, books), node_of(books)
    for block in books.chain.blocks[:-1]:
        checker.executed(node, block)
    last = books.chain.blocks[-1]
    assert last.receipts[0].status == "ok"
    assert SignBatch.__name__ in last.bodies[0].decode("latin-1")
    renamed = msgspec.structs.replace(last, bodies=(last.bodies[0].replace(b"SignBatch", b"SignPatch"),))
    with pytest.raises(PromiseBroken, match="does not fit"):
        checker.executed(node, renamed)
