"""The client of an experiment: hands its transactions over, and counts equal replies.

A node's reply is its signed block vote, which it sends to whoever follows it: it says what came of a block, so equal
votes of f + 1 nodes for the block with the last transaction are what PBFT calls a reply (OSDI'99 section 4.1), and a
quorum of them is the block's certificate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from potchain.blocks import BLOCK_VOTE, ExecutedBlock, vote_bytes
from potchain.consensus.interface import ConsensusMessage
from potchain.consensus.quorum import Quorum
from potchain.dissemination.bundle import needed_shares, shares_of, split
from potchain.driver.incoming import VoteCheck
from potchain.errors import CodecError
from potchain.experiment.lab.node import make_executor
from potchain.experiment.lab.payload import bundles, client_key, frames, make_transactions
from potchain.experiment.point import Point
from potchain.genesis import Genesis
from potchain.primitives import NodeId
from potchain.replica import wire

Send = Callable[[NodeId, bytes], None]
"""To a node, encoded."""


class Times(msgspec.Struct, frozen=True):
    """Nanoseconds of the run's clock; None: it did not come to that."""

    weak_quorum_ns: int | None
    quorum_ns: int | None
    all_executed_ns: int | None
    blocks: int
    """That the transactions took."""


class Client:
    """Not a node: it signs transactions and checks votes."""

    def __init__(
        self, point: Point, genesis: Genesis, up: Sequence[NodeId], verify: VoteCheck, ordinal: int = 0
    ) -> None:
        """`up`: the nodes that are not down, in their order; the first of them is the primary of view 0. `ordinal`:
        which measurement of this network it is."""
        self._point = point
        self._genesis = genesis
        self._up = tuple(up)
        self._verify = verify
        self._key = client_key(ordinal)
        self._quorum = Quorum(point.nodes)
        self._transactions = make_transactions(point, make_executor(genesis).types, ordinal)
        self._ids = {transaction.id for transaction in self._transactions}
        self._outgoing = self._plan()
        self._turn = 0
        self._executed: dict[str, int] = {}
        self._executed_ns: dict[str, int] = {}
        self._blocks: dict[int, bytes] = {}
        """Heights that hold transactions of the client, with their hashes."""
        self._votes: dict[tuple[int, bytes], dict[bytes, int]] = {}
        self.refused = 0
        """Frames that were no good vote of a validator."""

    def hand_over(self, send: Send) -> None:
        """Everything, in its order; again for what got lost, and then to the next nodes in turn."""
        turn, self._turn = self._turn, self._turn + 1
        for target, data in self._outgoing:
            send(self._up[(target + turn) % len(self._up)], data)

    # --- what comes back ----------------------------------------------------------------------------------------------

    def block_executed(self, name: str, block: ExecutedBlock, now_ns: int) -> None:
        """A node has executed a block: what the experiment knows beside what the client sees."""
        ours = sum(1 for each in block.proposal.transaction_ids if each in self._ids)
        if not ours:
            return
        self._blocks[block.height] = block.hash
        self._executed[name] = self._executed.get(name, 0) + ours
        if self._executed[name] >= len(self._ids):
            self._executed_ns.setdefault(name, now_ns)

    def received(self, data: bytes, now_ns: int) -> None:
        """A frame from a node."""
        try:
            vote = wire.decode_frame(data)
        except CodecError:
            self.refused += 1
            return
        if not isinstance(vote, ConsensusMessage) or vote.kind != BLOCK_VOTE:
            return  # a peer's progress, such as every connected peer is told
        key = self._genesis.first_epoch.keys.get(NodeId(vote.sender))
        signed = vote_bytes(
            self._genesis.hash, vote.epoch, vote.kind, vote.view, vote.sequence, vote.digest, vote.sender
        )
        if key is None or not self._verify(key, signed, vote.signature):
            self.refused += 1
            return
        self._votes.setdefault((vote.sequence, vote.digest), {}).setdefault(vote.sender, now_ns)

    # --- the end ------------------------------------------------------------------------------------------------------

    @property
    def done(self) -> bool:
        """Whether all nodes have executed everything and the client knows it from a quorum."""
        return len(self._executed_ns) == len(self._up) and len(self._replies()) >= self._quorum.quorum

    def times(self) -> Times:
        """What was reached."""
        replies = self._replies()
        weak, quorum = self._quorum.weak_quorum, self._quorum.quorum
        everywhere = len(self._executed_ns) == len(self._up)
        return Times(
            replies[weak - 1] if len(replies) >= weak else None,
            replies[quorum - 1] if len(replies) >= quorum else None,
            max(self._executed_ns.values()) if everywhere else None,
            len(self._blocks),
        )

    def _replies(self) -> list[int]:
        """When the votes for the block with the last transaction came, in that order."""
        if not self._executed_ns:
            return []
        last = max(self._blocks)
        return sorted(self._votes.get((last, self._blocks[last]), {}).values())

    # --- what goes out ------------------------------------------------------------------------------------------------

    def _plan(self) -> list[tuple[int, bytes]]:
        """Frames with the place of their receiver among the nodes that are up, in the order in which they leave."""
        point, count = self._point, len(self._up)
        if point.dissemination == "coded":
            return self._plan_shares(count)
        groups = [tuple(each.raw for each in group) for group in frames(point, self._transactions)]
        if point.dissemination == "multicast":
            # Frame by frame to all, so that no link waits for another one's frames.
            encoded = [wire.encode_frame(wire.Gossip(group), compress=True) for group in groups]
            return [(place, data) for data in encoded for place in range(count)]
        if point.dissemination == "striped":
            singles = [(each.raw,) for each in reversed(self._transactions)]
            # The last one, nonce 0, goes to the primary itself.
            return [
                ((len(singles) - 1 - number) % count, wire.encode_frame(wire.Submit(single), compress=True))
                for number, single in enumerate(singles)
            ]
        return [(0, wire.encode_frame(wire.Submit(group), compress=True)) for group in groups]

    def _plan_shares(self, count: int) -> list[tuple[int, bytes]]:
        """Bundles one after another, each with a share for every node."""
        point = self._point
        planned = []
        for number, group in enumerate(bundles(point, self._transactions)):
            shares = split(
                [each.raw for each in group],
                shares=shares_of(point.nodes),
                needed=needed_shares(point.nodes, self._quorum.faults_max),
                key=self._key,
                genesis_hash=self._genesis.hash,
                number=number,
            )
            for place, share in enumerate(shares[:count]):
                planned.append((place, wire.encode_frame(wire.BundleShare(share))))
        return planned
