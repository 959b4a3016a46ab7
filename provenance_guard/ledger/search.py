"""Search by words: a full-text index beside the ledger (SQLite FTS5), made from it and never more than a copy.

The index is a file of its own, brought up to date by every search, so that appending costs nothing and deleting the file loses
nothing. It holds what the ledger holds, private fields included.

It is made of parts of a fixed number of events, looked through from the newest to the oldest. So a search that finds much, such as
for a beginning that thousands of words share, is done after the first part or two; FTS5 would gather all hits of such a beginning
first. Each part knows the earliest and the latest time in it.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from itertools import groupby
from pathlib import Path
from typing import Any

from provenance_guard.errors import LedgerError
from provenance_guard.ledger import database
from provenance_guard.ledger.events import RECORD_KEY, Event
from provenance_guard.ledger.opening import opened_body

# The fields that a word can be looked for in: ``lora:lighthouse``.
FIELDS = ("prompt", "negative", "model", "lora", "seed", "parent", "verdict", "action", "user", "file", "other")

_VERSION = 3
_PART_EVENTS = 8192
_SHORTEST_BEGINNING = 2
"""So many characters a beginning (``li*``) needs: one alone is shared by so many words that finding them all takes long."""
Filters = Mapping[str, Sequence[str]]
"""For some of ``FIELDS``, the values of which one has to be there."""

_FIELD_OF_PARAMETER = {
    "prompt": "prompt",
    "hires_prompt": "prompt",
    "styles": "prompt",
    "negative_prompt": "negative",
    "hires_negative_prompt": "negative",
    "seed": "seed",
    "subseed": "seed",
    "model": "model",
    "model_hash": "model",
    "vae": "model",
}
_RESOURCE_KEYS = ("name", "file_name", "sha256", "declared_hash")
_FIELD_OF_KEY = {"user": "user", "job": "user", "file_name": "file", "source_name": "file"}
_INSERT = f"INSERT INTO part_{{}} (rowid, {', '.join(FIELDS)}) VALUES (?{', ?' * len(FIELDS)})"
_TERM = re.compile(r'(?:(?P<field>[a-z]+):)?(?:"(?P<phrase>[^"]*)"|(?P<word>\S+))')
_ANY_TERM = re.compile(r'"[^"]*"|\S+')
# Scripts written without blanks are indexed character by character, and looked for as phrases.
_UNSPACED = re.compile(r"([\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff])")


class SearchIndex:
    """The index of one ledger, for one search. Use it through ``Ledger.search``."""

    def __init__(self, connection: sqlite3.Connection, origin: str) -> None:
        self._connection = connection
        self._origin = origin

    @classmethod
    @contextmanager
    def open(cls, ledger_path: Path, origin: str) -> Iterator[SearchIndex]:
        """Open the index of a ledger, and make it when it is not there; in memory where no file can be written.

        Raises LedgerError when this Python's SQLite has no FTS5, or the file cannot be used.
        """
        path = index_path(ledger_path)
        try:
            with database.errors_told(path, only=sqlite3.OperationalError), closing(_connect(path)) as connection:
                _create_tables(connection)
                yield cls(connection, origin)
        except sqlite3.DatabaseError as error:
            for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
                with suppress(OSError):
                    path.with_name(name).unlink()
            raise LedgerError(
                f"The search index {path} was damaged.",
                next_step="Search again: that makes a new one. If it stays so, delete that file.",
            ) from error

    def last_indexed(self, holds: Callable[[int, bytes], bool]) -> int:
        """Number of the last event in the index, -1 when there is none.

        ``holds`` says whether the ledger has an event of that number and leaf hash. If not, the index is of another ledger or of
        another past of this one, and is cleared.
        """
        row = self._connection.execute("SELECT origin, seq, leaf_hash FROM progress").fetchone()
        if row is None:
            return -1
        if row[0] == self._origin and holds(row[1], row[2]):
            return int(row[1])
        self.clear()
        return -1

    def add(self, new_events: Sequence[Event], *, after: int) -> None:
        """Index events that come after number ``after``. Other processes may do the same meanwhile: what they were quicker
        with is passed over, and nothing is added behind a gap when one of them has cleared the index."""
        with database.transaction(self._connection):
            row = self._connection.execute("SELECT seq FROM progress").fetchone()
            last = row[0] if row else -1
            fresh = [event for event in new_events if event.seq > last]
            if not fresh or last < after:
                return
            for number, events_of_part in groupby(fresh, key=lambda event: event.seq // _PART_EVENTS):
                self._add_to_part(number, list(events_of_part))
            self._connection.execute("DELETE FROM progress")
            progress = (self._origin, fresh[-1].seq, fresh[-1].leaf_hash)
            self._connection.execute("INSERT INTO progress VALUES (?, ?, ?)", progress)

    def find(
        self, text: str, filters: Filters | None = None, *, since: str | None = None, until: str | None = None
    ) -> Iterator[int]:
        """Numbers of the events that hold every term of ``text`` and fit ``filters``, newest first, as they are found.

        See ``Ledger.search`` for the terms. ``since`` and ``until`` only spare looking far outside of these times.
        """
        query, sieve = to_query(text, filters), to_query(text, filters, beginnings=False)
        if not query:
            return
        with database.snapshot(self._connection):  # nobody clears a part while we are between two of them
            parts = "SELECT number FROM part WHERE latest >= ? AND earliest < ? ORDER BY number DESC"
            for (number,) in self._connection.execute(parts, (since or "", until or "~")).fetchall():
                match = f"SELECT rowid FROM part_{number} WHERE part_{number} MATCH ?"
                if sieve not in ("", query) and not self._connection.execute(f"{match} LIMIT 1", (sieve,)).fetchone():
                    continue  # Spares gathering a beginning where the other words are not.
                for row in self._connection.execute(f"{match} ORDER BY rowid DESC", (query,)):
                    yield row[0]

    def clear(self) -> None:
        """Forget everything, and overwrite it on the disk."""
        self._connection.execute("PRAGMA secure_delete=ON")
        with database.transaction(self._connection):
            for (number,) in self._connection.execute("SELECT number FROM part").fetchall():
                self._connection.execute(f"DROP TABLE part_{number}")
            self._connection.execute("DELETE FROM part")
            self._connection.execute("DELETE FROM progress")
        self._connection.execute("VACUUM")  # pages that were freed while indexing still hold words
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _add_to_part(self, number: int, new_events: Sequence[Event]) -> None:
        times = [event.time for event in new_events]
        known = self._connection.execute("SELECT earliest, latest FROM part WHERE number = ?", (number,)).fetchone()
        if known is None:
            _create_part(self._connection, number)
        span = (min([*times, *(known or ())]), max([*times, *(known or ())]))
        self._connection.execute("INSERT OR REPLACE INTO part VALUES (?, ?, ?)", (number, *span))
        rows = [(event.seq, *searchable(event).values()) for event in new_events]
        self._connection.executemany(_INSERT.format(number), rows)


def index_path(ledger_path: Path) -> Path:
    """Where the index of a ledger lies."""
    return ledger_path.with_name(ledger_path.name + ".search")


def forget(ledger_path: Path, origin: str) -> None:
    """Clear the index of a ledger, if it has one, so that no byte of it holds a word; the next search makes it anew."""
    if index_path(ledger_path).exists():
        with SearchIndex.open(ledger_path, origin) as index:
            index.clear()


def searchable(event: Event) -> dict[str, str]:
    """The words of an event, by field (every name of ``FIELDS``, in that order)."""
    words: dict[str, list[str]] = {field: [] for field in FIELDS}
    words["other"].append(event.type)
    for field, text in _words(opened_body(event)):
        words[field].append(text)
    return {field: _spaced(" ".join(texts)) for field, texts in words.items()}


def to_query(text: str, filters: Filters | None = None, *, beginnings: bool = True) -> str:
    """What a person types, and filters, as an FTS5 expression; every term quoted, so that nothing in it is taken for syntax.

    Without ``beginnings`` what remains of it when those are left out: it finds all that the whole finds, and more.
    """
    parts = []
    for match in _TERM.finditer(text):
        field, term = match["field"], match["phrase"] if match["phrase"] is not None else match["word"]
        if field and field not in FIELDS:
            field, term = None, match[0]
        parts.append([_to_term(field, term, whole=match["phrase"] is not None)])
    for field, values in (filters or {}).items():
        parts.append([_to_term(field, value) for value in values])
    known = [[term for term in any_of if term] for any_of in parts]
    kept = [any_of for any_of in known if beginnings or not any(term.endswith("*") for term in any_of)]
    return " AND ".join(f"({' OR '.join(any_of)})" if len(any_of) > 1 else any_of[0] for any_of in kept if any_of)


def in_field(field: str, text: str) -> str:
    """What a person types, each term of it looked for in one field."""
    return " ".join(f"{field}:{match[0]}" for match in _ANY_TERM.finditer(text))


def _to_term(field: str | None, text: str, *, whole: bool = False) -> str:
    """The words of ``text`` as they follow each other, or the beginning of one when it ends in ``*``; empty without words."""
    begins = not whole and text.endswith("*") and len(text.rstrip("*")) >= _SHORTEST_BEGINNING
    cleaned = _spaced(text).replace('"', " ").replace("\x00", " ")
    if not any(character.isalnum() for character in cleaned):
        return ""
    quoted = f'"{cleaned}"' + ("*" if begins else "")
    return f"{{{field}}} : {quoted}" if field else quoted


def _words(body: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    record = body.get(RECORD_KEY)
    if isinstance(record, Mapping):
        yield from _words(record)
    context = body.get("context")
    if isinstance(context, Mapping):
        yield from _context_words(context)
    for part, field in (("verdict", "verdict"), ("decision", "action")):
        answer = body.get(part)
        if isinstance(answer, Mapping):
            for key, text in answer.items():
                if isinstance(text, str):
                    yield (field if key in ("level", "action") else "other"), text
    for key, value in body.items():
        if isinstance(value, str):
            yield _FIELD_OF_KEY.get(key, "other"), value


def _context_words(context: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    parameters = context.get("parameters")
    for key, value in parameters.items() if isinstance(parameters, Mapping) else ():
        if isinstance(value, (str, int, float, list)):
            yield _FIELD_OF_PARAMETER.get(key, "other"), value if isinstance(value, str) else json.dumps(value)
    for resource in _mappings(context.get("resources")):
        field = "lora" if resource.get("kind") in ("lora", "embedding", "hypernetwork") else "model"
        yield from ((field, text) for key in _RESOURCE_KEYS if isinstance(text := resource.get(key), str))
    for parent in _mappings(context.get("parents")):
        yield from (("parent", text) for text in parent.values() if isinstance(text, str))
    for key, value in context.items():
        if isinstance(value, str):
            yield _FIELD_OF_KEY.get(key, "other"), value


def _mappings(values: Any) -> list[Mapping[str, Any]]:
    return [value for value in values if isinstance(value, Mapping)] if isinstance(values, (list, tuple)) else []


def _spaced(text: str) -> str:
    """Text for SQLite: with blanks between characters of scripts that have none, and no lone surrogates."""
    return _UNSPACED.sub(r" \1 ", text).encode("utf-8", "replace").decode("utf-8")


def _connect(path: Path) -> sqlite3.Connection:
    """The index file, or a place in memory where the file cannot be made or written."""
    try:
        path.touch(mode=0o600)
        return sqlite3.connect(path, timeout=database.BUSY_SECONDS, isolation_level=None)
    except (OSError, sqlite3.OperationalError):
        return sqlite3.connect(":memory:", isolation_level=None)


def _create_tables(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")  # a copy: what a power cut takes is indexed again
    if database.schema_version(connection) == _VERSION:
        return
    with database.transaction(connection):
        for name in connection.execute("SELECT name FROM sqlite_master WHERE sql LIKE 'CREATE VIRTUAL%'").fetchall():
            connection.execute(f"DROP TABLE {name[0]}")
        connection.execute("DROP TABLE IF EXISTS progress")
        connection.execute("DROP TABLE IF EXISTS span")
        connection.execute("DROP TABLE IF EXISTS part")
        connection.execute("CREATE TABLE progress (origin TEXT, seq INTEGER, leaf_hash BLOB)")
        connection.execute("CREATE TABLE part (number INTEGER PRIMARY KEY, earliest TEXT, latest TEXT)")
        connection.execute(f"PRAGMA user_version={_VERSION}")


def _create_part(connection: sqlite3.Connection, number: int) -> None:
    try:
        connection.execute(
            f"CREATE VIRTUAL TABLE part_{number} USING fts5({', '.join(FIELDS)}, content='', columnsize=0, "
            "tokenize='unicode61 remove_diacritics 2')"
        )
    except sqlite3.OperationalError as error:
        if "fts5" not in str(error):
            raise
        raise LedgerError(
            "This Python's SQLite cannot search by words (FTS5 is missing).",
            next_step="Use a Python from python.org, or look records up by picture or by date.",
        ) from error
