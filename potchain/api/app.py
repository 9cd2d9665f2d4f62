"""The HTTP server: routes, who may ask, and one mapping from errors to problem details.

Every request passes three fences, outermost first: `_answer_problems` turns whatever is raised into a problem and
counts the request; `_admit_client` applies the rate limit and the token; then the handler runs. A client on loopback
reads freely, and changes things where no token is set; any other client needs the token, except for submissions (they
are signed) and probes. Behind a proxy on the same machine every client is on loopback: let the proxy check.
"""

from __future__ import annotations

import hmac
import ipaddress
import time
from collections.abc import AsyncIterator
from types import TracebackType

import msgspec
import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry

from potchain.api.context import CONTEXT, ApiContext
from potchain.api.metrics import Metrics
from potchain.api.openapi import openapi_document
from potchain.api.options import ApiOptions
from potchain.api.ports import HistoryPort, NodePort
from potchain.api.problems import (
    PROBLEM_MEDIA_TYPE,
    HttpProblem,
    problem_document,
    problem_headers,
)
from potchain.api.rates import RateLimit
from potchain.api.route import Handler
from potchain.api.routes import ROUTES
from potchain.crypto import digest_of
from potchain.errors import InvalidTransaction, LedgerError, PotchainError

log = structlog.get_logger("potchain.api")

OPEN_PATHS = frozenset(route.path for route in ROUTES if route.is_open)
RATES = web.AppKey("rates", RateLimit)
_HTTP_CODES = {404: "not_found", 405: "method_not_allowed", 413: "body_too_large"}


def build_app(
    port: NodePort, history: HistoryPort, options: ApiOptions, registry: CollectorRegistry | None = None
) -> web.Application:
    """The application of one node. `registry` may hold other rooms' metrics; a fresh one otherwise."""
    context = ApiContext(port, history, options, Metrics(port, registry or CollectorRegistry()))
    context.openapi = msgspec.json.encode(
        openapi_document(port.types, port.status().version, port.limits().submit_batch_max)
    )
    app = web.Application(
        middlewares=[_answer_problems, _admit_client], client_max_size=options.body_bytes_max
    )
    app[CONTEXT] = context
    app[RATES] = RateLimit(options.rate_per_s, options.rate_burst, options.rate_clients_max, time.monotonic_ns)
    app.cleanup_ctx.append(_lifetime)
    app.on_shutdown.append(_end_waits)
    for route in ROUTES:
        app.router.add_route(route.method, route.path, route.handler)
        if route.method == "GET":
            app.router.add_route("HEAD", route.path, route.handler)
    return app


async def start_api(app: web.Application, options: ApiOptions) -> web.AppRunner:
    """Listen. Stop with `await runner.cleanup()`: it ends long polls, lets other requests finish, frees the port.

    Raises OSError when the address cannot be bound. `bound_port` says which port the system chose.
    """
    runner = web.AppRunner(
        app,
        access_log=None,
        auto_decompress=False,  # a small body must not become a large one
        handler_cancellation=True,  # a client that leaves gives its place among the waits back
        shutdown_timeout=float(options.stop_timeout_s),
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, options.host, options.port).start()
    except OSError:
        await runner.cleanup()
        raise
    return runner


def bound_port(runner: web.AppRunner) -> int:
    """The TCP port that a started runner listens on."""
    return int(runner.addresses[0][1])


async def _lifetime(app: web.Application) -> AsyncIterator[None]:
    yield
    app[CONTEXT].close()


async def _end_waits(app: web.Application) -> None:
    app[CONTEXT].end_waits()


