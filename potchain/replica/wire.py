"""Frames between replicas: one byte of type, then the canonical body.

Consensus messages travel on channel VOTES; everything else is bulk. All decoders are total: bytes that are not one of
these frames raise CodecError and nothing else.
"""

from __future__ import annotations

from potchain.blocks import BlockCertificate, Proposal, SyncBlock
from potchain.codec import Canonical, decode, encode
from potchain.consensus.interface import ConsensusMessage, MessageName
from potchain.errors import CodecError
from potchain.evidence import Evidence
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
SIGNED_MESSAGES_MAX = 24
"""Own messages in one answer to a validator that has started: `heard.KINDS_MAX` kinds, `heard.PER_KIND` of each."""


class Gossip(Canonical, frozen=True):
    """Canonical signed transactions that entered the sender's pool."""

    transactions: tuple[bytes, ...]


class FetchBodies(Canonical, frozen=True):
    """Ask for the bodies of a proposal that the asker lacks."""

    sequence: Uint64
    """The proposal's: who has executed it serves the block."""
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


class FetchMessages(Canonical, frozen=True):
    """Ask for others' signed messages of one kind and view; each comes as itself, or never."""

    epoch: Uint64
    kind: str
    view: Uint64
    names: tuple[MessageName, ...]


class PeerProgress(Canonical, frozen=True):
    """Where the sender is; sent on connect and every second. A hint: nothing is trusted because of it."""

    executed: Uint64
    certified: Uint64
    stable: Uint64
    boot_id: bytes = b""
    """Random, of the sender's process: two of them under one key are two processes."""
    doubled: tuple[bytes, ...] = ()
    """Members of which the sender hears more than one process."""


class FetchBlocks(Canonical, frozen=True):
    """Ask for decided blocks from a height on."""

    from_height: Uint64
    count: Uint64


class BlocksAnswer(Canonical, frozen=True):
    """Consecutive decided blocks."""

    blocks: tuple[SyncBlock, ...]


class AskSigned(Canonical, frozen=True):
    """Ask, after a start, for the asker's own highest signed messages, before it signs any more."""

    boot_id: bytes
    round: Uint64
    """Counts the asker's questions; the answer repeats both."""


class SignedAnswer(Canonical, frozen=True):
    """What the sender has seen the asker sign, and how far the sender is."""

    boot_id: bytes
    round: Uint64
    messages: tuple[ConsensusMessage, ...]
    """The asker's, without bodies; at most `SIGNED_MESSAGES_MAX`."""
    executed: Uint64
    stable: Uint64
    certificate: BlockCertificate | None
    """Of the highest certified height of the sender, which it proves; None at genesis."""
    doubled: bool
    """Whether another process under the asker's key counts as alive."""


class FetchCertificates(Canonical, frozen=True):
    """Ask for block certificates from a height on."""

    from_height: Uint64
    count: Uint64


class CertificatesAnswer(Canonical, frozen=True):
    """Block certificates that were asked for."""

    certificates: tuple[BlockCertificate, ...]


class EvidenceFound(Canonical, frozen=True):
    """A piece of evidence that is news to the sender, told once to every peer."""

    evidence: Evidence


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
    | FetchMessages
    | EvidenceFound
    | AskSigned
    | SignedAnswer
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
    FetchMessages,
    EvidenceFound,
    AskSigned,
    SignedAnswer,
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
