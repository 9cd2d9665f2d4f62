"""What each kind of proposal does: whether it could be done now, and doing it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from potchain.application.epochs import change_epoch, pending_epoch, planned_epoch
from potchain.application.governance.bodies import GovBindContract, GovPause, GovRotateOwners, GovSetParameter
from potchain.application.interface import BlockContext, EventData, StateReader, StateWriter
from potchain.application.settlement.binding import (
    bind,
    check_binding,
    check_pause,
    check_rotation,
    check_term,
    check_threshold,
    parse_owners,
    pause,
    rotate,
    set_term,
)
from potchain.errors import TransactionFailed
from potchain.genesis import Epoch, Parameters, parameter_faults
from potchain.primitives import uint
from potchain.settlement.actions import Contract
from potchain.transactions import TransactionBody

SETTLEMENT_KEYS = "settlement."
"""Keys with this prefix are terms of settlement, all others parameters of the network."""

PARAMETER_BOUNDS: Mapping[str, tuple[int, int]] = {
    "view_timeout_ms": (100, 600_000),
    "view_timeout_cap_ms": (100, 3_600_000),
    "checkpoint_interval": (1, 10_000),
    "log_window": (2, 100_000),
    "in_flight_max": (1, 1_000),
    "batch_max": (1, 10_000),
    "batch_bytes_max": (65_536, 16_777_216),
    "batch_delay_ms": (1, 10_000),
    "clock_bound_ms": (1, 3_600_000),
    "min_block_interval_ms": (1, 3_600_000),
    "heartbeat_ms": (1, 3_600_000),
    "base_fee": (0, 2**63),
    "rules_version": (1, 2**32),
}
"""Least and largest value that governance may give each parameter; `parameter_faults` bounds them together."""


def check_measure(body: TransactionBody, state: StateReader, epoch: Epoch, context: BlockContext | None) -> None:
    """Whether a proposal could be done if it were accepted now. Raises TransactionFailed.

    `context` is None when it is only to be admitted to the pool.
    """
    if isinstance(body, GovBindContract):
        check_threshold(parse_owners(body.owners), body.threshold)
        check_binding(None if context is None else context.genesis, state, _contract(body))
    elif isinstance(body, GovRotateOwners):
        check_rotation(state, parse_owners(body.owners), body.threshold)
    elif isinstance(body, GovPause):
        check_pause(state, body.paused)
    else:
        assert isinstance(body, GovSetParameter)
        if body.key.startswith(SETTLEMENT_KEYS):
            check_term(body.key.removeprefix(SETTLEMENT_KEYS), uint(body.value))
            return
        planned = pending_epoch(state) or epoch
        parameters = planned.parameters if context is None else planned_epoch(context, state)[1]
        faults = parameter_faults(_with_parameter(parameters, body))
        if faults:
            raise TransactionFailed("invalid_epoch", "; ".join(faults))


def take_measure(body: TransactionBody, context: BlockContext, state: StateWriter) -> tuple[EventData, ...]:
    """Do what was accepted. Raises TransactionFailed, with nothing done."""
    if isinstance(body, GovBindContract):
        return bind(context, state, _contract(body), parse_owners(body.owners), body.threshold)
    if isinstance(body, GovRotateOwners):
        return rotate(context, state, parse_owners(body.owners), body.threshold)
    if isinstance(body, GovPause):
        return pause(context, state, body.paused)
    assert isinstance(body, GovSetParameter)
    if body.key.startswith(SETTLEMENT_KEYS):
        set_term(state, body.key.removeprefix(SETTLEMENT_KEYS), uint(body.value))
        return ()
    parameters = _with_parameter(planned_epoch(context, state)[1], body)
    return (change_epoch(context, state, parameters=parameters),)


def _contract(body: GovBindContract) -> Contract:
    return Contract(
        scheme=body.scheme,
        chain_id=body.chain_id,
        address=body.contract,
        safe=body.safe,
        safe_nonce=body.safe_nonce,
        from_block=body.from_block,
    )


def _with_parameter(parameters: Parameters, body: GovSetParameter) -> Parameters:
    bounds = PARAMETER_BOUNDS.get(body.key)
    if bounds is None:
        known = ", ".join(PARAMETER_BOUNDS)
        raise TransactionFailed("bad_parameter", f"unknown parameter {body.key[:64]!r} (known: {known}, settlement.*)")
    value = uint(body.value)
    if not bounds[0] <= value <= bounds[1]:
        raise TransactionFailed("out_of_range", f"{body.key} {value}; it must be {bounds[0]} to {bounds[1]}")
    return msgspec.structs.replace(parameters, **{body.key: value})
