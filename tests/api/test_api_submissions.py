"""POST /v1/transactions against a real server: what is taken, what is refused and with which code, batches, waits."""

from __future__ import annotations

import asyncio
import time

import msgspec
import pytest
from api_browser import on_loop, serving, submission
from api_node import GAP_MAX, POOL_MAX, SENDER_MAX, PaperNode
from core_network import key, quorum_of
from eth_account import Account

from potchain.api.problems import PROBLEMS
from potchain.api.submission import OPENING_BRACKETS_MAX, parse_batch, parse_body
from potchain.crypto import checksum_address
from potchain.primitives import uint256
from potchain.proofs import proof_from_json, verify_transaction_proof
from potchain.transactions import Transaction, Transfer
from potchain.typed_data import JsonObject

ALICE = checksum_address(key("alice").address)


def changed(transaction: Transaction, **members: object) -> JsonObject:
    document = submission(transaction)
    document["message"].update(members)
    return document


def without(document: JsonObject, name: str) -> JsonObject:
    return {member: value for member, value in document.items() if member != name}


@on_loop
async def test_one_transaction_is_accepted_and_then_known() -> None:
    node = PaperNode()
    transfer = node.chain.transfer("alice", "bob", 5)
    name = "0x" + transfer.id.hex()
    async with serving(node) as browser:
        first = await browser.post(submission(transfer))
        again = await browser.post(submission(transfer))
        node.make_block()
        executed = await browser.post(submission(transfer))
    assert (first.status, first.body) == (202, {"id": name, "status": "accepted"})
    assert first.headers["Location"] == f"/v1/transactions/{name}"
    assert (again.status, again.body) == (202, {"id": name, "status": "known"})
    assert (executed.status, executed.body) == (202, {"id": name, "status": "known"})


@on_loop
async def test_ten_lines_of_eth_account_from_chain_alone() -> None:
    node = PaperNode()
    async with serving(node) as browser:
        wallet = Account.from_key(key("alice").secret)
        chain = (await browser.get("/v1/chain")).body
        nonce = (await browser.get(f"/v1/accounts/{wallet.address}")).body["next_nonce"]
        message = {"from": wallet.address, "nonce": nonce, "fee": chain["limits"]["base_fee"], "validUntil": 0}
        message |= {"to": checksum_address(key("carol").address), "amount": "7", "memo": "0x68656c6c6f"}
        typed_data = {"types": chain["types"]["Transfer"], "primaryType": "Transfer", "domain": chain["domain"]}
        signed = wallet.sign_typed_data(full_message={**typed_data, "message": message})
        signature = "0x" + signed.signature.hex().removeprefix("0x")
        answer = await browser.post({"kind": "Transfer", "message": message, "signature": signature})
        assert answer.status == 202, answer.body
        node.make_block()
        body = (await browser.get(f"/v1/transactions/{answer.body['id']}")).body
    assert body["receipt"]["status"] == "ok"
    assert body["message"]["amount"] == "7"


