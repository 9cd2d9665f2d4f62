"""The vote log: what this node signed and must find again, and the transactions it has promised to keep.

One `append` is one transaction with one wait for the disk, however many steps of the engine it covers. Records, own
messages, guard entries and pinned proposals at or below the stable checkpoint are forgotten by `truncate`; the marks,
which say how far this node has ever voted, are never lowered. Rows of sequence 0 speak of a view, not of a slot:
`truncate` keeps those of the newest view of each kind, and all of the guard's.

Every row carries a checksum. Anything that does not add up is a `LedgerError` that begins "damaged vote log": a node
must not vote from such a log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar
from zlib import crc32

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from potchain.blocks import BLOCK_VOTE, Bodies, Proposal, proposal_digest
from potchain.codec import Canonical, decode, encode
from potchain.consensus.interface import ConsensusMessage, Record
from potchain.consensus.learning import LearnerTarget
from potchain.consensus.signer import GuardEntry
from potchain.errors import CodecError, LedgerError
from potchain.ledger import schema
from potchain.ledger.database import Database
from potchain.ledger.rows import Row, delete_rows, insert_rows, upsert_rows

S = TypeVar("S", bound=Canonical)

# A second digest for a slot becomes NULL, which the column refuses: the database itself is the last guard.
_GUARD_INSERT = (
    'INSERT INTO vote_guard ("log", epoch, view, sequence, kind, digest, checksum) VALUES (?, ?, ?, ?, ?, ?, ?) '
    'ON CONFLICT ("log", epoch, view, sequence, kind) DO UPDATE SET digest = '
    "CASE WHEN vote_guard.digest = excluded.digest THEN excluded.digest ELSE NULL END"
)
_GUARD_SQL = {"sqlite": _GUARD_INSERT, "postgresql": _GUARD_INSERT.replace("?", "%s")}


class VoteMarks(msgspec.Struct, frozen=True, kw_only=True):
    """How far this node has ever voted in one network; truncation never lowers them."""

    stable: int = 0
    """Height of the stable checkpoint up to which the log was truncated."""
    sequence_high: int = 0
    """Highest sequence of an own consensus message."""
    block_vote_high: int = 0
    """Highest height of an own block vote."""
    epoch_high: int = 0
    """Highest epoch of an own consensus message."""
    view_high: int = 0
    """Highest view of an own consensus message in that epoch."""
    doubtful: int = 0
    """1 when earlier votes may be forgotten and nobody has said yet how far they went: this log began beside a ledger
    that had blocks. It goes to 0 with a learner's target."""
    learner_height: int = 0
    """Stable checkpoint that this node must reach before it signs consensus messages; 0: nothing is forgotten."""
    learner_epoch: int = 0
    """In this epoch it signs ..."""
    learner_view: int = 0
    """... in no view below this one."""

    def raised_by(self, messages: Iterable[ConsensusMessage]) -> VoteMarks:
        """The marks after signing these messages too."""
        sequence, block_vote, view = self.sequence_high, self.block_vote_high, (self.epoch_high, self.view_high)
        for message in messages:
            if message.kind == BLOCK_VOTE:
                block_vote = max(block_vote, message.sequence)
            else:
                sequence = max(sequence, message.sequence)
                view = max(view, (message.epoch, message.view))
        return msgspec.structs.replace(
            self, sequence_high=sequence, block_vote_high=block_vote, epoch_high=view[0], view_high=view[1]
        )

    def learning(self, target: LearnerTarget | None) -> VoteMarks:
        """The marks once a learner's target is known too; None: as they are."""
        if target is None:
            return self
        return msgspec.structs.replace(
            self, doubtful=0, learner_height=target.height, learner_epoch=target.epoch, learner_view=target.view
        )

    @property
    def target(self) -> LearnerTarget:
        """The learner's target; all zero when nothing is forgotten."""
        return LearnerTarget(self.learner_height, self.learner_epoch, self.learner_view)


class BodyBatch(msgspec.Struct, frozen=True):
    """Signed transactions that were made durable together; dropped together."""

    id: int
    raw: tuple[bytes, ...]
    """Canonical bytes of each."""


class VoteLogContents(msgspec.Struct, frozen=True, kw_only=True):
    """All that a restarted node finds."""

    created: bool
    """True when there was no log of this network: nothing is known of earlier votes."""
    marks: VoteMarks
    records: tuple[Record, ...]
    """In the order in which they were persisted."""
    own_messages: tuple[ConsensusMessage, ...]
    """In the order in which they were persisted."""
    guard: tuple[GuardEntry, ...]
    proposals: tuple[Proposal, ...]
    """Pinned, by sequence, then digest."""
    bodies: tuple[BodyBatch, ...]
    """Oldest first."""


