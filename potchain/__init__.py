"""potchain: a Byzantine-fault-tolerant ledger node whose parts are plug-ins and whose ledger is SQL.

Plug-ins import from this module and from nothing below it. The list is documented and checked by a test.
"""

from potchain.application.epochs import EpochPlanned, change_epoch, planned_epoch
from potchain.application.interface import (
    Application,
    ApplicationFactory,
    BlockContext,
    EventData,
    StateReader,
    StateWriter,
)
from potchain.blocks import (
    BlockCertificate,
    OrderCertificate,
    Proposal,
    ProposalHeader,
    build_proposal,
    null_request,
    proposal_digest,
    proposal_fault,
    vote_bytes,
)
from potchain.codec import Canonical, decode, encode
from potchain.consensus.interface import (
    Ask,
    Boot,
    BuildProposal,
    CancelTimer,
    CertificateReceived,
    Certified,
    CheckProposal,
    ConsensusEngine,
    ConsensusMessage,
    Decision,
    Discard,
    Effects,
    EngineFactory,
    EngineStatus,
    Event,
    Executed,
    FetchMessages,
    FetchProposal,
    KeepInFlight,
    MessageName,
    MessageReceived,
    Misbehaviour,
    Note,
    ProposalBuilt,
    ProposalChecked,
    Record,
    ReportWork,
    Send,
    SetTimer,
    SlotStatus,
    Started,
    TimerFired,
    WorkWaiting,
)
from potchain.consensus.quorum import Quorum
from potchain.crypto import digest_of, verify_vote
from potchain.errors import (
    CodecError,
    InvalidProof,
    InvalidTransaction,
    LinkError,
    PotchainError,
    TransactionFailed,
    TransportError,
)
from potchain.genesis import Epoch, Genesis, Parameters, Validator
from potchain.hookspecs import hookimpl
from potchain.links import (
    ANY,
    OFF,
    Conditions,
    Departure,
    Inbound,
    LinkProfile,
    Outbound,
    Phase,
    Rule,
)
from potchain.primitives import (
    Address,
    Bytes,
    Bytes32,
    Digest,
    Height,
    Nanoseconds,
    NodeId,
    Sequence,
    Signature64,
    Text,
    Uint64,
    Uint256,
    UnixMs,
    View,
    uint,
    uint256,
)
from potchain.transactions import Transaction, TransactionBody
from potchain.transport import (
    FRAME_BYTES_MAX,
    FRAME_OVERHEAD_BYTES,
    Channel,
    Peer,
    PeerStatus,
    Transport,
    TransportConfig,
    TransportEvents,
    TransportFactory,
)

__all__ = [
    "ANY", "Address", "Application", "ApplicationFactory", "Ask", "BlockCertificate", "BlockContext", "Boot",
    "BuildProposal", "Bytes", "Bytes32", "CancelTimer", "Canonical", "CertificateReceived", "Certified", "Channel",
    "CheckProposal", "CodecError", "Conditions", "ConsensusEngine", "ConsensusMessage", "Decision", "Departure",
    "Digest", "Discard", "Effects", "EngineFactory", "EngineStatus", "Epoch", "EpochPlanned", "Event", "EventData",
    "Executed", "FRAME_BYTES_MAX", "FRAME_OVERHEAD_BYTES", "FetchMessages", "FetchProposal", "Genesis", "Height",
    "Inbound", "InvalidProof", "InvalidTransaction", "KeepInFlight", "LinkError", "LinkProfile", "MessageName",
    "MessageReceived", "Misbehaviour", "Nanoseconds", "NodeId", "Note", "OFF", "OrderCertificate", "Outbound",
    "Parameters", "Peer", "PeerStatus", "Phase", "PotchainError", "Proposal", "ProposalBuilt", "ProposalChecked",
    "ProposalHeader", "Quorum", "Record", "ReportWork", "Rule", "Send", "Sequence", "SetTimer", "Signature64",
    "SlotStatus", "Started", "StateReader", "StateWriter", "Text", "TimerFired", "Transaction", "TransactionBody",
    "TransactionFailed", "Transport", "TransportConfig", "TransportError", "TransportEvents", "TransportFactory",
    "Uint256", "Uint64", "UnixMs", "Validator", "View", "WorkWaiting", "build_proposal", "change_epoch", "decode",
    "digest_of", "encode", "hookimpl", "null_request", "planned_epoch", "proposal_digest", "proposal_fault", "uint",
    "uint256", "verify_vote", "vote_bytes",
]  # fmt: skip
