"""The auditor: a ledger's books behind a real API, the contract on a real anvil, and every way in which they differ."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import msgspec
import pytest
from api_browser import on_loop
from core_network import key
from settlement_chain import Chain
from settlement_ledger import CHAIN_ID, RELAYER
from settlement_ledger import Books as Ledger
from settlement_operator import Both

from potchain import BatchSeen, SettlementError, checksum_address
from potchain.application.settlement import records
from potchain.blocks import StateChange
from potchain.codec import encode
from potchain.crypto import SigningKey
from potchain.primitives import uint256
from potchain.settlement import Action, Entry
from potchain_multisig.operator import audit_reading
from potchain_multisig.operator.audit_reading import NodeBooks
from potchain_multisig.operator.auditing import Audit, BookPayout, Books, ChainSide, compare

FUNDS = 10_000


@pytest.fixture(scope="module")
def chain() -> Iterator[Chain]:
    with Chain(CHAIN_ID) as running:
        yield running


@pytest.fixture
def both(chain: Chain) -> Both:
    return Both(chain)


def busy(both: Both) -> None:
    """Batch 0 of one payout, batch 1 of two for alice and one for bob, two roots of one, and one payout that waits."""
    for name, amount in (("alice", 5), ("alice", 6), ("bob", 7), ("alice", 8)):
        both.ledger.withdraw(name, amount)
    both.relay(0)
    both.relay(1)
    both.ledger.set_term("root_min", 1)
    for name, amount in (("carol", 9), ("bob", 10)):
        both.ledger.withdraw(name, amount)
    nonce = 2
    while nonce < both.ledger.counters.next_action:
        both.relay(nonce)
        nonce += 1
    both.claim("carol")
    both.ledger.withdraw("dave", 11)


@on_loop
async def test_both_sides_agree_while_work_is_under_way(both: Both) -> None:
    busy(both)
    done = await both.audit("--json")
    assert done.return_value == 0, (done.output, done.exception)
    document = json.loads(done.output)
    assert (document["equal"], document["differences"]) == (True, [])
    assert (document["payouts"], document["owed"], document["deposited"]) == (7, "56", str(FUNDS))
    assert (document["paid"], document["claimed"], document["pending_payouts"]) == ("45", "9", 1)
    assert (document["binding"], document["earlier_payouts"], document["earlier_paid"]) == (1, 0, "0")
    said = (await both.audit()).output
    assert "every payout that was paid was paid once, and nothing else was credited" in said
    assert "not audited" not in said
    unpaid = await both.audit("--settled")
    assert (unpaid.return_value, "1 payouts are not paid" in unpaid.output) == (1, True)
    both.relay(both.ledger.counters.next_action - 1)
    assert (await both.audit("--settled")).return_value == 0


@on_loop
async def test_what_the_contract_has_done_and_the_ledger_has_not_seen_is_no_difference(both: Both) -> None:
    both.ledger.withdraw("alice", 5)
    both.relay(0, tell=False)
    document = json.loads((await both.audit("--json")).output)
    assert (document["equal"], document["unseen_actions"], document["paid"]) == (True, 1, "5")


@on_loop
async def test_a_ledger_that_never_stands_still_is_audited(both: Both) -> None:
    busy(both)
    audit = asyncio.ensure_future(both.audit("--json"))
    blocks = 0
    while not audit.done():
        both.ledger.withdraw("alice", 1)
        both.deposit("alice", 1)
        blocks += 1
        await asyncio.sleep(0)
    done = await audit
    assert done.return_value == 0, (done.output, done.exception)
    document = json.loads(done.output)
    assert (document["equal"], document["differences"]) == (True, [])
    assert both.ledger.chain.tip.height > document["height"]
    assert document["payouts"] <= 7 + blocks


@on_loop
async def test_payouts_that_a_node_counts_and_does_not_list_are_named(
    both: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_reading, "READ_AGAIN_S", 0)
    both.ledger.withdraw("alice", 5)
    counters = both.ledger.counters
    more = msgspec.structs.replace(counters, next_payout=counters.next_payout + 1)
    both.ledger.chain.state.apply([StateChange(records.COUNTERS_KEY, encode(more))])
    fault = (await both.audit()).exception
    assert isinstance(fault, SettlementError)
    assert (fault.code, "states 2 payouts and lists 1" in fault.detail) == ("rubbish", True)


@pytest.mark.parametrize("paid", [False, True])
@on_loop
async def test_only_the_bound_contract_is_audited_and_the_report_says_so(both: Both, paid: bool) -> None:
    if paid:
        both.ledger.withdraw("alice", 5)
        both.relay(0)
    both.rebind()
    both.deposit("bob", 70)
    both.ledger.withdraw("bob", 6)
    both.relay(0)
    done = await both.audit("--json")
    assert done.return_value == 0, (done.output, done.exception)
    document = json.loads(done.output)
    assert (document["binding"], document["contract"]) == (2, checksum_address(both.contract.address))
    assert (document["payouts"], document["paid"]) == (1, "6")
    assert (document["earlier_payouts"], document["earlier_paid"]) == ((1, "5") if paid else (0, "0"))
    said = (await both.audit()).output
    assert f"number 2, {checksum_address(both.contract.address)} on " in said
    earlier = "1 payouts paid, 5 base units" if paid else "0 payouts paid, 0 base units"
    assert f"1 bound before it, with {earlier}" in said
    assert "every payout that this contract paid was paid once" in said


@on_loop
async def test_a_batch_that_nobody_decided_is_found(both: Both) -> None:
    both.send(Action(nonce=0, epoch=0, kind="batch", height=0, entries=(Entry(key("eve").address, uint256(3)),)))
    done = await both.audit()
    assert done.return_value == 1
    assert "the books know none that pays" in done.output


@on_loop
async def test_another_payee_for_the_same_nonce_and_total_is_found(both: Both) -> None:
    both.ledger.withdraw("alice", 5)
    receipt = both.send(
        Action(nonce=0, epoch=0, kind="batch", height=0, entries=(Entry(key("eve").address, uint256(5)),))
    )
    both.ledger.sign(0)
    both.seen(BatchSeen(0, uint256(5), RELAYER), receipt)
    document = json.loads((await both.audit("--json")).output)
    assert sorted(line[:8] for line in document["differences"]) == ["action 0", "action 0"]
    assert {"5 by the books, 0 on the chain", "0 by the books, 5 on the chain"} == {
        line.partition(": ")[2] for line in document["differences"]
    }


@on_loop
async def test_a_ledger_without_contract_or_on_another_chain_is_refused(both: Both) -> None:
    both.ledger = Ledger()
    assert "bound to no contract" in str((await both.audit()).exception)
    both.ledger.bind()
    with Chain(CHAIN_ID + 1) as other:
        both.chain = other
        assert "bound to chain id 97" in str((await both.audit()).exception)


@pytest.mark.parametrize("url", ["127.0.0.1:8600", "ftp://127.0.0.1"])
def test_what_is_no_address_of_a_node_is_refused(url: str) -> None:
    with pytest.raises(SettlementError, match="not_configured"):
        NodeBooks(url)


@on_loop
async def test_every_lie_of_either_side_is_found(both: Both) -> None:
    busy(both)
    books, chain = await both.sides()
    assert compare(books, chain).differences == ()
    changed = msgspec.structs.replace
    account, stranger = key("alice").address, SigningKey(b"\1" * 32).address
    batch = next(each for each in chain.actions if each.kind == "batch" and len(each.credits) > 1)
    root = next(each for each in chain.actions if each.kind == "root")
    paid, owed = books.payouts[0], books.payouts[-1]
    executed = next(each for each in books.actions if each.executed)

    def with_action(old: object, *new: object) -> ChainSide:
        return changed(chain, actions=tuple(each for one in chain.actions for each in (new if one is old else (one,))))

    def with_payout(old: BookPayout, *new: BookPayout) -> Books:
        return changed(books, payouts=tuple(each for one in books.payouts for each in (new if one is old else (one,))))

    def with_book(**members: object) -> Books:
        actions = tuple(changed(one, **members) if one is executed else one for one in books.actions)
        return changed(books, actions=actions)

    lies: dict[str, tuple[Books, ChainSide]] = {
        "a batch is gone": (books, with_action(batch)),
        "a batch comes twice": (books, with_action(batch, batch, batch)),
        "a credit comes twice": (books, with_action(batch, changed(batch, credits=batch.credits + batch.credits[:1]))),
        "a credit is split": (
            books,
            with_action(batch, changed(batch, credits=(*batch.credits, (stranger, 0)))),
        ),
        "a credit goes elsewhere": (
            books, with_action(batch, changed(batch, credits=((stranger, batch.credits[0][1]), *batch.credits[1:])))
        ),
        "a total is larger": (books, with_action(batch, changed(batch, total=batch.total + 1))),
        "another root": (books, with_action(root, changed(root, root=bytes(32)))),
        "a root for a batch": (books, with_action(batch, changed(batch, kind="root", root=bytes(32)))),
        "another transaction": (with_book(transaction_hash=bytes(32)), chain),
        "a stray credit": (books, changed(chain, strays=((bytes(32), account, 1),), allocated=chain.allocated + 1)),
        "allocated but not logged": (books, changed(chain, allocated=chain.allocated + 1)),
        "deposited but not logged": (books, changed(chain, deposited=chain.deposited + 1)),
        "claimed twice": (books, changed(chain, claims=chain.claims * 2)),
        "events that never were": (changed(books, next_event=chain.next_event + 1), chain),
        "a deposit credited twice": (changed(books, credited=2 * books.credited), chain),
        "a deposit forgotten after a rebind": (changed(books, binding=2, credited=0), chain),
        "a payout is gone": (with_payout(paid), chain),
        "a payout comes twice": (with_payout(paid, paid, paid), chain),
        "a payout is larger": (with_payout(paid, changed(paid, amount=paid.amount + 1)), chain),
        "paid, and in no action": (with_payout(owed, changed(owed, paid=True)), chain),
        "in an action, and not paid": (with_payout(paid, changed(paid, paid=False)), chain),
        "payouts of two actions": (with_book(last_payout=executed.last_payout + 1), chain),
    }  # fmt: skip
    missed = [name for name, sides in lies.items() if not compare(*sides).differences]
    assert missed == []


@on_loop
async def test_differences_are_bounded(both: Both) -> None:
    books, chain = await both.sides()
    strays = tuple((number.to_bytes(32, "big"), key("alice").address, 1) for number in range(1_000))
    found: Audit = compare(books, msgspec.structs.replace(chain, strays=strays))
    assert (len(found.differences), found.more_differences) == (100, 901)
