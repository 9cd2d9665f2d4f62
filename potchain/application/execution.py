"""The executor: what is the same for every kind of transaction, around the applications that run the bodies.

Execution is a pure function of (genesis, epoch, parent header, proposal, bodies, state). An inclusion whose nonce,
expiry, fee or funds do not fit is *skipped*: it changes nothing and pays nothing. Any other takes its place: the fee
leaves the account, the nonce goes up, the body runs; if the body refuses (`TransactionFailed`) only its own writes are
rolled back. Duties (`Application.is_duty`) take their place for any fee. Fees reach the treasury once per block, after
the last transaction and before the applications' `end_block`. Since every executed inclusion consumes one nonce, an id
is executed at most once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import msgspec

from potchain.application.accounts import add_to_treasury, load_account, store_account
from potchain.application.epochs import CURRENT_KEY, EPOCH_EVENTS, EndBlockFailed, close_block
from potchain.application.interface import Application, BlockContext, EventData, StateReader
from potchain.blocks import (
    FAILED,
    OK,
    BlockHeader,
    Event,
    ExecutedBlock,
    OrderCertificate,
    Proposal,
    Receipt,
    StateChange,
    block_hash,
    event_leaves,
    proposal_digest,
    receipts_root,
    skipped_receipt,
)
from potchain.codec import encode
from potchain.errors import InvalidTransaction, PluginError, TransactionFailed
from potchain.genesis import Epoch, Genesis, epoch_digest
from potchain.merkle import EMPTY_ROOT, root
from potchain.primitives import ZERO_DIGEST, uint, uint256
from potchain.transactions import Transaction, TransactionBody, TransactionTypes


class BlockState(StateReader, Protocol):
    """The state that blocks are applied to: `potchain.application.state.AuthenticatedState` is one."""

    def apply(self, changes: Iterable[StateChange]) -> bytes:
        """Make these changes; the new root."""
        ...


class WorkingState:
    """Records as they are in the middle of a block: an overlay on a reader that is itself left alone."""

    def __init__(self, reader: StateReader) -> None:
        self._reader = reader
        self._overlay: dict[bytes, bytes | None] = {}
        self._journal: list[tuple[bytes, bool, bytes | None]] = []
        """For each write: key, whether the overlay had it, and what."""

    def get(self, key: bytes) -> bytes | None:
        """The record's value, or None."""
        overlay = self._overlay
        return overlay[key] if key in overlay else self._reader.get(key)

    def put(self, key: bytes, value: bytes) -> None:
        """Set a record."""
        self._journal.append((key, key in self._overlay, self._overlay.get(key)))
        self._overlay[key] = value

    def remove(self, key: bytes) -> None:
        """Remove a record; removing what is not there is allowed."""
        self._journal.append((key, key in self._overlay, self._overlay.get(key)))
        self._overlay[key] = None

    def savepoint(self) -> int:
        """A mark to roll back to; marks nest."""
        return len(self._journal)

    def rollback(self, savepoint: int) -> None:
        """Undo every write since the savepoint."""
        while len(self._journal) > savepoint:
            key, present, value = self._journal.pop()
            if present:
                self._overlay[key] = value
            else:
                del self._overlay[key]

    def changes(self) -> tuple[StateChange, ...]:
        """What differs from the reader, sorted by key."""
        read = self._reader.get
        return tuple([StateChange(key, value) for key, value in sorted(self._overlay.items()) if read(key) != value])


class ExecutionResult(msgspec.Struct, frozen=True, kw_only=True):
    """A block that lacks only its state root."""

    header: BlockHeader
    """With 32 zero bytes in place of the state root."""
    proposal: Proposal
    bodies: tuple[bytes, ...]
    receipts: tuple[Receipt, ...]
    end_events: tuple[Event, ...]
    changes: tuple[StateChange, ...]
    next_epoch: Epoch | None
    """The epoch that follows this block, when the block ends one."""
    order_certificate: OrderCertificate


