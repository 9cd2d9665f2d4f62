"""Derives the rows of history from a block's bytes; pure.

What is stored was checked before it was decided, so the bodies are decoded without hashing or checking anything again:
that is what makes 15 microseconds per transaction possible. An address is in the history of a transaction when it is
the sender, or when the transaction did what it says and one of its members is that address.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any

import msgspec

from potchain.application.interface import EventData
from potchain.blocks import OK, SKIPPED, Event, Receipt
from potchain.errors import LedgerCorrupt
from potchain.ledger.stored import BlockContents
from potchain.primitives import uint
from potchain.transactions import SignedTransaction, TransactionBody, TransactionTypes, members_of

HistoryRow = tuple[Any, ...]
"""Values of one row, in column order."""


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


class HistoryRows(msgspec.Struct):
    """Rows of the four history tables, in the order of the chain."""

    transactions: list[HistoryRow] = []
    transaction_ids: list[HistoryRow] = []
    account_transactions: list[HistoryRow] = []
    events: list[HistoryRow] = []


class HistoryDeriver:
    """Knows the kinds and events of one network."""

    def __init__(self, types: TransactionTypes, event_types: Mapping[str, type[EventData]]) -> None:
        self._signed = msgspec.msgpack.Decoder(SignedTransaction)
        self._kinds = {name: _KindColumns(kind.body_type) for name, kind in types.kinds.items()}
        self._events = {name: _EventColumn(event_type) for name, event_type in event_types.items()}

    def derive(self, block: BlockContents, start: int, stop: int, rows: HistoryRows) -> None:
        """Add the rows of the inclusions in [start, stop), and of the block's end when that is its last slice.

        Raises LedgerCorrupt when a stored body or event cannot be read.
        """
        height = block.header.height
        receipts = block.receipts.receipts
        event_position = sum(len(receipt.events) for receipt in receipts[:start])
        try:
            for position in range(start, stop):
                receipt = receipts[position]
                self._inclusion(
                    height, position, block.transaction_ids[position], block.bodies[position], receipt, rows
                )
                for event in receipt.events:
                    rows.events.append((height, event_position, position, event.kind, self._event_json(event)))
                    event_position += 1
            if stop == len(block.bodies):
                for at, event in enumerate(block.receipts.end_events, event_position):
                    rows.events.append((height, at, None, event.kind, self._event_json(event)))
        except (msgspec.MsgspecError, KeyError, IndexError, UnicodeDecodeError) as fault:
            raise LedgerCorrupt(height, f"a stored transaction or event cannot be read: {fault!r}") from fault

    def _inclusion(
        self,
        height: int,
        position: int,
        transaction_id: bytes,
        raw: bytes,
        receipt: Receipt,
        rows: HistoryRows,
    ) -> None:
        signed = self._signed.decode(raw)
        kind = self._kinds[signed.kind]
        body = kind.decode(signed.body)
        status = receipt.status
        sender = body.from_
        rows.transactions.append(
            (
                height,
                position,
                transaction_id,
                sender,
                body.nonce,
                signed.kind,
                str(uint(receipt.fee)),
                status,
                receipt.code,
                kind.recipient(body),
                kind.amount(body),
            )
        )
        if status != SKIPPED:
            rows.transaction_ids.append((id_prefix(transaction_id), height, position))
        if status == OK:
            named = rows.account_transactions
            named.append((sender, height, position))
            seen = [sender]
            for address in kind.addresses(body):
                if address not in seen:
                    seen.append(address)
                    named.append((address, height, position))
        elif status != SKIPPED:
            rows.account_transactions.append((sender, height, position))

    def _event_json(self, event: Event) -> str:
        column = self._events.get(event.kind)
        # Of an application that is no longer installed: what there is.
        return '{"data":"0x' + event.data.hex() + '"}' if column is None else column.render(event.data)


class _KindColumns:
    """How one kind of transaction fills its columns."""

    def __init__(self, body_type: type[TransactionBody]) -> None:
        members = {member.field: member.type for member in members_of(body_type)}
        self.decode: Callable[[bytes], TransactionBody] = msgspec.msgpack.Decoder(body_type).decode
        others = [field for field, kind in members.items() if kind == "address" and field != "from_"]
        self.addresses: Callable[[TransactionBody], Sequence[bytes]] = _getter(others)
        self.recipient: Callable[[TransactionBody], bytes | None] = (
            attrgetter("to") if members.get("to") == "address" else _nothing
        )
        self.amount: Callable[[TransactionBody], str | None] = (
            _amount if members.get("amount") == "uint256" else _nothing
        )


class _EventColumn:
    """Renders one kind of event as JSON: lower-case hex, amounts as decimal strings."""

    def __init__(self, event_type: type[EventData]) -> None:
        members = members_of(event_type)
        self._decode = msgspec.msgpack.Decoder(event_type).decode
        self._renders = [(member.field, _RENDER[member.type]) for member in members]
        # Names are identifiers, and all values but texts are free of quotes: a template is three times as fast.
        shown = ",".join(f'"{member.name}":{_SHOWN[member.type]}' for member in members)
        self._template = "{" + shown + "}"

    def render(self, data: bytes) -> str:
        event = self._decode(data)
        return self._template % tuple([render(getattr(event, field)) for field, render in self._renders])


def _decimal(value: bytes) -> str:
    return str(int.from_bytes(value, "big"))


def _json(text: str) -> str:
    return msgspec.json.encode(text).decode()


_RENDER: dict[str, Callable[[Any], Any]] = {
    "address": bytes.hex,
    "bytes": bytes.hex,
    "bytes32": bytes.hex,
    "uint256": _decimal,
    "uint64": int,
    "string": _json,
}
_SHOWN = {
    "address": '"0x%s"',
    "bytes": '"0x%s"',
    "bytes32": '"0x%s"',
    "uint256": '"%s"',
    "uint64": "%d",
    "string": "%s",
}


def _amount(body: Any) -> str:  # noqa: ANN401 - a body with an amount
    return str(int.from_bytes(body.amount, "big"))


def _nothing(body: TransactionBody) -> None:
    return None


def _getter(fields: list[str]) -> Callable[[TransactionBody], Sequence[bytes]]:
    if not fields:
        return lambda body: ()
    if len(fields) == 1:
        (only,) = fields
        return lambda body: (getattr(body, only),)
    return attrgetter(*fields)
