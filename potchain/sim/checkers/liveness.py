"""Progress once faults have stopped: everything that was accepted becomes final, within a bound that is known before.

The bound of the issue is: sum over i = 0..k of timeout * 2^i (capped) + 4 (k + 1) round trips, k consecutive faulty
primaries, catch-up excluded. This file makes numbers of it, from the plan and the parameters alone:

- k: nodes that stay faulty or down (at most f). The sum has k + 1 terms: one for each faulty primary, and one because
  the healing itself may find the correct nodes in different views, with a timer that has just started.
- timeout: what the view timeout may have grown to when the plan heals, since a fault time F lets m timeouts run out
  one after the other: m is the least number with T + 2T + ... + 2^(m-1) T (capped) >= F. So the terms are
  min(T * 2^(m+i), cap).
- round trip: twice the longest delay of a link, plus the writes that lie on the way of a vote.
- the host acts on a clock of its own: it re-sends, forwards and asks once in `TICK`. A view change needs one for the
  view change and one for what it finds missing; so 2 (k + 1) ticks, and START_TICKS for the question of a restart and
  for reconnecting.
- excluded, so added: CATCH_UP_NS for a node that was away, and one round trip of agreement for each batch of waiting
  transactions, in rows of `in_flight_max`.
"""

from __future__ import annotations

from potchain.application.accounts import load_account
from potchain.blocks import BlockCertificate, ExecutedBlock
from potchain.genesis import Parameters
from potchain.primitives import NS_PER_MS, NS_PER_S
from potchain.sim.checkers.clients import accepted_in
from potchain.sim.observation import ApiAnswer, Checker, ClusterView, NodeView, PromiseBroken
from potchain.sim.plan import ClockJump, Crash, LoseVoteLog, Plan, RestoreOldVoteLog
from potchain.transactions import Transaction

TICK_NS = NS_PER_S
"""How often the host re-sends and asks."""
START_TICKS = 4
"""Reconnecting, the question of a restart and its answers, and the first re-sending after it."""
CATCH_UP_NS = 3 * NS_PER_S
"""What a node that was away may take to fetch and execute what it missed in a run's length."""
WRITES_PER_TRIP = 3


def faulty_for_good(plan: Plan, parameters: Parameters) -> frozenset[int]:
    """Nodes of which nothing is expected at the end of a run: down, lying, twinned, without their votes, or with a
    clock that is off by more than half of `clock_bound_ms`, so that proposals may be refused because of it."""
    faulty = {fault.node for fault in plan.faults if isinstance(fault, LoseVoteLog | RestoreOldVoteLog)}
    faulty |= {fault.node for fault in plan.faults if isinstance(fault, Crash) and fault.for_good}
    faulty |= {each.node for each in plan.byzantine} | {twin.node for twin in plan.twins}
    faulty |= {liar.node for liar in plan.layer2.liars} if plan.layer2 is not None else set()
    off_ms: dict[int, int] = {}
    for fault in plan.faults:
        if isinstance(fault, ClockJump):
            off_ms[fault.node] = off_ms.get(fault.node, 0) + fault.by_ms
    faulty |= {node for node, by_ms in off_ms.items() if 2 * abs(by_ms) > parameters.clock_bound_ms}
    return frozenset(faulty)


def timeouts_sum_ns(parameters: Parameters, fault_ns: int, k: int) -> int:
    """The sum of k + 1 view timeouts, the first as large as a fault time of that length can have made it."""
    timeout_ns, cap_ns = parameters.view_timeout_ms * NS_PER_MS, parameters.view_timeout_cap_ms * NS_PER_MS
    spent_ns = 0
    while timeout_ns < cap_ns and spent_ns < fault_ns:
        spent_ns += timeout_ns
        timeout_ns = min(2 * timeout_ns, cap_ns)
    total_ns = 0
    for _ in range(k + 1):
        total_ns += timeout_ns
        timeout_ns = min(2 * timeout_ns, cap_ns)
    return total_ns


def round_trip_ns(plan: Plan) -> int:
    """There and back on the slowest link, with the writes on the way."""
    return 2 * (plan.link.latency_max_ns + WRITES_PER_TRIP * plan.write_ns)


