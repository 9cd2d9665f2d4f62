"""Every buffer of a node has a bound that follows from the parameters of its epoch and from the number of nodes.

A buffer of votes holds at most one for each (member, kind, slot of the window). The bounds here are those of the
documentation with every unknown taken at its largest, so that a buffer which grows with time, or with what a peer
sends, passes them within a run, and one which only breathes does not.
"""

from __future__ import annotations

from potchain.genesis import Parameters
from potchain.sim.observation import Checker, ClusterView, NodeView, PromiseBroken

KINDS_MAX = 8
"""Kinds of message for one slot that an engine may need; PBFT has four, and the replica one."""
VIEWS_MAX = 4
"""Views whose messages an engine may hold for one slot at a time."""
FIXED = {
    "steps_waiting_for_disk": 4_096,
    "proposals_fetching": 1_024,
    "synced_bodies": 16_384,
    "bodies_wanted": 16_384,
    "signatures_under_way": 50_000,
    "journal_queue": 8_192,
    "ledger_queue": 8_192,
    "history_lag": 65_536,
    "recent_blocks": 65_536,
    "inbox": 65_536,
}
"""Buffers that do not follow the window."""


def bound_of(name: str, parameters: Parameters, members: int) -> int:
    """The largest size that a buffer of that name may have."""
    fixed = FIXED.get(name)
    if fixed is not None:
        return fixed
    return KINDS_MAX * VIEWS_MAX * members * (parameters.log_window + parameters.checkpoint_interval)


class BoundedBuffers(Checker):
    """No buffer of a node, the pool's included, passes its bound."""

    name = "bounded buffers"

    def second(self, cluster: ClusterView) -> None:
        """Look at every running node."""
        for node in cluster.nodes:
            if node.is_up:
                self._look(node)

    def _look(self, node: NodeView) -> None:
        epoch = node.replica.epoch
        members = len(epoch.members)
        for name, size in node.buffers().items():
            bound = bound_of(name, epoch.parameters, members)
            if size > bound:
                raise PromiseBroken(node.index, f"{name} of {node.name} holds {size}, its bound is {bound}")
        pool = node.replica.pool.status()
        for name in ("count", "bytes", "pinned_bytes", "proposals", "dropped_remembered", "forgotten"):
            size, bound = getattr(pool, name), getattr(pool, f"{name}_max")
            if size > bound:
                raise PromiseBroken(node.index, f"pool {name} of {node.name} is {size}, its bound is {bound}")
