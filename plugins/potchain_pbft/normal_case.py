"""The normal case (OSDI'99 section 4.2): pre-prepare, prepare, commit; and what a primary proposes.

    primary    asks its host for a proposal, persists it, multicasts a pre-prepare
    backup     on the first pre-prepare of a slot asks its host to check it and pin its bodies, persists, then prepares
    everyone   with the pre-prepare and quorum - 1 matching prepares: prepared; persists the certificate, commits
    everyone   with a quorum of matching commits of one view: committed; decides

Where a new view chose the digest of a sequence, the primary proposes that and nothing else, and everyone votes for it
again, whether it was decided before or not.
Rules of this file. No first digest of a slot is ever replaced, before or after a restart. An own message counts only
when the host feeds it back, durable. Votes leave only in an active view.
"""

from __future__ import annotations

from potchain import (
    BuildProposal,
    CheckProposal,
    CodecError,
    ConsensusMessage,
    Digest,
    Discard,
    Epoch,
    FetchProposal,
    KeepInFlight,
    Misbehaviour,
    NodeId,
    Proposal,
    ProposalChecked,
    Record,
    Send,
    SetTimer,
    encode,
    null_request,
    proposal_digest,
)
from potchain_pbft.agreement import FETCH_TIMER, Agreement
from potchain_pbft.effects import StepEffects
from potchain_pbft.log import CHECKS_MAX, MessageLog, Slot
from potchain_pbft.messages import ACCEPTED, COMMIT, PRE_PREPARE, PREPARE, AcceptedProposal, read_pre_prepare
from potchain_pbft.patience import Patience
from potchain_pbft.restart import next_sequence
from potchain_pbft.view import CurrentView


