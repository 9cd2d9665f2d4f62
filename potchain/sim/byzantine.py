"""Faulty middleware around a shipping node: what goes in and out of it is dropped, doubled, changed or made up.

The node inside runs the shipping code and knows nothing; whatever its signatures are put on outside is the liar's. A
plan names behaviours; several may act at once, one after the other. Everything is drawn from dice of the plan's seed
and the node's number, so a run stays a function of its plan.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable

import msgspec

from potchain.blocks import BLOCK_VOTE
from potchain.consensus.interface import ConsensusMessage
from potchain.errors import CodecError, ConfigError
from potchain.primitives import NodeId
from potchain.replica import wire
from potchain.sim.forging import Forger, frame_of, proposal_of
from potchain.sim.middleware import Attacker
from potchain.sim.plan import Byzantine

REMEMBERED = 64
"""Old frames and messages that a liar keeps for later."""

Outgoing = list[tuple[NodeId, bytes]]


class Behaviour:
    """One way to be faulty. Each outgoing frame is for one receiver."""

    def __init__(self, attacker: Attacker, forger: Forger) -> None:
        self.me = attacker.node_id
        self.peers = attacker.peers
        self.forger = forger
        self.dice = forger.dice

    def outgoing(self, to: NodeId, data: bytes, message: ConsensusMessage | None) -> Outgoing:
        """What goes out in place of a frame; `message` is what it holds, if it is a consensus message."""
        return [(to, data)]

    def incoming(self, sender: NodeId, data: bytes) -> None:
        """Look at a frame that came in."""

    def is_odd(self, to: NodeId) -> bool:
        """Whether a receiver belongs to the second of two halves."""
        return to in self.peers and self.peers.index(to) % 2 == 1

    def sent(self, to: NodeId, message: ConsensusMessage | None) -> Outgoing:
        """A forged message on its way, if it has bytes at all."""
        data = None if message is None else frame_of(message)
        return [] if data is None else [(to, data)]


class Silence(Behaviour):
    """Votes for nothing; gossip and catch-up go on."""

    def outgoing(self, to: NodeId, data: bytes, message: ConsensusMessage | None) -> Outgoing:
        return [(to, data)] if message is None else []


class Mute(Behaviour):
    """Sends nothing at all, and hears everything."""

    def outgoing(self, to: NodeId, data: bytes, message: ConsensusMessage | None) -> Outgoing:
        return []


class Selective(Behaviour):
    """For each kind of frame, some receivers never get it."""

    def __init__(self, attacker: Attacker, forger: Forger) -> None:
        super().__init__(attacker, forger)
        self._served: dict[str, frozenset[NodeId]] = {}

    def outgoing(self, to: NodeId, data: bytes, message: ConsensusMessage | None) -> Outgoing:
        kind = str(data[0]) if message is None else message.kind
        served = self._served.get(kind)
        if served is None:
            served = frozenset(self.dice.sample(self.peers, self.dice.randrange(len(self.peers))))
            self._served[kind] = served
        return [(to, data)] if to in served else []


class Replay(Behaviour):
    """Old frames come again: its own, and those of others under its own session."""

    def __init__(self, attacker: Attacker, forger: Forger) -> None:
        super().__init__(attacker, forger)
        self._old: deque[bytes] = deque(maxlen=REMEMBERED)

    def outgoing(self, to: NodeId, data: bytes, message: ConsensusMessage | None) -> Outgoing:
        old = self.dice.choice(self._old) if self._old and self.dice.random() < 0.4 else None
        self._keep(data)
        return [(to, data)] if old is None else [(to, old), (to, data)]

    def incoming(self, sender: NodeId, data: bytes) -> None:
        self._keep(data)

    def _keep(self, data: bytes) -> None:
        if self.dice.random() < 0.3:
            self._old.append(data)


class Mutate(Behaviour):
    """Any field of any frame changes, without a new signature."""

    def outgoing(self, to: NodeId, data: bytes, message: ConsensusMessage | None) -> Outgoing:
        return [(to, self.forger.mutated_frame(data) if self.dice.random() < 0.3 else data)]


class MutateSigned(Behaviour):
    """Any field of its own messages changes, and the signature is good."""

    def outgoing(self, to: NodeId, data: bytes, message: ConsensusMessage | None) -> Outgoing:
        if message is None or message.sender != self.me or self.dice.random() > 0.4:
            return [(to, data)]
        return self.sent(to, self.forger.mutated_message(message))


class Equivocate(Behaviour):
    """Half of the peers see one history, half another: two proposals for a slot, and votes for each."""

    def __init__(self, attacker: Attacker, forger: Forger) -> None:
        super().__init__(attacker, forger)
        self._others: dict[tuple[int, int, int, bytes], bytes] = {}
        """(epoch, view, sequence, digest) of a proposal to the digest of its double."""

    def outgoing(self, to: NodeId, data: bytes, message: ConsensusMessage | None) -> Outgoing:
        if message is None or message.sender != self.me or not self.is_odd(to):
            return [(to, data)]
        double = self._learn(message)
        if double is not None:
            return self.sent(to, double)
        if message.sequence == 0:
            return [(to, data)]
        place = (message.epoch, message.view, message.sequence, message.digest)
        digest = self._others.get(place)
        if digest is None:
            if message.kind != BLOCK_VOTE:
                return [(to, data)]
            digest = bytes(reversed(message.digest))
        return self.sent(to, self.forger.signed(message, digest=digest))

    def incoming(self, sender: NodeId, data: bytes) -> None:
        message = _message_of(data)
        if message is not None:
            self._learn(message)

    def _learn(self, message: ConsensusMessage) -> ConsensusMessage | None:
        double = self.forger.other_proposal(message)
        if double is None:
            return None
        if len(self._others) >= REMEMBERED:
            self._others.pop(next(iter(self._others)))
        self._others[message.epoch, message.view, message.sequence, message.digest] = double.digest
        return double


class LieInViewChange(Behaviour):
    """View changes without what was prepared, with another checkpoint, for views far above, out of nothing."""

    def __init__(self, attacker: Attacker, forger: Forger) -> None:
        super().__init__(attacker, forger)
        self._last: ConsensusMessage | None = None

    def outgoing(self, to: NodeId, data: bytes, message: ConsensusMessage | None) -> Outgoing:
        mine = message is not None and message.sender == self.me
        if message is None or not mine or message.sequence or "new" in message.kind:
            return [(to, data), *self._unasked(to)]
        self._last = message
        lies = self.forger.lies(message)
        said = self.dice.choice([message, *lies])
        if self.dice.random() < 0.4:
            said = self.forger.signed(said, view=said.view + self.dice.choice((1, 2, 1_000)))
        return self.sent(to, said)

    def incoming(self, sender: NodeId, data: bytes) -> None:
        message = _message_of(data)
        if message is not None and message.sequence == 0 and "new" not in message.kind:
            self._last = message

    def _unasked(self, to: NodeId) -> Outgoing:
        if self._last is None or self.dice.random() > 0.05:
            return []
        return self.sent(to, self.forger.signed(self._last, view=self._last.view + self.dice.choice((1, 1, 2, 2**40))))


class LieInNewView(Behaviour):
    """As a new primary it names other view changes than it has, and proposes what the new view did not choose."""

    def outgoing(self, to: NodeId, data: bytes, message: ConsensusMessage | None) -> Outgoing:
        if message is None or message.sender != self.me or message.view == 0 or message.kind == BLOCK_VOTE:
            return [(to, data)]
        if message.sequence == 0 and "new" in message.kind:
            said: ConsensusMessage | None = self.dice.choice([message, *self.forger.lies(message)])
            return self.sent(to, said)
        if proposal_of(message.body) is None or self.dice.random() > 0.5:
            return [(to, data)]
        make = self.dice.choice((self.forger.other_proposal, self.forger.null_proposal))
        return self.sent(to, make(message))


class LieInCatchUp(Behaviour):
    """Blocks, bodies, proposals, certificates and heights that are not true."""

    def outgoing(self, to: NodeId, data: bytes, message: ConsensusMessage | None) -> Outgoing:
        if message is not None or self.dice.random() > 0.7:
            return [(to, data)]
        frame = _frame_of(data)
        if isinstance(frame, wire.PeerProgress):
            far = frame.executed + self.dice.choice((1, 10, 2**32))
            return [(to, self.dice.choice((wire.encode_frame(wire.PeerProgress(far, far, far)),
                                           self.forger.mutated_frame(data))))]
        if isinstance(frame, wire.BlocksAnswer) and len(frame.blocks) > 1:
            turned = wire.BlocksAnswer(frame.blocks[::-1])
            swapped = msgspec.structs.replace(frame.blocks[0], bodies=frame.blocks[-1].bodies)
            said = self.dice.choice((turned, wire.BlocksAnswer((swapped, *frame.blocks[1:])), frame))
            return [(to, wire.encode_frame(said))]
        return [(to, self.forger.mutated_frame(data))]


class Refuse(Behaviour):
    """Answers no question and passes no transaction on."""

    def outgoing(self, to: NodeId, data: bytes, message: ConsensusMessage | None) -> Outgoing:
        return [] if message is None and not isinstance(_frame_of(data), wire.PeerProgress) else [(to, data)]


class Flood(Behaviour):
    """Good signatures on votes for places and views that nobody is at, and rubbish behind them."""

    def outgoing(self, to: NodeId, data: bytes, message: ConsensusMessage | None) -> Outgoing:
        if message is None or message.sender != self.me:
            return [(to, data)]
        extra: Outgoing = []
        for _ in range(self.dice.randrange(4)):
            far = self.dice.choice((1, 3, 50, 2**40))
            place = self.dice.choice(({"view": message.view + far}, {"sequence": message.sequence + far}))
            extra += self.sent(to, self.forger.signed(message, digest=self.dice.randbytes(32), **place))
        if self.dice.random() < 0.2:
            extra.append((to, self.dice.randbytes(self.dice.randrange(1, 300))))
        return [(to, data), *extra]


BEHAVIOURS: dict[str, Callable[[Attacker, Forger], Behaviour]] = {
    "silence": Silence,
    "mute": Mute,
    "selective": Selective,
    "replay": Replay,
    "mutate": Mutate,
    "mutate-signed": MutateSigned,
    "equivocate": Equivocate,
    "lie-in-view-change": LieInViewChange,
    "lie-in-new-view": LieInNewView,
    "lie-in-catch-up": LieInCatchUp,
    "refuse": Refuse,
    "flood": Flood,
}
"""What `Byzantine.behaviours` may name."""


class Liar:
    """The middleware of one node: its behaviours, one after the other."""

    def __init__(self, lie: Byzantine, attacker: Attacker) -> None:
        """Raises ConfigError for a behaviour that does not exist."""
        unknown = [name for name in lie.behaviours if name not in BEHAVIOURS]
        if unknown:
            raise ConfigError(f"unknown behaviour {unknown[0]!r} (known: {', '.join(BEHAVIOURS)})")
        # Each behaviour has dice of its own, so that leaving one out does not change the others.
        seed = attacker.rng.getrandbits(64)
        self._behaviours = [
            BEHAVIOURS[name](
                attacker,
                Forger(
                    key=attacker.key,
                    me=attacker.node_id,
                    genesis_hash=attacker.genesis.hash,
                    engine=attacker.engine.name,
                    dice=random.Random(f"{seed}/{name}"),
                    saboteur=getattr(attacker.engine, "saboteur", None),
                ),
            )
            for name in lie.behaviours
        ]

    def outgoing(self, to: NodeId, frame: wire.Frame, now_ns: int) -> list[tuple[NodeId, wire.Frame | bytes]]:
        """What goes out in place of a frame to one receiver."""
        data = wire.encode_frame(frame)
        frames: Outgoing = [(to, data)]
        for behaviour in self._behaviours:
            frames = [
                result
                for receiver, each in frames
                for result in behaviour.outgoing(receiver, each, _message_of(each))
                if result[1]  # a transport carries no frame of nothing
            ]
        return [(receiver, frame if each is data else _frame_of(each) or each) for receiver, each in frames]

    def incoming(self, sender: NodeId, frame: wire.Frame, now_ns: int) -> list[wire.Frame]:
        """The node inside gets what came; its behaviours look at it."""
        data = wire.encode_frame(frame)
        for behaviour in self._behaviours:
            behaviour.incoming(sender, data)
        return [frame]


def _frame_of(data: bytes) -> wire.Frame | None:
    try:
        return wire.decode_frame(data)
    except CodecError:
        return None


def _message_of(data: bytes) -> ConsensusMessage | None:
    if not data or data[0]:
        return None
    frame = _frame_of(data)
    return frame if isinstance(frame, ConsensusMessage) else None
