"""Which epoch a height belongs to, as far as this node knows.

All rooms of a replica share one `KnownEpochs` and ask it at every use; nobody keeps an epoch of his own. An epoch is
current here from the moment in which the block that ends the one before it is executed and certified here, and not
before: until then nothing above that block can be checked.
"""

from __future__ import annotations

from collections.abc import Sequence

from potchain.blocks import BLOCK_VOTE
from potchain.codec import encode
from potchain.genesis import Epoch
from potchain.primitives import NodeId


class KnownEpochs:
    """The current epoch, those before it that heights without certificate belong to, and the one that is pending."""

    def __init__(self, epochs: Sequence[Epoch]) -> None:
        """`epochs` are consecutive; the last one is current."""
        self._begun = list(epochs)
        self.current = epochs[-1]
        self.current_bytes = encode(self.current)
        """Its canonical form, as the state holds it."""
        self.pending: Epoch | None = None
        """What follows it, from when the change is decided; its validators may change until the boundary is near."""

    @property
    def previous(self) -> Epoch | None:
        """The epoch before the current one, while it is remembered."""
        return self._begun[-2] if len(self._begun) > 1 else None

    def place_of(self, node: NodeId) -> int | None:
        """Its place among the current validators; None for a stranger."""
        ids = self.current.ids
        return ids.index(node) if node in ids else None

    @property
    def near(self) -> tuple[Epoch, ...]:
        """Previous, current and pending epoch: whose validators may connect."""
        return (*self._begun[-2:], *(() if self.pending is None else (self.pending,)))

    def is_near(self, node: NodeId) -> bool:
        """Whether it is a validator of one of these."""
        return node in self.current.keys or any(node in epoch.keys for epoch in self.near)

    @property
    def last_height(self) -> int | None:
        """C: where the current epoch ends, when that is known."""
        return None if self.pending is None else self.pending.first_sequence - 1

    def at(self, height: int) -> Epoch | None:
        """The epoch that decides and certifies this height; None when it has not begun here, or is forgotten."""
        if self.pending is not None and height >= self.pending.first_sequence:
            return None
        for epoch in reversed(self._begun):
            if height >= epoch.first_sequence:
                return epoch
        return None

    def of_message(self, kind: str, epoch: int, sequence: int) -> Epoch | None:
        """Whose signatures a message may bear; None: it is of an epoch that matters no more, or is not known yet."""
        if self.pending is not None and epoch == self.pending.number:
            return self.pending
        found = self.at(sequence) if kind == BLOCK_VOTE else self.current
        return found if found is not None and found.number == epoch else None

    def begin(self, epoch: Epoch) -> None:
        """The block that ends the current epoch is executed and certified here."""
        self._begun.append(epoch)
        self.current, self.current_bytes, self.pending = epoch, encode(epoch), None

    def forget(self, certified: int) -> None:
        """Every height up to here is certified: of epochs that ended there, only the previous one is of interest."""
        while len(self._begun) > 2 and self._begun[1].first_sequence - 1 <= certified:
            del self._begun[0]

    def name_of(self, node: bytes) -> str:
        """Name of a member of any epoch that is near; a stranger's id in hex."""
        for epoch in reversed(self.near):
            if NodeId(node) in epoch.ids:
                return epoch.name_of(node)
        return "0x" + node.hex()

    def __len__(self) -> int:
        return len(self._begun)
