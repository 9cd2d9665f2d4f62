"""Reads over HTTP against a real server: node, blocks, accounts, transactions, proofs."""

from __future__ import annotations

import asyncio
from hashlib import sha256

import pytest
from api_browser import on_loop, serving, submission
from api_node import PaperNode
from core_network import key, quorum_of

from potchain.crypto import checksum_address
from potchain.proofs import proof_from_json, verify_state_proof, verify_transaction_proof

ALICE, BOB, CAROL = (checksum_address(key(name).address) for name in ("alice", "bob", "carol"))


@on_loop
async def test_status_says_where_the_node_is() -> None:
    node = PaperNode()
    node.make_block(node.chain.transfer("alice", "bob", 5))
    async with serving(node) as browser:
        answer = await browser.get("/v1/status")
    assert answer.status == 200
    body = answer.body
    assert body["chain_id"] == "paper-1"
    assert body["genesis_hash"] == "0x" + node.genesis.hash.hex()
    assert (body["height"], body["certified_height"], body["history_height"]) == (1, 1, 0)
    assert body["state_root"] == "0x" + node.chain.tip.state_root.hex()
    assert body["pool"] == {"count": 0, "bytes": 0}
    assert body["peers"] == {"connected": 3, "configured": 3}
    assert body["stalled"] is None


@on_loop
async def test_chain_tells_what_to_sign_and_the_limits() -> None:
    async with serving(PaperNode()) as browser:
        body = (await browser.get("/v1/chain")).body
    assert body["domain"] == {"name": "potchain", "version": "1", "salt": body["genesis_hash"]}
    assert [member["name"] for member in body["types"]["Transfer"]["Transfer"]][:4] == [
        "from", "nonce", "fee", "validUntil",
    ]  # fmt: skip
    assert body["limits"]["base_fee"] == "10"
    assert body["limits"]["submit_batch_max"] == 1000
    assert body["limits"]["body_bytes_max"] == 1_048_576


@on_loop
async def test_validators_consensus_and_peers_are_readable() -> None:
    node = PaperNode()
    async with serving(node) as browser:
        validators = (await browser.get("/v1/validators")).body
        consensus = (await browser.get("/v1/consensus")).body
        peers = (await browser.get("/v1/peers")).body
    assert (validators["quorum"], validators["faults_max"]) == (3, 1)
    assert [member["name"] for member in validators["validators"]] == ["v0", "v1", "v2", "v3"]
    assert validators["parameters"]["base_fee"] == 10
    assert consensus["primary"] == {"node_id": validators["validators"][0]["node_id"], "name": "v0"}
    assert consensus["in_flight"][0]["missing"] == {"prepare": ["v1", "v2"]}
    assert consensus["block_votes_missing"] == [{"height": 8, "missing": ["v3"]}]
    assert (consensus["next_timer"], consensus["next_timer_in_ms"]) == ("tick", 500)
    assert [peer["name"] for peer in peers["peers"]] == ["v1", "v2", "v3"]


@on_loop
async def test_pool_pages_by_id() -> None:
    node = PaperNode()
    pooled = sorted(node.chain.transfer("alice", "bob", 1, nonce=nonce).id for nonce in range(3))
    await node.submit([node.chain.transfer("alice", "bob", 1, nonce=nonce) for nonce in range(3)])
    async with serving(node) as browser:
        first = (await browser.get("/v1/pool?limit=2")).body
        second = (await browser.get(f"/v1/pool?limit=2&cursor={first['next']}")).body
        sizes = (await browser.get("/v1/pool?limit=0")).body
    listed = [entry["id"] for entry in first["transactions"] + second["transactions"]]
    assert listed == ["0x" + each.hex() for each in pooled]
    assert second["next"] is None
    assert (first["count"], first["senders"]) == (3, 1)
    assert (sizes["transactions"], sizes["next"]) == ([], None)


