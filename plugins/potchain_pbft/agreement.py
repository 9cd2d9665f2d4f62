"""What the votes of a slot amount to: prepared, committed, decided (OSDI'99 section 4.2).

Everything that decides a sequence lives here, by votes or by a certificate from catch-up. A sequence is decided once;
decisions may come out of order, the host executes them in order.
"""

from __future__ import annotations

from potchain import (
    CertificateReceived,
    ConsensusMessage,
    Decision,
    Digest,
    FetchProposal,
    NodeId,
    OrderCertificate,
    Proposal,
    Quorum,
    Record,
    Send,
    SetTimer,
    encode,
)
from potchain_pbft.effects import StepEffects
from potchain_pbft.log import MessageLog, Slot
from potchain_pbft.messages import COMMIT, PREPARE, PREPARED, PreparedCertificate, order_certificate, vote_signatures
from potchain_pbft.patience import Patience
from potchain_pbft.view import CurrentView

FETCH_TIMER = "fetch"
"""Runs while a proposal is lacking: of a committed sequence, or of one that this node must propose again."""


class Agreement:
    """Decided sequences of one replica, and how the others become so."""

    def __init__(
        self,
        me: NodeId | None,
        quorum: Quorum,
        current: CurrentView,
        log: MessageLog,
        patience: Patience,
        last_decided: int,
        fetch_retry_ns: int,
    ) -> None:
        self._me = me
        self._quorum = quorum.quorum
        self._weak_quorum = quorum.weak_quorum
        self._current = current
        self._log = log
        self._patience = patience
        self._fetch_timer = SetTimer(FETCH_TIMER, fetch_retry_ns)
        self.last_decided = last_decided
        """Every sequence up to here is decided."""
        self.decided_ahead: set[int] = set()
        """Decided above a gap: at most one window."""
        self.missing: dict[int, Slot] = {}
        """Committed sequences whose proposal is not held, with the slot that has the quorum: at most one window."""

    def is_decided(self, sequence: int) -> bool:
        """Whether the place is taken for ever."""
        return sequence <= self.last_decided or sequence in self.decided_ahead

    def undecided(self, below: int) -> int:
        """How many sequences under `below` are not decided."""
        return sum(sequence not in self.decided_ahead for sequence in range(self.last_decided + 1, below))

    def is_missing(self, slot: Slot) -> bool:
        """Whether a quorum committed this slot's proposal, in whatever view, and only its bodies are lacking."""
        waiting = self.missing.get(slot.sequence)
        return waiting is not None and waiting.committed == slot.digest

    def has_enough(self, slot: Slot, message: ConsensusMessage) -> bool:
        """Whether a vote would be one more than is ever needed, and its sender's first in the slot."""
        if message.kind == PREPARE:
            votes, needed = slot.prepares, self._quorum - 1
        elif message.kind == COMMIT:
            votes, needed = slot.commits, self._quorum
        else:
            return False
        return votes.count(message.digest) >= needed and message.sender not in votes.by_sender

    def count_prepare(self, slot: Slot, digest: bytes, out: StepEffects) -> None:
        """A prepare for `digest` has entered the slot."""
        self._look_in_flight(slot, len(slot.prepares.by_sender), out)
        if slot.prepared is None and slot.prepares.count(digest) >= self._quorum - 1:
            self.advance(slot, out)

    def count_commit(self, slot: Slot, digest: bytes, out: StepEffects) -> None:
        """A commit for `digest` has entered the slot."""
        self._look_in_flight(slot, len(slot.commits.by_sender), out)
        if slot.committed is None and slot.commits.count(digest) >= self._quorum:
            slot.committed = Digest(digest)
            self.advance(slot, out)

    def advance(self, slot: Slot, out: StepEffects) -> None:
        """Do what the slot's messages allow by now."""
        if slot.view == self._current.voting and slot.prepared is None and self._is_prepared(slot):
            self._on_prepared(slot, out)
        if slot.committed is None or self.is_decided(slot.sequence):
            return
        proposal = self._log.held.get(slot.committed)
        if proposal is not None:
            # OSDI'99 section 4.2: committed-local.
            # Deviation: this replica need not be prepared; a quorum of signed commits proves that f + 1 correct
            # replicas are, and whoever checks the certificate later knows no more than that either.
            commits = slot.commits.matching(slot.committed, self._quorum)
            certificate = order_certificate(slot.view, vote_signatures(commits))
            before = self.last_decided
            self._decide(slot.sequence, slot.committed, proposal, certificate, out)
            # What is decided above a gap cannot be executed: a primary that leaves a gap makes no progress.
            progress = slot.view == self._current.voting and self.last_decided > before
            self._patience.decided(slot.sequence, out.now_ns, progress=progress)
        elif slot.sequence not in self.missing:
            self._miss(slot, slot.committed, out)

    def on_certificate(self, event: CertificateReceived, out: StepEffects) -> None:
        """Decide by a certificate that the host has verified."""
        if self.is_decided(event.sequence):
            if event.sequence > self._log.low:
                self._log.hold_decided(event.digest, event.proposal)  # a new view chose it, and it was not kept
            return
        # It is used in any state, above the high water mark too: a replica that was away catches up this way. Only a
        # gap above the mark would need memory without bound.
        if event.sequence > self._log.high and event.sequence != self.last_decided + 1:
            out.note(f"certificate for sequence {event.sequence} leaves a gap after {self.last_decided}; not used")
            return
        self._decide(event.sequence, event.digest, event.proposal, event.certificate, out)
        self._patience.decided(event.sequence, out.now_ns, progress=False)

    def fetch_missing(self, out: StepEffects) -> None:
        """Ask again for every proposal that is committed and not held."""
        for sequence in sorted(self.missing):
            out.ask.append(self.fetch(self.missing[sequence]))
        if self.missing:
            out.timers.append(self._fetch_timer)

    def fetch(self, slot: Slot) -> FetchProposal:
        """The question for the proposal of a committed slot: who committed to it holds it."""
        assert slot.committed is not None, "only a committed slot is missing its proposal"
        commits = slot.commits.matching(slot.committed, self._quorum)
        return FetchProposal(slot.sequence, slot.committed, tuple(NodeId(each.sender) for each in commits))

    def forget(self, stable: int) -> None:
        """A stable checkpoint settles everything up to it."""
        self.missing = {sequence: slot for sequence, slot in self.missing.items() if sequence > stable}

    def _look_in_flight(self, slot: Slot, voters: int, out: StepEffects) -> None:
        if voters == self._weak_quorum and slot.view == self._current.view and not self.is_decided(slot.sequence):
            self._patience.in_flight(slot.sequence, out)

    def _is_prepared(self, slot: Slot) -> bool:
        # OSDI'99 section 4.2: the pre-prepare and 2f matching prepares of different backups are in the log. Here
        # quorum - 1 for 2f, which is right for any n; an own prepare is in the log once it is durable.
        if self._me is None or not slot.accepted or slot.pre_prepare is None or slot.digest is None:
            return False
        return slot.prepares.count(slot.digest) >= self._quorum - 1

    def _on_prepared(self, slot: Slot, out: StepEffects) -> None:
        assert slot.digest is not None, "prepared without a digest"
        assert slot.pre_prepare is not None, "prepared without a pre-prepare"
        prepares = slot.prepares.matching(slot.digest, self._quorum - 1)
        slot.prepared = PreparedCertificate(
            slot.view, slot.sequence, slot.digest, slot.pre_prepare.signature, vote_signatures(prepares)
        )
        # The certificate is durable before the commit leaves: a view change must be able to prove it.
        out.persist.append(Record(PREPARED, slot.view, slot.sequence, encode(slot.prepared)))
        out.send.append(Send(kind=COMMIT, view=slot.view, sequence=slot.sequence, digest=slot.digest))

    def _miss(self, slot: Slot, digest: Digest, out: StepEffects) -> None:
        if not self.missing:
            out.timers.append(self._fetch_timer)
        self.missing[slot.sequence] = slot
        if not slot.checking or slot.digest != digest:  # else the host is fetching its bodies already
            out.ask.append(self.fetch(slot))

    def _decide(
        self, sequence: int, digest: Digest, proposal: Proposal, certificate: OrderCertificate, out: StepEffects
    ) -> None:
        assert not self.is_decided(sequence), f"sequence {sequence} is decided once"
        out.decide.append(Decision(sequence, digest, proposal, certificate))
        self._log.hold_decided(digest, proposal)  # a new view may choose it again
        self.decided_ahead.add(sequence)
        while self.last_decided + 1 in self.decided_ahead:
            self.last_decided += 1
            self.decided_ahead.remove(self.last_decided)
        self.missing.pop(sequence, None)
        if self.decided_ahead:
            # Nobody may have heard anything of the sequence in the gap, and yet all above it wait for it.
            self._patience.in_flight(self.last_decided + 1, out)
