"""What governance may do to settlement: bind a contract, change its owners, stop and go on, change the terms.

Each `check_*` raises TransactionFailed and is called twice: when the proposal is made, and when it is accepted. What
follows it cannot fail any more, so an accepted proposal is done wholly or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import msgspec

from potchain.application.interface import BlockContext, EventData, StateReader, StateWriter
from potchain.application.settlement.bodies import ContractBound
from potchain.application.settlement.forming import form_pause, form_rotation
from potchain.application.settlement.records import (
    ACTION_PREFIX,
    ACTIONS_KEPT,
    ACTIONS_OPEN_MAX,
    BINDINGS_MAX,
    MONEY_MAX,
    OWNERS_PREFIX,
    VOTES_PREFIX,
    Counters,
    bound_contract,
    counters,
    current_owners,
    drop,
    save_contract,
    save_counters,
    save_owners,
    save_terms,
    terms,
    was_bound,
)
from potchain.crypto import checksum_address
from potchain.errors import TransactionFailed
from potchain.genesis import Genesis
from potchain.primitives import STORED_MAX, UINT256_MAX, ZERO_ADDRESS, uint, uint256
from potchain.settlement.actions import OWNERS_MAX, SCHEMES, Contract, Owners, owners_hash
from potchain.settlement.digests import can_do

OBSERVE_AHEAD_MAX = 256
"""Bound on `Terms.observe_ahead`: event nonces that may have votes."""

TERM_BOUNDS: Mapping[str, tuple[int, int]] = {
    "batch_max": (1, 500),
    "root_min": (0, 1_000_000),
    "root_entries_max": (1, 5_000),
    "root_accounts_max": (0, 262_144),
    "open_max": (0, 32),
    "observe_ahead": (1, OBSERVE_AHEAD_MAX),
    "minimum_withdrawal": (1, MONEY_MAX),
    "relay_fee": (0, MONEY_MAX),
}
"""Least and largest value of each term."""


def parse_owners(joined: bytes) -> tuple[bytes, ...]:
    """Addresses from their concatenation. Raises TransactionFailed(`bad_owners`)."""
    if not joined or len(joined) % 20:
        raise TransactionFailed("bad_owners", f"owners are one or more addresses of 20 bytes, not {len(joined)} bytes")
    owners = tuple([joined[start : start + 20] for start in range(0, len(joined), 20)])
    if len(owners) > OWNERS_MAX:
        raise TransactionFailed("bad_owners", f"{len(owners)} owners, the contract takes {OWNERS_MAX}")
    if any(one >= other for one, other in pairwise(owners)):
        raise TransactionFailed("bad_owners", "owners must be sorted by address, each once")
    if owners[0] == ZERO_ADDRESS:
        raise TransactionFailed("bad_owners", "the zero address can sign nothing")
    return owners


def check_threshold(owners: Sequence[bytes], threshold: int) -> None:
    """Raises TransactionFailed(`bad_threshold`)."""
    if not 1 <= threshold <= len(owners):
        raise TransactionFailed("bad_threshold", f"threshold {threshold}; it must be 1 to {len(owners)}, the owners")


def check_binding(genesis: Genesis | None, state: StateReader, contract: Contract) -> None:
    """Whether the ledger could settle through that contract. Raises TransactionFailed.

    `contract.safe_nonce` is the Safe's nonce now. `genesis` is given where it matters whether its money and all
    deposits fit together: at the latest when it is bound.
    """
    _check_contract(contract)
    now = counters(state)
    if now.actions_open:
        raise TransactionFailed(
            "actions_open", f"{now.actions_open} actions are under way; what they pay could be paid twice"
        )
    if was_bound(state, contract.chain_id, contract.address) and not _moves_on(bound_contract(state), contract):
        raise TransactionFailed(
            "already_bound",
            f"contract {checksum_address(contract.address)} of chain {contract.chain_id} is bound or was; its events "
            f"would count twice",
        )
    if _moves_on(bound_contract(state), contract) and contract.safe_nonce < now.next_action:
        raise TransactionFailed(
            "bad_safe", f"Safe nonce {contract.safe_nonce}; it has executed {now.next_action} actions of ours already"
        )
    if now.paused and not now.halted and not _moves_on(bound_contract(state), contract):
        raise TransactionFailed(
            "settlement_paused",
            "the bound contract is paused, and nothing could set it going once another is bound: what its roots "
            "promised could not be claimed any more; unpause first",
        )
    if now.binding >= BINDINGS_MAX:
        raise TransactionFailed("too_many_bindings", f"{now.binding} contracts were bound, {BINDINGS_MAX} can be")
    if genesis is not None and sum(uint(each.balance) for each in genesis.accounts) > UINT256_MAX - MONEY_MAX:
        raise TransactionFailed("too_much_money", "the money of genesis leaves no room for deposits")


def bind(
    context: BlockContext, state: StateWriter, contract: Contract, owners: tuple[bytes, ...], threshold: int
) -> tuple[EventData, ...]:
    """Settle through this contract from now on; `contract.safe_nonce` is the Safe's nonce for the next action.

    Raises TransactionFailed, with nothing done.
    """
    check_threshold(owners, threshold)
    check_binding(context.genesis, state, contract)
    now = counters(state)
    moves_on = _moves_on(bound_contract(state), contract)
    for old in range(now.confirmed_epoch, now.epoch + 1):
        drop(state, OWNERS_PREFIX, old)
    if moves_on:
        changed = msgspec.structs.replace(now, epoch=now.epoch + 1, confirmed_epoch=now.epoch + 1)
        # What is recorded is the nonce for action 0.
        contract = msgspec.structs.replace(contract, safe_nonce=contract.safe_nonce - now.next_action)
    else:
        changed = _fresh(state, now)
    save_counters(state, changed)
    save_contract(state, contract, changed.binding)
    save_owners(state, Owners(changed.epoch, owners, threshold))
    bound = ContractBound(
        binding=changed.binding,
        scheme=contract.scheme,
        chain_id=contract.chain_id,
        contract=contract.address,
        safe=contract.safe,
        safe_nonce=contract.safe_nonce,
        from_block=contract.from_block,
        epoch=changed.epoch,
        owners_hash=owners_hash(owners),
        threshold=threshold,
    )
    return (bound,)


def check_rotation(state: StateReader, owners: tuple[bytes, ...], threshold: int) -> None:
    """Whether the contract's owners could become these. Raises TransactionFailed."""
    contract = _bound(state)
    check_threshold(owners, threshold)
    if contract.address in owners:
        raise TransactionFailed("bad_owners", "the contract cannot be an owner of itself; it would refuse the rotation")
    if not can_do(contract.scheme, "rotate"):
        raise TransactionFailed(
            "owners_in_safe", "the owners of a Safe change in the Safe; then bind the contract anew with its new nonce"
        )
    _check_room(state)
    before = current_owners(state)
    if before is not None and (before.owners, before.threshold) == (owners, threshold):
        raise TransactionFailed("unchanged", "these are the owners and the threshold already")


