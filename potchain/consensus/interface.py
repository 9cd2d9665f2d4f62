"""The contract between a consensus engine and its host.

An engine is a pure state machine: `step(event, now_ns) -> Effects`, with no clock, randomness, I/O, threads or logging.
Same boot and same events give byte-identical effects. The host keeps these rules:

(a) everything in `persist` is durable before anything of the same or any later step is sent or decided;
(b) the engine emits unsigned messages; the host signs, persists record and signature, sends, and only then feeds the
    signed message back as `MessageReceived`: own votes count only then;
(c) the host's signer refuses a second digest for one (epoch, view, sequence, kind);
(d) a decision is applied in one SQL transaction;
(e) a timer carries a generation; the firing of a cancelled or replaced one never reaches the engine;
(f) a message from a peer never raises: it comes out as `Discard`. An exception out of `step` is a bug;
(g) every buffer is bounded and its size is in `status()`;
(h) without progress the host re-sends the engine's own messages, byte for byte, until their height is final here; of
    those of sequence 0 (view changes, new views) the newest of each kind.

Legal calls: `create`, then `step(Started)`, then `step` with any other event in any order; `status`, `dump` at any time
between steps. `verify` and `signed_parts` are pure functions that may run on other threads.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from potchain.blocks import BlockCertificate, OrderCertificate, Proposal
from potchain.codec import Canonical
from potchain.genesis import Epoch
from potchain.links import LinkProfile
from potchain.primitives import Bytes32, Digest, NodeId, Signature64, Uint64

MESSAGE_BYTES_MAX = 4 * 1024 * 1024
"""Bound on the canonical bytes of one consensus message."""


class ConsensusMessage(Canonical, frozen=True):
    """One signed message between validators; `kind` and `body` belong to the engine.

    The signature covers {tag, genesis hash, epoch, kind, view, sequence, digest, sender}: an engine must make `digest`
    commit to `body` and refuse a body that does not fit.
    """

    epoch: Uint64
    kind: str
    view: Uint64
    sequence: Uint64
    digest: Bytes32
    sender: bytes
    body: bytes
    signature: Signature64


class Record(Canonical, frozen=True):
    """Something an engine must find again after a restart; opaque to the host."""

    kind: str
    view: Uint64
    sequence: Uint64
    data: bytes


# --- boot -----------------------------------------------------------------------------------------------------------


class Boot(msgspec.Struct, frozen=True, kw_only=True):
    """All that an engine knows at birth, given by the host, never read by the engine."""

    genesis_hash: bytes
    me: NodeId | None
    """None: an observer, which follows and never sends."""
    epoch: Epoch
    view: int = 0
    """The view that an earlier engine of this run and epoch had come to; nothing is signed in a lower one."""
    decided: int
    """Highest sequence that is decided, durable and will be executed or was."""
    executed: int
    """Highest executed height."""
    stable: int
    """Height of the stable checkpoint; 0 is genesis."""
    stable_certificate: BlockCertificate | None = None
    """Its certificate; None where the epoch begins: every node of an epoch holds the block before it certified."""
    next_epoch: Epoch | None = None
    """As in `Executed`, when the change was decided before this engine was born."""
    records: tuple[Record, ...]
    """Durable records above the stable checkpoint, in the order in which they were persisted."""
    own_messages: tuple[ConsensusMessage, ...]
    """Durable own messages above the stable checkpoint, in order. The host re-sends them; the engine counts them."""
    proposals: tuple[Proposal, ...]
    """Pinned proposals whose bodies this node holds, by sequence."""
    decided_proposals: tuple[Proposal, ...] = ()
    """Decided proposals above the stable checkpoint, by sequence: a new view may choose them again."""


# --- events ---------------------------------------------------------------------------------------------------------


class Started(msgspec.Struct, frozen=True):
    """The first event: set timers, ask for what is due."""


class MessageReceived(msgspec.Struct, frozen=True):
    """A message whose signature, genesis and epoch the host has checked; also the node's own, once durable."""

    message: ConsensusMessage


class TimerFired(msgspec.Struct, frozen=True):
    """A timer set by the engine ran out and was not replaced since."""

    name: str


