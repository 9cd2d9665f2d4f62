"""What an operator may set about the HTTP API: the table [api] of the node's configuration."""

from __future__ import annotations

from typing import Annotated

import msgspec

Count = Annotated[int, msgspec.Meta(ge=1)]
CountOrOff = Annotated[int, msgspec.Meta(ge=0)]
Seconds = Annotated[int, msgspec.Meta(ge=1, le=3600)]


class ApiOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every bound of the API has its name and default here."""

    host: str = "127.0.0.1"
    """Address to listen on. Off loopback, reads need `token`."""
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 8080
    """TCP port; 0 lets the system choose."""
    token: str = ""
    """What clients that are not on loopback send as `Authorization: Bearer ...` to read. Empty: they cannot read.
    Submissions are signed transactions and need no token."""
    body_bytes_max: Count = 1_048_576
    """Bound on a request body; compressed ones are refused."""
    body_timeout_s: Seconds = 10
    """How long a client may take to send its body."""
    submissions_max: Count = 256
    """Submissions being read or admitted at once, over all clients; more get 503. Bounds the memory of bodies."""
    waits_max: Count = 1_024
    """Requests that may wait (for a transaction or a block) at once; more get 503."""
    rate_per_s: CountOrOff = 5_000
    """Requests per second from one address, on average; 0 turns the limit off."""
    rate_burst: Count = 10_000
    """Requests that one address may make at once after a pause."""
    rate_clients_max: Count = 10_000
    """Addresses whose rate is remembered; the least recently seen is forgotten first."""
    query_deadline_s: Seconds = 5
    """How long a read of the ledger may take. Exceeded: 503, never a part of the answer."""
    read_threads: Annotated[int, msgspec.Meta(ge=1, le=64)] = 4
    """Ledger reads that run at once; others queue, inside the same deadline."""
    stop_timeout_s: Seconds = 5
    """How long a stopping node lets requests finish that do not wait."""