class NormalCase:
    """Votes and proposals of one replica, or of an observer (`me` None), which follows, decides and never sends."""

    def __init__(
        self,
        me: NodeId | None,
        epoch: Epoch,
        genesis_hash: bytes,
        current: CurrentView,
        log: MessageLog,
        agreement: Agreement,
        patience: Patience,
        fetch_retry_ns: int,
    ) -> None:
        self._me = me
        self._epoch = epoch
        self._genesis_hash = genesis_hash
        self._current = current
        self._log = log
        self._agreement = agreement
        self._patience = patience
        self._fetch_timer = SetTimer(FETCH_TIMER, fetch_retry_ns)
        self.next_sequence = 0
        """The next that this node would propose as primary: above all that was chosen or proposed in this view."""
        self.asked: int | None = None
        """The sequence for which a proposal was asked of the host and has not come. One at a time."""

    @property
    def _leads(self) -> bool:
        """Whether this node is the primary of a view that has begun."""
        return self._me is not None and self._current.voting is not None and self._current.primary == self._me

    # --- messages ---------------------------------------------------------------------------------------------------

    def on_pre_prepare(self, message: ConsensusMessage, out: StepEffects) -> None:
        """A pre-prepare within view and water marks."""
        if message.sender != self._epoch.primary(message.view):
            out.discard(message, f"not the primary of view {message.view}", blame=True)
            return
        slot = self._log.find(message.view, message.sequence)
        if message.sender == self._me:
            self._on_own_pre_prepare(slot, message, out)
        elif message.view != self._current.voting:
            self._on_early_pre_prepare(message, out)
        elif slot is not None and slot.pre_prepare is not None:
            self._on_later_pre_prepare(slot, slot.pre_prepare, message, out)
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

    def _on_early_pre_prepare(self, message: ConsensusMessage, out: StepEffects) -> None:
        # OSDI'99 section 4.4: pre-prepares of a view count after its new view, which is often only a moment behind.
        slot = self._log.slot(message.view, message.sequence)
        if slot.early is None:
            slot.early = message
        elif slot.early.digest != message.digest:
            _report_second_digest(slot, slot.early, message, out)
        else:
            out.discard(message, f"view {message.view} has not begun here; it is kept once")

    def _on_first_pre_prepare(self, message: ConsensusMessage, out: StepEffects) -> None:
        sequence = message.sequence
        chosen = self._current.chosen(sequence)
        if sequence <= self._current.plan.base:
            out.discard(message, f"at or below the base {self._current.plan.base} of the view")
            return
        if chosen is None and self._agreement.is_decided(sequence):
            out.discard(message, "already decided")
            return
        if chosen is not None and chosen != message.digest:
            out.discard(message, "not the digest that the new view chose", blame=True)
            return
        try:
            proposal = read_pre_prepare(message, self._genesis_hash, self._epoch, chosen=chosen is not None)
        except CodecError as fault:
            out.discard(message, str(fault), blame=True)
            return
        # OSDI'99 section 4.2: accepted unless another digest was accepted for the same view and sequence. The first
        # one takes the slot for good, even while it is being checked and when it is refused.
        slot = self._log.slot(message.view, sequence)
        slot.propose(Digest(message.digest), proposal)
        slot.pre_prepare = message
        if not self._agreement.is_decided(sequence):
            self._patience.in_flight(sequence, out)
        if chosen is not None and (chosen in self._log.held or not proposal.header.proposer):
            self._log.hold(proposal)
            self._accept(slot, chosen, proposal, out)
        else:
            self._ask_check(slot, proposal, out)

    def _on_later_pre_prepare(
        self, slot: Slot, first: ConsensusMessage, message: ConsensusMessage, out: StepEffects
    ) -> None:
        if first.digest != message.digest:
            _report_second_digest(slot, first, message, out)
        elif slot.refusal is not None and slot.proposal is not None and self._may_check_again(slot):
            # The reason may have passed: a body was on its way, a clock was wrong.
            self._ask_check(slot, slot.proposal, out)
        else:
            out.discard(message, "duplicate")

    def _may_check_again(self, slot: Slot) -> bool:
        return slot.checks < CHECKS_MAX or self._current.chosen(slot.sequence) is not None

    def on_prepare(self, message: ConsensusMessage, out: StepEffects) -> None:
        """A prepare within view and water marks."""
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

    def on_commit(self, message: ConsensusMessage, out: StepEffects) -> None:
        """A commit within view and water marks: counted in any mode, for what a quorum commits is decided."""
        # OSDI'99 section 4.2: commits too are accepted on view and water marks alone.
        slot = self._log.slot(message.view, message.sequence)
        earlier = slot.commits.add(message)
        if earlier is None:
            self._agreement.count_commit(slot, message.digest, out)
        else:
            _report_repeated_vote(slot, earlier, message, out)

    # --- proposals of others ----------------------------------------------------------------------------------------

    def _ask_check(self, slot: Slot, proposal: Proposal, out: StepEffects) -> None:
        primary = self._epoch.primary(slot.view)
        # What a new view chose, a quorum committed, or this node accepted before a restart, lacks bodies only: its
        # clock and proposer are settled.
        chosen = slot.view == self._current.entered_view and self._current.chosen(slot.sequence) is not None
        fresh = not chosen and not slot.accepted and not self._agreement.is_missing(slot)
        holders = self._current.plan.holders.get(slot.sequence, ()) if chosen else ()
        others = tuple(node for node in self._epoch.ids if node != self._me)
        slot.checking = True
        slot.checks += 1
        slot.refusal = None
        sources = holders or (others if primary == self._me else (primary,))
        out.ask.append(CheckProposal(proposal, slot.view, fresh, sources))

    def on_checked(self, event: ProposalChecked, out: StepEffects) -> None:
        """The host's answer, also to `FetchProposal`."""
        header = event.proposal.header
        digest = proposal_digest(header)
        sequence = header.sequence
        if event.refusal is None and sequence > self._log.low:
            self._log.hold(event.proposal)
            missed = self._agreement.missing.get(sequence)
            if missed is not None and missed.committed == digest:
                self._agreement.advance(missed, out)
            self.held(sequence, digest, out)
        slot = self._log.find(event.view, sequence)
        if slot is None or not slot.checking or slot.proposal is None or slot.proposal.header != header:
            return  # a stable checkpoint, a restart or a view change came between
        slot.checking = False
        if event.refusal is not None:
            self._on_refused(slot, event.refusal, out)
        elif slot.view == self._current.voting and not self._is_settled(sequence):
            self._accept(slot, digest, slot.proposal, out)

    def _is_settled(self, sequence: int) -> bool:
        # Deviation: who decides a sequence before it could vote for it does not vote any more, for the certificate
        # serves all; but what a new view chose is voted for again by everyone, decided or not.
        return self._agreement.is_decided(sequence) and self._current.chosen(sequence) is None

    def _on_refused(self, slot: Slot, refusal: str, out: StepEffects) -> None:
        slot.refusal = refusal
        primary = self._epoch.primary(slot.view)
        out.report.append(Discard(primary, PRE_PREPARE, f"sequence {slot.sequence} is not acceptable: {refusal}"))
        if self._agreement.is_missing(slot):
            out.ask.append(self._agreement.fetch(self._agreement.missing[slot.sequence]))

    def _accept(self, slot: Slot, digest: Digest, proposal: Proposal, out: StepEffects) -> None:
        """Vote for this digest in this slot, and for no other."""
        if self._me is not None and not slot.accepted:
            # The first digest is durable before the prepare leaves: no restart can make this node vote for a second.
            signature = b"" if slot.pre_prepare is None else slot.pre_prepare.signature
            data = encode(AcceptedProposal(digest, proposal, signature))
            out.persist.append(Record(ACCEPTED, slot.view, slot.sequence, data))
        slot.accepted = True
        self._send_vote(slot, digest, proposal, out)
        self._agreement.advance(slot, out)

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

    # --- own proposals ----------------------------------------------------------------------------------------------

    def propose(self, out: StepEffects) -> None:
        """As the primary, ask for the next proposal when there is room in flight and below the high water mark."""
        if not self._leads:
            return
        while self._agreement.is_decided(self.next_sequence):
            self.next_sequence = max(self.next_sequence, self._agreement.last_decided) + 1
        if self.asked is not None and self.asked >= self.next_sequence:
            return
        # OSDI'99 section 4.2: when too many requests are in progress the primary waits, and takes more at once later.
        # OSDI'99 section 4.3: no sequence above the high water mark is proposed.
        in_flight = self._agreement.undecided(self.next_sequence)
        if in_flight >= self._epoch.parameters.in_flight_max or self.next_sequence > self._log.high:
            return
        self.asked = self.next_sequence
        # Up to the end of an epoch that is about to change, empty proposals fill what work does not.
        may_be_empty = self._log.last is not None
        out.ask.append(BuildProposal(self.next_sequence, self._current.view, may_be_empty))

    def ask_anew(self, out: StepEffects) -> None:
        """The end of the epoch has come into sight: an open ask may be answered with an empty proposal now."""
        self.asked = None
        self.propose(out)

    def on_built(self, proposal: Proposal, view: int, out: StepEffects) -> None:
        """The host has built what was asked for."""
        sequence = proposal.header.sequence
        if view != self._current.voting or sequence != self.asked or self._agreement.is_decided(sequence):
            out.note(f"proposal for view {view} sequence {sequence} came too late and is not used")
            self._free_the_rest(out)
            self.ask_anew(out)
            return
        self.asked = None
        self.next_sequence = sequence + 1
        slot = self._log.slot(view, sequence)
        digest = self._log.hold(proposal)
        slot.propose(digest, proposal)
        self._accept(slot, digest, proposal, out)
        self.propose(out)

    def _propose_chosen(self, sequence: int, out: StepEffects) -> None:
        """As the new primary, propose again what the new view chose, once proposal and bodies are here."""
        digest = self._current.plan.chosen[sequence]
        if not self._log.low < sequence <= self._log.high:
            return
        slot = self._log.slot(self._current.view, sequence)
        if slot.accepted:
            return
        null = null_request(self._genesis_hash, self._epoch.number, sequence)
        proposal = null if proposal_digest(null.header) == digest else self._log.held.get(digest)
        if proposal is None:
            out.ask.append(FetchProposal(sequence, digest, self._current.plan.holders.get(sequence, ())))
            out.timers.append(self._fetch_timer)
            return
        self._log.hold(proposal)
        slot.propose(digest, proposal)
        self._accept(slot, digest, proposal, out)

    def held(self, sequence: int, digest: Digest, out: StepEffects) -> None:
        """A proposal and its bodies have come: as the new primary, propose it again if it was chosen."""
        if self._leads and self._current.chosen(sequence) == digest:
            self._propose_chosen(sequence, out)

    def propose_all_chosen(self, out: StepEffects) -> None:
        """Propose what was chosen and is not proposed yet; asks again for what is lacking."""
        if self._leads:
            for sequence in sorted(self._current.plan.chosen):
                self._propose_chosen(sequence, out)

    # --- a view begins ----------------------------------------------------------------------------------------------

    def take_up_view(self, out: StepEffects) -> None:
        """A view has begun, or was found on disk: propose, or look at what its primary sent before we knew."""
        current = self._current
        self.asked = None
        decided = max(self._agreement.last_decided, current.plan.top)
        self.next_sequence = next_sequence(current.view, self._log, decided)
        for sequence in current.plan.chosen:
            if not self._agreement.is_decided(sequence) and sequence > self._log.low:
                self._patience.in_flight(sequence, out)
        self._free_the_rest(out)
        self.propose_all_chosen(out)
        for slot in self._log.of_view(current.view):
            early, slot.early = slot.early, None
            if early is not None and not self._leads:
                self.on_pre_prepare(early, out)
            self._agreement.advance(slot, out)
        self.propose(out)

    def _free_the_rest(self, out: StepEffects) -> None:
        """Only what this view chose or accepted will come to anything."""
        slots = self._log.of_view(self._current.view)
        accepted = [slot.digest for slot in slots if slot.accepted and slot.digest is not None]
        out.ask.append(KeepInFlight((*self._current.plan.chosen.values(), *accepted)))

    def resume(self, out: StepEffects) -> None:
        """Take up every slot where the durable records left it."""
        for slot in self._log.in_order():
            if slot.view == self._current.voting and slot.accepted and slot.digest is not None:
                self._resume_vote(slot, slot.digest, out)
            if slot.digest is not None:
                self._agreement.count_commit(slot, slot.digest, out)
            self._agreement.advance(slot, out)

    def _resume_vote(self, slot: Slot, digest: Digest, out: StepEffects) -> None:
        if slot.proposal is not None:
            if digest in self._log.held:
                self._send_vote(slot, digest, slot.proposal, out)
            elif not self._agreement.is_decided(slot.sequence):
                self._ask_check(slot, slot.proposal, out)
        if slot.prepared is not None and self._me is not None and self._me not in slot.commits.by_sender:
            digest = Digest(slot.prepared.digest)
            out.send.append(Send(kind=COMMIT, view=slot.view, sequence=slot.sequence, digest=digest))
        if not self._agreement.is_decided(slot.sequence):
            self._patience.in_flight(slot.sequence, out)


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
