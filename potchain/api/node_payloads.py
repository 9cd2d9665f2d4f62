"""The shape of every answer about the node itself, as Structs. The rules of `payloads` hold here too."""

from __future__ import annotations

from potchain.api.payloads import Account, Amount, Hash, Hex, NodeName, Payload


class PeerCounts(Payload, frozen=True):
    """How many peers."""

    connected: int
    configured: int


class PoolCounts(Payload, frozen=True):
    """How full the pool is."""

    count: int
    bytes: int


class StatusPayload(Payload, frozen=True):
    """Where this node is."""

    chain_id: str
    genesis_hash: Hash
    node_id: NodeName
    name: str
    version: str
    engine: str
    engine_version: str
    height: int
    block_hash: Hash
    state_root: Hash
    block_time_ms: int
    certified_height: int
    """Every block up to here is final."""
    stable_height: int
    history_height: int
    """Rows by transaction and account are complete up to here; above, answers come from recent blocks."""
    best_peer_height: int
    syncing: bool
    stalled: str | None
    """In words, what the node waits for longer than it should; null when all is well."""
    peers: PeerCounts
    pool: PoolCounts
    started_at_ms: int
    evidence: dict[str, int]
    """Members that signed contradicting messages, with the pieces of evidence that are kept here."""


class DomainPayload(Payload, frozen=True):
    """The EIP-712 domain."""

    name: str
    version: str
    salt: Hash


class TypeMember(Payload, frozen=True):
    """One member of an EIP-712 type."""

    name: str
    type: str


class LimitsPayload(Payload, frozen=True):
    """What a client should know before it sends."""

    base_fee: Amount
    transaction_bytes_max: int
    memo_bytes_max: int
    nonce_gap_max: int
    sender_in_flight_max: int
    submit_batch_max: int
    """Transactions in one array."""
    batch_max: int
    """Transactions in one block."""
    body_bytes_max: int
    """Bytes in one request body."""
    wait_s_max: int
    """Longest `timeout` and `wait`."""


class ChainPayload(Payload, frozen=True):
    """All that a wallet library needs in order to sign."""

    chain_id: str
    genesis_hash: Hash
    domain: DomainPayload
    types: dict[str, dict[str, list[TypeMember]]]
    """Kind to the `types` object of its EIP-712 typed data; the kind is the primary type."""
    limits: LimitsPayload


class ValidatorPayload(Payload, frozen=True):
    """A member of the set, with its three keys."""

    name: str
    node_id: NodeName
    node_key: Hash
    consensus_key: Hex
    operator: Account


class ValidatorsPayload(Payload, frozen=True):
    """The current epoch."""

    epoch: int
    first_sequence: int
    quorum: int
    faults_max: int
    validators: list[ValidatorPayload]
    parameters: dict[str, int]


class PooledPayload(Payload, frozen=True):
    """One pooled transaction."""

    id: Hash
    kind: str
    sender: Account
    nonce: int
    fee: Amount
    valid_until_ms: int | None
    bytes: int
    ready: bool
    """False while an earlier nonce of its sender is missing."""
    age_ms: int


class PoolPayload(Payload, frozen=True):
    """Sizes of the pool and a page of it, in order of id."""

    count: int
    count_max: int
    bytes: int
    bytes_max: int
    ready: int
    senders: int
    transactions: list[PooledPayload]
    next: str | None
    """`cursor` of the next page."""


class MemberPayload(Payload, frozen=True):
    """A member by id and name."""

    node_id: NodeName
    name: str


class SlotPayload(Payload, frozen=True):
    """A sequence in flight: whose votes are held and missing, by message kind."""

    sequence: int
    phase: str
    digest: Hash | None
    held: dict[str, list[str]]
    missing: dict[str, list[str]]


class MissingVotesPayload(Payload, frozen=True):
    """Members whose vote on an executed block is not held."""

    height: int
    missing: list[str]


class WaitPayload(Payload, frozen=True):
    """One thing that the node waits for."""

    kind: str
    """"standing", "blocks", "view", "sequence", "proposal", "epoch", "certificates", "disk" or "peers"."""
    text: str
    """A phrase that fits behind "waiting for"."""
    missing: list[str]
    """Members that something is missing from."""
    sequence: int | None
    """Sequence, or first height, that it is about."""
    since_ms: int | None
    """How long it has waited, where that is known."""


class TimerPayload(Payload, frozen=True):
    """A timer that runs."""

    name: str
    """The engine's begin with "engine:"."""
    in_ms: int


class ConsensusPayload(Payload, frozen=True):
    """Why the chain does or does not move."""

    epoch: int
    view: int
    primary: MemberPayload
    mode: str
    low_water_mark: int
    high_water_mark: int
    last_decided: int
    in_flight: list[SlotPayload]
    view_change: SlotPayload | None
    """What a view change waits for, at sequence 0; null in an active view."""
    view_timeout_ms: int
    """How long work may wait at present before the primary is accused."""
    standing: str
    """"voting", "observer", or in words what keeps the node from voting."""
    stalled: str | None
    """As in `/v1/status`."""
    waiting_for: str
    """The first of `waits`, in words."""
    waits: list[WaitPayload]
    """Everything that is missing; what explains the rest comes first."""
    next_timer: str | None
    next_timer_in_ms: int | None
    timers: list[TimerPayload]
    """All that run, the next one first."""
    block_votes_missing: list[MissingVotesPayload]
    buffers: dict[str, int]
    """Sizes of the host's buffers."""
    engine_buffers: dict[str, int]


class PeerPayload(Payload, frozen=True):
    """What the transport knows of a peer."""

    node_id: NodeName
    name: str
    address: str
    connected: bool
    frames_in: int
    frames_out: int
    bytes_in: int
    bytes_out: int
    frames_dropped: int
    queued_bytes: int


class PeersPayload(Payload, frozen=True):
    """All configured peers."""

    peers: list[PeerPayload]


class HealthPayload(Payload, frozen=True):
    """The process answers."""

    status: str
    """"ok"."""


class ReadyPayload(Payload, frozen=True):
    """The node has caught up."""

    ready: bool
    height: int
    certified_height: int
