"""A whole simulated network: builds it from a plan, lets its faults happen, runs it to the end or the first violation.

One plan gives one run, byte for byte. All randomness comes from generators that are named for their purpose and seeded
with the plan's seed. From `Plan.heal_ns` on no network fault acts, no disk or node is slow, and every node is started
that is not down for good; Byzantine nodes stay what they are until their own time ends.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import msgspec

from potchain.application.accounts import AccountsApplication
from potchain.application.execution import Executor
from potchain.application.governance.application import GovernanceApplication
from potchain.application.interface import Application
from potchain.application.settlement.application import SettlementApplication
from potchain.consensus.interface import EngineFactory
from potchain.genesis import Genesis, InitialBalance, Parameters
from potchain.keyfiles import ValidatorKeys
from potchain.logs import without_logs
from potchain.primitives import NS_PER_S, uint256
from potchain.sim.clients import ACCOUNT_BALANCE, SCRIPT_ACCOUNTS, Clients, Script, account_key, script_key
from potchain.sim.disk import Disk, DiskCopy, FileDisk, MemoryDisk
from potchain.sim.keys import repeatable_keys, repeatable_validator
from potchain.sim.middleware import Attacker, Middleware
from potchain.sim.network import Lose, Network
from potchain.sim.node import SimNode
from potchain.sim.observation import ApiAnswer, Checker
from potchain.sim.plan import (
    Byzantine,
    ClockJump,
    Crash,
    CrashAtStep,
    CutLink,
    Fault,
    Layer2Fault,
    Link,
    LinkChange,
    LoseVoteLog,
    Outcome,
    Partition,
    Plan,
    RestoreOldVoteLog,
    SlowDisk,
    SlowNode,
)
from potchain.sim.scheduler import Scheduler
from potchain.sim.settling.people import holder_key
from potchain.sim.settling.settler import operator_key
from potchain.sim.settling.world import Layer2World
from potchain.sim.trace import Trace, TraceSink
from potchain.sim.verification import VerificationMemory
from potchain.sim.watching import Watchers

KEY_SCOPE = "simulated"
GENESIS_MS = 1_700_000_000_000
WALL_START_MS = GENESIS_MS + 1_000
PARAMETERS = {"checkpoint_interval": 8, "log_window": 16}
"""Genesis parameters of a simulated network: small ones, so that a short run sees many checkpoints."""

Applications = Callable[[], Sequence[Application]]
MakeMiddleware = Callable[[Byzantine, Attacker], Middleware]


def run(
    plan: Plan,
    engine: EngineFactory,
    *,
    applications: Applications | None = None,
    checkers: Sequence[Checker] = (),
    middleware: MakeMiddleware | None = None,
    script: Script | None = None,
    lose: Lose | None = None,
    trace: TraceSink | None = None,
) -> Outcome:
    """Run a plan. `applications` makes one node's applications (None: accounts, and what settles when the plan has a
    Layer 2); `middleware` is needed when the plan has Byzantine nodes; `script` may submit transactions of its own;
    `lose` may lose chosen frames, at any time; `trace` is given every line."""
    make = applications or (_accounts if plan.layer2 is None else _settling)
    cluster = Cluster(plan, engine, make, checkers, middleware, Trace(trace), lose)
    with without_logs():
        try:
            return cluster.run(script)
        finally:
            cluster.close()


class Cluster:
    """One run."""

    def __init__(
        self,
        plan: Plan,
        factory: EngineFactory,
        applications: Applications,
        checkers: Sequence[Checker],
        middleware: MakeMiddleware | None,
        trace: Trace,
        lose: Lose | None = None,
    ) -> None:
        self.plan = plan
        self.factory = factory
        self.trace = trace
        self.memory = VerificationMemory()
        self.scheduler = Scheduler()
        self.wall_start_ms = WALL_START_MS
        self.watchers = Watchers(checkers, lambda: self.scheduler.now_ns)
        self.genesis = make_genesis(plan)
        self.network = Network(self.scheduler, plan.seed, plan.link, self._note, lose)
        self._applications = applications
        self._make_middleware = middleware
        self._torn = any(isinstance(each, Crash | CrashAtStep) and each.torn for each in plan.faults)
        self._copies: dict[int, DiskCopy] = {}
        self.layer2 = None if plan.layer2 is None else Layer2World(self, plan.layer2, self._rng)
        self.nodes = self._make_nodes()
        types = self.make_executor().types
        self._clients = Clients(
            self.scheduler,
            self.nodes[: plan.nodes],
            self.genesis,
            types,
            plan.workload,
            self._rng("clients"),
            self._answered,
        )

    # --- what nodes and checkers ask ----------------------------------------------------------------------------------

    @property
    def now_ns(self) -> int:
        """Virtual nanoseconds since the start."""
        return self.scheduler.now_ns

    def unix_ms(self, node: int) -> int:
        """A node's wall clock."""
        return self.nodes[node].clock.now().unix_ms

    def make_executor(self) -> Executor:
        """A fresh executor with the network's applications."""
        return Executor(self.genesis, tuple(self._applications()))

    # --- the run ------------------------------------------------------------------------------------------------------

    def run(self, script: Script | None = None) -> Outcome:
        """To the end of the plan, or the first violation."""
        plan = self.plan
        self.watchers.tell("begin", self)
        for node in self.nodes:
            self.scheduler.at(0, node.start)
        self._plan_faults()
        self._plan_lies()
        self._plan_rounds()
        self._clients.begin()
        if self.layer2 is not None:
            self.layer2.begin(self.make_executor().types, self._clients.submit_at)
        if script is not None:
            script(self._clients)
        if self.watchers.wants("second"):
            for at_ns in range(NS_PER_S, plan.duration_ns, NS_PER_S):
                self.scheduler.at(at_ns, self.watchers.tell, "second", self)
        if plan.heal_ns is not None:
            self.scheduler.at(plan.heal_ns, self._heal)
        self.scheduler.run(plan.duration_ns, self._is_over)
        if self.watchers.violation is None:
            self.watchers.tell("finished", self)
        return self._outcome()

    def _is_over(self) -> bool:
        return self.watchers.violation is not None or (self.layer2 is not None and self.layer2.is_over)

    def close(self) -> None:
        """Give everything back."""
        for node in self.nodes:
            node.stop()
        self.scheduler.run(self.scheduler.now_ns, lambda: False)  # their loops are buried
        self.scheduler.clear()
        for node in self.nodes:
            node.disk.close()

    def _outcome(self) -> Outcome:
        honest = [node for node in self.nodes if node.is_up and not node.is_faulty]
        best = max(honest, key=lambda node: node.replica.certifier.certified, default=None)
        return Outcome(
            seed=self.plan.seed,
            violation=self.watchers.violation,
            virtual_ns=self.scheduler.now_ns,
            height=0 if best is None else best.replica.certifier.certified,
            transactions=0 if best is None else sum(best.executed_counts.values()),
            views=max((node.engine.status().view for node in honest), default=0),
            frames=self.network.frames,
            boundaries=tuple(node.boundaries for node in self.nodes),
            trace_digest=self.trace.digest(),
        )

    # --- building -----------------------------------------------------------------------------------------------------

    def _make_nodes(self) -> list[SimNode]:
        plan = self.plan
        originals = [twin.node for twin in plan.twins]
        faulty = {*originals, *(each.node for each in plan.byzantine)}
        if plan.layer2 is not None:
            faulty |= {liar.node for liar in plan.layer2.liars}
        identities = [*range(plan.nodes + plan.observers), *originals]
        nodes = []
        for index, identity in enumerate(identities):
            is_copy = index >= plan.nodes + plan.observers
            node = SimNode(
                self,
                index,
                self._remembered(validator_keys(identity)),
                f"v{identity}{chr(39) if is_copy else ''}",
                self._make_disk(index),
                write_ns=plan.write_ns,
                is_faulty=is_copy or index in faulty,
            )
            nodes.append(node)
            self.network.add(node)
        return nodes

    def _remembered(self, keys: ValidatorKeys) -> ValidatorKeys:
        return msgspec.structs.replace(keys, consensus=self.memory.key(keys.consensus.secret))

    def _make_disk(self, index: int) -> Disk:
        return FileDisk(self._rng(f"disk/{index}")) if self._torn else MemoryDisk()

    def _rng(self, purpose: str) -> random.Random:
        return random.Random(f"{self.plan.seed}/{purpose}")

    # --- faults -------------------------------------------------------------------------------------------------------

    def _plan_faults(self) -> None:
        for fault in self.plan.faults:
            if isinstance(fault, CrashAtStep):
                self.nodes[fault.node].crash_at[fault.index] = fault
                continue
            if isinstance(fault, RestoreOldVoteLog):
                self.scheduler.at(fault.copied_ns, self._copy, fault.node)
            self.scheduler.at(fault.at_ns, self._happen, fault)

    def _happen(self, fault: Fault) -> None:
        self._note(f"fault: {_words(fault)}")
        match fault:
            case Crash():
                self._crash(fault)
            case LoseVoteLog():
                self._down(fault.node, fault.down_ns)
                self.nodes[fault.node].disk.lose_votes()
            case RestoreOldVoteLog():
                self._down(fault.node, fault.down_ns)
                if fault.node in self._copies:
                    self.nodes[fault.node].disk.restore(self._copies[fault.node])
            case Partition():
                self._cut(self.network.ways_between(fault.groups), fault.until_ns)
            case CutLink():
                self._cut([(fault.sender, fault.receiver)], fault.until_ns)
            case LinkChange():
                self.network.set_link(fault.link)
                self.scheduler.at(fault.until_ns, self.network.set_link, self._base_link(fault.until_ns))
            case ClockJump():
                self.nodes[fault.node].clock.jumped_ms += fault.by_ms
            case SlowDisk():
                self.nodes[fault.node].write_ns = fault.write_ns
                self.scheduler.at(fault.until_ns, self._normal_disk, fault.node)
            case SlowNode():
                self.nodes[fault.node].slow_down(fault.step_ns)
                self.scheduler.at(fault.until_ns, self.nodes[fault.node].slow_down, 0)
            case Layer2Fault():
                assert self.layer2 is not None, "this plan has faults of Layer 2, and no Layer 2"
                self.layer2.happen(fault)

    def _crash(self, fault: Crash) -> None:
        node = self.nodes[fault.node]
        node.crash(torn=fault.torn, lose_unsynced=fault.lose_unsynced)
        node.stays_down = node.stays_down or fault.for_good
        if fault.down_ns is not None and not fault.for_good:
            self.scheduler.at(self.now_ns + fault.down_ns, node.start)

    def _down(self, index: int, down_ns: int) -> None:
        self.nodes[index].crash()
        self.scheduler.at(self.now_ns + down_ns, self.nodes[index].start)

    def _copy(self, index: int) -> None:
        self._copies[index] = self.nodes[index].copy_disk()

    def _cut(self, ways: list[tuple[int, int]], until_ns: int) -> None:
        if self._is_healed():
            return
        self.network.cut(ways, 1)
        heal_ns = self.plan.heal_ns
        if heal_ns is None or until_ns < heal_ns:
            self.scheduler.at(until_ns, self.network.cut, ways, -1)

    def _normal_disk(self, index: int) -> None:
        self.nodes[index].write_ns = self.plan.write_ns

    def _base_link(self, at_ns: int) -> Link:
        link, heal_ns = self.plan.link, self.plan.heal_ns
        if heal_ns is None or at_ns < heal_ns:
            return link
        return Link(latency_min_ns=link.latency_min_ns, latency_max_ns=link.latency_max_ns)

    def _is_healed(self) -> bool:
        return self.plan.heal_ns is not None and self.now_ns >= self.plan.heal_ns

    def _heal(self) -> None:
        self._note("all faults end")
        self.network.heal()
        self.network.set_link(self._base_link(self.now_ns))
        for node in self.nodes:
            node.write_ns = self.plan.write_ns
            node.slow_down(0)
            node.start()
        self.watchers.tell("healed", self)

    def _plan_lies(self) -> None:
        for number, lie in enumerate(self.plan.byzantine):
            assert self._make_middleware is not None, "this plan has Byzantine nodes: run it with middleware"
            node = self.nodes[lie.node]
            attacker = Attacker(
                index=node.index,
                key=node.keys.consensus,
                node_id=node.node_id,
                genesis=self.genesis,
                engine=self.factory,
                rng=self._rng(f"byzantine/{number}"),
                peers=tuple(self.network.peers_of(node.index)),
                inject=node.inject,
            )
            self.scheduler.at(lie.from_ns, self._turn, node, self._make_middleware(lie, attacker))
            if lie.until_ns is not None:
                self.scheduler.at(lie.until_ns, self._turn, node, None)

    def _turn(self, node: SimNode, middleware: Middleware | None) -> None:
        self._note(f"node{node.index} is {'honest again' if middleware is None else 'Byzantine'}")
        node.middleware = middleware

    def _plan_rounds(self) -> None:
        """Twins: a partition for each round."""
        for number, groups in enumerate(self.plan.leaders):
            ways = self.network.ways_between(groups)
            self.scheduler.at(number * self.plan.round_ns, self._cut, ways, (number + 1) * self.plan.round_ns)

    # --- trace --------------------------------------------------------------------------------------------------------

    def _note(self, text: str) -> None:
        self.trace.line(self.scheduler.now_ns, text)

    def _answered(self, answer: ApiAnswer) -> None:
        what = answer.rubbish or ", ".join(f"0x{each.id[:6].hex()}" for each in answer.transactions)
        self._note(f"client: node{answer.node} {answer.method} {answer.path} {what} -> {answer.status}")
        self.watchers.tell("answered", answer)


