"""The OpenAPI document and the reference page agree with the running server, route by route and code by code."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import msgspec
from api_browser import Answer, Browser, on_loop, serving, submission
from api_node import PaperNode
from core_network import key
from double_votes import double_vote
from jsonschema import Draft202012Validator
from prometheus_client import CollectorRegistry

import potchain
from potchain.api.app import build_app
from potchain.api.options import ApiOptions
from potchain.api.problems import PROBLEMS
from potchain.api.routes import ROUTES, SUBMISSION_CODES
from potchain.crypto import checksum_address
from potchain.evidence import evidence_id
from potchain.ledger.evidence import StoredEvidence
from potchain.settlement.report import SettlerReport
from potchain.settler.metrics import SettlementCollector
from potchain.typed_data import JsonObject

REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "http-api.md"
ALICE = checksum_address(key("alice").address)


def check(document: JsonObject, method: str, path: str, answer: Answer) -> None:
    """The answer's status is described, and its body fits the schema of that status."""
    described = document["paths"][path][method.lower()]["responses"]
    assert str(answer.status) in described, (method, path, answer.status)
    (media_type, content), *_ = described[str(answer.status)]["content"].items()
    assert answer.headers["Content-Type"].startswith(media_type)
    if "json" in media_type:
        schema = {**content["schema"], "components": document["components"]}
        Draft202012Validator(schema).validate(answer.body)


@on_loop
async def test_every_route_answers_as_described() -> None:
    node = PaperNode()
    first, second, third = (node.chain.transfer("alice", "bob", 5, nonce=nonce) for nonce in range(3))
    piece = StoredEvidence(number=1, seen_ms=0, evidence=double_vote(node.genesis, 3, 1))
    node.history.pieces.append(piece)
    node.make_block(first, rows=True)
    node.make_block(second, certified=False)
    await node.submit([third])
    name, absent = "0x" + first.id.hex(), "0x" + "00" * 32
    reads = {
        "/v1/blocks": ["", "?ids=true", "?after=0", "?limit=1000"],
        "/v1/blocks/{block}": ["/1", "/0", "/2", "/9", "/x"],
        "/v1/transactions/{id}": [f"/{name}", f"/0x{second.id.hex()}", f"/0x{third.id.hex()}", f"/{absent}"],
        "/v1/transactions/{id}/proof": [f"/{name}/proof", f"/0x{second.id.hex()}/proof", f"/{absent}/proof"],
        "/v1/accounts/{address}": [f"/{ALICE}", "/x"],
        "/v1/accounts/{address}/proof": [f"/{ALICE}/proof"],
        "/v1/accounts/{address}/transactions": [f"/{ALICE}/transactions", f"/{ALICE}/transactions?limit=1"],
        "/v1/pool": ["", "?limit=0"],
        "/v1/evidence": ["", "?limit=1"],
        "/v1/settlement/actions": ["", "?limit=1"],
        "/v1/settlement/actions/{nonce}": ["/0", "/x", "/0?binding=1"],
        "/v1/settlement/claims/{address}": [f"/{ALICE}", "/x"],
        "/v1/payouts": ["", "?status=paid", f"?account={ALICE}", "?account=x", "?status=x"],
        "/v1/payouts/{number}": ["/0", "/x"],
        "/v1/governance/proposals": ["", "?limit=1"],
        "/v1/evidence/{id}": [f"/0x{evidence_id(piece.evidence).hex()}", f"/{absent}"],
    }
    async with serving(node) as browser:
        document = (await browser.get("/v1/openapi.json")).body
        Draft202012Validator.check_schema({"$defs": document["components"]["schemas"]})
        for route in ROUTES:
            if route.method == "GET":
                for ending in reads.get(route.path, [""]):
                    answer = await browser.get(route.path.partition("/{")[0] + ending)
                    check(document, "GET", route.path, answer)
        post = "/v1/transactions"
        for body in (submission(third), [submission(third), {}], {}, 1):
            check(document, "POST", post, await browser.post(body))
        for wait in ("decided", "final"):
            check(document, "POST", post, await browser.post(submission(second), f"?wait={wait}&timeout=0"))
        check(document, "POST", post, await browser.post(submission(first), "?wait=final"))
        await _check_links(node, document, browser)
        node.is_syncing = True
        check(document, "GET", "/readyz", await browser.get("/readyz"))
        body_schema = {**document["paths"][post]["post"]["requestBody"]["content"]["application/json"]["schema"]}
        validator = Draft202012Validator({**body_schema, "components": document["components"]})
        validator.validate(submission(third))
        validator.validate([submission(third)] * 2)
        assert not validator.is_valid({**submission(third), "extra": 1})


