"""Two votes of one member for one slot, really signed, as evidence or as messages."""

from __future__ import annotations

from hashlib import sha256

from core_network import key

from potchain.blocks import BLOCK_VOTE, vote_bytes
from potchain.consensus.interface import ConsensusMessage
from potchain.crypto import SigningKey, node_id_of
from potchain.evidence import Evidence
from potchain.genesis import Genesis
from potchain.replica.accusing import evidence_of


def vote(
    genesis: Genesis, member: int, sequence: int, salt: str, *, kind: str = BLOCK_VOTE, view: int = 0, epoch: int = 0
) -> ConsensusMessage:
    """What a member signs for a slot; the salt makes the digest."""
    accused = genesis.first_epoch.members[member]
    digest = sha256(f"{sequence}{salt}".encode()).digest()
    signed = vote_bytes(genesis.hash, epoch, kind, view, sequence, digest, accused.node_id)
    signature = key("consensus " + accused.name).sign_vote(signed)
    return ConsensusMessage(epoch, kind, view, sequence, digest, accused.node_id, b"", signature)


def block_votes(genesis: Genesis, signer: SigningKey, height: int) -> tuple[ConsensusMessage, ConsensusMessage]:
    """Two votes for one height with a validator's own key, for hashes that nobody executed."""
    sender = node_id_of(signer.public_key)
    votes = []
    for salt in (b"a", b"b"):
        digest = sha256(salt).digest()
        signed = vote_bytes(genesis.hash, 0, BLOCK_VOTE, 0, height, digest, sender)
        votes.append(ConsensusMessage(0, BLOCK_VOTE, 0, height, digest, sender, b"", signer.sign_vote(signed)))
    return votes[0], votes[1]


def double_vote(genesis: Genesis, member: int, sequence: int, *, kind: str = BLOCK_VOTE, view: int = 0) -> Evidence:
    """Evidence that holds."""
    found = evidence_of(
        vote(genesis, member, sequence, "a", kind=kind, view=view),
        vote(genesis, member, sequence, "b", kind=kind, view=view),
    )
    assert found is not None
    return found
