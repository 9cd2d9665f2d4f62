"""One point of an experiment: everything that its result depends on."""

from __future__ import annotations

from typing import Literal

import msgspec

from potchain.consensus.quorum import Quorum
from potchain.errors import ExperimentError

Mode = Literal["live", "virtual", "model"]
Dissemination = Literal["plain", "multicast", "tree", "striped", "coded"]
Payload = Literal["opaque", "transfers"]

MEGABIT = 1_000_000
MEGABIT_OF_THE_SEED = 2**20
"""The Go demo calls 2^20 bits a megabit; for comparisons with its table only."""

NODES_MOST = {"live": 100, "virtual": 300, "model": 3_000}
"""By mode."""
TRANSFERS_MOST = 10_000
"""What one proposal may hold, and a point is one decision. Of opaque records many share a transaction."""
PAYLOAD_BYTES_MOST = 450_000_000
"""Of all opaque records together. They are made in memory, with all that travels, and fit in one proposal too."""
STORED_BYTES_MOST = 8_000_000_000
"""Modes live and virtual: payload times nodes. Each node keeps it, in two to three times as much memory."""


class Point(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one run measures. Its fields are the keys of a sweep file and the options of `potchain experiment run`."""

    nodes: int = 4
    """Validators, n."""
    transactions: int = 100
    """Records that the client hands over, all at once."""
    transaction_bytes: int = 315
    """Of one record; 315 explains the Go demo's table."""
    payload: Payload = "opaque"
    """"opaque": incompressible records, many in one signed transaction, as the Go demo has one string of them.
    "transfers": each record is a signed transfer of its own, and `transaction_bytes` has no meaning."""
    bandwidth_mbps: float = 0.0
    """10^6 bits per second; 0: no limit."""
    bandwidth_model: Literal["per_link", "shared"] = "per_link"
    """Whether each link and direction has that bandwidth, or each node's uplink and downlink."""
    latency_ms: float = 0.0
    """L; 0: none."""
    distribution: Literal["constant", "uniform"] = "uniform"
    """Of the latency of each frame: L, or uniform in [0.1 L, L] as in the Go demo."""
    loss: float = 0.0
    """Share of frames that never arrive, from 0 to below 1."""
    engine: str = "fpbft"
    """Name of an installed engine."""
    dissemination: Dissemination = "plain"
    """How bodies spread. "plain": client to one node, which sends to all. "multicast": client to all. "tree": client to
    one node, then along a tree. "striped": a part to each node, which sends it to all. "coded": the same with
    erasure-coded shares, of which any k of n are enough."""
    crashed: int = 0
    """Nodes that are down from the start, the last ones; at most f."""
    slow_primary_ms: float = 0.0
    """The primary takes this long for each frame that it receives; 0: it is as fast as the others."""
    mode: Mode = "virtual"
    """"live": real sockets, real time. "virtual": the shipping node on virtual time. "model": arrival times alone."""
    megabit: int = MEGABIT
    """Bits in a megabit."""
    seed: int = 1
    """Of every draw."""

    def checked(self) -> Point:
        """Itself. Raises ExperimentError with the field, its value and what is possible."""
        most = NODES_MOST[self.mode]
        if not 1 <= self.nodes <= most:
            raise ExperimentError(f"nodes is {self.nodes}; mode {self.mode!r} takes from 1 to {most}")
        self._check_payload()
        _within("transactions", self.transactions, 1, 1_000_000)
        _within("transaction_bytes", self.transaction_bytes, 1, 60_000)
        _within("bandwidth_mbps", self.bandwidth_mbps, 0, 1_000_000)
        if 0 < self.bandwidth_mbps < 0.0001:
            raise ExperimentError(f"bandwidth_mbps is {self.bandwidth_mbps}; at least 0.0001, or 0 for no limit")
        _within("latency_ms", self.latency_ms, 0, 600_000)
        _within("loss", self.loss, 0, 0.9)
        _within("slow_primary_ms", self.slow_primary_ms, 0, 60_000)
        _within("crashed", self.crashed, 0, Quorum(self.nodes).faults_max)
        _within("seed", self.seed, 0, 2**63 - 1)
        if self.megabit not in (MEGABIT, MEGABIT_OF_THE_SEED):
            raise ExperimentError(f"megabit is {self.megabit}; {MEGABIT}, or {MEGABIT_OF_THE_SEED} as in the Go demo")
        if self.bandwidth_model == "shared" and not self.bandwidth_mbps:
            raise ExperimentError("bandwidth_model is 'shared', but bandwidth_mbps is 0: there is nothing to share")
        if self.mode == "model" and (self.loss or self.slow_primary_ms):
            raise ExperimentError("mode 'model' knows neither loss nor a slow primary; take mode 'virtual'")
        return self

    def _check_payload(self) -> None:
        if self.payload == "transfers":
            if self.transactions > TRANSFERS_MOST:
                raise ExperimentError(
                    f"transactions is {self.transactions}; of payload 'transfers' at most {TRANSFERS_MOST:,}, what one "
                    f"proposal holds"
                )
            return
        total = self.transactions * self.transaction_bytes
        given = f"transactions is {self.transactions} and transaction_bytes is {self.transaction_bytes}, together"
        if total > PAYLOAD_BYTES_MOST:
            raise ExperimentError(f"{given} {total:,} bytes; at most {PAYLOAD_BYTES_MOST:,}")
        if self.mode != "model" and total * self.nodes > STORED_BYTES_MOST:
            raise ExperimentError(
                f"{given} {total:,} bytes; {self.nodes} nodes in mode {self.mode!r} take at most "
                f"{STORED_BYTES_MOST // self.nodes:,}"
            )


def _within(name: str, value: float, least: float, most: float) -> None:
    # Not a number compares as false with everything.
    if not least <= value <= most:
        raise ExperimentError(f"{name} is {value}; it must be from {least} to {most}")
