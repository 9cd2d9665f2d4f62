"""Proposals on the wire with 8 bytes for each transaction instead of 34: the receiver knows the ids from its own pool.

Theory of operation. Any engine's message that carries a proposal has the list of ids in its body. The sender takes that
list out and sends salted short ids in its place, with a checksum of the whole body. The receiver finds the ids in its
pool, puts the body together and hands the message on as if it had come whole: every check comes after that, so nothing
is believed because of a short id. The salt is the proposal's digest, which nobody knows before it is made; so nobody
can prepare two transactions whose short ids are the same.

Transactions may be on their way still: the message waits for them as long as a proposal waits for its bodies. Then, or
when the checksum does not fit, the receiver asks the sender for the whole message. Of a message that is sent again the
proposal is held already, and its ids are taken from there: what is executed is in no pool.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from hashlib import sha256
from typing import Any

import msgspec

from potchain.blocks import Proposal
from potchain.consensus.interface import ConsensusMessage
from potchain.driver.clock import Clock
from potchain.primitives import NS_PER_MS, Digest, NodeId
from potchain.replica import Replica, wire
from potchain.transactions import Transaction

SHORT_ID_BYTES = 8
"""A pool of 50,000 and a proposal of 1,000 clash once in 3 * 10^11 proposals."""
SHORTENED_BODY_BYTES_MIN = 256
"""A shorter body is sent as it is."""
SENT_MAX = 64
"""Own messages that went out shortened and can be asked for. An older one, if it counts, is sent again anyway."""
PENDING_PER_PEER_MAX = 8
"""Messages of one peer that wait for their transactions; of more, the whole is asked for at once."""
SEARCH_INTERVAL_MS = 10
"""Least time after a search through the pool for one peer until the next for it."""
SEARCH_REST_NS_PER_ID = 10_000
"""And so much more for each id that was looked at: twenty times what that costs."""


class Pending(msgspec.Struct, eq=False):
    """A message whose ids are not all known yet."""

    peer: NodeId
    frame: wire.Shortened
    wanted: dict[bytes, Digest | None]
    """In the order of the list; the id once it is known."""
    missing: int

    @property
    def key(self) -> tuple[NodeId, bytes]:
        """What it is known by."""
        return self.peer, self.frame.message.signature

    def offer(self, ids: Iterable[Digest]) -> None:
        """Ids of transactions that are here."""
        salt = self.frame.message.digest
        for transaction_id in ids:
            short = short_id(salt, transaction_id)
            if short in self.wanted:
                self.missing -= self.wanted[short] is None
                self.wanted[short] = transaction_id

    def whole(self) -> ConsensusMessage | None:
        """The message, once every id is known; None if another one has the same short id."""
        body = self.frame.before + id_list([each for each in self.wanted.values() if each]) + self.frame.after
        if checksum(body) != self.frame.checksum:
            return None
        return msgspec.structs.replace(self.frame.message, body=body)


class ShortIds:
    """Both sides of one node."""

    def __init__(
        self,
        replica: Replica,
        clock: Clock,
        *,
        deliver: Callable[[NodeId, ConsensusMessage], None],
        send: Callable[[NodeId, wire.Frame], None],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        """`deliver` takes whole messages, as from the peer."""
        self._replica = replica
        self._deliver = deliver
        self._send = send
        self._spawn = spawn
        self._clock = clock
        self._sent: dict[bytes, ConsensusMessage] = {}
        self._pending: dict[tuple[NodeId, bytes], Pending] = {}
        """By peer and signature, which nobody has checked yet: another's may be in its place."""
        self._rests_ns: dict[NodeId, int] = {}
        """Until when nothing is searched for a peer."""

    def shortened(self, frame: wire.Frame) -> wire.Frame:
        """A frame for everyone, shortened if it can be and the node's configuration says so."""
        if not self._replica.dissemination.short_ids or not isinstance(frame, ConsensusMessage):
            return frame
        proposal = self._held(frame) if len(frame.body) >= SHORTENED_BODY_BYTES_MIN else None
        if proposal is None:
            return frame
        before, ids, after = frame.body.partition(id_list(proposal.transaction_ids) or b"\xff")
        if not ids:
            return frame
        self._sent[frame.signature] = frame
        if len(self._sent) > SENT_MAX:
            del self._sent[next(iter(self._sent))]
        short = b"".join([short_id(frame.digest, each) for each in proposal.transaction_ids])
        return wire.Shortened(msgspec.structs.replace(frame, body=b""), before, short, after, checksum(frame.body))

    def received(self, peer: NodeId, frame: wire.Shortened | wire.FetchWhole) -> None:
        """Take a frame from a peer. What no correct node sends is dropped: its signature was not looked at yet."""
        if isinstance(frame, wire.FetchWhole):
            message = self._sent.get(frame.signature)
            if message is not None:
                self._send(peer, message)
            return
        count, rest = divmod(len(frame.ids), SHORT_ID_BYTES)
        well_formed = not rest and not frame.message.body and 0 < count <= self._replica.epoch.parameters.batch_max
        own = peer == frame.message.sender and any(peer in each.ids for each in self._replica.epochs.near)
        if well_formed and own and (peer, frame.message.signature) not in self._pending:
            self._begin(peer, frame)

    def transactions_came(self, transactions: Iterable[Transaction]) -> None:
        """These have reached the replica."""
        if self._pending:
            ids = [transaction.id for transaction in transactions]
            for pending in tuple(self._pending.values()):
                pending.offer(ids)
                if not pending.missing:
                    self._finish(pending)

    def _begin(self, peer: NodeId, frame: wire.Shortened) -> None:
        cut = range(0, len(frame.ids), SHORT_ID_BYTES)
        wanted: dict[bytes, Digest | None] = {frame.ids[at : at + SHORT_ID_BYTES]: None for at in cut}
        pending = Pending(peer, frame, wanted, len(wanted))
        now_ns = self._clock.now().monotonic_ns
        busy = sum(each.peer == peer for each in self._pending.values()) >= PENDING_PER_PEER_MAX
        if busy or now_ns < self._rests_ns.get(peer, 0):
            self._ask(pending)
            return
        held = self._held(frame.message)
        if held is None:
            pending.offer(self._replica.pool.ids())
            rest_ns = SEARCH_INTERVAL_MS * NS_PER_MS + len(self._replica.pool) * SEARCH_REST_NS_PER_ID
        else:
            pending.offer(map(Digest, held.transaction_ids))
            rest_ns = len(held.transaction_ids) * SEARCH_REST_NS_PER_ID
        self._rests_ns[peer] = now_ns + rest_ns
        self._pending[pending.key] = pending
        if pending.missing:
            self._spawn(self._wait(pending))
        else:
            self._finish(pending)

    def _held(self, message: ConsensusMessage) -> Proposal | None:
        digest = Digest(message.digest)
        return self._replica.desk.pinned(digest) or self._replica.chain.decided_proposal(message.sequence, digest)

    def _finish(self, pending: Pending) -> None:
        self._pending.pop(pending.key, None)
        message = pending.whole()
        if message is None:
            self._ask(pending)
        else:
            self._deliver(pending.peer, message)

    def _ask(self, pending: Pending) -> None:
        self._send(pending.peer, wire.FetchWhole(pending.frame.message.signature))

    async def _wait(self, pending: Pending) -> None:
        await asyncio.sleep(self._replica.dissemination.body_grace_ms / 1_000)
        if self._pending.pop(pending.key, None) is not None:
            self._ask(pending)


def short_id(salt: bytes, transaction_id: bytes) -> bytes:
    """8 bytes for an id under a salt."""
    return sha256(salt + transaction_id).digest()[:SHORT_ID_BYTES]


def checksum(body: bytes) -> bytes:
    """Of a message's whole body, 8 bytes."""
    return sha256(body).digest()[:SHORT_ID_BYTES]


def id_list(ids: Iterable[bytes]) -> bytes:
    """Canonical bytes of these ids as they stand in a list, without its head."""
    return b"".join([b"\xc4\x20" + each for each in ids])
