"""The link model between the host's frames and the send queues; none of it exists while conditions are off.

    send -> Outgoing -> the peer's send queue -> TLS -> wire -> frames -> Incoming (see `downlink`) -> the host

`Outgoing` asks `potchain.links` when each frame leaves and arrives, and puts it into its peer's send queue at its
arrival: the real network below adds what it takes. From `send` on the frame has its room in that queue, so waiting,
flying and queued frames share one bound.

Time. Frames go by the moments that the model computes, never by those at which a timer rings, so a late timer delays
one delivery and nothing adds up. Timers do ring late: the system waits in whole milliseconds, rounded up, on asyncio
and on uvloop, and then wakes us. What is due within the time by which they have been late of late is therefore done
now: a frame is a little early or late then, and neither on average.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Protocol

import msgspec

from potchain import FRAME_OVERHEAD_BYTES, OFF, Channel, LinkProfile, Outbound, Peer

NS_PER_S = 1_000_000_000
VOTES = Channel.VOTES
"""Looked up once: an attribute of an enumeration is slow for what happens with every frame."""
TIMER_STEP_NS = 1_000_000
"""Resolution of the event loop's timers."""
EARLY_MAX_NS = 2 * TIMER_STEP_NS
"""Bound on how long before its time something is done: timers are made up for, a loop without time is not."""
LATENESS_SHARE = 16
"""The mean lateness of timers moves by this part of each new one."""

Clock = Callable[[], int]
"""Monotonic nanoseconds. Not the loop's own time: uvloop's stands still within a tick and has whole milliseconds."""


class Line(Protocol):
    """What a peer is to the link model."""

    peer: Peer

    def reserve(self, channel: Channel, frame: bytes) -> bool:
        """Keep room in the send queue; False when the frame was dropped and counted."""
        ...

    def arrived(self, channel: Channel, frame: bytes) -> None:
        """Queue a frame that has its room."""
        ...

    def release(self, channel: Channel, frame: bytes) -> None:
        """Give the room back: the frame is lost."""
        ...

    def pause_reading(self) -> None:
        """Take no more from the peer for now."""
        ...

    def resume_reading(self) -> None:
        """Take from the peer again."""
        ...


