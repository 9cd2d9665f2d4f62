"""The view change (OSDI'99 section 4.4): how replicas leave a primary that does not serve them.

    1  a replica that has waited too long moves to view v + 1: it multicasts its view change, and signs nothing in v
    2  one that sees view changes of a weak quorum for higher views joins the highest that so many have reached
    3  with a quorum of view changes for v the timer for its new view runs; the primary of v multicasts the new view
    4  a replica that has the new view and every view change it names computes what they decide, makes the proof
       durable, and begins the view; the primary proposes what was chosen, then goes on
    5  when the timer runs out first, the replica moves on to v + 1, and its next timeout is twice as long

Rules of this file. Of each member one view change is kept, of the highest view; beside those, the ones that a pending
new view names. A view never goes down. Nothing is voted on here: entering a view is all that comes out. What is missing
is asked for, of the primary first, then of the others in turn.
"""

from __future__ import annotations

from collections.abc import Callable

from potchain import (
    BlockCertificate,
    CodecError,
    ConsensusMessage,
    Epoch,
    FetchMessages,
    MessageName,
    Misbehaviour,
    NodeId,
    Quorum,
    Record,
    Send,
    SetTimer,
    encode,
)
from potchain_pbft.effects import StepEffects
from potchain_pbft.log import MessageLog
from potchain_pbft.patience import NEW_VIEW_TIMER, Patience
from potchain_pbft.view import ACTIVE, CHANGING, CurrentView
from potchain_pbft.view_messages import (
    ENTERED,
    NEW_VIEW,
    VIEW_CHANGE,
    EnteredView,
    body_digest,
    choose,
    make_new_view,
    make_view_change,
    read_new_view,
    read_view_change,
)

ASK_TIMER = "ask-view"
"""Runs while a new view, or a view change that it names, is missing."""


