"""One row of the table of routes, and what its rows share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
from aiohttp import web

from potchain.api.parameters import HEIGHT_MAX, PAGE_LIMIT, PAGE_LIMIT_MAX, WAIT_S_MAX
from potchain.typed_data import JsonObject

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Parameter(msgspec.Struct, frozen=True):
    """A query parameter, as OpenAPI describes it."""

    name: str
    schema: JsonObject
    meaning: str


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One method and path."""

    method: str
    path: str
    handler: Handler
    summary: str
    answers: dict[int, type[msgspec.Struct] | str]
    """HTTP status to the payload, or to a media type, or to the name of a schema that is written by hand."""
    query: tuple[Parameter, ...] = ()
    codes: tuple[str, ...] = ()
    """Problems that this route has beyond the ones that any route has."""
    body: str = ""
    """Name of the schema of the body that it takes."""
    is_open: bool = False
    """Whether a client off loopback needs no token."""

    @property
    def operation(self) -> str:
        """Its name in the OpenAPI document."""
        return self.handler.__name__


TEXT = "text/plain"
JSON = "application/json"
BYTES = "application/octet-stream"
BATCH_SCHEMA = "BatchAnswer"
PROOF_SCHEMA = "TransactionProof"
STATE_PROOF_SCHEMA = "StateProof"

WHOLE: JsonObject = {"type": "integer", "minimum": 0, "maximum": HEIGHT_MAX}
LIMIT = Parameter(
    "limit",
    {"type": "integer", "minimum": 1, "maximum": PAGE_LIMIT_MAX, "default": PAGE_LIMIT},
    "Entries of the page.",
)
SECONDS: JsonObject = {"type": "number", "minimum": 0, "maximum": WAIT_S_MAX}
