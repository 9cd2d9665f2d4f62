"""One node's way out: frames wait for bandwidth, leave bit by bit, and arrive after their latency.

Theory of operation. A pipe passes one frame at a time. With bandwidth for each link every receiver has a pipe of its
own; with a shared uplink one pipe serves all, first come, first served. Where a shared uplink and a lower bandwidth of
one link meet, the frame passes at the lower one and holds the uplink so long. Urgent frames (votes) go ahead of bulk:
they interrupt a bulk frame between two of its bits, which goes on afterwards; a real link does so between packets.

The model is advanced to a moment by every call, and computes with the moments at which frames leave, not with those at
which it is asked, so a late timer makes nothing later but that one delivery. A frame is there from its `offer` on and
never before. What passes is exactly bandwidth times time: the part of a nanosecond that a frame leaves over belongs to
the next one that waits. When a phase ends, or `change` brings another profile, what has passed of a frame has passed,
and the rest goes on under the new conditions, in the order of offers where pipes are joined or parted.

Cost: without a limit a frame is handed through at once and no queue exists; with one it costs a heap's push and pop.
Pipes without frames cost nothing but their entry.
"""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush

import msgspec

from potchain.links.conditions import UNSHAPED, Conditions, LinkProfile
from potchain.links.draws import draw, link_seed
from potchain.primitives import NS_PER_S

SHARED = ""
"""Name of the one pipe of a shared uplink; no receiver is called so."""


class Departure(msgspec.Struct, frozen=True):
    """A frame whose last bit has left."""

    receiver: str
    item: object
    """What `offer` was given."""
    size_bytes: int
    left_ns: int
    arrives_ns: tuple[int, ...]
    """When each copy arrives, a duplicate second; empty: lost on the way."""
    sending_ns: int
    """How long its bits took to leave, without the time for which it was interrupted."""


class _Way(msgspec.Struct, eq=False):
    """What is remembered of one directed link."""

    seed: bytes
    rate: int = 0
    """Bits per second in the phase of now; 0: no limit."""
    conditions: Conditions = UNSHAPED
    """In the phase of now."""
    urgent_bytes: int = 0
    """Of urgent frames that have not left."""
    bulk_bytes: int = 0
    """Of all others."""
    frames: int = 0
    """Frames that have left on it: the number of the next one."""
    arrives_ns: int = 0
    """When the newest frame that keeps its order arrives."""


class _Waiting(msgspec.Struct, eq=False):
    number: int
    """Of offers of this node: keeps the order when pipes are joined."""
    receiver: str
    way: _Way
    item: object
    size_bytes: int
    urgent: bool
    left_bits_ns: int
    """Bits still to be sent, times 10^9: divided by the bandwidth it is a time, and nothing is lost to rounding."""
    sending_ns: int = 0


class _Pipe:
    """Passes frames one after another, urgent ones first."""

    __slots__ = ("bulk", "ends_ns", "entry", "now_ns", "number", "urgent")

    def __init__(self, number: int) -> None:
        self.number = number
        self.urgent: deque[_Waiting] = deque()
        self.bulk: deque[_Waiting] = deque()
        self.now_ns = 0
        """What is in front has sent what it had sent then; of meaning while frames wait."""
        self.ends_ns = 0
        """When the frame in front has left, at the rate of now."""
        self.entry = 0
        """The one entry of the heap that counts; 0: none."""

    def front(self) -> _Waiting | None:
        if self.urgent:
            return self.urgent[0]
        return self.bulk[0] if self.bulk else None

    def push(self, waiting: _Waiting) -> None:
        (self.urgent if waiting.urgent else self.bulk).append(waiting)

    def stop(self, now_ns: int, rate: int) -> None:
        """What the frame in front has sent until now is sent; `rate` is that of the time since `self.now_ns`."""
        first = self.front()
        assert first is not None
        first.left_bits_ns -= (now_ns - self.now_ns) * rate
        first.sending_ns += now_ns - self.now_ns
        self.now_ns = now_ns

    def finish(self) -> tuple[_Waiting, int]:
        """The frame in front, which has left; bits times 10^9 that could have passed until the end of that
        nanosecond."""
        first = (self.urgent or self.bulk).popleft()
        took_ns = self.ends_ns - self.now_ns
        first.sending_ns += took_ns
        self.now_ns = self.ends_ns
        self.entry = 0
        return first, took_ns * first.way.rate - first.left_bits_ns