class ProposalBuilt(msgspec.Struct, frozen=True):
    """Answer to `BuildProposal`: all bodies are held here; may come late, or never when there is no work."""

    proposal: Proposal
    view: int
    """The view it was asked for."""


class ProposalChecked(msgspec.Struct, frozen=True):
    """Answer to `CheckProposal`: acceptable, with all bodies held, or why not."""

    proposal: Proposal
    view: int
    refusal: str | None


class CertificateReceived(msgspec.Struct, frozen=True):
    """An order certificate from catch-up, already verified; the host holds proposal and bodies."""

    sequence: int
    digest: Digest
    certificate: OrderCertificate
    proposal: Proposal


class Executed(msgspec.Struct, frozen=True):
    """A decided sequence became a block here."""

    height: int
    block_hash: Digest
    next_epoch: Epoch | None
    """What follows the engine's epoch, once that is known: nothing at or above its first sequence is proposed or
    accepted, and the primary fills up to there with empty proposals at once. Its members may still change."""


class Certified(msgspec.Struct, frozen=True):
    """A block certificate is durable here. At a checkpoint that is executed here this makes it stable."""

    height: int
    certificate: BlockCertificate


class WorkWaiting(msgspec.Struct, frozen=True):
    """What waits to be proposed, every second and as the answer to `ReportWork`; from who catches up, nothing does. The
    host has judged what the primary did: a wait counts from when it had no excuse (design section 5, timers (b))."""

    count: int
    """Transactions that could be proposed."""
    neglected_ns: int | None
    """Monotonic time since when the primary leaves one of them out without excuse; None: it does not."""


Event = (
    Started
    | MessageReceived
    | TimerFired
    | ProposalBuilt
    | ProposalChecked
    | CertificateReceived
    | Executed
    | Certified
    | WorkWaiting
)


# --- effects --------------------------------------------------------------------------------------------------------


class Send(msgspec.Struct, frozen=True, kw_only=True):
    """An unsigned message to every other member, or to one."""

    kind: str
    view: int
    sequence: int
    digest: Digest
    body: bytes = b""
    to: NodeId | None = None


class SetTimer(msgspec.Struct, frozen=True):
    """(Re)start a timer; one of that name that runs is replaced."""

    name: str
    after_ns: int


class CancelTimer(msgspec.Struct, frozen=True):
    """Stop a timer; nothing happens when none of that name runs."""

    name: str


class BuildProposal(msgspec.Struct, frozen=True):
    """Ask for a proposal for this sequence as soon as the batching rule allows one."""

    sequence: int
    view: int
    may_be_empty: bool = False


class CheckProposal(msgspec.Struct, frozen=True):
    """Ask whether a proposal is acceptable, and to fetch and pin its bodies."""

    proposal: Proposal
    view: int
    fresh: bool
    """False for a digest that a verified new view chose: clock and proposer are not checked again."""
    sources: tuple[NodeId, ...]
    """Who holds the bodies, to be asked first."""


class FetchProposal(msgspec.Struct, frozen=True):
    """Ask peers, first the `sources`, who hold it, for a proposal that was decided, or that a new view chose.

    Comes as `CertificateReceived`, or as `ProposalChecked` with view 0 once its bodies are held.
    """

    sequence: int
    digest: Digest
    sources: tuple[NodeId, ...] = ()


class MessageName(Canonical, frozen=True):
    """Names a signed message of known kind and view."""

    sender: bytes
    digest: bytes
    """32 bytes; empty: whichever the sender signed."""


class FetchMessages(msgspec.Struct, frozen=True):
    """Ask one peer, or all, for others' signed messages; each comes as `MessageReceived`, or never."""

    kind: str
    view: int
    names: tuple[MessageName, ...]
    source: NodeId | None


class KeepInFlight(msgspec.Struct, frozen=True):
    """A view has begun: of the undecided proposals these alone are in flight; what others held may be proposed anew."""

    digests: tuple[Digest, ...]


class ReportWork(msgspec.Struct, frozen=True):
    """Ask for a `WorkWaiting` as of now, before a primary is accused."""


Ask = BuildProposal | CheckProposal | FetchProposal | FetchMessages | KeepInFlight | ReportWork


class Decision(msgspec.Struct, frozen=True):
    """A sequence is decided. Each sequence once; the host executes in order."""

    sequence: int
    digest: Digest
    proposal: Proposal
    certificate: OrderCertificate


