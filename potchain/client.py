"""A client of one node's HTTP interface, for the command line, the demo and the benchmark.

Everything here may be repeated safely: reads change nothing, and a transaction is known by its id, so that sending it
twice is the same as once. Hence connection errors and 503 (with its Retry-After) are tried again, with a bounded
doubling delay; every other answer is final. JSON is parsed here and leaves as typed values where a program uses them,
as it came where it is only shown.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import aiohttp
import msgspec

from potchain.errors import ClientError
from potchain.typed_data import JsonObject

ATTEMPTS_MAX = 6
"""Times that one request is sent before its failure is reported."""
RETRY_DELAY_MS = 100
"""Delay before the second attempt; it doubles up to the cap."""
RETRY_DELAY_CAP_MS = 2_000
TIMEOUT_S = 30.0
"""For one attempt, without the time that the request itself asks to wait."""
FOLLOW_WAIT_S = 20
"""How long one long-poll for blocks waits."""
FOLLOW_PAGE = 100
"""Blocks asked for at once."""


class ChainInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What one must know to sign for a network; from `GET /v1/chain`."""

    chain_id: str
    genesis_hash: bytes
    base_fee: int
    submit_batch_max: int


class Submitted(msgspec.Struct, frozen=True):
    """What became of one transaction of a submission."""

    id: str | None
    """None when it could not even be read."""
    status: str
    """"accepted", "known" or "refused"."""
    code: str = ""
    detail: str | None = None


class BlockSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A block as a follower sees it."""

    height: int
    hash: str
    state_root: str
    transaction_count: int
    transaction_ids: tuple[str, ...] = ()
    """Only when ids were asked for."""


class NodeClient:
    """One node's HTTP interface. Use as an async context manager; raises ClientError, status 0 when unreachable."""

    def __init__(
        self, url: str, *, token: str = "", attempts_max: int = ATTEMPTS_MAX, timeout_s: float = TIMEOUT_S
    ) -> None:
        """`url` such as "http://127.0.0.1:8600"; a path is kept as a prefix."""
        self.url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._attempts_max = attempts_max
        self._timeout_s = timeout_s
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(headers=self._headers)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, path: str, **query: str | int) -> JsonObject:
        """The JSON object at a path such as "/v1/status"."""
        return _object(await self._call("GET", path, query, None, float(query.get("wait", 0))))

    async def put(self, path: str, document: msgspec.Struct) -> JsonObject:
        """Put a JSON object at a path such as "/v1/links"; what it answers."""
        return _object(await self._call("PUT", path, {}, msgspec.json.encode(document), 0.0))

    async def get_bytes(self, path: str) -> bytes:
        """What a path such as "/v1/evidence/0x..." answers, as it came."""
        return await self._bytes("GET", path, {}, None, 0.0)

    async def status(self) -> JsonObject:
        """`GET /v1/status`, as it came."""
        return await self.get("/v1/status")

    async def is_ready(self) -> bool:
        """Whether the node has caught up; False when it cannot be reached."""
        try:
            await self._once("GET", "/readyz", {}, None, 5.0)
        except ClientError:
            return False
        return True

    async def chain(self) -> ChainInfo:
        """What to sign for."""
        answer = await self.get("/v1/chain")
        try:
            return ChainInfo(
                chain_id=str(answer["chain_id"]),
                genesis_hash=bytes.fromhex(answer["domain"]["salt"].removeprefix("0x")),
                base_fee=int(answer["limits"]["base_fee"]),
                submit_batch_max=int(answer["limits"]["submit_batch_max"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as fault:
            raise self._strange("/v1/chain", fault) from None

    async def next_nonce(self, address: str) -> int:
        """The nonce to sign with next, the pool's transactions included."""
        answer = await self.get(f"/v1/accounts/{address}")
        try:
            return int(answer["next_nonce"])
        except (KeyError, TypeError, ValueError) as fault:
            raise self._strange(f"/v1/accounts/{address}", fault) from None

    async def submit(self, transactions: Sequence[JsonObject]) -> tuple[Submitted, ...]:
        """Send up to `submit_batch_max` transactions; one outcome each, in order."""
        answer = await self._call("POST", "/v1/transactions", {}, msgspec.json.encode(transactions), 0.0)
        listed = answer.get("results") if isinstance(answer, dict) else answer
        try:
            outcomes = msgspec.convert(listed, tuple[Submitted, ...])
        except msgspec.ValidationError as fault:
            raise self._strange("/v1/transactions", fault) from None
        if len(outcomes) != len(transactions):
            raise self._strange("/v1/transactions", f"{len(outcomes)} outcomes for {len(transactions)} transactions")
        return outcomes

    async def submit_one(self, transaction: JsonObject, *, wait: str = "", timeout_s: int = 0) -> JsonObject:
        """Send one; with `wait` "final" or "decided" the answer comes when it is that. Refused: ClientError."""
        query: dict[str, str | int] = {"wait": wait, "timeout": timeout_s} if wait else {}
        body = msgspec.json.encode(transaction)
        return _object(await self._call("POST", "/v1/transactions", query, body, float(timeout_s)))

    async def blocks_after(
        self, height: int, *, wait_s: int = 0, ids: bool = False, certified: bool = True, limit: int = FOLLOW_PAGE
    ) -> tuple[BlockSummary, ...]:
        """Blocks above a height, ascending; waits up to `wait_s` for the first, and is empty when none came."""
        query: dict[str, str | int] = {"after": height, "wait": wait_s, "limit": limit}
        query["ids"] = "true" if ids else "false"
        query["certified"] = "true" if certified else "false"
        answer = await self.get("/v1/blocks", **query)
        try:
            return tuple(_block_summary(entry) for entry in answer["blocks"])
        except (KeyError, TypeError, ValueError) as fault:
            raise self._strange("/v1/blocks", fault) from None

    async def follow(self, height: int, *, ids: bool = False) -> AsyncIterator[BlockSummary]:
        """Certified blocks above a height, in order, without end; the caller stops it."""
        while True:
            for block in await self.blocks_after(height, wait_s=FOLLOW_WAIT_S, ids=ids):
                height = block.height
                yield block

    async def wait_transaction(self, transaction_id: str, *, timeout_s: float) -> JsonObject:
        """`GET /v1/transactions/{id}` when it is final or dropped. Raises ClientError(504) when the time ran out."""
        deadline = time.monotonic() + timeout_s
        delay_ms = RETRY_DELAY_MS
        while True:
            answer = await self.get(f"/v1/transactions/{transaction_id}")
            if answer.get("certified") or answer.get("state") == "dropped":
                return answer
            if time.monotonic() > deadline:
                raise ClientError(504, "timeout", f"{transaction_id} is not final after {timeout_s:g} s")
            await asyncio.sleep(delay_ms / 1000)
            delay_ms = min(2 * delay_ms, RETRY_DELAY_CAP_MS)

    async def _call(
        self, method: str, path: str, query: Mapping[str, str | int], body: bytes | None, wait_s: float
    ) -> Any:  # noqa: ANN401 - JSON
        data = await self._bytes(method, path, query, body, wait_s)
        try:
            return msgspec.json.decode(data) if data else {}
        except msgspec.DecodeError:
            return {"text": data.decode(errors="replace")}

    async def _bytes(
        self, method: str, path: str, query: Mapping[str, str | int], body: bytes | None, wait_s: float
    ) -> bytes:
        delay_ms = RETRY_DELAY_MS
        for attempt in range(1, self._attempts_max + 1):
            try:
                return await self._once(method, path, query, body, self._timeout_s + wait_s)
            except _Retriable as fault:
                if attempt == self._attempts_max:
                    raise fault.error from None
                pause_ms = max(delay_ms, min(fault.retry_after_ms, RETRY_DELAY_CAP_MS))
            await asyncio.sleep(pause_ms / 1000)
            delay_ms = min(2 * delay_ms, RETRY_DELAY_CAP_MS)
        raise AssertionError("the last attempt returns or raises")

    async def _once(
        self, method: str, path: str, query: Mapping[str, str | int], body: bytes | None, timeout_s: float
    ) -> bytes:
        assert self._session is not None, "use NodeClient as an async context manager"
        headers = {"Content-Type": "application/json"} if body is not None else {}
        try:
            async with self._session.request(
                method,
                self.url + path,
                params=query,
                data=body,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=timeout_s),
            ) as response:
                data = await response.read()
        except TimeoutError:
            raise ClientError(504, "timeout", f"no answer from {self.url}{path} within {timeout_s:g} s") from None
        except aiohttp.InvalidURL:
            raise ClientError(0, "bad_url", f"{self.url!r} is no URL; write it like http://127.0.0.1:8600") from None
        except aiohttp.ClientError as fault:
            cause = getattr(fault, "os_error", fault)
            hint = f"no node answers at {self.url}: {cause}; is it running?"
            raise _Retriable(ClientError(0, "unreachable", hint)) from None
        if response.status >= 400:
            problem = _problem(response.status, data)
            if response.status in (429, 503):
                raise _Retriable(problem, _retry_after_ms(response.headers.get("Retry-After", "")))
            raise problem
        return data

    def _strange(self, path: str, fault: object) -> ClientError:
        detail = f"{self.url}{path} gave an answer that this version does not understand: {fault!r}"
        return ClientError(502, "strange_answer", detail)


class _Retriable(ClientError):
    """A failure that may pass if one waits."""

    def __init__(self, error: ClientError, retry_after_ms: int = 0) -> None:
        super().__init__(error.status, error.code, error.detail)
        self.error = error
        self.retry_after_ms = retry_after_ms


def _block_summary(entry: JsonObject) -> BlockSummary:
    ids = entry.get("transaction_ids") or ()
    return BlockSummary(
        height=int(entry["height"]),
        hash=str(entry["hash"]),
        state_root=str(entry["state_root"]),
        transaction_count=int(entry["tx_count"]),
        transaction_ids=tuple(ids),
    )


def _problem(status: int, data: bytes) -> ClientError:
    """ClientError from RFC 9457 problem details, or from whatever came instead."""
    try:
        document = msgspec.json.decode(data)
    except msgspec.DecodeError:
        document = None
    if not isinstance(document, dict):
        return ClientError(status, "http_error", data[:200].decode(errors="replace") or "no explanation")
    detail = document.get("detail") or document.get("title") or "no explanation"
    return ClientError(status, str(document.get("code", "http_error")), str(detail))


def _retry_after_ms(text: str) -> int:
    return int(text) * 1000 if text.isascii() and text.isdigit() and len(text) < 6 else 0


def _object(answer: object) -> JsonObject:
    return answer if isinstance(answer, dict) else {"value": answer}
