"""Small plans for tests of the simulator's core, and a checker that remembers what it saw."""

from __future__ import annotations

from collections.abc import Sequence

from potchain.blocks import BlockCertificate, ExecutedBlock
from potchain.consensus.interface import ConsensusMessage
from potchain.primitives import NS_PER_S
from potchain.sim.cluster import run
from potchain.sim.observation import ApiAnswer, Checker, ClusterView, NodeView, PromiseBroken
from potchain.sim.plan import Outcome, Plan, Workload
from potchain.sim.trace import TraceSink
from potchain_pbft import PbftFactory

WORK = Workload(accounts=4, transactions=12, until_ns=2 * NS_PER_S, rubbish=2)


def plan(seed: int = 1, *, seconds: int = 5, **changes: object) -> Plan:
    """A short run."""
    values = {"duration_ns": seconds * NS_PER_S, "heal_ns": (seconds - 2) * NS_PER_S, "workload": WORK}
    return Plan(seed=seed, **{**values, **changes})


class Witness(Checker):
    """Sees everything, and insists on agreement."""

    name = "witness"

    def __init__(self) -> None:
        self.blocks: dict[int, bytes] = {}
        self.applied_by: dict[int, list[int]] = {}
        self.final: dict[int, list[int]] = {}
        self.signed_kinds: dict[str, int] = {}
        self.answers: list[ApiAnswer] = []
        self.starts: list[int] = []
        self.crashes: list[int] = []
        self.learners: list[int] = []
        self.heights: list[int] = []
        self.tips: list[tuple[int, int]] = []
        self.seconds = 0

    def started(self, node: NodeView) -> None:
        self.starts.append(node.index)
        self.tips.append((node.index, node.reader.tip().height))

    def crashed(self, node: NodeView) -> None:
        self.crashes.append(node.index)

    def signed(self, node: NodeView, message: ConsensusMessage) -> None:
        assert message.sender == node.node_id
        self.signed_kinds[message.kind] = self.signed_kinds.get(message.kind, 0) + 1

    def applied(self, node: NodeView, block: ExecutedBlock) -> None:
        if self.blocks.setdefault(block.height, block.hash) != block.hash:
            raise PromiseBroken(node.index, f"another block at height {block.height}")
        self.applied_by.setdefault(node.index, []).append(block.height)

    def certified(self, node: NodeView, certificate: BlockCertificate) -> None:
        self.final.setdefault(node.index, []).append(certificate.height)

    def answered(self, answer: ApiAnswer) -> None:
        self.answers.append(answer)

    def second(self, cluster: ClusterView) -> None:
        self.seconds += 1
        for node in cluster.nodes:
            if node.is_learner and node.index not in self.learners:
                self.learners.append(node.index)
            if node.is_up:
                assert all(size >= 0 for size in node.buffers().values())

    def finished(self, cluster: ClusterView) -> None:
        self.heights = [node.reader.tip().height if node.is_up else -1 for node in cluster.nodes]

    @property
    def accepted(self) -> int:
        """Transactions that a node has promised to keep."""
        return sum(answer.status == 202 for answer in self.answers)


def watched(chosen: Plan, checkers: Sequence[Checker] = (), trace: TraceSink | None = None) -> tuple[Outcome, Witness]:
    """The outcome of a run that must break nothing, and its witness."""
    witness = Witness()
    outcome = run(chosen, PbftFactory(), checkers=(witness, *checkers), trace=trace)
    assert outcome.violation is None, outcome.violation
    return outcome, witness
