"""From the values of the node to the payloads of the API. Pure; nothing here asks the node or the ledger."""

from __future__ import annotations

import msgspec

from potchain.api.node_payloads import (
    ChainPayload,
    ConsensusPayload,
    DomainPayload,
    LimitsPayload,
    MemberPayload,
    MissingVotesPayload,
    PeerCounts,
    PeerPayload,
    PoolCounts,
    PooledPayload,
    SlotPayload,
    StatusPayload,
    TimerPayload,
    TypeMember,
    ValidatorPayload,
    ValidatorsPayload,
    WaitPayload,
)
from potchain.api.payloads import (
    BlockCertificatePayload,
    BlockSignaturePayload,
    EventPayload,
    FullBlockPayload,
    HistoryEntryPayload,
    ListedBlockPayload,
    OrderCertificatePayload,
    PlacePayload,
    ReceiptPayload,
    TransactionPayload,
)
from potchain.api.ports import (
    ConsensusStatus,
    Limits,
    NodeStatus,
    PendingState,
    PoolEntry,
)
from potchain.application.interface import EventData
from potchain.blocks import Event
from potchain.codec import decode
from potchain.consensus.interface import SlotStatus
from potchain.consensus.quorum import Quorum
from potchain.crypto import checksum_address
from potchain.errors import CodecError
from potchain.genesis import Epoch, Genesis
from potchain.ledger.stored import Inclusion, StoredBlock
from potchain.primitives import NS_PER_MS, uint
from potchain.transactions import Transaction, TransactionTypes
from potchain.transport import PeerStatus
from potchain.typed_data import JsonObject, domain_json, struct_to_json, types_json

EventTypes = dict[str, type[EventData]]


def hex_of(data: bytes) -> str:
    """0x and hex digits."""
    return "0x" + data.hex()


def status_payload(status: NodeStatus, genesis: Genesis) -> StatusPayload:
    """Where the node is."""
    return StatusPayload(
        chain_id=genesis.chain_id,
        genesis_hash=hex_of(genesis.hash),
        node_id=hex_of(status.node_id),
        name=status.name,
        version=status.version,
        engine=status.engine,
        engine_version=status.engine_version,
        height=status.height,
        block_hash=hex_of(status.block_hash),
        state_root=hex_of(status.state_root),
        block_time_ms=status.block_time_ms,
        certified_height=status.certified_height,
        stable_height=status.stable_height,
        history_height=status.history_height,
        best_peer_height=status.best_peer_height,
        syncing=status.syncing,
        stalled=status.stalled,
        peers=PeerCounts(connected=status.peers_connected, configured=status.peers_configured),
        pool=PoolCounts(count=status.pool_count, bytes=status.pool_bytes),
        started_at_ms=status.started_at_ms,
        evidence=status.evidence,
    )


def chain_payload(
    genesis: Genesis, types: TransactionTypes, limits: Limits, *, body_bytes_max: int, wait_s_max: int
) -> ChainPayload:
    """What a client signs from."""
    return ChainPayload(
        chain_id=genesis.chain_id,
        genesis_hash=hex_of(genesis.hash),
        domain=DomainPayload(**domain_json(types.genesis_hash)),
        types={
            name: {
                struct: [TypeMember(**member) for member in members]
                for struct, members in types_json(kind).items()
            }
            for name, kind in types.kinds.items()
        },
        limits=LimitsPayload(
            base_fee=str(limits.base_fee),
            transaction_bytes_max=limits.transaction_bytes_max,
            memo_bytes_max=limits.memo_bytes_max,
            nonce_gap_max=limits.nonce_gap_max,
            sender_in_flight_max=limits.sender_in_flight_max,
            submit_batch_max=limits.submit_batch_max,
            batch_max=limits.batch_max,
            body_bytes_max=body_bytes_max,
            wait_s_max=wait_s_max,
        ),
    )


