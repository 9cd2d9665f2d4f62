"""Actions: how pending payouts become one, how it is signed, and what its execution does to the books.

No clock and no height decides when an action is formed: an idle network makes no blocks, so nothing may wait for one.
While less than `batch_max` payouts are pending, one action at a time waits for signatures, and at most `open_max` for
their receipts; signatures and receipts are transactions, so a block comes that can form the next. What deposits do not
cover waits for the vote on a deposit.
"""

from __future__ import annotations

import msgspec

from potchain.application.interface import BlockContext, EventData, StateReader, StateWriter
from potchain.application.settlement.bodies import ActionFormed, ActionSigned, SignBatch
from potchain.application.settlement.records import (
    ACTION_PREFIX,
    ACTIONS_KEPT,
    EXECUTED,
    OPEN,
    PAYOUT_PREFIX,
    PAYOUTS_PER_BATCH_MAX,
    SIGNATURES_PREFIX,
    SIGNED,
    ActionRecord,
    ActionSignatures,
    Counters,
    Observation,
    OwnerSignature,
    action,
    bound_contract,
    counters,
    drop,
    live_owners,
    numbered_key,
    open_actions,
    owners_of,
    payout,
    save_action,
    save_counters,
    save_signatures,
    signatures,
    terms,
)
from potchain.application.settlement.roots import updated, write_tree
from potchain.codec import decode
from potchain.crypto import checksum_address, recover_address
from potchain.errors import InvalidProof, TransactionFailed
from potchain.primitives import uint, uint256
from potchain.settlement.actions import Action, ActionKind, Entry, Owners
from potchain.settlement.digests import action_digest


def form(context: BlockContext, state: StateWriter) -> tuple[EventData, ...]:
    """Form at most one batch or root, at the end of a block."""
    now = counters(state)
    if not now.binding or not now.pending or now.paused or now.halted:
        return ()
    limits = terms(state)
    if now.actions_open >= limits.open_max or (now.pending < limits.batch_max and _are_signatures_due(state)):
        return ()
    if limits.root_min and now.pending >= limits.root_min and not now.roots_open:
        count, entries = _gathered(state, now, limits.root_entries_max, limits.root_entries_max)
        enough = count >= min(limits.root_min, limits.root_entries_max)  # fewer when deposits cover fewer
        update = updated(state, entries, limits.root_accounts_max) if enough else None
        if update is not None:
            return (_take_up(state, count, _made(context, now, "root", entries=entries, root=update.root)),)
    count, entries = _gathered(state, now, limits.batch_max, PAYOUTS_PER_BATCH_MAX)
    if not count:
        return ()  # the oldest payout waits for a deposit, and its `ObserveL2` makes the block that forms the batch
    return (_take_up(state, count, _made(context, now, "batch", entries=entries)),)


def form_rotation(context: BlockContext, state: StateWriter, owners: Owners) -> ActionFormed:
    """The action that makes `owners` the contract's; the owners of the epoch before sign it."""
    made = _made(context, counters(state), "rotate", owners=owners.owners, threshold=owners.threshold)
    return _record(state, made)


def form_pause(context: BlockContext, state: StateWriter, *, paused: bool) -> ActionFormed:
    """The action that stops the contract, or sets it going."""
    return _record(state, _made(context, counters(state), "pause", paused=paused))


def check_signature(state: StateReader, body: SignBatch) -> tuple[ActionRecord, Owners]:
    """The action and the owners whom this signature would count for. Raises TransactionFailed."""
    contract = bound_contract(state)
    if contract is None:
        raise TransactionFailed("not_bound", "no contract is bound; there is nothing to sign")
    now = counters(state)
    if body.action_nonce >= now.next_action:
        raise TransactionFailed("unknown_action", f"action {body.action_nonce}; the next one is {now.next_action}")
    record = action(state, body.action_nonce)
    if record is None or record.status != OPEN:
        shown = EXECUTED if record is None else record.status
        raise TransactionFailed("batch_closed", f"action {body.action_nonce} is {shown} and takes no more signatures")
    owners = owners_of(state, record.action.epoch)
    assert owners is not None, "owners of an epoch with open actions are kept"
    if body.from_ not in owners.owners:
        sender = checksum_address(body.from_)
        if any(body.from_ in live.owners for live in live_owners(state)):
            raise TransactionFailed("wrong_epoch", f"{sender} is no owner in epoch {owners.epoch} of the contract")
        raise TransactionFailed("not_operator", f"{sender} is no owner of the contract")
    if any(owner == body.from_ for owner, _ in signatures(state, body.action_nonce)):
        raise TransactionFailed("already_signed", f"{checksum_address(body.from_)} signed action {body.action_nonce}")
    try:
        signer = recover_address(record.digest, body.signature)
    except InvalidProof as fault:
        raise TransactionFailed("bad_signature", str(fault)) from None
    if signer != body.from_:
        raise TransactionFailed(
            "bad_signature",
            f"{checksum_address(signer)} signed, not {checksum_address(body.from_)}; the digest of action "
            f"{body.action_nonce} is 0x{record.digest.hex()}",
        )
    return record, owners


