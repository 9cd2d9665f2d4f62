"""Endpoints that lie, lag, fall silent, fail, talk rubbish or change their chain: each has a name, none is believed."""

import asyncio
import copy
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from settlement_chain import (
    COIN,
    NOW_MS,
    Chain,
    Json,
    Meddling,
    batch,
    carried_out,
    followed,
    key_of,
    meddlers,
    owner_keys,
    ready,
    running,
)

from potchain import Contract, DepositSeen, SettlementBackend, SettlementError, decode, uint

OWNERS = owner_keys(4)
SIGNERS = OWNERS[:3]
ALICE = key_of("alice").address


@pytest.fixture
def chain() -> Iterator[Chain]:
    with Chain() as started:
        yield started


@pytest.fixture
def contract(chain: Chain) -> Contract:
    found = chain.deploy_settlement(OWNERS, 3)
    chain.deposit(found, ALICE, 10 * COIN)
    return found


def changing(method: str, change: Callable[[Any], Any]) -> Meddling:
    """Changes the result of one method."""

    def meddle(asked: str, parameters: list[Any], response: Json) -> Json:
        if asked != method or "result" not in response:
            return response
        return response | {"result": change(copy.deepcopy(response["result"]))}

    return meddle


def refusing(method: str, code: int, message: str) -> Meddling:
    """Answers one method with an error."""

    def meddle(asked: str, parameters: list[Any], response: Json) -> Json:
        if asked != method:
            return response
        return {"jsonrpc": "2.0", "id": response["id"], "error": {"code": code, "message": message}}

    return meddle


def silent_about(method: str) -> Meddling:
    """Never answers one method."""
    return lambda asked, parameters, response: None if asked == method else response


def all_behind(blocks: int) -> Meddling:
    """Says that the newest block is an older one."""

    def meddle(asked: str, parameters: list[Any], response: Json) -> Json:
        if asked == "eth_getBlockByNumber" and parameters[0] == "latest":
            result = response["result"] | {"number": hex(int(response["result"]["number"], 16) - blocks)}
            return response | {"result": result}
        return response

    return meddle


def other_amount(logs: list[Json]) -> list[Json]:
    for log in logs:
        log["data"] = "0x" + (77).to_bytes(32, "big").hex()
    return logs


async def fault_of(work: Awaitable[object]) -> SettlementError:
    with pytest.raises(SettlementError) as caught:
        await work
    return caught.value


async def fault_or_none(work: Awaitable[object]) -> SettlementError | None:
    try:
        await work
    except SettlementError as fault:
        return fault
    return None


def test_two_endpoints_that_tell_different_logs_are_not_believed(chain: Chain, contract: Contract) -> None:
    async def scenario() -> None:
        async with meddlers(chain, 2) as (honest, liar), running(contract, [honest.url, liar.url]) as backend:
            liar.meddle = changing("eth_getLogs", other_amount)
            fault = await fault_of(backend.observe(0))
            assert fault.code == "disagreement"
            assert "endpoint 1" in fault.detail
            assert "endpoint 2" in fault.detail
            liar.meddle = changing("eth_getLogs", lambda logs: logs)
            assert len((await backend.observe(0)).events) == 1

    asyncio.run(scenario())


def test_one_liar_of_three_is_outvoted_and_named(chain: Chain, contract: Contract) -> None:
    async def scenario() -> None:
        async with meddlers(chain, 3) as points:
            urls = [point.url for point in points]
            async with running(contract, urls, agreement=2) as backend:
                points[1].meddle = changing("eth_getLogs", other_amount)
                view = await backend.observe(0)
                assert uint(decode(DepositSeen, view.events[0].payload).amount) == 10 * COIN
                (note,) = view.notes
                assert note.startswith("disagreement: endpoint 2")

    asyncio.run(scenario())


