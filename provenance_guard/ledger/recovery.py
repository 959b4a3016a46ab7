"""Saves what can be read from a damaged ledger file into a new one."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from provenance_guard import files
from provenance_guard.errors import LedgerError
from provenance_guard.ledger import carving, database, events, merkle, tables
from provenance_guard.ledger.checkpoint import ORIGIN_PREFIX, Checkpoint
from provenance_guard.ledger.rows import Row, expected_size, open_damaged, read_rows, read_value


@dataclass(frozen=True)
class Recovery:
    """What was saved. ``kept`` counts the whole events; ``lost`` are the numbers of those that are gone, ``without_content``
    of those that only left a hash (events erased on request are among them).

    ``continues`` says whether the new ledger can be appended to. If not, it is for reading, and a new one has to begin.
    """

    path: Path
    kept: int
    lost: tuple[range, ...]
    without_content: tuple[int, ...]
    continues: bool


def recover_ledger(damaged: Path, target: Path) -> Recovery:
    """Copy every readable event and checkpoint, unchanged, from ``damaged`` into a new ledger at ``target``.

    ``damaged`` is only read. The copy proves what it holds as the original did; verify it to see the gaps.
    Raises LedgerError when nothing of a ledger is found or ``target`` exists, OutputError when it cannot be written.
    """
    if not database.is_file(damaged):
        raise LedgerError(f"There is no file {damaged}.", next_step="Check the path.")
    if database.is_file(target):
        raise LedgerError(f"{target} exists already.", next_step="Name a new file for the recovered ledger.")
    with (
        files.staged_file(target, private=True) as staged,
        closing(database.open_database(staged, create=True)) as copy,
        database.errors_told(target),
    ):
        with database.transaction(copy):
            _copy_carved(damaged, copy, _copy_readable(damaged, copy))
            size = expected_size(copy)
            if size == 0:
                raise LedgerError(f"No event of a ledger is left in {damaged}.", next_step="Restore it from a backup.")
            _restore_hashes(copy, _gaps(copy, size))
        kept = copy.execute("SELECT count(*) FROM event WHERE bytes NOT NULL").fetchone()[0]
        bare = [row[0] for row in copy.execute("SELECT seq FROM event WHERE bytes IS NULL ORDER BY seq")]
        return Recovery(target, kept, _gaps(copy, size), tuple(bare), _continues(copy))


def _copy_readable(damaged: Path, copy: sqlite3.Connection) -> set[int]:
    """Copies what SQLite can still read: rows as they are, checkpoints and anchors, the ledger's name, the count that it once had.

    Returns the numbers of rows whose content it could not read.
    """
    bare = set()
    with suppress(LedgerError), closing(open_damaged(damaged)) as source:
        ledger_id = read_value(source, "SELECT ledger_id FROM identity")
        if isinstance(ledger_id, str):
            copy.execute("UPDATE identity SET ledger_id = ?", (ledger_id,))
        for row in read_rows(source):
            if row.tree is not None:
                _insert(copy, row)
                if not row.readable:
                    bare.add(row.seq)
        with suppress(sqlite3.DatabaseError):  # What comes before a damaged page is kept.
            for values in source.execute("SELECT size, time, note FROM checkpoint"):
                copy.execute("INSERT INTO checkpoint VALUES (?, ?, ?)", values)
        with suppress(sqlite3.DatabaseError):
            for values in source.execute("SELECT size, kind, authority, document FROM anchor"):
                copy.execute("INSERT INTO anchor VALUES (?, ?, ?, ?)", values)
        _keep_count(copy, expected_size(source))
    return bare


def _copy_carved(damaged: Path, copy: sqlite3.Connection, bare: set[int]) -> None:
    """Copies what lies on pages that SQLite does not find any more. Events erased on request stay erased."""
    present = {row[0] for row in copy.execute("SELECT seq FROM event")} - bare
    named = bool(present)
    for found in carving.carve(damaged):
        if isinstance(found, Checkpoint):
            copy.execute("INSERT OR IGNORE INTO checkpoint VALUES (?, '', ?)", (found.size, found.text()))
            if not named and found.origin.startswith(ORIGIN_PREFIX):
                copy.execute("UPDATE identity SET ledger_id = ?", (found.origin.removeprefix(ORIGIN_PREFIX),))
                named = True
        elif found.seq not in present:
            _insert(copy, found)
            present.add(found.seq)


def _insert(copy: sqlite3.Connection, row: Row) -> None:
    columns = (row.seq, row.tree, row.time or "", row.type or "", *row[4:-1])
    copy.execute("INSERT OR REPLACE INTO event VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", columns)


def _keep_count(copy: sqlite3.Connection, size: int) -> None:
    """SQLite's own count tells later that events are missing at the end."""
    query = "UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = 'event'"
    if copy.execute(query, (size - 1,)).rowcount == 0:
        copy.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('event', ?)", (size - 1,))


def _restore_hashes(copy: sqlite3.Connection, lost: Iterable[range]) -> None:
    """The last of several lost events still has its hash in the event after it: puts that into the tree again."""
    for gap in lost:
        row = copy.execute("SELECT bytes FROM event WHERE seq = ?", (gap.stop,)).fetchone()
        with suppress(LedgerError, ValueError, TypeError, AttributeError):  # The next event may be damaged as well.
            leaf = bytes.fromhex(events.read_event(row[0]).previous)
            nodes = merkle.completed_nodes(gap[-1], leaf, tables.node_reader(copy))
            _insert(copy, Row(gap[-1], b"".join(nodes)))


def _gaps(copy: sqlite3.Connection, size: int) -> tuple[range, ...]:
    gaps, following = [], 0
    for (seq,) in copy.execute("SELECT seq FROM event WHERE seq >= 0 ORDER BY seq"):
        if seq > following:
            gaps.append(range(following, seq))
        following = seq + 1
    return (*gaps, range(following, size)) if following < size else tuple(gaps)


def _continues(copy: sqlite3.Connection) -> bool:
    try:
        tables.check_head(copy)
    except LedgerError:
        return False
    return True
