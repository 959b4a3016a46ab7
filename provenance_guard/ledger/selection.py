"""Reads events that fit conditions, page by page, so that no lock is held while the caller looks at them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

from provenance_guard.ledger import tables

PAGE = 256

NO_SEQ = 1 << 62  # above every sequence number

Filter = tuple[str, Any]
"""A condition in SQL with one question mark, and the value for it."""


def since(connection: sqlite3.Connection, time: str) -> tuple[int, Filter]:
    """The first event, and the condition, for events written at or after a time (RFC 3339 as stored), whatever the clock did."""
    # The first plus makes SQLite use the index of times; it would read all events from the first one otherwise. The second
    # keeps it from sorting all later events by time for every page.
    row = connection.execute("SELECT min(+seq) FROM event WHERE time >= ?", (time,)).fetchone()
    return (NO_SEQ if row[0] is None else row[0]), ("+time >= ?", time)


def until(connection: sqlite3.Connection, time: str) -> tuple[int, Filter]:
    """The last event, and the condition, for events written before a time."""
    row = connection.execute("SELECT max(+seq) FROM event WHERE time < ?", (time,)).fetchone()
    return (-1 if row[0] is None else row[0]), ("+time < ?", time)


def select_pages(
    use: Callable[[], AbstractContextManager[sqlite3.Connection]],
    filters: Sequence[Filter] = (),
    *,
    first: int = 0,
    last: int = NO_SEQ,
    limit: int | None = None,
    newest_first: bool = False,
) -> Iterator[list[Any]]:
    """Rows of ``tables.EVENT_COLUMNS`` from event ``first`` to ``last`` that fit all ``filters``, which do not ask for numbers;
    ``use`` lends the connection for one page."""
    if not all(str(value).isascii() for _, value in filters):
        return  # SQLite cannot even be asked for a lone surrogate, and nothing that we select by is beyond ASCII.
    # One lower and one upper bound: of two SQLite seeks with one and walks to the other, for each page anew.
    conditions = [condition for condition, _ in filters] + ["seq >= ?", "seq <= ?"]
    order = "DESC" if newest_first else "ASC"
    query = f"SELECT {tables.EVENT_COLUMNS} FROM event WHERE {' AND '.join(conditions)} ORDER BY seq {order} LIMIT ?"
    remaining = limit
    while remaining is None or remaining > 0:
        page = PAGE if remaining is None else min(PAGE, remaining)
        with use() as connection:
            rows = connection.execute(query, [*(value for _, value in filters), first, last, page]).fetchall()
        yield rows
        if len(rows) < page:
            return
        if newest_first:
            last = rows[-1][0] - 1
        else:
            first = rows[-1][0] + 1
        remaining = None if remaining is None else remaining - page
