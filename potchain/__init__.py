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
from potchain.application.settlement.bodies import PayoutCreated
from potchain.application.settlement.payouts import create_payout
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
from potchain.crypto import (
    SigningKey,
    checksum_address,
    digest_of,
    keccak256,
    parse_address,
    verify_vote,
)
from potchain.errors import (
    CodecError,
    ConfigError,
    InvalidProof,
    InvalidTransaction,
    KeyFileError,
    LinkError,
    PluginError,
    PotchainError,
    SettlementError,
    TransactionFailed,
    TransportError,
)
from potchain.genesis import Epoch, Genesis, Parameters, Validator
from potchain.hookspecs import CommandPlace, hookimpl
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
from potchain.settlement import (
    Action,
    BackendContext,
    BatchSeen,
    ChainView,
    Contract,
    ContractState,
    DepositSeen,
    Entry,
    Layer2Event,
    Owners,
    PauseSeen,
    Prepared,
    ReadyAction,
    RelayState,
    RootSeen,
    RotationSeen,
    SettlementBackend,
    SettlementBackendFactory,
    domain_separator,
    multisig_digest,
)
from potchain.settlement.digests import action_digest
from potchain.settlement.interface import EVENTS_PER_CALL_MAX
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
    "ANY", "Action", "Address", "Application", "ApplicationFactory", "Ask", "BackendContext", "BatchSeen",
    "BlockCertificate", "BlockContext", "Boot", "BuildProposal", "Bytes", "Bytes32", "CancelTimer", "Canonical",
    "CertificateReceived", "Certified", "ChainView", "Channel", "CheckProposal", "CodecError", "CommandPlace",
    "Conditions", "ConfigError", "ConsensusEngine", "ConsensusMessage", "Contract", "ContractState", "Decision",
    "Departure", "DepositSeen", "Digest", "Discard", "EVENTS_PER_CALL_MAX", "Effects", "EngineFactory", "EngineStatus",
    "Entry", "Epoch", "EpochPlanned", "Event", "EventData", "Executed", "FRAME_BYTES_MAX", "FRAME_OVERHEAD_BYTES",
    "FetchMessages", "FetchProposal", "Genesis", "Height", "Inbound", "InvalidProof", "InvalidTransaction",
    "KeepInFlight", "KeyFileError", "Layer2Event", "LinkError", "LinkProfile", "MessageName", "MessageReceived",
    "Misbehaviour", "Nanoseconds", "NodeId", "Note", "OFF", "OrderCertificate", "Outbound", "Owners", "Parameters",
    "PauseSeen", "PayoutCreated", "Peer", "PeerStatus", "Phase", "PluginError", "PotchainError", "Prepared",
    "Proposal", "ProposalBuilt", "ProposalChecked", "ProposalHeader", "Quorum", "ReadyAction", "Record", "RelayState",
    "ReportWork", "RootSeen", "RotationSeen", "Rule", "Send", "Sequence", "SetTimer", "SettlementBackend",
    "SettlementBackendFactory", "SettlementError", "Signature64", "SigningKey", "SlotStatus", "Started", "StateReader",
    "StateWriter", "Text", "TimerFired", "Transaction", "TransactionBody", "TransactionFailed", "Transport",
    "TransportConfig", "TransportError", "TransportEvents", "TransportFactory", "Uint256", "Uint64", "UnixMs",
    "Validator", "View", "WorkWaiting", "action_digest", "build_proposal", "change_epoch", "checksum_address",
    "create_payout", "decode", "digest_of", "domain_separator", "encode", "hookimpl", "keccak256", "multisig_digest",
    "null_request", "parse_address", "planned_epoch", "proposal_digest", "proposal_fault", "uint", "uint256",
    "verify_vote", "vote_bytes",
]  # fmt: skip