def executed_payload(inclusion: Inclusion, transaction: Transaction, event_types: EventTypes) -> TransactionPayload:
    """A transaction that took its place."""
    receipt = inclusion.receipt
    return TransactionPayload(
        id=hex_of(transaction.id),
        state="executed",
        certified=inclusion.certified,
        kind=transaction.kind,
        message=struct_to_json(transaction.body),
        signature=hex_of(transaction.signature),
        block=PlacePayload(
            height=inclusion.header.height,
            hash=hex_of(inclusion.hash),
            block_time_ms=inclusion.header.block_time_ms,
        ),
        index=inclusion.position,
        receipt=ReceiptPayload(status=receipt.status, code=receipt.code or None, fee=str(uint(receipt.fee))),
        events=[event_payload(event, event_types) for event in receipt.events],
        code=None,
        reason=None,
    )


def pending_payload(
    transaction_id: bytes, pending: PendingState, transaction: Transaction | None
) -> TransactionPayload:
    """A transaction that is in no block."""
    return TransactionPayload(
        id=hex_of(transaction_id),
        state=pending.state,
        certified=False,
        kind=None if transaction is None else transaction.kind,
        message=None if transaction is None else struct_to_json(transaction.body),
        signature=None if transaction is None else hex_of(transaction.signature),
        block=None,
        index=None,
        receipt=None,
        events=[],
        code=pending.code or None,
        reason=pending.reason or None,
    )


def event_payload(event: Event, event_types: EventTypes) -> EventPayload:
    """An event in its application's own members; only its bytes when the kind is unknown here."""
    fields: JsonObject | None = None
    kind = event_types.get(event.kind)
    if kind is not None:
        try:
            fields = struct_to_json(decode(kind, event.data))
        except CodecError:  # written under other rules than this version's
            fields = None
    return EventPayload(kind=event.kind, fields=fields, data=hex_of(event.data))


def listed_block(block: StoredBlock, *, with_ids: bool) -> ListedBlockPayload:
    """A block in a list."""
    return ListedBlockPayload(
        **_header_fields(block), transaction_ids=_ids(block.transaction_ids) if with_ids else None
    )


def full_block(record: StoredBlock, epoch: Epoch) -> FullBlockPayload:
    """A block with all that certifies it; `epoch` gives the signers' names."""
    order, certificate = record.order_certificate, record.block_certificate
    return FullBlockPayload(
        **_header_fields(record),
        transaction_ids=_ids(record.transaction_ids),
        order_certificate=None
        if order is None
        else OrderCertificatePayload(engine=order.engine, version=order.version, data=hex_of(order.data)),
        block_certificate=None
        if certificate is None
        else BlockCertificatePayload(
            epoch=certificate.epoch,
            signatures=[
                BlockSignaturePayload(
                    node_id=hex_of(entry.sender), name=epoch.name_of(entry.sender), signature=hex_of(entry.signature)
                )
                for entry in certificate.signatures
            ],
        ),
    )


def history_entry(inclusion: Inclusion, transaction: Transaction) -> HistoryEntryPayload:
    """One line of an account's history."""
    return HistoryEntryPayload(
        id=hex_of(transaction.id),
        height=inclusion.header.height,
        index=inclusion.position,
        block_time_ms=inclusion.header.block_time_ms,
        kind=transaction.kind,
        sender=checksum_address(transaction.sender),
        nonce=transaction.nonce,
        status=inclusion.receipt.status,
        code=inclusion.receipt.code or None,
        certified=inclusion.certified,
    )


def validators_payload(epoch: Epoch) -> ValidatorsPayload:
    """The current set."""
    quorum = Quorum(len(epoch.members))
    return ValidatorsPayload(
        epoch=epoch.number,
        first_sequence=epoch.first_sequence,
        quorum=quorum.quorum,
        faults_max=quorum.faults_max,
        validators=[
            ValidatorPayload(
                name=member.name,
                node_id=hex_of(member.node_id),
                node_key=hex_of(member.node_key),
                consensus_key=hex_of(member.consensus_key),
                operator=checksum_address(member.operator),
            )
            for member in epoch.members
        ],
        parameters=msgspec.structs.asdict(epoch.parameters),
    )


