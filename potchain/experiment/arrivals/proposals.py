"""Which blocks the primary makes of what comes, and when: the batching rule of `potchain.replica.proposing`.

The client's transactions are of one account, so what can be proposed is what follows on the first nonce without a gap.
"""

from __future__ import annotations

import msgspec
import numpy as np

from potchain.experiment.arrivals.latencies import Times
from potchain.experiment.arrivals.traffic import Traffic, pre_prepare
from potchain.genesis import Parameters
from potchain.primitives import NS_PER_MS

_DEFAULTS = Parameters()
BATCH_DELAY_NS = float(_DEFAULTS.batch_delay_ms * NS_PER_MS)
"""How long a primary with a proposal in flight waits for a fuller batch."""
IN_FLIGHT_MAX = _DEFAULTS.in_flight_max


class Proposals(msgspec.Struct, frozen=True):
    """The blocks of one run, by sequence."""

    proposed_ns: Times
    units: tuple[tuple[int, ...], ...]
    """What each holds."""
    sizes: tuple[tuple[int, bool], ...]
    """Bytes of each pre-prepare as the link model counts them, and whether it is urgent."""


def propose(has_ns: Times, traffic: Traffic, decided_ns: Times | None) -> Proposals:
    """Blocks from when the primary has each unit; `decided_ns`: when it decides each block, as far as known."""
    # The first nonce is in the last unit.
    ready_ns = np.maximum.accumulate(has_ns[::-1])
    last = len(ready_ns) - 1
    proposed_ns: list[float] = []
    units: list[tuple[int, ...]] = []
    taken = 0
    while taken <= last:
        at_ns = float(ready_ns[taken])
        earlier_ns = [_at(decided_ns, block) for block in range(len(proposed_ns))]
        if earlier_ns:
            # One that is alone in flight goes at once; else it waits for company, or for the last one's decision.
            at_ns = max(at_ns, min(at_ns + BATCH_DELAY_NS, max(earlier_ns)), proposed_ns[-1])
        if len(earlier_ns) >= IN_FLIGHT_MAX:
            room_ns = sorted(earlier_ns)[len(earlier_ns) - IN_FLIGHT_MAX]
            at_ns = max(at_ns, room_ns) if np.isfinite(room_ns) else at_ns
        count = int(np.searchsorted(ready_ns, at_ns, side="right"))
        units.append(tuple(last - each for each in range(taken, count)))
        proposed_ns.append(at_ns)
        taken = count
    counts = [sum(traffic.units[unit].transactions for unit in each) for each in units]
    sizes = tuple(pre_prepare(count, short_ids=traffic.short_ids) for count in counts)
    return Proposals(np.array(proposed_ns), tuple(units), sizes)


def _at(times_ns: Times | None, block: int) -> float:
    return float(times_ns[block]) if times_ns is not None and block < len(times_ns) else np.inf
