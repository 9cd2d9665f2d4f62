"""A Dask cluster that measures points: connected and checked before anything starts.

The workers need potchain, of the version that asks; they get the name of the function and the point, never code. A
worker that is lost is Dask's business: it gives the point to another one. A scheduler that is lost ends the sweep,
which its journal lets go on later.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator, Sequence
from typing import TYPE_CHECKING

import msgspec

from potchain.errors import ExperimentError, SchedulerUnreachable
from potchain.experiment.extra import require
from potchain.experiment.point import Point
from potchain.experiment.sweep import Measure, Outcome, decoded, failed, measure_encoded
from potchain.version import distribution_version

if TYPE_CHECKING:
    from distributed import Future

CONNECT_S = 5
"""How long a scheduler may take to answer."""
WORKERS_S = 5
"""How long the first worker may take to show up."""
AHEAD_PER_THREAD = 2
"""Points that are handed over ahead of time, for each thread of the workers."""
LEAST_AHEAD = 16
"""So that workers that join later find something to do."""

_alone = threading.Lock()
"""Of a worker process: its threads share one interpreter lock and one memory, so a second point would win nothing."""


class DaskCluster:
    """The scheduler at one address, and its workers."""

    def __init__(self, address: str) -> None:
        """Connect. Raises SchedulerUnreachable or ExperimentError as `open_scheduler` says."""
        require("--scheduler", "distributed")
        from distributed import Client

        scheme, separator, place = address.partition("://")
        if scheme not in ("tcp", "tls") or not separator or not place.rpartition(":")[2].isdecimal():
            raise ExperimentError(f"scheduler {address!r} is no address; write tcp://HOST:PORT")
        self.address = address
        try:
            self._client = Client(address, timeout=CONNECT_S, set_as_default=False, name="potchain")
        except (OSError, ValueError) as fault:
            raise SchedulerUnreachable(
                f"no Dask scheduler answers at {address} within {CONNECT_S} s ({fault}); "
                f"is `dask scheduler` running there?"
            ) from None
        try:
            self._check_workers()
        except ExperimentError:
            self._client.close()
            raise

    def run(self, measure: Measure, points: Sequence[Point]) -> Generator[Outcome, None, None]:
        """Outcomes as they come; closing the generator cancels what is under way."""
        side_by_side = iter([point for point in points if point.mode != "live"])
        live = iter([point for point in points if point.mode == "live"])
        yield from self._over(measure, side_by_side, self._threads() * AHEAD_PER_THREAD, None)
        hosts = sorted({worker["host"] for worker in self._workers().values()})
        # One point under way for each host, and it stays there: a host takes its next one when it is done.
        yield from self._over(measure, live, len(hosts), hosts)

    def close(self) -> None:
        """Leave the cluster; it goes on."""
        self._client.close()

    def _over(
        self, measure: Measure, waiting: Iterator[Point], ahead: int, hosts: list[str] | None
    ) -> Generator[Outcome, None, None]:
        from distributed import as_completed

        running: dict[Future, tuple[Point, str | None]] = {}
        coming = as_completed(loop=self._client.loop)
        idle: list[str] = list(hosts or ())
        try:
            while True:
                while len(running) < max(ahead, 0 if hosts else LEAST_AHEAD):
                    point = next(waiting, None)
                    if point is None:
                        break
                    host = idle.pop() if hosts else None
                    encoded = msgspec.json.encode(point)
                    future = self._client.submit(measure_alone, measure, encoded, pure=False, workers=host)
                    running[future] = (point, host)
                    coming.add(future)
                if not running:
                    return
                future = next(coming)
                point, host = running.pop(future)
                if host is not None:
                    idle.append(host)
                yield self._outcome(future, point)
        finally:
            if running:
                self._client.cancel(list(running), force=True)

    def _outcome(self, future: Future, point: Point) -> Outcome:
        if future.status == "error":
            fault = future.exception()
            assert fault is not None
            return failed(point, fault)
        if future.status != "finished":
            raise SchedulerUnreachable(
                f"the Dask scheduler at {self.address} has gone away; the same command goes on where this one stopped"
            )
        return decoded(future.result())

    def _workers(self) -> dict[str, dict[str, str]]:
        workers: dict[str, dict[str, str]] = self._client.scheduler_info(n_workers=-1)["workers"]
        return workers

    def _threads(self) -> int:
        threads: dict[str, int] = self._client.nthreads()
        return sum(threads.values())

    def _check_workers(self) -> None:
        try:
            self._client.wait_for_workers(1, timeout=WORKERS_S)
        except TimeoutError:
            raise ExperimentError(
                f"the Dask scheduler at {self.address} has no workers; start some: dask worker {self.address}"
            ) from None

        def installed() -> str:
            # An inner function travels by value, so it runs where potchain is missing, too.
            try:
                from potchain.version import distribution_version as version_there
            except ImportError:
                return ""
            return version_there()

        ours = distribution_version()
        for worker, theirs in sorted(self._client.run(installed).items()):
            if theirs != ours:
                found = f"potchain {theirs}" if theirs else "no potchain"
                raise ExperimentError(
                    f"Dask worker {worker} has {found}, this machine has {ours}; "
                    f"on every worker, run: pip install 'potchain[experiment]=={ours}'"
                )


def measure_alone(measure: Measure, point: bytes) -> bytes:
    """`measure_encoded`, one at a time in a worker process. Runs on the workers."""
    with _alone:
        return measure_encoded(measure, point)