def sign(context: BlockContext, state: StateWriter, body: SignBatch) -> tuple[EventData, ...]:
    """Keep a signature; the last one that is needed makes the action signed. Raises TransactionFailed."""
    record, owners = check_signature(state, body)
    key = numbered_key(SIGNATURES_PREFIX, body.action_nonce)
    data = state.get(key)
    entries = () if data is None else decode(ActionSignatures, data).entries
    entries = tuple(sorted((*entries, OwnerSignature(body.from_, body.signature)), key=lambda entry: entry.owner))
    save_signatures(state, body.action_nonce, entries)
    if len(entries) < owners.threshold:
        return ()
    save_action(state, msgspec.structs.replace(record, status=SIGNED, ready_height=context.height))
    return (ActionSigned(body.action_nonce),)


def settle(state: StateWriter, record: ActionRecord, seen: Observation) -> None:
    """The oldest open action was executed: its payouts are paid, and what it was made of is forgotten."""
    nonce = record.action.nonce
    now = counters(state)
    assert nonce == now.next_executed, "the contract executes actions in order"
    if record.action.kind == "root":
        # No root was formed or executed in between, so this is the tree that the action was made with. The bound was
        # looked at then; it may have been lowered since.
        update = updated(state, record.action.entries, accounts_max=2**63)
        assert update is not None
        assert update.root == record.action.root
        write_tree(state, update)
    for number in range(record.first_payout, record.first_payout + record.payouts):
        drop(state, PAYOUT_PREFIX, number)
    drop(state, SIGNATURES_PREFIX, nonce)
    stripped = msgspec.structs.replace(
        record,
        action=msgspec.structs.replace(record.action, entries=()),
        status=EXECUTED,
        receipt_block=seen.block_number,
        receipt_hash=seen.transaction_hash,
    )
    save_action(state, stripped)
    if nonce >= ACTIONS_KEPT:
        drop(state, ACTION_PREFIX, nonce - ACTIONS_KEPT)
    changed = msgspec.structs.replace(
        now,
        next_executed=nonce + 1,
        payouts_open=now.payouts_open - record.payouts,
        owed=uint256(uint(now.owed) - uint(record.total)),
        executed=uint256(uint(now.executed) + uint(record.total)),
        roots_open=now.roots_open - (record.action.kind == "root"),
        funds=uint256(uint(now.funds) - uint(record.total)),
        batched=uint256(uint(now.batched) - uint(record.total)),
    )
    save_counters(state, changed)


def _are_signatures_due(state: StateReader) -> bool:
    """Whether an action waits for signatures. One that is signed may take many blocks of Layer 2 until it counts."""
    return any(record.status == OPEN for record in open_actions(state))


def _made(
    context: BlockContext,
    now: Counters,
    kind: ActionKind,
    *,
    entries: tuple[Entry, ...] = (),
    root: bytes = bytes(32),
    owners: tuple[bytes, ...] = (),
    threshold: int = 0,
    paused: bool = False,
) -> Action:
    """The next action."""
    return Action(
        nonce=now.next_action,
        epoch=now.epoch,
        kind=kind,
        height=context.height,
        entries=entries,
        root=root,
        owners=owners,
        threshold=threshold,
        paused=paused,
    )


def _gathered(state: StateReader, now: Counters, payees_max: int, payouts_max: int) -> tuple[int, tuple[Entry, ...]]:
    """The oldest pending payouts that one action can pay: how many, and what each account gets, sorted.

    The contract cannot execute what its deposits do not cover, nor anything after it: its nonces have no gaps. So an
    action takes only what is there, in order; what is not covered waits here, and holds up no rotation and no pause.
    """
    sums: dict[bytes, int] = {}
    count = 0
    left = now.unbatched
    for number in range(now.next_batched, min(now.next_payout, now.next_batched + payouts_max)):
        record = payout(state, number)
        assert record is not None, "pending payouts have records"
        left -= uint(record.amount)
        if left < 0 or (record.account not in sums and len(sums) >= payees_max):
            break
        sums[record.account] = sums.get(record.account, 0) + uint(record.amount)
        count += 1
    return count, tuple([Entry(account, uint256(amount)) for account, amount in sorted(sums.items())])


def _take_up(state: StateWriter, count: int, made: Action) -> ActionFormed:
    """Record an action that pays the oldest `count` pending payouts."""
    now = counters(state)
    first = now.next_batched
    formed = _record(state, made, first, count)
    now = counters(state)
    taken = msgspec.structs.replace(
        now,
        next_batched=first + count,
        roots_open=now.roots_open + (made.kind == "root"),
        batched=uint256(uint(now.batched) + made.total),
    )
    save_counters(state, taken)
    return formed


def _record(state: StateWriter, made: Action, first_payout: int = 0, payouts: int = 0) -> ActionFormed:
    contract = bound_contract(state)
    assert contract is not None, "actions are for a bound contract"
    record = ActionRecord(
        action=made,
        digest=action_digest(contract, made),
        status=OPEN,
        total=uint256(made.total),
        payouts=payouts,
        first_payout=first_payout,
        last_payout=first_payout + payouts - 1 if payouts else 0,
    )
    save_action(state, record)
    save_counters(state, msgspec.structs.replace(counters(state), next_action=made.nonce + 1))
    return ActionFormed(
        nonce=made.nonce,
        kind=made.kind,
        epoch=made.epoch,
        digest=record.digest,
        first_payout=record.first_payout,
        last_payout=record.last_payout,
        total=record.total,
    )
