"""What enters the replica and what leaves it.

The driver carries actions out in the order in which they come. `Persist` is asynchronous: the replica itself holds back
everything that must wait for it until `Persisted` comes, so the driver never has to know which action needs which.
"""

from __future__ import annotations

import msgspec

from potchain.blocks import BlockCertificate, ExecutedBlock, Proposal, SyncBlock
from potchain.consensus.interface import ConsensusMessage, Discard, Misbehaviour, Note, Record
from potchain.consensus.learning import LearnerTarget
from potchain.consensus.signer import GuardEntry, guard_entry
from potchain.dissemination import BundleHead, Share
from potchain.evidence import Evidence as CheckedEvidence
from potchain.genesis import Epoch
from potchain.primitives import Digest, NodeId
from potchain.replica.wire import Frame
from potchain.transactions import Transaction


class Now(msgspec.Struct, frozen=True):
    """The two readings of time that a step may use, taken by the driver."""

    monotonic_ns: int
    """For timers and ages."""
    unix_ms: int
    """For a fresh proposal's timestamp and its check; nothing else."""


# --- events ---------------------------------------------------------------------------------------------------------


class Begin(msgspec.Struct, frozen=True):
    """First event of a run."""


class FrameReceived(msgspec.Struct, frozen=True):
    """A decoded frame from a peer. Signatures in it have been checked by the driver, except transactions'."""

    sender: NodeId
    frame: Frame


class TransactionsVerified(msgspec.Struct, frozen=True):
    """Transactions whose signatures are good, from a client (`ticket`), from gossip, or as asked-for bodies."""

    transactions: tuple[Transaction, ...]
    ticket: int | None = None
    """Identifies the client's call that awaits the outcome."""
    root: int | None = None
    """Place of the tree's root, of those that came as `wire.Relay`."""


class ShareVerified(msgspec.Struct, frozen=True):
    """A share of a bundle, under the root that its client signed."""

    sender: NodeId
    bundle: Digest
    """`dissemination.bundle_digest` of its head."""
    account: bytes
    """Address that signed."""
    share: Share


class BundleDecoded(msgspec.Struct, frozen=True):
    """What became of a bundle; its transactions come as `TransactionsVerified`."""

    bundle: Digest
    own: Share | None
    """This node's own share, made from the others; None if it has no place, or the bundle was inconsistent."""
    fault: str = ""
    """Why every node refuses it."""


class BlocksVerified(msgspec.Struct, frozen=True):
    """Catch-up blocks, consecutive, with every signature and certificate in them good."""

    sender: NodeId
    blocks: tuple[SyncBlock, ...]
    transactions: tuple[tuple[Transaction, ...], ...]
    """The parsed bodies of each block."""


class CertificatesVerified(msgspec.Struct, frozen=True):
    """Block certificates with good signatures by a quorum of their epoch."""

    certificates: tuple[BlockCertificate, ...]


class Persisted(msgspec.Struct, frozen=True):
    """The batches up to this token are durable."""

    token: int


class Applied(msgspec.Struct, frozen=True):
    """The blocks up to this height are durable in the ledger."""

    height: int


class CertificatesStored(msgspec.Struct, frozen=True):
    """These block certificates are durable in the ledger."""

    certificates: tuple[BlockCertificate, ...]


class TimerFired(msgspec.Struct, frozen=True):
    """A timer ran out; a stale generation is ignored (host rule (e))."""

    name: str
    generation: int


class PeerConnected(msgspec.Struct, frozen=True):
    """A hint; never affects safety."""

    peer: NodeId


class PeerDisconnected(msgspec.Struct, frozen=True):
    """A hint; never affects safety."""

    peer: NodeId


ReplicaEvent = (
    Begin
    | FrameReceived
    | TransactionsVerified
    | ShareVerified
    | BundleDecoded
    | BlocksVerified
    | CertificatesVerified
    | Persisted
    | Applied
    | CertificatesStored
    | TimerFired
    | PeerConnected
    | PeerDisconnected
)


# --- actions --------------------------------------------------------------------------------------------------------


