"""The engine's table [consensus.pbft] of a node's configuration: what a node may choose for itself alone."""

from __future__ import annotations

from typing import Annotated

import msgspec


class PbftOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Local choices; whatever all nodes must do alike is a parameter of the epoch."""

    fetch_retry_ms: Annotated[int, msgspec.Meta(ge=1, le=60_000)] = 1_000
    """How long to wait before peers are asked again for a proposal that is committed and not held, milliseconds."""