def liveness_bound_ns(plan: Plan, parameters: Parameters) -> int:
    """From `Plan.heal_ns` until everything accepted must be final; see the head of this file for each term."""
    k = len(faulty_for_good(plan, parameters))
    fault_ns = plan.heal_ns or 0
    trip_ns = round_trip_ns(plan)
    batches = -(-(plan.workload.transactions + settlement_traffic(plan)) // parameters.batch_max)
    rows = -(-batches // parameters.in_flight_max)
    return (
        timeouts_sum_ns(parameters, fault_ns, k)
        + 4 * (k + 1) * trip_ns
        + (2 * (k + 1) + START_TICKS) * TICK_NS
        + CATCH_UP_NS
        + rows * 2 * trip_ns
    )


def settlement_traffic(plan: Plan) -> int:
    """Transactions that settlement may add: each operator signs each action, votes on each event and each decision."""
    if plan.layer2 is None:
        return 0
    options = plan.layer2
    actions = options.withdrawals + len(options.decisions)
    events = actions + options.deposits + 1
    return options.withdrawals + plan.nodes * (actions + events + len(options.decisions) + 1)


class Liveness(Checker):
    """After `Plan.heal_ns`, everything accepted becomes final at every honest node within `liveness_bound_ns`.

    Excused: what only nodes that are faulty for good had accepted, what expired or was dropped with a reason, and what
    waits for an earlier nonce of its sender that is excused.
    """

    name = "liveness"

    def __init__(self) -> None:
        self._accepted: dict[bytes, tuple[Transaction, dict[int, None]]] = {}
        self._height_of: dict[bytes, int] = {}
        self._certified: dict[int, int] = {}
        self._stored: dict[int, set[int]] = {}
        self._height = 0
        self._deadline_ns = 0
        self._cluster: ClusterView
        self._faulty: frozenset[int] = frozenset()
        self.final_ns: int | None = None
        """When everything was final, for reports; None: not yet."""

    def begin(self, cluster: ClusterView) -> None:
        """Work the bound out."""
        self._cluster = cluster
        self._faulty = faulty_for_good(cluster.plan, cluster.genesis.parameters)
        heal_ns = cluster.plan.heal_ns
        if heal_ns is not None:
            self._deadline_ns = heal_ns + liveness_bound_ns(cluster.plan, cluster.genesis.parameters)

    def started(self, node: NodeView) -> None:
        """A crash point may lie behind the healing: then the time runs from the last start on."""
        self._postpone()

    def crashed(self, node: NodeView) -> None:
        """See `started`."""
        self._postpone()

    def _postpone(self) -> None:
        plan, now_ns = self._cluster.plan, self._cluster.now_ns
        if plan.heal_ns is not None and now_ns > plan.heal_ns:
            self._deadline_ns = now_ns + liveness_bound_ns(plan, self._cluster.genesis.parameters)

    def answered(self, answer: ApiAnswer) -> None:
        """Remember who accepted what."""
        if answer.node in self._faulty:
            return
        for transaction in accepted_in(answer):
            self._accepted.setdefault(transaction.id, (transaction, {}))[1][answer.node] = None

    def executed(self, node: NodeView, block: ExecutedBlock) -> None:
        """Where it took its place."""
        if node.is_faulty or block.height != self._height + 1:
            return
        self._height = block.height
        for receipt in block.receipts:
            if receipt.status != "skipped":
                self._height_of[receipt.transaction_id] = block.height

    def certified(self, node: NodeView, certificate: BlockCertificate) -> None:
        """Heights that are final at a node without a gap."""
        stored = self._stored.setdefault(node.index, set())
        stored.add(certificate.height)
        height = self._certified.get(node.index, 0)
        while height + 1 in stored:
            height += 1
            stored.discard(height)
        self._certified[node.index] = height

    def second(self, cluster: ClusterView) -> None:
        """Note when all is final; judge at the deadline."""
        heal_ns = cluster.plan.heal_ns
        if heal_ns is None or cluster.now_ns < heal_ns:
            return
        missing = self._missing(cluster)
        if missing is None:
            self.final_ns = self.final_ns or cluster.now_ns
        elif cluster.now_ns >= self._deadline_ns:
            self._break(missing)

    def finished(self, cluster: ClusterView) -> None:
        """A run that is shorter than its bound proves nothing, and is judged all the same where it can be."""
        if cluster.plan.heal_ns is not None and cluster.now_ns >= self._deadline_ns:
            missing = self._missing(cluster)
            if missing is not None:
                self._break(missing)

    def _break(self, missing: tuple[int | None, str]) -> None:
        bound_ms = liveness_bound_ns(self._cluster.plan, self._cluster.genesis.parameters) // NS_PER_MS
        where = "; ".join(_where(node, self._certified.get(node.index, 0)) for node in self._cluster.nodes)
        raise PromiseBroken(missing[0], f"{missing[1]}, {bound_ms} ms after all faults stopped ({where})")

    def _missing(self, cluster: ClusterView) -> tuple[int | None, str] | None:
        """The first thing that should be final by the deadline and is not."""
        top = 0
        for transaction, nodes in self._accepted.values():
            height = self._height_of.get(transaction.id)
            if height is not None:
                top = max(top, height)
            elif not self._is_excused(transaction, nodes):
                return next(iter(nodes)), f"0x{transaction.id.hex()} was accepted and is not executed"
        for node in cluster.nodes:
            if node.index in self._faulty or node.is_faulty:
                continue
            if not node.is_up:
                return node.index, f"{node.name} is down"
            if self._certified.get(node.index, 0) < top:
                return node.index, f"{node.name} has {self._certified.get(node.index, 0)} final, {top} is needed"
        return None

    def _is_excused(self, transaction: Transaction, nodes: dict[int, None]) -> bool:
        if transaction.valid_until:
            return True
        for index in nodes:
            node = self._cluster.nodes[index]
            if not node.is_up:
                continue
            state = node.replica.pool.pending_state(transaction.id)
            if state is None or state.state == "dropped":
                return True  # `AcceptedIsKept` judges whether that is right
            if transaction.nonce > self._next_nonce(transaction.sender):
                return True
        return False

    def _next_nonce(self, sender: bytes) -> int:
        """One past the sender's contiguous accepted or executed transactions."""
        nonces = {each.nonce for each, _ in self._accepted.values() if each.sender == sender}
        for node in self._cluster.nodes:
            if node.is_up and not node.is_faulty:
                nonce = load_account(node.replica.chain.state, sender).nonce
                while nonce in nonces:
                    nonce += 1
                return nonce
        return 0


def _where(node: NodeView, certified: int) -> str:
    """Where a node stands, in a few words."""
    if not node.is_up:
        return f"{node.name} down"
    status = node.engine.status()
    learner = " learner" if node.is_learner else ""
    waiting = node.replica.pool.proposable()[0]
    return f"{node.name}{learner} view {status.view} {status.mode}, {certified} final, {waiting} waiting"
