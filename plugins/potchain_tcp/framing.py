"""Frames on a byte stream. Pure: bytes in, frames out; no sockets, no clock.

Every piece on the wire is an 8-byte header and a payload:

    offset  size  field
    0       1     framing version, 1
    1       1     kind: 1 HELLO, 2 READY, 3 DATA, 4 PING, 5 PONG, 6 CLOSE
    2       1     channel of DATA: 0 VOTES, 1 BULK; 0 for the other kinds
    3       1     flags: 1 MORE, for DATA; 0 otherwise
    4       4     payload length, big-endian, at most PIECE_BYTES_MAX

A frame of the host travels as one or more DATA pieces of its channel: all but the last are full and flagged MORE, the
last is not empty unless the frame is. So a frame has one spelling, a sender cannot make the receiver keep endless empty
pieces, and pieces of BULK leave room for VOTES between them. A piece with its header fits one TLS record.

The first piece of each side is HELLO. READY (see `remote`) opens the connection for DATA. CLOSE says why it ends.

Rule 1: nothing that a peer sends raises; the decoder names a fault and ignores all that follows.
Rule 2: a payload is copied once, out of the receive buffer; a frame of several pieces once more, when it is joined.
"""

from __future__ import annotations

import enum
import struct

import msgspec

from potchain import FRAME_BYTES_MAX, Channel

FRAMING_VERSION = 1
WIRE_VERSION_LOWEST = 1
"""Oldest wire version that this code speaks."""
WIRE_VERSION_HIGHEST = 1
"""Newest wire version that this code speaks."""
HEADER = struct.Struct("!BBBBI")
PIECE_BYTES_MAX = 16_384 - HEADER.size
"""Payload bytes of one piece."""
RECEIVE_BUFFER_BYTES = 128 * 1024
"""Bound on bytes decoded in one go, so on the work of one loop tick per peer."""
REASON_BYTES_MAX = 300
"""Bound on the text of a CLOSE."""
MORE = 1
MAGIC = b"potchain"
HELLO_BODY = struct.Struct("!8sHH32s16s")
HELLO_BYTES_MAX = 256


class Kind(enum.IntEnum):
    """What a piece is for."""

    HELLO = 1
    READY = 2
    DATA = 3
    PING = 4
    PONG = 5
    CLOSE = 6


DATA = int(Kind.DATA)
"""A plain number: of all kinds the one that must be quick."""


class Hello(msgspec.Struct, frozen=True):
    """First thing each side says."""

    lowest: int
    """Oldest wire version it speaks."""
    highest: int
    """Newest wire version it speaks."""
    genesis_hash: bytes
    boot_id: bytes
    """16 bytes, fresh at every start of a node: tells a new connection of one process from a restart."""


def _piece(kind: Kind, payload: bytes = b"") -> bytes:
    return HEADER.pack(FRAMING_VERSION, kind, 0, 0, len(payload)) + payload


READY_PIECE = _piece(Kind.READY)
PING_PIECE = _piece(Kind.PING)
PONG_PIECE = _piece(Kind.PONG)


def hello_piece(hello: Hello) -> bytes:
    """The greeting as bytes."""
    body = HELLO_BODY.pack(MAGIC, hello.lowest, hello.highest, hello.genesis_hash, hello.boot_id)
    return _piece(Kind.HELLO, body)


def close_piece(reason: str) -> bytes:
    """A farewell with its reason, cut to REASON_BYTES_MAX."""
    return _piece(Kind.CLOSE, reason.encode("ascii", "replace")[:REASON_BYTES_MAX])


def refusal_of(ours: Hello, theirs: Hello) -> str | None:
    """Why two nodes that greeted each other so cannot talk; None when they can."""
    if theirs.genesis_hash != ours.genesis_hash:
        return (
            f"it belongs to another network: its genesis hash is 0x{theirs.genesis_hash.hex()}, "
            f"ours 0x{ours.genesis_hash.hex()}; both nodes need the same genesis file"
        )
    if agreed_version(ours, theirs) is None:
        return (
            f"no common wire version: it speaks {theirs.lowest} to {theirs.highest}, "
            f"we {ours.lowest} to {ours.highest}; upgrade the older node"
        )
    return None


def agreed_version(ours: Hello, theirs: Hello) -> int | None:
    """The newest wire version that both speak."""
    version = min(ours.highest, theirs.highest)
    return version if version >= max(ours.lowest, theirs.lowest) else None


