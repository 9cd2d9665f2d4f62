"""The auditor: a ledger's books behind a real API, the contract on a real anvil, and every way in which they differ."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import msgspec
import pytest
from api_browser import on_loop, serving
from api_node import PaperNode
from click.testing import CliRunner, Result
from core_network import key
from settlement_chain import Chain, Json
from settlement_ledger import CHAIN_ID, RELAYER
from settlement_ledger import Books as Ledger

from potchain import BatchSeen, DepositSeen, RootSeen, SettlementError
from potchain.application.settlement import records
from potchain.application.settlement.bodies import ObserveL2
from potchain.application.settlement.roots import root_claim
from potchain.codec import Canonical, encode
from potchain.crypto import SigningKey
from potchain.primitives import uint, uint256
from potchain.settlement import Action, Contract, Entry, multisig_digest
from potchain.settlement.events import EVENT_TYPES
from potchain_multisig.calls import Interface, load_artifact
from potchain_multisig.operator.audit_reading import NodeBooks, read_chain
from potchain_multisig.operator.auditing import Audit, BookPayout, Books, ChainSide, compare
from potchain_multisig.operator.calling import DeployedContract
from potchain_multisig.operator.commands import contract as contract_group
from potchain_multisig.operator.network import connect

FUNDS = 10_000


class Both:
    """A ledger and its contract, with a settler's work done by hand."""

    def __init__(self, chain: Chain) -> None:
        self.chain = chain
        self.ledger = Ledger()
        owners = sorted(self.ledger.operators, key=lambda owner: owner.address)
        self.contract: Contract = chain.deploy_settlement(owners, 3)
        self.ledger.bind(self.contract.address, owners)
        self.interface = Interface(load_artifact("PotSettlement").abi)
        self.deposit("alice", FUNDS)

    def seen(self, event: Canonical, receipt: Json) -> None:
        """Operators vote for what they saw."""
        kind = next(name for name, each in EVENT_TYPES.items() if type(event) is each)
        place = (int(receipt["blockNumber"], 16), *(bytes.fromhex(receipt[name][2:]) for name in HASHES), 0)
        for voter in self.ledger.operators[:3]:
            self.ledger.collect(voter, ObserveL2, self.ledger.next_event, kind, encode(event), *place)
        self.ledger.run()
        self.ledger.next_event += 1

    def deposit(self, name: str, amount: int) -> None:
        receipt = self.chain.deposit(self.contract, key(name).address, amount)
        self.seen(DepositSeen(key(name).address, uint256(amount)), receipt)

    def relay(self, nonce: int, *, tell: bool = True) -> Json:
        """Sign an open action of the ledger, send it, and say what came of it."""
        record = records.action(self.ledger.state, nonce)
        assert record is not None
        receipt = self.send(record.action)
        self.ledger.sign(nonce)
        if tell:
            event: Canonical = BatchSeen(nonce, record.total, RELAYER)
            if record.action.kind == "root":
                event = RootSeen(nonce, record.action.root, record.total, RELAYER)
            self.seen(event, receipt)
        return receipt

    def send(self, action: Action) -> Json:
        """An action, signed by three owners whatever it says."""
        digest = multisig_digest(self.contract, action)
        owners = sorted(self.ledger.operators, key=lambda owner: owner.address)[:3]
        signatures = b"".join(owner.sign_digest(digest) for owner in owners)
        accounts = [entry.account for entry in action.entries]
        amounts = [uint(entry.amount) for entry in action.entries]
        if action.kind == "root":
            data = self.interface.encode("commitRoot", action.nonce, action.root, action.total, signatures)
        else:
            data = self.interface.encode("executeBatch", action.nonce, accounts, amounts, signatures)
        return self.chain.transact(self.contract.address, data)

    def claim(self, name: str) -> Json:
        """By the branch that the ledger serves."""
        claim = root_claim(self.ledger.state, key(name).address)
        assert claim is not None
        data = self.interface.encode("claim", claim.account, claim.cumulative, list(claim.branch))
        return self.chain.transact(self.contract.address, data)

    async def audit(self, *words: str) -> Result:
        """`potchain contract audit` on both."""
        async with serving(PaperNode(self.ledger.chain)) as browser:
            asked = ["audit", "--node", browser.url, "--network", self.chain.url, *words]
            return await asyncio.to_thread(CliRunner().invoke, contract_group, asked, standalone_mode=False)

    async def sides(self) -> tuple[Books, ChainSide]:
        """What the command compares."""
        async with serving(PaperNode(self.ledger.chain)) as browser:
            books = await asyncio.to_thread(NodeBooks(browser.url).read)
        deployed = DeployedContract(connect(self.chain.url, None), self.contract.address, "multisig")
        return books, read_chain(deployed, self.contract.from_block)


HASHES = ("blockHash", "transactionHash")


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
    assert "nothing else was credited" in (await both.audit()).output
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
    executed = next(each for each in books.actions if each.status == "executed")

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
