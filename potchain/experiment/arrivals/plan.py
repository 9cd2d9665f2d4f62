"""From a point to its traffic: what the client of mode "virtual" does, with frames of the same sizes, unsigned."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import shake_256

import msgspec

from potchain.codec import encode
from potchain.consensus.quorum import Quorum
from potchain.dissemination import needed_shares, pieces, shares_of, split
from potchain.experiment.arrivals.network import PRIMARY
from potchain.experiment.arrivals.traffic import Body, Relay, Submission, Traffic, Unit, on_link
from potchain.experiment.lab.payload import Opaque, bundles, client_key, frames, make_bodies
from potchain.experiment.lab.settings import dissemination_options
from potchain.experiment.point import Point
from potchain.primitives import Digest
from potchain.replica import wire
from potchain.transactions import SignedTransaction, Transaction, TransactionBody

_GENESIS_HASH = bytes(32)
_HASH_BYTES = 32
_SIGNATURE_BYTES = 65
SIGNATURE_LEAST = 64
"""Without the bit that says which of two keys it is."""


def plan(point: Point) -> Traffic:
    """What travels for a point."""
    transactions = tuple(map(_transaction, make_bodies(point, 0)))
    options = dissemination_options((point,))
    up = point.nodes - point.crashed
    match point.dissemination:
        case "coded":
            traffic = _coded(point, transactions, up)
        case "striped":
            traffic = _striped(transactions, up)
        case "multicast":
            traffic = _whole(frames(point, transactions), tuple(range(up)), "none")
        case "tree":
            traffic = _tree(point, transactions, options.tree_fanout)
        case _:
            traffic = _whole(frames(point, transactions), (PRIMARY,), "all")
    return msgspec.structs.replace(traffic, short_ids=options.short_ids)


def _transaction(body: TransactionBody) -> Transaction:
    """Its bytes have the right length and are as hard to compress; id and signature are noise."""
    kind = type(body).__name__
    noise = shake_256(body.nonce.to_bytes(8, "big")).digest(_HASH_BYTES + _SIGNATURE_BYTES)
    signature = noise[_HASH_BYTES:]
    raw = encode(SignedTransaction(kind, encode(body), signature))
    fee = int.from_bytes(body.fee, "big")
    return Transaction(
        Digest(noise[:_HASH_BYTES]), kind, body, signature, raw, body.from_, body.nonce, fee, body.valid_until
    )


def _payload(group: Iterable[Transaction]) -> float:
    """Bytes that no encoding can do without: the records; of a transfer the signature, the rest can be compressed."""
    return float(sum(len(each.body.records) if isinstance(each.body, Opaque) else SIGNATURE_LEAST for each in group))


def _submit(group: Iterable[Transaction]) -> int:
    return on_link(wire.encode_frame(wire.Submit(tuple(each.raw for each in group)), compress=True))


def _whole(groups: Sequence[Sequence[Transaction]], entries: tuple[int, ...], relay: Relay) -> Traffic:
    """Frames that are passed on as they are: `Submit` and `Gossip` have the same size."""
    sizes = [(_submit(group), _payload(group)) for group in groups]
    return Traffic(
        submissions=tuple(Submission(size, entries) for size, _ in sizes),
        bodies=tuple(Body(size, number, number, payload) for number, (size, payload) in enumerate(sizes)),
        units=tuple(Unit(1, len(group)) for group in groups),
        relay=relay,
    )


def _striped(transactions: Sequence[Transaction], up: int) -> Traffic:
    sizes = [(_submit((each,)), _payload((each,))) for each in reversed(transactions)]
    last = len(sizes) - 1
    return Traffic(
        submissions=tuple(Submission(size, ((last - number) % up,)) for number, (size, _) in enumerate(sizes)),
        bodies=tuple(Body(size, number, number, payload) for number, (size, payload) in enumerate(sizes)),
        units=(Unit(1, 1),) * len(sizes),
        relay="all",
    )


def _tree(point: Point, transactions: Sequence[Transaction], fan_out: int) -> Traffic:
    submissions: list[Submission] = []
    bodies: list[Body] = []
    units: list[Unit] = []
    for group in frames(point, transactions):
        share = _payload(group) / sum(len(each.raw) for each in group)
        for piece in pieces([each.raw for each in group]):
            size = on_link(wire.encode_frame(wire.Relay(PRIMARY, piece), compress=True))
            bodies.append(Body(size, len(submissions), len(units), share * sum(map(len, piece))))
            units.append(Unit(1, len(piece)))
        submissions.append(Submission(_submit(group), (PRIMARY,)))
    return Traffic(
        submissions=tuple(submissions),
        bodies=tuple(bodies),
        units=tuple(units),
        relay="tree",
        fan_out=dissemination_options([point]).tree_fanout,
    )


def _coded(point: Point, transactions: Sequence[Transaction], up: int) -> Traffic:
    shares = shares_of(point.nodes)
    needed = needed_shares(point.nodes, Quorum(point.nodes).faults_max)
    submissions: list[Submission] = []
    bodies: list[Body] = []
    units: list[Unit] = []
    for number, group in enumerate(bundles(point, transactions)):
        raws = [each.raw for each in group]
        bundle = split(
            raws, shares=shares, needed=needed, key=client_key(0), genesis_hash=_GENESIS_HASH, number=number
        )
        for place, share in enumerate(bundle[:up]):
            frame = wire.BundleShare(share)
            passed_on = on_link(wire.encode_frame(frame, compress=True))
            bodies.append(Body(passed_on, len(submissions), number, _payload(group) / needed))
            submissions.append(Submission(on_link(wire.encode_frame(frame)), (place,)))
        units.append(Unit(needed, len(group)))
    return Traffic(submissions=tuple(submissions), bodies=tuple(bodies), units=tuple(units), relay="all")
