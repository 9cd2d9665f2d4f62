"""This node's own signed messages: signed once under the guard, kept as long as a peer may need them again.

Host rules (b), (c) and (h). A message is sent, and comes back to this node, only after it is durable. What is re-sent
is the very same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import msgspec

from potchain.blocks import BLOCK_VOTE
from potchain.consensus.interface import ConsensusMessage
from potchain.consensus.signer import Signer
from potchain.errors import GuardRefusal
from potchain.primitives import NS_PER_S, Digest, NodeId
from potchain.replica.actions import Notice, Transmit
from potchain.replica.outbox import Outbox

FRESH_NS = NS_PER_S // 2
"""So long after it was first sent a message is not sent again: it may still be on its way."""
AGAIN_OFTEN = 4
"""It is sent again so many times whenever nothing moves, for frames get lost..."""
AGAIN_NS, AGAIN_MOST_NS = 2 * NS_PER_S, 8 * NS_PER_S
"""...then after the first of these waits, and twice as long each time, up to the second: on a slow link what is sent
again and again would be all that passes."""


_Slot = tuple[int, int, str]
"""Sequence, view, kind."""


class _Kept(msgspec.Struct, eq=False):
    message: ConsensusMessage
    due_ns: int
    """When it may be sent again."""
    times: int = 0
    """How often it was, without progress."""


class OwnMessages:
    """Signs, keeps and re-sends."""

    def __init__(
        self,
        signer: Signer | None,
        outbox: Outbox,
        durable: Callable[[ConsensusMessage], None],
        kept: Iterable[ConsensusMessage],
        may_sign: Callable[[str, int], bool] = lambda kind, sequence: True,
    ) -> None:
        """`signer` None: an observer, which signs nothing. `durable` is told of each message once it may count here.

        `may_sign`: whether this node may sign a kind at a sequence now; what it may not is not signed, and not kept.
        """
        self._may_sign = may_sign
        self._signer = signer
        self._outbox = outbox
        self._durable = durable
        self._kept: dict[_Slot, _Kept] = {}
        self.now_ns = 0
        """Monotonic time of the step that is under way; the replica says it."""
        for message in kept:
            self._keep(message, due_ns=0)

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def guard_size(self) -> int:
        """Slots that the signer's guard remembers."""
        return 0 if self._signer is None else self._signer.size

    def send(
        self, epoch: int, kind: str, view: int, sequence: int, digest: Digest, body: bytes, to: NodeId | None
    ) -> None:
        """Sign, make durable, then send and count; a refusal of the guard is logged and sends nothing."""
        if self._signer is None or not self._may_sign(kind, sequence):
            return
        try:
            message = self._signer.sign(epoch, kind, view, sequence, digest, body)
        except GuardRefusal as refusal:
            self._outbox.now(Notice("error", f"signer: {refusal}"))
            return
        self._outbox.persist(messages=(message,))
        self._outbox.then(Transmit(to, message))
        self._outbox.then(partial(self._is_durable, message))

    def block_vote(self, height: int) -> ConsensusMessage | None:
        """The own vote on that block, if it is kept."""
        kept = self._kept.get((height, 0, BLOCK_VOTE))
        return None if kept is None else kept.message

    def of_epoch(self, epoch: int, above: int) -> tuple[ConsensusMessage, ...]:
        """The engine's kept messages of one epoch, of views and above a stable checkpoint, in order."""
        return tuple(
            kept.message
            for (sequence, _, kind), kept in self._kept.items()
            if kind != BLOCK_VOTE and kept.message.epoch == epoch and not 0 < sequence <= above
        )

    def resend(self, to: NodeId, certified: int) -> None:
        """Send a peer again what belongs to no final height yet, block votes among it (host rule (h)).

        That this node has executed a height is no reason to stop: until it is final, others may lack these very
        commits, and no peer could tell that there is a block to fetch.
        """
        for slot, kept in self._kept.items():
            if _matters(slot, certified):
                self._outbox.then(Transmit(to, kept.message))

    def resend_to_all(self, certified: int) -> None:
        """The same to everybody, of each message whose time has come."""
        for slot, kept in self._kept.items():
            if self.now_ns < kept.due_ns or not _matters(slot, certified):
                continue
            self._outbox.then(Transmit(None, kept.message, again=True))
            kept.times += 1
            if kept.times >= AGAIN_OFTEN:
                kept.due_ns = self.now_ns + min(AGAIN_NS << min(kept.times - AGAIN_OFTEN, 8), AGAIN_MOST_NS)

    def certified(self, height: int) -> None:
        """The block's certificate is durable: its vote has done its work."""
        self._kept.pop((height, 0, BLOCK_VOTE), None)

    def stable(self, height: int) -> None:
        """Nothing at or below a stable checkpoint is signed or sent again, but votes for blocks without certificate."""
        if self._signer is not None:
            self._signer.forget_below(height)
        for slot in [slot for slot in self._kept if 0 < slot[0] <= height and slot[2] != BLOCK_VOTE]:
            del self._kept[slot]

    def epoch_began(self, number: int) -> None:
        """An epoch's end ends all its view changes."""
        for slot in [slot for slot, kept in self._kept.items() if slot[0] == 0 and kept.message.epoch < number]:
            del self._kept[slot]

    def _is_durable(self, message: ConsensusMessage) -> None:
        self._keep(message, self.now_ns + FRESH_NS)
        self._durable(message)

    def _keep(self, message: ConsensusMessage, due_ns: int) -> None:
        if message.sequence == 0:
            # Of a view's own messages only the newest of each kind is worth sending again.
            for slot in [slot for slot in self._kept if slot[0] == 0 and slot[2] == message.kind]:
                del self._kept[slot]
        self._kept[message.sequence, message.view, message.kind] = _Kept(message, due_ns)


def _matters(slot: _Slot, certified: int) -> bool:
    sequence, _, kind = slot
    return kind == BLOCK_VOTE or sequence == 0 or sequence > certified
