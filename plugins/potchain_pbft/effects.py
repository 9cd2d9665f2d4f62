"""The effects of one step while they are gathered; `step` freezes them at its end."""

from __future__ import annotations

from potchain import (
    Ask,
    CancelTimer,
    ConsensusMessage,
    Decision,
    Discard,
    Effects,
    Misbehaviour,
    NodeId,
    Note,
    Record,
    Send,
    SetTimer,
)

NOTHING = Effects()
"""Of most steps: a vote among many."""


class StepEffects:
    """One list for each field of `Effects`."""

    __slots__ = ("ask", "decide", "now_ns", "persist", "report", "send", "timers", "truncate")

    def __init__(self, now_ns: int) -> None:
        self.now_ns = now_ns
        """Monotonic time of this step."""
        self.persist: list[Record] = []
        self.send: list[Send] = []
        self.timers: list[SetTimer | CancelTimer] = []
        self.ask: list[Ask] = []
        self.decide: list[Decision] = []
        self.truncate: int | None = None
        self.report: list[Discard | Misbehaviour | Note] = []

    def effects(self) -> Effects:
        """What `step` answers."""
        if not (self.send or self.persist or self.timers or self.ask or self.decide or self.report):
            return NOTHING if self.truncate is None else Effects(truncate=self.truncate)
        return Effects(
            persist=tuple(self.persist),
            send=tuple(self.send),
            timers=tuple(self.timers),
            ask=tuple(self.ask),
            decide=tuple(self.decide),
            truncate=self.truncate,
            report=tuple(self.report),
        )

    def discard(self, message: ConsensusMessage, reason: str, *, blame: bool = False) -> None:
        """Report a message that was of no use."""
        self.report.append(Discard(NodeId(message.sender), message.kind, reason, blame))

    def note(self, text: str) -> None:
        """Report something that an operator wants to know."""
        self.report.append(Note(text))
