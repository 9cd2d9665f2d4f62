"""The contract between an application and its host.

An application is a deterministic state machine. It sees the block's own time and the state, and nothing else: no clock,
no randomness, no I/O. All that execution reads is under the state root or in the block. The executor
(`potchain.application.execution`) does what is the same for every kind: nonce, expiry, fee, roll-back, receipts.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import msgspec

from potchain.codec import Canonical
from potchain.genesis import Epoch, Genesis
from potchain.transactions import Transaction, TransactionBody


class EventData(Canonical, frozen=True):
    """Base of typed events. Annotate members with the types of `potchain.primitives`, as for transactions."""


class StateReader(Protocol):
    """Reads records of the authenticated state."""

    def get(self, key: bytes) -> bytes | None:
        """The record's value, or None."""
        ...


class StateWriter(StateReader, Protocol):
    """Reads and writes records; writes of a failed transaction are rolled back by the executor."""

    def put(self, key: bytes, value: bytes) -> None:
        """Set a record."""
        ...

    def remove(self, key: bytes) -> None:
        """Remove a record; removing what is not there is allowed."""
        ...


class BlockContext(msgspec.Struct, frozen=True, kw_only=True):
    """What an application may know about the block it executes in."""

    genesis: Genesis
    epoch: Epoch
    height: int
    block_time_ms: int
    proposer: bytes
    """NodeId of the primary that built the proposal; empty for a null request."""


class Application(Protocol):
    """Transaction kinds and their rules."""

    name: str
    body_types: tuple[type[TransactionBody], ...]
    """The kinds it executes; a kind belongs to one application."""
    event_types: tuple[type[EventData], ...]

    def genesis_records(self, genesis: Genesis) -> Iterable[tuple[bytes, bytes]]:
        """Records of the state at height 0. Not asked in a recovered network, which takes its state over."""
        ...

    def check(self, transaction: Transaction, state: StateReader, epoch: Epoch) -> None:
        """Could it succeed now? For pool admission and proposal building only, never for a vote.

        Nonce, expiry and base fee are checked already; funds for more than the fee are the application's to check.
        Raises InvalidTransaction.
        """
        ...

    def is_duty(self, transaction: Transaction, state: StateReader, epoch: Epoch) -> bool:
        """Is this a duty of its sender, which takes its place for any fee, 0 too?

        Asked for transactions with less than the base fee only, when they are admitted and when they take their place;
        so it must follow from kind, sender, state and epoch alone, and whoever may send one must be bounded by them
        (operators of the epoch, say). An application without duties returns False.
        """
        ...

    def execute(self, transaction: Transaction, context: BlockContext, state: StateWriter) -> tuple[EventData, ...]:
        """Run the body; fee and nonce are taken already. Raises TransactionFailed, which rolls the body back."""
        ...

    def end_block(self, context: BlockContext, state: StateWriter) -> tuple[EventData, ...]:
        """Run after all transactions of every block, empty ones too.

        Raises TransactionFailed to undo all that it did; the block then says so in an event.
        """
        ...


class ApplicationFactory(Protocol):
    """What an application plug-in offers through the hook `applications`."""

    name: str
    version: str
    options_type: type[msgspec.Struct]
    """Decoded once from the table [application.<name>] of the node's configuration."""

    def create(self, options: msgspec.Struct) -> Application:
        """The application; every node of a network must run the same ones."""
        ...
