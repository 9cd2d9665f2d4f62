"""PBFT as a pure state machine (Castro and Liskov, OSDI'99): the funnel, and the rooms behind it.

`step` is the one way in: the checks that all messages share come first, then each kind goes to its room, the normal
case (section 4.2), checkpoints (4.3) or the view change (4.4, 4.5.2). A vote costs constant time; whatever looks at
many slots happens at a decision, a checkpoint, a new view or a start. Nothing iterates in an order that two runs could
see differently.
"""

from __future__ import annotations

from potchain import (
    Boot,
    CertificateReceived,
    Certified,
    ConsensusMessage,
    Effects,
    EngineStatus,
    Epoch,
    Event,
    Executed,
    MessageName,
    MessageReceived,
    ProposalBuilt,
    ProposalChecked,
    Quorum,
    ReportWork,
    Started,
    TimerFired,
    WorkWaiting,
)
from potchain_pbft import picture
from potchain_pbft.agreement import FETCH_TIMER, Agreement
from potchain_pbft.checkpoints import Checkpoints
from potchain_pbft.effects import StepEffects
from potchain_pbft.log import VIEWS_AHEAD_MAX, MessageLog
from potchain_pbft.messages import COMMIT, KINDS, PRE_PREPARE, PREPARE, certificate_view
from potchain_pbft.normal_case import NormalCase
from potchain_pbft.options import PbftOptions
from potchain_pbft.patience import AGREEMENT_TIMER, NEW_VIEW_TIMER, NS_PER_MS, WORK_TIMER, Patience
from potchain_pbft.restart import remembered_votes, restore
from potchain_pbft.view import CHANGING, CurrentView
from potchain_pbft.view_changing import ASK_TIMER, ViewChanging
from potchain_pbft.view_messages import VIEW_CHANGE, VIEW_KINDS