class ViewChanging:
    """View changes and new views of one replica, in one epoch."""

    def __init__(
        self,
        me: NodeId | None,
        epoch: Epoch,
        genesis_hash: bytes,
        current: CurrentView,
        log: MessageLog,
        patience: Patience,
        ask_retry_ns: int,
        entered: Callable[[StepEffects], None],
    ) -> None:
        """`entered(out)` is told when a view has begun, in the same step."""
        self._me = me
        self._epoch = epoch
        self._genesis_hash = genesis_hash
        self._quorum = Quorum(len(epoch.members))
        self._current = current
        self._log = log
        self._patience = patience
        self._ask_retry_ns = ask_retry_ns
        self._entered = entered
        self.stable_certificate: BlockCertificate | None = None
        """Of the low water mark; None where the epoch begins."""
        self.latest: dict[bytes, ConsensusMessage] = {}
        """By member, the view change of the highest view."""
        self._offers: dict[bytes, ConsensusMessage] = {}
        """By member, the newest new view that it made as primary, of a view that may still begin here."""
        self.pending: ConsensusMessage | None = None
        """The one of them whose view changes are being collected: of the lowest view."""
        self._named: dict[bytes, bytes] = {}
        """Sender to digest: the view changes that the pending new view names."""
        self._collected: dict[bytes, ConsensusMessage] = {}
        """Those of them that are held."""
        self._seen: dict[bytes, int] = {}
        """By member, the highest view in which it was seen to vote."""
        self._accused: dict[tuple[str, bytes], int] = {}
        """By kind and member, the highest view for which it was reported."""
        self._announced = False
        """The new view of the current view was sent."""
        self._timed = False
        """The timer for the new view of the current view was started."""
        self._ask_turn = 0
        self._asking = False

    def sizes(self) -> dict[str, int]:
        """Sizes of the buffers; each holds at most one entry for each member."""
        return {
            "view_changes": len(self.latest),
            "view_changes_of_new_view": len(self._collected),
            "new_views": len(self._offers),
            "views_seen": len(self._seen),
        }

    # --- leaving a view ---------------------------------------------------------------------------------------------

    def accuse(self, reason: str, out: StepEffects) -> None:
        """The primary of the current view has failed this replica."""
        if self._me is not None:
            primary = self._epoch.name_of(self._current.primary)
            out.note(f"view {self._current.view}: {reason}; leaving primary {primary}")
            self._change(self._current.view + 1, out)

    def new_view_overdue(self, out: StepEffects) -> None:
        """The new view has not come in time."""
        if self._current.mode == CHANGING:
            self.accuse("no new view in time", out)

    def _change(self, view: int, out: StepEffects) -> None:
        # OSDI'99 section 4.4: <VIEW-CHANGE, v + 1, n, C, P, i>; afterwards nothing is accepted or sent in view v.
        self._current.change(view, out.now_ns)
        self._announced = self._timed = False
        self._patience.change(out)
        body = make_view_change(self._log.low, self.stable_certificate, self._log.prepared_certificates(view))
        out.send.append(Send(kind=VIEW_CHANGE, view=view, sequence=0, digest=body_digest(body), body=body))
        self._look_at_offers(out)
        self._ask_later(out)

    # --- messages ---------------------------------------------------------------------------------------------------

    def on_view_change(self, message: ConsensusMessage, out: StepEffects) -> None:
        """A view change whose signatures, its own and those in it, are good."""
        try:
            read_view_change(message, self._epoch)
        except CodecError as fault:
            out.discard(message, str(fault), blame=True)
            return
        if self._is_missing(message):
            self._collected[message.sender] = message
            self._try_enter(out)
        earlier = self.latest.get(message.sender)
        if earlier is not None and earlier.view == message.view and earlier.digest != message.digest:
            self._report_second(earlier, message, out)
            return
        if earlier is not None and earlier.view >= message.view:
            out.discard(message, f"a view change for view {earlier.view} is held")
            return
        self.latest[message.sender] = message
        self._join(out)
        self._look_for_quorum(out)
        self._look_ahead(out)

    def on_new_view(self, message: ConsensusMessage, out: StepEffects) -> None:
        """A new view by the primary of its view."""
        try:
            read_new_view(message, self._epoch)
        except CodecError as fault:
            out.discard(message, str(fault), blame=True)
            return
        if message.view < self._lowest_to_begin:
            out.discard(message, f"view {message.view} is over, or has begun")
            return
        held = self._offers.get(message.sender)
        if held is not None and held.view == message.view and held.digest != message.digest:
            self._report_second(held, message, out)
            return
        if held is not None and held.view >= message.view:
            out.discard(message, f"its new view of view {held.view} is held")
            return
        self._offers[message.sender] = message
        self._look_at_offers(out)

    def _report_second(self, first: ConsensusMessage, second: ConsensusMessage, out: StepEffects) -> None:
        """Two of one kind and view by one sender are evidence, which is given once."""
        if self._accused.get((second.kind, second.sender), 0) < second.view:
            self._accused[second.kind, second.sender] = second.view
            out.report.append(Misbehaviour(first, second))
        else:
            out.discard(second, "one more for a view that it was reported for", blame=True)

    def seen(self, sender: bytes, view: int, out: StepEffects) -> None:
        """A member votes in a view above ours: when a weak quorum does, that view has begun somewhere."""
        if view > self._seen.get(sender, 0):
            self._seen[sender] = view
            self._look_ahead(out)

    def follow(self, view: int, out: StepEffects) -> None:
        """A quorum has decided something in this view: it has begun, and lower ones are over."""
        if view > self._current.view:
            self._current.follow(view, out.now_ns)
            self._announced = self._timed = False
            self._patience.stop(out)
            self._look_at_offers(out)
            self._ask(out)

    # --- a new view -------------------------------------------------------------------------------------------------

    def _join(self, out: StepEffects) -> None:
        # OSDI'99 section 4.5.2: view changes of f + 1 others for greater views are joined, even if no timer ran out.
        # Of several views it is the highest that so many have reached: a Byzantine member alone moves nobody.
        higher = sorted((each.view for each in self.latest.values() if each.view > self._current.view), reverse=True)
        if len(higher) >= self._quorum.weak_quorum and self._me is not None:
            view = higher[self._quorum.weak_quorum - 1]
            out.note(f"view {self._current.view}: joining the change to view {view}")
            self._change(view, out)

    def _look_for_quorum(self, out: StepEffects) -> None:
        """With a quorum for the view this replica changes to: wait for its new view, or make it."""
        current = self._current
        if current.mode != CHANGING:
            return
        # OSDI'99 section 4.5.2: the timer starts when 2f + 1 replicas agree on the view, so that they wait together.
        # Deviation: who has moved on further counts too. Only the newest view change of each is kept and sent again, so
        # the others could else wait for ever, a quorum in all and for no view enough of them.
        reached = [held for held in self.latest.values() if held.view >= current.view]
        if len(reached) >= self._quorum.quorum and not self._timed:
            self._timed = True
            out.timers.append(SetTimer(NEW_VIEW_TIMER, self._patience.timeout_ns))
        agreeing = [held for held in reached if held.view == current.view]
        if len(agreeing) >= self._quorum.quorum and current.primary == self._me and not self._announced:
            self._announced = True
            body = make_new_view(agreeing)
            digest = body_digest(body)
            out.send.append(Send(kind=NEW_VIEW, view=current.view, sequence=0, digest=digest, body=body))

    def _look_at_offers(self, out: StepEffects) -> None:
        """Collect the view changes of the lowest new view that may begin here, and begin it when all are held."""
        # The lowest: a faulty primary can name view changes that do not exist, in views as high as it likes. Those stay
        # behind the views that correct replicas have reached; one that is not is given up with its view.
        self._offers = {sender: offer for sender, offer in self._offers.items() if offer.view >= self._lowest_to_begin}
        lowest = min(self._offers.values(), key=lambda offer: offer.view, default=None)
        if lowest is self.pending:
            return
        self.pending = lowest
        self._named = {}
        if lowest is not None:
            self._named = {name.sender: name.digest for name in read_new_view(lowest, self._epoch).view_changes}
        self._collected = {
            sender: held
            for sender, held in self.latest.items()
            if lowest is not None and held.view == lowest.view and self._named.get(sender) == held.digest
        }
        self._try_enter(out)
        if self.pending is not None:
            self._ask(out)

    def _try_enter(self, out: StepEffects) -> None:
        """Begin the view of the pending new view, if every view change that it names is held."""
        pending = self.pending
        if pending is None or len(self._collected) < len(self._named):
            return
        del self._offers[pending.sender]
        self.pending = None
        proof = EnteredView(pending, tuple(self._collected[sender] for sender in sorted(self._collected)))
        self._enter(proof, out)

    def _enter(self, proof: EnteredView, out: StepEffects) -> None:
        view = proof.new_view.view
        bodies = [read_view_change(each, self._epoch) for each in proof.view_changes]
        plan = choose(bodies, self._genesis_hash, self._epoch)
        # The proof is durable before any vote in the view: a restart goes on in it, and never below.
        out.persist.append(Record(ENTERED, view, 0, encode(proof)))
        self._current.enter(proof, plan, out.now_ns)
        self._patience.stop(out)
        self._patience.begin(out.now_ns)
        self._log.forget_views_below(view)
        out.note(
            f"view {view} begins with primary {self._epoch.name_of(self._current.primary)}; "
            f"base {plan.base}, {len(plan.chosen)} sequences chosen"
        )
        self._entered(out)

    # --- asking and answering ---------------------------------------------------------------------------------------

    def ask_again(self, out: StepEffects) -> None:
        """The ask timer fired."""
        self._asking = False
        self._ask(out)

    def remembered(self) -> tuple[ConsensusMessage, ...]:
        """What the proof of the view entered last consists of."""
        entered = self._current.entered
        return () if entered is None else (*entered.view_changes, entered.new_view)

    def find(self, kind: str, view: int, name: MessageName) -> ConsensusMessage | None:
        """A view change by its name, or the new view of the view asked for or of a higher one."""
        entered = self._current.entered
        if kind == NEW_VIEW:
            return entered.new_view if entered is not None and entered.new_view.view >= view else None
        if kind != VIEW_CHANGE:
            return None
        held = [*self.latest.values(), *self._collected.values(), *(() if entered is None else entered.view_changes)]
        for message in held:
            if message.view == view and message.sender == name.sender and name.digest in (b"", message.digest):
                return message
        return None

    def _is_missing(self, message: ConsensusMessage) -> bool:
        pending = self.pending
        return (
            pending is not None
            and message.view == pending.view
            and self._named.get(message.sender) == message.digest
            and message.sender not in self._collected
        )

    @property
    def _reached(self) -> int:
        """The highest view that a weak quorum has reached: it votes there, or changes to it."""
        views = [max(self._seen.get(node, 0), self._changed_to(node)) for node in self._epoch.ids]
        return sorted(views, reverse=True)[self._quorum.weak_quorum - 1]

    def _changed_to(self, node: bytes) -> int:
        held = self.latest.get(node)
        return 0 if held is None else held.view

    @property
    def _lowest_to_begin(self) -> int:
        """No new view below this matters here any more."""
        return max(self._current.view, self._current.entered_view + 1, self._reached)

    def _look_ahead(self, out: StepEffects) -> None:
        """Somebody is further than it was: the view that a weak quorum has reached is the one to ask for."""
        if self._reached > self._current.entered_view:
            self._look_at_offers(out)
            self._ask_later(out)

    def _ask(self, out: StepEffects) -> None:
        """Ask for what is missing now, and again later; nothing when all is well."""
        pending, current = self.pending, self._current
        if pending is not None:
            others = [node for node in self._epoch.ids if node not in (self._me, pending.sender)]
            sources = [NodeId(pending.sender), *others]
            source = sources[self._ask_turn % len(sources)]
            self._ask_turn += 1
            names = tuple(
                MessageName(sender, digest) for sender, digest in self._named.items() if sender not in self._collected
            )
            out.ask.append(FetchMessages(VIEW_CHANGE, pending.view, names, source))
        wanted = max(self._reached, current.view)
        if wanted > current.entered_view or current.mode != ACTIVE:
            name = MessageName(self._epoch.primary(wanted), b"")
            out.ask.append(FetchMessages(NEW_VIEW, wanted, (name,), None))
        elif pending is None:
            return
        self._ask_later(out)

    def _ask_later(self, out: StepEffects) -> None:
        if not self._asking:
            self._asking = True
            out.timers.append(SetTimer(ASK_TIMER, self._ask_retry_ns))

    # --- start ------------------------------------------------------------------------------------------------------

    def restore_entered(self, proof: EnteredView) -> None:
        """At start: the view that this replica was in."""
        bodies = [read_view_change(each, self._epoch) for each in proof.view_changes]
        self._current.enter(proof, choose(bodies, self._genesis_hash, self._epoch), 0)

    def restore_own(self, message: ConsensusMessage) -> None:
        """At start: an own view change or new view, durable from before."""
        if message.view <= self._current.entered_view:
            return
        if message.kind == VIEW_CHANGE:
            self.latest[message.sender] = message
            if message.view > self._current.view:
                self._current.change(message.view, 0)
                self._announced = False
                self._patience.changes += 1
        else:
            self._offers[message.sender] = message
            self._announced = True

    def on_started(self, out: StepEffects) -> None:
        """Go on where the durable records end."""
        self._current.since_ns = out.now_ns
        self._look_at_offers(out)
        if self._current.mode != ACTIVE:
            self._ask(out)