@pytest.mark.parametrize("method", ["eth_call", "eth_getCode", "eth_getBalance", "eth_getTransactionCount"])
def test_a_lie_about_the_state_is_noticed(chain: Chain, contract: Contract, method: str) -> None:
    async def scenario() -> None:
        async with meddlers(chain, 2) as (honest, liar), running(contract, [honest.url, liar.url]) as backend:
            liar.meddle = changing(method, lambda result: "0x7" + result[3:] if len(result) > 3 else "0x7")
            work: list[Any] = [backend.open(), backend.prepare(ready(contract, batch(0, (ALICE, 1)), SIGNERS), NOW_MS)]
            faults = [await fault_or_none(step) for step in work]
            codes = {fault.code for fault in faults if fault is not None}
            assert codes
            assert codes <= {"disagreement", "rubbish"}

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "change",
    [
        lambda logs: [],
        lambda logs: [logs[0], logs[0]],
        lambda logs: [log | {"blockNumber": "0xffff"} for log in logs],
        lambda logs: [log | {"address": "0x" + "11" * 20} for log in logs],
        lambda logs: [log | {"topics": log["topics"][:2]} for log in logs],
        lambda logs: [log | {"topics": [log["topics"][0], "0x" + "ff" * 32, *log["topics"][2:]]} for log in logs],
        lambda logs: [log | {"data": log["data"] + "00"} for log in logs],
        lambda logs: [log | {"removed": True} for log in logs],
        lambda logs: [{key: log[key] for key in log if key != "blockHash"} for log in logs],
        lambda logs: "0x",
        lambda logs: None,
    ],
)
def test_impossible_logs_are_rubbish(chain: Chain, contract: Contract, change: Callable[[Any], Any]) -> None:
    async def scenario() -> None:
        async with meddlers(chain, 1) as (only,), running(contract, [only.url]) as backend:
            only.meddle = changing("eth_getLogs", change)
            assert (await fault_of(backend.observe(0))).code == "rubbish"
            only.meddle = changing("eth_getLogs", lambda logs: logs)
            assert len((await backend.observe(0)).events) == 1

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"<html>Bad gateway</html>", 502, "unreachable"),
        (b"", 200, "rubbish"),
        (b"{}", 200, "rubbish"),
        (b"null", 200, "rubbish"),
        (b"\xff\xfe{", 200, "rubbish"),
        (b'{"jsonrpc":"2.0","id":999999,"result":"0x7a69"}', 200, "rubbish"),
        (b"[" * 100_000, 200, "rubbish"),
        (b'"' + b"x" * 100_000 + b'"', 200, "rubbish"),
        (b'{"jsonrpc":"2.0","id":null,"error":{"code":-32005,"message":"daily limit \\u0007"}}', 429, "refused"),
    ],
)
def test_every_kind_of_rubbish_has_a_name(
    chain: Chain, contract: Contract, body: bytes, status: int, code: str
) -> None:
    async def scenario() -> None:
        async with meddlers(chain, 1) as (only,), running(contract, [only.url], answer_bytes_max=50_000) as backend:
            only.rubbish, only.status = body, status
            fault = await fault_of(backend.observe(0))
            assert fault.code == code
            assert str(fault).isprintable()
            only.rubbish, only.status = None, 200
            assert len((await backend.observe(0)).events) == 1

    asyncio.run(scenario())


def test_an_endpoint_that_is_silent_costs_its_time_and_no_more(chain: Chain, contract: Contract) -> None:
    async def scenario() -> None:
        async with (
            meddlers(chain, 3) as points,
            running(contract, [point.url for point in points], agreement=2, call_timeout_ms=1_500) as backend,
        ):
            points[2].meddle = silent_about("eth_chainId")
            view = await backend.observe(0)
            assert len(view.events) == 1
            assert "did not answer eth_chainId within 1.5 s" in view.notes[0]
            points[0].meddle = silent_about("eth_call")
            fault = await fault_of(backend.observe(1))
            assert fault.code == "unreachable"
            assert "1 of 3 endpoints answer, 2 must agree" in fault.detail

    asyncio.run(scenario())


