"""Options of the back ends, decoded once from [settlement.multisig] or [settlement.safe]. Fees are per unit of gas."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from potchain import SettlementError

Positive = Annotated[int, Meta(ge=1, le=2**53)]
Natural = Annotated[int, Meta(ge=0, le=2**53)]

ENDPOINTS_MAX = 8
GWEI = 10**9


class EvmOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a node reaches and pays its EVM chain."""

    endpoints: Annotated[tuple[str, ...], Meta(max_length=ENDPOINTS_MAX)] = ()
    """JSON-RPC endpoints of the chain, http:// or https://, best of providers that do not depend on each other."""
    agreement: Annotated[int, Meta(ge=0, le=ENDPOINTS_MAX)] = 0
    """How many endpoints must give the same answer; 0: all of them. More than half, or two truths are possible."""
    call_timeout_ms: Positive = 5_000
    """Longest time that one question to one endpoint may take."""
    deadline_ms: Positive = 20_000
    """Longest time that one dealing of the settler with the chain, of several questions, may take."""
    answer_bytes_max: Positive = 8 * 1024 * 1024
    """Longest answer of an endpoint."""
    lag_blocks_max: Positive = 64
    """An endpoint further than this behind those that the agreement rests on is too old to count."""
    head_stalled_after_ms: Natural = 0
    """The chain counts as lagging when no new block came for so long; 0: never, for chains that only mine on demand."""
    logs_blocks_max: Positive = 2_000
    """Blocks of one question for logs; halved by itself when an endpoint refuses. Public ones allow 500 to 50,000."""
    logs_questions_max: Positive = 50
    """Questions for logs in one look at the chain; a longer search goes on in the next look."""
    code_hash: Annotated[str, Meta(pattern=r"^(0x[0-9a-fA-F]{64})?\Z")] = ""
    """keccak-256 of the contract's runtime code, for one of your own; empty: it must be the one of this release."""
    fee_cap_wei: Positive = 200 * GWEI
    """Most that is offered, base fee and tip together."""
    tip_min_wei: Natural = GWEI // 10
    """Least tip on chains with a base fee (EIP-1559); endpoints may suggest more."""
    tip_cap_wei: Positive = 10 * GWEI
    """Most that is tipped, whatever endpoints suggest (Polygon: 25 gwei); replacements go on to `fee_cap_wei`."""
    gas_max: Positive = 16_777_216
    """Most gas of one transaction. The default is what forks since Fusaka allow (EIP-7825)."""


def endpoint_fault(options: EvmOptions) -> str | None:
    """What is wrong with the endpoints or the agreement, or None."""
    for url in options.endpoints:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            return f"{shown(url)} is no http:// or https:// address"
    if len(set(options.endpoints)) != len(options.endpoints):
        return "an endpoint is listed twice: it would agree with itself"
    if options.agreement > len(options.endpoints):
        return f"agreement = {options.agreement} asks for more endpoints than the {len(options.endpoints)} listed"
    if 0 < 2 * options.agreement <= len(options.endpoints):
        return f"agreement = {options.agreement} is at most half of {len(options.endpoints)}: two truths are possible"
    return None


def require_usable(options: EvmOptions, name: str) -> None:
    """Raises SettlementError(`not_configured`) when the options cannot work."""
    if not options.endpoints:
        raise SettlementError("not_configured", f"settlement.{name}.endpoints is empty; list JSON-RPC addresses")
    fault = endpoint_fault(options)
    if fault is not None:
        raise SettlementError("not_configured", f"settlement.{name}: {fault}")


def shown(url: str) -> str:
    """An endpoint as people may see it: its host and port, since the rest often holds a secret key."""
    parts = urlsplit(url)
    return parts.netloc.rpartition("@")[2] or "an address without a host"
