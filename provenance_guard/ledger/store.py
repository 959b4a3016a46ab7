"""The ledger: events appended to one SQLite file, each a leaf of a Merkle tree and a link of a hash chain.

Several threads may share one ``Ledger`` and several processes one file: the head is read inside the write transaction, so
the database puts the appends in order. What ``append`` returned is on the disk.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

from provenance_guard import files
from provenance_guard.clock import format_time, utc_now
from provenance_guard.errors import LedgerError
from provenance_guard.json_types import Json
from provenance_guard.ledger import database, events, heads, merkle, search, selection, tables
from provenance_guard.ledger.checkpoint import ORIGIN_PREFIX, Checkpoint
from provenance_guard.ledger.events import Event, NewEvent
from provenance_guard.ledger.proof import Proof
from provenance_guard.ledger.search import Filters, SearchIndex
from provenance_guard.ledger.selection import NO_SEQ, Filter, select_pages
from provenance_guard.ledger.tables import Erasure
from provenance_guard.signing import Signer


class Ledger:
    """An open ledger. Use ``Ledger.open``, and ``close`` it (or use it in a ``with`` block): that signs a last checkpoint.

    Every method raises LedgerError when the file is damaged, locked by others for long, or out of disk space.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, signer: Signer | None) -> None:
        self.path = path
        self.signer = signer
        self._connection = connection
        self._lock = threading.RLock()
        self._key_known = False
        with self._use() as opened, database.snapshot(opened):
            self.origin = ORIGIN_PREFIX + tables.ledger_id(opened)

    @classmethod
    def open(cls, path: Path, signer: Signer | None = None, *, create: bool = True) -> Ledger:
        """Open the ledger at ``path``; makes it, with its folder, when it is not there and ``create`` is set.

        Without a ``signer`` no checkpoints are made. Older files are brought up to date, after a backup.
        Raises LedgerError when the file is missing, damaged, foreign, newer than this program or may not be written.
        """
        connection = database.open_database(path, create=create)
        try:
            ledger = cls(path, connection, signer)
            with ledger._use(), database.snapshot(connection):
                tables.check_head(connection)
        except BaseException:
            connection.close()
            raise
        return ledger

    @classmethod
    def open_read_only(cls, path: Path) -> Ledger:
        """Open an existing ledger without changing a byte of it, also from a read-only disk. Appending then raises."""
        connection = database.open_read_only(path)
        try:
            return cls(path, connection, None)
        except BaseException:
            connection.close()
            raise

    # Writing

    def append(
        self, type: str, body: Mapping[str, Json], *, record_id: str | None = None, openings: Sequence[str] = ()
    ) -> Event:
        """Append one event; when this returns, the event is on the disk (see ``NewEvent`` for the arguments)."""
        return self.append_many([NewEvent(type, body, record_id, tuple(openings))])[0]

    def append_many(self, new_events: Iterable[NewEvent]) -> list[Event]:
        """Append events in one transaction: all of them or, when this raises, none."""
        wanted = list(new_events)
        if not wanted:
            return []
        with self._use() as connection:
            with database.transaction(connection):
                appended = self._append_in_transaction(connection, wanted)
            self._key_known = True
        return appended

    def checkpoint(self) -> Checkpoint | None:
        """Sign the tree as it is and store that. None without a signer, or in an empty ledger."""
        if self.signer is None:
            return None
        with self._use() as connection, database.transaction(connection):
            size = tables.event_count(connection)
            latest = tables.latest_checkpoint(connection)
            if size == 0 or (latest and latest.size == size):
                return latest
            return heads.sign_and_store(connection, self.origin, size, self.signer)

    def checkpoint_when_due(self) -> Checkpoint | None:
        """Sign the tree when events have waited for it long enough, or are enough; None when not.

        ``append`` does that too, but the last event of an afternoon has none after it.
        """
        with self._use() as connection, database.transaction(connection):
            size = tables.event_count(connection)
            if self.signer is None or not heads.checkpoint_due(connection, size):
                return None
            return heads.sign_and_store(connection, self.origin, size, self.signer)

    def add_signatures(self, note: str) -> Checkpoint:
        """Take over the signatures that others put below an exported checkpoint of this ledger; returns it with all of them.

        The signatures are not checked here: who trusts a witness checks with ``Checkpoint.cosigned_at``.
        Raises LedgerError when the text is no checkpoint, or none of this ledger.
        """
        with self._use() as connection, database.transaction(connection):
            key = self.signer.public_bytes if self.signer else None
            return heads.add_signatures(connection, Checkpoint.parse(note), key)

    def erase(self, seqs: Iterable[int], reason: str, *, what: Erasure = "private") -> Event:
        """Remove content of events for good, and record that in a new event. The tree stays verifiable.

        ``private`` removes the openings: the events remain, with commitments that nobody can open any more. ``whole`` leaves no
        more than hash, time, type and record id. Copies elsewhere (backups, sidecars) are beyond its reach.
        Raises LedgerError when an event is not there or must stay (keys, erasures).
        """
        with self._use() as connection:
            connection.execute("PRAGMA secure_delete=ON")  # freed space is overwritten
            with database.transaction(connection):
                numbers = sorted({tables.checked_seq(connection, seq) for seq in seqs})
                for seq in numbers:
                    tables.erase_event(connection, seq, what)
                body: dict[str, Json] = {"seqs": [*numbers], "what": what, "reason": reason}
                event = self._append_in_transaction(connection, [NewEvent(events.EVENT_ERASED, body)])[-1]
            self._key_known = True
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # no old page stays in the journal
        search.forget(self.path, self.origin)
        return event

    def close(self) -> None:
        """Sign a last checkpoint and close the file. Closing twice does nothing."""
        with self._lock:
            try:
                if self._is_open():
                    self.checkpoint()
            finally:
                self._connection.close()

    # Reading

    @property
    def size(self) -> int:
        """How many events there are; also the sequence number of the next one."""
        with self._use() as connection:
            return tables.event_count(connection)

    def event(self, seq: int) -> Event:
        """The event with that sequence number. Raises LedgerError when there is none, or when it is damaged."""
        with self._use() as connection:
            query = f"SELECT {tables.EVENT_COLUMNS} FROM event WHERE seq = ?"
            row = connection.execute(query, (tables.checked_seq(connection, seq),)).fetchone()
        if row is None:
            raise LedgerError(f"Event {seq} is missing from the ledger.", next_step="Verify it, and restore a backup.")
        return tables.to_event(row)

    def events(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        record_id: str | None = None,
        type: str | None = None,
        limit: int | None = None,
        newest_first: bool = False,
    ) -> Iterator[Event]:
        """Events in the order of the ledger, at most ``limit``, that fit all of: written at or ``since`` a time, before (``until``)
        another, of a record, of a type. What others append meanwhile may or may not be among them. Raises LedgerError at a
        damaged event."""
        filters: list[Filter] = []
        first, last = 0, NO_SEQ
        with self._use() as connection:
            if since is not None:
                first, condition = selection.since(connection, format_time(since))
                filters.append(condition)
            if until is not None:
                last, condition = selection.until(connection, format_time(until))
                filters.append(condition)
        if record_id is not None:
            filters.append(("record_id = ?", record_id))
        if type is not None:
            filters.append(("type = ?", type))
        return self._select(filters, first=first, last=last, limit=limit, newest_first=newest_first)

    def find_records(self, prefix: str, *, limit: int = 100) -> list[str]:
        """Record ids that begin with ``prefix`` (hex digits, any case), in order."""
        low = prefix.lower()
        if not low.isascii():
            return []
        query = "SELECT DISTINCT record_id FROM event WHERE record_id >= ? AND record_id < ? ORDER BY record_id LIMIT ?"
        with self._use() as connection:
            return [row[0] for row in connection.execute(query, (low, low + "\x7f", limit))]

    def find_pixels(self, pixel_sha256: str, *, limit: int = 100) -> list[Event]:
        """The last events whose body, or the record in it, names this ``pixel_sha256`` (64 hex digits), oldest first."""
        filters = [("pixel_sha256 = ?", pixel_sha256.lower())]
        return [*self._select(filters, limit=limit, newest_first=True)][::-1]

    def find_file(self, file_sha256: str, *, limit: int = 100) -> list[Event]:
        """The last events whose body, or the record in it, names this ``file_sha256`` (64 hex digits), oldest first."""
        filters = [("file_sha256 = ?", file_sha256.lower())]
        return [*self._select(filters, limit=limit, newest_first=True)][::-1]

    def search(
        self,
        text: str = "",
        filters: Filters | None = None,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 50,
    ) -> list[Event]:
        """Events that hold every term of ``text``, newest first: words, ``"phrases in quotes"``, beginnings (``light*``), each
        anywhere or in one field (``lora:lighthouse``; the fields are ``search.FIELDS``). Case and accents do not count.
        ``filters`` name fields and values, any of which must be there. Written at or after ``since``, and before ``until``.

        The first search in a large ledger takes long, because it makes the index. Erased and damaged events are not found.
        """
        return [*islice(self.search_all(text, filters, since=since, until=until), limit)]

    def search_all(
        self,
        text: str = "",
        filters: Filters | None = None,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Iterator[Event]:
        """As ``search``, without a limit: events as they are found."""
        low, high = (format_time(moment) if moment else None for moment in (since, until))
        with SearchIndex.open(self.path, self.origin) as index:
            self._bring_up_to_date(index)
            found = index.find(text, filters, since=low, until=high)
            for seq in found if low is None and high is None else self._within(found, low or "", high or "~"):
                with suppress(LedgerError):
                    yield self.event(seq)

    def _within(self, seqs: Iterator[int], low: str, high: str) -> Iterator[int]:
        """Those of the events that were written in that time, in the order given (newest first)."""
        while chunk := [*islice(seqs, selection.PAGE)]:
            marks = ", ".join("?" * len(chunk))
            query = f"SELECT seq FROM event WHERE seq IN ({marks}) AND +time >= ? AND +time < ? ORDER BY seq DESC"
            with self._use() as connection:
                rows = connection.execute(query, (*chunk, low, high)).fetchall()
            yield from (row[0] for row in rows)

    # The tree

    def root(self, size: int | None = None) -> bytes:
        """Root of the tree over the first ``size`` events (all when None), 32 bytes."""
        with self._use() as connection, database.snapshot(connection):
            size = tables.checked_size(connection, size)
            return merkle.tree_root(size, tables.node_reader(connection))

    def inclusion_proof(self, seq: int, size: int | None = None) -> list[bytes]:
        """Hashes from event ``seq`` to the root over the first ``size`` events (RFC 9162, section 2.1.3)."""
        with self._use() as connection, database.snapshot(connection):
            size = tables.checked_size(connection, size)
            return merkle.inclusion_path(
                tables.checked_seq(connection, seq, size), size, tables.node_reader(connection)
            )

    def consistency_proof(self, old_size: int, size: int | None = None) -> list[bytes]:
        """Hashes that show the tree of ``old_size`` events to be the start of that of ``size`` (RFC 9162, section 2.1.4)."""
        with self._use() as connection, database.snapshot(connection):
            size = tables.checked_size(connection, size)
            if not 0 <= old_size <= size:
                raise LedgerError(
                    f"The ledger has {size} events, fewer than {old_size}.",
                    next_step="If it once had that many, it was cut or replaced by an older copy: verify it.",
                )
            return merkle.consistency_path(old_size, size, tables.node_reader(connection))

    def proof(self, seq: int, *, checkpoint: Checkpoint | None = None, with_event: bool = False) -> dict[str, Json]:
        """What shows, without the ledger, that event ``seq`` is in it (see ``proof.Proof`` for the form).

        It ends in ``checkpoint``, by default the first stored one that covers the event, or one signed for the occasion.
        ``with_event`` puts the event's stored bytes in, so that it also shows what the event says (its public part).
        Raises LedgerError when there is neither such a checkpoint nor a signer.
        """
        stored = self.event(seq).stored if with_event else b""
        with self._use() as connection, database.snapshot(connection):
            tables.checked_seq(connection, seq, checkpoint.size if checkpoint else None)
            checkpoint = checkpoint or heads.covering_checkpoint(connection, seq)
            if checkpoint is None:
                checkpoint = heads.sign_head(
                    connection, self.origin, tables.event_count(connection), self._required_signer()
                )
            node = tables.node_reader(connection)
            path = merkle.inclusion_path(seq, checkpoint.size, node)
            return Proof(seq, node(0, seq), tuple(path), checkpoint, stored or None).to_json()

    def checkpoints(self) -> list[Checkpoint]:
        """The stored checkpoints, smallest tree first."""
        with self._use() as connection:
            notes = connection.execute("SELECT note FROM checkpoint ORDER BY size").fetchall()
        return [Checkpoint.parse(row[0]) for row in notes]

    def back_up(self, target: Path) -> None:
        """Copy the whole ledger into ``target`` while it is in use; the copy is a ledger by itself. Raises OutputError too."""
        with (
            files.staged_file(target, private=True) as staged,
            closing(database.open_read_only(self.path)) as source,
            database.errors_told(target),
        ):
            database.back_up(source, staged)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A write transaction, for what is kept in the ledger's file beside the events."""
        with self._use() as connection, database.transaction(connection):
            yield connection

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """A read transaction, for the same."""
        with self._use() as connection, database.snapshot(connection):
            yield connection

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Inside

    @contextmanager
    def _use(self) -> Iterator[sqlite3.Connection]:
        """The connection, for one thread at a time, with its errors told in plain words."""
        with self._lock, database.errors_told(self.path):
            if not self._is_open():
                raise LedgerError(f"The ledger {self.path} was closed.", next_step="Open it again.")
            yield self._connection

    def _is_open(self) -> bool:
        try:
            self._connection.total_changes  # noqa: B018  (raises on a closed connection, and touches no file)
        except sqlite3.ProgrammingError:
            return False
        return True

    def _required_signer(self) -> Signer:
        if self.signer is None:
            raise LedgerError(
                "No checkpoint covers this event yet.", next_step="Open the ledger with its signing key and try again."
            )
        return self.signer

    def _append_in_transaction(self, connection: sqlite3.Connection, wanted: Sequence[NewEvent]) -> list[Event]:
        key_event = self._key_event(connection)
        appended = self._write(connection, [*key_event, *wanted])
        size = appended[-1].seq + 1
        if self.signer and heads.checkpoint_due(connection, size):
            heads.sign_and_store(connection, self.origin, size, self.signer)
        return appended[len(key_event) :]

    def _write(self, connection: sqlite3.Connection, new_events: Sequence[NewEvent]) -> list[Event]:
        fresh: dict[tuple[int, int], bytes] = {}
        stored_node = tables.node_reader(connection)

        def node(level: int, index: int) -> bytes:
            return fresh.get((level, index)) or stored_node(level, index)

        written = []
        size = tables.event_count(connection)
        previous = stored_node(0, size - 1).hex() if size else events.FIRST_PREVIOUS
        for seq, new in enumerate(new_events, size):
            event = events.write_event(seq, previous, format_time(utc_now()), new)
            nodes = merkle.completed_nodes(seq, event.leaf_hash, node)
            fresh.update({(level, seq >> level): value for level, value in enumerate(nodes)})
            tables.insert_event(connection, event, nodes)
            previous = event.leaf_hash.hex()
            written.append(event)
        return written

    def _key_event(self, connection: sqlite3.Connection) -> list[NewEvent]:
        """The event that makes our key known to the ledger, before the first event that it will vouch for."""
        if self.signer is None or self._key_known:
            return []
        public_key = self.signer.public_bytes.hex()
        rows = connection.execute("SELECT bytes FROM event WHERE type = ? AND bytes NOT NULL", (events.KEY_ADDED,))
        if any(events.read_event(row[0]).body.get("public_key") == public_key for row in rows):
            return []
        return [NewEvent(events.KEY_ADDED, {"origin": self.origin, "public_key": public_key})]

    def _bring_up_to_date(self, index: SearchIndex) -> None:
        last = index.last_indexed(self._holds)
        for rows in select_pages(self._use, first=last + 1):
            readable = []
            for row in rows:
                with suppress(LedgerError):
                    readable.append(tables.to_event(row))
            index.add(readable, after=last)
            last = readable[-1].seq if readable else last

    def _holds(self, seq: int, leaf_hash: bytes) -> bool:
        with self._use() as connection:
            row = connection.execute("SELECT substr(tree, 1, 32) FROM event WHERE seq = ?", (seq,)).fetchone()
        return row is not None and row[0] == leaf_hash

    def _select(self, filters: Sequence[Filter], **bounds: Any) -> Iterator[Event]:
        for rows in select_pages(self._use, filters, **bounds):
            yield from map(tables.to_event, rows)