def test_the_whole_dealing_has_a_deadline(chain: Chain, contract: Contract) -> None:
    async def scenario() -> None:
        async with meddlers(chain, 1) as (only,), running(contract, [only.url], deadline_ms=300) as backend:
            only.meddle = silent_about("eth_getLogs")
            fault = await fault_of(backend.observe(0))
            assert (fault.code, fault.detail) == ("unreachable", "looking at the chain took more than 300 ms")

    asyncio.run(scenario())


def test_nobody_answers_and_then_somebody_does(chain: Chain, contract: Contract) -> None:
    async def scenario() -> None:
        async with meddlers(chain, 1) as (only,):
            target, only.target = only.target, "http://127.0.0.1:1"
            async with running(contract, [only.url], opened=False) as backend:
                assert (await fault_of(backend.open())).code == "unreachable"
                only.target = target
                await backend.open()
                assert len((await backend.observe(0)).events) == 1

    asyncio.run(scenario())


def test_an_address_that_nobody_listens_at_shows_no_secret(chain: Chain, contract: Contract) -> None:
    async def scenario() -> None:
        secret = "http://user:hidden-1@127.0.0.1:1/v2/hidden-2?key=hidden-3"
        async with running(contract, [secret], opened=False) as backend:
            fault = await fault_of(backend.open())
            assert fault.code == "unreachable"
            assert "127.0.0.1:1" in fault.detail
            assert "hidden" not in fault.detail

    asyncio.run(scenario())


def test_an_endpoint_that_switches_chains_is_left_out(chain: Chain, contract: Contract) -> None:
    async def scenario() -> None:
        async with (
            meddlers(chain, 3) as points,
            running(contract, [point.url for point in points], agreement=2) as backend,
        ):
            points[0].meddle = changing("eth_chainId", lambda result: "0x38")
            view = await backend.observe(0)
            assert len(view.events) == 1
            assert view.notes[0].startswith("wrong_chain: endpoint 1")
            points[1].meddle = changing("eth_chainId", lambda result: "0x1")
            fault = await fault_of(backend.observe(0))
            assert fault.code == "wrong_chain"
            assert "serves chain 56" in fault.detail

    asyncio.run(scenario())


def test_a_chain_that_began_anew_has_no_such_contract(chain: Chain, contract: Contract) -> None:
    async def scenario() -> None:
        async with meddlers(chain, 1) as (only,), running(contract, [only.url]) as backend:
            with Chain() as other:
                only.target = other.url
                other.mine(5)
                assert (await fault_of(backend.observe(0))).code == "wrong_contract"

    asyncio.run(scenario())


def test_the_head_is_what_enough_endpoints_have(chain: Chain, contract: Contract) -> None:
    async def scenario() -> None:
        async with (
            meddlers(chain, 2) as (ahead, behind),
            running(contract, [ahead.url, behind.url], lag_blocks_max=8) as backend,
        ):
            chain.mine(20)
            behind.meddle = all_behind(3)
            assert (await backend.observe(0)).head_number == chain.height() - 3
            behind.meddle = all_behind(9)
            fault = await fault_of(backend.observe(0))
            assert fault.code == "lagging"
            assert f"endpoint 1 ({ahead.url[7:-1]}) is at {chain.height()}" in fault.detail

    asyncio.run(scenario())


@pytest.mark.parametrize("blocks", [9, -1_000_000])
def test_one_far_behind_or_far_ahead_does_not_hold_up_the_others(
    chain: Chain, contract: Contract, blocks: int
) -> None:
    async def scenario() -> None:
        async with (
            meddlers(chain, 3) as points,
            running(contract, [point.url for point in points], agreement=2, lag_blocks_max=8) as backend,
        ):
            chain.mine(20)
            points[0].meddle = all_behind(blocks)
            view = await backend.observe(0)
            assert view.head_number == chain.height()
            assert view.notes[0].startswith("lagging: endpoint 1")

    asyncio.run(scenario())


def test_a_head_that_does_not_move_is_too_old(chain: Chain, contract: Contract) -> None:
    async def scenario() -> None:
        async with running(contract, [chain.url], head_stalled_after_ms=20) as backend:
            fault = None
            while fault is None:
                fault = await fault_or_none(backend.observe(0))
            assert fault.code == "lagging"
            chain.mine()
            assert len((await backend.observe(0)).events) == 1

    asyncio.run(scenario())


