"""The table of evidence: pieces that were checked, in the order in which they came here. Nothing is ever deleted.

It lies in the ledger database and not in the vote log: it is a public record that the API reads on its own threads and
that people query, it must outlive every checkpoint, and its few writes have no business on the path of a vote. It is
no projection: blocks do not give it back. The caller bounds it (`potchain.replica.accusing`); here one piece of each
accused slot is kept, whatever is asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from potchain.codec import decode, encode
from potchain.errors import CodecError, LedgerError
from potchain.evidence import Evidence, evidence_id, slot_digest
from potchain.ledger import schema
from potchain.ledger.rows import Row, upsert_rows

PAGE = 100
"""Rows read at once at the start of a node."""

_t = schema.evidence.c
_COLUMNS = (_t.number, _t.seen_ms, _t.data)


class FoundEvidence(msgspec.Struct, frozen=True):
    """A checked piece on its way to the table."""

    evidence: Evidence
    seen_ms: int
    """This node's clock, Unix ms; nothing depends on it."""


class StoredEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """A piece as it is kept."""

    number: int
    """From 1, in the order of arrival at this node; with gaps."""
    seen_ms: int
    evidence: Evidence


def store_evidence(connection: Connection, found: Sequence[FoundEvidence]) -> None:
    """Keep pieces whose slot has none."""
    first = (connection.execute(sa.select(sa.func.max(_t.number))).scalar_one() or 0) + 1
    rows: list[Row] = [
        (
            number,
            evidence_id(each.evidence),
            slot_digest(each.evidence),
            each.evidence.accused,
            each.evidence.epoch,
            each.seen_ms,
            encode(each.evidence),
        )
        for number, each in enumerate(found, first)
    ]
    upsert_rows(connection, schema.evidence, rows, ())


def evidence_page(after: int, limit: int) -> sa.Select[Any]:
    """The query of a page, in the order of arrival, behind a number."""
    return sa.select(*_COLUMNS).where(_t.number > after).order_by(_t.number).limit(limit)


def evidence_by_id(piece_id: bytes) -> sa.Select[Any]:
    """The query of one piece."""
    return sa.select(*_COLUMNS).where(_t.id == piece_id)


class EvidencePages(Protocol):
    """What has pages of evidence: a LedgerReader."""

    def evidence_page(self, after: int, limit: int) -> Sequence[StoredEvidence]: ...


def all_evidence(reader: EvidencePages) -> Iterator[StoredEvidence]:
    """All of it, page by page."""
    after = 0
    while page := reader.evidence_page(after, PAGE):
        yield from page
        after = page[-1].number


def stored_evidence(row: sa.Row[Any]) -> StoredEvidence:
    """A row of these queries. Raises LedgerError when it is damaged."""
    try:
        evidence = decode(Evidence, bytes(row.data))
    except CodecError as fault:
        raise LedgerError(f"row {row.number} of the table evidence is damaged: {fault}") from None
    return StoredEvidence(number=row.number, seen_ms=row.seen_ms, evidence=evidence)
