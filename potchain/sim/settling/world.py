"""Layer 2 of one run: its chain, each node's way there, its faults, and the people who pay in, withdraw and govern."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from potchain.application.interface import StateReader
from potchain.application.settlement import records
from potchain.consensus.quorum import Quorum
from potchain.crypto import keccak256
from potchain.errors import ConfigError
from potchain.genesis import Genesis
from potchain.ledger.database import Database
from potchain.primitives import NS_PER_S, ZERO_ADDRESS
from potchain.replica import wire
from potchain.settlement import Contract, Prepared
from potchain.settlement.report import SettlerFault
from potchain.sim.checkers.liveness import faulty_for_good, liveness_bound_ns
from potchain.sim.layer2.chain import Chain
from potchain.sim.layer2.chain import Transaction as Layer2Transaction
from potchain.sim.layer2.contract import Book
from potchain.sim.layer2.endpoint import Endpoint
from potchain.sim.observation import NodeView
from potchain.sim.plan import (
    Censor,
    EmptyPools,
    LagEndpoint,
    Layer2,
    Layer2Fault,
    LoseAnswers,
    LoseEndpoint,
    Plan,
    RaiseFees,
    Reorganise,
    StallBlocks,
)
from potchain.sim.scheduler import Scheduler
from potchain.sim.settling.lying import BEHAVIOURS, LyingSettling
from potchain.sim.settling.people import Governing, Patient, Paying, SubmitAt
from potchain.sim.settling.settler import Settling, SettlingHost, operator_key, relay_key
from potchain.sim.trace import Trace
from potchain.sim.watching import Watchers
from potchain.transactions import Transaction, TransactionTypes

LAYER2_CHAIN_ID = 31_337
CONTRACT = Contract("multisig", LAYER2_CHAIN_ID, keccak256(b"simulated PotSettlement")[12:], ZERO_ADDRESS, 0, 0)
CLAIM_PAUSE_NS = 700_000_000
REST_PAUSE_NS = NS_PER_S
READ_PAUSE_NS = 1_100_000_000
READS = ("/v1/settlement", "/v1/settlement/actions", "/v1/payouts", "/v1/governance/proposals")
"""What is read now and then, so that its handlers run in every state of a node."""


class Layer2Cluster(Protocol):
    """What the chain and its people need of the run."""

    plan: Plan
    scheduler: Scheduler
    genesis: Genesis
    wall_start_ms: int
    nodes: Sequence[Patient]
    watchers: Watchers
    trace: Trace


class Layer2World:
    """All of it."""

    def __init__(self, cluster: Layer2Cluster, options: Layer2, rng: Callable[[str], random.Random]) -> None:
        """`rng` makes dice for a purpose. Raises ConfigError for a lie that nobody knows."""
        self.options = options
        self.contract = CONTRACT
        self._cluster = cluster
        self._scheduler = scheduler = cluster.scheduler
        plan, parameters = cluster.plan, cluster.genesis.parameters
        self._recovery_ns = liveness_bound_ns(plan, parameters) + NS_PER_S
        """After this long all promises of consensus are judged."""
        self._rest_ns = plan.duration_ns if plan.heal_ns is None else plan.heal_ns + self._recovery_ns
        """From when on the run may end because everything is settled."""
        self._faulty = faulty_for_good(plan, parameters)
        for liar in options.liars:
            unknown = [name for name in liar.behaviours if name not in BEHAVIOURS]
            if unknown:
                raise ConfigError(f"unknown behaviour {unknown[0]!r} of an operator (known: {', '.join(BEHAVIOURS)})")
        self._liars = {liar.node: liar.behaviours for liar in options.liars}
        self._rng = rng
        self._lurking: list[Layer2Fault] = []
        self._relayers = frozenset(relay_key(node).address for node in range(plan.nodes))
        self.is_over = False
        """Everything is settled, and late enough: nothing more will happen."""
        count = plan.nodes
        owners = tuple(sorted(operator_key(node).address for node in range(count)))
        book = Book(owners=owners, threshold=options.threshold or Quorum(count).quorum)
        self.chain = Chain(
            scheduler,
            CONTRACT,
            book,
            block_ns=options.block_ns,
            fee_wei=options.fee_wei,
            rng=rng("layer2"),
            changed=self._changed,
            arrived=self._arrived,
        )
        self.endpoints = [
            Endpoint(self.chain, scheduler, options, cluster.wall_start_ms, rng(f"layer2/endpoint/{index}"))
            for index in range(count + plan.observers + len(plan.twins))
        ]
        self.paying = Paying(scheduler, self.chain, options, rng("layer2/people"))
        self.governing = Governing(scheduler, options, CONTRACT, book)

    def begin(self, types: TransactionTypes, submit_at: SubmitAt) -> None:
        """Blocks, payments and decisions from now on. `submit_at`: of `Clients`."""
        self.chain.begin()
        self.paying.begin(submit_at, self._cluster.genesis.parameters.base_fee, self._cluster.plan.nodes)
        operators = [node for node in self._cluster.nodes[: self._cluster.plan.nodes] if node.index not in self._liars]
        self.governing.begin(operators, types)
        self._claim()
        self._read(0)
        self._rest()

    def settling(self, host: SettlingHost, votes: Database) -> Settling | LyingSettling:
        """What settles in a life of a node, which begins now."""
        if self._rest_ns - self._recovery_ns < self._scheduler.now_ns:
            self._rest_ns = self._scheduler.now_ns + self._recovery_ns
        lies = self._liars.get(host.index)
        if lies is not None:
            dice = self._rng(f"layer2/liar/{host.index}/{self._scheduler.now_ns}")
            return LyingSettling(host, self.chain, lies, dice, partial(self._gossip, host.index))
        endpoint, genesis_hash = self.endpoints[host.index], self._cluster.genesis.hash
        return Settling(host, endpoint, votes, genesis_hash, self._duties, self._relayed, self._waits)

    # --- faults -------------------------------------------------------------------------------------------------------

    def happen(self, fault: Layer2Fault) -> None:
        """A fault of the plan begins, or waits for its occasion."""
        if fault.waits_for:
            self._lurking.append(fault)
        else:
            self._begin_fault(fault)

    def _occasion(self, what: str) -> None:
        """Whatever lurks for this begins."""
        for fault in [each for each in self._lurking if each.waits_for == what]:
            self._lurking.remove(fault)
            self._scheduler.at(self._scheduler.now_ns, self._begin_fault, fault)

    def _begin_fault(self, fault: Layer2Fault) -> None:
        heal_ns = self._cluster.plan.heal_ns
        if heal_ns is not None and self._scheduler.now_ns >= heal_ns:
            return
        self._note(f"layer2: {type(fault).__name__} begins")
        match fault:
            case Reorganise():
                self.chain.reorganise(min(fault.depth, self.options.confirmations), forget=fault.forget)
            case EmptyPools():
                self.chain.pool.clear()
            case Censor():
                account = relay_key(fault.node).address
                self._for_a_while(fault.until_ns, lambda by: self._censor(account, by))
            case LoseEndpoint():
                self._for_a_while(fault.until_ns, lambda by: self._lose(fault.node, by))
            case LoseAnswers():
                self._for_a_while(fault.until_ns, lambda by: self._forget(fault.node, by))
            case LagEndpoint():
                self._for_a_while(fault.until_ns, lambda by: self._lag(fault.node, by * fault.blocks))
            case RaiseFees():
                more_wei = max(0, fault.fee_wei - self.options.fee_wei)
                self._for_a_while(fault.until_ns, lambda by: self._raise(by * more_wei))
            case StallBlocks():
                self._for_a_while(fault.until_ns, self._stall)

    def _for_a_while(self, until_ns: int, change: Callable[[int], None]) -> None:
        heal_ns = self._cluster.plan.heal_ns
        change(1)
        self._scheduler.at(until_ns if heal_ns is None else min(until_ns, heal_ns), change, -1)

    def _censor(self, account: bytes, by: int) -> None:
        self.chain.censored[account] = self.chain.censored.get(account, 0) + by

    def _lose(self, node: int, by: int) -> None:
        self.endpoints[node].gone += by

    def _forget(self, node: int, by: int) -> None:
        self.endpoints[node].forgetful += by

    def _lag(self, node: int, by: int) -> None:
        self.endpoints[node].blocks_behind += by

    def _raise(self, by: int) -> None:
        self.chain.fee_wei += by

    def _stall(self, by: int) -> None:
        self.chain.stalled += by

    # --- the end ------------------------------------------------------------------------------------------------------

    def unsettled(self) -> str:
        """What is still to be done, in words; empty when everything is settled at every honest node."""
        left = self.governing.left() or self.paying.left()
        if left:
            return left
        book = self.chain.book
        for node in self._honest():
            if not node.is_up:
                return f"{node.name} is down"
            now = records.counters(node.replica.chain.state)
            if now.payouts_open or now.actions_open:
                return f"{node.name} has {now.payouts_open} payouts and {now.actions_open} actions open"
            if now.next_event != book.next_event:
                return f"{node.name} has applied {now.next_event} of {book.next_event} events"
        return self.paying.unclaimed(self._any_state())

    def _rest(self) -> None:
        now_ns = self._scheduler.now_ns
        if now_ns >= self._rest_ns and not self.unsettled():
            self.is_over = True
        self._scheduler.at(max(now_ns + REST_PAUSE_NS, self._rest_ns), self._rest)

    def _claim(self) -> None:
        self.paying.claim(self._any_state())
        self._scheduler.at(self._scheduler.now_ns + CLAIM_PAUSE_NS, self._claim)

    def _honest(self) -> list[Patient]:
        return [node for node in self._cluster.nodes if not node.is_faulty and node.index not in self._faulty]

    def _any_state(self) -> StateReader | None:
        up = [node for node in self._honest() if node.is_up]
        best = max(up, key=lambda node: node.replica.chain.applied.height, default=None)
        return None if best is None else best.replica.chain.state

    def _gossip(self, index: int, raw: tuple[bytes, ...]) -> None:
        node = self._cluster.nodes[index]
        for peer in node.peers():
            node.inject(peer, wire.Gossip(raw))

    def _read(self, count: int) -> None:
        """Somebody looks at what the API says of settlement."""
        nodes = self._cluster.nodes
        nodes[count % len(nodes)].request("GET", READS[count % len(READS)], b"", lambda status, document: None)
        self._scheduler.at(self._scheduler.now_ns + READ_PAUSE_NS, self._read, count + 1)

    # --- what checkers are told ---------------------------------------------------------------------------------------

    def _note(self, text: str) -> None:
        self._cluster.trace.line(self._scheduler.now_ns, text)

    def _arrived(self, transaction: Layer2Transaction) -> None:
        if transaction.account in self._relayers:
            self._occasion("pending")

    def _changed(self, what: str) -> None:
        if any(each.account in self._relayers for each in self.chain.head.transactions):
            self._occasion("mined")
        self._note(f"layer2: {what}")
        self._cluster.watchers.tell("layer2", self)

    def _duties(self, index: int, transactions: Sequence[Transaction]) -> None:
        node: NodeView = self._cluster.nodes[index]
        for transaction in transactions:
            self._note(f"node{index} settler: {transaction.kind} 0x{transaction.id[:6].hex()}")
        self._cluster.watchers.tell("duties", node, transactions)

    def _waits(self, index: int, fault: SettlerFault) -> None:
        node: NodeView = self._cluster.nodes[index]
        self._cluster.watchers.tell("waits", node, fault)

    def _relayed(self, index: int, prepared: Prepared, is_durable: bool) -> None:
        node: NodeView = self._cluster.nodes[index]
        self._note(
            f"node{index} relays action {prepared.action_nonce}, account nonce {prepared.account_nonce}, attempt "
            f"{prepared.attempt}, {prepared.fee_per_gas_wei} wei"
        )
        self._cluster.watchers.tell("relayed", node, prepared, is_durable)
