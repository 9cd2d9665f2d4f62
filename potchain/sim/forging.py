"""How a liar changes frames: any field of any type of frame, signed again with its own key where that makes sense.

The simulator knows no engine, so bodies of messages are changed as what they are on the wire: MessagePack. A value at a
random place is replaced by one of its kind, the whole is encoded again canonically, and the digest that the signature
covers is made to fit. How an engine's digest commits to its body is found out by trying the rules below on the node's
own messages; an engine with another rule offers a `Saboteur`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from hashlib import sha256
from typing import Any, Protocol

import msgspec

from potchain.blocks import Proposal, build_proposal, null_request, proposal_digest, vote_bytes
from potchain.codec import decode, encode
from potchain.consensus.interface import ConsensusMessage
from potchain.crypto import SigningKey, digest_of
from potchain.errors import CodecError
from potchain.primitives import UINT64_MAX, NodeId
from potchain.replica.wire import encode_frame

DEPTH_MAX = 12
"""How deep a body is looked into."""

Path = tuple[int, ...]


class Saboteur(Protocol):
    """What an engine's author may offer so that lies about its own messages are good ones."""

    def digest(self, message: ConsensusMessage) -> bytes | None:
        """The digest that commits to `message.body`; None: this kind has no such rule, leave the digest alone."""
        ...

    def lies(self, message: ConsensusMessage, dice: random.Random) -> Sequence[ConsensusMessage]:
        """False variants of an own message, with digests that fit; they are signed by the caller."""
        ...


class Forger:
    """Changes frames in the name of one node."""

    def __init__(
        self,
        *,
        key: SigningKey,
        me: NodeId,
        genesis_hash: bytes,
        engine: str,
        dice: random.Random,
        saboteur: Saboteur | None = None,
    ) -> None:
        """`engine`: the engine's name, which a domain tag may contain."""
        self.me = me
        self._engine = engine
        self.dice = dice
        self._key = key
        self._genesis_hash = genesis_hash
        self._saboteur = saboteur

    # --- signing ----------------------------------------------------------------------------------------------------

    def signed(self, message: ConsensusMessage, **changes: Any) -> ConsensusMessage:  # noqa: ANN401
        """The message with other fields, in this node's name, with a good signature."""
        changed = msgspec.structs.replace(message, sender=self.me, **{n: _bounded(v) for n, v in changes.items()})
        data = vote_bytes(
            self._genesis_hash, changed.epoch, changed.kind, changed.view, changed.sequence, changed.digest, self.me
        )
        return msgspec.structs.replace(changed, signature=self._key.sign_vote(data))

    def with_body(self, message: ConsensusMessage, body: bytes) -> ConsensusMessage:
        """The message with another body and the digest that commits to it, signed."""
        bare = msgspec.structs.replace(message, body=body)
        return self.signed(bare, digest=self._digest(message, bare))

    def _digest(self, original: ConsensusMessage, changed: ConsensusMessage) -> bytes:
        if self._saboteur is not None:
            digest = self._saboteur.digest(changed)
            if digest is not None:
                return digest
        proposal = proposal_of(changed.body)
        if proposal is not None and proposal_of(original.body) is not None:
            return proposal_digest(proposal.header)
        for rule in _rules(self._engine, original.kind):
            if rule(original.body) == original.digest:
                return rule(changed.body)
        return changed.digest

    # --- lies that any engine with proposals knows ------------------------------------------------------------------

    def other_proposal(self, message: ConsensusMessage) -> ConsensusMessage | None:
        """For a message with a proposal in it: one for the same slot with another, just as valid proposal.

        It is the same at every accomplice: only the timestamp differs, by one millisecond.
        """
        proposal = proposal_of(message.body)
        if proposal is None or not proposal.header.proposer:
            return None
        header = proposal.header
        other = build_proposal(
            header.genesis_hash, header.epoch, header.sequence, header.timestamp_ms + 1,
            NodeId(header.proposer), proposal.transaction_ids,
        )  # fmt: skip
        return self.signed(message, digest=proposal_digest(other.header), body=encode(other))

    def null_proposal(self, message: ConsensusMessage) -> ConsensusMessage | None:
        """For a message with a proposal in it: one that puts the null request in its place."""
        proposal = proposal_of(message.body)
        if proposal is None:
            return None
        header = proposal.header
        null = null_request(header.genesis_hash, header.epoch, header.sequence)
        return self.signed(message, digest=proposal_digest(null.header), body=encode(null))

    def lies(self, message: ConsensusMessage) -> list[ConsensusMessage]:
        """False variants of an own message: the saboteur's, and some made by changing its body."""
        found: list[ConsensusMessage] = []
        if self._saboteur is not None:
            found += [self.signed(each) for each in self._saboteur.lies(message, self.dice)]
        body = _unpacked(message.body)
        if isinstance(body, list):
            found += [self.with_body(message, _packed(variant)) for variant in self._lists(body)]
        return found

    def _lists(self, body: list[Any]) -> Iterator[list[Any]]:
        """Bodies with one of their lists emptied, cut short or in another order, or one of their numbers changed."""
        for index, value in enumerate(body):
            before, after = body[:index], body[index + 1 :]
            if isinstance(value, list) and value:
                yield [*before, [], *after]
                yield [*before, value[:-1], *after]
                yield [*before, value[::-1], *after]
                yield [*before, [*value, value[-1]], *after]
            elif isinstance(value, int) and not isinstance(value, bool):
                yield from ([*before, other, *after] for other in (0, max(value - 1, 0), value + 1))
            elif value is not None:
                yield [*before, None, *after]

    # --- mutation of any field --------------------------------------------------------------------------------------

    def mutated_frame(self, data: bytes) -> bytes:
        """The bytes of a frame with one field changed, not signed again; still a frame more often than not."""
        if self.dice.random() < 0.1:
            return self._noise(data)
        body = _unpacked(data[1:])
        if not isinstance(body, list):
            return self._noise(data)
        return data[:1] + _packed(self._mutated(body))

    def mutated_message(self, message: ConsensusMessage) -> ConsensusMessage | None:
        """The message with one of its fields changed, in this node's name, with a good signature."""
        fields = ["epoch", "kind", "view", "sequence", "digest", "body"]
        field = self.dice.choice(fields)
        value = getattr(message, field)
        if field == "body":
            body = _unpacked(value)
            changed = _packed(self._mutated(body)) if isinstance(body, list) else self._value(value)
            return self.with_body(message, changed)
        if field == "digest":
            return self.signed(message, digest=self.dice.randbytes(32))
        if field == "kind":
            return self.signed(message, kind=self.dice.choice(("", "prepare", "commit", "pre-prepare", "x" * 40)))
        return self.signed(message, **{field: self._value(value)})

    def _mutated(self, body: list[Any]) -> list[Any]:
        path = self.dice.choice(list(_places(body, (), 0)) or [()])
        return _replaced(body, path, self._value(_at(body, path))) if path else []

    def _value(self, value: Any) -> Any:  # noqa: ANN401
        """Another value of that kind, mostly."""
        dice = self.dice
        if isinstance(value, bool) or value is None:
            return dice.choice((None, 0, b""))
        if isinstance(value, int):
            near = (max(value - 1, 0), value + 1, value + 2, 2 * value)
            return _bounded(dice.choice((0, 1, *near, 2**32, UINT64_MAX)))
        if isinstance(value, str):
            return dice.choice(("", value + "x", value[:-1]))
        if isinstance(value, list):
            return dice.choice(([], value[:-1], value[1:], value[::-1], [*value, *value]))
        inner = _unpacked(value) if isinstance(value, bytes) else None
        if isinstance(inner, list) and dice.random() < 0.7:
            return _packed(self._mutated(inner))
        if not value:
            return dice.randbytes(dice.choice((1, 20, 32)))
        place = dice.randrange(len(value))
        flipped = value[:place] + bytes((value[place] ^ 1 << dice.randrange(8),)) + value[place + 1 :]
        return dice.choice((flipped, flipped, flipped, bytes(len(value)), value[:-1], value + b"\x00", b""))

    def _noise(self, data: bytes) -> bytes:
        dice = self.dice
        cut = dice.randrange(len(data))
        byte = bytes((dice.randrange(256),))
        return dice.choice((data[:cut], data + dice.randbytes(3), dice.randbytes(cut + 1), byte))