@on_loop
async def test_every_fault_of_a_submission_has_its_code_and_changes_nothing() -> None:
    node = PaperNode(alice=1_000, bob=10**24)
    good = node.chain.transfer("alice", "bob", 5)
    document = submission(good)
    poor = submission(node.chain.transfer("alice", "bob", 10_000))
    late = submission(node.chain.transfer("alice", "bob", 5, valid_until=1))
    far = submission(node.chain.transfer("bob", "alice", 5, nonce=GAP_MAX + 1))
    mine = node.chain.transfer("bob", "alice", 5)
    cases: list[tuple[object, str]] = [
        (17, "malformed"),
        ("0x", "malformed"),
        (None, "malformed"),
        (without(document, "kind"), "missing_field"),
        (without(document, "message"), "missing_field"),
        (without(document, "signature"), "missing_field"),
        ({**document, "extra": 1}, "unknown_field"),
        ({**document, "kind": 5}, "malformed"),
        ({**document, "kind": "Mint"}, "unknown_kind"),
        ({**document, "message": []}, "malformed"),
        (changed(good, colour="red"), "unknown_field"),
        ({**document, "message": without(document["message"], "memo")}, "missing_field"),
        (changed(good, amount="-1"), "bad_amount"),
        (changed(good, amount=-1), "bad_amount"),
        (changed(good, amount=str(2**256)), "bad_amount"),
        (changed(good, amount=1.5), "bad_amount"),
        (changed(good, amount=True), "bad_amount"),
        (changed(good, amount=""), "bad_amount"),
        (changed(good, amount="9" * 79), "bad_amount"),
        (changed(good, nonce=2**64), "bad_amount"),
        (changed(good, nonce="-0x1"), "bad_amount"),
        (changed(good, to="bob"), "bad_address"),
        (changed(good, to=7), "bad_address"),
        (changed(good, to="0x" + "1" * 38 + "  "), "bad_address"),
        (changed(good, memo="68"), "bad_bytes"),
        (changed(good, memo="0x123"), "bad_bytes"),
        (changed(good, memo="0x12 3"), "bad_bytes"),
        (changed(good, memo="0x" + "00" * 70_000), "oversize"),
        (changed(good, amount="6"), "bad_signature"),
        ({**document, "signature": "0x12"}, "bad_signature"),
        ({**document, "signature": 12}, "bad_signature"),
        ({**document, "signature": document["signature"][:-2] + "  "}, "bad_signature"),
        ({**document, "signature": document["signature"][:-2] + "02"}, "bad_signature"),
        ({**document, "domain": {"name": "potchain", "version": "1", "salt": "0x" + "00" * 32}}, "wrong_chain"),
        ({**document, "domain": {"name": "potchain", "version": "1"}}, "wrong_chain"),
        ({**document, "domain": "potchain"}, "malformed"),
        (submission(node.chain.transfer("alice", bytes(20), 5)), "zero_address"),
        (submission(node.chain.transfer("alice", "bob", 0)), "zero_amount"),
        (submission(node.chain.transfer("alice", "bob", 5, memo=bytes(65))), "memo_too_long"),
        (submission(node.chain.transfer("alice", "bob", 5, fee=9)), "insufficient_fee"),
        (poor, "insufficient_funds"),
        (late, "expired"),
        (far, "nonce_gap_too_large"),
    ]
    async with serving(node) as browser:
        for body, code in cases:
            answer = await browser.post(body)
            assert (answer.code, answer.status) == (code, PROBLEMS[code].status), body
        assert node.pooled == {}
        # The same in one array: nothing of it keeps the good one out.
        entries = [body for body, _ in cases] + [document]
        batch = await browser.post(entries)
        assert batch.status == 200
        assert [entry["code"] for entry in batch.body] == [code for _, code in cases] + [""]
        assert batch.body[-1] == {"id": "0x" + good.id.hex(), "status": "accepted", "code": ""}
        assert all(entry["status"] == "refused" and entry["detail"] for entry in batch.body[:-1])
        assert batch.body[0]["id"] is None
        assert batch.body[-2]["id"] is not None
        assert list(node.pooled) == [good.id]
        for nonce in range(SENDER_MAX):
            await browser.post(submission(node.chain.transfer("bob", "alice", 5, nonce=nonce, fee=20)))
        for transaction, code in (
            (mine, "fee_too_low_to_replace"),
            (node.chain.transfer("bob", "alice", 5, nonce=SENDER_MAX), "sender_limit"),
        ):
            assert (await browser.post(submission(transaction))).code == code
        node.make_block()
        assert (await browser.post(submission(mine))).code == "stale_nonce"


@on_loop
async def test_our_own_domain_is_welcome_in_any_case_of_letters() -> None:
    node = PaperNode()
    async with serving(node) as browser:
        domain = (await browser.get("/v1/chain")).body["domain"]
        document = {**submission(node.chain.transfer("alice", "bob", 5)), "domain": domain}
        document["domain"]["salt"] = "0x" + node.genesis.hash.hex().upper()
        assert (await browser.post(document)).status == 202


@on_loop
async def test_bodies_that_are_no_json_or_too_much() -> None:
    node = PaperNode()
    document = submission(node.chain.transfer("alice", "bob", 5))
    async with serving(node, body_bytes_max=600_000) as browser:

        async def post(data: bytes, **headers: str) -> str:
            return (await browser.ask("POST", "/v1/transactions", data=data, headers=headers)).code

        assert await post(b"") == "bad_json"
        assert await post(b"{") == "bad_json"
        assert await post(b"\xff\xfe") == "bad_json"
        assert await post(b"[" * 200_000) == "bad_json"
        assert await post(b'{"kind":' * OPENING_BRACKETS_MAX) == "bad_json"
        deep = b"[" * OPENING_BRACKETS_MAX + b"]" * OPENING_BRACKETS_MAX
        assert (await browser.ask("POST", "/v1/transactions", data=deep)).status < 500
        assert await post(b'{"kind":' + b"9" * 5_000 + b"}") == "bad_json"
        assert await post(b" " * 600_001) == "body_too_large"
        assert await post(b"{}", **{"Content-Encoding": "deflate"}) == "bad_request"
        many = await browser.post([document] * 1_001)
        assert (many.status, many.code) == (400, "too_many_transactions")
        assert (await browser.post([])).body == []
        assert (await browser.post(document, "?wait=soon")).code == "bad_query"
        assert (await browser.post(document, "?wait=final&timeout=121")).code == "bad_query"
        assert (await browser.post([document], "?wait=final")).code == "bad_query"
        assert (await browser.post(document, "?nowait=1")).code == "bad_query"
    assert node.pooled == {}