@on_loop
async def test_health_readiness_and_metrics() -> None:
    node = PaperNode()
    async with serving(node) as browser:
        assert (await browser.get("/healthz")).body == {"status": "ok"}
        assert (await browser.get("/readyz")).body["ready"] is True
        node.is_syncing = True
        assert (await browser.get("/healthz")).status == 200
        answer = await browser.get("/readyz")
        assert (answer.status, answer.code) == (503, "syncing")
        text = (await browser.get("/metrics")).body.decode()
    for line in (
        "potchain_height 0.0",
        "potchain_certified_height 0.0",
        "potchain_sync_lag_blocks 7.0",
        "potchain_peers_connected 3.0",
        "potchain_stalled 1.0",
        'potchain_consensus_buffer_entries{buffer="early votes",part="engine"} 2.0',
        'potchain_http_requests_total{method="GET",route="/readyz",status="503"} 1.0',
        'potchain_peer_frames_total{direction="out",peer="v1"} 2.0',
    ):
        assert line in text, line


@on_loop
async def test_blocks_newest_first_and_ascending() -> None:
    node = PaperNode()
    for _ in range(5):
        node.chain.run()
    node.certify()
    node.chain.run()
    async with serving(node) as browser:
        newest = (await browser.get("/v1/blocks?limit=3")).body
        assert [block["height"] for block in newest["blocks"]] == [6, 5, 4]
        assert [block["certified"] for block in newest["blocks"]] == [False, True, True]
        older = (await browser.get(f"/v1/blocks?limit=9&before={newest['next']}")).body
        assert [block["height"] for block in older["blocks"]] == [3, 2, 1, 0]
        assert older["next"] is None
        certified = (await browser.get("/v1/blocks?limit=2&certified=true")).body
        assert [block["height"] for block in certified["blocks"]] == [5, 4]
        ascending = (await browser.get("/v1/blocks?after=0&limit=2")).body
        assert [block["height"] for block in ascending["blocks"]] == [1, 2]
        final = (await browser.get(f"/v1/blocks?after={ascending['next']}&certified=true")).body
        assert [block["height"] for block in final["blocks"]] == [3, 4, 5]
        end = (await browser.get(f"/v1/blocks?after={final['next']}&certified=true")).body
        assert (end["blocks"], end["next"]) == ([], 5)
        assert (await browser.get("/v1/blocks?before=0")).body == {"blocks": [], "next": None}
        assert (await browser.get("/v1/blocks?after=99")).body == {"blocks": [], "next": 99}
    assert "transaction_ids" not in newest["blocks"][0]


@on_loop
async def test_a_page_with_ids_ends_early_but_is_never_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("potchain.api.ledger_handlers.PAGE_IDS_MAX", 3)
    node = PaperNode()
    for nonce in range(0, 4, 2):
        node.make_block(*(node.chain.transfer("alice", "bob", 1, nonce=nonce + more) for more in range(2)))
    node.make_block(*(node.chain.transfer("alice", "bob", 1, nonce=nonce) for nonce in range(4, 8)))
    async with serving(node) as browser:
        seen, after = [], 0
        for _ in range(3):
            page = (await browser.get(f"/v1/blocks?after={after}&ids=true")).body
            seen.append([len(block["transaction_ids"]) for block in page["blocks"]])
            after = page["next"]
    assert seen == [[2], [2], [4]]


@on_loop
async def test_long_poll_answers_when_the_block_comes() -> None:
    node = PaperNode()
    async with serving(node) as browser:
        poll = asyncio.create_task(browser.get("/v1/blocks?after=0&wait=60"))
        final = asyncio.create_task(browser.get("/v1/blocks?after=0&wait=60&certified=true"))
        while node.waiting < 2:
            await node.someone_waits.wait()
            await asyncio.sleep(0)
        node.make_block(certified=False)
        assert [block["height"] for block in (await poll).body["blocks"]] == [1]
        assert not final.done()
        node.certify()
        assert [block["height"] for block in (await final).body["blocks"]] == [1]
        empty = await browser.get("/v1/blocks?after=1&wait=0.001")
    assert empty.body == {"blocks": [], "next": 1}


@on_loop
async def test_a_block_by_height_and_by_hash() -> None:
    node = PaperNode()
    block = node.make_block(node.chain.transfer("alice", "bob", 5), certified=False)
    async with serving(node) as browser:
        by_height = (await browser.get("/v1/blocks/1")).body
        assert by_height == (await browser.get(f"/v1/blocks/0x{block.hash.hex().upper()}")).body
        assert by_height["transaction_ids"] == ["0x" + block.proposal.transaction_ids[0].hex()]
        assert by_height["order_certificate"] == {"engine": "paper", "version": 1, "data": "0x"}
        assert (by_height["block_certificate"], by_height["certified"]) == (None, False)
        node.certify()
        signatures = (await browser.get("/v1/blocks/1")).body["block_certificate"]["signatures"]
        assert sorted(entry["name"] for entry in signatures) == ["v0", "v1", "v2"]
        genesis = (await browser.get("/v1/blocks/0")).body
        assert (genesis["order_certificate"], genesis["proposer"]) == (None, None)
        assert (await browser.get("/v1/blocks/2")).code == "not_found"
        assert (await browser.get("/v1/blocks/0x" + "00" * 32)).code == "not_found"


