"""Built-in transport `tcp`: TLS 1.3 over TCP, each side pinned to the other's Ed25519 node key.

Rooms, each importing only what is above it here:

    options     the table [transport.tcp], every bound with its default
    framing     bytes <-> frames; pure, no sockets
    queues      bounded send queues, votes and bulk; pure
    tls         certificates from node keys, and contexts that accept nothing else
    shaping     the link model between the host's frames and the send queues; pure but for its timer and clock
    downlink    the link model's shared downlink, between the frames that come and the host
    session     one connection from handshake to close
    remote      one configured peer: its one session, its queues, its counters, its cool-down
    transport   listening, dialling, one write per loop tick, keep-alive, conditions on and off
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from potchain import Transport, TransportConfig, TransportEvents, TransportFactory, hookimpl
from potchain_tcp.options import TcpOptions
from potchain_tcp.transport import TcpTransport

__all__ = ["TcpFactory", "TcpOptions", "TcpTransport", "transports"]


class TcpFactory:
    """Offers the transport `tcp`."""

    name = "tcp"
    version = "1"
    options_type: type[msgspec.Struct] = TcpOptions

    def create(self, config: TransportConfig, events: TransportEvents, options: msgspec.Struct) -> Transport:
        """A transport that is not started. Raises TransportError when a key or a peer of `config` is unusable."""
        return TcpTransport(config, events, msgspec.convert(options, TcpOptions, from_attributes=True))


@hookimpl
def transports() -> Iterable[TransportFactory]:
    """The transports of this plug-in."""
    return (TcpFactory(),)