def pooled_payload(entry: PoolEntry) -> PooledPayload:
    """One pooled transaction."""
    transaction = entry.transaction
    return PooledPayload(
        id=hex_of(transaction.id),
        kind=transaction.kind,
        sender=checksum_address(transaction.sender),
        nonce=transaction.nonce,
        fee=str(transaction.fee),
        valid_until_ms=transaction.valid_until or None,
        bytes=len(transaction.raw),
        ready=entry.ready,
        age_ms=entry.age_ms,
    )


def consensus_payload(status: ConsensusStatus) -> ConsensusPayload:
    """The engine's picture and the host's around it."""
    engine, epoch = status.engine, status.epoch
    return ConsensusPayload(
        epoch=epoch.number,
        view=engine.view,
        primary=MemberPayload(node_id=hex_of(engine.primary), name=epoch.name_of(engine.primary)),
        mode=engine.mode,
        low_water_mark=engine.low_water_mark,
        high_water_mark=engine.high_water_mark,
        last_decided=engine.last_decided,
        in_flight=[_slot(slot) for slot in engine.in_flight],
        view_change=None if engine.view_change is None else _slot(engine.view_change),
        view_timeout_ms=engine.view_timeout_ns // NS_PER_MS,
        standing=status.standing,
        stalled=status.stalled,
        waiting_for=status.waiting_for,
        waits=[
            WaitPayload(
                kind=wait.kind,
                text=wait.text,
                missing=list(wait.missing),
                sequence=wait.sequence,
                since_ms=wait.since_ms,
            )
            for wait in status.waits
        ],
        next_timer=status.timers[0][0] if status.timers else None,
        next_timer_in_ms=status.timers[0][1] if status.timers else None,
        timers=[TimerPayload(name=name, in_ms=in_ms) for name, in_ms in status.timers],
        block_votes_missing=[
            MissingVotesPayload(height=height, missing=names)
            for height, names in sorted(status.block_votes_missing.items())
        ],
        buffers=status.buffers,
        engine_buffers=engine.buffers,
    )


def peer_payload(peer: PeerStatus) -> PeerPayload:
    """What the transport knows of a peer."""
    return PeerPayload(
        node_id=hex_of(peer.node_id),
        name=peer.name,
        address=peer.address,
        connected=peer.connected,
        frames_in=peer.frames_in,
        frames_out=peer.frames_out,
        bytes_in=peer.bytes_in,
        bytes_out=peer.bytes_out,
        frames_dropped=peer.frames_dropped,
        queued_bytes=peer.queued_bytes,
    )


def _slot(slot: SlotStatus) -> SlotPayload:
    return SlotPayload(
        sequence=slot.sequence, phase=slot.phase, digest=slot.digest, held=slot.held, missing=slot.missing
    )


def _ids(ids: tuple[bytes, ...]) -> list[str]:
    return [hex_of(transaction_id) for transaction_id in ids]


def _header_fields(block: StoredBlock) -> JsonObject:
    header = block.header
    return {
        "height": header.height,
        "hash": hex_of(block.hash),
        "parent_hash": hex_of(header.parent_hash),
        "epoch": header.epoch,
        "digest": hex_of(header.digest),
        "proposer": hex_of(header.proposer) if header.proposer else None,
        "block_time_ms": header.block_time_ms,
        "tx_count": header.tx_count,
        "tx_root": hex_of(header.tx_root),
        "receipts_root": hex_of(header.receipts_root),
        "events_root": hex_of(header.events_root),
        "state_root": hex_of(header.state_root),
        "next_epoch": hex_of(header.next_epoch) if header.next_epoch else None,
        "certified": block.block_certificate is not None,
    }
