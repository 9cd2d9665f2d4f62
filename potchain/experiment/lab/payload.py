"""What the client hands over, and the frames that it travels in.

"Opaque" records are what the Go demo has: bytes that nobody looks into, so many that one signature for each would be
another experiment. They are packed into signed transactions of the kind `Opaque`. The client's transactions have
consecutive nonces of one account, and nonce 0 is in the frame that leaves last: nothing can be proposed before all is
there, and then all of it at once, as the Go demo orders one request.

How large a frame should be: what a node passes on it passes on frame by frame, so small frames shorten the way through
a node, and large ones save headers. With p bytes in all and h bytes of header the two are balanced at sqrt(p * h). On
fast links a frame is what passes in a tenth of a second: every frame is delayed for itself, and the last of many small
ones would come with the worst of many delays.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import shake_256
from math import isqrt

from potchain.application.interface import BlockContext, EventData, StateReader, StateWriter
from potchain.consensus.quorum import Quorum
from potchain.crypto import SigningKey
from potchain.dissemination.bundle import BUNDLE_BYTES_MAX, BUNDLE_TRANSACTIONS_MAX, needed_shares
from potchain.driver.short_ids import SHORT_ID_BYTES
from potchain.experiment.point import Point
from potchain.genesis import Epoch, Genesis
from potchain.primitives import LargeBytes, uint256
from potchain.replica.wire import GOSSIP_TRANSACTIONS_MAX
from potchain.transactions import (
    MEMO_BYTES_MAX,
    TRANSACTION_BYTES_MAX,
    Transaction,
    TransactionBody,
    TransactionTypes,
    Transfer,
)

FEE = 10
OVERHEAD_BYTES = 200
"""Of one opaque transaction and its frame, about: signature, sender, numbers, headers."""
OPAQUE_BYTES_MOST = TRANSACTION_BYTES_MAX - 1_024
OPAQUE_BYTES_LEAST = 1_024
FRAME_BYTES_MOST = 2 * 1024 * 1024
SHARE_OVERHEAD_BYTES = 330
"""Of one share of a bundle, about: head, signature, Merkle branch."""


class Opaque(TransactionBody, frozen=True):
    """Records of an experiment; executing it changes nothing but nonce and fee."""

    records: LargeBytes


class OpaqueApplication:
    """The application of experiments: `Opaque`."""

    name = "opaque"
    body_types: tuple[type[TransactionBody], ...] = (Opaque,)
    event_types: tuple[type[EventData], ...] = ()

    def genesis_records(self, genesis: Genesis) -> Iterable[tuple[bytes, bytes]]:
        """None: accounts belong to `accounts`."""
        return ()

    def check(self, transaction: Transaction, state: StateReader, epoch: Epoch) -> None:
        """Anything goes."""

    def is_duty(self, transaction: Transaction, state: StateReader, epoch: Epoch) -> bool:
        """Nothing is anybody's duty."""
        return False

    def execute(self, transaction: Transaction, context: BlockContext, state: StateWriter) -> tuple[EventData, ...]:
        """Nothing happens."""
        return ()

    def end_block(self, context: BlockContext, state: StateWriter) -> tuple[EventData, ...]:
        """Nothing is due."""
        return ()


def client_key(ordinal: int) -> SigningKey:
    """The account that hands everything over in one network's measurement of that number, from 0."""
    return SigningKey(shake_256(f"potchain experiment client {ordinal}".encode()).digest(32))


def payload_bytes(point: Point) -> int:
    """What the client means to hand over, without any framing."""
    return point.transactions * point.transaction_bytes


