"""When to ask whom for blocks and certificates that this node lacks.

What peers say of their progress is a hint that decides only whom to ask; what they send is checked and re-executed. One
request for blocks is outstanding at a time; it is given to the next peer when its answer is late.
"""

from __future__ import annotations

from potchain.consensus.quorum import Quorum
from potchain.primitives import NS_PER_MS, NodeId
from potchain.replica.epochs import KnownEpochs
from potchain.replica.wire import CERTIFICATES_MAX, SYNC_BLOCKS_MAX, FetchBlocks, FetchCertificates, PeerProgress

REQUEST_TIMEOUT_NS = 2_000 * NS_PER_MS
"""How long an answer may take before another peer is asked."""
USELESS_NS = 5_000 * NS_PER_MS
"""How long a peer is left out that did not answer, or had nothing to give."""


class CatchUp:
    """Chooses requests; holds one line per peer."""

    def __init__(self, me: NodeId, epochs: KnownEpochs) -> None:
        self._me = me
        self._epochs = epochs
        self._progress: dict[NodeId, PeerProgress] = {}
        self._asked: NodeId | None = None
        self._asked_ns = 0
        self._active = False
        self._useless_until_ns: dict[NodeId, int] = {}
        self._certified_seen = 0
        self._turn = 0
        self._credible: int | None = None
        """`credible_height`, until a peer tells something new."""

    def heard(self, peer: NodeId, progress: PeerProgress) -> None:
        """A peer told where it is; a validator, or whom this node is configured to be connected with."""
        if peer != self._me:
            before, credible, now = self._progress.get(peer), self._credible, progress.certified
            # Who stays on one side of that height does not move it: n peers tell of a block, f + 1 are counted.
            if credible is not None and (
                before is None or before.certified <= credible < now or now < credible <= before.certified
            ):
                self._credible = None
            self._progress[peer] = progress

    def epoch_began(self) -> None:
        """Whoever had nothing to give may have had nothing of the new epoch only."""
        self._credible = None
        self._useless_until_ns.clear()

    def gone(self, peer: NodeId) -> None:
        """A peer is disconnected: do not ask it, do not wait for it."""
        self._progress.pop(peer, None)
        self._credible = None
        self._useless_until_ns.pop(peer, None)
        if self._asked == peer:
            self._asked = None

    def answered(self, peer: NodeId, now_ns: int, *, useful: bool) -> None:
        """An answer came. A peer that had nothing to give, whatever it says of its height, is left out for a while.

        Not so one that was not asked for blocks: a question for a proposal goes to all peers, may be answered by the
        block, and then all answers but the first are useless.
        """
        if self._asked != peer:
            return
        self._asked = None
        if not useful:
            self._useless_until_ns[peer] = now_ns + USELESS_NS

    @property
    def request(self) -> tuple[NodeId, int] | None:
        """Who was asked for blocks and has not answered, and when (monotonic, ns)."""
        return None if self._asked is None else (self._asked, self._asked_ns)

    @property
    def best_height(self) -> int:
        """Highest height that a peer says is certified; one liar is enough to make it anything."""
        return max((progress.certified for progress in self._progress.values()), default=0)

    @property
    def credible_height(self) -> int:
        """Highest height that so many peers say is certified that one of them is correct; 0 when too few speak.

        Validators of the current epoch count; when too few of them are there (they may have left since), all peers do.
        """
        if self._credible is None:
            self._credible = self._count_credible()
        return self._credible

    def _count_credible(self) -> int:
        epoch = self._epochs.current
        weak_quorum = Quorum(len(epoch.ids)).weak_quorum
        members = [peer for peer in epoch.ids if peer in self._progress]
        heard = members if len(members) >= weak_quorum else self._progress
        said = sorted((self._progress[peer].certified for peer in heard), reverse=True)
        return said[weak_quorum - 1] if len(said) >= weak_quorum else 0

    @property
    def active(self) -> bool:
        """Whether blocks are being fetched."""
        return self._active

    def is_behind(self, executed: int) -> bool:
        """Whether peers are so far ahead that this node is catching up rather than taking part."""
        # Who votes hears of every decision. Who does not has nothing but these blocks.
        epoch = self._epochs.current
        far_behind = epoch.parameters.checkpoint_interval if self._me in epoch.ids else 0
        return self.credible_height > executed + far_behind

    def blocks_wanted(self, executed: int, now_ns: int, *, stuck: bool) -> tuple[NodeId, FetchBlocks] | None:
        """Whom to ask for the block after `executed`, if anybody; `stuck`: no progress for a while."""
        if self._asked is not None:
            if now_ns - self._asked_ns < REQUEST_TIMEOUT_NS:
                return None
            self._useless_until_ns[self._asked] = now_ns + USELESS_NS
            self._asked = None
        # Once it has begun, catching up goes on until this node is level, and not only when it is stuck again.
        self._active = self._active and self.credible_height > executed
        if not (stuck or self._active or self.is_behind(executed)):
            return None
        # A node that is stuck takes what is decided and not certified yet, too: perhaps it waits for this very node.
        peer = self._next_peer(executed, now_ns, decided=stuck)
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
        peer = self._next_peer(certified, now_ns, decided=False)
        if peer is None:
            return None
        return peer, FetchCertificates(certified + 1, min(CERTIFICATES_MAX, executed - certified))

    def _next_peer(self, above: int, now_ns: int, *, decided: bool) -> NodeId | None:
        """A peer that says it is above this height, with what is certified, or also with what is only decided."""
        useful = [
            peer
            for peer, progress in sorted(self._progress.items())
            if max(progress.certified, progress.executed if decided else 0) > above
            and self._useless_until_ns.get(peer, 0) <= now_ns
        ]
        if not useful:
            return None
        self._turn += 1
        return useful[self._turn % len(useful)]
