"""The transport itself: listening, dialling, one write per peer and loop tick, keep-alive, closing.

Accepting is done by hand (`accept` when the listener is readable, then the TLS handshake in a task of its own) because
asyncio's own server gives no account of handshakes that fail, and does not bound those in progress.

Frames queued during a tick leave in the next: `send` marks the peer and asks for one `call_soon`. A peer with more to
say than one tick's share is served again in the tick after, so peers take turns.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Coroutine, Sequence

from potchain import Channel, LinkProfile, NodeId, Peer, PeerStatus, TransportConfig, TransportError, TransportEvents
from potchain_tcp.downlink import Incoming
from potchain_tcp.framing import RECEIVE_BUFFER_BYTES, WIRE_VERSION_HIGHEST, WIRE_VERSION_LOWEST, Hello
from potchain_tcp.options import TcpOptions
from potchain_tcp.remote import Remote
from potchain_tcp.session import Session
from potchain_tcp.shaping import Outgoing
from potchain_tcp.tls import NodeIdentity, load_public_key

LISTEN_BACKLOG = 128
ACCEPT_RETRY_S = 1.0
"""Pause after the system had no socket to give."""
STALL_FACTOR = 3
"""A keep-alive tick that comes so many intervals late says that our own process stood still."""


class TcpTransport:
    """TCP with TLS 1.3, both sides pinned. Implements `potchain.Transport`.

    A peer with port 0 is never dialled: it is expected to dial us. A peer entry with our own id is left out.
    """

    def __init__(self, config: TransportConfig, events: TransportEvents, options: TcpOptions) -> None:
        """Raises TransportError for an unusable key, or two peers with one id or one key."""
        self._config = config
        self._events = events
        self.options = options
        self._identity = NodeIdentity(config.node_key_secret)
        if len(config.genesis_hash) != 32:
            raise TransportError(f"a genesis hash has 32 bytes, this one {len(config.genesis_hash)}")
        self.hello = Hello(WIRE_VERSION_LOWEST, WIRE_VERSION_HIGHEST, config.genesis_hash, os.urandom(16))
        self.receive_buffer = bytearray(RECEIVE_BUFFER_BYTES)
        self.sessions: set[Session] = set()
        """Connections past their TLS handshake, whether or not they are a peer's one session."""
        self.listen_port = 0
        """The port in use; differs from the configured one when that is 0."""
        self.refused_handshakes = 0
        """Incoming connections whose TLS handshake was refused: an unknown key, no key, or no TLS at all."""
        self.failed_handshakes = 0
        """Incoming connections that ended, timed out or found no slot before their handshake was complete."""
        self.outgoing: Outgoing | None = None
        self.incoming: Incoming | None = None
        self._links = config.links
        self._peers = _checked(config.peers, config.me, self._identity.public_key)
        self._remotes: dict[NodeId, Remote] = {}
        self._by_key: dict[bytes, Remote] = {}
        self._dialling: dict[NodeId, asyncio.Task[None]] = {}
        self._listeners: list[socket.socket] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._handshakes = 0
        self._arriving: set[socket.socket] = set()
        """Accepted, but their task has not begun; a task cancelled before its first step closes nothing."""
        self._wanting: list[Remote] = []
        self._life_timer: asyncio.TimerHandle | None = None
        self._life_due = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server_context: ssl.SSLContext | None = None
        self._closed = False

    async def start(self) -> None:
        """Listen and begin to connect. Raises TransportError when the address cannot be bound."""
        if self._loop is not None:
            raise TransportError("this transport was started before; create another")
        loop = self._loop = asyncio.get_running_loop()
        await self._listen(loop)
        self._shape(loop)
        self._meet(loop, self._peers)
        for listener in self._listeners:
            self._await_callers(listener)
        self._life_due = loop.time() + self.options.ping_interval_ms / 1000
        self._life_timer = loop.call_at(self._life_due, self._check_life)

    def send(self, to: NodeId, channel: Channel, frame: bytes) -> bool:
        """Queue a frame; False when it was dropped (peer unknown or away, queue full)."""
        remote = self._remotes.get(to)
        if remote is None:
            return False
        if self.outgoing is None:
            return remote.send(channel, frame)
        return self.outgoing.send(remote, channel, frame)

    def misbehaved(self, peer: NodeId, reason: str) -> None:
        """Count an unusable frame; past `garbage_limit` the connection closes, and stays so for `cooldown_ms`."""
        remote = self._remotes.get(peer)
        if remote is not None and remote.misbehaved() and self._loop is not None and remote.session is not None:
            # Later, because the host may be in the middle of what this peer sent.
            self._loop.call_soon(remote.session.close, f"too many unusable frames, the last: {reason}")

    def peers(self) -> tuple[PeerStatus, ...]:
        """All configured peers, in their configured order."""
        return tuple(remote.status() for remote in self._remotes.values())

    def set_peers(self, peers: Sequence[Peer]) -> None:
        """From now on these are the peers; who is among them as before keeps its session, the others' end.

        Raises TransportError, with nothing changed, for what could not be told apart.
        """
        wanted = _checked(peers, self._config.me, self._identity.public_key)
        if self._closed or wanted == self._peers:
            return
        self._peers = wanted
        if self._loop is None:
            return
        for remote in [remote for remote in self._remotes.values() if remote.peer not in wanted]:
            del self._remotes[remote.peer.node_id], self._by_key[remote.peer.node_key]
            dialling = self._dialling.pop(remote.peer.node_id, None)
            if dialling is not None:
                dialling.cancel()
            for session in [session for session in self.sessions if session.owner is remote]:
                session.close("this node is no peer any more, or is known by another key or address")
        self._meet(self._loop, [peer for peer in wanted if peer.node_id not in self._remotes])
        # In the order of the peers, whoever was there before.
        self._remotes = {peer.node_id: self._remotes[peer.node_id] for peer in wanted}

    def set_links(self, links: LinkProfile) -> None:
        """Emulate these conditions from now on, also for frames that wait or are held; see `Outgoing.change`."""
        self._links = links
        if self._loop is not None and not self._closed:
            self._shape(self._loop)

    def _shape(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let frames pass through the link model as far as it has a say."""
        links, name = self._links, self._config.name
        outgoing, self.outgoing = self.outgoing, None
        if links.off:
            if outgoing is not None:
                outgoing.end()
        elif outgoing is not None:
            outgoing.change(links)
            self.outgoing = outgoing
        else:
            self.outgoing = Outgoing(links, name, loop, self._flush)
        incoming, self.incoming = self.incoming, None
        if not any(phase.down_bits_per_s for phase in links.phases):
            if incoming is not None:
                incoming.end()
        elif incoming is not None:
            incoming.change(links)
            self.incoming = incoming
        else:
            self.incoming = Incoming(links, name, loop, self._events.received, self.options.bulk_queue_bytes)

    def _meet(self, loop: asyncio.AbstractEventLoop, peers: Sequence[Peer]) -> None:
        """Let new peers in, and call them."""
        for peer in peers:
            remote = Remote(self, peer, self._config.me, self._events, loop.time)
            self._remotes[peer.node_id] = self._by_key[peer.node_key] = remote
            if peer.port:
                self._dialling[peer.node_id] = self._spawn(self._dial(loop, remote))
        # A context cannot forget an anchor. Handshakes under way keep the old one; `owner_of` refuses them then.
        self._server_context = self._identity.server_context(self._by_key)

    def garbage_frames(self, peer: NodeId) -> int:
        """Unusable frames of a peer since the start."""
        remote = self._remotes.get(peer)
        return remote.garbage_frames if remote is not None else 0

    def owner_of(self, key: bytes | None) -> Remote | None:
        """The configured peer that has this node key."""
        return self._by_key.get(key) if key is not None else None

    async def close(self) -> None:
        """Flush for at most `close_timeout_ms`, close every connection, release the port. Reports nothing any more."""
        if self._closed:
            return
        self._closed = True
        if self._life_timer is not None:
            self._life_timer.cancel()
        if self.outgoing is not None:
            self.outgoing.stop()
        if self.incoming is not None:
            self.incoming.stop()
        for remote in self._remotes.values():
            remote.silenced = True
            remote.flush()
        for listener in self._listeners:
            if self._loop is not None:
                self._loop.remove_reader(listener)
            listener.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for connection in self._arriving:
            connection.close()
        ending = [session.ended for session in self.sessions]
        for session in tuple(self.sessions):
            session.close("the node stops")
        if ending:
            await asyncio.wait(ending)

    # Listening

    async def _listen(self, loop: asyncio.AbstractEventLoop) -> None:
        host, port = self._config.listen_host, self._config.listen_port
        try:
            found = await loop.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            for family, kind, protocol, _, address in dict.fromkeys(found):
                listener = socket.socket(family, kind, protocol)
                self._listeners.append(listener)
                listener.setblocking(False)
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                listener.bind((address[0], port or self.listen_port, *address[2:]))
                listener.listen(LISTEN_BACKLOG)
                self.listen_port = listener.getsockname()[1]
        except OSError as fault:
            for listener in self._listeners:
                listener.close()
            self._listeners.clear()
            raise TransportError(
                f"cannot listen on {host}:{port}: {fault.strerror or fault}; "
                "choose another address or port, or stop the program that uses it"
            ) from None

    def _await_callers(self, listener: socket.socket) -> None:
        if self._loop is not None and not self._closed:
            self._loop.add_reader(listener, self._accept, listener)

    def _accept(self, listener: socket.socket) -> None:
        """Take the callers that wait. A plain callback, because a cancelled `sock_accept` can lose a socket."""
        assert self._loop is not None
        for _ in range(LISTEN_BACKLOG):
            try:
                connection, _ = listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionAbortedError:  # this caller has gone already
                continue
            except OSError:  # the system has no file descriptor or memory to give
                self._loop.remove_reader(listener)
                self._loop.call_later(ACCEPT_RETRY_S, self._await_callers, listener)
                return
            if self._handshakes >= self.options.handshakes_max:
                self.failed_handshakes += 1
                connection.close()
                continue
            connection.setblocking(False)
            self._handshakes += 1
            self._arriving.add(connection)
            self._spawn(self._admit(self._loop, connection))

    async def _admit(self, loop: asyncio.AbstractEventLoop, connection: socket.socket) -> None:
        self._arriving.discard(connection)
        try:
            await loop.connect_accepted_socket(
                lambda: Session(self, loop, None),
                connection,
                ssl=self._server_context,
                ssl_handshake_timeout=self.options.handshake_timeout_ms / 1000,
                ssl_shutdown_timeout=self.options.close_timeout_ms / 1000,
            )
        except ssl.SSLError:
            self.refused_handshakes += 1
        except OSError:
            self.failed_handshakes += 1
        finally:
            self._handshakes -= 1

    # Dialling

    async def _dial(self, loop: asyncio.AbstractEventLoop, remote: Remote) -> None:
        context = self._identity.client_context(remote.peer.node_key)
        while True:
            await remote.absent.wait()
            if remote.attempts or remote.cooling():
                await asyncio.sleep(remote.wait_s())
            remote.attempts += 1
            if remote.session is None and not remote.cooling():
                await self._attempt(loop, remote, context)

    async def _attempt(self, loop: asyncio.AbstractEventLoop, remote: Remote, context: ssl.SSLContext) -> None:
        timeout_s = self.options.handshake_timeout_ms / 1000
        try:
            async with asyncio.timeout(timeout_s):
                _, session = await loop.create_connection(
                    lambda: Session(self, loop, remote),
                    remote.peer.host,
                    remote.peer.port,
                    ssl=context,
                    server_hostname="",
                    ssl_handshake_timeout=timeout_s,
                    ssl_shutdown_timeout=self.options.close_timeout_ms / 1000,
                )
        except ssl.SSLCertVerificationError:
            remote.attempt_failed("who answers there does not hold the configured node key; check host, port, node_key")
        except TimeoutError:
            remote.attempt_failed(f"cannot connect: no answer within {self.options.handshake_timeout_ms} ms")
        except OSError as fault:
            remote.attempt_failed(f"cannot connect: {fault.strerror or fault}")
        else:
            await session.ended

    # Ticks

    def flush_soon(self, remote: Remote) -> None:
        """Write out a peer's queues in the next tick."""
        if remote.flush_wanted or self._loop is None:
            return
        remote.flush_wanted = True
        if not self._wanting:
            self._loop.call_soon(self._flush)
        self._wanting.append(remote)

    def _flush(self) -> None:
        wanting, self._wanting = self._wanting, []
        for remote in wanting:
            remote.flush_wanted = False
            if remote.flush():
                self.flush_soon(remote)

    def _check_life(self) -> None:
        assert self._loop is not None
        interval_s = self.options.ping_interval_ms / 1000
        now = self._loop.time()
        stalled = now - self._life_due > STALL_FACTOR * interval_s
        for remote in self._remotes.values():
            if stalled:
                remote.excuse_silence()
            else:
                remote.check_life()
        self._life_due = now + interval_s
        self._life_timer = self._loop.call_at(self._life_due, self._check_life)

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        assert self._loop is not None
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _checked(listed: Sequence[Peer], me: NodeId, own_key: bytes) -> tuple[Peer, ...]:
    """The peers without ourselves; raises TransportError for what could not be told apart."""
    peers = tuple(peer for peer in listed if peer.node_id != me)
    ids: set[NodeId] = set()
    keys: set[bytes] = {own_key}
    for peer in peers:
        load_public_key(peer.node_key)
        _check_address(peer)
        if peer.node_id in ids or peer.node_key in keys:
            raise TransportError(f"peer {peer.name} has the node id or node key of another peer or of this node")
        ids.add(peer.node_id)
        keys.add(peer.node_key)
    return peers


def _check_address(peer: Peer) -> None:
    """Raises TransportError for what the resolver would choke on."""
    try:
        peer.host.encode("idna")
    except UnicodeError:
        raise TransportError(f"peer {peer.name}: {peer.host!r} is no host name or IP address") from None
    if not 0 <= peer.port <= 65_535:
        raise TransportError(f"peer {peer.name}: port {peer.port} is not between 0 and 65535")
