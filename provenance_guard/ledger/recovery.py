"""Saves what can be read from a damaged ledger file into a new one."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from provenance_guard import files
from provenance_guard.errors import LedgerError
from provenance_guard.ledger import database, events, merkle, tables
from provenance_guard.ledger.rows import expected_size, open_damaged, read_rows, read_value

_INSERT = "INSERT INTO event VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"


@dataclass(frozen=True)
class Recovery:
    """What was saved. ``lost`` are the numbers of events that are gone, ``without_content`` of those that only left a hash.

    ``continues`` says whether the new ledger can be appended to. If not, it is for reading, and a new one has to begin.
    """

    path: Path
    kept: int
    lost: tuple[int, ...]
    without_content: tuple[int, ...]
    continues: bool


def recover_ledger(damaged: Path, target: Path) -> Recovery:
    """Copy every readable event and checkpoint, unchanged, from ``damaged`` into a new ledger at ``target``.

    ``damaged`` is only read. The copy proves what it holds as the original did; verify it to see the gaps.
    Raises LedgerError when the file is no ledger at all or ``target`` exists, OutputError when it cannot be written.
    """
    if target.exists():
        raise LedgerError(f"{target} exists already.", next_step="Name a new file for the recovered ledger.")
    with (
        closing(open_damaged(damaged)) as source,
        files.staged_file(target, private=True) as staged,
        closing(database.open_database(staged, create=True)) as copy,
        database.errors_told(target),
    ):
        size = expected_size(source)
        with database.transaction(copy):
            _copy_identity(source, copy, size)
            whole, bare = _copy_events(source, copy)
            bare |= _restore_hashes(copy, set(range(size)) - whole - bare)
        lost = set(range(size)) - whole - bare
        return Recovery(target, len(whole), tuple(sorted(lost)), tuple(sorted(bare)), _continues(copy))


def _copy_events(source: sqlite3.Connection, copy: sqlite3.Connection) -> tuple[set[int], set[int]]:
    """Copies rows as they are. Returns the numbers of the whole ones, and of those whose content could not be read."""
    whole, bare = set(), set()
    for row in read_rows(source):
        if row.readable:
            copy.execute(_INSERT, row[:-1])
            whole.add(row.seq)
        elif row.tree is not None:
            copy.execute(_INSERT, (*row[:7], None, None))
            bare.add(row.seq)
    return whole, bare


def _copy_identity(source: sqlite3.Connection, copy: sqlite3.Connection, size: int) -> None:
    """The ledger keeps its name, its checkpoints, and the count of events that it once had."""
    ledger_id = read_value(source, "SELECT ledger_id FROM identity")
    if isinstance(ledger_id, str):
        copy.execute("UPDATE identity SET ledger_id = ?", (ledger_id,))
    with suppress(sqlite3.DatabaseError):  # What comes before the damaged page is kept.
        for row in source.execute("SELECT size, time, note FROM checkpoint"):
            copy.execute("INSERT INTO checkpoint VALUES (?, ?, ?)", row)
    copy.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('event', ?)", (size - 1,))


def _restore_hashes(copy: sqlite3.Connection, lost: set[int]) -> set[int]:
    """A lost event still has its hash in the event after it: puts it into the tree again. Returns the numbers restored."""
    restored = set()
    for seq in sorted(lost):
        row = copy.execute("SELECT bytes FROM event WHERE seq = ?", (seq + 1,)).fetchone()
        with suppress(LedgerError, ValueError, TypeError, AttributeError):  # The next event may be damaged as well.
            leaf = bytes.fromhex(events.read_event(row[0]).previous)
            nodes = merkle.completed_nodes(seq, leaf, tables.node_reader(copy))
            copy.execute(_INSERT, (seq, b"".join(nodes), "", "", None, None, None, None, None))
            restored.add(seq)
    return restored


def _continues(copy: sqlite3.Connection) -> bool:
    try:
        tables.check_head(copy)
    except LedgerError:
        return False
    return True
