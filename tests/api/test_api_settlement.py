"""Settlement and governance over HTTP, against a real server over the books of `settlement_ledger`."""

from __future__ import annotations

import msgspec
from api_browser import Answer, Browser, on_loop, serving
from api_node import PaperNode
from core_network import key
from jsonschema import Draft202012Validator
from prize_application import Award, PrizeApplication
from settlement_ledger import CHAIN_ID, CONTRACT, Books, operator_key

from potchain.api.ports import SettlementStatus
from potchain.api.settlement_words import PHASES, REMEDIES
from potchain.application.governance.bodies import GovPause, GovVote
from potchain.application.settlement import records
from potchain.application.settlement.bodies import Withdraw
from potchain.application.settlement.roots import leaf_hash, pair_hash
from potchain.crypto import checksum_address
from potchain.primitives import uint256
from potchain.settlement.interface import FAULTS
from potchain.settlement.report import SETTLER_FAULTS, ActionReport, SettlerFault, SettlerReport
from potchain.typed_data import JsonObject

ALICE, BOB = (checksum_address(key(name).address) for name in ("alice", "bob"))
OPERATORS = [checksum_address(operator_key(number).address) for number in range(4)]


def settled_node(books: Books) -> PaperNode:
    """A node over these books."""
    return PaperNode(books.chain)


def busy() -> Books:
    """Payout 0 is paid, 1 and 2 are in a batch with one signature, 3 waits."""
    books = Books()
    books.bind()
    books.deposit("alice", 700)
    for name, amount in (("alice", 5), ("bob", 6), ("alice", 7)):
        books.withdraw(name, amount)
    books.sign(0)
    books.executed(0)
    books.sign(1, [operator_key(1)])
    books.withdraw("carol", 9)
    return books


async def described(browser: Browser, path: str, route: str) -> Answer:
    """The answer, checked against the OpenAPI document."""
    answer = await browser.get(path)
    document = (await browser.get("/v1/openapi.json")).body
    content = document["paths"][route]["get"]["responses"][str(answer.status)]["content"]
    ((_, schema),) = content.items()
    Draft202012Validator({**schema["schema"], "components": document["components"]}).validate(answer.body)
    return answer


@on_loop
async def test_the_picture_says_what_the_books_say() -> None:
    books = busy()
    async with serving(settled_node(books)) as browser:
        body = (await described(browser, "/v1/settlement", "/v1/settlement")).body
    now = books.counters
    assert body["contract"] == {
        "binding": 1, "scheme": "multisig", "chain_id": CHAIN_ID, "address": checksum_address(CONTRACT), "safe": None,
        "from_block": 1,
    }  # fmt: skip
    (owners,) = body["owners"]
    assert (owners["epoch"], owners["threshold"]) == (0, 3)
    assert {entry["address"]: entry["name"] for entry in owners["owners"]} == {
        address: f"v{number}" for number, address in enumerate(OPERATORS)
    }
    assert body["payouts"] == {
        "pending": {"count": 1, "total": "9"},
        "batched": {"count": 2, "total": "13"},
        "paid": {"count": 1, "total": "5"},
    }
    assert (body["next_action"], body["next_executed"], body["next_event"]) == (2, 1, 2)
    assert (body["credited"], body["paused"], body["halted"]) == ("700", False, False)
    assert (int(body["withdrawable"]), body["uncovered"]) == (now.withdrawable, "0")
    assert body["height"] == books.chain.tip.height
    assert body["terms"]["batch_max"] == 100
    assert body["terms"]["minimum_withdrawal"] == "1"
    (action,) = body["actions"]
    assert [signer["name"] for signer in action["signers"]] == ["v1"]
    assert sorted(each["name"] for each in action["missing"]) == ["v0", "v2", "v3"]
    assert (action["status"], action["threshold"], action["total"], action["relay"]) == ("open", 3, "13", None)
    assert body["settler"]["state"] == "off"
    assert now.actions_open == 1


@on_loop
async def test_a_ledger_without_contract_owes_on_the_books() -> None:
    books = Books(extra=(PrizeApplication(),))
    books.send(key("bob"), Award, key("alice").address, uint256(5), fee=10)
    async with serving(settled_node(books)) as browser:
        body = (await described(browser, "/v1/settlement", "/v1/settlement")).body
        absent = await browser.get("/v1/settlement/actions/0")
        claim = await browser.get(f"/v1/settlement/claims/{ALICE}")
        page = (await browser.get("/v1/payouts")).body
    assert (body["contract"], body["owners"], body["actions"]) == (None, [], [])
    assert body["payouts"]["pending"] == {"count": 1, "total": "5"}
    assert (absent.status, absent.code) == (404, "not_found")
    assert (claim.status, claim.code) == (404, "not_found")
    assert [entry["status"] for entry in page["payouts"]] == ["pending"]