def rotate(
    context: BlockContext, state: StateWriter, owners: tuple[bytes, ...], threshold: int
) -> tuple[EventData, ...]:
    """Ask the contract for new owners; what is formed from now on is theirs to sign. Raises TransactionFailed."""
    check_rotation(state, owners, threshold)
    epoch = counters(state).epoch + 1
    following = Owners(epoch, owners, threshold)
    formed = form_rotation(context, state, following)
    save_owners(state, following)
    save_counters(state, msgspec.structs.replace(counters(state), epoch=epoch))
    return (formed,)


def check_pause(state: StateReader, paused: int) -> None:
    """Whether settlement could stop (1) or go on (0). Raises TransactionFailed.

    It may always go on: an owner may have stopped the contract alone, of which the ledger knows nothing.
    """
    _bound(state)
    if paused not in (0, 1):
        raise TransactionFailed("bad_value", f"paused is 1 or 0, not {paused}")
    _check_room(state)
    now = counters(state)
    if now.paused and paused:
        raise TransactionFailed("unchanged", "settlement is paused already")


def pause(context: BlockContext, state: StateWriter, paused: int) -> tuple[EventData, ...]:
    """Stop, or go on, here and on the contract. Raises TransactionFailed, with nothing done."""
    check_pause(state, paused)
    now = counters(state)
    halted = now.halted and bool(paused)
    save_counters(state, msgspec.structs.replace(now, paused=bool(paused), halted=halted))
    return (form_pause(context, state, paused=bool(paused)),)


