"""What settlers do: duties in their time, nothing relayed that is not written down, all of it settled in the end."""

from __future__ import annotations

from collections.abc import Sequence

from potchain.application.settlement import records
from potchain.application.settlement.bodies import ActionFormed, ObserveL2, SignBatch
from potchain.blocks import BlockCertificate, ExecutedBlock
from potchain.genesis import Parameters
from potchain.primitives import NS_PER_MS, NS_PER_S, uint
from potchain.settlement import Prepared
from potchain.settlement.report import SettlerFault
from potchain.settler.watching import DEEP
from potchain.sim.checkers.liveness import TICK_NS, faulty_for_good, liveness_bound_ns
from potchain.sim.observation import Checker, ClusterView, Layer2View, NodeView, PromiseBroken
from potchain.sim.plan import Plan
from potchain.transactions import Transaction


class DutiesInTime(Checker):
    """An honest operator signs what is final for its node, and votes for what is deep enough and stands."""

    name = "duties in time"

    def __init__(self) -> None:
        self._height = 0
        self._formed_at: list[int] = []
        """Height that made each action."""
        self._stored: dict[int, set[int]] = {}
        self._certified: dict[int, int] = {}
        self._cluster: ClusterView

    def begin(self, cluster: ClusterView) -> None:
        """Whose chain it is."""
        self._cluster = cluster

    def executed(self, node: NodeView, block: ExecutedBlock) -> None:
        """Note what is made."""
        if node.is_faulty or block.height != self._height + 1:
            return
        self._height = block.height
        events = [event for receipt in block.receipts for event in receipt.events]
        formed = [event for event in (*events, *block.end_events) if event.kind == ActionFormed.__name__]
        self._formed_at += [block.height] * len(formed)

    def certified(self, node: NodeView, certificate: BlockCertificate) -> None:
        """Heights that are final at a node without a gap."""
        stored = self._stored.setdefault(node.index, set())
        stored.add(certificate.height)
        height = self._certified.get(node.index, 0)
        while height + 1 in stored:
            height += 1
            stored.discard(height)
        self._certified[node.index] = height

    def duties(self, node: NodeView, transactions: Sequence[Transaction]) -> None:
        """Look at each."""
        layer2 = self._cluster.layer2
        if layer2 is None or node.is_faulty:
            return
        for transaction in transactions:
            body = transaction.body
            if isinstance(body, SignBatch):
                made, final = self._formed_at[body.action_nonce], self._certified.get(node.index, 0)
                if made > final:
                    raise PromiseBroken(
                        node.index,
                        f"{node.name} signs action {body.action_nonce} of height {made}; {final} is final for it",
                    )
            elif isinstance(body, ObserveL2):
                self._look(node, layer2, body)

    def _look(self, node: NodeView, layer2: Layer2View, body: ObserveL2) -> None:
        chain = layer2.chain
        events = chain.events()
        event = events[body.event_nonce] if body.event_nonce < len(events) else None
        depth = -1 if event is None else chain.head.number - event.block_number
        if event is None or event.block_hash != body.block_hash or depth < layer2.options.confirmations:
            raise PromiseBroken(
                node.index,
                f"{node.name} votes for event {body.event_nonce} of block {body.block_number}, which is {depth} blocks "
                f"below the head now (-1: nowhere)",
            )


class WrittenBeforeRelayed(Checker):
    """What an honest settler sends to Layer 2 is in its database when it leaves for the first time.

    Later it may be sent again although it was struck out meanwhile: the chain may have lost what it had executed.
    """

    name = "written before relayed"

    def __init__(self) -> None:
        self._written: set[tuple[int, bytes]] = set()

    def relayed(self, node: NodeView, prepared: Prepared, is_durable: bool) -> None:
        """One transaction leaves."""
        place = (node.index, prepared.transaction_hash)
        if is_durable:
            self._written.add(place)
        elif not node.is_faulty and place not in self._written:
            raise PromiseBroken(
                node.index,
                f"{node.name} relays action {prepared.action_nonce} with account nonce {prepared.account_nonce}, "
                f"which is not written down",
            )