async def _check_links(node: PaperNode, document: JsonObject, browser: Browser) -> None:
    """Refused at first, then taken, then a mistake; a body that is taken fits its schema."""
    taken = {"latency_ms": 5, "rules": [{"from": "v0", "loss": 0.5}], "schedule": [{"at_s": 1, "reorder": True}]}
    for body in (taken, taken, {"latency_ms": -1}):
        answer = await browser.ask("PUT", "/v1/links", data=msgspec.json.encode(body))
        check(document, "PUT", "/v1/links", answer)
        node.takes_links = True
    schema = {"$ref": "#/components/schemas/LinkSpec", "components": document["components"]}
    Draft202012Validator(schema).validate(taken)
    check(document, "GET", "/v1/links", await browser.get("/v1/links"))


def test_the_server_has_exactly_the_routes_of_the_table_and_of_the_document() -> None:
    node = PaperNode()
    app = build_app(node, node.history, ApiOptions())
    served = {(route.method, route.resource.canonical) for route in app.router.routes() if route.resource}
    table = {(route.method, route.path) for route in ROUTES}
    assert served - {("HEAD", path) for method, path in table if method == "GET"} == table
    assert len({route.operation for route in ROUTES}) == len(ROUTES)


@on_loop
async def test_every_reference_of_the_document_resolves_and_every_code_exists() -> None:
    async with serving(PaperNode()) as browser:
        answer = await browser.get("/v1/openapi.json")
    schemas = answer.body["components"]["schemas"]
    references = set(_references(answer.body))
    assert {name.removeprefix("#/components/schemas/") for name in references} <= set(schemas)
    assert {code for route in ROUTES for code in route.codes} <= set(PROBLEMS)


def test_every_code_that_an_application_or_the_pool_refuses_with_is_a_kind_of_problem() -> None:
    """Read from the source: the first argument of each refusal."""
    rooms = [Path(potchain.__file__).parent / room for room in ("application", "pool")]
    codes = {
        call.args[0].value
        for room in rooms
        for file in room.rglob("*.py")
        for call in ast.walk(ast.parse(file.read_text()))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name)
        and call.func.id in ("TransactionFailed", "InvalidTransaction")
        and call.args and isinstance(call.args[0], ast.Constant)
    }  # fmt: skip
    assert len(codes) > 40
    assert codes <= set(SUBMISSION_CODES)


def _references(value: object) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [name for each in value.values() for name in _references(each)]
    return [name for each in value for name in _references(each)] if isinstance(value, list) else []


def test_the_reference_lists_every_route_code_and_metric() -> None:
    text = REFERENCE.read_text()
    rows = {
        match[1]: (int(match[2]), match[3]) for match in re.finditer(r"(?m)^\| `(\w+)` \| (\d{3}) \| ([^|]+) \|", text)
    }
    assert rows == {code: (kind.status, kind.title) for code, kind in PROBLEMS.items()}
    for kind in PROBLEMS.values():
        assert kind.meaning in text, kind.code
    listed = set(re.findall(r"(?m)^\| `(GET|POST|PUT) ([^` ]+)` \|", text))
    assert listed == {(route.method, route.path) for route in ROUTES}
    examples = re.findall(r"(?m)^\$? ?curl [^\n]+", text)
    for route in ROUTES:
        pattern = re.compile(re.sub(r"\\{\w+\\}", r"[^/ \"'?]+", re.escape(route.path)) + r"(['\"? ]|$)")
        assert any(pattern.search(example) for example in examples), route.path


@on_loop
async def test_the_reference_names_the_metrics_that_are_served() -> None:
    node, registry = PaperNode(), CollectorRegistry()
    looked = SettlerReport(
        state="idle", head_number=1, confirmed_number=1, looked_ms=1, next_nonce=0, events_seen=0, funds=0
    )
    node.settling = msgspec.structs.replace(node.settling, report=looked)
    registry.register(SettlementCollector(node.settlement))
    async with serving(node, registry) as browser:
        await browser.post([{}])
        page = (await browser.get("/metrics")).body.decode()
    served = set(re.findall(r"(?m)^# TYPE (potchain_\w+) (?:gauge|counter|histogram)$", page))
    served = {name for name in served if not name.endswith("_created")}
    assert served == set(re.findall(r"(?m)^\| `(potchain_\w+)", REFERENCE.read_text()))
