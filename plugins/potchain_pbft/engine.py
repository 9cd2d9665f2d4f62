"""PBFT's normal case as a pure state machine (Castro and Liskov, OSDI'99, sections 4.2 and 4.3).

How a sequence is decided in a view:

    primary    asks its host for a proposal, persists it, multicasts a pre-prepare
    backup     on the first pre-prepare of a slot asks its host to check it and pin its bodies, persists, then prepares
    everyone   with the pre-prepare and quorum - 1 matching prepares: prepared; persists the certificate, commits
    everyone   with a quorum of matching commits of one view: committed; decides

Rules of this file. `step` is the one funnel: the checks that all messages share come first, then one method for each
kind. No first digest of a slot is ever replaced, before or after a restart. An own message counts only when the host
feeds it back, durable. A vote costs constant time; whatever looks at many slots happens at a decision, a checkpoint or
a start. Nothing iterates in an order that two runs could see differently.
"""

from __future__ import annotations

from potchain import (
    Boot,
    BuildProposal,
    CertificateReceived,
    Certified,
    CheckProposal,
    CodecError,
    ConsensusMessage,
    Digest,
    Discard,
    Effects,
    EngineStatus,
    Event,
    Executed,
    FetchProposal,
    MessageReceived,
    Misbehaviour,
    NodeId,
    Proposal,
    ProposalBuilt,
    ProposalChecked,
    Quorum,
    Record,
    Send,
    Started,
    TimerFired,
    WorkWaiting,
    encode,
    proposal_digest,
)
from potchain_pbft import picture
from potchain_pbft.agreement import FETCH_TIMER, Agreement
from potchain_pbft.checkpoints import Checkpoints
from potchain_pbft.effects import StepEffects
from potchain_pbft.log import CHECKS_MAX, VIEWS_AHEAD_MAX, MessageLog, Slot
from potchain_pbft.messages import ACCEPTED, COMMIT, KINDS, PRE_PREPARE, PREPARE, AcceptedProposal, read_pre_prepare
from potchain_pbft.options import PbftOptions
from potchain_pbft.restart import next_sequence, restore


