"""HTTP without sockets: requests as bytes into the shipping application's own server, answers as bytes out of it.

A connection carries one request, `Connection: close`, so an answer is what was written until the server closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from aiohttp import web

Answered = Callable[[int, bytes], None]
"""Status and body."""


class VirtualHttp:
    """The HTTP server of one life of one node."""

    def __init__(self, app: web.Application) -> None:
        """Create it on the node's loop."""
        self._runner = web.AppRunner(
            app,
            access_log=None,
            auto_decompress=False,
            handler_cancellation=True,
            handle_signals=False,
        )
        self._open: dict[asyncio.Task[None], None] = {}
        self._ready = asyncio.get_running_loop().create_task(self._runner.setup())

    def request(self, method: str, path: str, body: bytes, answered: Answered) -> None:
        """Send one request; `answered` is called on the node's loop when the answer is whole."""
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        task = asyncio.get_running_loop().create_task(self._connect(head.encode() + body, answered))
        self._open[task] = None
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._open.pop(task, None)

    async def _connect(self, request: bytes, answered: Answered) -> None:
        await asyncio.shield(self._ready)
        server = self._runner.server
        assert server is not None, "setup made it"
        protocol = server()
        connection = _Connection(protocol, answered)
        protocol.connection_made(connection)
        protocol.data_received(request)


class _Connection(asyncio.Transport):
    """The server's end of a connection: what it writes is the answer."""

    def __init__(self, protocol: asyncio.Protocol, answered: Answered) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 8080)})
        self._protocol: Any = protocol
        self._answered = answered
        self._written = bytearray()
        self._closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._written += data

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if self._closing:
            return
        self._closing = True
        asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)
        head, _, body = bytes(self._written).partition(b"\r\n\r\n")
        status = head.split(b" ", 2)[1:2]
        self._answered(int(status[0]) if status else 0, body)

    def abort(self) -> None:
        self.close()

    def get_protocol(self) -> asyncio.BaseProtocol:
        protocol: asyncio.BaseProtocol = self._protocol
        return protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def pause_reading(self) -> None:
        """All there is has been read."""

    def resume_reading(self) -> None:
        """All there is has been read."""

    def is_reading(self) -> bool:
        return True

    def get_write_buffer_size(self) -> int:
        return 0
