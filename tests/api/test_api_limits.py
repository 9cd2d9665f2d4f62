"""Who may ask, how often, how much at once, and how a server stops."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from api_browser import on_loop, serving, submission
from api_node import PaperNode
from yarl import URL

from potchain.api.app import bound_port, build_app, is_loopback, start_api
from potchain.api.options import ApiOptions
from potchain.api.rates import RateLimit
from potchain.primitives import NS_PER_S


class Peer:
    """What a request asks of its transport, for a client of another machine."""

    def __init__(self, host: str) -> None:
        self.host = host

    def get_extra_info(self, name: str, default: object = None) -> object:
        return (self.host, 40_000) if name == "peername" else default


async def ask_from(app: web.Application, host: str, method: str, path: str, token: str = "") -> int:
    """The status of a request that comes from `host`."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    payload = aiohttp.streams.EMPTY_PAYLOAD
    options: dict[str, Any] = {"headers": headers, "app": app, "transport": Peer(host), "payload": payload}
    response = await app._handle(make_mocked_request(method, path, **options))
    return response.status


@on_loop
async def test_reads_from_elsewhere_need_the_token_and_writes_do_not() -> None:
    node = PaperNode()
    app = build_app(node, node.history, ApiOptions(token="sesame"))
    app.freeze()
    assert await ask_from(app, "203.0.113.9", "GET", "/v1/status") == 401
    assert await ask_from(app, "203.0.113.9", "GET", "/v1/nothing") == 401
    assert await ask_from(app, "203.0.113.9", "GET", "/metrics") == 401
    assert await ask_from(app, "203.0.113.9", "GET", "/v1/status", "sesam") == 401
    assert await ask_from(app, "203.0.113.9", "GET", "/v1/status", "s\u00e9same") == 401
    assert await ask_from(app, "203.0.113.9", "GET", "/v1/status", "sesame") == 200
    assert await ask_from(app, "203.0.113.9", "GET", "/healthz") == 200
    assert await ask_from(app, "203.0.113.9", "POST", "/v1/transactions") == 400
    for host in ("127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"):
        assert await ask_from(app, host, "GET", "/v1/status") == 200
        assert await ask_from(app, host, "PUT", "/v1/links") == 401, "who may read may not change"
        assert await ask_from(app, host, "PUT", "/v1/links", "sesame") != 401
    closed = build_app(node, node.history, ApiOptions())
    closed.freeze()
    assert await ask_from(closed, "203.0.113.9", "GET", "/v1/status", "anything") == 401


@pytest.mark.parametrize("host", ["", "localhost", "10.0.0.1", "fe80::1%eth0", "::ffff:10.0.0.1", "128.0.0.1"])
def test_what_is_not_loopback(host: str) -> None:
    assert not is_loopback(host)


def clock_of(now_ns: list[int]) -> Callable[[], int]:
    return lambda: now_ns[0]


def test_a_client_may_burst_and_then_gets_its_rate() -> None:
    now_ns = [0]
    limit = RateLimit(10, 3, 100, clock_of(now_ns))
    assert [limit.allows("a") for _ in range(4)] == [True, True, True, False]
    assert limit.allows("b")
    now_ns[0] += NS_PER_S // 10
    assert [limit.allows("a") for _ in range(2)] == [True, False]
    now_ns[0] += 3600 * NS_PER_S
    assert [limit.allows("a") for _ in range(4)] == [True, True, True, False]


def test_the_table_of_clients_is_bounded_and_zero_turns_it_off() -> None:
    limit = RateLimit(1, 1, 3, clock_of([0]))
    assert all(limit.allows(f"client {number}") for number in range(50))
    assert limit.clients == 3
    off = RateLimit(0, 1, 3, clock_of([0]))
    assert all(off.allows("a") for _ in range(50))
    assert off.clients == 0


@on_loop
async def test_too_many_requests_get_429_with_retry_after() -> None:
    async with serving(PaperNode(), rate_per_s=1, rate_burst=2) as browser:
        answers = [await browser.get("/v1/status") for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert (answers[-1].code, answers[-1].headers["Retry-After"]) == ("rate_limited", "1")


@on_loop
async def test_waits_are_bounded_and_a_client_that_leaves_frees_its_place() -> None:
    node = PaperNode()
    async with serving(node, waits_max=1) as browser:
        poll = asyncio.create_task(browser.get("/v1/blocks?after=0&wait=60"))
        await node.someone_waits.wait()
        answer = await browser.get("/v1/blocks?after=0&wait=60")
        assert (answer.status, answer.code) == (503, "unavailable")
        transfer = node.chain.transfer("alice", "bob", 5)
        answer = await browser.post(submission(transfer), "?wait=final")
        assert answer.code == "unavailable"
        assert transfer.id in node.pooled
        poll.cancel()
        while node.waiting:
            await asyncio.sleep(0)
        assert (await browser.get("/v1/blocks?after=0&wait=0.001")).status == 200


@on_loop
async def test_a_slow_body_and_too_many_at_once_are_cut_off() -> None:
    async with serving(PaperNode(), submissions_max=1, body_timeout_s=1) as browser:
        reader, writer = await asyncio.open_connection("127.0.0.1", URL(browser.url).port)
        writer.write(b"POST /v1/transactions HTTP/1.1\r\nHost: node\r\nContent-Length: 100\r\n\r\n{")
        while (answer := await browser.post({})).status != 503:
            assert answer.code == "missing_field"
        assert answer.code == "unavailable"
        assert await reader.readline() == b"HTTP/1.1 408 Request Timeout\r\n"
        writer.close()
        assert (await browser.post({})).code == "missing_field"


@on_loop
async def test_a_read_past_its_deadline_is_an_error() -> None:
    node = PaperNode()
    began, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def stuck(height: int) -> None:
        loop.call_soon_threadsafe(began.set)
        go_on.wait()

    node.history.block = stuck  # type: ignore[method-assign]
    async with serving(node, query_deadline_s=1) as browser:
        answer = asyncio.create_task(browser.get("/v1/blocks/1"))
        await began.wait()
        assert (await answer).code == "query_deadline"
        go_on.set()


@on_loop
async def test_stopping_ends_long_polls_at_once() -> None:
    node = PaperNode()
    options = ApiOptions(port=0)
    runner = await start_api(build_app(node, node.history, options), options)
    url = f"http://127.0.0.1:{bound_port(runner)}"
    async with aiohttp.ClientSession() as session:
        poll = asyncio.create_task(session.get(url + "/v1/blocks?after=0&wait=100"))
        await node.someone_waits.wait()
        await asyncio.wait_for(runner.cleanup(), 4)
        response = await poll
        assert response.status == 503
        assert (await response.json(content_type=None))["code"] == "unavailable"
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(url + "/healthz")


@on_loop
async def test_a_taken_port_is_an_error_at_start() -> None:
    node = PaperNode()
    options = ApiOptions(port=0)
    runner = await start_api(build_app(node, node.history, options), options)
    taken = ApiOptions(port=bound_port(runner))
    with pytest.raises(OSError, match="address"):
        await start_api(build_app(node, node.history, taken), taken)
    await runner.cleanup()
