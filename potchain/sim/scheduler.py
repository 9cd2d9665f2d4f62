"""Virtual time: one heap of things to do for the whole run, and an event loop of asyncio for each node over it.

The scheduler runs the entry with the least (time, order) until none is left before the end. Time moves only between
entries, so a run takes as long as its work and no longer. A node's coroutines (its driver, its API) run on a
`VirtualLoop`, which keeps the contract of `asyncio.AbstractEventLoop` as far as our own code and aiohttp use it: timers
in virtual time, and an executor whose work is done inline, a little later. A loop can be killed: what it had planned
is then never run, as if the machine had lost its power. A slow node's loop is busy for a time after each outside event.
"""

from __future__ import annotations

import asyncio
import heapq
import inspect
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, TypeVar, TypeVarTuple, Unpack

from potchain.primitives import NS_PER_S

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

EXECUTOR_NS = 100_000
"""How long work takes that a coroutine hands to a thread."""
FUNERAL_STEPS_MAX = 10_000
"""Callbacks that a killed loop's cancelled tasks may need to end; more is a coroutine that refuses to be cancelled."""

Faults = Callable[[dict[str, Any]], None]
"""Told what a callback or task raised, as asyncio's exception handlers are."""


class Scheduler:
    """The one clock and the one queue of a run."""

    def __init__(self) -> None:
        self.now_ns = 0
        """Virtual nanoseconds since the start."""
        self._heap: list[tuple[int, int, asyncio.Handle, VirtualLoop | None]] = []
        self._ready: deque[tuple[asyncio.Handle, VirtualLoop | None]] = deque()
        self._order = 0
        self._plain = self.make_loop(_raise)

    def make_loop(self, faults: Faults) -> VirtualLoop:
        """An event loop in this time."""
        # What it lacks of asyncio (sockets, processes, signals) does not exist in the simulation.
        return VirtualLoop(self, faults)  # type: ignore[abstract]

    def at(self, time_ns: int, callback: Callable[[Unpack[Ts]], object], *args: *Ts) -> asyncio.Handle:
        """Run something of the world's own, on no node, at a time (now, if that is past)."""
        handle = asyncio.Handle(callback, args, self._plain)
        self.push(time_ns, handle, None)
        return handle

    def push(self, time_ns: int, handle: asyncio.Handle, loop: VirtualLoop | None) -> None:
        """Queue a callback of a loop."""
        if time_ns <= self.now_ns:
            # Behind everything that is due now, all of which was queued earlier.
            self._ready.append((handle, loop))
        else:
            self._order += 1
            heapq.heappush(self._heap, (time_ns, self._order, handle, loop))

    def clear(self) -> None:
        """Forget what is left to do: the run is over."""
        self._heap.clear()
        self._ready.clear()

    def run(self, until_ns: int, stopped: Callable[[], bool]) -> None:
        """Run what is due up to a time, or until `stopped` says so after an entry."""
        outer = events._get_running_loop()
        try:
            while (entry := self._next(until_ns)) is not None:
                handle, loop = entry
                events._set_running_loop(self._plain if loop is None else loop)
                handle._run()
                if stopped():
                    return
        finally:
            events._set_running_loop(outer)
        self.now_ns = max(self.now_ns, until_ns)

    def _next(self, until_ns: int) -> tuple[asyncio.Handle, VirtualLoop | None] | None:
        """The entry to run now; time moves on to it. None when nothing is left up to a time."""
        heap, ready = self._heap, self._ready
        while True:
            order = 0
            if heap and heap[0][0] <= self.now_ns:
                _, order, handle, loop = heapq.heappop(heap)
            elif ready:
                handle, loop = ready.popleft()
            elif heap and heap[0][0] <= until_ns:
                self.now_ns = heap[0][0]
                continue
            else:
                return None
            if handle.cancelled() or (loop is not None and loop.is_closed()):
                continue
            if loop is None or loop.busy_until_ns <= self.now_ns:
                return handle, loop
            if not order:
                self._order += 1
                order = self._order
            # With its old order: what waits for a slow node keeps its place before what came later.
            heapq.heappush(heap, (loop.busy_until_ns, order, handle, loop))


