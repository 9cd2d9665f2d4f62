"""The auditor: it sees every message that any node's own code lets out, over all crashes.

Byzantine middleware stands behind this place, so even the node that it surrounds must sign a slot once; twins are two
nodes, each held to that by itself. What such a node lets out in its own name may have been signed by its middleware or
by its twin and come back from a peer: only what is in its own vote database counts as its own.
"""

from __future__ import annotations

from potchain.blocks import BLOCK_VOTE, ExecutedBlock
from potchain.consensus.interface import ConsensusMessage
from potchain.consensus.quorum import Quorum
from potchain.errors import CodecError
from potchain.primitives import NodeId
from potchain.replica import wire
from potchain.sim.middleware import decoded
from potchain.sim.observation import Checker, ClusterView, NodeView, PromiseBroken
from potchain.sim.plan import LoseVoteLog, Plan, RestoreOldVoteLog

Slot = tuple[int, int, int, int, str]
"""Node, epoch, view, sequence, kind."""


class OneSignaturePerSlot(Checker):
    """No node signs two digests for one slot, nothing below a view it has announced, no block it did not execute."""

    name = "one signature per slot"

    def __init__(self) -> None:
        self._signed: dict[Slot, tuple[bytes, bytes]] = {}
        self._announced: dict[tuple[int, int], tuple[int, bytes]] = {}
        self._executed: dict[tuple[int, int], bytes] = {}

    def executed(self, node: NodeView, block: ExecutedBlock) -> None:
        """What it may vote for."""
        self._executed[node.index, block.height] = block.hash

    def signed(self, node: NodeView, message: ConsensusMessage) -> None:
        """A message goes out, for the first time or again."""
        if message.sender != node.node_id or (node.is_faulty and not node.is_durable(message)):
            return  # it passes on what somebody else signed, to a peer that asked
        slot = (node.index, message.epoch, message.view, message.sequence, message.kind)
        earlier = self._signed.get(slot)
        if earlier is not None:
            if earlier != (message.digest, message.signature) and not self._is_excused(node, earlier[1]):
                raise PromiseBroken(
                    node.index,
                    f"{node.name} signed {message.kind} {earlier[0].hex()[:16]} and {message.digest.hex()[:16]} at "
                    f"epoch {message.epoch} view {message.view} sequence {message.sequence}",
                )
            return
        self._signed[slot] = message.digest, message.signature
        if message.kind == BLOCK_VOTE:
            if self._executed.get((node.index, message.sequence)) != message.digest:
                raise PromiseBroken(node.index, f"{node.name} votes for a block {message.sequence} it never executed")
            return
        place = (node.index, message.epoch)
        announced, signature = self._announced.get(place, (0, b""))
        if message.view < announced and not self._is_excused(node, signature):
            raise PromiseBroken(
                node.index,
                f"{node.name} signed {message.kind} {message.sequence} in view {message.view} after it announced view "
                f"{announced}",
            )
        if message.sequence == 0:
            self._announced[place] = message.view, message.signature

    def _is_excused(self, node: NodeView, signature: bytes) -> bool:
        """Whether it could not know that it had signed this before."""
        return False


class OneSignatureAfterLoss(OneSignaturePerSlot):
    """The same promise where the plan takes a node's votes away, as far as others can tell the node what it signed.

    It asks its peers and goes on with a quorum of answers, its own among them. So it must know of a message that at
    least n - quorum + 1 honest peers have received and not forgotten in a crash; of another it may not.
    """

    def __init__(self) -> None:
        super().__init__()
        self._witnesses: dict[bytes, set[int]] = {}
        self._robbed: frozenset[int] = frozenset()
        self._needed = 0
        self._plan: Plan

    def begin(self, cluster: ClusterView) -> None:
        """Whose votes will be gone."""
        self._plan = cluster.plan
        lost = [fault.node for fault in cluster.plan.faults if isinstance(fault, LoseVoteLog | RestoreOldVoteLog)]
        self._robbed = frozenset(lost)
        self._needed = cluster.plan.nodes - Quorum(cluster.plan.nodes).quorum + 1

    def received(self, node: NodeView, sender: NodeId, data: bytes) -> None:
        """An honest validator knows of a message."""
        if node.is_faulty or node.index >= self._plan.nodes or data[:1] != b"\x00":
            return
        try:
            frame = wire.decode_frame(data)
        except CodecError:
            return  # a liar's rubbish
        if isinstance(frame, ConsensusMessage):
            self._witnesses.setdefault(frame.signature, set()).add(node.index)

    def crashed(self, node: NodeView) -> None:
        """What it had heard and not written down is gone."""
        for witnesses in self._witnesses.values():
            witnesses.discard(node.index)

    def _is_excused(self, node: NodeView, signature: bytes) -> bool:
        return node.index in self._robbed and len(self._witnesses.get(signature, ())) < self._needed


class DurableBeforeSent(Checker):
    """A vote that is sent is in the node's vote database at that moment."""

    name = "durable before sent"

    def __init__(self) -> None:
        self._seen: set[tuple[int, int, bytes]] = set()
        self._returned: set[tuple[int, bytes]] = set()
        """Own messages that a node got back from a peer: one that has lost its votes may pass such a message on."""

    def received(self, node: NodeView, sender: NodeId, data: bytes) -> None:
        """What a node once sent comes back to it."""
        if data[:1] == b"\x00" and bytes(node.node_id) in data:
            frame = decoded(data)
            if isinstance(frame, ConsensusMessage) and frame.sender == node.node_id:
                self._returned.add((node.index, frame.signature))

    def signed(self, node: NodeView, message: ConsensusMessage) -> None:
        """Ask the disk, once for each message and life."""
        known = (node.index, node.lives, message.signature)
        if known in self._seen or message.sender != node.node_id or node.is_faulty:
            return
        self._seen.add(known)
        if not node.is_durable(message) and (node.index, message.signature) not in self._returned:
            raise PromiseBroken(
                node.index, f"{node.name} sent {message.kind} {message.view}/{message.sequence} before it was on disk"
            )