def frame_of(message: ConsensusMessage) -> bytes | None:
    """Wire bytes; None when the changed message has none (a number that is too large)."""
    try:
        return encode_frame(message)
    except (OverflowError, msgspec.MsgspecError):
        return None


def proposal_of(body: bytes) -> Proposal | None:
    """The proposal that a body is, if it is one."""
    try:
        return decode(Proposal, body)
    except CodecError:
        return None


@cache
def _rules(engine: str, kind: str) -> tuple[Callable[[bytes], bytes], ...]:
    """Ways in which a digest may commit to a body: sha256 of it, or of it behind a domain tag."""
    words = (kind, "view", "body", "message", "vote", "digest")
    tags = [f"{project}{engine}.{word}.1" for project in ("potchain.", "", f"potchain_{engine}.") for word in words]
    return (_sha256, *(partial(_tagged, tag.encode()) for tag in tags))


def _sha256(body: bytes) -> bytes:
    return sha256(body).digest()


def _tagged(tag: bytes, body: bytes) -> bytes:
    return digest_of(tag, body)


def _bounded(value: Any) -> Any:  # noqa: ANN401
    """A number that still has canonical bytes."""
    return min(value, UINT64_MAX) if isinstance(value, int) else value


def _unpacked(data: bytes) -> Any:  # noqa: ANN401
    if not data:
        return None
    try:
        return msgspec.msgpack.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _packed(value: Any) -> bytes:  # noqa: ANN401
    try:
        return msgspec.msgpack.encode(value)
    except OverflowError:
        return b""


def _places(value: Any, path: Path, depth: int) -> Iterator[Path]:  # noqa: ANN401
    """Every place of a structure, lists and leaves."""
    if path:
        yield path
    if isinstance(value, list) and depth < DEPTH_MAX:
        for index, inner in enumerate(value):
            yield from _places(inner, (*path, index), depth + 1)


def _at(value: Any, path: Path) -> Any:  # noqa: ANN401
    for index in path:
        value = value[index]
    return value


def _replaced(value: list[Any], path: Path, new: Any) -> list[Any]:  # noqa: ANN401
    copy = list(value)
    copy[path[0]] = new if len(path) == 1 else _replaced(copy[path[0]], path[1:], new)
    return copy