@on_loop
async def test_an_array_with_repeats_is_admitted_once_in_order() -> None:
    node = PaperNode()
    first, second = (node.chain.transfer("alice", "bob", 5, nonce=nonce) for nonce in range(2))
    forged = {**submission(second), "signature": submission(first)["signature"]}
    bad = submission(node.chain.transfer("alice", "bob", 5, nonce=9))
    async with serving(node) as browser:
        answer = await browser.post(
            [submission(first), forged, submission(second), submission(first), bad, bad, submission(second)]
        )
    assert node.submitted == [4]
    assert [(entry["status"], entry["code"]) for entry in answer.body] == [
        ("accepted", ""),
        ("refused", "bad_signature"),
        ("accepted", ""),
        ("known", ""),
        ("refused", "nonce_gap_too_large"),
        ("refused", "nonce_gap_too_large"),
        ("known", ""),
    ]


@on_loop
async def test_a_full_pool_says_when_to_try_again() -> None:
    names = [f"sender {number}" for number in range(POOL_MAX)]
    node = PaperNode(alice=10**9, **dict.fromkeys(names, 10**9))
    late = submission(node.chain.transfer("alice", "bob", 5))
    async with serving(node) as browser:
        for name in names:
            assert (await browser.post(submission(node.chain.transfer(name, "bob", 1)))).status == 202
        answer = await browser.post(late)
        assert (answer.status, answer.code, answer.headers["Retry-After"]) == (503, "pool_full", "1")
        batch = await browser.post([late])
        assert (batch.status, batch.body[0]["code"], batch.headers["Retry-After"]) == (200, "pool_full", "1")
        node.refuse_with = ("syncing", "this node catches up")
        answer = await browser.post(late)
        assert (answer.status, answer.code) == (503, "syncing")
        node.refuse_with = ("order_closed", "an application's own code")
        answer = await browser.post(late)
        assert (answer.status, answer.code) == (422, "order_closed")


@on_loop
async def test_wait_final_answers_with_block_receipt_and_proof() -> None:
    node = PaperNode()
    transfer = node.chain.transfer("alice", "bob", 5)
    async with serving(node) as browser:
        final = asyncio.create_task(browser.post(submission(transfer), "?wait=final&timeout=60"))
        await node.someone_waits.wait()
        decided = asyncio.create_task(browser.post(submission(transfer), "?wait=decided"))
        while node.waiting < 2:
            await asyncio.sleep(0)
        node.make_block(certified=False)
        early = await decided
        assert not final.done()
        node.certify()
        answer = await final
        again = await browser.post(submission(transfer), "?wait=final&timeout=0")
    assert (early.status, early.body["certified"], early.body["proof"]) == (200, False, None)
    assert early.body["receipt"]["status"] == "ok"
    assert (answer.status, answer.body["state"], answer.body["certified"]) == (200, "executed", True)
    assert answer.body["block"]["height"] == 1
    shown = verify_transaction_proof(
        proof_from_json(answer.body["proof"]), node.genesis, node.types, quorum_of  # type: ignore[arg-type]
    )
    assert shown.transaction.id == transfer.id
    assert again.body == answer.body


@on_loop
async def test_a_wait_that_ends_early_loses_nothing() -> None:
    node = PaperNode()
    transfer = node.chain.transfer("alice", "bob", 5)
    name = "0x" + transfer.id.hex()
    async with serving(node) as browser:
        answer = await browser.post(submission(transfer), "?wait=final&timeout=0")
        assert (answer.status, answer.code, answer.body["id"]) == (504, "timeout", name)
        assert transfer.id in node.pooled
        dropped = asyncio.create_task(browser.post(submission(transfer), "?wait=final"))
        node.someone_waits.clear()
        await node.someone_waits.wait()
        node.drop(transfer.id, "expired", "validUntil passed")
        answer = await dropped
        assert (answer.status, answer.code, answer.body["id"]) == (422, "expired", name)


@pytest.mark.parametrize("status", ["pool", "dropped"])
@on_loop
async def test_an_executed_transaction_outweighs_what_the_node_remembers(status: str) -> None:
    node = PaperNode()
    transfer = node.chain.transfer("alice", "bob", 5)
    node.make_block(transfer, rows=True)
    if status == "dropped":
        node.drop(transfer.id, "pool_timeout", "too old")
    async with serving(node) as browser:
        body = (await browser.get(f"/v1/transactions/0x{transfer.id.hex()}")).body
    assert body["state"] == "executed"


def test_reading_an_array_of_200_is_cheap() -> None:
    """The aim is 15 microseconds of processor time each; the bound is loose, for a busy machine."""
    node = PaperNode()
    types, sender = node.types, key("alice")
    signature = bytes(64) + b"\x1b"
    bodies = (
        Transfer(sender.address, nonce, uint256(10), 0, key(f"r{nonce}").address, uint256(1 + nonce), b"")
        for nonce in range(200)
    )
    data = msgspec.json.encode([submission(types.assemble(body, signature)) for body in bodies])
    best_ns = min(_time_ns(data, node) for _ in range(20))
    assert best_ns / 200 < 60_000


def _time_ns(data: bytes, node: PaperNode) -> int:
    began_ns = time.thread_time_ns()
    document = parse_body(data)
    assert isinstance(document, list)
    parsed = parse_batch(document, node.types, 1_000)
    assert all(isinstance(item, Transaction) for item in parsed)
    return time.thread_time_ns() - began_ns