@on_loop
async def test_an_account_and_its_next_nonce() -> None:
    node = PaperNode()
    await node.submit([node.chain.transfer("alice", "bob", 1, nonce=nonce) for nonce in (0, 1, 3)])
    async with serving(node) as browser:
        body = (await browser.get(f"/v1/accounts/{ALICE.lower()}")).body
        assert body == {"address": ALICE, "balance": str(10**24), "nonce": 0, "next_nonce": 2, "height": 0}
        nobody = (await browser.get("/v1/accounts/0x" + "11" * 20)).body
        assert (nobody["balance"], nobody["next_nonce"]) == ("0", 0)
        wrong = await browser.get(f"/v1/accounts/{ALICE[:-1]}{'0' if ALICE[-1] != '0' else '1'}")
        assert (wrong.status, wrong.code) == (400, "bad_address")


@on_loop
async def test_history_merges_rows_and_recent_blocks_without_loss_or_repeat() -> None:
    node = PaperNode()
    for nonce in range(7):
        block = node.make_block(
            node.chain.transfer("alice", "carol", 1, nonce=nonce), node.chain.transfer("bob", "alice", 2, nonce=nonce)
        )
        if block.height == 4:
            node.history.rows_height = 4
    expected = [(height, index) for height in range(7, 0, -1) for index in (1, 0)]
    async with serving(node) as browser:
        seen, query = [], "?limit=3"
        while True:
            page = (await browser.get(f"/v1/accounts/{ALICE}/transactions{query}")).body
            seen += [(entry["height"], entry["index"]) for entry in page["transactions"]]
            if page["next"] is None:
                break
            query = f"?limit=3&cursor={page['next']}"
            node.history.rows_height = min(7, node.history.rows_height + 1)  # rows move on between pages
        carols = (await browser.get(f"/v1/accounts/{CAROL}/transactions")).body["transactions"]
    assert seen == expected
    assert {entry["sender"] for entry in carols} == {ALICE}
    assert len(carols) == 7


@on_loop
async def test_a_transaction_through_its_states() -> None:
    node = PaperNode()
    transfer = node.chain.transfer("alice", "bob", 5, memo=b"hi")
    path = f"/v1/transactions/0x{transfer.id.hex()}"
    async with serving(node) as browser:
        assert (await browser.get(path)).code == "not_found"
        await browser.post(submission(transfer))
        pooled = (await browser.get(path)).body
        assert (pooled["state"], pooled["certified"], pooled["block"]) == ("pool", False, None)
        assert pooled["message"]["memo"] == "0x6869"
        node.make_block(certified=False)
        decided = (await browser.get(path)).body
        assert (decided["state"], decided["certified"]) == ("executed", False)
        assert (await browser.get(path + "/proof")).code == "not_certified"
        node.certify()
        final = (await browser.get(path)).body
        node.history.rows_height = 1
        assert (await browser.get(path)).body == final
    assert final["certified"] is True
    assert final["block"]["height"] == 1
    assert final["receipt"] == {"status": "ok", "code": None, "fee": "10"}
    (event,) = final["events"]
    assert event["kind"] == "Transferred"
    assert event["fields"] == {"from": ALICE, "to": BOB, "amount": "5", "memo": "0x6869"}


