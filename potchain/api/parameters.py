"""Reading path and query parameters: every parameter is declared, typed and bounded, and an undeclared one is refused.

Raises HttpProblem(`bad_query`) that names the parameter, its value and what is allowed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from aiohttp import web

from potchain.api.problems import HttpProblem
from potchain.crypto import parse_address
from potchain.errors import InvalidTransaction
from potchain.primitives import UINT64_MAX

PAGE_LIMIT = 20
"""Entries of a page unless `limit` says otherwise."""
PAGE_LIMIT_MAX = 100
WAIT_S = 30
"""`timeout` of a waiting submission unless given."""
WAIT_S_MAX = 120
"""Longest time a request may wait."""
HEIGHT_MAX = 2**63 - 1

_HASH = re.compile(r"0x[0-9a-fA-F]{64}", re.ASCII)
_PLACE = re.compile(r"([0-9]{1,19})\.([0-9]{1,10})", re.ASCII)
_SECONDS = re.compile(r"[0-9]{1,6}(\.[0-9]{1,3})?", re.ASCII)


class Query:
    """The query of one request, each parameter once and none unknown."""

    def __init__(self, request: web.Request, *known: str) -> None:
        self._values: Mapping[str, str] = request.query
        for name in request.query:
            if name not in known:
                allowed = ", ".join(known) or "none"
                raise HttpProblem("bad_query", f"unknown query parameter {_cut(name)!r} (this route has: {allowed})")
        if len(request.query) != len(set(request.query)):
            raise HttpProblem("bad_query", "a query parameter is given twice")

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def integer(self, name: str, default: int, *, least: int = 0, most: int = UINT64_MAX) -> int:
        """A whole number within bounds."""
        text = self._values.get(name)
        if text is None:
            return default
        if not (text.isascii() and text.isdigit() and len(text) <= 20 and least <= int(text) <= most):
            raise HttpProblem("bad_query", f"{name} must be a whole number from {least} to {most}, not {_cut(text)!r}")
        return int(text)

    def optional_height(self, name: str) -> int | None:
        """A height, if given."""
        return self.integer(name, 0, most=HEIGHT_MAX) if name in self else None

    def limit(self, least: int = 1) -> int:
        """The size of a page."""
        return self.integer("limit", PAGE_LIMIT, least=least, most=PAGE_LIMIT_MAX)

    def flag(self, name: str) -> bool:
        """true or false; false when it is not given."""
        return self.choice(name, "false", ("true", "false")) == "true"

    def choice(self, name: str, default: str, allowed: tuple[str, ...]) -> str:
        """One of a few words."""
        text = self._values.get(name, default)
        if text not in allowed and name in self:
            raise HttpProblem("bad_query", f"{name} must be one of {', '.join(allowed)}, not {_cut(text)!r}")
        return text

    def seconds(self, name: str, default: int) -> float:
        """A span, at most WAIT_S_MAX, with up to three decimals."""
        text = self._values.get(name)
        if text is None:
            return float(default)
        if not _SECONDS.fullmatch(text) or float(text) > WAIT_S_MAX:
            raise HttpProblem("bad_query", f"{name} must be seconds from 0 to {WAIT_S_MAX}, not {_cut(text)!r}")
        return float(text)

    def text(self, name: str) -> str | None:
        """As it was given, if given; the caller checks it."""
        return self._values.get(name)

    def optional_hash(self, name: str) -> bytes | None:
        """32 bytes in hex, if given."""
        return parse_hash(name, self._values[name]) if name in self else None

    def optional_place(self, name: str) -> tuple[int, int] | None:
        """HEIGHT.INDEX, as an earlier page's `next` gave it, if given."""
        if name not in self:
            return None
        found = _PLACE.fullmatch(self._values[name])
        if found is None or int(found[1]) > HEIGHT_MAX:
            raise HttpProblem("bad_query", f"{name} must be the `next` of a page, not {_cut(self._values[name])!r}")
        return int(found[1]), int(found[2])


def parse_hash(name: str, text: str) -> bytes:
    """32 bytes from 0x and 64 hex digits."""
    if not _HASH.fullmatch(text):
        raise HttpProblem("bad_query", f"{name} must be 0x and 64 hex digits, not {_cut(text)!r}")
    return bytes.fromhex(text[2:])


def path_hash(request: web.Request) -> bytes:
    """The transaction id in a path."""
    return parse_hash("id", request.match_info["id"])


def path_address(request: web.Request) -> bytes:
    """The account in a path. Raises InvalidTransaction(`bad_address`)."""
    return _account(request.match_info["address"])


def parse_account(text: str | None) -> bytes | None:
    """The account of a query, if given. Raises InvalidTransaction(`bad_address`)."""
    return None if text is None else _account(text)


def path_number(request: web.Request, name: str) -> int:
    """A nonce or number in a path."""
    text = request.match_info[name]
    if not (text.isascii() and text.isdigit() and len(text) <= 19 and int(text) <= HEIGHT_MAX):
        raise HttpProblem("bad_query", f"{name} must be a whole number from 0 to {HEIGHT_MAX}, not {_cut(text)!r}")
    return int(text)


def path_block(request: web.Request) -> int | bytes:
    """A height, or a block hash."""
    text = request.match_info["block"]
    if text.isascii() and text.isdigit() and len(text) <= 19 and int(text) <= HEIGHT_MAX:
        return int(text)
    if _HASH.fullmatch(text):
        return bytes.fromhex(text[2:])
    raise HttpProblem("bad_query", f"a block is named by its height or by 0x and 64 hex digits, not {_cut(text)!r}")


def _account(text: str) -> bytes:
    try:
        return parse_address(text)
    except ValueError as fault:
        raise InvalidTransaction("bad_address", _cut(str(fault), 160)) from None


def _cut(text: str, size: int = 80) -> str:
    return text if len(text) <= size else text[:size] + "..."
