"""Gathering erasure-coded shares of bundles until they can be decoded, and passing this node's own share on.

Theory of operation. A client gives share i to member i. Each member sends its own share once to all others, the moment
it has it. With k shares, from whomever, a bundle is handed to the driver, which decodes it off the loop, codes it
again, and compares the root. Then the transactions come back one by one, as from gossip; they are not gossiped, for
every node gathers for itself. A share is no body: nothing is admitted, persisted or voted for because of one.

Who decodes before his own share has come sends it as well: it was computed in the check, and may be what a slower
node lacks. So each member sends its own share once at most, with or without the client's help.

Bounds. Anybody who may connect can sign rubbish with a key of his own. Bundles that are incomplete are counted for the
account that signed them and the peer that first brought them; when room is short the peer that takes most of it loses
its oldest, so those who flood push out each other. What does not move is dropped. Who loses a bundle here fetches the
bodies of a proposal, as ever.
"""

from __future__ import annotations

from collections import deque

import msgspec

from potchain.consensus.quorum import Quorum
from potchain.dissemination import BundleHead, Share, needed_shares, shares_of
from potchain.primitives import NS_PER_S, Digest, NodeId
from potchain.replica.actions import BundleDecoded, DecodeBundle, Notice, ShareVerified, Transmit
from potchain.replica.rooms import Rooms
from potchain.replica.wire import BundleShare

UNDER_WAY_BYTES_MAX = 64 * 1024 * 1024
"""Sum of the lengths of incomplete bundles: of each, no more than that is kept in shares."""
COUNTED_BYTES_MIN = 64 * 1024
"""A shorter bundle counts as this long: so there are 1,024 at most, and 256 of one peer."""
UNDER_WAY_PER_ACCOUNT_MAX = 256
"""Incomplete bundles signed by one account."""
UNDER_WAY_PER_PEER_BYTES_MAX = 16 * 1024 * 1024
"""Sum of the lengths of incomplete bundles that one peer was the first to bring. A share that belongs to nothing is
uploaded to everyone by the node that it was sent to: with k at least n - 2f, about three times this in each
`STANDSTILL_NS`, for each peer that does such things."""
STANDSTILL_NS = 30 * NS_PER_S
"""An incomplete bundle is dropped when no new share of it has come for so long."""
FINISHED_MAX = 4_096
"""Bundles that are remembered as decoded or refused, so that late shares of them are dropped unseen."""


class Gathering(msgspec.Struct):
    """A bundle that is not decoded yet."""

    head: BundleHead
    signature: bytes
    account: bytes
    opener: NodeId
    """The peer that first brought a share."""
    moved_ns: int
    """When the last new share came."""
    blocks: dict[int, bytes]
    forwarded: bool = False
    """The own share was sent."""
    decoding: bool = False

    @property
    def counted_bytes(self) -> int:
        """What it takes of the room for incomplete bundles."""
        return max(self.head.bundle_bytes, COUNTED_BYTES_MIN)


