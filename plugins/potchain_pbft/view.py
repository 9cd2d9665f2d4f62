"""Which view a replica is in, and what that view must decide.

    active       votes in `view`; for a view above 0 its new view was verified
    changing     has sent its view change for `view` and signs nothing but view changes until a new view begins
    following    knows that `view` has begun (a quorum decided in it) and has not seen its new view yet
"""

from __future__ import annotations

from potchain import Digest, Epoch, NodeId
from potchain_pbft.view_messages import EnteredView, NewViewPlan

ACTIVE = "normal"
CHANGING = "view change"
FOLLOWING = "following"


class CurrentView:
    """The view of one replica; it never goes down."""

    def __init__(self, epoch: Epoch) -> None:
        self._epoch = epoch
        self.view = 0
        self.mode = ACTIVE
        self.plan = NewViewPlan(epoch.first_sequence - 1, epoch.first_sequence - 1, {}, {})
        """Of the view that was entered last; nothing is chosen in view 0."""
        self.entered: EnteredView | None = None
        """Proof of the view that was entered last; view 0 needs none."""
        self.since_ns = 0
        """When the view began here, or when the change to it did."""

    @property
    def voting(self) -> int | None:
        """The view in which this replica votes; None while it changes or follows."""
        return self.view if self.mode == ACTIVE else None

    @property
    def primary(self) -> NodeId:
        """Primary of the current view."""
        return self._epoch.primary(self.view)

    @property
    def entered_view(self) -> int:
        """The view that was entered last."""
        return 0 if self.entered is None else self.entered.new_view.view

    def chosen(self, sequence: int) -> Digest | None:
        """The digest that the view entered last must decide at a sequence; None: whatever its primary proposes."""
        return self.plan.chosen.get(sequence)

    def change(self, view: int, now_ns: int) -> None:
        """Leave for a higher view."""
        assert view > self.view, f"view {view} is not above {self.view}"
        self.view, self.mode, self.since_ns = view, CHANGING, now_ns

    def follow(self, view: int, now_ns: int) -> None:
        """A higher view has begun elsewhere."""
        assert view > self.view, f"view {view} is not above {self.view}"
        self.view, self.mode, self.since_ns = view, FOLLOWING, now_ns

    def enter(self, entered: EnteredView, plan: NewViewPlan, now_ns: int) -> None:
        """Begin a view whose new view was verified."""
        view = entered.new_view.view
        assert view > self.entered_view, f"view {view} was entered"
        assert view >= self.view, f"view {view} is below {self.view}"
        self.view, self.mode, self.entered, self.plan, self.since_ns = view, ACTIVE, entered, plan, now_ns
