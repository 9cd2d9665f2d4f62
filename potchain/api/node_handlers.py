"""Handlers that answer from the running node: status, chain, validators, consensus, pool, peers, health, metrics."""

from __future__ import annotations

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from potchain.api.context import answer, context_of
from potchain.api.node_payloads import HealthPayload, PeersPayload, PoolPayload, ReadyPayload
from potchain.api.parameters import WAIT_S_MAX, Query
from potchain.api.problems import HttpProblem
from potchain.api.rendering import (
    chain_payload,
    consensus_payload,
    hex_of,
    peer_payload,
    pooled_payload,
    status_payload,
    validators_payload,
)


async def status(request: web.Request) -> web.Response:
    """GET /v1/status."""
    Query(request)
    port = context_of(request).port
    return answer(status_payload(port.status(), port.genesis))


async def chain(request: web.Request) -> web.Response:
    """GET /v1/chain."""
    Query(request)
    context = context_of(request)
    port, options = context.port, context.options
    return answer(
        chain_payload(
            port.genesis,
            port.types,
            port.limits(),
            body_bytes_max=options.body_bytes_max,
            wait_s_max=WAIT_S_MAX,
        )
    )


async def validators(request: web.Request) -> web.Response:
    """GET /v1/validators."""
    Query(request)
    return answer(validators_payload(context_of(request).port.epoch()))


async def consensus(request: web.Request) -> web.Response:
    """GET /v1/consensus."""
    Query(request)
    return answer(consensus_payload(context_of(request).port.consensus()))


async def peers(request: web.Request) -> web.Response:
    """GET /v1/peers."""
    Query(request)
    return answer(PeersPayload(peers=[peer_payload(peer) for peer in context_of(request).port.peers()]))


async def pool(request: web.Request) -> web.Response:
    """GET /v1/pool: sizes, and a page in order of id; `limit=0` for the sizes alone."""
    query = Query(request, "cursor", "limit")
    after, limit = query.optional_hash("cursor"), query.limit(least=0)
    port = context_of(request).port
    sizes = port.pool()
    entries = port.pool_page(after, limit + 1) if limit else ()
    page = entries[:limit]
    return answer(
        PoolPayload(
            count=sizes.count,
            count_max=sizes.count_max,
            bytes=sizes.bytes,
            bytes_max=sizes.bytes_max,
            ready=sizes.ready,
            senders=sizes.senders,
            transactions=[pooled_payload(entry) for entry in page],
            next=hex_of(page[-1].transaction.id) if len(entries) > limit > 0 else None,
        )
    )


async def healthz(request: web.Request) -> web.Response:
    """GET /healthz: the process answers."""
    return answer(HealthPayload(status="ok"))


async def readyz(request: web.Request) -> web.Response:
    """GET /readyz: the node has caught up."""
    now = context_of(request).port.status()
    if now.syncing:
        raise HttpProblem("syncing", f"at height {now.height}, the best peer is at {now.best_peer_height}")
    return answer(ReadyPayload(ready=True, height=now.height, certified_height=now.certified_height))


async def metrics(request: web.Request) -> web.Response:
    """GET /metrics."""
    page = generate_latest(context_of(request).metrics.registry)
    return web.Response(body=page, headers={"Content-Type": CONTENT_TYPE_LATEST})


async def openapi(request: web.Request) -> web.Response:
    """GET /v1/openapi.json."""
    return web.Response(body=context_of(request).openapi, content_type="application/json")