@on_loop
async def test_failed_skipped_and_dropped_are_told_apart() -> None:
    node = PaperNode(alice=100, bob=0)
    failed = node.chain.transfer("alice", "bob", 1_000)
    skipped = node.chain.transfer("alice", "bob", 1, nonce=7)
    node.make_block(failed, skipped)
    async with serving(node) as browser:
        body = (await browser.get(f"/v1/transactions/0x{failed.id.hex()}")).body
        assert (body["state"], body["receipt"]["status"]) == ("executed", "failed")
        assert body["receipt"]["code"] == "insufficient_funds"
        assert (await browser.get(f"/v1/transactions/0x{skipped.id.hex()}")).code == "not_found"
        node.drop(skipped.id, "expired", "validUntil passed")
        body = (await browser.get(f"/v1/transactions/0x{skipped.id.hex()}")).body
        assert (body["state"], body["code"], body["reason"]) == ("dropped", "expired", "validUntil passed")
        assert (body["message"], body["kind"]) == (None, None)
        assert (await browser.get(f"/v1/transactions/0x{skipped.id.hex()}/proof")).code == "not_found"
        listed = (await browser.get(f"/v1/accounts/{ALICE}/transactions")).body["transactions"]
    assert [entry["status"] for entry in listed] == ["skipped", "failed"]


@on_loop
async def test_proofs_hold_offline() -> None:
    node = PaperNode()
    transfer = node.chain.transfer("alice", "bob", 5)
    node.make_block(transfer, certified=False)
    async with serving(node) as browser:
        assert (await browser.get(f"/v1/accounts/{BOB}/proof")).code == "not_certified"
        node.certify()
        proof = proof_from_json((await browser.get(f"/v1/transactions/0x{transfer.id.hex()}/proof")).body)
        record = proof_from_json((await browser.get(f"/v1/accounts/{BOB}/proof")).body)
        absent = proof_from_json((await browser.get("/v1/accounts/0x" + "11" * 20 + "/proof")).body)
    shown = verify_transaction_proof(proof, node.genesis, node.types, quorum_of)  # type: ignore[arg-type]
    assert (shown.transaction.id, shown.receipt.status) == (transfer.id, "ok")
    assert verify_state_proof(record, node.genesis, quorum_of).value is not None  # type: ignore[arg-type]
    assert verify_state_proof(absent, node.genesis, quorum_of).value is None  # type: ignore[arg-type]


@on_loop
async def test_the_problems_of_reading() -> None:
    node = PaperNode()
    unknown = "0x" + sha256(b"x").hexdigest()
    async with serving(node) as browser:
        for path, code in (
            ("/v1/nothing", "not_found"),
            ("/v1/status/", "not_found"),
            (f"/v1/transactions/{unknown}", "not_found"),
            (f"/v1/transactions/{unknown}/proof", "not_found"),
            ("/v1/transactions/12", "bad_query"),
            ("/v1/blocks/-1", "bad_query"),
            ("/v1/blocks/0x12", "bad_query"),
            ("/v1/blocks/99999999999999999999999", "bad_query"),
            ("/v1/blocks?limit=0", "bad_query"),
            ("/v1/blocks?limit=101", "bad_query"),
            ("/v1/blocks?limit=%D9%A1", "bad_query"),
            ("/v1/blocks?after=1&before=2", "bad_query"),
            ("/v1/blocks?wait=3", "bad_query"),
            ("/v1/blocks?after=1&wait=121", "bad_query"),
            ("/v1/blocks?after=1&wait=nan", "bad_query"),
            ("/v1/blocks?after=1&after=2", "bad_query"),
            ("/v1/blocks?ids=yes", "bad_query"),
            ("/v1/status?verbose=1", "bad_query"),
            ("/v1/pool?cursor=0x12", "bad_query"),
            (f"/v1/accounts/{ALICE}/transactions?cursor=7", "bad_query"),
            ("/v1/accounts/alice", "bad_address"),
        ):
            assert (await browser.get(path)).code == code, path
        wrong = await browser.ask("DELETE", "/v1/status")
        assert (wrong.status, wrong.code) == (405, "method_not_allowed")
        assert "GET" in wrong.headers["Allow"]
        assert (await browser.ask("HEAD", "/v1/status")).status == 200


@on_loop
async def test_a_broken_ledger_and_a_bug_tell_no_internals() -> None:
    node = PaperNode()
    async with serving(node) as browser:
        node.history.broken = True
        answer = await browser.get("/v1/blocks/0")
        assert (answer.status, answer.code) == (503, "unavailable")
        assert "secret" not in str(answer.body)
        node.fails_with = ZeroDivisionError("secret")
        answer = await browser.get("/v1/status")
        assert (answer.status, answer.code) == (500, "internal")
        assert "secret" not in str(answer.body)
        assert len(answer.body["incident"]) == 12
        node.fails_with = None
        assert (await browser.get("/v1/status")).status == 200
