"""Who takes part over which links, and what one pass of the computation knows of the votes of the pass before."""

from __future__ import annotations

import msgspec

from potchain.consensus.quorum import Quorum
from potchain.experiment.arrivals.latencies import Latencies, Times
from potchain.experiment.arrivals.pipes import Rates
from potchain.links import LinkProfile

PRIMARY = 0
"""The primary of view 0 of epoch 0."""


class Network(msgspec.Struct, frozen=True):
    """Validators and links of one run."""

    members: int
    """n, those that are down included."""
    up: int
    """Nodes that are up: the first ones."""
    rates: Rates
    latencies: Latencies
    profile: LinkProfile
    """What rates and latencies are taken from."""

    @property
    def thresholds(self) -> Quorum:
        """Of the members."""
        return Quorum(self.members)

    def copies(self) -> int:
        """Copies of a frame to all other nodes that pass one pipe."""
        return self.rates.copies(self.up - 1)


class Votes(msgspec.Struct, frozen=True):
    """What goes ahead of bodies, by node. The primary's pre-prepares are not among them."""

    offered_ns: Times
    """[vote, node]; infinity: never."""
    one_ns: Times
    """[vote, node]: what one copy takes to leave."""
    decided_ns: Times
    """By block, at the primary."""

    def of(self, node: int) -> tuple[Times, Times]:
        """When each of one node is offered, and what one copy takes."""
        return self.offered_ns[:, node].astype(float), self.one_ns[:, node].astype(float)
