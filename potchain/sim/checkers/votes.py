"""The auditor: it sees every message that any node's own code lets out, over all crashes.

Byzantine middleware stands behind this place, so even the node that it surrounds must sign a slot once; twins are two
nodes, each held to that by itself. What such a node lets out in its own name may have been signed by its middleware or
by its twin and come back from a peer: only what is in its own vote database counts as its own.
"""

from __future__ import annotations

from potchain.blocks import BLOCK_VOTE, ExecutedBlock
from potchain.consensus.interface import ConsensusMessage
from potchain.sim.observation import Checker, NodeView, PromiseBroken

Slot = tuple[int, int, int, int, str]
"""Node, epoch, view, sequence, kind."""


class OneSignaturePerSlot(Checker):
    """No node signs two digests for one slot, nothing below a view it has announced, no block it did not execute."""

    name = "one signature per slot"

    def __init__(self) -> None:
        self._signed: dict[Slot, tuple[bytes, bytes]] = {}
        self._announced: dict[tuple[int, int], int] = {}
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
            if earlier != (message.digest, message.signature):
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
        announced = self._announced.get(place, 0)
        if message.view < announced:
            raise PromiseBroken(
                node.index,
                f"{node.name} signed {message.kind} {message.sequence} in view {message.view} after it announced view "
                f"{announced}",
            )
        if message.sequence == 0:
            self._announced[place] = message.view


class DurableBeforeSent(Checker):
    """A vote that is sent is in the node's vote database at that moment."""

    name = "durable before sent"

    def __init__(self) -> None:
        self._seen: set[tuple[int, int, bytes]] = set()

    def signed(self, node: NodeView, message: ConsensusMessage) -> None:
        """Ask the disk, once for each message and life."""
        known = (node.index, node.lives, message.signature)
        if known in self._seen or message.sender != node.node_id or node.is_faulty:
            return
        self._seen.add(known)
        if not node.is_durable(message):
            raise PromiseBroken(
                node.index, f"{node.name} sent {message.kind} {message.view}/{message.sequence} before it was on disk"
            )
