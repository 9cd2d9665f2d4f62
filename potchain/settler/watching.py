"""Does Layer 2 still say what it said, and does it fit the ledger? Pure.

A reorganisation that stays above the confirmed blocks is what confirmations are for: it is counted and shown, nothing
else. One that changes a confirmed event before the ledger has applied it makes operators vote again. One that takes
back an event that the ledger *has* applied cannot be healed here: the ledger has credited or paid by it. Then nothing
is relayed and no event is voted on as long as the chain contradicts the ledger, and the operator is told loudly. To
notice it, each look asks whether the block of the newest applied event is still there. A node that is started anew
knows no earlier contents of applied events and takes the chain as it is; that the contract has emitted fewer events
than the ledger has applied it notices even then. The ledger knows the block of its newest event: endpoints that are not
that far, with the confirmations that this node asks for, are behind, and nothing worse is said of them.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from potchain.primitives import UINT64_MAX
from potchain.settlement import ChainView, Layer2Event, Owners
from potchain.settlement.interface import EVENTS_PER_CALL_MAX
from potchain.settler.memory import EVENTS_MAX, HEADS_MAX, Fault, Memory, Sight
from potchain.settler.view import LedgerView

DEEP = "reorg_beyond_confirmations"


def watched(ledger: LedgerView, chain: ChainView, memory: Memory) -> Memory:
    """The memory after a look at the chain: what changed behind our back is counted and named."""
    texts = []
    before = memory.heads.get(chain.head_number)
    if before is not None and before != chain.head_hash:
        texts.append(
            f"block {chain.head_number} was 0x{before.hex()} and is 0x{chain.head_hash.hex()} now"
        )
    events, moved = _compared(ledger, chain, memory.events)
    texts += moved
    kept = {number: known for number, known in memory.heads.items() if not texts or number < chain.head_number}
    heads = {**kept, chain.head_number: chain.head_hash}
    for number in sorted(heads)[:-HEADS_MAX]:
        del heads[number]
    memory = msgspec.structs.replace(memory, heads=heads, events=events)
    if texts:
        memory = msgspec.structs.replace(memory, reorgs=memory.reorgs + 1, reorg_text="; ".join(texts))
    return memory


def contradiction(ledger: LedgerView, sight: Sight, memory: Memory) -> Fault | None:
    """What the chain no longer has although the ledger has applied it, as far as this node can tell."""
    chain, since, last = sight.chain, sight.since, memory.last_applied(ledger.next_event)
    if chain.contract.next_event_nonce < since.next_event or chain.contract.next_nonce < since.next_executed:
        if chain.confirmed_number < since.event_block:
            return Fault(
                "lagging",
                f"the endpoints are at block {chain.head_number}, {chain.confirmed_number} is confirmed; event "
                f"{since.next_event - 1}, which the ledger has applied, was in block {since.event_block}",
            )
        return Fault(
            DEEP,
            f"at block {chain.head_number} the contract has emitted {chain.contract.next_event_nonce} events and "
            f"executes action {chain.contract.next_nonce} next; the ledger has applied {since.next_event} events and "
            f"action {since.next_executed} comes next",
        )
    if last is None or sight.first > last.event_nonce:
        return None  # its block is where it was
    now = next((event for event in chain.events if event.event_nonce == last.event_nonce), None)
    if now is None:
        return Fault(
            "lagging" if chain.confirmed_number < last.block_number else DEEP,
            f"event {last.event_nonce} of block {last.block_number}, which the ledger has applied, is not among the "
            f"confirmed events up to block {chain.confirmed_number} any more",
        )
    if _effect(last) != _effect(now):
        return Fault(
            DEEP,
            f"event {last.event_nonce}, which the ledger has applied, was {last.kind} in transaction "
            f"0x{last.transaction_hash.hex()} and is {now.kind} in 0x{now.transaction_hash.hex()} now",
        )
    return None


def mismatch(ledger: LedgerView, chain: ChainView) -> Fault | None:
    """Whether the contract is the one that the ledger believes in: chain, place in the sequence, owners."""
    assert ledger.contract is not None
    contract, found = ledger.contract, chain.contract
    if chain.chain_id != contract.chain_id:
        return Fault(
            "wrong_chain", f"the endpoints serve chain {chain.chain_id}, the contract is on chain {contract.chain_id}"
        )
    if found.next_nonce > ledger.next_action:
        return Fault(
            "ledger_behind",
            f"the contract executes action {found.next_nonce} next, and the ledger forms action {ledger.next_action} "
            f"next; either this node lacks blocks, or the contract was used by others",
        )
    wanted = _owners_at(ledger, found.next_nonce)
    if wanted is None:
        return None
    faults = []
    if contract.scheme == "multisig" and found.epoch != wanted.epoch:
        faults.append(f"its epoch is {found.epoch}, the ledger's {wanted.epoch}")
    if tuple(sorted(found.owners)) != wanted.owners:
        foreign = sorted(set(found.owners) - set(wanted.owners))
        missing = sorted(set(wanted.owners) - set(found.owners))
        faults.append(f"its owners differ: {_listed(foreign)} too many, {_listed(missing)} missing")
    if found.threshold != wanted.threshold:
        faults.append(f"its threshold is {found.threshold}, the ledger's {wanted.threshold}")
    return Fault("owners_differ", "the contract is not as the ledger has it: " + "; ".join(faults)) if faults else None


def _owners_at(ledger: LedgerView, nonce: int) -> Owners | None:
    """Owners that the contract must have before it executes that action; None when the ledger cannot tell."""
    for entry in ledger.actions:
        if entry.action.nonce == nonce:
            return entry.owners
    return ledger.owners[-1] if ledger.owners and nonce == ledger.next_action else None


def _compared(
    ledger: LedgerView, chain: ChainView, known: Mapping[int, Layer2Event]
) -> tuple[dict[int, Layer2Event], list[str]]:
    """Confirmed events as they are now, and a sentence for each that changed or went."""
    texts: list[str] = []
    events = dict(known)
    here = {event.event_nonce: event for event in chain.events}
    # What lies above a full answer may just not have fitted into it.
    end = max(here) if len(here) >= EVENTS_PER_CALL_MAX else UINT64_MAX
    for nonce in sorted(known):
        if ledger.next_event <= nonce <= end and nonce not in here:
            texts.append(f"confirmed event {nonce} of block {known[nonce].block_number} is gone")
            del events[nonce]
    for nonce, event in here.items():
        before = known.get(nonce)
        if before is not None and nonce < ledger.next_event and _effect(before) != _effect(event):
            continue  # what the ledger applied stays the measure: `contradiction` tells of it
        if before is not None and before != event:
            texts.append(
                f"confirmed event {nonce} was in block {before.block_number} (0x{before.block_hash.hex()}) and is in "
                f"block {event.block_number} (0x{event.block_hash.hex()}) now"
            )
        events[nonce] = event
    for nonce in sorted(events)[:-EVENTS_MAX]:
        del events[nonce]
    return events, texts


def _effect(event: Layer2Event) -> tuple[str, bytes]:
    """What the ledger does by an event, wherever it lies."""
    return event.kind, event.payload


def _listed(owners: list[bytes]) -> str:
    return ", ".join("0x" + owner.hex() for owner in owners) or "none"
