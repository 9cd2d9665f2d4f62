"""Frames between replicas: one byte of type, then the canonical body.

Consensus messages travel on channel VOTES; everything else is bulk. All decoders are total: bytes that are not one of
these frames raise CodecError and nothing else.
"""

from __future__ import annotations

from potchain.blocks import BlockCertificate, Proposal, SyncBlock
from potchain.codec import Canonical, decode, encode
from potchain.consensus.interface import ConsensusMessage
from potchain.errors import CodecError
from potchain.primitives import Bytes32, Uint64
from potchain.transport import FRAME_BYTES_MAX, Channel

FETCH_IDS_MAX = 1_000
"""Transactions that one request may ask for."""
SYNC_BLOCKS_MAX = 64
"""Blocks that one answer may carry; their sum is bounded by the frame as well."""
CERTIFICATES_MAX = 256
"""Block certificates that one answer may carry."""
GOSSIP_TRANSACTIONS_MAX = 1_000
"""Transactions in one gossip frame."""


class Gossip(Canonical, frozen=True):
    """Canonical signed transactions that entered the sender's pool."""

    transactions: tuple[bytes, ...]


class FetchBodies(Canonical, frozen=True):
    """Ask for the bodies of a proposal that the asker lacks."""

    ids: tuple[Bytes32, ...]


class BodiesAnswer(Canonical, frozen=True):
    """Canonical signed transactions that were asked for; those that are not held are left out."""

    transactions: tuple[bytes, ...]


class FetchProposal(Canonical, frozen=True):
    """Ask for a proposal by its digest."""

    sequence: Uint64
    digest: Bytes32


class ProposalAnswer(Canonical, frozen=True):
    """A proposal that was asked for."""

    proposal: Proposal


class PeerProgress(Canonical, frozen=True):
    """Where the sender is; sent on connect and every second. A hint: nothing is trusted because of it."""

    executed: Uint64
    certified: Uint64
    stable: Uint64


class FetchBlocks(Canonical, frozen=True):
    """Ask for decided blocks from a height on."""

    from_height: Uint64
    count: Uint64


class BlocksAnswer(Canonical, frozen=True):
    """Consecutive decided blocks."""

    blocks: tuple[SyncBlock, ...]


class FetchCertificates(Canonical, frozen=True):
    """Ask for block certificates from a height on."""

    from_height: Uint64
    count: Uint64


class CertificatesAnswer(Canonical, frozen=True):
    """Block certificates that were asked for."""

    certificates: tuple[BlockCertificate, ...]


Frame = (
    ConsensusMessage
    | Gossip
    | FetchBodies
    | BodiesAnswer
    | FetchProposal
    | ProposalAnswer
    | PeerProgress
    | FetchBlocks
    | BlocksAnswer
    | FetchCertificates
    | CertificatesAnswer
)

_TYPES: tuple[type[Canonical], ...] = (
    ConsensusMessage,
    Gossip,
    FetchBodies,
    BodiesAnswer,
    FetchProposal,
    ProposalAnswer,
    PeerProgress,
    FetchBlocks,
    BlocksAnswer,
    FetchCertificates,
    CertificatesAnswer,
)
_NUMBER = {kind: bytes((number,)) for number, kind in enumerate(_TYPES)}
_VOTE_BYTES_MAX = 4_096
"""A consensus message larger than this (a pre-prepare with many ids) travels as bulk."""


def encode_frame(frame: Frame) -> bytes:
    """Wire bytes of a frame."""
    return _NUMBER[type(frame)] + encode(frame)


def decode_frame(data: bytes) -> Frame:
    """The frame of these bytes. Raises CodecError."""
    if not data or data[0] >= len(_TYPES):
        raise CodecError(f"unknown frame type {data[:1].hex() or '(empty)'}")
    return decode(_TYPES[data[0]], data[1:], size_max=FRAME_BYTES_MAX)  # type: ignore[return-value]


def channel_of(data: bytes) -> Channel:
    """Priority of an encoded frame: votes first; what is large never holds votes up."""
    return Channel.VOTES if data[0] == 0 and len(data) <= _VOTE_BYTES_MAX else Channel.BULK
