"""The message log of one replica (OSDI'99 section 4.2): slots between the water marks, and the votes in them.

A slot is one (view, sequence). Votes enter it in any order: a prepare or commit that is early waits there for its
pre-prepare. The log decides nothing; it answers in constant time who voted first for what, and how many for a digest.
Bounds: slots exist only for sequences in (low, high] and a few views, which the engine checks before it asks for one;
a slot holds one message of each kind of each member. Of views below the current one a slot is kept
only for the newest prepared certificate of a sequence, and for late commits of the last view. So the log holds at most
log_window x (VIEWS_AHEAD_MAX + 3) x (2n + 1) messages.
"""

from __future__ import annotations

from potchain import ConsensusMessage, Digest, Proposal, proposal_digest
from potchain_pbft.messages import PreparedCertificate

VIEWS_AHEAD_MAX = 2
"""Votes of this many views above the current one are kept, for a replica that learns of a new view late."""
CHECKS_MAX = 8
"""How often one slot's proposal is checked again after a refusal that may pass, such as a body on its way."""


class Votes:
    """Signed votes of one kind in one slot: the first of each sender, counted by digest."""

    __slots__ = ("_counts", "by_sender")

    def __init__(self) -> None:
        self.by_sender: dict[bytes, ConsensusMessage] = {}
        self._counts: dict[bytes, int] = {}

    def add(self, message: ConsensusMessage) -> ConsensusMessage | None:
        """Keep a sender's first vote and give None; when it has voted before, give that vote and change nothing."""
        earlier = self.by_sender.get(message.sender)
        if earlier is None:
            self.by_sender[message.sender] = message
            self._counts[message.digest] = self._counts.get(message.digest, 0) + 1
        return earlier

    def count(self, digest: bytes) -> int:
        """How many members voted for a digest."""
        return self._counts.get(digest, 0)

    def matching(self, digest: bytes, needed: int) -> list[ConsensusMessage]:
        """The first `needed` votes for a digest in order of sender: the same whatever order they came in."""
        votes = [vote for vote in self.by_sender.values() if vote.digest == digest]
        return sorted(votes, key=lambda vote: vote.sender)[:needed]


class Slot:
    """Everything known of one (view, sequence)."""

    __slots__ = (
        "accepted", "accused", "checking", "checks", "commits", "committed", "digest", "early", "pre_prepare",
        "prepared", "prepares", "proposal", "refusal", "sequence", "view",
    )  # fmt: skip

    def __init__(self, view: int, sequence: int) -> None:
        self.view = view
        self.sequence = sequence
        self.digest: Digest | None = None
        """The first digest that the primary gave this slot; never replaced."""
        self.proposal: Proposal | None = None
        self.pre_prepare: ConsensusMessage | None = None
        """The primary's signed pre-prepare; at the primary itself only once it is durable."""
        self.early: ConsensusMessage | None = None
        """A pre-prepare of a view that has not begun here; the first one."""
        self.checking = False
        """The host was asked whether the proposal is acceptable and has not answered."""
        self.checks = 0
        self.refusal: str | None = None
        """Why the host refused it the last time."""
        self.accepted = False
        """The accepted record is written: this node votes for `digest` here and for nothing else."""
        self.prepares = Votes()
        self.prepared: PreparedCertificate | None = None
        self.commits = Votes()
        self.committed: Digest | None = None
        """The digest that has a quorum of commits in this view."""
        self.accused: set[tuple[str, bytes]] = set()
        """(kind, sender) whose two digests were reported: evidence is given once."""

    def propose(self, digest: Digest, proposal: Proposal) -> None:
        """Take the primary's first digest."""
        assert self.digest is None or self.digest == digest, "a slot's first digest is never replaced"
        self.digest = digest
        self.proposal = proposal


class MessageLog:
    """Slots between the water marks and the proposals held for them."""

    def __init__(self, stable: int, log_window: int) -> None:
        """`stable` is the height of the stable checkpoint, `log_window` the L of the water marks."""
        self.low = stable
        """Low water mark: nothing at or below it matters any more."""
        self.last: int | None = None
        """The last sequence of the epoch, once a change of it is pending."""
        self._log_window = log_window
        self._slots: dict[tuple[int, int], Slot] = {}
        self.held: dict[bytes, Proposal] = {}
        """By digest: proposals that the host found acceptable and whose bodies it has pinned."""

    @property
    def high(self) -> int:
        """High water mark: nothing above it is accepted (OSDI'99 section 4.3)."""
        high = self.low + self._log_window
        return high if self.last is None else min(high, self.last)

    def find(self, view: int, sequence: int) -> Slot | None:
        """The slot, if anything of it was seen."""
        return self._slots.get((sequence, view))

    def slot(self, view: int, sequence: int) -> Slot:
        """The slot, made when this is the first that is seen of it. The caller has checked the bounds."""
        slot = self._slots.get((sequence, view))
        if slot is None:
            slot = self._slots[(sequence, view)] = Slot(view, sequence)
        return slot

    def in_order(self) -> list[Slot]:
        """All slots by sequence, then view."""
        return [self._slots[place] for place in sorted(self._slots)]

    def of_view(self, view: int) -> list[Slot]:
        """The slots of one view, by sequence."""
        return [slot for slot in self.in_order() if slot.view == view]

    def prepared_certificates(self, below: int) -> list[PreparedCertificate]:
        """For each sequence that is prepared here in a view below this one, the certificate of the highest view."""
        best: dict[int, PreparedCertificate] = {}
        for slot in self.in_order():
            if slot.prepared is not None and slot.view < below:
                best[slot.sequence] = slot.prepared
        return [best[sequence] for sequence in sorted(best)]

    def forget_views_below(self, view: int) -> None:
        """Of lower views keep the newest prepared certificate of each sequence, and the slots of the last view."""
        kept = {(entry.sequence, entry.view) for entry in self.prepared_certificates(view)}
        self._slots = {
            place: slot for place, slot in self._slots.items() if place[1] >= view - 1 or place in kept
        }

    def hold(self, proposal: Proposal) -> Digest:
        """Remember a proposal whose bodies are pinned; gives its digest."""
        digest = proposal_digest(proposal.header)
        self.held[digest] = proposal
        return digest

    def hold_decided(self, digest: Digest, proposal: Proposal) -> None:
        """Remember a decided proposal. Catch-up decides above the high mark too: one window more is remembered."""
        if proposal.header.sequence <= self.low + 2 * self._log_window:
            self.held[digest] = proposal

    def truncate(self, stable: int) -> None:
        """Discard everything at or below a stable checkpoint and move both water marks (OSDI'99 section 4.3)."""
        self.low = stable
        self._slots = {place: slot for place, slot in self._slots.items() if place[0] > stable}
        self.held = {digest: held for digest, held in self.held.items() if held.header.sequence > stable}