class Discard(msgspec.Struct, frozen=True):
    """A peer's message was of no use, and why. `blame`: no correct node would have sent it."""

    sender: NodeId
    kind: str
    reason: str
    blame: bool = False


class Misbehaviour(msgspec.Struct, frozen=True):
    """Two signed messages that no correct node sends both of."""

    first: ConsensusMessage
    second: ConsensusMessage


class Note(msgspec.Struct, frozen=True):
    """Something an operator wants to know: a new view, a stable checkpoint."""

    text: str


class Effects(msgspec.Struct, frozen=True, kw_only=True):
    """What a step asks of the host, carried out in the order of the fields."""

    persist: tuple[Record, ...] = ()
    send: tuple[Send, ...] = ()
    timers: tuple[SetTimer | CancelTimer, ...] = ()
    ask: tuple[Ask, ...] = ()
    decide: tuple[Decision, ...] = ()
    truncate: int | None = None
    """Forget records and own messages at or below this sequence: a stable checkpoint covers them."""
    report: tuple[Discard | Misbehaviour | Note, ...] = ()


class SlotStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One sequence in flight: what is held and whose votes are missing."""

    sequence: int
    phase: str
    digest: str | None
    """0x-hex, or None before a proposal is known."""
    held: dict[str, list[str]]
    """Message kind to the names of members whose message is held."""
    missing: dict[str, list[str]]
    """Message kind to the names of members whose message is not held; only the kinds the phase waits for."""


class EngineStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Cheap picture of an engine, for people, metrics and the bounds check."""

    view: int
    primary: NodeId
    mode: str
    """"normal", or the engine's own word for another mode."""
    low_water_mark: int
    high_water_mark: int
    last_decided: int
    """Every sequence up to here is decided."""
    in_flight: tuple[SlotStatus, ...]
    view_change: SlotStatus | None
    """What a view change waits for (sequence 0), or None in an active view."""
    view_timeout_ns: int  # how long work may wait at present before the primary is accused
    buffers: dict[str, int]
    """Size of every buffer by name."""


class ConsensusEngine(Protocol):
    """A running engine of one epoch."""

    def step(self, event: Event, now_ns: int) -> Effects:
        """React to one event. `now_ns` is a monotonic reading, the same for all that happens in this step."""
        ...

    def status(self) -> EngineStatus:
        """What it waits for."""
        ...

    def dump(self) -> bytes:
        """Full state as JSON, for bug reports."""
        ...

    def has_enough(self, message: ConsensusMessage) -> bool:
        """Whether a message could be nothing but evidence, so that the host may check it and hand it on later."""
        ...

    def remembered(self) -> tuple[ConsensusMessage, ...]:
        """Others' signed messages in its durable records, in order: a member that restarts asks for its own."""
        ...

    def find(self, kind: str, view: int, name: MessageName) -> ConsensusMessage | None:
        """A signed message that it holds, for a peer that asked (`FetchMessages`); None when it holds no such one."""
        ...


class EngineFactory(Protocol):
    """What a consensus plug-in offers, found through the hook `consensus_engines`."""

    name: str
    version: str
    wire_version: int
    options_type: type[msgspec.Struct]
    """Decoded once from the table [consensus.<name>] of the node's configuration."""

    def create(self, boot: Boot, options: msgspec.Struct) -> ConsensusEngine:
        """A fresh engine."""
        ...

    def link_profile(self, options: msgspec.Struct) -> LinkProfile:
        """Network conditions that come with the engine's name, where the node's [links] says nothing; mostly `OFF`."""
        ...

    def verify(
        self, certificate: OrderCertificate, genesis_hash: bytes, epoch: Epoch, sequence: int, digest: bytes
    ) -> None:
        """Check an order certificate. Pure and bounded. Raises InvalidProof with the reason."""
        ...

    def signed_parts(
        self, message: ConsensusMessage, genesis_hash: bytes, epoch: Epoch
    ) -> tuple[tuple[NodeId, bytes, bytes], ...]:
        """Signatures nested in a message's body as (signer, signed bytes, signature), without its own.

        Pure and bounded. The host checks them off the loop before `step` sees the message. Raises CodecError.
        """
        ...