@on_loop
async def test_payouts_by_page_by_account_and_by_status() -> None:
    books = busy()
    async with serving(settled_node(books)) as browser:
        found, cursor = [], "99"
        while cursor:
            page = (await described(browser, f"/v1/payouts?limit=3&cursor={cursor}", "/v1/payouts")).body
            found += page["payouts"]
            cursor = page["next"]
        by_account = (await browser.get(f"/v1/payouts?account={ALICE.lower()}")).body["payouts"]
        by_status = {
            status: [entry["id"] for entry in (await browser.get(f"/v1/payouts?status={status}")).body["payouts"]]
            for status in ("pending", "batched", "paid")
        }
        one = (await described(browser, "/v1/payouts/0", "/v1/payouts/{number}")).body
        refused = [await browser.get(f"/v1/payouts{ending}") for ending in ("?status=any", "?account=x", "/x", "/9")]
    assert [entry["id"] for entry in found] == [3, 2, 1, 0]
    assert [entry["id"] for entry in by_account] == [2, 0]
    assert by_status == {"pending": [3], "batched": [2, 1], "paid": [0]}
    receipts = [receipt for block in books.chain.blocks for receipt in block.receipts]
    withdrawal = next(each for each in receipts if [event.kind for event in each.events] == ["PayoutCreated"])
    assert one["reference"] == "0x" + withdrawal.transaction_id.hex()
    record = records.action(books.state, 0)
    assert record is not None
    assert one["transaction_hash"] == "0x" + record.receipt_hash.hex()
    assert (one["account"], one["amount"], one["kind"], one["action"]) == (ALICE, "5", "withdrawal", 0)
    assert [answer.code for answer in refused] == ["bad_query", "bad_address", "bad_query", "not_found"]


@on_loop
async def test_an_action_is_explained_through_its_life() -> None:
    books = busy()
    node = settled_node(books)
    route, path = "/v1/settlement/actions/{nonce}", "/v1/settlement/actions/1"
    async with serving(node) as browser:
        collecting = (await described(browser, path, route)).body
        books.sign(1, [operator_key(number) for number in (0, 2)])
        signed = (await described(browser, path, route)).body
        books.executed(1)
        executed = (await described(browser, path, route)).body
        listed = (await described(browser, "/v1/settlement/actions?limit=2", "/v1/settlement/actions")).body
        older = (await browser.get(f"/v1/settlement/actions?cursor={listed['next']}")).body
    said = "action 1 is a batch that pays 2 payouts (payouts 1 to 2), 13 base units to 2 accounts"
    assert collecting["text"][0] == said
    assert collecting["text"][2] == "1 of 3 signatures: v1"
    assert collecting["text"][3].startswith("2 signatures of these still needed: ")
    amounts = {entry["account"]: entry["amount"] for entry in collecting["entries"]}
    assert amounts == {ALICE: "7", BOB: "6"}
    assert (signed["status"], signed["missing"], len(signed["signers"])) == ("signed", [], 3)
    assert signed["text"][-1] == f"signed since block {signed['signed_height']}: anybody may relay it"
    assert (executed["status"], executed["entries"], executed["threshold"]) == ("executed", None, None)
    assert executed["event_nonce"] == 2
    assert executed["text"][-1] == f"known to the ledger since block {executed['executed_height']}"
    assert [entry["nonce"] for entry in listed["actions"] + older["actions"]] == [2, 1, 0]


@on_loop
async def test_rotations_and_pauses_say_what_they_change() -> None:
    books = busy()
    newer = [operator_key(number) for number in range(2)]
    books.rotate(newer, 2)
    books.pause(1)
    async with serving(settled_node(books)) as browser:
        rotation = (await described(browser, "/v1/settlement/actions/2", "/v1/settlement/actions/{nonce}")).body
        pause = (await browser.get("/v1/settlement/actions/3")).body
        body = (await browser.get("/v1/settlement")).body
    assert rotation["text"][0] == "action 2 is a rotation of owners: 2 owners, 2 must sign"
    assert (rotation["new_owners"]["epoch"], rotation["new_owners"]["threshold"]) == (1, 2)
    assert (pause["paused"], pause["text"][0], pause["epoch"]) == (True, "action 3 is a pause: the contract stops", 1)
    assert [owners["epoch"] for owners in body["owners"]] == [0, 1]
    assert body["paused"]


