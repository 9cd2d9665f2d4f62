"""What a checker of a simulated run sees, and how it says that a promise is broken.

The cluster (`potchain.sim.cluster`) calls a checker synchronously, in virtual time, right where a thing happens; the
order of calls is part of the run and so as deterministic as it. A checker overrides the methods it wants: one that it
leaves alone is never called and costs nothing. It must not change what it is shown. To report, it raises
`PromiseBroken`; the run ends there, and the first violation is the outcome.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from potchain.blocks import BlockCertificate, ExecutedBlock
from potchain.consensus.interface import ConsensusEngine, ConsensusMessage, Misbehaviour
from potchain.errors import PotchainError
from potchain.genesis import Genesis
from potchain.ledger.reader import LedgerReader
from potchain.primitives import NodeId
from potchain.replica import Replica, wire
from potchain.settlement import Prepared
from potchain.settlement.report import SettlerFault
from potchain.sim.layer2.chain import Chain
from potchain.sim.plan import Layer2, Plan
from potchain.transactions import Transaction


class PromiseBroken(PotchainError):
    """Raised by a checker: which node broke it, and how. The cluster adds the checker's name and the time."""

    def __init__(self, node: int | None, detail: str) -> None:
        self.node = node
        self.detail = detail
        super().__init__(detail)


class NodeView(Protocol):
    """A simulated node, as a checker may look at it (`potchain.sim.node.SimNode`)."""

    index: int
    """Validators in genesis order, then observers, then twins in the order of `Plan.twins`."""
    node_id: NodeId
    """A twin has its original's."""
    name: str
    """Of its validator; a twin's has a "'" behind it."""
    is_faulty: bool
    """It is behind Byzantine middleware at some time of this run, or has a twin or is one: promise nothing of it."""
    lives: int
    """How often it has started."""

    @property
    def is_up(self) -> bool:
        """Running now."""
        ...

    @property
    def is_learner(self) -> bool:
        """Running, but it signs nothing, because it may have forgotten earlier votes."""
        ...

    @property
    def replica(self) -> Replica:
        """The shipping replica: `sizes()`, `engine.status()`, `chain`, `pool`. Only while it is up."""
        ...

    @property
    def engine(self) -> ConsensusEngine:
        """Its consensus engine. Only while it is up."""
        ...

    @property
    def reader(self) -> LedgerReader:
        """Its ledger on disk. Only while it is up."""
        ...

    def buffers(self) -> Mapping[str, int]:
        """Size of every buffer by name, as `GET /v1/consensus` shows them. Only while it is up."""
        ...

    def is_durable(self, message: ConsensusMessage) -> bool:
        """Whether its vote database would give this very message back after a power cut right now."""
        ...


class Layer2View(Protocol):
    """Layer 2 of a run (`potchain.sim.settling.world.Layer2World`)."""

    options: Layer2
    chain: Chain
    """As it is, whatever endpoints show of it."""

    def unsettled(self) -> str:
        """What is still to be done, in words; empty when everything is settled at every honest node."""
        ...


class ClusterView(Protocol):
    """The run as a whole (`potchain.sim.cluster.Cluster`)."""

    plan: Plan
    genesis: Genesis
    nodes: Sequence[NodeView]

    @property
    def layer2(self) -> Layer2View | None:
        """Where it settles; None: it does not."""
        ...

    @property
    def now_ns(self) -> int:
        """Virtual nanoseconds since the start of the run."""
        ...

    def unix_ms(self, node: int) -> int:
        """A node's wall clock now, with the jumps it has made."""
        ...


class ApiAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One call of a client and what the node's HTTP handlers said."""

    node: int
    sent_ns: int
    answered_ns: int
    method: str
    path: str
    status: int
    document: bytes
    """The body of the answer, JSON."""
    transactions: tuple[Transaction, ...] = ()
    """What was submitted; empty for reads and for rubbish that is no transaction."""
    rubbish: str = ""
    """What was wrong with the submission on purpose; "" for a good one."""


class Checker:
    """One promise. Override what it needs to see. One object sees one run."""

    name = "checker"

    def begin(self, cluster: ClusterView) -> None:
        """Before the first node starts."""

    def started(self, node: NodeView) -> None:
        """A node runs, for the first time or again."""

    def crashed(self, node: NodeView) -> None:
        """A node lost its power; called just before its memory is gone."""

    def halted(self, node: NodeView, reason: str) -> None:
        """A node stopped by itself. (For an honest node the cluster reports a violation after this call.)"""

    def signed(self, node: NodeView, message: ConsensusMessage) -> None:
        """The shipping node lets a message of its own out, before any middleware; re-sends come again."""

    def sent(self, node: NodeView, to: NodeId, frame: wire.Frame) -> None:
        """A frame goes on the wire, behind the middleware; once for each receiver."""

    def received(self, node: NodeView, sender: NodeId, data: bytes) -> None:
        """A frame reaches a node, as bytes from the wire."""

    def executed(self, node: NodeView, block: ExecutedBlock) -> None:
        """A node has executed a block, which is not durable yet."""

    def applied(self, node: NodeView, block: ExecutedBlock) -> None:
        """A block is durable in a node's ledger."""

    def certified(self, node: NodeView, certificate: BlockCertificate) -> None:
        """A block certificate is durable in a node's ledger."""

    def boundary(self, node: NodeView, index: int, what: str) -> None:
        """A node passes its boundary of that number, such as "before a send": see `plan.CrashAtStep`."""

    def misbehaviour(self, node: NodeView, evidence: Misbehaviour) -> None:
        """A node holds two signed messages that contradict each other."""

    def blamed(self, node: NodeView, peer: NodeId, reason: str) -> None:
        """A node says that a peer sent what no correct node sends."""

    def layer2(self, layer2: Layer2View) -> None:
        """Layer 2 has another head: a block more, or another branch."""

    def duties(self, node: NodeView, transactions: Sequence[Transaction]) -> None:
        """A node's settler hands signatures and votes to its own pool."""

    def relayed(self, node: NodeView, prepared: Prepared, is_durable: bool) -> None:
        """A node's settler sends a transaction to Layer 2; `is_durable`: it is written down."""

    def waits(self, node: NodeView, fault: SettlerFault) -> None:
        """A node's settler reports something that stands in its way; again after every look as long as it does."""

    def answered(self, answer: ApiAnswer) -> None:
        """A client has its answer."""

    def second(self, cluster: ClusterView) -> None:
        """Every virtual second: for what is too dear to look at after each step, such as the size of buffers."""

    def healed(self, cluster: ClusterView) -> None:
        """From now on no network fault acts and every node that is not down for good is being started."""

    def finished(self, cluster: ClusterView) -> None:
        """The run is over without a violation so far."""
