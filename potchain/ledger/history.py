"""Derives the rows of history from a block's bytes; pure.

What is stored was checked before it was decided, so the bodies are decoded without hashing or checking anything again:
that and structures that the garbage collector never looks at are what make a few microseconds per transaction possible.
An address is in the history of a transaction when it is the sender, or when the transaction did what it says and one of
its members is that address.

Rows in the order of the chain are lists of values, one row after the other, as `rows.insert_values` takes them. Rows
with random keys are packed into bytes that sort like the rows, with a fixed length: they wait by the ten thousand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from struct import Struct
from typing import Any

import msgspec

from potchain.application.interface import EventData
from potchain.blocks import OK, SKIPPED, Event, Receipt, Receipts
from potchain.errors import LedgerCorrupt
from potchain.primitives import Address, Bytes, Bytes32, Text, Uint64, Uint256
from potchain.transactions import Member, TransactionBody, TransactionTypes, members_of

ID_KEY = Struct(">qQI")
"""A row of `transaction_ids`: id prefix, height, position. Of equal sign, packed rows sort like their values."""
ADDRESS_KEY = Struct(">20sQI")
"""A row of `account_transactions`: address, height, position."""


def history_addresses(body: TransactionBody, status: str) -> tuple[bytes, ...]:
    """The addresses in whose history an inclusion appears, the sender first; none for a skipped one."""
    if status == SKIPPED:
        return ()
    if status != OK:
        return (body.from_,)
    fields = [member.field for member in members_of(type(body)) if member.type == "address"]
    return tuple(dict.fromkeys(getattr(body, field) for field in fields))


def id_prefix(transaction_id: bytes) -> int:
    """First 8 bytes of an id as a signed integer: the key of a narrow index."""
    return int.from_bytes(transaction_id[:8], "big", signed=True)


class HistoryEvent(msgspec.Struct, array_like=True, gc=False):
    """`blocks.Event` as stored."""

    kind: str
    data: bytes


class HistoryReceipt(msgspec.Struct, array_like=True, gc=False):
    """`blocks.Receipt` as stored."""

    transaction_id: bytes
    index: int
    status: str
    code: str
    fee: bytes
    events: tuple[HistoryEvent, ...]


class HistoryReceipts(msgspec.Struct, array_like=True):
    """`blocks.Receipts` as stored."""

    receipts: tuple[HistoryReceipt, ...]
    end_events: tuple[HistoryEvent, ...]


class _Signed(msgspec.Struct, array_like=True, gc=False):
    """`transactions.SignedTransaction` as stored, without the signature behind."""

    kind: str
    body: bytes


class HistoryRows(msgspec.Struct):
    """Rows of the four history tables, in the order of the chain."""

    transactions: list[Any] = []
    """Values of `schema.transactions`, row after row."""
    events: list[Any] = []
    """Values of `schema.events`, row after row."""
    transaction_ids: list[bytes] = []
    """`ID_KEY` of each row."""
    account_transactions: list[bytes] = []
    """`ADDRESS_KEY` of each row."""


class HistoryDeriver:
    """Knows the kinds and events of one network."""

    def __init__(self, types: TransactionTypes, event_types: Mapping[str, type[EventData]]) -> None:
        self._kinds = {name: _KindColumns(kind.body_type) for name, kind in types.kinds.items()}
        self._events = {name: _EventColumn(event_type).render for name, event_type in event_types.items()}

    def derive(
        self,
        height: int,
        bodies: Sequence[bytes],
        stored: HistoryReceipts | Receipts,
        start: int,
        stop: int,
        rows: HistoryRows,
    ) -> None:
        """Add the rows of the inclusions in [start, stop), and of the block's end when that is its last slice.

        Raises LedgerCorrupt when a stored body or event cannot be read.
        """
        receipts: Sequence[HistoryReceipt | Receipt] = stored.receipts
        try:
            if len(receipts) != len(bodies):
                raise IndexError(f"{len(bodies)} bodies, {len(receipts)} receipts")
            self._inclusions(height, bodies[start:stop], receipts[start:stop], start, rows)
            place = sum([len(receipt.events) for receipt in receipts[:start]])
            add = rows.events.extend
            event: HistoryEvent | Event
            for position, receipt in enumerate(receipts[start:stop], start):
                for event in receipt.events:
                    add((height, place, position, event.kind, self._event_json(event)))
                    place += 1
            if stop == len(bodies):
                ends: Sequence[HistoryEvent | Event] = stored.end_events
                for at, event in enumerate(ends, place):
                    add((height, at, None, event.kind, self._event_json(event)))
        except (msgspec.MsgspecError, KeyError, IndexError, UnicodeDecodeError) as fault:
            raise LedgerCorrupt(height, f"a stored transaction or event cannot be read: {fault!r}") from fault

    def _inclusions(
        self,
        height: int,
        bodies: Sequence[bytes],
        receipts: Sequence[HistoryReceipt | Receipt],
        start: int,
        rows: HistoryRows,
    ) -> None:
        # Thousands a second pass here: what does not change is looked up once.
        kinds, decode, pack = self._kinds, _decode_signed, ADDRESS_KEY.pack
        add, add_id, add_named = rows.transactions.extend, rows.transaction_ids.append, rows.account_transactions.append
        for position, raw, receipt in zip(range(start, start + len(bodies)), bodies, receipts, strict=True):
            signed = decode(raw)
            kind = kinds[signed.kind]
            sender, nonce, recipient, amount, named = kind.columns(*kind.decode(signed.body))
            identity, status = receipt.transaction_id, receipt.status
            add(
                (
                    height, position, identity, sender, nonce, signed.kind, _decimal_often(receipt.fee), status,
                    receipt.code, recipient, amount,
                )
            )  # fmt: skip
            if status == SKIPPED:
                continue
            row = pack(sender, height, position)
            add_id(identity[:8] + row[20:])
            add_named(row)
            if status == OK:
                for address in named:
                    if address != sender:
                        add_named(pack(address, height, position))

    def _event_json(self, event: HistoryEvent | Event) -> str:
        render = self._events.get(event.kind)
        # Of an application that is no longer installed: what there is.
        return '{"data":"0x' + event.data.hex() + '"}' if render is None else render(event.data)


_Columns = tuple[bytes, int, bytes | None, str | None, Iterable[bytes]]


class _KindColumns:
    """How one kind of transaction fills its columns."""

    def __init__(self, body_type: type[TransactionBody]) -> None:
        members = members_of(body_type)
        at = {member.field: f"m{number}" for number, member in enumerate(members)}
        kinds = {member.field: member.type for member in members}
        others = [at[field] for field, kind in kinds.items() if kind == "address" and field != "from_"]
        recipient = at["to"] if kinds.get("to") == "address" else "None"
        amount = f"decimal({at['amount']})" if kinds.get("amount") == "uint256" else "None"
        named = f"({others[0]},)" if len(others) == 1 else f"dict.fromkeys(({' '.join(f'{name},' for name in others)}))"
        self.decode = _tuple_decoder(members)
        self.columns: Callable[..., _Columns] = _compiled(
            members, f"({at['from_']}, {at['nonce']}, {recipient}, {amount}, {named})"
        )
        """From a body's members: sender, nonce, recipient, amount, and the other addresses, each once."""


