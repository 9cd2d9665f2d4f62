"""The shared downlink of the link model: frames that have come, but are not through yet.

One line for all peers, first come, first served, whatever the channel. Of a peer of which more than a bound is held
nothing more is read, so that its connection pushes back. It exists only where conditions limit downlinks.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from potchain import FRAME_OVERHEAD_BYTES, Channel, Inbound, LinkProfile, NodeId
from potchain_tcp.shaping import Alarm, Clock, Line

Received = Callable[[NodeId, Channel, Sequence[bytes]], None]


class _Held(msgspec.Struct, eq=False):
    line: Line
    channel: Channel
    frame: bytes
    due_ns: int


class Incoming:
    """See the module's text."""

    def __init__(
        self,
        profile: LinkProfile,
        me: str,
        loop: asyncio.AbstractEventLoop,
        received: Received,
        bytes_max: int,
        now_ns: Clock = time.monotonic_ns,
    ) -> None:
        """`bytes_max`: reading from a peer stops when more of its bytes are held, and goes on at half of that."""
        self._me = me
        self._received = received
        self._bytes_max = bytes_max
        self._now_ns = now_ns
        self._alarm = Alarm(loop, now_ns, self._pass_on)
        self._held: deque[_Held] = deque()
        self._held_bytes: dict[Line, int] = {}
        self._paused: dict[Line, None] = {}
        self._apply(profile)

    def received(self, line: Line, channel: Channel, frames: Sequence[bytes]) -> None:
        """Frames have come from a peer."""
        now_ns = self._now_ns()
        for frame in frames:
            self._hold(line, channel, frame, now_ns)
        self._pass_on()
        if self._held_bytes.get(line, 0) > self._bytes_max and line not in self._paused:
            self._paused[line] = None
            line.pause_reading()

    def forget(self, line: Line) -> None:
        """The session with a peer is over: what is not through is lost."""
        self._held = deque(held for held in self._held if held.line is not line)
        self._held_bytes.pop(line, None)
        self._paused.pop(line, None)

    def change(self, profile: LinkProfile) -> None:
        """What is held goes through under other conditions, as if it had come now."""
        self._apply(profile)
        now_ns = self._now_ns()
        held, self._held = self._held, deque()
        self._held_bytes.clear()
        for entry in held:
            self._hold(entry.line, entry.channel, entry.frame, now_ns)
        self._pass_on()

    def end(self) -> None:
        """The downlink has no limit any more: pass on everything at once, in order."""
        self._alarm.cancel()
        self._pass_until(None)

    def stop(self) -> None:
        """The transport closes: nothing more is passed on."""
        self._alarm.cancel()
        self._held.clear()

    def _apply(self, profile: LinkProfile) -> None:
        self._profile = profile
        self._began_ns = self._now_ns()
        self._model = Inbound(profile, self._began_ns)
        self._last_due_ns = 0

    def _hold(self, line: Line, channel: Channel, frame: bytes, now_ns: int) -> None:
        size_bytes = len(frame) + FRAME_OVERHEAD_BYTES
        phase = self._profile.phase_at(now_ns - self._began_ns)
        sending_ns = self._profile.sending_ns(phase, line.peer.name, self._me, size_bytes)
        due_ns = self._model.through_ns(size_bytes, sending_ns, now_ns)
        self._last_due_ns = max(due_ns, self._last_due_ns)
        self._held.append(_Held(line, channel, frame, self._last_due_ns))
        self._held_bytes[line] = self._held_bytes.get(line, 0) + size_bytes

    def _pass_on(self) -> None:
        self._pass_until(self._now_ns() + self._alarm.early_ns)
        if self._held:
            self._alarm.set(self._held[0].due_ns)

    def _pass_until(self, until_ns: int | None) -> None:
        """Pass on what is due, frames of one peer and channel that follow each other together; None: everything."""
        while self._held and (until_ns is None or self._held[0].due_ns <= until_ns):
            first = self._held.popleft()
            frames = [first.frame]
            while self._held and (until_ns is None or self._held[0].due_ns <= until_ns):
                following = self._held[0]
                if following.line is not first.line or following.channel is not first.channel:
                    break
                frames.append(self._held.popleft().frame)
            self._let_go(first.line, sum(map(len, frames)) + len(frames) * FRAME_OVERHEAD_BYTES)
            # Last, because the host may do anything in there.
            self._received(first.line.peer.node_id, first.channel, frames)

    def _let_go(self, line: Line, size_bytes: int) -> None:
        left_bytes = self._held_bytes[line] = self._held_bytes[line] - size_bytes
        if line in self._paused and left_bytes <= self._bytes_max // 2:
            del self._paused[line]
            line.resume_reading()
        if not left_bytes:
            del self._held_bytes[line]
