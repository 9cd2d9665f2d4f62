"""One TLS connection, from its handshake to its end.

`connection_made` runs only after both sides' certificates were checked, so everything here is said by the holder of a
configured node key. A session decides nothing about other sessions: it tells its owner (see `remote`) what came.

    connection_made -> HELLO both ways -> READY -> DATA -> CLOSE, a fault, silence or a lost connection

Rule 1: nothing raises for what a peer sends; a fault ends the session with a reason.
Rule 2: `lost` of the owner is called exactly once for every session that was made.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from typing import Protocol, cast

from potchain import Channel
from potchain_tcp.framing import PING_PIECE, PONG_PIECE, READY_PIECE, FrameDecoder, Hello, close_piece, hello_piece
from potchain_tcp.options import TcpOptions
from potchain_tcp.tls import certified_key

CHANNELS = (Channel.VOTES, Channel.BULK)


class SessionOwner(Protocol):
    """The peer that a session belongs to."""

    def greeted(self, session: Session, hello: Hello) -> None:
        """The peer's HELLO has come."""
        ...

    def ready(self, session: Session) -> None:
        """The peer's READY has come."""
        ...

    def frames(self, session: Session, channel: Channel, frames: Sequence[bytes]) -> None:
        """Whole frames have come."""
        ...

    def faulted(self, session: Session, fault: str) -> None:
        """The peer sent what cannot be decoded."""
        ...

    def writable(self, session: Session) -> None:
        """The connection takes more again."""
        ...

    def lost(self, session: Session, reason: str) -> None:
        """The session is over."""
        ...


class SessionHost(Protocol):
    """What every session of a transport shares."""

    options: TcpOptions
    hello: Hello
    """Our greeting."""
    sessions: set[Session]
    """Those that are connected; a session adds and removes itself."""
    receive_buffer: bytearray
    """See `FrameDecoder`."""

    def owner_of(self, key: bytes | None) -> SessionOwner | None:
        """The configured peer that has this node key."""
        ...


