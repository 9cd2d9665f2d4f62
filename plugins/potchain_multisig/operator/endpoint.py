"""JSON-RPC to one endpoint, for commands: blocking, bounded, and suspicious of every answer.

An endpoint may be away, slow, behind a login, or something else than a chain. Whatever it does becomes a
`SettlementError`: `unreachable` when nothing usable answers, `rubbish` when the answer is none to the question, and
`Refusal` when the chain says no, which callers turn into what it means. URLs may hold keys of providers; messages show
scheme and host only. (A node asks several endpoints at once and compares: `potchain_multisig.endpoints`.)
"""

from __future__ import annotations

import base64
import http.client
import urllib.error
import urllib.parse
import urllib.request
from typing import Final, TypeVar

import msgspec

from potchain import SettlementError
from potchain_multisig.answers import Envelope, HexData, HexQuantity, raw, revert_data

T = TypeVar("T")

TIMEOUT_S: Final = 20.0
ANSWER_BYTES_MAX: Final = 16 << 20
REFUSAL_CHARACTERS_MAX: Final = 500
SHOWN_BYTES_MAX: Final = 200


class Refusal(SettlementError):
    """The endpoint answered with a JSON-RPC error; `data` is what the contract returned with a revert, else empty."""

    def __init__(self, method: str, message: str, data: bytes) -> None:
        self.message = message
        self.data = data
        super().__init__("refused", f"{method}: {message}")


class Endpoint:
    """One JSON-RPC endpoint over HTTP or HTTPS."""

    def __init__(self, url: str, timeout_s: float = TIMEOUT_S) -> None:
        """Raises SettlementError(`not_configured`) when this is no HTTP address."""
        try:
            parts = urllib.parse.urlsplit(url)
            place = parts.netloc.rpartition("@")[2]
            port_fits = parts.port is None or parts.port > 0
        except ValueError:
            parts, place, port_fits = urllib.parse.urlsplit(""), "", False
        if parts.scheme not in ("http", "https") or not parts.hostname or not port_fits:
            raise SettlementError(
                "not_configured", "the address of an RPC endpoint begins with http:// or https:// and names a host"
            )
        self._url = urllib.parse.urlunsplit(parts._replace(netloc=place))
        self._headers = {"Content-Type": "application/json", "User-Agent": "potchain"}
        if parts.username is not None:  # urllib would take a login for a part of the host's name
            login = urllib.parse.unquote(f"{parts.username}:{parts.password or ''}")
            self._headers["Authorization"] = "Basic " + base64.b64encode(login.encode()).decode()
        self._timeout_s = timeout_s
        self.shown = f"{parts.scheme}://{place}"
        """For messages and files: without path, query and login."""

    def ask(self, shape: type[T], method: str, *parameters: object) -> T:
        """The result of one call, which must have that shape.

        Raises SettlementError(`unreachable` or `rubbish`) and Refusal.
        """
        body = msgspec.json.encode({"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters})
        text = self._fetch(urllib.request.Request(self._url, body, self._headers, method="POST"))
        try:
            answer = msgspec.json.decode(text, type=Envelope)
            if answer.error is None:
                return msgspec.json.decode(answer.result, type=shape)
        except (msgspec.DecodeError, UnicodeDecodeError):
            shown = text[:SHOWN_BYTES_MAX].decode(errors="replace")
            raise SettlementError(
                "rubbish", f"{self.shown} gives no valid answer to {method}: {shown!r}; is it an RPC endpoint?"
            ) from None
        raise Refusal(method, answer.error.message[:REFUSAL_CHARACTERS_MAX], revert_data(answer.error) or b"")

    def quantity(self, method: str, *parameters: object) -> int:
        """A call that answers with a number."""
        return int(self.ask(HexQuantity, method, *parameters), 16)

    def data(self, method: str, *parameters: object) -> bytes:
        """A call that answers with bytes."""
        return raw(self.ask(HexData, method, *parameters))

    def _fetch(self, request: urllib.request.Request) -> bytes:
        try:
            with urllib.request.urlopen(request, timeout=self._timeout_s) as response:
                text: bytes = response.read(ANSWER_BYTES_MAX + 1)
        except urllib.error.HTTPError as fault:
            # Some clients answer a refused call with status 4xx and a JSON-RPC error in the body.
            text = fault.read(ANSWER_BYTES_MAX)
            if not text.lstrip().startswith(b"{") or b'"jsonrpc"' not in text:
                why = f"{self.shown} answers HTTP {fault.code} {fault.reason}"
                raise SettlementError("unreachable", why) from None
        except urllib.error.URLError as fault:
            raise SettlementError("unreachable", f"{self.shown} does not answer: {fault.reason}") from None
        except (OSError, http.client.HTTPException) as fault:
            why = str(fault) or type(fault).__name__
            raise SettlementError("unreachable", f"{self.shown} does not answer: {why}") from None
        if len(text) > ANSWER_BYTES_MAX:
            raise SettlementError("rubbish", f"{self.shown} answers with more than {ANSWER_BYTES_MAX} bytes")
        return text
