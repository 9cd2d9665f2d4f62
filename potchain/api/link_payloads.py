"""The shape of the answer about network conditions. The rules of `payloads` hold here too."""

from __future__ import annotations

from potchain.api.payloads import Payload
from potchain.links import LinkSpec


class LinksPayload(Payload, frozen=True):
    """The network conditions that this node emulates."""

    off: bool
    """Whether nothing is emulated."""
    source: str
    """Where they come from: "links" (the node's [links]), "engine" (its options), "api" (`PUT /v1/links`) or "none"."""
    since_ms: int
    """When they were applied; the times of `schedule` count from then."""
    phase: int
    """Which holds now: 0 before the first entry of `schedule`, then 1 and so on."""
    control: bool
    """Whether this node takes other conditions."""
    conditions: LinkSpec
    """In human units, regions resolved into pairs of nodes. The same document may be put."""
    rules_left_out: int
    """Rules that are in force beyond the ones that `conditions` shows."""