class Session(asyncio.BufferedProtocol):
    """See the module's text. `dialled`: the peer that we called, None when it called us."""

    def __init__(self, host: SessionHost, loop: asyncio.AbstractEventLoop, dialled: SessionOwner | None) -> None:
        self._host = host
        self._loop = loop
        self.dialled = dialled
        self._owner: SessionOwner | None = None
        self._transport: asyncio.Transport | None = None
        self._decoder = FrameDecoder(host.receive_buffer)
        self._greeting_timer: asyncio.TimerHandle | None = None
        self._close_timer: asyncio.TimerHandle | None = None
        self._reason: str | None = None
        self._greeted = False
        self._readied = False
        self.boot_id = b""
        """The peer's, from its HELLO."""
        self.paused = False
        """The connection takes no more for now."""
        self.reading_paused = False
        """We take no more for now."""
        self.heard_at = loop.time()
        """Loop time of the last bytes from the peer."""
        self.hear_by: float | None = None
        """Loop time until which the peer must give a sign of life."""
        self.bytes_in = 0
        self.bytes_out = 0
        self.ended: asyncio.Future[None] = loop.create_future()
        """Done when the connection is gone."""

    @property
    def owner(self) -> SessionOwner | None:
        """The peer whose key the other side holds, once that is known."""
        return self._owner

    @property
    def closing(self) -> bool:
        """Whether the session is over for its owner, though it may still flush."""
        return self._reason is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The TLS handshake is complete: find out whose key it was, and greet."""
        self._transport = stream = cast(asyncio.Transport, transport)  # uvloop's does not inherit from asyncio's
        self._host.sessions.add(self)
        self._tune(stream)
        tls = stream.get_extra_info("ssl_object")
        certificate = tls.getpeercert(binary_form=True)
        owner = self._host.owner_of(certified_key(certificate) if certificate else None)
        if owner is None or (self.dialled is not None and owner is not self.dialled):
            self.abort("its certificate does not show the configured node key")
            return
        self._owner = owner
        timeout = self._host.options.handshake_timeout_ms / 1000
        self._greeting_timer = self._loop.call_later(timeout, self._greeting_overdue)
        self.write(hello_piece(self._host.hello))

    def _tune(self, transport: asyncio.Transport) -> None:
        """Pause as soon as one byte is not taken, and keep little in the kernel: votes wait behind all of that."""
        transport.set_write_buffer_limits(high=1, low=0)
        lowat = getattr(socket, "TCP_NOTSENT_LOWAT", None)
        connection = transport.get_extra_info("socket")
        if lowat is not None and connection is not None:
            connection.setsockopt(socket.IPPROTO_TCP, lowat, min(self._host.options.bulk_bytes_per_tick, 2**31 - 1))

    def _greeting_overdue(self) -> None:
        self.close(f"no greeting within {self._host.options.handshake_timeout_ms} ms")

    # Reading

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the event loop puts what it reads."""
        return self._decoder.free_space()

    def buffer_updated(self, nbytes: int) -> None:
        """The event loop has read `nbytes`."""
        self.bytes_in += nbytes
        self.heard_at = self._loop.time()
        self.hear_by = None
        owner, decoder = self._owner, self._decoder
        if owner is None or self._reason is not None:
            return
        decoder.received(nbytes)
        if not self._greeted and decoder.hello is not None:
            self._greeted = True
            self.boot_id = decoder.hello.boot_id
            owner.greeted(self, decoder.hello)
        if not self._readied and decoder.ready and not self.closing:
            self._readied = True
            owner.ready(self)
        for channel in CHANNELS:
            frames = decoder.take(channel)
            if frames and self._reason is None:
                owner.frames(self, channel, frames)
        if self._reason is not None:
            return
        if decoder.fault is not None:
            owner.faulted(self, decoder.fault)
        elif decoder.close_reason is not None:
            self.close(f"closed by the peer: {decoder.close_reason}", say=False)
        elif decoder.pinged:
            decoder.pinged = False
            self._small_talk(PONG_PIECE)

    def pause_reading(self) -> None:
        """Leave what comes to the connection, which pushes back."""
        self.reading_paused = True
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read again; the silence meanwhile was ours."""
        self.reading_paused = False
        self.heard_at = self._loop.time()
        if self._transport is not None:
            self._transport.resume_reading()

    def eof_received(self) -> bool:
        """The peer has said all: close our side too."""
        return False

    # Writing

    def write(self, data: bytes) -> None:
        """Hand bytes to the connection; the caller keeps to `paused` for anything that is large."""
        if self._transport is not None and not self._transport.is_closing():
            self.bytes_out += len(data)
            self._transport.write(data)

    def ping(self) -> None:
        """Ask for a sign of life."""
        self._small_talk(PING_PIECE)

    def _small_talk(self, piece: bytes) -> None:
        """Signs of life are left out when others wait to be taken: a peer that never reads must not pile them up."""
        if not self.paused:
            self.write(piece)

    def open_for_data(self) -> None:
        """Tell the peer that this connection is the one."""
        self.write(READY_PIECE)

    def settled(self) -> None:
        """The session is its peer's one session now."""
        self._stop_greeting_timer()

    def pause_writing(self) -> None:
        """The connection has enough."""
        self.paused = True

    def resume_writing(self) -> None:
        """The connection takes more."""
        self.paused = False
        if self._owner is not None:
            self._owner.writable(self)

    # Ending

    def close(self, reason: str, *, say: bool = True) -> None:
        """End the session after what was written is flushed, for at most `close_timeout_ms`; `say` tells the peer."""
        if self._end(reason) and self._transport is not None:
            if say:
                self.write(close_piece(reason))
            self._transport.close()
            self._close_timer = self._loop.call_later(self._host.options.close_timeout_ms / 1000, self._transport.abort)

    def abort(self, reason: str) -> None:
        """End the session at once, whatever was written."""
        self._end(reason)
        if self._transport is not None:
            self._transport.abort()

    def _end(self, reason: str) -> bool:
        if self.closing:
            return False
        self._reason = reason
        self._stop_greeting_timer()
        if self._owner is not None:
            self._owner.lost(self, reason)
        return True

    def _stop_greeting_timer(self) -> None:
        if self._greeting_timer is not None:
            self._greeting_timer.cancel()
            self._greeting_timer = None

    def connection_lost(self, exc: BaseException | None) -> None:
        """The connection is gone."""
        if self._close_timer is not None:
            self._close_timer.cancel()
        self._end(_in_words(exc, greeted=self._greeted))
        self._transport = None
        self._host.sessions.discard(self)
        if not self.ended.done():
            self.ended.set_result(None)


def _in_words(fault: BaseException | None, *, greeted: bool) -> str:
    """A side that refuses a certificate just hangs up: asyncio drops the TLS alert that would say so."""
    if not greeted:
        return "the peer hung up before its greeting; check the node_key that it has for us"
    if fault is None:
        return "the peer closed the connection without a word"
    return f"the connection broke: {fault}"