class VirtualLoop(asyncio.AbstractEventLoop):
    """asyncio for one life of one node."""

    def __init__(self, scheduler: Scheduler, faults: Faults) -> None:
        self._scheduler = scheduler
        self._faults = faults
        self._closed = False
        self._dying: list[asyncio.Handle] | None = None
        self._tasks: dict[asyncio.Task[Any], None] = {}
        self.busy_until_ns = 0
        """A slow node handles nothing before."""
        self.step_ns = 0
        """How long each outside event keeps it busy."""

    # --- what a life needs --------------------------------------------------------------------------------------------

    def outside(self, time_ns: int, callback: Callable[[Unpack[Ts]], object], *args: *Ts) -> None:
        """Something reaches the node from outside: a frame, a request, a write that is done."""
        self._scheduler.push(time_ns, asyncio.Handle(self._handle_outside, (callback, args), self), self)

    def _handle_outside(self, callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        if self.step_ns:
            self.busy_until_ns = self._scheduler.now_ns + self.step_ns
        callback(*args)

    def kill(self) -> None:
        """End it: nothing that is planned is ever run. The callback under way, if any, comes to its end unheard."""
        if self._dying is None:
            self._dying = []
            # Not in here: the callback under way may be a task's, and no other task may run inside it.
            self._scheduler.at(self._scheduler.now_ns, self._bury)

    def _bury(self) -> None:
        """Cancel every task, so that nothing dangles. The world does not listen any more."""
        assert self._dying is not None
        dying = self._dying
        for task in tuple(self._tasks):
            task.cancel()
        for _ in range(FUNERAL_STEPS_MAX):
            if not dying:
                break
            handle = dying.pop(0)
            if not handle.cancelled():
                run_handle(handle, self)
        for task in self._tasks:
            coroutine = task.get_coro()
            if inspect.iscoroutine(coroutine) and inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED:
                coroutine.close()  # never begun: Python would complain that nobody awaited it
        self._closed = True
        self._faults = _ignore  # nothing that remembers this loop shall remember its node

    # --- asyncio's contract -------------------------------------------------------------------------------------------

    def time(self) -> float:
        """Virtual seconds."""
        return self._scheduler.now_ns / NS_PER_S

    def call_soon(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """Run at the present time, behind what is due already."""
        handle = asyncio.Handle(callback, args, self, context)
        if self._dying is not None:
            self._dying.append(handle)
        else:
            self._scheduler.push(self._scheduler.now_ns, handle, self)
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """The same: there are no threads here."""
        return self.call_soon(callback, *args, context=context)

    def call_later(
        self, delay: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Run after some seconds."""
        return self._timer(self._scheduler.now_ns + round(delay * NS_PER_S), callback, args, context)

    def call_at(
        self, when: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Run at a reading of `time`."""
        return self._timer(round(when * NS_PER_S), callback, args, context)

    def _timer(
        self, time_ns: int, callback: Callable[..., object], args: tuple[Any, ...], context: Context | None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(time_ns / NS_PER_S, callback, args, self, context)
        if self._dying is None:
            self._scheduler.push(time_ns, handle, self)
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        """A future of this loop."""
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override] # generators are no coroutines any more
        self,
        coro: Coroutine[Any, Any, T],
        *,
        name: str | None = None,
        context: Context | None = None,
        **_: Any,  # noqa: ANN401 - what later Pythons add
    ) -> asyncio.Task[T]:
        """A task of this loop; it is cancelled when the loop is killed."""
        task = asyncio.Task(coro, loop=self, name=name or "task", context=context)
        self._tasks[task] = None
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._tasks.pop(task, None)

    def run_in_executor(
        self,
        executor: object,
        func: Callable[[Unpack[Ts]], T],
        *args: *Ts,
    ) -> asyncio.Future[T]:
        """The work is done here, a little later."""
        future: asyncio.Future[T] = self.create_future()
        self._timer(self._scheduler.now_ns + EXECUTOR_NS, _resolve, (future, func, args), None)
        return future

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """A callback raised, or a task's exception was never looked at: whoever runs the node wants to know."""
        if self._dying is None:
            self._faults(context)

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        """There is no other."""
        self.call_exception_handler(context)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Called by asyncio; a cancelled entry is skipped when its time comes."""

    def get_debug(self) -> bool:
        """Never."""
        return False

    def is_running(self) -> bool:
        """Always, as far as its coroutines can see."""
        return not self._closed

    def is_closed(self) -> bool:
        """Whether it was killed."""
        return self._dying is not None

    async def shutdown_asyncgens(self) -> None:
        """Nothing to do."""

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Nothing to do."""


def run_handle(handle: asyncio.Handle, loop: asyncio.AbstractEventLoop) -> None:
    """Run one callback with `loop` as the running one."""
    outer = events._get_running_loop()
    events._set_running_loop(loop)
    try:
        handle._run()
    finally:
        events._set_running_loop(outer)


def _resolve(future: asyncio.Future[T], func: Callable[..., T], args: tuple[Any, ...]) -> None:
    if future.cancelled():
        return
    outcome = _Outcome(future)
    with outcome:
        outcome.value = func(*args)
    if not future.done():
        future.set_result(outcome.value)


class _Outcome:
    """Carries whatever a function raised to the future that awaits it, as a thread of an executor does."""

    def __init__(self, future: asyncio.Future[Any]) -> None:
        self._future = future
        self.value: Any = None

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, fault: BaseException | None, _: object) -> bool:
        if not isinstance(fault, Exception):
            return False
        self._future.set_exception(fault)
        return True


def _ignore(context: dict[str, Any]) -> None:
    """Of a dead loop."""


def _raise(context: dict[str, Any]) -> None:
    fault = context.get("exception")
    raise fault if isinstance(fault, BaseException) else AssertionError(str(context.get("message")))
