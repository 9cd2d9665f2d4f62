"""From the body of POST /v1/transactions to transactions, signatures unchecked. Pure, and quick: it runs on the loop.

JSON is read loosely at the top, because one bad entry of an array must not refuse the others; every entry is then
read strictly: nothing unknown is ignored.
"""

from __future__ import annotations

from typing import Any

import msgspec

from potchain.api.problems import HttpProblem
from potchain.errors import InvalidTransaction
from potchain.transactions import Transaction, TransactionTypes
from potchain.typed_data import body_from_json, domain_json

_REQUIRED = ("kind", "message", "signature")
_SIGNATURE_TEXT_LENGTH = 2 + 2 * 65
OPENING_BRACKETS_MAX = 4_000
"""Bound on the opening brackets of a body, and so on its depth; 1,000 transactions with their domains have 3,001.

The decoder recurses on the C stack as deep as Python's recursion limit allows, and some libraries raise that limit to
where the stack ends first: without this bound a body of brackets kills the process.
"""


class Unreadable(msgspec.Struct, frozen=True, gc=False):
    """An entry of an array that is no transaction, and why."""

    code: str
    detail: str


def parse_body(body: bytes) -> object:
    """The JSON document. Raises HttpProblem(`bad_json`)."""
    if body.count(b"[") + body.count(b"{") > OPENING_BRACKETS_MAX:
        raise HttpProblem("bad_json", f"the body has more than {OPENING_BRACKETS_MAX} opening brackets")
    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as fault:
        raise HttpProblem("bad_json", f"the body is no usable JSON: {fault}") from None
    except RecursionError:
        raise HttpProblem("bad_json", "the body is no usable JSON: nested too deep") from None


def parse_batch(document: list[Any], types: TransactionTypes, count_max: int) -> list[Transaction | Unreadable]:
    """Each entry as a transaction, or why it is none, in order. Raises HttpProblem(`too_many_transactions`)."""
    if len(document) > count_max:
        raise HttpProblem("too_many_transactions", f"{len(document)} transactions, at most {count_max} at once")
    parsed: list[Transaction | Unreadable] = []
    for entry in document:
        try:
            parsed.append(parse_entry(entry, types))
        except InvalidTransaction as fault:
            parsed.append(Unreadable(fault.code, fault.detail))
    return parsed


def parse_entry(entry: object, types: TransactionTypes) -> Transaction:
    """One transaction from {"kind", "message", "signature"[, "domain"]}. Raises InvalidTransaction."""
    if not isinstance(entry, dict):
        raise InvalidTransaction("malformed", "a transaction is an object with kind, message and signature")
    try:
        name, message, signature = entry["kind"], entry["message"], entry["signature"]
    except KeyError:
        lacking = next(member for member in _REQUIRED if member not in entry)
        raise InvalidTransaction("missing_field", f"the transaction lacks {lacking!r}") from None
    if len(entry) > 3:
        _check_rest(entry, types)
    if not isinstance(name, str):
        raise InvalidTransaction("malformed", "kind must be a string")
    kind = types.kinds.get(name)
    if kind is None:
        known = ", ".join(sorted(types.kinds))
        raise InvalidTransaction("unknown_kind", f"unknown transaction kind {name[:64]!r} (known: {known})")
    return types.assemble(body_from_json(kind, message), _signature(signature))


def _check_rest(entry: dict[str, Any], types: TransactionTypes) -> None:
    for name in entry:
        if name not in _REQUIRED and name != "domain":
            known = "kind, message, signature, domain"
            raise InvalidTransaction("unknown_field", f"a transaction has no member {name[:64]!r} (known: {known})")
    ours = domain_json(types.genesis_hash)
    domain = entry["domain"]
    if not isinstance(domain, dict):
        raise InvalidTransaction("malformed", "domain must be an object")
    salt = domain.get("salt")
    if {**domain, "salt": salt.lower() if isinstance(salt, str) else salt} != ours:
        raise InvalidTransaction(
            "wrong_chain", f"the domain is not this network's; here it is {msgspec.json.encode(ours).decode()}"
        )


def _signature(value: object) -> bytes:
    if isinstance(value, str) and len(value) == _SIGNATURE_TEXT_LENGTH and value.startswith("0x"):
        try:
            signature = bytes.fromhex(value[2:])
        except ValueError:
            signature = b""
        if len(signature) == 65:  # fromhex skips white space
            return signature
    raise InvalidTransaction("bad_signature", "signature must be 0x and 130 hex digits: r, s, v")