class VoteLog:
    """The vote log of one network in a vote database. One thread calls it; `load` comes first."""

    def __init__(self, database: Database, genesis_hash: bytes) -> None:
        """`database` has its tables already: `migrate.upgrade`."""
        self._database = database
        self._genesis_hash = genesis_hash
        self._log = 0
        self._marks = VoteMarks()
        self._next_record = self._next_message = self._next_batch = 1

    @property
    def marks(self) -> VoteMarks:
        """The durable marks."""
        return self._marks

    def load(self, beside_blocks: bool = False) -> VoteLogContents:
        """Everything that is durable. Raises LedgerError ("damaged vote log ...").

        `beside_blocks`: the ledger has blocks. A log that has to be created then is marked, for good, as one that does
        not know this node's earlier votes.
        """
        with self._database.write() as connection:
            created = self._load_marks(connection, beside_blocks)
            records = self._load(connection, schema.vote_records, _read_record)
            messages = self._load(connection, schema.vote_messages, self._read_message)
            guard = self._load(connection, schema.vote_guard, self._read_guard)
            proposals = self._load(connection, schema.pinned_proposals, self._read_proposal)
            batches = self._load(connection, schema.pool_bodies, self._read_batch)
            self._next_record = _next_id(connection, schema.vote_records)
            self._next_message = _next_id(connection, schema.vote_messages)
            self._next_batch = _next_id(connection, schema.pool_bodies)
        return VoteLogContents(
            created=created,
            marks=self._marks,
            records=records,
            own_messages=messages,
            guard=guard,
            proposals=proposals,
            bodies=batches,
        )

    def append(
        self,
        *,
        records: Sequence[Record] = (),
        messages: Sequence[ConsensusMessage] = (),
        guard: Sequence[GuardEntry] = (),
        proposals: Sequence[Proposal] = (),
        bodies: Sequence[bytes] = (),
        dropped: Sequence[int] = (),
        learner: LearnerTarget | None = None,
    ) -> int | None:
        """Make all of it durable in one transaction; the id of the batch that the bodies make, None without bodies.

        `dropped`: batches of bodies to delete on this occasion, as `drop_batches` does. `learner`: how far a node that
        forgot its votes must learn; from then on it is known.
        A message or guard entry that is there already stays as it is. Raises LedgerError, with nothing kept, when the
        database fails or a guard entry contradicts a durable one.
        """
        assert self._log, "load comes first"
        marks = self._marks.raised_by(messages).learning(learner)
        batch_id = self._next_batch if bodies else None
        with self._database.write() as connection:
            if marks != self._marks:
                self._store_marks(connection, marks)
            insert_rows(connection, schema.vote_records, self._record_rows(records))
            upsert_rows(connection, schema.vote_messages, self._message_rows(messages), ())
            upsert_rows(connection, schema.pinned_proposals, self._proposal_rows(proposals), ())
            if batch_id is not None:
                blob = encode(Bodies(tuple(bodies)))
                insert_rows(connection, schema.pool_bodies, [_sealed((batch_id, self._log, blob))])
            self._append_guard(connection, guard)
            delete_rows(connection, schema.pool_bodies, [(id_,) for id_ in dropped])
        self._marks = marks
        self._next_record += len(records)
        self._next_message += len(messages)
        self._next_batch += batch_id is not None
        return batch_id

    def truncate(self, stable: int, uncertified: Sequence[int] = ()) -> None:
        """Forget what a stable checkpoint covers, which must be durable in the ledger with its certificate.

        `uncertified`: heights at or below it whose own block vote is kept, because their certificate is not here yet.
        """
        assert self._log, "load comes first"
        marks = msgspec.structs.replace(self._marks, stable=max(stable, self._marks.stable))
        with self._database.write() as connection:
            self._store_marks(connection, marks)
            for table in (schema.vote_records, schema.vote_messages, schema.vote_guard, schema.pinned_proposals):
                covered = [table.c.log == self._log, table.c.sequence > 0, table.c.sequence <= marks.stable]
                if table is schema.vote_messages and uncertified:
                    kept = sa.and_(table.c.kind == BLOCK_VOTE, table.c.sequence.in_(uncertified))
                    covered.append(sa.not_(kept))
                connection.execute(sa.delete(table).where(*covered))
            for table in (schema.vote_records, schema.vote_messages):
                self._forget_old_views(connection, table)
        self._marks = marks

    def drop_batches(self, ids: Sequence[int]) -> None:
        """Delete batches all of whose transactions are executed or dropped."""
        if ids:
            with self._database.write() as connection:
                delete_rows(connection, schema.pool_bodies, [(id_,) for id_ in ids])

    # --- writing ----------------------------------------------------------------------------------------------------

    def _record_rows(self, records: Sequence[Record]) -> list[Row]:
        return [
            _sealed((id_, self._log, record.kind, record.view, record.sequence, record.data))
            for id_, record in enumerate(records, self._next_record)
        ]

    def _message_rows(self, messages: Sequence[ConsensusMessage]) -> list[Row]:
        return [
            _sealed((id_, self._log, message.epoch, message.view, message.sequence, message.kind, encode(message)))
            for id_, message in enumerate(messages, self._next_message)
        ]

    def _proposal_rows(self, proposals: Sequence[Proposal]) -> list[Row]:
        return [
            _sealed((self._log, proposal.header.sequence, proposal_digest(proposal.header), encode(proposal)))
            for proposal in proposals
        ]

    def _append_guard(self, connection: Connection, guard: Sequence[GuardEntry]) -> None:
        rows = [
            _sealed((self._log, entry.epoch, entry.view, entry.sequence, entry.kind, entry.digest)) for entry in guard
        ]
        if not rows:
            return
        try:
            connection.exec_driver_sql(_GUARD_SQL[connection.dialect.name], rows)
        except sa.exc.IntegrityError as fault:
            slots = ", ".join(f"{e.kind} at epoch {e.epoch} view {e.view} sequence {e.sequence}" for e in guard[:8])
            raise LedgerError(
                f"the durable guard of {self._database.place} holds another digest for one of: {slots}; nothing was "
                f"kept and nothing may be sent. Does another process sign with this validator's key?"
            ) from fault

    def _store_marks(self, connection: Connection, marks: VoteMarks) -> None:
        upsert_rows(connection, schema.vote_marks, [self._marks_row(marks)], [*VoteMarks.__struct_fields__, "checksum"])

    def _marks_row(self, marks: VoteMarks) -> Row:
        return _sealed((self._log, self._genesis_hash, *(getattr(marks, name) for name in VoteMarks.__struct_fields__)))

    def _forget_old_views(self, connection: Connection, table: sa.Table) -> None:
        # A new epoch starts at view 0 again, so "old" is "not the newest row's", not "lower".
        of_views = sa.select(table.c.kind, table.c.view).where(table.c.log == self._log, table.c.sequence == 0)
        newest = {row.kind: row.view for row in connection.execute(of_views.order_by(table.c.id))}
        for kind, view in sorted(newest.items()):
            connection.execute(
                sa.delete(table).where(
                    table.c.log == self._log, table.c.sequence == 0, table.c.kind == kind, table.c.view != view
                )
            )

    # --- reading ----------------------------------------------------------------------------------------------------

    def _load_marks(self, connection: Connection, beside_blocks: bool) -> bool:
        table = schema.vote_marks
        row = connection.execute(sa.select(table).where(table.c.genesis_hash == self._genesis_hash)).one_or_none()
        if row is None:
            last = connection.execute(sa.select(sa.func.max(table.c.log))).scalar()
            self._log = int(last or 0) + 1
            self._marks = VoteMarks(doubtful=int(beside_blocks))
            insert_rows(connection, table, [self._marks_row(self._marks)])
            return True
        self._log = row.log
        self._check(table, tuple(row))
        self._marks = VoteMarks(**{name: getattr(row, name) for name in VoteMarks.__struct_fields__})
        return False

    def _load(self, connection: Connection, table: sa.Table, read: Callable[[Any], S | BodyBatch]) -> tuple[Any, ...]:
        query = sa.select(table).where(table.c.log == self._log).order_by(*table.primary_key.columns)
        found = []
        for row in connection.execute(query):
            self._check(table, tuple(row))
            found.append(read(row))
        return tuple(found)

    def _check(self, table: sa.Table, row: Row) -> None:
        if _sealed(row[:-1]) != row:
            key = ", ".join(
                f"{column.name} {row[at]!r}" for at, column in enumerate(table.columns) if column.primary_key
            )
            raise self._damaged(f"the row of {table.name} with {key} fails its checksum")

    def _damaged(self, detail: str) -> LedgerError:
        return LedgerError(
            f"damaged vote log {self._database.place}: {detail}. This node must not vote from it; move the file away "
            f"and let the node rejoin as a learner"
        )

    def _decoded(self, kind: type[S], data: bytes) -> S:
        try:
            return decode(kind, bytes(data))
        except CodecError as fault:
            raise self._damaged(str(fault)) from None

    def _read_message(self, row: Any) -> ConsensusMessage:  # noqa: ANN401 - a row
        return self._decoded(ConsensusMessage, row.data)

    def _read_guard(self, row: Any) -> GuardEntry:  # noqa: ANN401
        return GuardEntry(row.epoch, row.view, row.sequence, row.kind, bytes(row.digest))

    def _read_proposal(self, row: Any) -> Proposal:  # noqa: ANN401
        return self._decoded(Proposal, row.data)

    def _read_batch(self, row: Any) -> BodyBatch:  # noqa: ANN401
        return BodyBatch(row.id, self._decoded(Bodies, row.data).raw)


def _read_record(row: Any) -> Record:  # noqa: ANN401
    return Record(row.kind, row.view, row.sequence, row.data)


def _sealed(row: Row) -> Row:
    """The row with its checksum at the end."""
    return (*row, crc32(msgspec.msgpack.encode(row)))


def _next_id(connection: Connection, table: sa.Table) -> int:
    return int(connection.execute(sa.select(sa.func.max(table.c.id))).scalar() or 0) + 1
