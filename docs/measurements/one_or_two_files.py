"""Votes and history in one SQLite file or in two: evidence for docs/adr/0006.

One thread commits a small row every few milliseconds and notes how long each commit takes, as the vote log does.
Another writes rows with random keys in transactions of some milliseconds, as history does while it catches up. Both
with a write-ahead log; votes wait for the disk (FULL), history need not (NORMAL).
"""

import hashlib
import sqlite3
import tempfile
import threading
import time
from pathlib import Path

SECONDS = 8
PAUSE_S = 0.005
SLICE_ROWS = 500
ROWS_BEFORE = 200_000


def connect(path: Path, synchronous: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=30, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute(f"PRAGMA synchronous={synchronous}")
    return connection


def rows(first: int, count: int) -> list[tuple[bytes, int]]:
    return [(hashlib.sha256(number.to_bytes(8, "big")).digest(), number) for number in range(first, first + count)]


def history(path: Path, stop: threading.Event) -> None:
    connection = connect(path, "NORMAL")
    first = ROWS_BEFORE
    while not stop.is_set():
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO history VALUES (?, ?)", rows(first, SLICE_ROWS))
        connection.execute("COMMIT")
        first += SLICE_ROWS
    connection.close()


def measure(votes: Path, ledger: Path) -> tuple[float, float, float]:
    """p50, p99 and the longest commit of a vote, milliseconds."""
    connection = connect(ledger, "NORMAL")
    connection.execute("CREATE TABLE history (key BLOB PRIMARY KEY, value INTEGER) WITHOUT ROWID")
    connection.execute("BEGIN")
    connection.executemany("INSERT INTO history VALUES (?, ?)", rows(0, ROWS_BEFORE))
    connection.execute("COMMIT")
    connection.close()
    connection = connect(votes, "FULL")
    connection.execute("CREATE TABLE votes (id INTEGER PRIMARY KEY, data BLOB)")
    stop = threading.Event()
    writer = threading.Thread(target=history, args=(ledger, stop))
    writer.start()
    took = []
    ends = time.perf_counter() + SECONDS
    while time.perf_counter() < ends:
        began = time.perf_counter()
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO votes (data) VALUES (?)", (bytes(300),))
        connection.execute("COMMIT")
        took.append((time.perf_counter() - began) * 1000)
        time.sleep(PAUSE_S)
    stop.set()
    writer.join()
    connection.close()
    took.sort()
    return took[len(took) // 2], took[int(len(took) * 0.99)], took[-1]


def main() -> None:
    for name, files in (("one file", ("ledger", "ledger")), ("two files", ("votes", "ledger"))):
        with tempfile.TemporaryDirectory() as folder:
            p50, p99, longest = measure(*(Path(folder) / f"{file}.sqlite" for file in files))
        print(f"{name:<10} commit of a vote: p50 {p50:.1f} ms, p99 {p99:.1f} ms, longest {longest:.1f} ms")


if __name__ == "__main__":
    main()
