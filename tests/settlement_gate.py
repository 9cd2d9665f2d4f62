"""The way from one node to its endpoint, which a test can close, narrow and hold: a small HTTP server on a thread."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

SEND = "eth_sendRawTransaction"
TIMEOUT_S = 60


class Gate:
    """Forwards JSON-RPC calls to an endpoint, one node's."""

    def __init__(self, url: str) -> None:
        self._target = urlsplit(url)
        self._server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"gate": self}))
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/"
        self.is_closed = False
        """Cut every connection without an answer."""
        self.swallows_before = False
        """A transaction gets no answer and is not forwarded."""
        self.swallows_after = False
        """A transaction is forwarded and gets no answer."""
        self.swallowed = threading.Event()
        self.sent: list[str] = []
        """Raw transactions that the node wanted to send."""

    def answer(self, body: bytes) -> bytes | None:
        """The endpoint's answer; None for a cut connection."""
        question: dict[str, Any] = json.loads(body)
        if self.is_closed:
            return None
        if question["method"] == SEND:
            self.sent.append(question["params"][0])
            if self.swallows_before:
                self.swallowed.set()
                return None
        connection = http.client.HTTPConnection(str(self._target.hostname), self._target.port, timeout=TIMEOUT_S)
        try:
            connection.request("POST", "/", body, {"Content-Type": "application/json"})
            found = connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()
        if question["method"] == SEND and self.swallows_after:
            self.swallowed.set()
            return None
        return found

    def stop(self) -> None:
        """End the server."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A node that was killed leaves broken connections; nobody wants to read of them."""


class _Handler(BaseHTTPRequestHandler):
    gate: Gate
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet: the second would wait for an acknowledgement
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        found = self.gate.answer(body)
        if found is None:
            self.close_connection = True
            return
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(found)))
        self.end_headers()
        self.wfile.write(found)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def gates(url: str, count: int) -> Iterator[list[Gate]]:
    """Several, of one endpoint."""
    opened: list[Gate] = []
    try:
        opened.extend(Gate(url) for _ in range(count))
        yield opened
    finally:
        for gate in opened:
            gate.stop()
