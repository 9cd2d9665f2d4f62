"""How one node spreads bodies and proposals, and how long it waits for those of others: its own choice."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec


class DisseminationOptions(msgspec.Struct, frozen=True, kw_only=True):
    """[dissemination]: for links whose bandwidth is scarce or shared. Nodes need not agree in any of it."""

    spread: Literal["gossip", "tree"] = "gossip"
    """How this node spreads what its clients give it: "gossip", itself to every validator, or "tree", to a few of them
    that pass it on. Erasure-coded shares are taken from clients whatever this says."""
    tree_fanout: Annotated[int, msgspec.Meta(ge=1, le=64)] = 4
    """Validators to which a node passes on what comes down a tree; it uploads so many times the payload at most."""
    short_ids: bool = False
    """Whether this node's proposals name each transaction by 8 bytes instead of 34. Others find them in their pools, or
    ask for the whole proposal, which costs a round trip."""
    compress: bool = False
    """Whether this node compresses large frames (zstd) where that saves a tenth or more."""
    body_grace_ms: Annotated[int, msgspec.Meta(ge=0)] = 100
    """How long a proposal waits for bodies that are on their way, or in their signature check, before it asks for
    them. On slow links more than the time that bodies need."""
