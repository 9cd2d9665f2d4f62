"""What every handler works with: the node, the ledger on its threads with a deadline, and the bounded waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from potchain.api.metrics import Metrics
from potchain.api.options import ApiOptions
from potchain.api.ports import HistoryPort, NodePort
from potchain.api.problems import HttpProblem
from potchain.typed_data import JsonObject

T = TypeVar("T")

_json = msgspec.json.Encoder()


class ApiContext:
    """Shared by all requests of one server. Create it on the event loop; `close` ends what waits."""

    def __init__(self, port: NodePort, history: HistoryPort, options: ApiOptions, metrics: Metrics) -> None:
        self.port = port
        self.options = options
        self.metrics = metrics
        self.openapi = b""
        """The document of /v1/openapi.json, made once."""
        self._history = history
        self._threads = ThreadPoolExecutor(options.read_threads, thread_name_prefix="api-read")
        self._closing = asyncio.Event()
        self._waits = 0
        self._submissions = 0

    async def read(self, query: Callable[[HistoryPort], T]) -> T:
        """Run blocking reads on a thread. Raises HttpProblem(`query_deadline`) and what the reads raise."""
        future = asyncio.get_running_loop().run_in_executor(self._threads, query, self._history)
        try:
            return await asyncio.wait_for(future, self.options.query_deadline_s)
        except TimeoutError:
            raise HttpProblem(
                "query_deadline", f"the ledger did not answer within {self.options.query_deadline_s} s"
            ) from None

    async def wait(self, waiting: Coroutine[Any, Any, T]) -> T:
        """Wait for the node, within `waits_max`; ends at once when the server stops. Raises HttpProblem."""
        if self._waits >= self.options.waits_max or self._closing.is_set():
            waiting.close()
            if self._closing.is_set():
                raise HttpProblem("unavailable", "the node is stopping")
            raise HttpProblem("unavailable", f"{self._waits} requests wait already; ask again without waiting")
        self._waits += 1
        self.metrics.waits.set(self._waits)
        answer, closing = asyncio.ensure_future(waiting), asyncio.ensure_future(self._closing.wait())
        try:
            await asyncio.wait((answer, closing), return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                return answer.result()
            raise HttpProblem("unavailable", "the node is stopping")
        finally:
            answer.cancel()
            closing.cancel()
            self._waits -= 1
            self.metrics.waits.set(self._waits)

    async def read_body(self, request: web.Request) -> bytes:
        """The body, bounded in size and time. Raises HttpProblem and aiohttp's own for a body that is too large."""
        if request.headers.get("Content-Encoding", "identity") != "identity":
            raise HttpProblem("bad_request", "send the body without a content encoding")
        try:
            return await asyncio.wait_for(request.read(), self.options.body_timeout_s)
        except TimeoutError:
            raise HttpProblem("body_timeout", f"no body within {self.options.body_timeout_s} s") from None

    def begin_submission(self) -> None:
        """Take one of `submissions_max` places; `end_submission` must follow. Raises HttpProblem."""
        if self._submissions >= self.options.submissions_max:
            raise HttpProblem("unavailable", f"{self._submissions} submissions are being admitted; try again")
        self._submissions += 1

    def end_submission(self) -> None:
        """Give the place back."""
        self._submissions -= 1

    def end_waits(self) -> None:
        """End every wait with a problem, and refuse new ones."""
        self._closing.set()

    def close(self) -> None:
        """End the threads; a read that runs is left to end by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)


CONTEXT = web.AppKey("context", ApiContext)


def context_of(request: web.Request) -> ApiContext:
    """The server's context."""
    return request.app[CONTEXT]


def answer(payload: msgspec.Struct, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """A JSON answer."""
    return web.Response(body=_json.encode(payload), status=status, headers=headers, content_type="application/json")


def answer_document(document: JsonObject) -> web.Response:
    """A JSON answer whose shape another module owns."""
    return web.Response(body=_json.encode(document), content_type="application/json")


def answer_list(payloads: list[Any], *, headers: dict[str, str] | None = None) -> web.Response:
    """A JSON array of payloads."""
    return web.Response(body=_json.encode(payloads), headers=headers, content_type="application/json")