class _EventColumn:
    """Renders one kind of event as JSON: lower-case hex, amounts as decimal strings."""

    def __init__(self, event_type: type[EventData]) -> None:
        members = members_of(event_type)
        self._decode = _tuple_decoder(members)
        # Names are identifiers, and all values but texts are free of quotes.
        shown = ",".join(f'"{member.name}":{_SHOWN[member.type][0]}' for member in members)
        values = "".join(f"{_SHOWN[member.type][1].format(f'm{number}')}, " for number, member in enumerate(members))
        self._text: Callable[..., str] = _compiled(members, f"{'{' + shown + '}'!r} % ({values})")

    def render(self, data: bytes) -> str:
        return self._text(*self._decode(data))


def _tuple_decoder(members: Sequence[Member]) -> Callable[[bytes], tuple[Any, ...]]:
    """Decodes a positional struct to the tuple of its members: cheaper than the struct, and checked like it."""
    return msgspec.msgpack.Decoder(tuple[tuple(_TYPES[member.type] for member in members)]).decode  # type: ignore[misc]


def _compiled(members: Sequence[Member], expression: str) -> Callable[..., Any]:
    """A function of a struct's members m0, m1, ...; compiled, since it runs for every row and loops cost thrice."""
    arguments = ", ".join(f"m{number}" for number in range(len(members)))
    function: Callable[..., Any] = eval(f"lambda {arguments}: {expression}", {"decimal": _decimal, "text": _json})
    return function


def _decimal(value: bytes) -> str:
    return str(int.from_bytes(value, "big"))


def _json(text: str) -> str:
    return msgspec.json.encode(text).decode()


_TYPES: dict[str, Any] = {
    "address": Address,
    "bytes": Bytes,
    "bytes32": Bytes32,
    "uint256": Uint256,
    "uint64": Uint64,
    "string": Text,
}
_SHOWN = {
    "address": ('"0x%s"', "{}.hex()"),
    "bytes": ('"0x%s"', "{}.hex()"),
    "bytes32": ('"0x%s"', "{}.hex()"),
    "uint256": ('"%s"', "decimal({})"),
    "uint64": ("%d", "{}"),
    "string": ("%s", "text({})"),
}
"""How a value of each type looks in JSON, and the expression that fills it in."""

_decimal_often = lru_cache(1_024)(_decimal)  # fees repeat
_decode_signed = msgspec.msgpack.Decoder(_Signed).decode