@web.middleware
async def _answer_problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    metrics = request.app[CONTEXT].metrics
    began_ns = time.monotonic_ns()
    fence = _Fence(request)
    response: web.StreamResponse | None = None
    with fence:
        try:
            response = await handler(request)
        except InvalidTransaction as fault:
            response = problem_response(fault.code, fault.detail)
        except HttpProblem as fault:
            response = problem_response(fault.code, fault.detail, transaction_id=fault.transaction_id)
        except LedgerError as fault:
            log.error("the ledger cannot be read", path=request.path, reason=str(fault))
            response = problem_response("unavailable", "the ledger of this node cannot be read now; see its log")
        except PotchainError as fault:
            log.error("a request failed", path=request.path, reason=str(fault))
            response = problem_response("unavailable", "this node cannot answer now; see its log")
        except (web.RequestPayloadError, ConnectionError) as fault:
            response = problem_response("bad_request", f"the body cannot be read: {type(fault).__name__}")
        except web.HTTPException as fault:
            response = _http_problem(fault, request)
    if response is None:
        response = fence.response
        assert response is not None
    response.headers["Server"] = "potchain"  # and not the versions of what it is made of
    resource = request.match_info.route.resource
    route = "unknown" if resource is None else resource.canonical
    method = request.method if request.method in ("GET", "HEAD", "POST", "PUT") else "other"
    metrics.requests.labels(method, route, str(response.status)).inc()
    metrics.seconds.labels(method, route).observe((time.monotonic_ns() - began_ns) / 1e9)
    return response


class _Fence:
    """The top of a request: what nothing above foresaw is a bug; it is logged and answered without internals."""

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self.response: web.Response | None = None

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, _: TracebackType | None) -> bool:
        if not isinstance(fault, Exception):  # nothing was raised, or the request is cancelled
            return False
        moment = str(time.monotonic_ns()).encode()
        incident = digest_of(b"incident", moment + self._request.path.encode(errors="replace")).hex()[:12]
        log.error(
            "a request met a bug",
            incident=incident,
            method=self._request.method,
            path=self._request.path,
            exc_info=fault,
        )
        self.response = problem_response("internal", "a fault of this node; its log has it", incident=incident)
        return True


@web.middleware
async def _admit_client(request: web.Request, handler: Handler) -> web.StreamResponse:
    client = request.remote or ""
    options = request.app[CONTEXT].options
    if not request.app[RATES].allows(client):
        raise HttpProblem("rate_limited", f"more than {options.rate_per_s} requests per second from {client}")
    resource = request.match_info.route.resource
    reads = request.method in ("GET", "HEAD")
    trusted = is_loopback(client) and (reads or not options.token)
    if (resource is None or resource.canonical not in OPEN_PATHS) and not trusted:
        given = request.headers.get("Authorization", "").encode(errors="replace")
        if not options.token or not hmac.compare_digest(given, f"Bearer {options.token}".encode()):
            hint = "send it as Authorization: Bearer" if options.token else "none is set here (api.token)"
            what = "reads" if reads else "changes"
            raise HttpProblem("unauthorized", f"{what} from {client} need this node's token; {hint}")
    return await handler(request)


def is_loopback(host: str) -> bool:
    """Whether a client's address is this machine's own."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def problem_response(
    code: str,
    detail: str,
    *,
    transaction_id: bytes | None = None,
    incident: str | None = None,
    allow: str = "",
) -> web.Response:
    """A problem as an HTTP response."""
    document = problem_document(code, detail, transaction_id=transaction_id, incident=incident)
    return web.Response(
        body=msgspec.json.encode(document),
        status=document.status,
        headers={**problem_headers(code, allow), "Content-Type": PROBLEM_MEDIA_TYPE},
    )


def _http_problem(fault: web.HTTPException, request: web.Request) -> web.Response:
    code = _HTTP_CODES.get(fault.status, "bad_request")
    if code == "not_found":
        return problem_response(code, f"no route {request.path[:120]!r}; /v1/openapi.json lists them")
    if code == "method_not_allowed":
        allow = fault.headers.get("Allow", "")
        return problem_response(code, f"{request.method[:20]} is not possible here; allowed: {allow}", allow=allow)
    if code == "body_too_large":
        return problem_response(code, f"the body has more than {request.app[CONTEXT].options.body_bytes_max} bytes")
    return problem_response(code, f"HTTP {fault.status}: {fault.reason}")