class Executor:
    """Routes transactions to applications and makes blocks. Holds no state of its own."""

    def __init__(self, genesis: Genesis, applications: Sequence[Application]) -> None:
        """Raises PluginError when two applications declare one kind or one event, or one lacks another."""
        self.genesis = genesis
        self.applications = tuple(applications)
        self._by_kind: dict[str, Application] = {}
        self.event_types: dict[str, type[EventData]] = {kind.__name__: kind for kind in EPOCH_EVENTS}
        """By name, as in `Event.kind`."""
        declared_by = dict.fromkeys(self.event_types, "core")
        body_types: list[type[TransactionBody]] = []
        for application in self.applications:
            for body_type in application.body_types:
                kind = body_type.__name__
                if kind in self._by_kind:
                    raise PluginError(
                        f"transaction kind {kind!r} is declared by the applications {self._by_kind[kind].name!r} and "
                        f"{application.name!r}; install only one of them"
                    )
                self._by_kind[kind] = application
                body_types.append(body_type)
            for event_type in application.event_types:
                event = event_type.__name__
                if event in self.event_types:
                    raise PluginError(
                        f"event {event!r} is declared by the applications {declared_by[event]!r} and "
                        f"{application.name!r}; install only one of them"
                    )
                self.event_types[event] = event_type
                declared_by[event] = application.name
        names = {application.name for application in self.applications}
        if "governance" in names and "settlement" not in names:
            raise PluginError("the application 'governance' decides about 'settlement'; enable both or neither")
        self.types = TransactionTypes(body_types, genesis.hash)

    def genesis_records(self) -> Iterator[tuple[bytes, bytes]]:
        """Records of the state at height 0. Raises PluginError when two applications write one record.

        Not for a recovered network, which takes its state over: `application.epochs.taken_over`.
        """
        assert not self.genesis.height, "a recovered network takes its state over"
        seen = {CURRENT_KEY}
        yield CURRENT_KEY, encode(self.genesis.first_epoch)
        for application in self.applications:
            for key, value in application.genesis_records(self.genesis):
                if key in seen:
                    raise PluginError(f"application {application.name!r} writes record {key!r} that exists already")
                seen.add(key)
                yield key, value

    def genesis_block(self, state_root: bytes) -> BlockHeader:
        """The header at the genesis height, which nobody decided or signed."""
        return BlockHeader(
            genesis_hash=self.genesis.hash,
            epoch=self.genesis.first_epoch.number,
            height=self.genesis.height,
            parent_hash=self.genesis.parent_hash,
            digest=ZERO_DIGEST,
            proposer=b"",
            block_time_ms=self.genesis.timestamp_ms,
            tx_root=EMPTY_ROOT,
            tx_count=0,
            receipts_root=EMPTY_ROOT,
            events_root=EMPTY_ROOT,
            state_root=state_root,
            next_epoch=b"",
        )

    def check(self, transaction: Transaction, state: StateReader, epoch: Epoch, block_time_ms: int) -> None:
        """Whether it could succeed in a block at that time, its nonce aside. For the pool, never for a vote.

        Raises InvalidTransaction: `expired`, `insufficient_fee`, `insufficient_funds` or a code of the application.
        """
        if transaction.valid_until and block_time_ms > transaction.valid_until:
            raise InvalidTransaction(
                "expired", f"validUntil {transaction.valid_until} is before the block time {block_time_ms}"
            )
        base_fee = self.least_fee(transaction, state, epoch)
        if transaction.fee < base_fee:
            raise InvalidTransaction("insufficient_fee", f"the fee is {transaction.fee}, the least is {base_fee}")
        # The pool checks that the sender can pay its fees, the application whatever else it takes.
        self._by_kind[transaction.kind].check(transaction, state, epoch)

    def least_fee(self, transaction: Transaction, state: StateReader, epoch: Epoch) -> int:
        """The least fee with which it can take its place: the base fee, or 0 if it offers less and is a duty."""
        base_fee = epoch.parameters.base_fee
        if transaction.fee >= base_fee or not self._by_kind[transaction.kind].is_duty(transaction, state, epoch):
            return base_fee
        return 0

    def execute_block(
        self,
        parent: BlockHeader,
        epoch: Epoch,
        proposal: Proposal,
        transactions: Sequence[Transaction],
        state: BlockState,
        order_certificate: OrderCertificate,
    ) -> ExecutedBlock:
        """Execute, apply the changes to the state, and seal the block with the new root."""
        result = self.execute(parent, epoch, proposal, transactions, state, order_certificate)
        return self.seal(result, state.apply(result.changes))

    def execute(
        self,
        parent: BlockHeader,
        epoch: Epoch,
        proposal: Proposal,
        transactions: Sequence[Transaction],
        state: StateReader,
        order_certificate: OrderCertificate,
    ) -> ExecutionResult:
        """All of a decided proposal's block but the state root. `state` is that of `parent` and is not changed.

        `transactions` are the proposal's, parsed, in its order, signatures checked.
        """
        ordered = proposal.header
        assert ordered.sequence == parent.height + 1, "sequences are executed in order, each once"
        assert ordered.epoch == epoch.number, "the caller knows the epoch of a decided sequence"
        assert proposal.transaction_ids == tuple([transaction.id for transaction in transactions])
        context = BlockContext(
            genesis=self.genesis,
            epoch=epoch,
            height=ordered.sequence,
            # A null request has timestamp 0 and so always gets its parent's time + 1.
            block_time_ms=max(ordered.timestamp_ms, parent.block_time_ms + 1),
            proposer=ordered.proposer,
        )
        working = WorkingState(state)
        receipts = tuple(
            [self._include(index, transaction, context, working) for index, transaction in enumerate(transactions)]
        )
        add_to_treasury(working, sum([uint(receipt.fee) for receipt in receipts]))
        end_events = [event for application in self.applications for event in self._end(application, context, working)]
        next_epoch, epoch_events = close_block(context, working)
        end_events += [self._event(data) for data in epoch_events]
        header = BlockHeader(
            genesis_hash=self.genesis.hash,
            epoch=epoch.number,
            height=context.height,
            parent_hash=block_hash(parent),
            digest=proposal_digest(ordered),
            proposer=ordered.proposer,
            block_time_ms=context.block_time_ms,
            tx_root=ordered.tx_root,
            tx_count=ordered.tx_count,
            receipts_root=receipts_root(receipts),
            events_root=root(event_leaves(receipts, end_events)),
            state_root=ZERO_DIGEST,
            next_epoch=b"" if next_epoch is None else epoch_digest(next_epoch),
        )
        return ExecutionResult(
            header=header,
            proposal=proposal,
            bodies=tuple([transaction.raw for transaction in transactions]),
            receipts=receipts,
            end_events=tuple(end_events),
            changes=working.changes(),
            next_epoch=next_epoch,
            order_certificate=order_certificate,
        )

    def seal(self, result: ExecutionResult, state_root: bytes) -> ExecutedBlock:
        """The block, once the state after it has a root."""
        header = msgspec.structs.replace(result.header, state_root=state_root)
        return ExecutedBlock(
            header=header,
            hash=block_hash(header),
            proposal=result.proposal,
            bodies=result.bodies,
            receipts=result.receipts,
            end_events=result.end_events,
            changes=result.changes,
            order_certificate=result.order_certificate,
            next_epoch=b"" if result.next_epoch is None else encode(result.next_epoch),
        )

    def _include(self, index: int, transaction: Transaction, context: BlockContext, working: WorkingState) -> Receipt:
        """Execute or skip one inclusion."""
        account = load_account(working, transaction.sender)
        fee = transaction.fee
        left = uint(account.balance) - fee
        if transaction.nonce != account.nonce:
            code = "stale_nonce" if transaction.nonce < account.nonce else "future_nonce"
            return skipped_receipt(transaction.id, index, code)
        if transaction.valid_until and context.block_time_ms > transaction.valid_until:
            return skipped_receipt(transaction.id, index, "expired")
        if fee < context.epoch.parameters.base_fee and fee < self.least_fee(transaction, working, context.epoch):
            return skipped_receipt(transaction.id, index, "insufficient_fee")
        if left < 0:
            return skipped_receipt(transaction.id, index, "insufficient_funds")
        store_account(working, transaction.sender, account.nonce + 1, left)
        savepoint = working.savepoint()
        try:
            events = self._by_kind[transaction.kind].execute(transaction, context, working)
        except TransactionFailed as failure:
            working.rollback(savepoint)
            return Receipt(transaction.id, index, FAILED, failure.code, uint256(fee))
        return Receipt(transaction.id, index, OK, "", uint256(fee), tuple([self._event(data) for data in events]))

    def _end(self, application: Application, context: BlockContext, working: WorkingState) -> list[Event]:
        """What an application does at the end of a block; refused, it has done nothing."""
        savepoint = working.savepoint()
        try:
            return [self._event(data) for data in application.end_block(context, working)]
        except TransactionFailed as failure:
            working.rollback(savepoint)
            return [self._event(EndBlockFailed(application.name, failure.code))]

    def _event(self, data: EventData) -> Event:
        kind = type(data).__name__
        assert self.event_types.get(kind) is type(data), f"event {kind} is not among its application's event_types"
        return Event(kind, encode(data))
