"""The cluster in memory, with what the driver does for shares and relays: checks, and decoding when it is asked for."""

from __future__ import annotations

from collections.abc import Sequence

from core_network import key
from replica_cluster import Cluster, Node

from potchain.consensus.quorum import Quorum
from potchain.dissemination import Share, bundle_digest, needed_shares, own_share, share_fault, signer_of, split
from potchain.driver.incoming import reassembled
from potchain.primitives import NodeId
from potchain.replica import wire
from potchain.replica.actions import (
    BundleDecoded,
    DecodeBundle,
    ReplicaAction,
    ShareVerified,
    TransactionsVerified,
)
from potchain.transactions import Transaction

CLIENT = NodeId(b"client".ljust(20, b"\0"))


class SharingCluster(Cluster):
    """A cluster whose nodes know shares and relays."""

    def shares(
        self, transactions: Sequence[Transaction], *, signer: str = "alice", number: int = 0
    ) -> tuple[Share, ...]:
        """One bundle for this cluster's epoch."""
        members = len(self.epoch.members)
        return split(
            [transaction.raw for transaction in transactions],
            shares=members,
            needed=needed_shares(members, 2 * Quorum(members).faults_max),
            key=key(signer),
            genesis_hash=self.genesis.hash,
            number=number,
        )

    def bring(self, to: int, share: Share, peer: NodeId = CLIENT) -> bool:
        """A share reaches a node; whether it was worth a look and good."""
        node = self.nodes[to]
        bundle = bundle_digest(self.genesis.hash, share.head)
        if not node.up or not node.replica.sharing.wants(bundle, share) or share_fault(share) is not None:
            return False
        node.inbox.append(ShareVerified(peer, bundle, signer_of(bundle, share), share))
        return True

    def place(self, to: int) -> int:
        """Of a node among the members."""
        return self.epoch.ids.index(self.nodes[to].me)

    def _deliver(self, sender: int, to: int, data: bytes) -> None:
        frame = wire.decode_frame(data)
        if isinstance(frame, wire.BundleShare):
            if self.passes(sender, to, frame):
                self.bring(to, frame.share, self.nodes[sender].me)
        elif isinstance(frame, wire.Relay):
            self._relay(sender, to, frame)
        else:
            super()._deliver(sender, to, data)

    def _relay(self, sender: int, to: int, frame: wire.Relay) -> None:
        node = self.nodes[to]
        parsed = [self.types.parse(raw) for raw in frame.transactions]
        fresh = tuple(each for each in parsed if node.replica.pool.get(each.id) is None)
        if node.up and fresh and self.passes(sender, to, frame):
            node.inbox.append(TransactionsVerified(fresh, root=frame.root))

    def _carry_out(self, index: int, node: Node, action: ReplicaAction) -> None:
        if not isinstance(action, DecodeBundle):
            super()._carry_out(index, node, action)
            return
        found = reassembled(action)
        if found is None:
            node.inbox.append(BundleDecoded(action.bundle, None, "inconsistent"))
            return
        place = action.place
        own = None if place is None else own_share(action.head, action.signature, found.blocks, place)
        node.inbox.append(BundleDecoded(action.bundle, own))
        parsed = tuple(self.types.parse(raw) for raw in found.transactions)
        fresh = tuple(each for each in parsed if node.replica.pool.get(each.id) is None)
        if fresh:
            node.inbox.append(TransactionsVerified(fresh))
