"""Handlers of the network conditions that the node emulates: what is in force, and other ones."""

from __future__ import annotations

from aiohttp import web

from potchain.api.context import answer, context_of
from potchain.api.link_payloads import LinksPayload
from potchain.api.parameters import Query
from potchain.api.ports import LinkStatus
from potchain.api.problems import HttpProblem
from potchain.api.submission import parse_body
from potchain.errors import LinkError
from potchain.links import LinkSpec, decode_spec, describe, rules_left_out


async def links(request: web.Request) -> web.Response:
    """GET /v1/links."""
    Query(request)
    return answer(_payload(context_of(request).port.links()))


async def set_links(request: web.Request) -> web.Response:
    """PUT /v1/links."""
    Query(request)
    context = context_of(request)
    if not context.port.links().control:
        raise HttpProblem("links_locked", "its operator has not set links.control = true, so this node takes none")
    document = parse_body(await context.read_body(request))
    if not isinstance(document, dict):
        raise HttpProblem("malformed", "network conditions are one JSON object, such as {'latency_ms': 40}")
    try:
        status = await context.port.set_links(decode_spec(document, LinkSpec, "links"))
    except LinkError as fault:
        raise HttpProblem("bad_links", str(fault)) from None
    return answer(_payload(status))


def _payload(status: LinkStatus) -> LinksPayload:
    return LinksPayload(
        off=status.profile.off,
        source=status.source,
        since_ms=status.since_ms,
        phase=status.phase,
        control=status.control,
        conditions=describe(status.profile),
        rules_left_out=rules_left_out(status.profile),
    )
