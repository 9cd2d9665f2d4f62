"""The signer and its guard: the last line against equivocation, independent of any engine.

Rule 1: one digest for one (epoch, view, sequence, kind), ever. Rule 2: nothing at or below the stable checkpoint.
Rule 3: a message of sequence 0 (view change, new view) announces its view; afterwards nothing but a block vote is
signed in a lower view of that epoch. The driver makes the guard's entries durable together with the signed message,
before anything is sent; entries at or below the stable checkpoint may then be forgotten, since rule 2 covers them.
"""

from __future__ import annotations

from collections.abc import Iterable

from potchain.blocks import BLOCK_VOTE, vote_bytes
from potchain.codec import Canonical
from potchain.consensus.interface import ConsensusMessage
from potchain.crypto import SigningKey, node_id_of
from potchain.errors import GuardRefusal
from potchain.primitives import Bytes32, Uint64


class GuardEntry(Canonical, frozen=True):
    """One slot that was signed, and for which digest."""

    epoch: Uint64
    view: Uint64
    sequence: Uint64
    kind: str
    digest: Bytes32


class Signer:
    """Signs consensus messages with one key for one network, at most once per slot."""

    def __init__(
        self, key: SigningKey, genesis_hash: bytes, entries: Iterable[GuardEntry] = (), stable: int = 0
    ) -> None:
        """`entries` and `stable` are what is durable from earlier runs."""
        self._key = key
        self._genesis_hash = genesis_hash
        self.node_id = node_id_of(key.public_key)
        self._signed: dict[tuple[int, int, int, str], bytes] = {}
        self._announced: dict[int, int] = {}
        self._stable = stable
        for entry in entries:
            self._remember(entry)

    @property
    def size(self) -> int:
        """How many slots the guard remembers above the stable checkpoint."""
        return len(self._signed)

    def sign(self, epoch: int, kind: str, view: int, sequence: int, digest: bytes, body: bytes) -> ConsensusMessage:
        """The signed message. Signing the same digest for a slot again gives the same bytes.

        Raises GuardRefusal when a rule of this file forbids it.
        """
        earlier = self._signed.get((epoch, view, sequence, kind))
        if earlier is not None and earlier != digest:
            raise GuardRefusal(
                f"already signed {kind} 0x{earlier.hex()} at epoch {epoch} view {view} sequence {sequence}; "
                f"refused 0x{digest.hex()}"
            )
        if 0 < sequence <= self._stable:
            raise GuardRefusal(f"{kind} at sequence {sequence} is not above the stable checkpoint {self._stable}")
        if kind != BLOCK_VOTE and view < self._announced.get(epoch, 0):
            raise GuardRefusal(f"{kind} in view {view} is below the announced view {self._announced[epoch]}")
        self._remember(GuardEntry(epoch, view, sequence, kind, digest))
        message = vote_bytes(self._genesis_hash, epoch, kind, view, sequence, digest, self.node_id)
        return ConsensusMessage(
            epoch, kind, view, sequence, digest, self.node_id, body, self._key.sign_vote(message)
        )

    def remembers(self, message: ConsensusMessage) -> bool:
        """Whether an own message is known here: signed in a slot of the guard, or covered by the stable checkpoint."""
        if 0 < message.sequence <= self._stable:
            return True
        slot = (message.epoch, message.view, message.sequence, message.kind)
        return self._signed.get(slot) == message.digest

    def never_below(self, epoch: int, view: int) -> None:
        """Rule 3 for a view change that was signed and forgotten: nothing but a block vote in a lower view."""
        self._announced[epoch] = max(self._announced.get(epoch, 0), view)

    def forget_below(self, stable: int) -> None:
        """Drop slots at or below a stable checkpoint; they can never be signed again."""
        self._stable = max(self._stable, stable)
        self._signed = {
            slot: digest for slot, digest in self._signed.items() if slot[2] == 0 or slot[2] > self._stable
        }

    def _remember(self, entry: GuardEntry) -> None:
        self._signed[(entry.epoch, entry.view, entry.sequence, entry.kind)] = entry.digest
        if entry.sequence == 0:
            self._announced[entry.epoch] = max(self._announced.get(entry.epoch, 0), entry.view)


def guard_entry(message: ConsensusMessage) -> GuardEntry:
    """The guard's entry for a message of our own."""
    return GuardEntry(message.epoch, message.view, message.sequence, message.kind, message.digest)
