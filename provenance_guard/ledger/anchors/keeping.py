"""Where anchors are kept: in the ledger's own file, so that they are backed up with it, beside the tree.

That an anchor came is an event of the ledger as well (``timestamp.attached``): what is written after it was written after the
outsider's time, and an anchor that is taken away is missed.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from provenance_guard.clock import format_time
from provenance_guard.errors import LedgerError
from provenance_guard.json_types import Json
from provenance_guard.ledger import events
from provenance_guard.ledger.anchors.anchor import Anchor, TokenKind
from provenance_guard.ledger.checkpoint import Checkpoint
from provenance_guard.ledger.store import Ledger


@dataclass(frozen=True)
class Turn:
    """When an authority is to be asked again (RFC 3339, our clock), and what went wrong when it was asked last."""

    next_try: str = ""
    attempts: int = 0
    reason: str = ""
    sentence: str = ""


def keep_anchor(ledger: Ledger, anchor: Anchor, time: datetime | None, clock_difference: timedelta | None) -> None:
    """Store an anchor, in place of an older one of the same authority on the same checkpoint, and record that it came.

    ``time`` is the outsider's, ``clock_difference`` how far our clock was ahead of it; None when it tells none.
    """
    document = json.dumps(anchor.to_json())
    with ledger.transaction() as connection:
        connection.execute(
            "INSERT OR REPLACE INTO anchor (size, kind, authority, document) VALUES (?, ?, ?, ?)",
            (anchor.size, anchor.kind, anchor.authority, document),
        )
    body: dict[str, Json] = {
        "kind": anchor.kind,
        "size": anchor.size,
        "authority": anchor.authority,
        "time": format_time(time) if time else None,
        "clock_ahead_seconds": round(clock_difference.total_seconds()) if clock_difference is not None else None,
        "reply_sha256": hashlib.sha256(anchor.reply).hexdigest(),
    }
    ledger.append(events.TIMESTAMP_ATTACHED, body)


def kept_anchors(ledger: Ledger, size: int | None = None) -> list[Anchor]:
    """The anchors on the checkpoint of that size, or all, smallest tree first. Raises LedgerError at a damaged one."""
    with ledger.snapshot() as connection:
        return [Anchor.from_json(document) for document in read_documents(connection, size)]


def last_anchors(ledger: Ledger, kind: TokenKind, authority: str, count: int) -> list[Anchor]:
    """The newest ``count`` anchors of one authority, smallest tree first. Raises LedgerError at a damaged one."""
    with ledger.snapshot() as connection:
        if not _has_tables(connection):
            return []
        query = "SELECT document, size, kind, authority FROM anchor WHERE kind = ? AND authority = ? ORDER BY size DESC LIMIT ?"
        rows = connection.execute(query, (kind, authority, count)).fetchall()
    return [Anchor.from_json(_parsed(document, filed)) for document, *filed in reversed(rows)]


def first_anchored(ledger: Ledger, above: int) -> int | None:
    """The size of the smallest tree of more than ``above`` events that has a time token, or else another anchor."""
    query = "SELECT min(size) FROM anchor WHERE size > ? AND kind {} 'rfc3161'"
    with ledger.snapshot() as connection:
        if not _has_tables(connection):
            return None
        found = [connection.execute(query.format(sign), (above,)).fetchone()[0] for sign in ("=", "!=")]
    return next((int(size) for size in found if isinstance(size, int)), None)


def stored_checkpoint(ledger: Ledger, size: int | None = None) -> Checkpoint | None:
    """The stored checkpoint of that size, by default the newest; None when there is none."""
    query = "SELECT note FROM checkpoint WHERE ? IS NULL OR size = ? ORDER BY size DESC LIMIT 1"
    with ledger.snapshot() as connection:
        row = connection.execute(query, (size, size)).fetchone()
    return Checkpoint.parse(row[0]) if row else None


def read_documents(connection: sqlite3.Connection, size: int | None = None) -> list[Mapping[str, Json]]:
    """The stored forms of the anchors; none in a ledger from before there were any."""
    if not _has_tables(connection):
        return []
    condition, values = ("WHERE size = ?", (size,)) if size is not None else ("", ())
    rows = connection.execute(
        f"SELECT document, size, kind, authority FROM anchor {condition} ORDER BY size, kind, authority", values
    )
    return [_parsed(document, filed) for document, *filed in rows]


def anchored_size(ledger: Ledger, authority: str) -> int:
    """How many events the newest anchor of an authority covers, 0 without one."""
    with ledger.snapshot() as connection:
        row = connection.execute("SELECT max(size) FROM anchor WHERE authority = ?", (authority,)).fetchone()
    return int(row[0] or 0)


def holds_news(ledger: Ledger, start: int, end: int) -> bool:
    """Whether an event from ``start`` up to ``end`` tells more than that an anchor came, or that a program still runs: only then a
    new anchor is worth asking for."""
    query = "SELECT 1 FROM event WHERE seq >= ? AND seq < ? AND type NOT IN (?, ?) LIMIT 1"
    with ledger.snapshot() as connection:
        values = (start, end, events.TIMESTAMP_ATTACHED, events.SESSION_ALIVE)
        return connection.execute(query, values).fetchone() is not None


def read_turn(ledger: Ledger, authority: str) -> Turn:
    """What is remembered about asking an authority."""
    with ledger.snapshot() as connection:
        if not _has_tables(connection):
            return Turn()
        query = "SELECT next_try, attempts, reason, sentence FROM authority WHERE name = ?"
        row = connection.execute(query, (authority,)).fetchone()
    return Turn(*row) if row else Turn()


def write_turn(ledger: Ledger, authority: str, turn: Turn) -> None:
    """Remember it, over restarts."""
    values = (authority, turn.next_try, turn.attempts, turn.reason, turn.sentence)
    with ledger.transaction() as connection:
        connection.execute("INSERT OR REPLACE INTO authority VALUES (?, ?, ?, ?, ?)", values)


def _has_tables(connection: sqlite3.Connection) -> bool:
    query = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'anchor'"
    return connection.execute(query).fetchone() is not None


def _parsed(text: object, filed: list[object]) -> Mapping[str, Json]:
    try:
        document = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or [document.get(name) for name in ("size", "kind", "authority")] != filed:
        raise LedgerError("A kept time token is damaged.", next_step="Verify the ledger, and restore a backup.")
    return document