class Outbound:
    """See the module's text. One for each node; all times are nanoseconds of the caller's monotonic clock."""

    def __init__(self, profile: LinkProfile, me: str, began_ns: int) -> None:
        """`began_ns`: when the profile was applied; its phases count from then."""
        self._me = me
        self._profile = profile
        self._began_ns = began_ns
        self._now_ns = began_ns
        self._offers = 0
        self._pipes: dict[str, _Pipe] = {}
        self._due: list[tuple[int, int, int, _Pipe]] = []
        """Heap of (when its front has left, number of the pipe, entry, pipe) of pipes with frames. Of the entries of
        a pipe the one counts that it names."""
        self._entries = 0
        self._ways: dict[str, _Way] = {}
        self._departed: list[Departure] = []
        self._enter_phase(began_ns)

    def waiting_bytes(self, receiver: str, *, urgent: bool) -> int:
        """Of frames to one receiver that have not left: what a transport bounds."""
        way = self._ways.get(receiver)
        if way is None:
            return 0
        return way.urgent_bytes if urgent else way.bulk_bytes

    def offer(self, receiver: str, item: object, size_bytes: int, *, urgent: bool, now_ns: int) -> bool:
        """Put a frame into the queue; whether it waits. Call `collect` afterwards: without a limit it has left."""
        self._advance(now_ns)
        way = self._ways.get(receiver) or self._new_way(receiver)
        number = self._offers
        self._offers = number + 1
        waiting = _Waiting(number, receiver, way, item, size_bytes, urgent, size_bytes * 8 * NS_PER_S)
        if not way.rate:
            self._depart(waiting, self._now_ns)  # it finds no queue: with the phase that had a limit that ended
            return False
        if urgent:
            way.urgent_bytes += size_bytes
        else:
            way.bulk_bytes += size_bytes
        pipe = self._pipe(SHARED if self._up else receiver)
        first = pipe.front()
        if first is None:
            pipe.now_ns = self._now_ns
            pipe.push(waiting)
            self._begin(pipe)
        elif urgent and not first.urgent:
            pipe.stop(self._now_ns, first.way.rate)
            pipe.push(waiting)
            self._begin(pipe)
        else:
            pipe.push(waiting)
        return True

    def collect(self, now_ns: int) -> list[Departure]:
        """Advance to a moment; the frames that have left since the last call, in the order in which they left."""
        self._advance(now_ns)
        departed, self._departed = self._departed, []
        return departed

    def next_ns(self, now_ns: int) -> int | None:
        """When to call `collect` next, or None when nothing waits."""
        if self._departed:
            return now_ns
        due = self._due
        while due and due[0][3].entry != due[0][2]:
            heappop(due)
        if not due:
            return None
        soonest_ns = due[0][0]
        if self._phase_ends_ns is not None and self._phase_ends_ns < soonest_ns:
            soonest_ns = self._phase_ends_ns
        return max(now_ns, soonest_ns)

    def forget(self, receiver: str, now_ns: int | None = None) -> int:
        """The connection to a receiver ended: what waited for it is lost; how many frames that was.

        `now_ns`: when that was; without it, when the model was last asked.
        """
        self._advance(self._now_ns if now_ns is None else now_ns)
        way = self._ways.get(receiver)
        if way is not None:
            way.urgent_bytes = way.bulk_bytes = way.arrives_ns = 0
        pipe = self._pipes.get(SHARED if self._up else receiver)
        first = pipe.front() if pipe is not None else None
        if pipe is None or first is None:
            return 0
        pipe.stop(self._now_ns, first.way.rate)
        lost = 0
        for queue in (pipe.urgent, pipe.bulk):
            kept = [waiting for waiting in queue if waiting.receiver != receiver]
            lost += len(queue) - len(kept)
            queue.clear()
            queue.extend(kept)
        pipe.entry = 0
        if pipe.front() is not None:
            self._begin(pipe)
        return lost

    def change(self, profile: LinkProfile, now_ns: int) -> None:
        """From now on another profile, whose phases count from now; frames that wait go on under it, none is lost.

        Links go on counting their frames. With a profile that is off every frame leaves now.
        """
        self._advance(now_ns)
        self._stop_pipes()
        self._profile = profile
        self._began_ns = self._now_ns
        for receiver, way in self._ways.items():
            way.seed = link_seed(profile.seed, self._me, receiver)
        self._enter_phase(self._now_ns)
        self._go_on()

    # The moments at which frames leave

    def _advance(self, now_ns: int) -> None:
        while self._phase_ends_ns is not None and self._phase_ends_ns <= now_ns:
            # A phase begins with its first nanosecond: a frame that ends just then left in the phase before.
            ends_ns = self._phase_ends_ns
            self._pass(ends_ns)
            self._stop_pipes()
            self._enter_phase(ends_ns)
            self._go_on()
        if now_ns > self._now_ns:
            self._pass(now_ns)

    def _pass(self, until_ns: int) -> None:
        """All that leaves until a moment within the phase of now."""
        due = self._due
        while due and due[0][0] <= until_ns:
            _, _, entry, pipe = heappop(due)
            if pipe.entry != entry:
                continue
            first, over = pipe.finish()
            self._left(first, pipe.ends_ns)
            following = pipe.front()
            if following is not None:
                # What was left of the nanosecond is a span: at another rate it passes other bits.
                following.left_bits_ns -= over * following.way.rate // first.way.rate
                self._begin(pipe)
        if until_ns > self._now_ns:
            self._now_ns = until_ns

    def _begin(self, pipe: _Pipe) -> None:
        """The frame in front goes on from `pipe.now_ns` at the rate of now."""
        first = pipe.front()
        assert first is not None
        ends_ns = pipe.now_ns - (-first.left_bits_ns // first.way.rate)
        pipe.ends_ns = ends_ns if ends_ns > pipe.now_ns else pipe.now_ns
        self._entries += 1
        pipe.entry = self._entries
        heappush(self._due, (pipe.ends_ns, pipe.number, pipe.entry, pipe))

    def _left(self, waiting: _Waiting, left_ns: int) -> None:
        if waiting.urgent:
            waiting.way.urgent_bytes -= waiting.size_bytes
        else:
            waiting.way.bulk_bytes -= waiting.size_bytes
        self._depart(waiting, left_ns)

    def _depart(self, waiting: _Waiting, left_ns: int) -> None:
        way = waiting.way
        conditions = way.conditions
        latencies_ns = draw(way.seed, way.frames, conditions).latencies_ns
        way.frames += 1
        arrives_ns = tuple([left_ns + latency_ns for latency_ns in latencies_ns])
        if arrives_ns and not conditions.reorder:
            # No copy overtakes an earlier frame; later frames wait for the frame itself, not for its duplicate.
            after_ns = way.arrives_ns
            arrives_ns = tuple([max(moment_ns, after_ns) for moment_ns in arrives_ns])
            way.arrives_ns = arrives_ns[0]
        self._departed.append(
            Departure(waiting.receiver, waiting.item, waiting.size_bytes, left_ns, arrives_ns, waiting.sending_ns)
        )

    # Phases

    def _enter_phase(self, at_ns: int) -> None:
        """Look up what holds from a moment on."""
        phases = self._profile.phases
        self._number = self._profile.phase_at(at_ns - self._began_ns)
        self._up = phases[self._number].up_bits_per_s if phases else 0
        following = self._number + 1
        self._phase_ends_ns = self._began_ns + phases[following].from_ns if following < len(phases) else None
        for receiver, way in self._ways.items():
            self._set_conditions(receiver, way)

    def _set_conditions(self, receiver: str, way: _Way) -> None:
        way.conditions = self._profile.conditions(self._number, self._me, receiver)
        way.rate = self._profile.rate_bits_per_s(self._number, self._me, receiver)

    def _new_way(self, receiver: str) -> _Way:
        way = self._ways[receiver] = _Way(link_seed(self._profile.seed, self._me, receiver))
        self._set_conditions(receiver, way)
        return way

    def _pipe(self, name: str) -> _Pipe:
        pipe = self._pipes.get(name)
        if pipe is None:
            pipe = self._pipes[name] = _Pipe(len(self._pipes))
        return pipe

    def _stop_pipes(self) -> None:
        for pipe in self._pipes.values():
            first = pipe.front()
            if first is not None:
                pipe.stop(self._now_ns, first.way.rate)

    def _go_on(self) -> None:
        """All frames that wait, in pipes as they are now, at the rates of now."""
        waiting = [each for pipe in self._pipes.values() for each in (*pipe.urgent, *pipe.bulk)]
        self._pipes, self._due = {}, []
        for each in sorted(waiting, key=lambda each: each.number):
            if each.way.rate:
                pipe = self._pipe(SHARED if self._up else each.receiver)
                pipe.now_ns = self._now_ns
                pipe.push(each)
        for each in sorted(waiting, key=lambda each: (not each.urgent, each.number)):
            if not each.way.rate:
                self._left(each, self._now_ns)
        for pipe in self._pipes.values():
            self._begin(pipe)