@on_loop
async def test_what_this_node_does_is_said_with_its_fault_and_what_to_do() -> None:
    books = busy()
    node = settled_node(books)
    fault = SettlerFault(code="empty_wallet", text="0 wei, 4 are needed", since_ms=5)
    action = ActionReport(
        nonce=1, kind="batch", epoch=0, total=13, signatures=1, threshold=3, signed_here=True, phase="blocked",
        attempts=2, transaction_hash=bytes([7]) * 32, account_nonce=4, turn=operator_key(2).address,
        code="underfunded", text="needs 13, has 2", retry_in_ms=500,
    )  # fmt: skip
    report = SettlerReport(
        state="waiting", fault=fault, head_number=9, head_time_s=1, confirmed_number=7, looked_ms=6, next_nonce=1,
        events_seen=5, next_event=2, funds=2, actions=(action,), notes=("rpc2: lags",), reorg_text="at 5", reorgs=1,
    )  # fmt: skip
    node.settling = SettlementStatus(
        backend="multisig", operator=operator_key(0).address, relay_account=key("relay").address,
        contract=records.bound_contract(books.state), report=report,
    )  # fmt: skip
    async with serving(node) as browser:
        body = (await described(browser, "/v1/settlement", "/v1/settlement")).body
    settler = body["settler"]
    assert settler["fault"] == {
        "code": "empty_wallet", "text": "0 wei, 4 are needed", "meaning": FAULTS["empty_wallet"],
        "remedy": REMEDIES["empty_wallet"], "since_ms": 5,
    }  # fmt: skip
    assert (settler["events_behind"], settler["funds"], settler["operator"]) == (3, "2", OPERATORS[0])
    relay = body["actions"][0]["relay"]
    assert (relay["phase"], relay["turn"]["name"], relay["fault"]["code"]) == ("blocked", "v2", "underfunded")
    text = body["actions"][0]["text"]
    assert f"this node: {PHASES['blocked']}" in text
    assert "underfunded: needs 13, has 2" in text
    assert f"what to do: {REMEDIES['underfunded']}" in text
    assert "turn to relay: v2" in text


def test_every_fault_has_a_remedy_and_every_phase_words() -> None:
    assert set(REMEDIES) >= {*FAULTS, *SETTLER_FAULTS}
    phases = msgspec.json.schema(ActionReport)["$defs"]["ActionReport"]["properties"]["phase"]["enum"]
    assert set(PHASES) == set(phases)


@on_loop
async def test_a_claim_leads_from_the_account_to_the_executed_root() -> None:
    books = Books()
    books.bind()
    books.set_term("root_min", 2)
    for _ in range(2):
        for name in ("alice", "bob", "carol"):
            books.collect(key(name), Withdraw, uint256(4), fee=10)
        books.run()
    async with serving(settled_node(books)) as browser:
        before = await browser.get(f"/v1/settlement/claims/{ALICE}")
        books.sign(0)
        books.executed(0)
        root = (await browser.get("/v1/settlement/actions/0")).body
        claims = [
            (await described(browser, f"/v1/settlement/claims/{account}", "/v1/settlement/claims/{address}")).body
            for account in (ALICE, BOB)
        ]
        nobody = await browser.get(f"/v1/settlement/claims/{checksum_address(key('dave').address)}")
        while books.counters.actions_open:
            books.executed(books.counters.next_executed)
        held = (await browser.get(f"/v1/settlement/claims/{ALICE}")).body
        books.bind(b"\x22" * 20)
        gone = await browser.get(f"/v1/settlement/claims/{ALICE}")
        kept = await browser.get(f"/v1/settlement/claims/{ALICE}?binding=1")
    assert gone.code == "not_found"
    assert kept.body == held
    assert (before.code, nobody.code) == ("not_found", "not_found")
    for claim in claims:
        node = leaf_hash(bytes.fromhex(claim["account"][2:]), int(claim["cumulative"]))
        for sibling in claim["proof"]:
            node = pair_hash(node, bytes.fromhex(sibling[2:]))
        assert "0x" + node.hex() == claim["root"] == root["root"]
        assert (claim["cumulative"], claim["chain_id"]) == ("4", CHAIN_ID)
        assert claim["contract"] == checksum_address(CONTRACT)
    assert root["text"][-2].startswith("each payee claims")


@on_loop
async def test_proposals_open_and_decided() -> None:
    books = busy()
    books.collect(operator_key(0), GovPause, 1)
    books.run()
    proposal = books.chain.blocks[-1].receipts[0].transaction_id
    books.send(operator_key(3), GovVote, proposal, 0)
    async with serving(settled_node(books)) as browser:
        page = (await described(browser, "/v1/governance/proposals?limit=1", "/v1/governance/proposals")).body
        older = (await browser.get(f"/v1/governance/proposals?cursor={page['next']}")).body
        books.send(operator_key(2), GovVote, proposal, 0)
        rejected = (await browser.get("/v1/governance/proposals?limit=1")).body["proposals"][0]
    (open_,) = page["proposals"]
    assert (open_["id"], open_["kind"], open_["status"]) == ("0x" + proposal.hex(), "GovPause", "open")
    assert open_["message"]["paused"] == 1
    assert (open_["proposer"]["name"], _names(open_["yes"]), _names(open_["no"])) == ("v0", ["v0"], ["v3"])
    assert sorted(_names(open_["missing"])) == ["v1", "v2"]
    assert open_["quorum"] == 3
    assert [(each["kind"], each["status"], each["missing"]) for each in older["proposals"]] == [
        ("GovBindContract", "applied", [])
    ]
    assert (rejected["status"], rejected["outcome"]) == ("rejected", "votes")
    assert rejected["decided_height"] == books.chain.tip.height


def _names(people: list[JsonObject]) -> list[str]:
    return [str(each["name"]) for each in people]
