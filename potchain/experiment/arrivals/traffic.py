"""What travels in one run: the client's frames, the frames that nodes pass on, and the sizes of the votes.

Sizes are those of real frames, encoded once: in the normal case they depend on nothing but n and the payload. Nodes are
counted without those that are down.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from potchain.blocks import BLOCK_VOTE, build_proposal
from potchain.codec import encode
from potchain.consensus.interface import ConsensusMessage
from potchain.driver.short_ids import SHORT_ID_BYTES, SHORTENED_BODY_BYTES_MIN, id_list
from potchain.primitives import NodeId
from potchain.replica.wire import PeerProgress, Shortened, channel_of, encode_frame
from potchain.transport import FRAME_OVERHEAD_BYTES, Channel

Relay = Literal["none", "all", "tree"]

ENCODED_AT_MS = 2**41
"""A clock of these years, for the size of a timestamp."""
_ID = bytes(20)
_HASH = bytes(32)


class Submission(msgspec.Struct, frozen=True):
    """One frame of the client."""

    size_bytes: int
    """As the link model counts it."""
    entries: tuple[int, ...]
    """Nodes that it goes to, in this order."""


class Body(msgspec.Struct, frozen=True):
    """What one frame between nodes carries of the payload: transactions, or a share of a bundle."""

    size_bytes: int
    """Of that frame, as the link model counts it."""
    submission: int
    """The client's frame that it came in."""
    unit: int
    """What it is a part of."""
    payload_bytes: float
    """Of what the client means to hand over, without any framing; of a share its part of the bundle's."""


class Unit(msgspec.Struct, frozen=True):
    """Transactions that a node has at the same moment."""

    enough: int
    """Bodies of the unit that give all of it."""
    transactions: int


class Traffic(msgspec.Struct, frozen=True, kw_only=True):
    """Frames of one run."""

    submissions: tuple[Submission, ...]
    """In the order in which the client sends them."""
    bodies: tuple[Body, ...]
    """By submission."""
    units: tuple[Unit, ...]
    """In the order in which the client sends them: the last one holds the first nonce."""
    relay: Relay
    """"none": nodes send bodies to nobody. "all": who gets a body from the client sends it to all others. "tree":
    bodies go from node to node, from each to `fan_out` others."""
    fan_out: int = 0
    short_ids: bool = False
    """Whether proposals travel with short ids."""


def on_link(frame: bytes) -> int:
    """Size of an encoded frame as the link model counts it."""
    return len(frame) + FRAME_OVERHEAD_BYTES


def vote_bytes(kind: str) -> int:
    """Size of a vote of the normal case as the link model counts it."""
    return on_link(_message(kind, b""))


def pre_prepare(transactions: int, *, short_ids: bool) -> tuple[int, bool]:
    """Size of a pre-prepare of so many transactions as the link model counts it, and whether it is urgent."""
    ids = (_HASH,) * transactions
    body = encode(build_proposal(_HASH, 0, 1, ENCODED_AT_MS, NodeId(_ID), ids))
    frame = _message("pre-prepare", body)
    if short_ids and len(body) >= SHORTENED_BODY_BYTES_MIN:
        before, _, after = body.partition(id_list(ids))
        whole = ConsensusMessage(0, "pre-prepare", 0, 1, _HASH, _ID, b"", bytes(64))
        short = bytes(SHORT_ID_BYTES * transactions)
        frame = encode_frame(Shortened(whole, before, short, after, bytes(SHORT_ID_BYTES)))
    return on_link(frame), channel_of(frame) is Channel.VOTES


def _message(kind: str, body: bytes) -> bytes:
    return encode_frame(ConsensusMessage(0, kind, 0, 1, _HASH, _ID, body, bytes(64)))


VOTE_BYTES = {kind: vote_bytes(kind) for kind in ("prepare", "commit", BLOCK_VOTE)}
REPORT_BYTES = on_link(encode_frame(PeerProgress(0, 0, 0)))
"""Size of a progress report as the link model counts it."""
