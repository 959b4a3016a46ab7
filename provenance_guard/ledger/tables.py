"""What the ledger reads from its tables and writes into them (``database.create_ledger`` makes them)."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any, Literal

from provenance_guard.errors import LedgerError
from provenance_guard.ledger import events, merkle
from provenance_guard.ledger.checkpoint import Checkpoint
from provenance_guard.ledger.events import Event

Erasure = Literal["private", "whole"]

EVENT_COLUMNS = "seq, substr(tree, 1, 32), time, type, record_id, bytes, openings"

_INSERT = (
    "INSERT INTO event (seq, tree, time, type, record_id, pixel_sha256, file_sha256, bytes, openings) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


def insert_event(connection: sqlite3.Connection, event: Event, nodes: Sequence[bytes]) -> None:
    """Write an event with the tree nodes that it completes. All other columns only repeat what its bytes say."""
    row = (
        event.seq,
        b"".join(nodes),
        event.time,
        event.type,
        event.record_id,
        events.indexed_digest(event.body, events.PIXEL_KEY),
        events.indexed_digest(event.body, events.FILE_KEY),
        event.stored,
        json.dumps(event.openings).encode("ascii") if event.openings else None,
    )
    connection.execute(_INSERT, row)


def erase_event(connection: sqlite3.Connection, seq: int, what: Erasure) -> None:
    """Remove content of an event: its ``private`` openings, or the ``whole`` of it but for hash, time, type and record id."""
    if what == "private":
        connection.execute("UPDATE event SET openings = NULL WHERE seq = ?", (seq,))
        return
    kind = connection.execute("SELECT type FROM event WHERE seq = ?", (seq,)).fetchone()
    if kind and kind[0] in (events.KEY_ADDED, events.EVENT_ERASED):
        raise LedgerError(
            f"Event {seq} must stay: without it the ledger could not be verified.", next_step="Leave that event out."
        )
    columns = "openings = NULL, bytes = NULL, pixel_sha256 = NULL, file_sha256 = NULL"
    connection.execute(f"UPDATE event SET {columns} WHERE seq = ?", (seq,))


def to_event(row: Sequence[Any]) -> Event:
    """The event in a row of ``EVENT_COLUMNS``. Raises LedgerError when its bytes are not those that were hashed."""
    seq, leaf_hash, time, type_, record_id, stored, openings = row
    if stored is None:
        return Event(seq, time, type_, record_id, {}, b"", leaf_hash, "")
    if not isinstance(stored, bytes) or merkle.leaf_hash(stored) != leaf_hash:
        raise LedgerError(
            f"Event {seq} of the ledger was changed after it was written.",
            next_step="Verify the ledger, and restore it from a backup.",
        )
    event = events.read_event(stored, read_openings(openings))
    if event.seq != seq:
        raise LedgerError(f"Event {seq} of the ledger was moved.", next_step="Verify the ledger, and restore a backup.")
    return event


def event_count(connection: sqlite3.Connection) -> int:
    """How many events there are, which is the number of the next one."""
    return int(connection.execute("SELECT coalesce(max(seq) + 1, 0) FROM event").fetchone()[0])


def event_time(connection: sqlite3.Connection, seq: int) -> str:
    """The time of an event as its column tells; empty when the event is missing."""
    row = connection.execute("SELECT time FROM event WHERE seq = ?", (seq,)).fetchone()
    return str(row[0]) if row else ""


def checked_seq(connection: sqlite3.Connection, seq: int, size: int | None = None) -> int:
    """``seq``, when it is among the first ``size`` events (all when None); raises LedgerError when it is not."""
    size = event_count(connection) if size is None else size
    if not 0 <= seq < size:
        raise LedgerError(
            f"There is no event {seq} among the first {size}.", next_step="Look the number up with `log`."
        )
    return seq


def checked_size(connection: sqlite3.Connection, size: int | None) -> int:
    """``size``, when there are so many events (the count when None); raises LedgerError when there are not."""
    actual = event_count(connection)
    if size is None:
        return actual
    if not 0 <= size <= actual:
        raise LedgerError(
            f"The ledger has {actual} events, not {size}.",
            next_step="If it once had that many, it was cut or replaced by an older copy: verify it.",
        )
    return size


def latest_checkpoint(connection: sqlite3.Connection) -> Checkpoint | None:
    """The stored checkpoint of the largest tree."""
    row = connection.execute("SELECT note FROM checkpoint ORDER BY size DESC LIMIT 1").fetchone()
    return Checkpoint.parse(row[0]) if row else None


def ledger_id(connection: sqlite3.Connection) -> str:
    """The random name that the ledger got when it was made."""
    row = connection.execute("SELECT ledger_id FROM identity").fetchone()
    if row is None:
        raise LedgerError("The ledger has lost its name.", next_step="Restore it from a backup.")
    return str(row[0])


def check_head(connection: sqlite3.Connection) -> None:
    """Raise LedgerError when the tree must not be continued: its end is not the one that we wrote and signed, or nodes that
    later appends build on are gone."""
    node = node_reader(connection)
    size = event_count(connection)
    merkle.tree_root(size, node)
    latest = latest_checkpoint(connection)
    last = connection.execute("SELECT max(seq) FROM sqlite_sequence WHERE name = 'event'").fetchone()[0]
    was_cut = last is not None and last >= size
    if was_cut or (latest and (latest.size > size or merkle.tree_root(latest.size, node) != latest.root)):
        raise LedgerError(
            "The ledger does not end as it was written: it was cut or changed.",
            next_step="Verify it to see where, and restore a backup, or move it away to begin a new ledger.",
        )


def node_reader(connection: sqlite3.Connection) -> merkle.Node:
    """Reads the hash of a complete subtree from the row of its last leaf."""

    def node(level: int, index: int) -> bytes:
        seq = ((index + 1) << level) - 1
        query = "SELECT substr(tree, ?, 32) FROM event WHERE seq = ?"
        row = connection.execute(query, (32 * level + 1, seq)).fetchone()
        if row is None or not isinstance(row[0], bytes) or len(row[0]) != merkle.HASH_SIZE:
            raise LedgerError(
                f"The ledger is damaged: event {seq} is missing or cut short.",
                next_step="Verify it to see what is readable, and restore a backup or recover it.",
            )
        return row[0]

    return node


def read_openings(openings: Any) -> list[str]:
    """The texts in a value of the ``openings`` column. Raises LedgerError when it is of any other form."""
    if openings is None:
        return []
    try:
        texts = json.loads(openings)
    except (ValueError, TypeError):
        texts = None
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise LedgerError("The private values of an event are damaged.", next_step="Restore a backup.")
    return texts
