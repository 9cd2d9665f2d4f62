"""Practical Byzantine fault tolerance (Castro and Liskov, OSDI'99) as a consensus plug-in.

    messages       kinds, bodies, records and certificates of the normal case; pure checks of them
    log            slots between the water marks, votes and their counts
    agreement      prepared, committed, decided
    normal_case    pre-prepare, prepare, commit; proposals as primary
    view_messages  view-change and new-view; what a set of view changes decides
    view           which view, and what it must decide
    view_changing  leaving a view, and beginning the next
    patience       the timers that lead there
    checkpoints    which checkpoint is stable
    restart        the log rebuilt from durable records
    engine         `step`: from one event to its effects
    picture        status and dump

Engine `pbft`, chosen with `consensus.engine = "pbft"`; its options stand in the table [consensus.pbft].
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from potchain import OFF, Boot, ConsensusMessage, EngineFactory, Epoch, LinkProfile, NodeId, OrderCertificate, hookimpl
from potchain_pbft import messages, view_messages
from potchain_pbft.engine import PbftEngine
from potchain_pbft.options import PbftOptions

__all__ = ["PbftEngine", "PbftFactory", "PbftOptions", "consensus_engines"]


class PbftFactory:
    """Makes engines and checks their certificates."""

    name = messages.ENGINE
    version = "0.1.0"
    wire_version = messages.WIRE_VERSION
    options_type: type[msgspec.Struct] = PbftOptions

    def create(self, boot: Boot, options: msgspec.Struct) -> PbftEngine:
        """A fresh engine. Raises CodecError when a durable record is damaged or of a newer version."""
        assert isinstance(options, PbftOptions), f"options of type {type(options).__name__}"
        return PbftEngine(boot, options)

    def link_profile(self, options: msgspec.Struct) -> LinkProfile:
        """Nothing is emulated unless the node's configuration says so."""
        return OFF

    def verify(
        self, certificate: OrderCertificate, genesis_hash: bytes, epoch: Epoch, sequence: int, digest: bytes
    ) -> None:
        """Check an order certificate. Raises InvalidProof with the reason."""
        messages.verify_certificate(certificate, genesis_hash, epoch, sequence, digest)

    def signed_parts(
        self, message: ConsensusMessage, genesis_hash: bytes, epoch: Epoch
    ) -> tuple[tuple[NodeId, bytes, bytes], ...]:
        """Signatures nested in a message: those of view changes. Raises CodecError for a body of another kind."""
        if message.kind == view_messages.VIEW_CHANGE:
            return view_messages.view_change_parts(message, genesis_hash, epoch)
        if message.kind == view_messages.NEW_VIEW:
            view_messages.read_new_view(message, epoch)
        else:
            messages.check_body(message)
        return ()


@hookimpl
def consensus_engines() -> Iterable[EngineFactory]:
    """The engine `pbft`."""
    return [PbftFactory()]