class Alarm:
    """One timer: of all moments it was set to, it rings at about the first."""

    def __init__(self, loop: asyncio.AbstractEventLoop, now_ns: Clock, ring: Callable[[], None]) -> None:
        self._loop = loop
        self._now_ns = now_ns
        self._callback = ring
        self._timer: asyncio.TimerHandle | None = None
        self._due_ns = 0
        self._asked_ns = 0
        self.early_ns = TIMER_STEP_NS // 2
        """How long before its time something is done: by how much timers have been late on average."""

    def set(self, due_ns: int) -> None:
        """Ring then, unless it rings before that anyway."""
        if self._timer is not None:
            if self._due_ns <= due_ns:
                return
            self._timer.cancel()
        self._due_ns = due_ns
        self._asked_ns = due_ns - self.early_ns
        # Whole steps, rounded up by us: uvloop rounds to the nearest one, and zero would be busy waiting.
        steps = max(1, -(-(self._asked_ns - self._now_ns()) // TIMER_STEP_NS))
        self._timer = self._loop.call_later(steps * TIMER_STEP_NS / NS_PER_S, self._ring)

    def _ring(self) -> None:
        self._timer = None
        late_ns = min(EARLY_MAX_NS, max(0, self._now_ns() - self._asked_ns))
        self.early_ns += (late_ns - self.early_ns) // LATENESS_SHARE
        self._callback()

    def cancel(self) -> None:
        """Do not ring."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _Frame(msgspec.Struct, eq=False):
    line: Line
    channel: Channel
    data: bytes


class Outgoing:
    """Frames of the host on their way to the send queues."""

    def __init__(
        self,
        profile: LinkProfile,
        me: str,
        loop: asyncio.AbstractEventLoop,
        flush: Callable[[], None],
        now_ns: Clock = time.monotonic_ns,
    ) -> None:
        """`me`: this node's name in the rules; `flush` writes out what has arrived."""
        self._flush = flush
        self._now_ns = now_ns
        self._alarm = Alarm(loop, now_ns, self._ring)
        self._model = Outbound(profile, me, now_ns())
        self._flying: list[tuple[int, int, _Frame]] = []
        """Heap of (arrival, number of the departure, frame): frames that arrive together keep their order."""
        self._departures = 0
        self._loop = loop
        self._looking = False
        """In this tick the model is asked what has left since; a message to all is offered frame by frame before."""
        self._stopped = False
        self.frames_lost = 0
        """Frames that the model lost on their way."""

    def send(self, line: Line, channel: Channel, frame: bytes) -> bool:
        """Offer a frame; False when it was dropped because the peer is away or its queue is full."""
        if not line.reserve(channel, frame):
            return False
        now_ns = self._now_ns()
        urgent = channel is VOTES
        size_bytes = len(frame) + FRAME_OVERHEAD_BYTES
        if self._model.offer(line.peer.name, _Frame(line, channel, frame), size_bytes, urgent=urgent, now_ns=now_ns):
            if not self._looking:
                self._looking = True
                self._loop.call_soon(self._look)
        else:
            self._advance(now_ns)
        return True

    def forget(self, line: Line) -> int:
        """The session with a peer is over: frames to it are lost; how many."""
        now_ns = self._now_ns()
        self._depart(now_ns)
        waiting = self._model.forget(line.peer.name, now_ns)
        kept = [entry for entry in self._flying if entry[2].line is not line]
        lost = waiting + len(self._flying) - len(kept)
        heapify(kept)
        self._flying = kept
        return lost

    def change(self, profile: LinkProfile) -> None:
        """Go on under other conditions, with what waits too. What has left keeps its arrival and its place in line."""
        now_ns = self._now_ns()
        self._model.change(profile, now_ns)
        self._advance(now_ns)

    def end(self) -> None:
        """Conditions are off: hand everything over at once, in order."""
        self._alarm.cancel()
        self._stopped = True
        now_ns = self._now_ns()
        self._model.change(OFF, now_ns)
        self._depart(now_ns)
        self._arrive(None)

    def stop(self) -> None:
        """The transport closes: nothing more happens."""
        self._stopped = True
        self._alarm.cancel()

    def _look(self) -> None:
        self._looking = False
        if not self._stopped and self._advance(self._now_ns()):
            self._flush()

    def _ring(self) -> None:
        self._advance(self._now_ns())
        self._flush()

    def _advance(self, now_ns: int) -> bool:
        """Do what is due, and set the alarm to what is due next; whether anything has arrived."""
        model, early_ns = self._model, now_ns + self._alarm.early_ns
        self._depart(now_ns)
        # Not simply until `early_ns`: the model does not go back, and what is offered next would leave too late.
        while (leaves_ns := model.next_ns(now_ns)) is not None and leaves_ns <= early_ns:
            self._depart(leaves_ns)
        arrived = self._arrive(early_ns)
        if leaves_ns is not None:
            self._alarm.set(leaves_ns)
        if self._flying:
            self._alarm.set(self._flying[0][0])
        return arrived

    def _depart(self, until_ns: int) -> None:
        for departure in self._model.collect(until_ns):
            frame = departure.item
            assert isinstance(frame, _Frame)
            if not departure.arrives_ns:
                self.frames_lost += 1
                frame.line.release(frame.channel, frame.data)
            first = True
            for arrives_ns in departure.arrives_ns:
                # A duplicate needs room of its own.
                if first or frame.line.reserve(frame.channel, frame.data):
                    self._departures += 1
                    heappush(self._flying, (arrives_ns, self._departures, frame))
                first = False

    def _arrive(self, until_ns: int | None) -> bool:
        """None: whenever they should. Whether anything has arrived."""
        flying, arrived = self._flying, False
        while flying and (until_ns is None or flying[0][0] <= until_ns):
            _, _, frame = heappop(flying)
            frame.line.arrived(frame.channel, frame.data)
            arrived = True
        return arrived