def test_two_blocks_at_the_head_leave_their_common_parent(chain: Chain, contract: Contract) -> None:
    async def scenario() -> None:
        async with meddlers(chain, 2) as (one, other), running(contract, [one.url, other.url]) as backend:
            chain.mine(5)
            newest = hex(chain.height())

            def fork(result: Json) -> Json:
                return result | {"hash": "0x" + "ab" * 32} if result["number"] == newest else result

            other.meddle = changing("eth_getBlockByNumber", fork)
            assert (await backend.observe(0)).head_number == chain.height() - 1
            other.meddle = changing("eth_getBlockByNumber", lambda result: result | {"hash": "0x" + "ab" * 32})
            fault = await fault_of(backend.observe(0))
            assert fault.code == "disagreement"
            assert "no common block" in fault.detail

    asyncio.run(scenario())


def test_a_refused_range_of_logs_is_made_smaller(chain: Chain, contract: Contract) -> None:
    chain.mine(40)
    chain.deposit(contract, ALICE, COIN)

    def limited(asked: str, parameters: list[Any], response: Json) -> Json:
        if asked == "eth_getLogs" and int(parameters[0]["toBlock"], 16) - int(parameters[0]["fromBlock"], 16) >= 10:
            error = {"code": -32005, "message": "query exceeds max block range 10"}
            return {"jsonrpc": "2.0", "id": response["id"], "error": error}
        return response

    async def scenario() -> None:
        async with meddlers(chain, 1) as (only,), running(contract, [only.url]) as backend:
            only.meddle = limited
            assert len((await backend.observe(0)).events) == 2

    asyncio.run(scenario())


def test_nothing_is_asked_twice_about_one_head(chain: Chain, contract: Contract) -> None:
    async def scenario() -> None:
        async with meddlers(chain, 1) as (only,), running(contract, [only.url]) as backend:
            view = await backend.observe(0)
            calls, logs = only.counted("eth_call"), only.counted("eth_getLogs")
            assert await backend.observe(0) == view
            assert (only.counted("eth_call"), only.counted("eth_getLogs")) == (calls, logs)
            chain.mine()
            assert (await backend.observe(1)).events == ()
            assert only.counted("eth_getLogs") == logs

    asyncio.run(scenario())


def test_events_that_are_not_applied_yet_are_searched_from_where_they_were(chain: Chain, contract: Contract) -> None:
    chain.mine(50)
    place = hex(int(chain.deposit(contract, ALICE, COIN)["blockNumber"], 16))

    async def scenario() -> None:
        async with meddlers(chain, 1) as (only,), running(contract, [only.url], logs_blocks_max=10) as backend:
            first = (await backend.observe(1)).events
            chain.mine()
            asked = len(only.asked)
            assert (await backend.observe(1)).events == first
            later = [parameters for method, parameters in only.asked[asked:] if method == "eth_getLogs"]
            assert [parameters[0]["fromBlock"] for parameters in later] == [place]

    asyncio.run(scenario())


def test_a_legacy_chain_gets_legacy_transactions(chain: Chain, contract: Contract) -> None:
    def without_base_fee(result: Json) -> Json:
        return {key: result[key] for key in result if key != "baseFeePerGas"}

    async def scenario() -> None:
        async with meddlers(chain, 1) as (only,), running(contract, [only.url]) as backend:
            only.meddle = changing("eth_getBlockByNumber", without_base_fee)
            chain.rpc("evm_setAutomine", False)
            action = ready(contract, batch(0, (ALICE, COIN)), SIGNERS)
            first = await backend.prepare(action, NOW_MS)
            assert first.raw[0] >= 0xC0
            await backend.submit(first)
            second = await backend.prepare(action, NOW_MS, first)
            assert 8 * second.fee_per_gas_wei >= 9 * first.fee_per_gas_wei
            await backend.submit(second)
            chain.mine()
            assert (await backend.follow(second)).phase == "mined"
        assert chain.reward(contract, ALICE) == COIN

    asyncio.run(scenario())


