"""Transaction bodies from peers, in whatever form they come: checked off the loop, then handed to the replica.

Gossip, bodies that were asked for, a client's submission and what comes down a tree are lists of transactions. Shares
of bundles are checked in place, each alone: that costs a hash of its bytes, and for the first of a bundle a signature.
A bundle with enough shares is decoded on a thread; its transactions then go the way of all others.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from potchain.dissemination import bundle_digest
from potchain.driver.incoming import Incoming
from potchain.primitives import NodeId
from potchain.replica import Replica, wire
from potchain.replica.actions import BundleDecoded, DecodeBundle, ReplicaEvent, ShareVerified, TransactionsVerified

GOSSIP_FRAMES_MAX = 256
"""Frames of transactions from one peer that may be checked at once; more are dropped, and fetched when needed."""

NOBODY = 0
"""Ticket of a call that awaits no outcome: what a peer submits is treated as a client's, and not answered."""

TransactionsFrame = wire.Gossip | wire.BodiesAnswer | wire.Submit | wire.Relay
"""Frames that are a list of transactions."""


class Bodies:
    """Checks for one driver."""

    def __init__(
        self,
        replica: Replica,
        incoming: Incoming,
        post: Callable[[ReplicaEvent], None],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        misbehaved: Callable[[NodeId, str], None],
        clients: Sequence[NodeId],
    ) -> None:
        """`clients`: peers whose submissions this node spreads as its own clients'."""
        self._clients = tuple(clients)
        self._replica = replica
        self._incoming = incoming
        self._post = post
        self._spawn = spawn
        self._misbehaved = misbehaved
        self._under_way: dict[NodeId, int] = {}

    def received(self, peer: NodeId, frame: TransactionsFrame | wire.BundleShare) -> None:
        """Begin to check a frame."""
        if isinstance(frame, wire.BundleShare):
            self._share(peer, frame)
        elif len(frame.transactions) > wire.GOSSIP_TRANSACTIONS_MAX:
            self._misbehaved(peer, f"{len(frame.transactions)} transactions in one frame")
        elif isinstance(frame, wire.Submit) and peer not in self._clients:
            self._misbehaved(peer, "a submission by a peer that is no client of this node")
        elif self._under_way.get(peer, 0) < GOSSIP_FRAMES_MAX:
            self._under_way[peer] = self._under_way.get(peer, 0) + 1
            self._spawn(self._transactions(peer, frame))

    def decode(self, action: DecodeBundle) -> None:
        """Begin to reassemble a bundle."""
        self._spawn(self._decode(action))

    async def _transactions(self, peer: NodeId, frame: TransactionsFrame) -> None:
        try:
            verified, fault = await self._incoming.transactions(frame.transactions, self._replica)
        finally:
            self._under_way[peer] -= 1
        if fault:
            self._misbehaved(peer, fault)
        if verified:
            ticket = NOBODY if isinstance(frame, wire.Submit) else None
            root = frame.root if isinstance(frame, wire.Relay) else None
            self._post(TransactionsVerified(verified, ticket, root))

    def _share(self, peer: NodeId, frame: wire.BundleShare) -> None:
        bundle = bundle_digest(self._replica.genesis.hash, frame.share.head)
        if not self._replica.sharing.wants(bundle, frame.share):
            return  # late, or of another epoch: no fault of anybody, and not worth a hash
        account, fault = self._incoming.share(bundle, frame.share)
        if fault:
            self._misbehaved(peer, fault)
        else:
            self._post(ShareVerified(peer, bundle, account, frame.share))

    async def _decode(self, action: DecodeBundle) -> None:
        raws, own, fault = await self._incoming.bundle(action)
        self._post(BundleDecoded(action.bundle, own, fault))
        # A bad transaction in it is its client's fault, and no peer's.
        verified, _ = await self._incoming.transactions(raws, self._replica, past_bad_ones=True)
        if verified:
            self._post(TransactionsVerified(verified))