def opaque_sizes(point: Point) -> tuple[int, ...]:
    """Bytes of records in each opaque transaction, by nonce."""
    total = payload_bytes(point)
    target = min(frame_bytes(point, total), OPAQUE_BYTES_MOST)
    count = -(-total // target)
    if point.dissemination == "striped":
        count = _striped(point, total)
    return tuple(total // count + (number < total % count) for number in range(count))


def transactions_of(point: Point) -> int:
    """How many transactions the client signs."""
    return point.transactions if point.payload == "transfers" else len(opaque_sizes(point))


def make_bodies(point: Point, ordinal: int) -> list[TransactionBody]:
    """The client's transactions by nonce, unsigned; the same for the same point."""
    sender = client_key(ordinal).address
    if point.payload == "transfers":
        return [
            Transfer(
                from_=sender, nonce=nonce, fee=uint256(FEE), valid_until=0,
                to=(nonce + 1).to_bytes(20, "big"), amount=uint256(1), memo=b"m" * min(8, MEMO_BYTES_MAX),
            )
            for nonce in range(point.transactions)
        ]  # fmt: skip
    noise = shake_256(f"potchain experiment records {point.seed}".encode()).digest(payload_bytes(point))
    bodies: list[TransactionBody] = []
    at = 0
    for nonce, size in enumerate(opaque_sizes(point)):
        records = noise[at : at + size]
        bodies.append(Opaque(from_=sender, nonce=nonce, fee=uint256(FEE), valid_until=0, records=records))
        at += size
    return bodies


def make_transactions(point: Point, types: TransactionTypes, ordinal: int) -> tuple[Transaction, ...]:
    """The client's transactions by nonce; the same bytes for the same point."""
    key = client_key(ordinal)
    return tuple(types.sign(body, key) for body in make_bodies(point, ordinal))


def frame_bytes(point: Point, total: int) -> int:
    """How much a frame of the client should hold."""
    return min(max(_balanced_bytes(total), _tenth_bytes(point)), FRAME_BYTES_MOST)


def _striped(point: Point, total: int) -> int:
    """How many transactions: equally many for each node, or some links would have more to carry than others.

    A link carries its node's part alone, but a proposal names the transactions of all.
    """
    nodes = point.nodes - point.crashed
    part = -(-total // nodes)
    balanced = isqrt(part * OVERHEAD_BYTES + total * SHORT_ID_BYTES)
    tenth = _tenth_bytes(point) // (nodes if point.bandwidth_model == "shared" else 1)
    target = min(max(balanced, tenth, OPAQUE_BYTES_LEAST), OPAQUE_BYTES_MOST)
    return min(nodes * max(-(-part // OPAQUE_BYTES_MOST), round(part / target), 1), total)


def _balanced_bytes(total: int) -> int:
    return max(isqrt(total * OVERHEAD_BYTES), OPAQUE_BYTES_LEAST)


def _tenth_bytes(point: Point) -> int:
    """What passes on a link in a tenth of a second, and no more than a frame may have."""
    if not point.bandwidth_mbps:
        return FRAME_BYTES_MOST
    return min(int(point.bandwidth_mbps * point.megabit) // 80, FRAME_BYTES_MOST)


def bundles(point: Point, transactions: Sequence[Transaction]) -> tuple[tuple[Transaction, ...], ...]:
    """Transactions in bundles, in the order in which they leave: of a size whose shares are balanced as frames are."""
    needed = needed_shares(point.nodes, Quorum(point.nodes).faults_max)
    total = sum(len(each.raw) for each in transactions)
    share = max(isqrt(total // needed * SHARE_OVERHEAD_BYTES), _tenth_bytes(point))
    return _groups(transactions, min(needed * share, BUNDLE_BYTES_MAX // 2), BUNDLE_TRANSACTIONS_MAX)


def frames(point: Point, transactions: Sequence[Transaction]) -> tuple[tuple[Transaction, ...], ...]:
    """Transactions in groups that travel together, in the order in which they leave: nonce 0 with the last of them."""
    return _groups(transactions, frame_bytes(point, sum(len(each.raw) for each in transactions)))


def _groups(
    transactions: Sequence[Transaction], most: int, count_most: int = GOSSIP_TRANSACTIONS_MAX
) -> tuple[tuple[Transaction, ...], ...]:
    groups: list[tuple[Transaction, ...]] = []
    group: list[Transaction] = []
    size = 0
    for transaction in reversed(transactions):
        if group and (size + len(transaction.raw) > most or len(group) == count_most):
            groups.append(tuple(group))
            group, size = [], 0
        group.append(transaction)
        size += len(transaction.raw)
    groups.append(tuple(group))
    return tuple(groups)
