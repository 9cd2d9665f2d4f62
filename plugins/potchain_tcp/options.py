"""Options of the transport `tcp`, decoded once from the table [transport.tcp]. Spans are whole milliseconds."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

Positive = Annotated[int, Meta(ge=1, le=2**40)]


class TcpOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every bound of the transport, with its default."""

    reconnect_start_ms: Positive = 100
    """Wait before the first new attempt to reach a peer; doubles from here. The draw is between half and the whole."""
    reconnect_cap_ms: Positive = 2_000
    """Longest wait between attempts."""
    session_stable_ms: Positive = 5_000
    """A session that lived this long resets the wait to its start; a shorter one does not, so that nothing flaps."""
    votes_queue_bytes: Positive = 4 * 1024 * 1024
    """Bound on unsent VOTES bytes per peer, headers included; frames beyond it are dropped and counted."""
    bulk_queue_bytes: Positive = 16 * 1024 * 1024
    """Bound on unsent BULK bytes per peer, headers included; must exceed the largest frame that is to pass."""
    frames_per_tick: Positive = 2_048
    """Pieces of frames of one channel written to one peer in one loop tick."""
    bulk_bytes_per_tick: Positive = 64 * 1024
    """BULK bytes written to one peer in one loop tick, and unsent bytes left to the kernel: what votes wait behind."""
    garbage_limit: Positive = 100
    """Unusable frames of one peer within `garbage_window_ms` that cost it its connection."""
    garbage_window_ms: Positive = 60_000
    """Span over which unusable frames are counted."""
    cooldown_ms: Positive = 30_000
    """How long a peer that passed `garbage_limit` is neither dialled nor let in."""
    handshake_timeout_ms: Positive = 5_000
    """Time for TCP and TLS together, and again for the greeting."""
    handshakes_max: Positive = 64
    """Incoming connections in their TLS handshake at once; more are closed unread."""
    ping_interval_ms: Positive = 1_000
    """A peer silent for this long is asked for a sign of life."""
    silence_limit_ms: Positive = 10_000
    """A peer silent for this long is taken for dead and its connection is aborted."""
    close_timeout_ms: Positive = 1_000
    """How long a closing connection may flush before it is aborted."""