async def _offer_with(backend: SettlementBackend, contract: Contract) -> int:
    prepared = await backend.prepare(ready(contract, batch(0, (ALICE, COIN)), SIGNERS), NOW_MS)
    return prepared.fee_per_gas_wei


def test_an_endpoints_greed_for_tips_is_capped(chain: Chain, contract: Contract) -> None:
    async def scenario() -> None:
        async with meddlers(chain, 1) as (only,), running(contract, [only.url], tip_cap_wei=10**9) as backend:
            only.meddle = changing("eth_maxPriorityFeePerGas", lambda result: hex(10**15))
            base_fee = int(chain.rpc("eth_getBlockByNumber", "latest", False)["baseFeePerGas"], 16)
            assert await _offer_with(backend, contract) == 2 * base_fee + 10**9
            only.meddle = refusing("eth_maxPriorityFeePerGas", -32601, "the method does not exist")
            assert await _offer_with(backend, contract) == 2 * base_fee + 10**8

    asyncio.run(scenario())


def test_one_endpoint_that_takes_the_transaction_is_enough(chain: Chain, contract: Contract) -> None:
    async def scenario() -> None:
        async with (
            meddlers(chain, 3) as points,
            running(contract, [point.url for point in points], agreement=2) as backend,
        ):
            points[0].meddle = refusing("eth_sendRawTransaction", -32000, "txpool is full")
            points[1].meddle = changing("eth_sendRawTransaction", lambda result: "0x" + "22" * 32)
            action = ready(contract, batch(0, (ALICE, COIN)), SIGNERS)
            assert (await carried_out(backend, action))[1].phase == "mined"
        assert chain.reward(contract, ALICE) == COIN

    asyncio.run(scenario())


def test_when_none_takes_the_transaction_the_fault_says_why(chain: Chain, contract: Contract) -> None:
    async def scenario() -> None:
        async with meddlers(chain, 2) as (one, other), running(contract, [one.url, other.url]) as backend:
            chain.rpc("evm_setAutomine", False)
            prepared = await backend.prepare(ready(contract, batch(0, (ALICE, COIN)), SIGNERS), NOW_MS)
            one.meddle = refusing("eth_sendRawTransaction", -32000, "txpool is full")
            other.meddle = refusing("eth_sendRawTransaction", -32000, "insufficient funds for gas * price + value")
            fault = await fault_of(backend.submit(prepared))
            assert fault.code == "empty_wallet"
            assert "txpool is full" in fault.detail
            one.rubbish = other.rubbish = b"no JSON"
            assert (await fault_of(backend.submit(prepared))).code == "rubbish"

    asyncio.run(scenario())


def test_a_receipt_that_only_one_endpoint_tells_is_none(chain: Chain, contract: Contract) -> None:
    async def scenario() -> None:
        async with meddlers(chain, 2) as (honest, liar), running(contract, [honest.url, liar.url]) as backend:
            prepared, state = await carried_out(backend, ready(contract, batch(0, (ALICE, COIN)), SIGNERS))
            assert state.phase == "mined"
            liar.meddle = changing("eth_getTransactionReceipt", lambda receipt: receipt | {"status": "0x0"})
            assert (await backend.follow(prepared)).phase == "pending"
            liar.meddle = changing("eth_getTransactionReceipt", lambda receipt: receipt | {"status": "0x2"})
            assert (await fault_of(backend.follow(prepared))).code == "rubbish"
            liar.meddle = changing(
                "eth_getTransactionReceipt", lambda receipt: receipt | {"transactionHash": "0x" + "33" * 32}
            )
            assert (await fault_of(backend.follow(prepared))).code == "rubbish"
            liar.meddle = changing("eth_getTransactionReceipt", lambda receipt: receipt)
            assert (await followed(backend, prepared)).phase == "mined"

    asyncio.run(scenario())


