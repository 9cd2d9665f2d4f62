"""The client against a real server on a real socket: what it repeats, what it does not, and what it says."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web

from potchain.client import NodeClient
from potchain.errors import ClientError

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Work = Callable[[NodeClient], Awaitable[None]]


def against(routes: dict[str, Handler], work: Work, *, attempts_max: int = 6, timeout_s: float = 10) -> None:
    """Serve the routes ("GET /path") on a free port and run the work with a client of them."""

    async def scenario() -> None:
        app = web.Application()
        for route, handler in routes.items():
            method, path = route.split()
            app.router.add_route(method, path, handler)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        try:
            async with NodeClient(
                f"http://{host}:{port}/", attempts_max=attempts_max, timeout_s=timeout_s
            ) as client:
                await work(client)
        finally:
            await runner.cleanup()

    asyncio.run(asyncio.wait_for(scenario(), 20))


def problem(status: int, code: str, detail: str, **headers: str) -> web.Response:
    document = {"type": "about:blank", "title": code, "status": status, "code": code, "detail": detail}
    return web.json_response(document, status=status, headers=headers, content_type="application/problem+json")


def test_problem_details_become_an_error_with_code() -> None:
    async def handler(request: web.Request) -> web.Response:
        return problem(409, "stale_nonce", "nonce 0 is used")

    async def work(client: NodeClient) -> None:
        with pytest.raises(ClientError, match=r"stale_nonce \(HTTP 409\): nonce 0 is used") as caught:
            await client.submit_one({})
        assert (caught.value.status, caught.value.code) == (409, "stale_nonce")

    against({"POST /v1/transactions": handler}, work)


def test_busy_is_tried_again_until_it_works() -> None:
    calls = []

    async def handler(request: web.Request) -> web.Response:
        calls.append(1)
        if len(calls) < 3:
            return problem(503, "pool_full", "later")
        return web.json_response({"id": "0x1", "status": "accepted"})

    async def work(client: NodeClient) -> None:
        assert (await client.submit_one({}))["status"] == "accepted"

    against({"POST /v1/transactions": handler}, work)
    assert len(calls) == 3


def test_attempts_are_bounded() -> None:
    calls = []

    async def handler(request: web.Request) -> web.Response:
        calls.append(1)
        return problem(503, "syncing", "behind", **{"Retry-After": "0"})

    async def work(client: NodeClient) -> None:
        with pytest.raises(ClientError, match="syncing"):
            await client.status()
        assert not await client.is_ready()

    against({"GET /v1/status": handler, "GET /readyz": handler}, work, attempts_max=2)
    assert len(calls) == 3


def test_other_errors_are_final() -> None:
    calls = []

    async def handler(request: web.Request) -> web.Response:
        calls.append(1)
        return web.Response(status=500, text="it broke")

    async def work(client: NodeClient) -> None:
        with pytest.raises(ClientError, match=r"http_error \(HTTP 500\): it broke"):
            await client.status()

    against({"GET /v1/status": handler}, work)
    assert len(calls) == 1


def test_nobody_at_home_has_status_0() -> None:
    async def scenario() -> None:
        async with NodeClient("http://127.0.0.1:9", attempts_max=1) as client:
            with pytest.raises(ClientError, match="no node answers at") as caught:
                await client.status()
            assert caught.value.status == 0
        async with NodeClient("not a url", attempts_max=1) as client:
            with pytest.raises(ClientError, match="is no URL"):
                await client.status()

    asyncio.run(scenario())


def test_slow_is_a_timeout() -> None:
    async def handler(request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError("never set")

    async def work(client: NodeClient) -> None:
        with pytest.raises(ClientError, match="no answer") as caught:
            await client.status()
        assert caught.value.status == 504

    against({"GET /v1/status": handler}, work, timeout_s=0.05)


@pytest.mark.parametrize("answer", [{}, [], {"chain_id": "t", "domain": {"salt": 3}, "limits": {}}])
def test_strange_answers_are_no_crash(answer: object) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.json_response(answer)

    async def work(client: NodeClient) -> None:
        for call in (client.chain(), client.next_nonce("0x1"), client.blocks_after(0), client.submit([{}])):
            with pytest.raises(ClientError, match="does not understand"):
                await call

    routes = ("GET /v1/chain", "GET /v1/accounts/0x1", "GET /v1/blocks", "POST /v1/transactions")
    against(dict.fromkeys(routes, handler), work)


def test_following_asks_from_where_it_stopped() -> None:
    asked = []

    async def handler(request: web.Request) -> web.Response:
        after = int(request.query["after"])
        asked.append(after)
        blocks = [
            {"height": height, "hash": "0xb", "state_root": "0xc", "tx_count": 1, "transaction_ids": [f"0x{height}"]}
            for height in (after + 1, after + 2)
        ]
        return web.json_response({"blocks": blocks, "next": after + 2})

    async def work(client: NodeClient) -> None:
        seen = []
        async for block in client.follow(10, ids=True):
            seen.append((block.height, block.transaction_ids))
            if len(seen) == 5:
                break
        assert seen == [(height, (f"0x{height}",)) for height in range(11, 16)]

    against({"GET /v1/blocks": handler}, work)
    assert asked == [10, 12, 14]


def test_the_token_is_sent() -> None:
    seen = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization"))
        return web.json_response({})

    async def work(client: NodeClient) -> None:
        await client.status()
        async with NodeClient(client.url, token="hush") as other:
            await other.status()

    against({"GET /v1/status": handler}, work)
    assert seen == [None, "Bearer hush"]


def test_waiting_for_a_transaction_ends_when_it_is_final() -> None:
    answers = [{"state": "pool"}, {"state": "executed", "certified": False}, {"state": "executed", "certified": True}]

    async def handler(request: web.Request) -> web.Response:
        return web.json_response(answers.pop(0) if len(answers) > 1 else answers[0])

    async def pool(request: web.Request) -> web.Response:
        return web.json_response({"state": "pool"})

    async def work(client: NodeClient) -> None:
        assert (await client.wait_transaction("0x1", timeout_s=5))["certified"] is True
        with pytest.raises(ClientError, match="not final") as caught:
            await client.wait_transaction("0x2", timeout_s=0)
        assert caught.value.status == 504

    against({"GET /v1/transactions/0x1": handler, "GET /v1/transactions/0x2": pool}, work)