class NoFalseAlarm(Checker):
    """No honest settler says that Layer 2 took back what counts: no reorganisation of a run is that deep.

    Operators who read it pause the contract.
    """

    name = "no false alarm"

    def waits(self, node: NodeView, fault: SettlerFault) -> None:
        """Look at the code."""
        if fault.code == DEEP and not node.is_faulty:
            raise PromiseBroken(node.index, f"{node.name} reports {fault.code}: {fault.text}")


class Settled(Checker):
    """After `Plan.heal_ns`, everything is settled within `settlement_bound_ns`, and both layers have the same sums."""

    name = "settled"

    def __init__(self) -> None:
        self._deadline_ns = 0
        self._cluster: ClusterView

    def begin(self, cluster: ClusterView) -> None:
        """Work the bound out."""
        self._cluster = cluster
        self._postpone(cluster.plan.heal_ns or 0)

    def started(self, node: NodeView) -> None:
        """A crash point may lie behind the healing: then the time runs from the last start on."""
        self._restarted()

    def crashed(self, node: NodeView) -> None:
        """See `started`."""
        self._restarted()

    def _restarted(self) -> None:
        heal_ns = self._cluster.plan.heal_ns
        if heal_ns is not None and self._cluster.now_ns > heal_ns:
            self._postpone(self._cluster.now_ns)

    def _postpone(self, from_ns: int) -> None:
        plan = self._cluster.plan
        self._deadline_ns = from_ns + settlement_bound_ns(plan, self._cluster.genesis.parameters)

    def finished(self, cluster: ClusterView) -> None:
        """Nothing is left to be done, or there is time for it."""
        layer2, plan = cluster.layer2, cluster.plan
        if layer2 is None or plan.heal_ns is None:
            return
        left = layer2.unsettled()
        if left and cluster.now_ns >= self._deadline_ns:
            bound_ms = settlement_bound_ns(plan, cluster.genesis.parameters) // NS_PER_MS
            raise PromiseBroken(None, f"{left}, {bound_ms} ms after all faults stopped")
        if left:
            return
        book = layer2.chain.book
        for node in cluster.nodes:
            if node.is_up and not node.is_faulty:
                now = records.counters(node.replica.chain.state)
                ours, theirs = (uint(now.credited), uint(now.executed)), (book.deposited, book.allocated)
                if ours != theirs:
                    raise PromiseBroken(
                        node.index, f"{node.name} credited and executed {ours}, on Layer 2 it was {theirs}"
                    )


def settlement_bound_ns(plan: Plan, parameters: Parameters) -> int:
    """From `Plan.heal_ns` until everything is settled.

    First consensus recovers (`liveness_bound_ns`), and looks that failed are tried again: the pause between them
    doubles from one second, so it is at most as long as the faults were, and a second. Then, at worst, each action goes
    alone, one after the other, and each of them takes: a turn for each node that is faulty for good, one for the node
    that was taken over in the middle and one that does it; a replacement; `confirmations` blocks and three more (mined,
    seen, applied), each up to half as long again; two rounds of the ledger (signatures, votes), each a tick.
    """
    options = plan.layer2
    if options is None:
        return 0
    k = len(faulty_for_good(plan, parameters))
    blocks_ns = (options.confirmations + 3) * options.block_ns * 3 // 2
    turns_ns = (k + 2) * options.relay_turn_ms * NS_PER_MS + options.stuck_after_ms * NS_PER_MS
    polls_ns = 4 * options.poll_ms * NS_PER_MS + 20 * options.answer_ns
    each_ns = blocks_ns + turns_ns + polls_ns + 2 * TICK_NS
    rounds = options.withdrawals + len(options.decisions) + 2
    return liveness_bound_ns(plan, parameters) + (plan.heal_ns or 0) + NS_PER_S + rounds * each_ns
