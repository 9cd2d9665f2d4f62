"""Whatever is sent, the server answers a client error, goes on, and changes nothing."""

from __future__ import annotations

import asyncio
import string
from typing import Any
from urllib.parse import quote

import msgspec
from api_browser import serving, submission
from api_node import PaperNode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**300), 2**300) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
MEMBERS = ("from", "nonce", "fee", "validUntil", "to", "amount", "memo", "kind", "message", "signature", "domain")
HEXISH = st.text("0123456789abcdefxX ", max_size=140)
FEW = settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))


@st.composite
def spoiled(draw: st.DrawFn) -> object:
    """A good submission with a member or two replaced."""
    node = PaperNode()
    document = submission(node.chain.transfer("alice", "bob", 5))
    for _ in range(draw(st.integers(1, 2))):
        name = draw(st.sampled_from(MEMBERS))
        target = document["message"] if name in document.get("message", ()) else document
        if isinstance(target, dict):
            target[name] = draw(JSON | HEXISH)
        if not isinstance(document.get("message"), dict):
            break
    return document


def ask_all(bodies: list[bytes], paths: list[str]) -> None:
    async def scenario() -> None:
        node = PaperNode()
        async with serving(node) as browser:
            for body in bodies:
                answer = await browser.ask("POST", "/v1/transactions", data=body)
                assert answer.status < 500, body
                assert answer.status == 200 or answer.status >= 400, body
            for path in paths:
                assert (await browser.get(path)).status < 500, path
            assert (await browser.get("/healthz")).status == 200
        assert node.pooled == {}

    asyncio.run(scenario())


@FEW
@given(st.lists(st.binary(max_size=60), max_size=30))
def test_bytes(bodies: list[bytes]) -> None:
    ask_all(bodies, [])


@FEW
@given(st.lists(JSON | spoiled(), max_size=30))
def test_json_of_any_shape_alone_and_in_arrays(documents: list[Any]) -> None:
    encoded = [msgspec.json.encode(document) for document in documents]
    encoded += [msgspec.json.encode([document]) for document in documents]
    ask_all([body for body, document in zip(encoded, documents * 2, strict=True) if document != []], [])


@FEW
@given(st.lists(st.text(string.printable, max_size=40), max_size=30))
def test_paths_and_queries(words: list[str]) -> None:
    routes = ("/v1/blocks/{}", "/v1/blocks?after={}", "/v1/transactions/{}", "/v1/accounts/{}", "/v1/pool?cursor={}")
    ask_all([], [routes[index % len(routes)].format(quote(word, safe="")) for index, word in enumerate(words)])
