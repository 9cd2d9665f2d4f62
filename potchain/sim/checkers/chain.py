"""Agreement, equal roots and total order over all honest nodes of a run, their crashes included.

What a node executed counts from the moment of execution, durable or not: it was decided, so its place cannot change.
"""

from __future__ import annotations

from potchain.blocks import BlockCertificate, BlockHeader, ExecutedBlock, block_hash
from potchain.sim.observation import Checker, ClusterView, NodeView, PromiseBroken
from potchain.sim.plan import RestoreOldVoteLog


class EqualRoots(Checker):
    """Who executes one proposal on one parent gets the same roots and the same block time."""

    name = "equal roots"

    def __init__(self) -> None:
        self._first: dict[int, tuple[BlockHeader, str]] = {}

    def executed(self, node: NodeView, block: ExecutedBlock) -> None:
        """Compare with the first honest node that executed this height, unless it executed something else."""
        if node.is_faulty:
            return
        header = block.header
        first, who = self._first.setdefault(header.height, (header, node.name))
        if first.digest != header.digest or first.parent_hash != header.parent_hash:
            return  # that is disagreement, which `Agreement` reports
        for field in ("state_root", "receipts_root", "events_root", "block_time_ms", "next_epoch"):
            ours, theirs = getattr(header, field), getattr(first, field)
            if ours != theirs:
                shown = [value.hex() if isinstance(value, bytes) else value for value in (ours, theirs)]
                raise PromiseBroken(
                    node.index, f"{field} of height {header.height}: {shown[0]} at {node.name}, {shown[1]} at {who}"
                )


class Agreement(Checker):
    """One digest for a sequence and one block hash for a height, over all honest nodes and all time."""

    name = "agreement"

    def __init__(self) -> None:
        self._digests: dict[int, tuple[bytes, str]] = {}
        self._hashes: dict[int, tuple[bytes, str]] = {}

    def executed(self, node: NodeView, block: ExecutedBlock) -> None:
        """A decision took effect."""
        if not node.is_faulty:
            self._compare(self._digests, node, block.height, block.header.digest, "digest")
            self._compare(self._hashes, node, block.height, block.hash, "block hash")

    def applied(self, node: NodeView, block: ExecutedBlock) -> None:
        """The block is in a ledger; it must be the one that was executed."""
        self.executed(node, block)

    def certified(self, node: NodeView, certificate: BlockCertificate) -> None:
        """A quorum stands behind a hash."""
        if not node.is_faulty:
            self._compare(self._hashes, node, certificate.height, certificate.block_hash, "certified hash")

    def _compare(
        self, known: dict[int, tuple[bytes, str]], node: NodeView, height: int, value: bytes, what: str
    ) -> None:
        first, who = known.setdefault(height, (value, node.name))
        if first != value:
            raise PromiseBroken(
                node.index, f"{what} at {height}: {value.hex()[:16]} at {node.name}, {first.hex()[:16]} at {who}"
            )


class TotalOrder(Checker):
    """Every node's ledger grows by one height at a time, each block on the one before; nothing durable vanishes.

    After a restart a ledger may not be lower than it was, unless the plan put an older copy in its place.
    """

    name = "total order"

    def __init__(self) -> None:
        self._tips: dict[int, tuple[int, bytes | None]] = {}
        """Node to height and hash of its ledger's tip; None: not seen, the hash is not known."""
        self._restored: frozenset[int] = frozenset()

    def begin(self, cluster: ClusterView) -> None:
        """Who gets an older ledger is no fault of the node's."""
        plan = cluster.plan
        self._restored = frozenset(fault.node for fault in plan.faults if isinstance(fault, RestoreOldVoteLog))

    def started(self, node: NodeView) -> None:
        """What was durable is there."""
        if node.is_faulty:
            return
        chain = node.replica.chain
        height, known = self._tips.get(node.index, (0, None))
        if chain.applied.height < height and node.index not in self._restored:
            raise PromiseBroken(node.index, f"ledger of {node.name} at {chain.applied.height}, it was at {height}")
        if chain.applied.height == height and known is not None and block_hash(chain.applied) != known:
            raise PromiseBroken(node.index, f"another block at the tip {height} of {node.name} after its restart")
        self._tips[node.index] = chain.applied.height, block_hash(chain.applied)

    def applied(self, node: NodeView, block: ExecutedBlock) -> None:
        """One more block."""
        if node.is_faulty:
            return
        height, known = self._tips.get(node.index, (0, None))
        if block.height != height + 1 or block.height != block.proposal.header.sequence:
            raise PromiseBroken(node.index, f"{node.name} applied height {block.height} on top of {height}")
        if known is not None and block.header.parent_hash != known:
            raise PromiseBroken(node.index, f"parent of {block.height} at {node.name} is not its block {height}")
        if block_hash(block.header) != block.hash:
            raise PromiseBroken(node.index, f"block {block.height} at {node.name} does not hash to its hash")
        self._tips[node.index] = block.height, block.hash
