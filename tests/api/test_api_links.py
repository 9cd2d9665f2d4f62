"""Network conditions over HTTP: what is in force, other ones with leave only, and mistakes by their name."""

from __future__ import annotations

import msgspec
import pytest
from api_browser import Answer, Browser, on_loop, serving
from api_node import PaperNode

from potchain.links import Conditions, LinkProfile, Phase, Rule


async def put(browser: Browser, document: object) -> Answer:
    body = document if isinstance(document, bytes) else msgspec.json.encode(document)
    return await browser.ask("PUT", "/v1/links", data=body)


@on_loop
async def test_nobody_changes_conditions_without_the_operators_leave() -> None:
    node = PaperNode()
    async with serving(node) as browser:
        refused = await put(browser, {"latency_ms": 40})
        assert (refused.status, refused.code) == (403, "links_locked")
        assert "links.control" in refused.body["detail"]
        shown = (await browser.get("/v1/links")).body
    assert node.profile.off
    assert shown["off"] is True
    assert (shown["source"], shown["control"]) == ("none", False)


@on_loop
async def test_what_is_put_is_in_force_and_shown_in_the_same_words() -> None:
    node = PaperNode()
    node.takes_links = True
    document = {
        "bandwidth_mbps": 25.5, "bandwidth_model": "shared", "latency_ms": 40.5, "distribution": "uniform", "seed": 7,
        "rules": [{"from": "v0", "to": "v1", "loss": 0.25}], "schedule": [{"at_s": 2.5, "latency_ms": 80}],
    }  # fmt: skip
    async with serving(node) as browser:
        answer = await put(browser, document)
        shown = (await browser.get("/v1/links")).body
        again = await put(browser, shown["conditions"])
        off = await put(browser, {})
    assert answer.status == 200
    assert answer.body == shown == again.body
    assert {key: shown["conditions"][key] for key in document if key not in ("rules", "schedule")} == {
        key: value for key, value in document.items() if key not in ("rules", "schedule")
    }
    (rule,) = shown["conditions"]["rules"]
    assert (rule["from"], rule["to"], rule["loss"], rule["latency_ms"]) == ("v0", "v1", 0.25, 40.5)
    (entry,) = shown["conditions"]["schedule"]
    assert (entry["at_s"], entry["latency_ms"], entry["bandwidth_mbps"]) == (2.5, 80, 25.5)
    assert off.body["off"] is True


@on_loop
async def test_more_rules_than_an_answer_holds_are_counted() -> None:
    node = PaperNode()
    rules = tuple(Rule(sender=f"n{at}", conditions=Conditions(latency_ns=at + 1)) for at in range(1_005))
    node.profile = LinkProfile(phases=(Phase(rules=rules),))
    async with serving(node) as browser:
        shown = (await browser.get("/v1/links")).body
    assert len(shown["conditions"]["rules"]) == 1_000
    assert shown["rules_left_out"] == 5


@pytest.mark.parametrize(
    ("document", "code", "detail"),
    [
        ({"latency_ms": -1}, "bad_links", "links.latency_ms is -1"),
        ({"latncy_ms": 1}, "bad_links", "did you mean 'latency_ms'?"),
        ({"rules": [{"from": "v9"}]}, "bad_links", "links.rules[0].from is 'v9'"),
        ({"rules": [3]}, "bad_links", "links.rules must be a list of tables"),
        ({"loss": "all"}, "bad_links", "links.loss: Expected"),
        ([], "malformed", "one JSON object"),
        (b"{", "bad_json", ""),
        (b'{"loss": NaN}', "bad_json", ""),
    ],
)
@on_loop
async def test_mistakes_change_nothing(document: object, code: str, detail: str) -> None:
    node = PaperNode()
    node.takes_links = True
    async with serving(node) as browser:
        answer = await put(browser, document)
    assert answer.code == code
    assert detail in answer.body["detail"]
    assert node.profile.off
