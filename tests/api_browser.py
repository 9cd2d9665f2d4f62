"""A real API server on a loopback port over a PaperNode, and an HTTP client of it that knows problem details."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, ParamSpec

import aiohttp
import msgspec
from api_node import PaperNode
from prometheus_client import CollectorRegistry

from potchain.api.app import bound_port, build_app, start_api
from potchain.api.options import ApiOptions
from potchain.transactions import Transaction
from potchain.typed_data import JsonObject, struct_to_json

P = ParamSpec("P")


def submission(transaction: Transaction) -> JsonObject:
    """What a client posts."""
    return {
        "kind": transaction.kind,
        "message": struct_to_json(transaction.body),
        "signature": "0x" + transaction.signature.hex(),
    }


class Answer(msgspec.Struct, frozen=True):
    """Status, body and headers of one answer."""

    status: int
    body: Any
    headers: dict[str, str]

    @property
    def code(self) -> str:
        """The problem's code, checked to be a proper problem."""
        assert self.headers["Content-Type"] == "application/problem+json", self.body
        assert self.body["status"] == self.status
        assert self.body["type"] == "urn:potchain:problem:" + self.body["code"]
        assert self.body["title"]
        return str(self.body["code"])


class Browser:
    """An HTTP client of the server under test."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.session = session
        self.url = url

    async def get(self, path: str) -> Answer:
        return await self.ask("GET", path)

    async def post(self, document: object, query: str = "") -> Answer:
        return await self.ask("POST", "/v1/transactions" + query, data=msgspec.json.encode(document))

    async def ask(
        self, method: str, path: str, *, data: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Answer:
        async with self.session.request(method, self.url + path, data=data, headers=headers) as response:
            body = await response.read()
            is_json = "json" in response.headers.get("Content-Type", "") and body
            return Answer(response.status, msgspec.json.decode(body) if is_json else body, dict(response.headers))


@asynccontextmanager
async def serving(
    node: PaperNode, registry: CollectorRegistry | None = None, **options: int
) -> AsyncIterator[Browser]:
    """A real server on a loopback port, and a client of it. `options` are those of ApiOptions."""
    chosen = msgspec.convert({"port": 0, **options}, ApiOptions)
    runner = await start_api(build_app(node, node.history, chosen, registry), chosen)
    try:
        async with aiohttp.ClientSession() as session:
            yield Browser(session, f"http://127.0.0.1:{bound_port(runner)}")
    finally:
        await runner.cleanup()


def on_loop(test: Callable[P, Coroutine[object, object, None]]) -> Callable[P, None]:
    """Run an async test on an event loop of its own."""

    @functools.wraps(test)
    def wrapper(*args: P.args, **options: P.kwargs) -> None:
        asyncio.run(asyncio.wait_for(test(*args, **options), 30))

    return wrapper