def check_term(name: str, value: int) -> None:
    """Whether a term may have that value. Raises TransactionFailed."""
    bounds = TERM_BOUNDS.get(name)
    if bounds is None:
        known = ", ".join(TERM_BOUNDS)
        raise TransactionFailed("bad_parameter", f"unknown term {name[:64]!r} (known: {known})")
    if not bounds[0] <= value <= bounds[1]:
        raise TransactionFailed("out_of_range", f"{name} {value}; it must be {bounds[0]} to {bounds[1]}")


def set_term(state: StateWriter, name: str, value: int) -> None:
    """Settle on other terms. Raises TransactionFailed, with nothing done."""
    check_term(name, value)
    before = terms(state)
    wire = uint256(value) if isinstance(getattr(before, name), bytes) else value
    save_terms(state, msgspec.structs.replace(before, **{name: wire}))


def _check_contract(contract: Contract) -> None:
    if contract.scheme not in SCHEMES:
        known = ", ".join(SCHEMES)
        raise TransactionFailed("bad_scheme", f"unknown scheme {contract.scheme[:32]!r} (known: {known})")
    if not contract.chain_id:
        raise TransactionFailed("bad_chain", "chain id 0 is no chain")
    for name in ("chain_id", "safe_nonce", "from_block"):
        value = getattr(contract, name)
        if value > STORED_MAX:
            raise TransactionFailed("out_of_range", f"{name} {value}; it must be at most {STORED_MAX}")
    if contract.address == ZERO_ADDRESS:
        raise TransactionFailed("zero_address", "the contract is the zero address")
    if contract.scheme == "safe" and contract.safe in (ZERO_ADDRESS, contract.address):
        raise TransactionFailed("bad_safe", "the scheme safe needs the address of the Safe, which owns the contract")
    if contract.scheme == "multisig" and (contract.safe != ZERO_ADDRESS or contract.safe_nonce):
        raise TransactionFailed("bad_safe", "the scheme multisig has no Safe: its address and nonce must be zero")


def _moves_on(before: Contract | None, contract: Contract) -> bool:
    """Whether it is the bound book of a Safe whose owners or nonce changed: events and actions are counted on."""
    if before is None or contract.scheme != "safe" or before.scheme != "safe":
        return False
    place = (contract.chain_id, contract.address, contract.safe)
    return (before.chain_id, before.address, before.safe) == place


def _fresh(state: StateWriter, now: Counters) -> Counters:
    """Counters of a contract that has done nothing yet; what is left of the one before is forgotten."""
    for nonce in range(max(0, now.next_action - ACTIONS_KEPT), now.next_action):
        drop(state, ACTION_PREFIX, nonce)
    for event_nonce in range(now.next_event, now.next_event + OBSERVE_AHEAD_MAX):
        drop(state, VOTES_PREFIX, event_nonce)
    return msgspec.structs.replace(
        now,
        binding=now.binding + 1,
        epoch=0,
        confirmed_epoch=0,
        next_action=0,
        next_executed=0,
        next_event=0,
        paused=False,
        halted=False,
        funds=uint256(0),
        event_block=0,
    )


def _bound(state: StateReader) -> Contract:
    contract = bound_contract(state)
    if contract is None:
        raise TransactionFailed("not_bound", "no contract is bound yet: GovBindContract does that")
    return contract


def _check_room(state: StateReader) -> None:
    now = counters(state)
    if now.actions_open >= ACTIONS_OPEN_MAX:
        raise TransactionFailed("too_many_actions", f"{now.actions_open} actions are under way; wait until some end")
