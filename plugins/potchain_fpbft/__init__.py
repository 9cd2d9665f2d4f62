"""FPBFT: PBFT on shaped links. It has no message and no step of its own: engine `pbft` plus a link profile.

Engine `fpbft`, chosen with `consensus.engine = "fpbft"`; its options stand in the table [consensus.fpbft]: those of
[consensus.pbft], and the network conditions that hold where [links] of the node says nothing. With all conditions at
zero it is PBFT byte for byte. Nodes of one network may run `pbft` and `fpbft` side by side: conditions are no part of
the protocol, and certificates of the one are certificates of the other.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

import msgspec

from potchain import (
    ANY,
    OFF,
    Conditions,
    EngineFactory,
    LinkProfile,
    Phase,
    Rule,
    hookimpl,
)
from potchain_pbft import PbftFactory, PbftOptions

__all__ = ["FpbftFactory", "FpbftOptions", "consensus_engines"]


class FpbftOptions(PbftOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of PBFT, and what links are like; zero turns a condition off, and with all at zero this is plain PBFT."""

    bandwidth_bits_per_s: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Of each link and direction, or with `bandwidth_model` "shared" of each node's uplink and of its downlink."""
    bandwidth_model: Literal["per_link", "shared"] = "per_link"
    """What has that bandwidth: each link and direction, or each node's uplink and downlink."""
    latency_ns: Annotated[int, msgspec.Meta(ge=0)] = 0
    """L, one way: what a frame takes from its last bit sent to its arrival, at most."""
    distribution: Literal["constant", "uniform"] = "uniform"
    """Of the latency of each frame: "constant", L; "uniform", in [0.1 L, L], as in the Go demo."""
    seed: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Of all draws; the same on every node that shall draw alike."""


class FpbftFactory(PbftFactory):
    """Makes PBFT engines; knows what its links are like."""

    name = "fpbft"
    options_type: type[msgspec.Struct] = FpbftOptions

    def link_profile(self, options: msgspec.Struct) -> LinkProfile:
        """The conditions that the options name. Raises LinkError for what makes no sense."""
        assert isinstance(options, FpbftOptions), f"options of type {type(options).__name__}"
        shared = options.bandwidth_model == "shared"
        bandwidth = options.bandwidth_bits_per_s
        conditions = Conditions(
            bandwidth_bits_per_s=0 if shared else bandwidth,
            latency_ns=options.latency_ns,
            distribution=options.distribution,
        )
        phase = Phase(
            rules=(Rule(sender=ANY, receiver=ANY, conditions=conditions),),
            up_bits_per_s=bandwidth if shared else 0,
            down_bits_per_s=bandwidth if shared else 0,
        )
        profile = LinkProfile(seed=options.seed, phases=(phase,)).checked()
        return OFF if profile.off else profile


@hookimpl
def consensus_engines() -> Iterable[EngineFactory]:
    """The engine `fpbft`."""
    return [FpbftFactory()]
