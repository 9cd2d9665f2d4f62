"""What clients were told is true: what a node accepted it keeps, over its crashes, until it is executed or cannot be.

A node whose disk the plan took away, or set back, is excused; so is one behind Byzantine middleware.
"""

from __future__ import annotations

import msgspec

from potchain.blocks import ExecutedBlock
from potchain.sim.observation import ApiAnswer, Checker, ClusterView, NodeView, PromiseBroken
from potchain.sim.plan import LoseVoteLog, RestoreOldVoteLog
from potchain.transactions import Transaction

ACCEPTED = frozenset({"accepted", "known"})
OWN_FAULT = 500
"""From this status on an answer says that the node failed, not that the request was wrong."""
BUSY = frozenset({503, 504})
"""Statuses that say: not now."""


class AcceptedIsKept(Checker):
    """A transaction that was answered with 202 is in the pool, in the chain, or known to be dropped; ever after.

    And no answer is an internal error.
    """

    name = "accepted is kept"

    def __init__(self) -> None:
        self.accepted: dict[int, dict[bytes, Transaction]] = {}
        """Node to what it accepted and has not been seen in the chain yet."""
        self._executed: set[bytes] = set()
        self._nonces: dict[bytes, int] = {}
        self._height = 0
        self._excused: frozenset[int] = frozenset()
        self._cluster: ClusterView

    def begin(self, cluster: ClusterView) -> None:
        """Who may forget."""
        self._cluster = cluster
        lost = [fault.node for fault in cluster.plan.faults if isinstance(fault, LoseVoteLog | RestoreOldVoteLog)]
        self._excused = frozenset(lost)

    def answered(self, answer: ApiAnswer) -> None:
        """Remember what was accepted."""
        node = self._cluster.nodes[answer.node]
        if node.is_faulty:
            return
        if answer.status >= OWN_FAULT and answer.status not in BUSY:
            raise PromiseBroken(
                answer.node, f"{answer.method} {answer.path} at {node.name}: {answer.status} {answer.document[:200]!r}"
            )
        for transaction in accepted_in(answer):
            if transaction.id not in self._executed:
                self.accepted.setdefault(answer.node, {})[transaction.id] = transaction

    def executed(self, node: NodeView, block: ExecutedBlock) -> None:
        """Some honest node has executed it: it is in the chain."""
        if node.is_faulty or block.height != self._height + 1:
            return
        self._height = block.height
        for raw, receipt in zip(block.bodies, block.receipts, strict=True):
            if receipt.status == "skipped":
                continue
            self._executed.add(receipt.transaction_id)
            sender, nonce = msgspec.msgpack.decode(msgspec.msgpack.decode(raw)[1])[:2]
            self._nonces[sender] = nonce + 1
            for waiting in self.accepted.values():
                waiting.pop(receipt.transaction_id, None)

    def second(self, cluster: ClusterView) -> None:
        """Ask every node that is up for what it promised."""
        for node in cluster.nodes:
            if node.is_up and not node.is_faulty and node.index not in self._excused:
                self._look(node)

    def finished(self, cluster: ClusterView) -> None:
        """Once more at the end."""
        self.second(cluster)

    def _look(self, node: NodeView) -> None:
        pool = node.replica.pool
        for transaction_id, transaction in list(self.accepted.get(node.index, {}).items()):
            if pool.pending_state(transaction.id) is not None or self._is_void(node, transaction):
                continue
            raise PromiseBroken(
                node.index, f"{node.name} accepted 0x{transaction_id.hex()} and knows nothing of it any more"
            )

    def _is_void(self, node: NodeView, transaction: Transaction) -> bool:
        """It can never be executed any more, and the memory of that may be lost in a restart."""
        account_nonce = self._nonces.get(transaction.sender, 0)
        if transaction.nonce < account_nonce:
            return True
        latest_ms = max(node.replica.tip.block_time_ms, self._cluster.unix_ms(node.index))
        if 0 < transaction.valid_until < latest_ms:
            return True
        applied = node.replica.chain.applied.height
        return applied < node.replica.tip.height  # its block is being written: the pool has let it go already


def accepted_in(answer: ApiAnswer) -> tuple[Transaction, ...]:
    """The transactions of a submission that the node took."""
    if not answer.transactions or answer.method != "POST":
        return ()
    if len(answer.transactions) == 1 and not answer.document.lstrip().startswith(b"["):
        return answer.transactions if answer.status == 202 else ()
    if answer.status >= 400:
        return ()
    document = msgspec.json.decode(answer.document)
    entries = document if isinstance(document, list) else document.get("items", ())
    taken = {entry["id"] for entry in entries if entry.get("status") in ACCEPTED}
    return tuple(each for each in answer.transactions if "0x" + each.id.hex() in taken)
