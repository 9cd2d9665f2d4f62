"""A faulty member that says whatever a signature lets it say: the worst messages that a key alone can make.

It has seen everything that was ever sent, and the certificates of every replica, but it cannot sign for others.
"""

from __future__ import annotations

from random import Random

from pbft_cluster import Cluster, Packet
from pbft_members import GENESIS_HASH, digest_of, make_proposal, sign, test_key

from potchain.blocks import BlockCertificate, Proposal, null_request
from potchain.codec import decode, encode
from potchain.consensus.interface import ConsensusMessage, MessageName
from potchain_pbft.messages import COMMIT, PRE_PREPARE, PREPARE, PreparedCertificate
from potchain_pbft.view_messages import NEW_VIEW, VIEW_CHANGE, NewView, ViewChange, body_digest

HUGE = 1 << 40


class Liar:
    """One faulty member."""

    def __init__(
        self,
        cluster: Cluster,
        member: int,
        rng: Random,
        history: list[ConsensusMessage],
        certificates: dict[int, BlockCertificate],
    ) -> None:
        """`history` and `certificates` grow while the network runs."""
        self._cluster = cluster
        self._member = member
        self._rng = rng
        self._history = history
        self._certificates = certificates

    def lie(self) -> None:
        """Say something to one host, to some or to all."""
        if not self._history:
            return
        rng = self._rng
        lies = (self._replay, self._vote, self._vote, self._pre_prepare, self._view_change, self._new_view)
        message = rng.choice(lies)()
        if message is None:
            return
        if message.kind in (VIEW_CHANGE, NEW_VIEW) and message.sender == test_key(self._member).address:
            self._history.append(message)
        for host in self._cluster.hosts:
            if host.member != self._member and rng.random() < rng.choice((0.3, 0.6, 1.0)):
                self._cluster.wire.append(Packet(host.index, message, self._member))

    def _replay(self) -> ConsensusMessage:
        return self._rng.choice(self._history)

    def _view(self, *, own: bool = False) -> int:
        """A view near those in use, sometimes far above; `own`: one of which it is the primary."""
        rng = self._rng
        top = max(host.engine.status().view for host in self._cluster.hosts if host.engine is not None)
        view = rng.randint(0, top + 2) if rng.random() < 0.9 else rng.randint(HUGE, 2 * HUGE)
        nodes = len(self._cluster.epoch.members)
        return view - (view - self._member) % nodes + (nodes if view < self._member else 0) if own else view

    def _place(self) -> ConsensusMessage | None:
        """A vote somebody cast somewhere."""
        votes = [message for message in self._history[-200:] if message.sequence]
        return self._rng.choice(votes) if votes else None

    def _vote(self) -> ConsensusMessage | None:
        place = self._place()
        if place is None:
            return None
        view = place.view if self._rng.random() < 0.7 else self._view()
        return sign(self._member, self._rng.choice((PREPARE, COMMIT)), view, place.sequence, place.digest)

    def _pre_prepare(self) -> ConsensusMessage | None:
        rng = self._rng
        place = self._place()
        if place is None:
            return None
        view = self._view(own=True)
        sequence = place.sequence + rng.choice((0, 0, 1, 2))
        known = [
            decode(Proposal, message.body)
            for message in self._history[-200:]
            if message.kind == PRE_PREPARE and message.sequence == sequence
        ]
        null = null_request(GENESIS_HASH, 0, sequence)
        fresh = make_proposal(self._cluster.epoch, sequence, view, rng.randint(0, 3))
        proposal = rng.choice([*known, null, fresh])
        return sign(self._member, PRE_PREPARE, view, sequence, digest_of(proposal), encode(proposal))

    def _view_change(self) -> ConsensusMessage:
        rng = self._rng
        view = max(1, self._view())
        stable = rng.choice((0, *self._certificates))
        window = self._cluster.epoch.parameters.log_window
        entries: dict[int, PreparedCertificate] = {}
        for host in self._cluster.hosts:
            records = [record for record in host.disk.records if record.kind == "prepared"]
            for record in rng.sample(records, rng.randint(0, len(records))):
                entry = decode(PreparedCertificate, record.data)
                if entry.view < view and stable < entry.sequence <= stable + window:
                    entries[entry.sequence] = entry
        certificate = encode(self._certificates[stable]) if stable else b""
        body = encode(ViewChange(stable, certificate, tuple(entries[sequence] for sequence in sorted(entries))))
        return sign(self._member, VIEW_CHANGE, view, 0, body_digest(body), body)

    def _new_view(self) -> ConsensusMessage | None:
        rng = self._rng
        view = self._view(own=True)
        names: dict[bytes, bytes] = {}
        for message in rng.sample(self._history, len(self._history)):
            if message.kind == VIEW_CHANGE and message.view == view:
                names[message.sender] = message.digest
        if len(names) < self._cluster.quorum.quorum or rng.random() < 0.3:
            members = rng.sample(self._cluster.epoch.ids, self._cluster.quorum.quorum)
            names = {member: names.get(member, rng.randbytes(32)) for member in members}
        body = encode(NewView(tuple(MessageName(sender, names[sender]) for sender in sorted(names))))
        return sign(self._member, NEW_VIEW, view, 0, body_digest(body), body) if view else None