class Sharing:
    """The bundles of one node that are under way."""

    def __init__(self, rooms: Rooms) -> None:
        self._me = rooms.me
        self._epochs = rooms.epochs
        self._outbox = rooms.outbox
        self._under_way: dict[Digest, Gathering] = {}
        self._bytes = 0
        self._finished: dict[Digest, bool] = {}
        """Whether the own share was sent, of those that are over."""
        self._dropped = 0

    def wants(self, bundle: Digest, share: Share) -> bool:
        """Whether a share is worth checking: of this epoch's size, and new."""
        gathering = self._under_way.get(bundle)
        if gathering is not None:
            own = share.index == self._place and not gathering.forwarded
            return own or not (gathering.decoding or share.index in gathering.blocks)
        if bundle in self._finished:
            return share.index == self._place and not self._finished[bundle]
        members = len(self._epochs.current.ids)
        # With fewer needed, a small share would make this node upload a large multiple of the bundle.
        needed_min = needed_shares(members, 2 * Quorum(members).faults_max)
        return share.head.shares == shares_of(members) and share.head.needed >= needed_min

    def take(self, event: ShareVerified, now_ns: int) -> None:
        """Keep a good share; forward it if it is this node's own; decode when there are enough."""
        share = event.share
        if not self.wants(event.bundle, share):
            return  # it became useless between its check and now
        if event.bundle in self._finished:
            self._finished[event.bundle] = True
            self._forward(share)
            return
        gathering = self._under_way.get(event.bundle)
        if gathering is None:
            gathering = Gathering(share.head, share.signature, event.account, event.sender, now_ns, {})
            if not self._make_room(gathering):
                self._dropped += 1
                return
            self._under_way[event.bundle] = gathering
            self._bytes += gathering.counted_bytes
        if share.index == self._place and not gathering.forwarded:
            gathering.forwarded = True
            # The signature that was checked, and not one that came later with a known head.
            self._forward(msgspec.structs.replace(share, signature=gathering.signature))
        if gathering.decoding or share.index in gathering.blocks:
            return
        gathering.moved_ns = now_ns
        gathering.blocks[share.index] = share.block
        if len(gathering.blocks) >= share.head.needed:
            gathering.decoding = True
            self._outbox.now(
                DecodeBundle(
                    event.bundle,
                    gathering.head,
                    gathering.signature,
                    tuple(gathering.blocks.items()),
                    self._place,
                )
            )
            gathering.blocks = dict.fromkeys(gathering.blocks, b"")

    def decoded(self, event: BundleDecoded) -> None:
        """A bundle is over: remember it, and send the own share if that was not done."""
        gathering = self._drop(event.bundle)
        if gathering is None:
            return
        if event.fault:
            signer = gathering.account.hex()
            self._outbox.now(Notice("warning", f"bundle signed by 0x{signer} refused: {event.fault}"))
        elif event.own is not None and not gathering.forwarded:
            gathering.forwarded = True
            self._forward(event.own)
        # An inconsistent one is forwarded by nobody any more.
        self._finished[event.bundle] = gathering.forwarded or bool(event.fault)
        if len(self._finished) > FINISHED_MAX:
            del self._finished[next(iter(self._finished))]

    def tick(self, now_ns: int) -> None:
        """Once a second: drop what stands still, and say so if anything was dropped."""
        still = [
            bundle
            for bundle, each in self._under_way.items()
            if not each.decoding and now_ns - each.moved_ns >= STANDSTILL_NS
        ]
        for bundle in still:
            self._drop(bundle)
        self._dropped += len(still)
        if self._dropped:
            self._outbox.now(Notice("debug", f"{self._dropped} incomplete bundles of shares dropped"))
            self._dropped = 0

    def sizes(self) -> dict[str, int]:
        """Sizes of the buffers."""
        return {
            "bundles_under_way": len(self._under_way),
            "bundles_bytes": self._bytes,
            "bundles_finished": len(self._finished),
        }

    @property
    def _place(self) -> int | None:
        """Index of this node's own share; None for an observer, and where the code has no more shares."""
        place = self._epochs.place_of(self._me)
        return place if place is not None and place < shares_of(len(self._epochs.current.ids)) else None

    def _forward(self, share: Share) -> None:
        self._outbox.now(Transmit(None, BundleShare(share)))

    def _make_room(self, wanted: Gathering) -> bool:
        """Drop others' bundles for this one if they take more than their part; whether there is room for it now."""
        if sum(each.account == wanted.account for each in self._under_way.values()) >= UNDER_WAY_PER_ACCOUNT_MAX:
            return False
        held: dict[NodeId, deque[Digest]] = {}
        size = dict.fromkeys([wanted.opener], wanted.counted_bytes)
        for bundle, each in self._under_way.items():
            held.setdefault(each.opener, deque()).append(bundle)
            size[each.opener] = size.get(each.opener, 0) + each.counted_bytes
        if size[wanted.opener] > UNDER_WAY_PER_PEER_BYTES_MAX:
            return False
        while self._bytes + wanted.counted_bytes > UNDER_WAY_BYTES_MAX:
            greatest = max(size, key=lambda peer: size[peer])
            oldest = held.get(greatest)
            if greatest == wanted.opener or not oldest:
                return False
            dropped = self._drop(oldest.popleft())
            assert dropped is not None
            size[greatest] -= dropped.counted_bytes
            self._dropped += 1
        return True

    def _drop(self, bundle: Digest) -> Gathering | None:
        gathering = self._under_way.pop(bundle, None)
        if gathering is not None:
            self._bytes -= gathering.counted_bytes
        return gathering