class PbftEngine:
    """One replica, or an observer, in one epoch."""

    def __init__(self, boot: Boot, options: PbftOptions) -> None:
        epoch = boot.epoch
        self._epoch = epoch
        self._me = boot.me if boot.me in epoch.keys else None
        """None: an observer. It follows, decides and never sends."""
        retry_ns = options.fetch_retry_ms * NS_PER_MS
        stable = max(boot.stable, epoch.first_sequence - 1)
        self._current = CurrentView(epoch)
        self._log = MessageLog(stable, epoch.parameters.log_window)
        self._checkpoints = Checkpoints(
            epoch.parameters.checkpoint_interval,
            stable,
            boot.executed,
            boot.stable_certificate if boot.stable >= epoch.first_sequence else None,
        )
        self._patience = Patience(epoch.parameters)
        self._agreement = Agreement(
            self._me,
            Quorum(len(epoch.members)),
            self._current,
            self._log,
            self._patience,
            max(boot.decided, boot.executed, stable),
            retry_ns,
        )
        self._views = ViewChanging(
            self._me, epoch, boot.genesis_hash, self._current, self._log, self._patience, retry_ns, self._view_entered
        )
        self._views.stable_certificate = self._checkpoints.certificate
        self._normal = NormalCase(
            self._me,
            epoch,
            boot.genesis_hash,
            self._current,
            self._log,
            self._agreement,
            self._patience,
            retry_ns,
        )
        restore(boot, self._me, self._log, self._views)
        if boot.view > self._current.view:
            self._current.follow(boot.view, 0)  # known to an earlier engine of this run, which only listened
        if boot.next_epoch is not None:
            self._log.last = boot.next_epoch.first_sequence - 1

    def step(self, event: Event, now_ns: int) -> Effects:
        """React to one event."""
        out = StepEffects(now_ns)
        match event:
            case MessageReceived(message=message):
                self._on_message(message, out)
            case ProposalChecked():
                self._normal.on_checked(event, out)
            case ProposalBuilt(proposal=proposal, view=view):
                self._normal.on_built(proposal, view, out)
            case Executed(height=height, next_epoch=next_epoch):
                self._checkpoints.executed(height)
                self._epoch_ends(next_epoch, out)
                self._move_water_marks(out)
            case Certified(certificate=certificate):
                self._checkpoints.certified(certificate)
                self._patience.settled(certificate.height)
                self._move_water_marks(out)
            case CertificateReceived():
                self._on_certificate(event, out)
            case TimerFired(name=name):
                self._on_timer(name, out)
            case Started():
                self._on_started(out)
            case WorkWaiting(neglected_ns=neglected_ns):
                self._on_work_waiting(neglected_ns, out)
        if out.decide or out.truncate is not None:
            self._normal.propose(out)
        return out.effects()

    def status(self) -> EngineStatus:
        """What it waits for."""
        return picture.status(
            self._epoch, self._current, self._log, self._agreement, self._checkpoints, self._views, self._patience
        )

    def dump(self) -> bytes:
        """Full state as JSON, for bug reports."""
        return picture.dump(
            self.status(), self._current, self._log, self._agreement, self._checkpoints, self._views, self._normal
        )

    def has_enough(self, message: ConsensusMessage) -> bool:
        """A prepare or commit of who has not voted yet, in a slot that has its quorum for this digest."""
        slot = self._log.find(message.view, message.sequence) if message.epoch == self._epoch.number else None
        return slot is not None and self._agreement.has_enough(slot, message)

    def remembered(self) -> tuple[ConsensusMessage, ...]:
        """Others' pre-prepares, prepares, view changes and new views that are in its durable records."""
        return (*remembered_votes(self._log, self._epoch), *self._views.remembered())

    def find(self, kind: str, view: int, name: MessageName) -> ConsensusMessage | None:
        """A view change or new view that it holds, for a peer that asked."""
        return self._views.find(kind, view, name)

    # --- messages ---------------------------------------------------------------------------------------------------

    def _on_message(self, message: ConsensusMessage, out: StepEffects) -> None:
        """The checks that all kinds share, then the kind's own."""
        # OSDI'99 section 4.2: a message counts if it is properly signed (the host's part), its view is this replica's
        # and its sequence lies between the water marks.
        # Deviation: votes of a few views ahead are kept too, for a replica that learns late of a new view.
        if message.kind not in KINDS and message.kind not in VIEW_KINDS:
            out.discard(message, f"unknown kind {message.kind[:32]!r}", blame=True)
        elif message.epoch != self._epoch.number:
            out.discard(message, f"epoch {message.epoch}, not {self._epoch.number}")
        elif message.sender not in self._epoch.keys:
            out.discard(message, "not a member of the epoch", blame=True)
        elif message.kind == VIEW_CHANGE:
            self._views.on_view_change(message, out)
        elif message.kind in VIEW_KINDS:
            self._views.on_new_view(message, out)
        else:
            self._on_vote(message, out)

    def _on_vote(self, message: ConsensusMessage, out: StepEffects) -> None:
        """A pre-prepare, prepare or commit."""
        current = self._current
        if message.view > current.entered_view:
            self._views.seen(message.sender, message.view, out)
        # In a view that this node has left, commits still decide; nothing else of it matters.
        low_view = current.entered_view if message.kind == COMMIT else current.view
        if not low_view <= message.view <= current.view + VIEWS_AHEAD_MAX:
            out.discard(message, f"view {message.view}, not {low_view} to {current.view + VIEWS_AHEAD_MAX}")
        elif not self._log.low < message.sequence <= self._log.high:
            out.discard(message, f"sequence {message.sequence}, not in ({self._log.low}, {self._log.high}]")
        elif message.kind == PRE_PREPARE:
            self._normal.on_pre_prepare(message, out)
        elif message.body:
            # The signed digest does not commit to it, so it could be anybody's.
            out.discard(message, f"a {message.kind} has no body", blame=True)
        elif message.kind == PREPARE:
            self._normal.on_prepare(message, out)
        else:
            self._normal.on_commit(message, out)

    def _on_certificate(self, event: CertificateReceived, out: StepEffects) -> None:
        # A valid order certificate is executed in any mode. It may raise the view, for a quorum was in it; never lower.
        self._agreement.on_certificate(event, out)
        self._normal.held(event.sequence, event.digest, out)
        self._views.follow(certificate_view(event.certificate), out)

    # --- timers -----------------------------------------------------------------------------------------------------

    def _on_timer(self, name: str, out: StepEffects) -> None:
        if name == FETCH_TIMER:
            self._agreement.fetch_missing(out)
            self._normal.propose_all_chosen(out)
        elif name == ASK_TIMER:
            self._views.ask_again(out)
        elif name == NEW_VIEW_TIMER:
            self._views.new_view_overdue(out)
        elif name == WORK_TIMER:
            out.ask.append(ReportWork())
        elif name == AGREEMENT_TIMER:
            sequence = self._patience.overdue(out)
            if sequence is not None and self._may_accuse:
                self._views.accuse(f"sequence {sequence} was not decided in time", out)

    @property
    def _may_accuse(self) -> bool:
        # OSDI'99 section 4.4: timers are the backups'; a primary that is at fault does not find out by itself.
        return self._me is not None and self._current.mode != CHANGING and self._current.primary != self._me

    def _on_work_waiting(self, neglected_ns: int | None, out: StepEffects) -> None:
        if self._log.last is not None and self._agreement.last_decided < self._log.last:
            # A pending change of epoch is work too: the primary fills up to its end.
            waiting_ns = self._patience.progress_ns
            neglected_ns = waiting_ns if neglected_ns is None else min(neglected_ns, waiting_ns)
        if neglected_ns is None or not self._may_accuse:
            return
        if self._patience.neglected(neglected_ns, self._current.since_ns, out):
            self._views.accuse("the primary leaves work out", out)

    # --- checkpoints, epochs, start ---------------------------------------------------------------------------------

    def _move_water_marks(self, out: StepEffects) -> None:
        # OSDI'99 section 4.3: everything up to a stable checkpoint is discarded, and both water marks move.
        stable = self._checkpoints.stable
        if stable > self._log.low:
            self._log.truncate(stable)
            self._agreement.forget(stable)
            self._views.stable_certificate = self._checkpoints.certificate
            out.truncate = stable
            out.note(f"stable checkpoint {stable}; water marks ({self._log.low}, {self._log.high}]")
            self._normal.propose_all_chosen(out)

    def _epoch_ends(self, next_epoch: Epoch | None, out: StepEffects) -> None:
        if next_epoch is not None and self._log.last is None:
            self._log.last = next_epoch.first_sequence - 1
            out.note(f"epoch {self._epoch.number} ends with sequence {self._log.last}")
            self._normal.ask_anew(out)

    def _view_entered(self, out: StepEffects) -> None:
        self._normal.take_up_view(out)

    def _on_started(self, out: StepEffects) -> None:
        self._patience.begin(out.now_ns)
        self._normal.resume(out)
        if self._current.voting is not None:
            self._normal.take_up_view(out)
        self._views.on_started(out)
