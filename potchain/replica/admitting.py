"""Transactions with good signatures, on their way into the pool: from clients, from gossip, and as bodies asked for.

What a client is told is known here is durable here. Gossip was promised to nobody, and becomes durable in company.
"""

from __future__ import annotations

from potchain.replica.actions import Resolve, TransactionsVerified
from potchain.replica.relaying import Relaying
from potchain.replica.rooms import Rooms


class Admission:
    """Offers transactions to the pool and answers who brought them."""

    def __init__(self, rooms: Rooms) -> None:
        self._chain = rooms.chain
        self._desk = rooms.desk
        self._outbox = rooms.outbox
        self._relaying = Relaying(rooms)

    def take(self, event: TransactionsVerified, now_ns: int) -> None:
        """Admit what may be admitted; complete proposals that waited for a body; resolve a client's call."""
        outcomes = []
        admitted = []
        for transaction in event.transactions:
            status, code, detail = self._chain.admit(transaction, now_ns, vouched=event.ticket is None)
            if status == "accepted":
                admitted.append(transaction)
            outcomes.append((transaction.id, status, code, detail))
        if event.ticket is None:
            self._outbox.persist_in_company(tuple(admitted))
        else:
            self._outbox.persist(bodies=tuple(admitted))
        for transaction in event.transactions:
            if self._desk.is_wanted(transaction.id):
                self._desk.body_arrived(transaction)
        if event.ticket is not None:
            self._outbox.flush()  # what a client is told is known here is durable here, too
            if admitted:
                for transmit in self._relaying.from_client(admitted):
                    self._outbox.then(transmit)
            self._outbox.then(Resolve(event.ticket, tuple(outcomes)))
        elif event.root is not None and admitted:
            for transmit in self._relaying.relayed(event.root, admitted):
                self._outbox.now(transmit)  # nobody was promised anything: those below need not wait for this disk