class PbftEngine:
    """One replica, or an observer, in one epoch."""

    def __init__(self, boot: Boot, options: PbftOptions) -> None:
        epoch = boot.epoch
        parameters = epoch.parameters
        self._epoch = epoch
        self._genesis_hash = boot.genesis_hash
        self._me = boot.me if boot.me in epoch.keys else None
        """None: an observer. It follows, decides and never sends."""
        self._view = 0
        self._log = MessageLog(boot.stable, parameters.log_window)
        self._checkpoints = Checkpoints(parameters.checkpoint_interval, boot.stable, boot.executed)
        self._agreement = Agreement(
            self._me,
            Quorum(len(epoch.members)).quorum,
            self._log,
            max(boot.decided, boot.executed, boot.stable),
            options.fetch_retry_ms * 1_000_000,
        )
        restore(boot, self._me, self._log)
        self._next_sequence = next_sequence(self._view, self._log, self._agreement.last_decided)
        """The next that this node would propose as primary: above all that it ever pre-prepared in this view."""
        self._asked: int | None = None
        """The sequence for which a proposal was asked of the host and has not come. One at a time."""

    def step(self, event: Event, now_ns: int) -> Effects:
        """React to one event."""
        out = StepEffects()
        match event:
            case MessageReceived(message=message):
                self._on_message(message, out)
            case ProposalChecked():
                self._on_checked(event, out)
            case ProposalBuilt(proposal=proposal, view=view):
                self._on_built(proposal, view, out)
            case Executed(height=height):
                self._checkpoints.executed(height)
                self._move_water_marks(out)
            case Certified(height=height):
                self._checkpoints.certified(height)
                self._move_water_marks(out)
            case CertificateReceived():
                self._agreement.on_certificate(event, out)
            case TimerFired(name=name):
                if name == FETCH_TIMER:
                    self._agreement.fetch_missing(out)
            case Started():
                self._on_started(out)
            case WorkWaiting():
                pass  # the host's batching rule answers the ask for a proposal that is open already
        if out.decide or out.truncate is not None:
            self._propose(out)
        return out.effects()

    def status(self) -> EngineStatus:
        """What it waits for."""
        return picture.status(self._epoch, self._view, self._log, self._agreement, self._checkpoints)

    def dump(self) -> bytes:
        """Full state as JSON, for bug reports."""
        return picture.dump(
            self.status(), self._log, self._agreement, self._checkpoints, self._next_sequence, self._asked
        )

    # --- messages ---------------------------------------------------------------------------------------------------

    def _on_message(self, message: ConsensusMessage, out: StepEffects) -> None:
        """The checks that all kinds share, then the kind's own."""
        # OSDI'99 section 4.2: a message counts if it is properly signed (the host's part), its view is this replica's
        # and its sequence lies between the water marks.
        # Deviation: votes of a few views ahead are kept too, for a replica that learns late of a new view.
        if message.kind not in KINDS:
            out.discard(message, f"unknown kind {message.kind[:32]!r}", blame=True)
        elif message.epoch != self._epoch.number:
            out.discard(message, f"epoch {message.epoch}, not {self._epoch.number}")
        elif message.sender not in self._epoch.keys:
            out.discard(message, "not a member of the epoch", blame=True)
        elif not self._view <= message.view <= self._view + VIEWS_AHEAD_MAX:
            out.discard(message, f"view {message.view}, not {self._view} to {self._view + VIEWS_AHEAD_MAX}")
        elif not self._log.low < message.sequence <= self._log.high:
            out.discard(message, f"sequence {message.sequence}, not in ({self._log.low}, {self._log.high}]")
        elif message.kind == PRE_PREPARE:
            self._on_pre_prepare(message, out)
        elif message.body:
            # The signed digest does not commit to it, so it could be anybody's.
            out.discard(message, f"a {message.kind} has no body", blame=True)
        elif message.kind == PREPARE:
            self._on_prepare(message, out)
        else:
            self._on_commit(message, out)

    def _on_pre_prepare(self, message: ConsensusMessage, out: StepEffects) -> None:
        if message.sender != self._epoch.primary(message.view):
            out.discard(message, f"not the primary of view {message.view}", blame=True)
            return
        slot = self._log.find(message.view, message.sequence)
        if message.sender == self._me:
            self._on_own_pre_prepare(slot, message, out)
        elif message.view != self._view:
            # OSDI'99 section 4.4: pre-prepares of a view count after its new-view; their sender sends them again.
            out.discard(message, f"view {message.view} has not begun here")
        elif slot is not None and slot.pre_prepare is not None:
            self._on_later_pre_prepare(slot, slot.pre_prepare, message, out)
        elif self._agreement.is_decided(message.sequence):
            out.discard(message, "already decided")
        else:
            self._on_first_pre_prepare(message, out)

    def _on_own_pre_prepare(self, slot: Slot | None, message: ConsensusMessage, out: StepEffects) -> None:
        if slot is None or slot.digest != message.digest:
            out.discard(message, "not a pre-prepare that this node made")
        elif slot.pre_prepare is not None:
            out.discard(message, "duplicate")
        else:
            slot.pre_prepare = message
            self._agreement.advance(slot, out)

    def _on_first_pre_prepare(self, message: ConsensusMessage, out: StepEffects) -> None:
        try:
            proposal = read_pre_prepare(message, self._genesis_hash, self._epoch)
        except CodecError as fault:
            out.discard(message, str(fault), blame=True)
            return
        # OSDI'99 section 4.2: accepted unless another digest was accepted for the same view and sequence. The first
        # one takes the slot for good, even while it is being checked and when it is refused.
        slot = self._log.slot(message.view, message.sequence)
        slot.propose(Digest(message.digest), proposal)
        slot.pre_prepare = message
        self._ask_check(slot, proposal, out)

    def _on_later_pre_prepare(
        self, slot: Slot, first: ConsensusMessage, message: ConsensusMessage, out: StepEffects
    ) -> None:
        if first.digest != message.digest:
            _report_second_digest(slot, first, message, out)
        elif slot.refusal is not None and slot.proposal is not None and slot.checks < CHECKS_MAX:
            # The reason may have passed: a body was on its way, a clock was wrong.
            self._ask_check(slot, slot.proposal, out)
        else:
            out.discard(message, "duplicate")

    def _on_prepare(self, message: ConsensusMessage, out: StepEffects) -> None:
        if message.sender == self._epoch.primary(message.view):
            # OSDI'99 section 4.2: the pre-prepare is the primary's vote; prepares come from backups.
            out.discard(message, "the primary sends no prepare", blame=True)
            return
        # OSDI'99 section 4.2: a replica accepts prepares whether or not it has the pre-prepare yet.
        slot = self._log.slot(message.view, message.sequence)
        earlier = slot.prepares.add(message)
        if earlier is None:
            self._agreement.count_prepare(slot, message.digest, out)
        else:
            _report_repeated_vote(slot, earlier, message, out)

    def _on_commit(self, message: ConsensusMessage, out: StepEffects) -> None:
        # OSDI'99 section 4.2: commits too are accepted on view and water marks alone.
        slot = self._log.slot(message.view, message.sequence)
        earlier = slot.commits.add(message)
        if earlier is None:
            self._agreement.count_commit(slot, message.digest, out)
        else:
            _report_repeated_vote(slot, earlier, message, out)

    # --- proposals --------------------------------------------------------------------------------------------------

    def _propose(self, out: StepEffects) -> None:
        """As the primary, ask for the next proposal when there is room in flight and below the high water mark."""
        if self._me is None or self._me != self._epoch.primary(self._view):
            return
        while self._agreement.is_decided(self._next_sequence):
            self._next_sequence = max(self._next_sequence, self._agreement.last_decided) + 1
        if self._asked is not None and self._asked >= self._next_sequence:
            return
        # OSDI'99 section 4.2: when too many requests are in progress the primary waits, and takes more at once later.
        # OSDI'99 section 4.3: no sequence above the high water mark is proposed.
        in_flight = self._agreement.undecided(self._next_sequence)
        if in_flight >= self._epoch.parameters.in_flight_max or self._next_sequence > self._log.high:
            return
        self._asked = self._next_sequence
        out.ask.append(BuildProposal(self._next_sequence, self._view))

    def _on_built(self, proposal: Proposal, view: int, out: StepEffects) -> None:
        sequence = proposal.header.sequence
        if view != self._view or sequence != self._asked or self._agreement.is_decided(sequence):
            out.note(f"proposal for view {view} sequence {sequence} came too late and is not used")
            return
        self._asked = None
        self._next_sequence = sequence + 1
        slot = self._log.slot(view, sequence)
        digest = self._log.hold(proposal)
        slot.propose(digest, proposal)
        slot.accepted = True
        out.persist.append(Record(ACCEPTED, view, sequence, encode(AcceptedProposal(digest, proposal, b""))))
        self._send_vote(slot, digest, proposal, out)
        self._propose(out)

    def _ask_check(self, slot: Slot, proposal: Proposal, out: StepEffects) -> None:
        primary = self._epoch.primary(slot.view)
        others = tuple(node for node in self._epoch.ids if node != self._me)
        # What a quorum committed, or this node accepted before a restart, lacks bodies only: its clock is settled.
        fresh = not slot.accepted and not self._agreement.is_missing(slot)
        slot.checking = True
        slot.checks += 1
        slot.refusal = None
        out.ask.append(CheckProposal(proposal, slot.view, fresh, others if primary == self._me else (primary,)))

    def _on_checked(self, event: ProposalChecked, out: StepEffects) -> None:
        header = event.proposal.header
        missed = self._agreement.missing.get(header.sequence)
        if missed is not None and event.refusal is None and missed.committed == proposal_digest(header):
            # The answer to FetchProposal: a quorum has committed it, and now its bodies are pinned here.
            self._log.hold(event.proposal)
            self._agreement.advance(missed, out)
        slot = self._log.find(event.view, header.sequence)
        if slot is None or not slot.checking or slot.proposal is None or slot.proposal.header != header:
            return  # a stable checkpoint or a restart came between
        slot.checking = False
        if event.refusal is not None:
            self._on_refused(slot, event.refusal, out)
            return
        digest = self._log.hold(slot.proposal)
        if self._agreement.is_missing(slot):
            self._agreement.advance(self._agreement.missing[slot.sequence], out)
        # Deviation: who decides a slot before it could vote there does not vote any more; the certificate serves all.
        if self._agreement.is_decided(slot.sequence):
            return
        if self._me is not None and not slot.accepted and slot.pre_prepare is not None:
            # The first digest is durable before the prepare leaves: no restart can make this node vote for a second.
            data = encode(AcceptedProposal(digest, slot.proposal, slot.pre_prepare.signature))
            out.persist.append(Record(ACCEPTED, slot.view, slot.sequence, data))
        slot.accepted = True
        self._send_vote(slot, digest, slot.proposal, out)
        self._agreement.advance(slot, out)

    def _on_refused(self, slot: Slot, refusal: str, out: StepEffects) -> None:
        slot.refusal = refusal
        primary = self._epoch.primary(slot.view)
        out.report.append(Discard(primary, PRE_PREPARE, f"sequence {slot.sequence} is not acceptable: {refusal}"))
        if self._agreement.is_missing(slot) and slot.digest is not None:
            out.ask.append(FetchProposal(slot.sequence, slot.digest))

    def _send_vote(self, slot: Slot, digest: Digest, proposal: Proposal, out: StepEffects) -> None:
        """Multicast the pre-prepare as primary of the slot's view, the prepare as backup, unless it is out already."""
        if self._me is None:
            return
        if self._me != self._epoch.primary(slot.view):
            if self._me not in slot.prepares.by_sender:
                out.send.append(Send(kind=PREPARE, view=slot.view, sequence=slot.sequence, digest=digest))
        elif slot.pre_prepare is None:
            # OSDI'99 section 4.2: the primary assigns the sequence; the pre-prepare is its vote, it sends no prepare.
            # Deviation: the message carries the ids of a batch, the bodies travel by themselves.
            body = encode(proposal)
            out.send.append(Send(kind=PRE_PREPARE, view=slot.view, sequence=slot.sequence, digest=digest, body=body))

    # --- checkpoints, start -----------------------------------------------------------------------------------------

    def _move_water_marks(self, out: StepEffects) -> None:
        # OSDI'99 section 4.3: everything up to a stable checkpoint is discarded, and both water marks move.
        stable = self._checkpoints.stable
        if stable > self._log.low:
            self._log.truncate(stable)
            out.truncate = stable
            out.note(f"stable checkpoint {stable}; water marks ({self._log.low}, {self._log.high}]")

    def _on_started(self, out: StepEffects) -> None:
        """Take up every undecided slot where the durable records left it."""
        for slot in self._log.in_order():
            if self._agreement.is_decided(slot.sequence):
                continue
            if slot.accepted and slot.digest is not None and slot.proposal is not None:
                if slot.digest in self._log.held:
                    self._send_vote(slot, slot.digest, slot.proposal, out)
                else:
                    self._ask_check(slot, slot.proposal, out)
            if slot.prepared is not None and self._me is not None and self._me not in slot.commits.by_sender:
                digest = Digest(slot.prepared.digest)
                out.send.append(Send(kind=COMMIT, view=slot.view, sequence=slot.sequence, digest=digest))
            if slot.digest is not None:
                self._agreement.count_commit(slot, slot.digest, out)
            self._agreement.advance(slot, out)
        self._propose(out)


def _report_repeated_vote(slot: Slot, earlier: ConsensusMessage, message: ConsensusMessage, out: StepEffects) -> None:
    if earlier.digest == message.digest:
        out.discard(message, "duplicate")
    else:
        _report_second_digest(slot, earlier, message, out)


def _report_second_digest(slot: Slot, first: ConsensusMessage, second: ConsensusMessage, out: StepEffects) -> None:
    """Two digests of one sender for one slot and kind are evidence, which is given once."""
    accused = (second.kind, NodeId(second.sender))
    if accused in slot.accused:
        out.discard(second, "one more digest for a slot that it was reported for", blame=True)
    else:
        slot.accused.add(accused)
        out.report.append(Misbehaviour(first, second))
