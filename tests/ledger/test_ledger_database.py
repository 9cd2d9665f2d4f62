"""Opening, durability, and errors that say what to do."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from ledger_chain import StoredChain

from potchain.consensus.interface import Record
from potchain.errors import ConfigError, LedgerError
from potchain.ledger import schema
from potchain.ledger.database import Database, open_database
from potchain.ledger.migrate import upgrade
from potchain.ledger.reader import LedgerReader
from potchain.ledger.schema import Role
from potchain.ledger.votes import VoteLog


def test_the_writer_waits_for_the_disk(open_role: Callable[[Role], Database]) -> None:
    database = open_role("ledger")
    with database.write() as connection:
        if database.is_sqlite:
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
            assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
        else:
            assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == "on"
    with database.write(relaxed=True) as connection:
        if database.is_sqlite:
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 1
        else:
            assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == "off"
    with database.write() as connection:
        if not database.is_sqlite:
            assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == "on"


def test_readers_cannot_write(open_role: Callable[[Role], Database]) -> None:
    database = open_role("ledger")
    with pytest.raises(LedgerError), database.read() as connection:
        connection.exec_driver_sql("DELETE FROM chain")


def test_a_reader_sees_one_snapshot(ledger: StoredChain) -> None:
    with ledger.database.read() as connection:
        count = "SELECT count(*) FROM blocks"
        assert connection.exec_driver_sql(count).scalar() == 1
        ledger.writer.apply(ledger.chain.grow_mixed(1))
        assert connection.exec_driver_sql(count).scalar() == 1
    assert ledger.reader.tip().height == 1


def test_a_query_past_its_deadline_is_an_error(ledger: StoredChain) -> None:
    slow = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000000) SELECT count(*) FROM n"
    with pytest.raises(LedgerError, match="passed its deadline"), ledger.database.read(20_000_000) as connection:
        connection.exec_driver_sql(slow)
    # The connection goes back without the deadline.
    for _ in range(20):
        assert LedgerReader(ledger.database).tip().height == 0


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path) -> None:
    database = open_database(tmp_path / "small.db", role="votes")
    upgrade(database)
    with database.write() as connection:
        pages = int(connection.exec_driver_sql("PRAGMA page_count").scalar() or 0)
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 5}")
    log = VoteLog(database, bytes(32))
    log.load()
    with pytest.raises(LedgerError, match="disk is full") as caught:
        log.append(records=[Record("accepted", 0, 1, b"")], bodies=[bytes(4_000)] * 20)
    assert "small.db" in str(caught.value)
    assert "Free space" in str(caught.value)
    with database.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM pool_bodies").scalar() == 0
        assert connection.exec_driver_sql("SELECT count(*) FROM vote_records").scalar() == 0
    assert log.append(records=[Record("accepted", 0, 1, b"")]) is None
    database.close()


def test_a_locked_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("potchain.ledger.database.BUSY_TIMEOUT_MS", 20)
    database = open_database(tmp_path / "a.db", role="ledger")
    other = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(LedgerError, match="locked by another program"), database.write():
        pass
    other.close()
    database.close()


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_bytes(b"something else entirely" * 100)
    with pytest.raises(LedgerError, match="is damaged as an SQLite file"):
        open_database(tmp_path / "a.db", role="ledger")


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="check that its folder exists"):
        open_database(tmp_path / "no" / "a.db", role="ledger")


@pytest.mark.parametrize("url", ["mysql://host/name", "sqlite://", "sqlite:///:memory:", "://"])
def test_urls_that_cannot_be_used(url: str) -> None:
    with pytest.raises(ConfigError):
        open_database(url, role="ledger")


def test_a_sqlite_url_is_a_path(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path}/b.db", role="ledger")
    database.close()
    assert (tmp_path / "b.db").exists()


def test_postgres_without_its_driver_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ConfigError, match=r"potchain\[postgres\]"):
        open_database("postgresql://user:secret@localhost/x", role="ledger")


def test_a_server_that_is_not_there_is_named_without_password() -> None:
    with pytest.raises(LedgerError) as caught:
        open_database("postgresql://user:secret@127.0.0.1:1/x", role="ledger")
    assert "127.0.0.1:1/x" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_no_table_name_is_in_both_databases() -> None:
    assert not set(schema.ledger_metadata.tables) & set(schema.votes_metadata.tables)