def make_genesis(plan: Plan) -> Genesis:
    """The genesis of a plan's network; the accounts of its workload are funded."""
    parameters = Parameters(**{**PARAMETERS, **dict(plan.parameters)})
    keys = [account_key(number) for number in range(plan.workload.accounts)]
    keys += [script_key(number) for number in range(SCRIPT_ACCOUNTS)]
    if plan.layer2 is not None:
        keys += [holder_key(number) for number in range(plan.layer2.holders)]
    accounts = sorted(key.address for key in keys)
    operators = {number: operator_key(number).address for number in range(plan.nodes) if plan.layer2 is not None}
    return Genesis(
        chain_id="simulated",
        timestamp_ms=GENESIS_MS,
        validators=tuple(
            repeatable_validator(KEY_SCOPE, str(number), f"v{number}", operators.get(number))
            for number in range(plan.nodes)
        ),
        accounts=tuple(InitialBalance(address, uint256(ACCOUNT_BALANCE)) for address in accounts),
        parameters=parameters,
    )


def validator_keys(number: int) -> ValidatorKeys:
    """The same keys for the same node, in every run."""
    return repeatable_keys(KEY_SCOPE, str(number))


def _accounts() -> Sequence[Application]:
    return (AccountsApplication(),)


def _settling() -> Sequence[Application]:
    return (AccountsApplication(), GovernanceApplication(), SettlementApplication())


def _words(fault: Fault) -> str:
    fields = ((name, getattr(fault, name)) for name in fault.__struct_fields__ if name != "at_ns")
    values = ", ".join(f"{name}={value}" for name, value in fields)
    return f"{type(fault).__name__}({values})"