class DurableBatch(msgspec.Struct, frozen=True):
    """What one step must find again after a crash; written in one transaction of the vote log."""

    records: tuple[Record, ...] = ()
    messages: tuple[ConsensusMessage, ...] = ()
    """Own signed messages."""
    bodies: tuple[Transaction, ...] = ()
    proposals: tuple[Proposal, ...] = ()
    learner: LearnerTarget | None = None
    """How far a node that forgot its votes must learn, when that has become known."""

    @property
    def guard(self) -> tuple[GuardEntry, ...]:
        """The signer's guard entries that belong to the messages."""
        return tuple(guard_entry(message) for message in self.messages)

    @property
    def empty(self) -> bool:
        """Nothing to write."""
        return not (self.records or self.messages or self.bodies or self.proposals or self.learner)


class Persist(msgspec.Struct, frozen=True):
    """Make a batch durable, in token order, then report `Persisted`."""

    token: int
    batch: DurableBatch


class Transmit(msgspec.Struct, frozen=True):
    """Send a frame to one node, or to every other validator (None)."""

    to: NodeId | None
    frame: Frame
    again: bool = False
    """It was sent before, in vain perhaps, and waits behind what was not."""


class StartTimer(msgspec.Struct, frozen=True):
    """Report `TimerFired(name, generation)` after this long."""

    name: str
    generation: int
    after_ns: int


class Apply(msgspec.Struct, frozen=True):
    """Write a block and all that came of it in one SQL transaction, then report `Applied`."""

    block: ExecutedBlock


class StoreCertificate(msgspec.Struct, frozen=True):
    """Write a block certificate, then report `CertificatesStored`."""

    certificate: BlockCertificate


class TruncateVotes(msgspec.Struct, frozen=True):
    """Forget votes at or below a stable checkpoint whose block and certificate are durable in the ledger."""

    stable: int
    uncertified: tuple[int, ...]
    """Heights at or below it whose own block vote is kept, because their certificate is not here yet."""


class ForgetBodies(msgspec.Struct, frozen=True):
    """These bodies are needed by neither pool nor pin any more."""

    ids: tuple[Digest, ...]


class ServeBlocks(msgspec.Struct, frozen=True):
    """Answer a peer's `FetchBlocks` from the ledger."""

    to: NodeId
    from_height: int
    count: int


class ServeCertificates(msgspec.Struct, frozen=True):
    """Answer a peer's `FetchCertificates` from the ledger."""

    to: NodeId
    from_height: int
    count: int


class DecodeBundle(msgspec.Struct, frozen=True):
    """Reassemble a bundle off the loop, report `BundleDecoded`, and check its transactions like gossip."""

    bundle: Digest
    head: BundleHead
    signature: bytes
    """The client's, for the own share."""
    shares: tuple[tuple[int, bytes], ...]
    """Index and block, `head.needed` of them."""
    place: int | None
    """Index of this node's own share."""


class Resolve(msgspec.Struct, frozen=True):
    """The outcome of a client's call, in its order: per transaction (id, status, code, detail)."""

    ticket: int
    outcomes: tuple[tuple[Digest, str, str, str], ...]


class Blame(msgspec.Struct, frozen=True):
    """A peer sent what no correct node sends."""

    peer: NodeId
    reason: str


class Evidence(msgspec.Struct, frozen=True):
    """Two signed messages that contradict each other, as this node holds them: for the log."""

    misbehaviour: Misbehaviour


class StoreEvidence(msgspec.Struct, frozen=True):
    """Keep a checked piece of evidence in the ledger database; whatever becomes of it is not reported back."""

    evidence: CheckedEvidence


class Notice(msgspec.Struct, frozen=True):
    """A line for the log."""

    level: str
    text: str


class EpochsNear(msgspec.Struct, frozen=True):
    """The previous, the current and, once decided, the next epoch: whose validators may connect."""

    epochs: tuple[Epoch, ...]


class Halt(msgspec.Struct, frozen=True):
    """Stop this node loudly: going on could do harm."""

    reason: str


ReplicaAction = (
    Persist
    | Transmit
    | StartTimer
    | Apply
    | StoreCertificate
    | TruncateVotes
    | ForgetBodies
    | ServeBlocks
    | ServeCertificates
    | DecodeBundle
    | Resolve
    | Blame
    | Evidence
    | StoreEvidence
    | Notice
    | EpochsNear
    | Halt
)


def reported(report: Discard | Note, me: NodeId) -> ReplicaAction:
    """What an engine's report means to the driver. Nobody blames himself."""
    if isinstance(report, Note):
        return Notice("info", report.text)
    if report.blame and report.sender != me:
        return Blame(report.sender, f"{report.kind}: {report.reason}")
    return Notice("debug", f"discarded {report.kind}: {report.reason}")
