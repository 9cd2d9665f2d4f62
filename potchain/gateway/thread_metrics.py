"""CPU time of each thread of the node, for `/metrics`: which of loop, vote log, ledger is the one that is busy."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector


class ThreadCollector(Collector):
    """One counter, labelled by thread name; threads of a pool share their prefix."""

    def collect(self) -> Iterator[Metric]:
        """One reading."""
        family = CounterMetricFamily(
            "potchain_thread_cpu_seconds", "CPU time by thread of this process.", labels=("thread",)
        )
        spent: dict[str, float] = {}
        for thread in threading.enumerate():
            if thread.ident is None:
                continue
            name = thread.name.rpartition("_")[0] or thread.name
            clock = time.pthread_getcpuclockid(thread.ident)
            spent[name] = spent.get(name, 0.0) + time.clock_gettime(clock)
        for name, seconds in sorted(spent.items()):
            family.add_metric((name,), seconds)
        yield family
