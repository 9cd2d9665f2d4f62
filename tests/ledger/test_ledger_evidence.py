"""The table of evidence: what is kept, in which order, and what is not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa
from core_network import make_genesis
from double_votes import double_vote, vote

from potchain.errors import LedgerError
from potchain.evidence import evidence_id
from potchain.ledger.database import Database
from potchain.ledger.evidence import FoundEvidence, all_evidence
from potchain.ledger.reader import LedgerReader
from potchain.ledger.schema import Role
from potchain.ledger.writer import LedgerWriter
from potchain.primitives import UINT64_MAX
from potchain.replica.accusing import evidence_of

GENESIS = make_genesis(validators=4)


def test_pieces_are_kept_in_order_once_and_found_by_id(open_role: Callable[[Role], Database]) -> None:
    database = open_role("ledger")
    writer, reader = LedgerWriter(database), LedgerReader(database)
    pieces = [double_vote(GENESIS, 1, sequence) for sequence in range(1, 6)]
    writer.store_evidence([FoundEvidence(piece, 1_000 + at) for at, piece in enumerate(pieces)])
    other = evidence_of(vote(GENESIS, 1, 1, "a"), vote(GENESIS, 1, 1, "c"))
    assert other is not None
    last = double_vote(GENESIS, 2, 1)
    writer.store_evidence([FoundEvidence(pieces[0], 9), FoundEvidence(other, 9), FoundEvidence(last, 2_000)])
    first_page = reader.evidence_page(0, 4)
    rest = reader.evidence_page(first_page[-1].number, 4)
    assert [stored.evidence for stored in (*first_page, *rest)] == [*pieces, last]
    assert [stored.seen_ms for stored in (*first_page, *rest)] == [1_000, 1_001, 1_002, 1_003, 1_004, 2_000]
    assert [stored.evidence for stored in all_evidence(reader)] == [*pieces, last]
    found = reader.evidence(evidence_id(last))
    assert found is not None
    assert found.evidence == last
    assert reader.evidence(evidence_id(other)) is None


def test_the_largest_numbers_of_the_wire_can_be_stored(open_role: Callable[[Role], Database]) -> None:
    database = open_role("ledger")
    piece = double_vote(GENESIS, 3, UINT64_MAX, kind="prepare", view=UINT64_MAX)
    LedgerWriter(database).store_evidence([FoundEvidence(piece, 1)])
    assert [stored.evidence for stored in LedgerReader(database).evidence_page(0, 10)] == [piece]


def test_a_damaged_row_is_named(open_role: Callable[[Role], Database]) -> None:
    database = open_role("ledger")
    LedgerWriter(database).store_evidence([FoundEvidence(double_vote(GENESIS, 3, 1), 1)])
    with database.write() as connection:
        connection.execute(sa.text("UPDATE evidence SET data = :data"), {"data": b"\x91"})
    with pytest.raises(LedgerError, match="row 1 of the table evidence is damaged"):
        LedgerReader(database).evidence_page(0, 10)
