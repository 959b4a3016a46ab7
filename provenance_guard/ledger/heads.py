"""The signed tree heads of a ledger: when a checkpoint is made, which one proves an event, and who else signed it."""

from __future__ import annotations

import sqlite3
from datetime import timedelta

from provenance_guard.clock import format_time, utc_now
from provenance_guard.errors import LedgerError
from provenance_guard.ledger import merkle, tables
from provenance_guard.ledger.checkpoint import ORIGIN_PREFIX, Checkpoint
from provenance_guard.signing import Signer

CHECKPOINT_EVENTS = 256
CHECKPOINT_INTERVAL = timedelta(minutes=10)


def checkpoint_due(connection: sqlite3.Connection, size: int) -> bool:
    """Whether so many events, or one for so long, have no checkpoint over them yet."""
    covered = int(connection.execute("SELECT coalesce(max(size), 0) FROM checkpoint").fetchone()[0])
    if size == covered:
        return False
    if size - covered >= CHECKPOINT_EVENTS:
        return True
    waiting_since = tables.event_time(connection, covered)
    now = utc_now()
    # A clock that was set back must not put checkpoints off for long.
    return not format_time(now - CHECKPOINT_INTERVAL) < waiting_since <= format_time(now)


def sign_head(connection: sqlite3.Connection, origin: str, size: int, signer: Signer) -> Checkpoint:
    """A checkpoint over the first ``size`` events; nothing is stored."""
    return Checkpoint.sign(origin, size, merkle.tree_root(size, tables.node_reader(connection)), signer)


def sign_and_store(connection: sqlite3.Connection, origin: str, size: int, signer: Signer) -> Checkpoint:
    """Sign the tree over the first ``size`` events, and keep that."""
    checkpoint = sign_head(connection, origin, size, signer)
    store_checkpoint(connection, checkpoint)
    return checkpoint


def store_checkpoint(connection: sqlite3.Connection, checkpoint: Checkpoint) -> None:
    """Keep a checkpoint of a size that has none yet."""
    row = (checkpoint.size, format_time(utc_now()), checkpoint.text())
    connection.execute("INSERT INTO checkpoint VALUES (?, ?, ?)", row)


def covering_checkpoint(connection: sqlite3.Connection, seq: int) -> Checkpoint | None:
    """The first stored checkpoint over event ``seq``, which is the one that outside time vouches for first."""
    query = "SELECT note FROM checkpoint WHERE size > ? ORDER BY size LIMIT 1"
    row = connection.execute(query, (seq,)).fetchone()
    return Checkpoint.parse(row[0]) if row else None


def add_signatures(connection: sqlite3.Connection, signed: Checkpoint, public_key: bytes | None) -> Checkpoint:
    """Add the signature lines of ``signed`` that the stored checkpoint of the same text does not have.

    One that was signed for an occasion (a sidecar) and not stored is stored now, when ``public_key`` signed it and the tree is the
    same. Raises LedgerError when this ledger made no such checkpoint.
    """
    row = connection.execute("SELECT note FROM checkpoint WHERE size = ?", (signed.size,)).fetchone()
    stored = Checkpoint.parse(row[0]) if row else None
    if stored is None and public_key is not None and signed.verify(public_key) and _is_ours(connection, signed):
        store_checkpoint(connection, signed)
        return signed
    if stored is None or stored.body() != signed.body():
        raise LedgerError(
            f"This ledger has no such checkpoint of size {signed.size}.",
            next_step="Use the checkpoint as it was exported from this ledger, with the new signature below.",
        )
    new = tuple(line for line in signed.signatures if line not in stored.signatures)
    merged = stored.with_signatures(stored.signatures + new)
    Checkpoint.parse(merged.text())  # not more signatures than a reader accepts
    connection.execute("UPDATE checkpoint SET note = ? WHERE size = ?", (merged.text(), merged.size))
    return merged


def _is_ours(connection: sqlite3.Connection, signed: Checkpoint) -> bool:
    origin = ORIGIN_PREFIX + tables.ledger_id(connection)
    fits = signed.origin == origin and 0 < signed.size <= tables.event_count(connection)
    return fits and merkle.tree_root(signed.size, tables.node_reader(connection)) == signed.root
