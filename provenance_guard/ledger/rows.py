"""Reads the rows of a ledger file that may be damaged or tampered with: every readable one, and which ones are not."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from provenance_guard.ledger import database

_PAGE = 512
_SMALLEST_EVENT = 200  # bytes
_FIRST_SEQ = -(1 << 63)
_HEAD = "seq, tree, time, type, record_id, pixel_sha256, file_sha256"
_READ = f"SELECT {_HEAD}, bytes, openings FROM event WHERE seq >= ? ORDER BY seq LIMIT ?"
_READ_ONE = f"SELECT {_HEAD}, bytes, openings FROM event WHERE seq = ?"
_READ_HEAD = f"SELECT {_HEAD} FROM event WHERE seq = ?"


class Row(NamedTuple):
    """A row of the event table as it is; after tampering, any value may be of any type.

    ``readable`` is False when the page it lies on is damaged. Then ``tree`` and the columns up to ``file_sha256`` may still be
    there (the content of a long event lies on pages of its own), or are None.
    """

    seq: int
    tree: Any = None
    time: Any = None
    type: Any = None
    record_id: Any = None
    pixel_sha256: Any = None
    file_sha256: Any = None
    stored: Any = None
    openings: Any = None
    readable: bool = True


def open_damaged(path: Path) -> sqlite3.Connection:
    """Open a ledger file read-only, in such a way that damaged text stops no reading. Raises LedgerError."""
    connection = database.open_read_only(path)
    connection.text_factory = lambda text: text.decode("utf-8", "replace")
    return connection


def read_rows(connection: sqlite3.Connection) -> Iterator[Row]:
    """All rows in order. Where a page is damaged, goes on row by row, so that every readable one is found."""
    end = min(expected_size(connection), _most_events(connection))  # the count may be damaged, too
    position = _FIRST_SEQ
    while True:
        try:
            page = [Row(*values) for values in connection.execute(_READ, (position, _PAGE))]
        except sqlite3.DatabaseError:
            position = max(position, 0)
            last = min(position + _PAGE, end)
            yield from (row for seq in range(position, last) if (row := _read_one(connection, seq)))
            if last >= end:
                return
            position = last
            continue
        yield from page
        if len(page) < _PAGE:
            return
        position = page[-1].seq + 1


def expected_size(connection: sqlite3.Connection) -> int:
    """How many events there should be, by SQLite's own count and by the largest stored checkpoint."""
    last = read_value(connection, "SELECT seq FROM sqlite_sequence WHERE name = 'event'")
    covered = read_value(connection, "SELECT max(size) FROM checkpoint")
    return max(last + 1 if isinstance(last, int) else 0, covered if isinstance(covered, int) else 0)


def read_value(connection: sqlite3.Connection, query: str) -> Any:
    """The first value that a query gives, None when there is none or its page is damaged."""
    try:
        row = connection.execute(query).fetchone()
    except sqlite3.DatabaseError:
        return None
    return row[0] if row else None


def _most_events(connection: sqlite3.Connection) -> int:
    """How many events there can be in a file of this size."""
    name = connection.execute("PRAGMA database_list").fetchone()[2]
    return Path(name).stat().st_size // _SMALLEST_EVENT


def _read_one(connection: sqlite3.Connection, seq: int) -> Row | None:
    try:
        values = connection.execute(_READ_ONE, (seq,)).fetchone()
    except sqlite3.DatabaseError:
        return _read_head(connection, seq)._replace(readable=False)
    return Row(*values) if values else None


def _read_head(connection: sqlite3.Connection, seq: int) -> Row:
    try:
        values = connection.execute(_READ_HEAD, (seq,)).fetchone()
    except sqlite3.DatabaseError:
        values = None
    return Row(*values) if values else Row(seq)
