"""reference/messages.md: everything that travels between two nodes, with who sends it to whom and why."""

from generators.sources import first_paragraph, table
from potchain.blocks import BLOCK_VOTE, BlockCertificate, OrderCertificate, Proposal, SyncBlock, VoteSubject
from potchain.dissemination import BundleHead, Share
from potchain.replica import wire
from potchain_pbft import messages as pbft
from potchain_pbft import view_messages as views
from potchain_tcp.framing import HEADER, PIECE_BYTES_MAX, Kind

HEAD = """# Messages between nodes

There are three layers. The transport cuts frames into pieces and knows nothing of their meaning. A frame of the
replica is one byte of type and the canonical bytes of a struct. A consensus message is one of these frames; its
kinds belong to the engine, but for the block vote, which is the replica's own and alike for every engine.

Everything that a peer sends is checked before it is believed, and nothing of it raises: it is discarded with a
reason and counted against the peer.

## Consensus messages

Frame 0, `ConsensusMessage`. The signature of the sender covers {fields}: the fields of `VoteSubject`. Of a slot
(epoch, view, sequence, kind) a node signs one digest, ever; its guard refuses a second.
"""

KINDS = {
    pbft.PRE_PREPARE: (
        "primary",
        "every backup",
        "the proposal, with transaction ids and without their bodies",
        "My proposal for this sequence in this view. Durable with all its bodies at the primary before it leaves.",
    ),
    pbft.PREPARE: (
        "backup",
        "every other validator",
        "nothing",
        "I hold this proposal and its bodies, and it is the first of its slot. Durable here before it leaves.",
    ),
    pbft.COMMIT: (
        "validator",
        "every other validator",
        "nothing",
        "I hold the pre-prepare and quorum - 1 prepares. That certificate is durable here before it leaves.",
    ),
    views.VIEW_CHANGE: (
        "validator",
        "every other validator",
        "stable height with its block certificate, and prepared certificates above it",
        "I have left every lower view, and this is what I could prove there. View = the one to begin, sequence 0.",
    ),
    views.NEW_VIEW: (
        "primary of the view",
        "every other validator",
        "names of the view changes that it rests on",
        "This view begins. Sequence 0. What it must decide follows from the view changes; everybody computes it.",
    ),
    BLOCK_VOTE: (
        "validator",
        "every other validator",
        "nothing",
        "I executed this height and got this block hash. View 0, sequence = height, digest = block hash. "
        "A quorum of them is the block certificate: the height is final.",
    ),
}

FRAMES = {
    "ConsensusMessage": ("validator", "validators", "see above"),
    "Gossip": (
        "node that admitted them from a client; a backup, when they wait for half a view timeout",
        "every validator; the primary",
        "bulk",
    ),
    "FetchBodies": ("backup that lacks bodies of a proposal", "the primary, then others in turn", "bulk"),
    "BodiesAnswer": ("node that holds some of them", "the asker", "bulk"),
    "FetchProposal": ("node that saw a digest committed and lacks the proposal", "two that hold it, then more", "bulk"),
    "ProposalAnswer": ("node that has it pinned", "the asker", "bulk"),
    "PeerProgress": ("every node, on connect and every second", "every validator", "bulk"),
    "FetchBlocks": ("node that is behind", "one peer that says it is ahead", "bulk"),
    "BlocksAnswer": ("that peer, from its ledger", "the asker", "bulk"),
    "FetchCertificates": (
        "node with executed blocks that lack their certificate",
        "one peer that says it has them",
        "bulk",
    ),
    "CertificatesAnswer": ("that peer, from its ledger", "the asker", "bulk"),
    "AskSigned": ("validator that has started and does not vote yet, every second", "every validator", "bulk"),
    "SignedAnswer": ("every node, whether it votes or not", "the asker", "bulk"),
    "FetchMessages": ("node that lacks a new view, or a view change that one names", "one validator, or all", "bulk"),
    "EvidenceFound": ("node that saw a member contradict itself, or heard of it", "every validator, once", "bulk"),
    "Submit": ("client that is a configured peer", "one validator", "bulk"),
    "Relay": (
        "node that admitted them from a client, or got them from its parent in the tree, where dissemination is tree",
        "its children in the tree of that root",
        "bulk",
    ),
    "Shortened": ("validator with a proposal to send, where short_ids is set", "every other validator", "as a vote"),
    "FetchWhole": ("node that cannot put such a message together", "its sender", "as a vote"),
    "BundleShare": ("client; then the validator whose share it is, once", "that validator; every other one", "bulk"),
}

PIECES = {
    Kind.HELLO: "First of each side: magic, range of wire versions, genesis hash, a number of this session.",
    Kind.READY: "The session is accepted; data may follow.",
    Kind.DATA: "A frame of the host, or a part of one. Channel VOTES or BULK; flag MORE on all parts but the last.",
    Kind.PING: "Are you there? Sent after a second of silence.",
    Kind.PONG: "Yes.",
    Kind.CLOSE: "The connection ends, and why, in words.",
}

CARRIED = (Share, BundleHead, Proposal, OrderCertificate, BlockCertificate, SyncBlock, VoteSubject)


def _fields(struct: type) -> str:
    return ", ".join(f"`{name}`" for name in struct.__struct_fields__)


def page() -> str:
    assert pbft.KINDS | views.VIEW_KINDS | {BLOCK_VOTE} == set(KINDS), "a kind of message is not described"
    lines = [HEAD.replace("{fields}", "{" + ", ".join(VoteSubject.__struct_fields__) + "}")]
    lines += table(
        ("kind", "source", "target", "body", "meaning"), [(f"`{kind}`", *row) for kind, row in KINDS.items()]
    )
    lines += [
        "Steps, buffers and deviations from the paper: [PBFT](pbft.md). View change and new view come with the next",
        "release.",
        "",
        "## Frames of the replica",
        "",
        f"Small consensus messages travel on channel VOTES; what is longer than {wire._VOTE_BYTES_MAX} bytes, such as",
        "a pre-prepare with many ids, and all else is BULK, which votes pass.",
        "",
    ]
    rows = []
    for number, struct in enumerate(wire._TYPES):
        source, target, channel = FRAMES[struct.__name__]
        rows.append((str(number), f"`{struct.__name__}`", source, target, channel, first_paragraph(struct.__doc__)))
    lines += table(("type", "frame", "source", "target", "channel", "meaning"), rows)
    lines += ["Their fields, in the order in which they stand in the bytes:", ""]
    lines += table(
        ("struct", "fields"),
        [(f"`{struct.__name__}`", _fields(struct)) for struct in (*wire._TYPES, *CARRIED)],
    )
    lines += [
        "## Pieces of the transport `tcp`",
        "",
        f"Inside TLS 1.3. A header of {HEADER.size} bytes (version, kind, channel, flags, length) and a payload of",
        f"at most {PIECE_BYTES_MAX} bytes, so that a piece fits one TLS record and votes pass between the pieces of a",
        "large frame.",
        "",
    ]
    lines += table(("number", "piece", "meaning"), [(str(kind.value), f"`{kind.name}`", PIECES[kind]) for kind in Kind])
    return "\n".join(lines)
