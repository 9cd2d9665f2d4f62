"""What every frame was for: messages, bytes and times by phase, and bytes by sender."""

from __future__ import annotations

import msgspec

from potchain.blocks import BLOCK_VOTE
from potchain.consensus.interface import ConsensusMessage
from potchain.experiment.result import PhaseTraffic
from potchain.primitives import NS_PER_S
from potchain.replica import wire
from potchain.transport import FRAME_OVERHEAD_BYTES

PHASES = ("submit", "bodies", "pre-prepare", "prepare", "commit", BLOCK_VOTE, "view", "other")
BODIES = (
    wire.Gossip, wire.BodiesAnswer, wire.BlocksAnswer, wire.FetchBodies, wire.BundleShare, wire.Relay
)  # fmt: skip


HEAD_BYTES = 10
"""Of a frame: its type, and of a consensus message epoch, length and beginning of its kind."""


class _Sum(msgspec.Struct):
    messages: int = 0
    bytes: int = 0
    first_sent_ns: int | None = None
    last_arrived_ns: int = 0


class Traffic:
    """Counts from the moment it is begun."""

    def __init__(self, client: str) -> None:
        self._client = client
        self._began_ns: int | None = None
        self._sums = {phase: _Sum() for phase in PHASES}
        self._by_sender: dict[str, int] = {}
        self._frame = b""
        """The last one..."""
        self._phase = "other"
        """...and its phase."""
        self._by_head: dict[bytes, str] = {}

    def begin(self, now_ns: int) -> None:
        """The client's first byte: counts begin anew."""
        self._began_ns = now_ns
        self._sums = {phase: _Sum() for phase in PHASES}
        self._by_sender = {}

    def sent(self, sender: str, frame: bytes, now_ns: int) -> None:
        """A frame was handed to the links."""
        if self._began_ns is None:
            return
        total = self._sum(sender, frame)
        size = len(frame) + FRAME_OVERHEAD_BYTES
        total.messages += 1
        total.bytes += size
        if total.first_sent_ns is None:
            total.first_sent_ns = now_ns
        self._by_sender[sender] = self._by_sender.get(sender, 0) + size

    def arrived(self, sender: str, frame: bytes, now_ns: int) -> None:
        """A frame came out of the links."""
        if self._began_ns is not None:
            self._sum(sender, frame).last_arrived_ns = now_ns

    @property
    def frames(self) -> int:
        """All frames."""
        return sum(each.messages for each in self._sums.values())

    @property
    def size_bytes(self) -> int:
        """Of all frames, as the link model counts them."""
        return sum(each.bytes for each in self._sums.values())

    @property
    def most_by_a_node(self) -> int:
        """Bytes that the busiest node sent; the client is none."""
        return max((sent for name, sent in self._by_sender.items() if name != self._client), default=0)

    def phases(self) -> tuple[PhaseTraffic, ...]:
        """Those in which anything was sent."""
        began_ns = self._began_ns or 0
        return tuple(
            PhaseTraffic(
                phase=name,
                messages=each.messages,
                bytes=each.bytes,
                first_sent_s=((each.first_sent_ns or began_ns) - began_ns) / NS_PER_S,
                last_arrived_s=max(0, each.last_arrived_ns - began_ns) / NS_PER_S,
            )
            for name, each in self._sums.items()
            if each.messages
        )

    def _sum(self, sender: str, frame: bytes) -> _Sum:
        # One frame is sent to many, and most frames begin like others of their kind.
        phase = self._phase
        if frame is not self._frame:
            head = frame[:HEAD_BYTES]
            found = self._by_head.get(head)
            phase = self._by_head[head] = _phase_of(frame) if found is None else found
            self._frame, self._phase = frame, phase
        return self._sums["submit" if phase == "bodies" and sender == self._client else phase]


def _phase_of(data: bytes) -> str:
    kind = wire.type_of(data)
    if kind in (ConsensusMessage, wire.Shortened):
        frame = wire.decode_frame(data)
        message = frame.message if isinstance(frame, wire.Shortened) else frame
        assert isinstance(message, ConsensusMessage)
        return message.kind if message.kind in PHASES else "view"
    return _PHASE_BY_TYPE.get(kind, "other")


_PHASE_BY_TYPE: dict[type, str] = {wire.Submit: "submit", **dict.fromkeys(BODIES, "bodies")}
