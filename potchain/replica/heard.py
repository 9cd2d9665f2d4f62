"""The highest signed messages of every member that this node has seen, for a member that asks after a restart.

Kept for each member and kind: the message of the highest sequence, the one of the highest view, and the one that came
last (slots of one kind may be signed out of order, so the newest need not be the highest). Bodies are not kept: a
signature covers the digest, and a member recognises its own signature without them.

This lives in memory. From disk comes what block certificates prove: `from_certificates` gives each signer's highest
block vote of the last log window, so that a node that has just started can answer too.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from potchain.blocks import BLOCK_VOTE, BlockCertificate
from potchain.consensus.interface import ConsensusMessage
from potchain.primitives import NodeId

KINDS_MAX = 8
"""Kinds of messages remembered for one member; an engine has fewer."""
PER_KIND = 3
"""Messages remembered for one member and kind."""


class HeardMessages:
    """At most members x KINDS_MAX x PER_KIND messages without bodies."""

    def __init__(self, certificates: Iterable[BlockCertificate] = ()) -> None:
        """`certificates`: durable, and therefore verified, by height."""
        self._heard: dict[bytes, dict[str, list[ConsensusMessage]]] = {}
        for vote in from_certificates(certificates).values():
            self.note(vote)

    def __len__(self) -> int:
        return sum(len(self.of(member)) for member in self._heard)

    def note(self, message: ConsensusMessage) -> None:
        """A message with a good signature by a member."""
        kinds = self._heard.get(message.sender)
        if kinds is None:
            kinds = self._heard[message.sender] = {}
        kept = kinds.get(message.kind)
        if message.body:
            message = msgspec.structs.replace(message, body=b"")
        if kept is None:
            if len(kinds) < KINDS_MAX:
                kinds[message.kind] = [message] * PER_KIND
            return
        kept[2] = message
        if message.sequence >= kept[0].sequence:
            kept[0] = message
        highest = kept[1]
        if (message.epoch, message.view, message.sequence) >= (highest.epoch, highest.view, highest.sequence):
            kept[1] = message

    def holds(self, message: ConsensusMessage) -> bool:
        """Whether this very message is remembered, so that its signature was checked before; never with a body."""
        kept = self._heard.get(message.sender, {}).get(message.kind)
        return kept is not None and message in kept

    def of(self, member: NodeId | bytes) -> tuple[ConsensusMessage, ...]:
        """What is remembered of one member, each message once."""
        kinds = self._heard.get(member, {})
        return tuple(dict.fromkeys(message for kept in kinds.values() for message in kept))

    def keep_only(self, members: Iterable[NodeId]) -> None:
        """Forget everybody else: at a change of epoch."""
        self._heard = {member: self._heard[member] for member in members if member in self._heard}


def from_certificates(certificates: Iterable[BlockCertificate]) -> dict[bytes, ConsensusMessage]:
    """Each signer's highest block vote in these certificates, which come by height."""
    votes = {}
    for certificate in certificates:
        for each in certificate.signatures:
            votes[each.sender] = ConsensusMessage(
                certificate.epoch,
                BLOCK_VOTE,
                0,
                certificate.height,
                certificate.block_hash,
                each.sender,
                b"",
                each.signature,
            )
    return votes
