"""When to ask whom for blocks and certificates that this node lacks.

What peers say of their progress is a hint that decides only whom to ask; what they send is checked and re-executed. One
request for blocks is outstanding at a time; it is given to the next peer when its answer is late.
"""

from __future__ import annotations

from collections.abc import Sequence

from potchain.consensus.quorum import Quorum
from potchain.primitives import NS_PER_MS, NodeId
from potchain.replica.wire import CERTIFICATES_MAX, SYNC_BLOCKS_MAX, FetchBlocks, FetchCertificates, PeerProgress

REQUEST_TIMEOUT_NS = 2_000 * NS_PER_MS
"""How long an answer may take before another peer is asked."""
USELESS_NS = 5_000 * NS_PER_MS
"""How long a peer is left out that did not answer, or had nothing to give."""


class CatchUp:
    """Chooses requests; holds one line per peer."""

    def __init__(self, me: NodeId, members: Sequence[NodeId], far_behind: int) -> None:
        """`far_behind`: from this many heights on, blocks are fetched at once and not only when nothing moves."""
        self._weak_quorum = Quorum(len(members)).weak_quorum
        self._me = me
        self._members = tuple(members)
        self._far_behind = far_behind
        self._progress: dict[NodeId, PeerProgress] = {}
        self._asked: NodeId | None = None
        self._asked_ns = 0
        self._active = False
        self._useless_until_ns: dict[NodeId, int] = {}
        self._certified_seen = 0
        self._turn = 0

    def heard(self, peer: NodeId, progress: PeerProgress) -> None:
        """A peer told where it is."""
        if peer in self._members:
            self._progress[peer] = progress

    def gone(self, peer: NodeId) -> None:
        """A peer is disconnected: do not ask it, do not wait for it."""
        self._progress.pop(peer, None)
        if self._asked == peer:
            self._asked = None

    def answered(self, peer: NodeId, now_ns: int, *, useful: bool) -> None:
        """An answer came. A peer that had nothing to give, whatever it says of its height, is left out for a while."""
        if not useful:
            self._useless_until_ns[peer] = now_ns + USELESS_NS
        if self._asked == peer:
            self._asked = None

    @property
    def best_height(self) -> int:
        """Highest height that a peer says is certified; one liar is enough to make it anything."""
        return max((progress.certified for progress in self._progress.values()), default=0)

    @property
    def credible_height(self) -> int:
        """Highest height that so many peers say is certified that one of them is correct; 0 when too few speak."""
        said = sorted((progress.certified for progress in self._progress.values()), reverse=True)
        return said[self._weak_quorum - 1] if len(said) >= self._weak_quorum else 0

    def is_behind(self, executed: int) -> bool:
        """Whether peers are so far ahead that this node is catching up rather than taking part."""
        return self.credible_height > executed + self._far_behind

    def blocks_wanted(self, executed: int, now_ns: int, *, stuck: bool) -> tuple[NodeId, FetchBlocks] | None:
        """Whom to ask for the block after `executed`, if anybody; `stuck`: no progress for a while."""
        if self._asked is not None:
            if now_ns - self._asked_ns < REQUEST_TIMEOUT_NS:
                return None
            self._useless_until_ns[self._asked] = now_ns + USELESS_NS
            self._asked = None
        # Once it has begun, catching up goes on until this node is level, and not only when it is stuck again.
        self._active = self._active and self.credible_height > executed
        if not (self._active or self.is_behind(executed) or (stuck and self.best_height > executed)):
            return None
        peer = self._next_peer(executed, now_ns)
        if peer is None:
            return None
        self._asked, self._asked_ns, self._active = peer, now_ns, True
        return peer, FetchBlocks(executed + 1, SYNC_BLOCKS_MAX)

    def certificates_wanted(
        self, certified: int, executed: int, now_ns: int
    ) -> tuple[NodeId, FetchCertificates] | None:
        """Whom to ask for certificates of blocks that were executed here, if none came since the last call."""
        seen, self._certified_seen = self._certified_seen, certified
        if certified != seen or executed <= certified or self.best_height <= certified:
            return None
        peer = self._next_peer(certified, now_ns)
        if peer is None:
            return None
        return peer, FetchCertificates(certified + 1, min(CERTIFICATES_MAX, executed - certified))

    def _next_peer(self, above: int, now_ns: int) -> NodeId | None:
        useful = [
            peer
            for peer in self._members
            if peer in self._progress
            and peer != self._me
            and self._progress[peer].certified > above
            and self._useless_until_ns.get(peer, 0) <= now_ns
        ]
        if not useful:
            return None
        self._turn += 1
        return useful[self._turn % len(useful)]
