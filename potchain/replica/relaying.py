"""Passing bodies on: from this node's clients to the network, and down the trees of relays that others are roots of.

A node passes a transaction on when its pool takes it as new, so at most once, whoever sends it how often; and after its
signature was checked, so a relay spreads no rubbish. A relay that is down, lies, or finds no room costs those below it
a `FetchBodies`, as any lost gossip does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from potchain.dissemination import children, pieces
from potchain.primitives import NodeId
from potchain.replica import wire
from potchain.replica.actions import Transmit
from potchain.replica.rooms import Rooms
from potchain.transactions import Transaction


class Relaying:
    """Says whom to send newly admitted transactions to."""

    def __init__(self, rooms: Rooms) -> None:
        self._me = rooms.me
        self._epochs = rooms.epochs
        self._options = rooms.dissemination

    def from_client(self, transactions: Sequence[Transaction]) -> Iterator[Transmit]:
        """Spread what a client of this node gave it, in the configured way."""
        raws = tuple(transaction.raw for transaction in transactions)
        place = self._epochs.place_of(self._me)
        if self._options.spread == "gossip" or place is None:
            for at in range(0, len(raws), wire.GOSSIP_TRANSACTIONS_MAX):
                yield Transmit(None, wire.Gossip(raws[at : at + wire.GOSSIP_TRANSACTIONS_MAX]))
            return
        for piece in pieces(raws):
            yield from self._to_children(place, place, piece)

    def relayed(self, root: int, transactions: Sequence[Transaction]) -> Iterator[Transmit]:
        """Pass on what came down the tree of the member at `root`."""
        place = self._epochs.place_of(self._me)
        if place is None or root >= len(self._epochs.current.ids):
            return  # of another epoch, in which the tree was another one
        yield from self._to_children(root, place, tuple(transaction.raw for transaction in transactions))

    def _to_children(self, root: int, place: int, raws: tuple[bytes, ...]) -> Iterator[Transmit]:
        members: tuple[NodeId, ...] = self._epochs.current.ids
        for child in children(len(members), self._options.tree_fanout, root, place):
            yield Transmit(members[child], wire.Relay(root, raws))