class FrameDecoder:
    """Incremental decoder of one direction of one connection.

    Write into `free_space`, then call `received`; read and clear the results through `take` and the attributes. Once
    `fault` or `close_reason` is set, everything after it is ignored. Memory is bounded by one unfinished piece, plus
    one unfinished frame of at most FRAME_BYTES_MAX per channel.
    """

    def __init__(self, buffer: bytearray | None = None) -> None:
        """`buffer`: RECEIVE_BUFFER_BYTES; one serves all decoders of a thread, for it holds nothing but between
        `free_space` and `received`. With many peers one each would be memory that no cache holds."""
        self._buffer = bytearray(RECEIVE_BUFFER_BYTES) if buffer is None else buffer
        self._view = memoryview(self._buffer)
        self._rest = b""
        """An unfinished piece."""
        self._frames: list[list[bytes]] = [[], []]
        self._unfinished: tuple[list[bytes], list[bytes]] = ([], [])
        self.hello: Hello | None = None
        self.ready = False
        """READY has come."""
        self.pinged = False
        """A PING has come since the reader last cleared this."""
        self.close_reason: str | None = None
        """What the peer said when it closed."""
        self.fault: str | None = None
        """Why the stream is unusable."""

    def free_space(self) -> memoryview:
        """Where the next bytes go; never empty."""
        size = len(self._rest)
        if not size:
            return self._view
        self._view[:size] = self._rest
        return self._view[size:]

    def take(self, channel: Channel) -> list[bytes]:
        """Whole frames of a channel since the last call, in order."""
        frames = self._frames[channel]
        if frames:
            self._frames[channel] = []
            return frames
        return []

    def received(self, count: int) -> None:
        """Decode, after `count` bytes were written to `free_space`."""
        if self.fault is not None or self.close_reason is not None:
            return
        at, end = 0, len(self._rest) + count
        header_bytes, unpack = HEADER.size, HEADER.unpack_from
        while end - at >= header_bytes:
            version, kind, channel, flags, length = unpack(self._buffer, at)
            if version != FRAMING_VERSION:
                self.fault = f"framing version {version}, not {FRAMING_VERSION}: this is no potchain stream"
            elif length > PIECE_BYTES_MAX:
                self.fault = f"a piece of {length} bytes was announced, at most {PIECE_BYTES_MAX} are allowed"
            if self.fault is not None:
                break
            stop = at + header_bytes + length
            if stop > end:
                break
            payload = bytes(self._view[at + header_bytes : stop])
            at = stop
            if kind == DATA:
                self._data(channel, flags, payload)
            else:
                self._control(kind, channel, flags, payload)
            if self.fault is not None or self.close_reason is not None:
                break
        over = at == end or self.fault is not None or self.close_reason is not None
        self._rest = b"" if over else bytes(self._view[at:end])

    def _data(self, channel: int, flags: int, payload: bytes) -> None:
        if self.hello is None:
            self.fault = "data came before the greeting"
        elif channel >= len(self._frames):
            self.fault = f"channel {channel} is not known"
        elif flags > MORE:
            self.fault = f"flags {flags} are not known"
        elif flags == 0 and not self._unfinished[channel]:
            self._frames[channel].append(payload)
        else:
            self._continue(channel, flags, payload)

    def _continue(self, channel: int, flags: int, payload: bytes) -> None:
        pieces = self._unfinished[channel]
        if len(pieces) * PIECE_BYTES_MAX + len(payload) > FRAME_BYTES_MAX:
            self.fault = f"a frame is longer than {FRAME_BYTES_MAX} bytes"
        elif flags == MORE and len(payload) != PIECE_BYTES_MAX:
            self.fault = f"a piece that is not a frame's last has {len(payload)} bytes, not {PIECE_BYTES_MAX}"
        elif not payload:
            self.fault = "the last piece of a longer frame is empty"
        else:
            pieces.append(payload)
            if flags == 0:
                self._frames[channel].append(b"".join(pieces))
                pieces.clear()
        if self.fault is not None:
            pieces.clear()

    def _control(self, kind: int, channel: int, flags: int, payload: bytes) -> None:
        if channel or flags:
            self.fault = f"a piece of kind {kind} has channel {channel} and flags {flags}, both must be 0"
        elif kind == Kind.HELLO:
            self._hello(payload)
        elif kind == Kind.CLOSE:
            text = payload[:REASON_BYTES_MAX].decode("ascii", "replace")
            self.close_reason = "".join(letter if letter.isprintable() else "?" for letter in text)
        elif self.hello is None:
            self.fault = f"a piece of kind {kind} came before the greeting"
        elif kind not in (Kind.READY, Kind.PING, Kind.PONG) or payload:
            self.fault = f"a piece of kind {kind} with {len(payload)} bytes is not known"
        elif kind == Kind.READY:
            if self.ready:
                self.fault = "READY came twice"
            self.ready = True
        elif kind == Kind.PING:
            self.pinged = True

    def _hello(self, payload: bytes) -> None:
        """Bytes after the known ones are room for later versions."""
        if self.hello is not None:
            self.fault = "a second greeting"
        elif not HELLO_BODY.size <= len(payload) <= HELLO_BYTES_MAX:
            self.fault = f"a greeting of {len(payload)} bytes, expected {HELLO_BODY.size} to {HELLO_BYTES_MAX}"
        else:
            magic, lowest, highest, genesis_hash, boot_id = HELLO_BODY.unpack_from(payload)
            if magic != MAGIC:
                self.fault = "the greeting does not begin with 'potchain'"
            else:
                self.hello = Hello(lowest, highest, genesis_hash, boot_id)