def test_too_little_gas_shows_as_such(chain: Chain, contract: Contract) -> None:
    async def scenario() -> None:
        async with meddlers(chain, 1) as (only,), running(contract, [only.url]) as backend:
            action = ready(contract, batch(0, (ALICE, COIN)), SIGNERS)
            only.meddle = changing("eth_estimateGas", lambda result: hex(2))
            assert (await fault_of(backend.prepare(action, NOW_MS))).code == "rubbish"
            only.meddle = changing("eth_estimateGas", lambda result: hex(50_000))
            _, state = await carried_out(backend, action)
            assert (state.phase, state.detail) == ("reverted", "out of gas: all 60000 were used")
            only.meddle = changing("eth_estimateGas", lambda result: result)
            assert (await carried_out(backend, action))[1].phase == "mined"

    asyncio.run(scenario())


def test_a_refusal_that_only_the_estimate_shows_has_its_name_too(chain: Chain, contract: Contract) -> None:
    async def scenario() -> None:
        async with meddlers(chain, 1) as (only,), running(contract, [only.url]) as backend:
            only.meddle = lambda method, parameters, response: (
                {"jsonrpc": "2.0", "id": response["id"], "result": "0x"} if method == "eth_call" else response
            )
            fault = await fault_of(backend.prepare(ready(contract, batch(5, (ALICE, COIN)), SIGNERS), NOW_MS))
            assert fault.code == "would_revert"
            assert "WrongNonce(given=5, expected=0)" in fault.detail

    asyncio.run(scenario())


def test_why_a_transaction_reverted_is_told_as_far_as_it_is_known(chain: Chain, contract: Contract) -> None:
    async def scenario() -> None:
        async with meddlers(chain, 1) as (only,), running(contract, [only.url]) as backend:
            prepared, state = await carried_out(backend, ready(contract, batch(0, (ALICE, COIN)), SIGNERS))
            assert state.phase == "mined"

            def reverted(blocks: int) -> Meddling:
                return changing(
                    "eth_getTransactionReceipt",
                    lambda receipt: receipt
                    | {"status": "0x0", "blockNumber": hex(int(receipt["blockNumber"], 16) - blocks)},
                )

            only.meddle = reverted(0)
            assert (await backend.follow(prepared)).detail == "WrongNonce(given=0, expected=1)"
            only.meddle = reverted(1)
            assert (await backend.follow(prepared)).detail == "the contract refused it then and would not now"
            pruned = refusing("eth_call", -32000, "missing trie node")
            only.meddle = lambda *asked: pruned(*asked[:2], reverted(0)(*asked) or {})
            state = await backend.follow(prepared)
            assert state.phase == "reverted"
            assert "missing trie node" in state.detail

    asyncio.run(scenario())


def test_an_event_stands_as_long_as_its_block_does(chain: Chain, contract: Contract) -> None:
    async def scenario() -> None:
        async with running(contract, [chain.url]) as backend:
            chain.mine(3)
            before = chain.rpc("evm_snapshot")
            chain.deposit(contract, ALICE, COIN)
            (event,) = (await backend.observe(1)).events
            chain.mine(2)
            assert await backend.stands(event)
            chain.rpc("evm_revert", before)
            assert not await backend.stands(event)
            chain.deposit(contract, key_of("bob").address, COIN)
            assert not await backend.stands(event)

    asyncio.run(scenario())


def test_a_connection_that_the_server_closed_is_opened_again(chain: Chain, contract: Contract) -> None:
    async def scenario() -> None:
        async with meddlers(chain, 1) as (only,), running(contract, [only.url]) as backend:
            only.drop_next = True
            assert len((await backend.observe(0)).events) == 1

    asyncio.run(scenario())


def test_a_back_end_that_is_not_open_says_so(chain: Chain, contract: Contract) -> None:
    async def scenario() -> None:
        async with running(contract, [chain.url], opened=False) as backend:
            assert (await fault_of(backend.observe(0))).code == "not_configured"
            await backend.open()
            await backend.close()
            await backend.close()
            assert (await fault_of(backend.observe(0))).code == "not_configured"
            await backend.open()
            assert len((await backend.observe(0)).events) == 1

    asyncio.run(scenario())
