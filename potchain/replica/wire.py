"""Frames between replicas: one byte of type, then the canonical body.

Consensus messages travel on channel VOTES; everything else is bulk. All decoders are total: bytes that are not one of
these frames raise CodecError and nothing else.
"""

from __future__ import annotations

from potchain.blocks import BlockCertificate, Proposal, SyncBlock
from potchain.codec import Canonical, decode, encode
from potchain.consensus.interface import ConsensusMessage, MessageName
from potchain.dissemination import Share
from potchain.errors import CodecError
from potchain.evidence import Evidence
from potchain.primitives import Bytes32, Signature64, Uint64
from potchain.replica.compression import compressed, decompressed
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


class Submit(Canonical, frozen=True):
    """Canonical signed transactions from a client that is a configured peer: the receiver passes them on."""

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


class Relay(Canonical, frozen=True):
    """Canonical signed transactions on their way down a tree of relays."""

    root: Uint64
    """Place, in the receiver's current epoch, of the member whose clients they came from."""
    transactions: tuple[bytes, ...]


class BundleShare(Canonical, frozen=True):
    """One erasure-coded share of a bundle of transactions, from its client or from the member whose share it is."""

    share: Share


class Shortened(Canonical, frozen=True):
    """A consensus message that carries a proposal, with short ids in the place of its list of transaction ids."""

    message: ConsensusMessage
    """Without its body."""
    before: bytes
    """What stands before the list in the body."""
    ids: bytes
    """8 bytes for each transaction, salted with the message's digest, in order."""
    after: bytes
    checksum: bytes
    """First 8 bytes of the sha256 of the whole body."""


class FetchWhole(Canonical, frozen=True):
    """Ask for a message that came shortened; it comes as itself, or never."""

    signature: Signature64
    """The message's."""


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
    | Submit
    | Relay
    | BundleShare
    | Shortened
    | FetchWhole
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
    Submit,
    Relay,
    BundleShare,
    Shortened,
    FetchWhole,
)
_NUMBER = {kind: bytes((number,)) for number, kind in enumerate(_TYPES)}
_URGENT = (_NUMBER[ConsensusMessage], _NUMBER[Shortened], _NUMBER[FetchWhole])
_VOTE_BYTES_MAX = 4_096
"""A consensus message larger than this (a pre-prepare with many ids) travels as bulk."""


_COMPRESSED = b"\xff"
"""Begins a compressed frame; its type and its compressed body follow."""


def encode_frame(frame: Frame, *, compress: bool = False) -> bytes:
    """Wire bytes of a frame; `compress`: with a smaller body where that pays."""
    body = encode(frame)
    smaller = compressed(body) if compress else None
    return _NUMBER[type(frame)] + body if smaller is None else _COMPRESSED + _NUMBER[type(frame)] + smaller


def decode_frame(data: bytes) -> Frame:
    """The frame of these bytes. Raises CodecError."""
    number = data[0] if data else len(_TYPES)
    if number == _COMPRESSED[0] and len(data) > 1 and data[1] < len(_TYPES):
        body = decompressed(data[2:], FRAME_BYTES_MAX)
        return decode(_TYPES[data[1]], body, size_max=FRAME_BYTES_MAX)  # type: ignore[return-value]
    if number >= len(_TYPES):
        raise CodecError(f"unknown frame type {data[:1].hex() or '(empty)'}")
    return decode(_TYPES[number], data[1:], size_max=FRAME_BYTES_MAX)  # type: ignore[return-value]


def type_of(data: bytes) -> type[Canonical]:
    """What an encoded frame is."""
    return _TYPES[data[1] if data[:1] == _COMPRESSED else data[0]]


def channel_of(data: bytes) -> Channel:
    """Priority of an encoded frame: votes first; what is large never holds votes up."""
    return Channel.VOTES if data[:1] in _URGENT and len(data) <= _VOTE_BYTES_MAX else Channel.BULK
