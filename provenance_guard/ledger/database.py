"""The SQLite file of a ledger: how it is opened, its tables and their migrations, and its errors in plain words."""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from provenance_guard.clock import format_time, utc_now
from provenance_guard.errors import LedgerError

APPLICATION_ID = 0x50474C44  # "PGLD", in the file header (PRAGMA application_id)
BUSY_SECONDS = 10.0  # of waiting for another program; a generation that waits longer looks broken
_SMALLEST_DATABASE = 512  # bytes: one page of the smallest size


@dataclass(frozen=True)
class Migration:
    """One step of the tables from version n-1 to n. It has a name, so that the file tells its own history."""

    name: str
    apply: Callable[[sqlite3.Connection], None]


def create_ledger(connection: sqlite3.Connection) -> None:
    """Version 1. ``tree`` holds the leaf hash and then the hashes of the subtrees that this event completes, 32 bytes each,
    so that an append writes one row and every node of the tree is one look-up. AUTOINCREMENT makes SQLite remember the
    highest number ever given, which shows that the last events were cut off."""
    for statement in (
        """CREATE TABLE event (
            seq INTEGER PRIMARY KEY AUTOINCREMENT,
            tree BLOB NOT NULL,
            time TEXT NOT NULL,
            type TEXT NOT NULL,
            record_id TEXT,
            pixel_sha256 TEXT,
            file_sha256 TEXT,
            bytes BLOB,
            openings BLOB
        )""",
        "CREATE INDEX event_time ON event (time)",
        "CREATE INDEX event_type ON event (type)",
        "CREATE INDEX event_record ON event (record_id) WHERE record_id IS NOT NULL",
        "CREATE INDEX event_pixels ON event (pixel_sha256) WHERE pixel_sha256 IS NOT NULL",
        "CREATE INDEX event_file ON event (file_sha256) WHERE file_sha256 IS NOT NULL",
        "CREATE TABLE checkpoint (size INTEGER PRIMARY KEY, time TEXT NOT NULL, note TEXT NOT NULL)",
        "CREATE TABLE identity (ledger_id TEXT NOT NULL)",
    ):
        connection.execute(statement)
    connection.execute("INSERT INTO identity VALUES (?)", (secrets.token_hex(16),))


def add_anchors(connection: sqlite3.Connection) -> None:
    """Version 2. ``anchor`` holds what outsiders said about checkpoints (``document``: see ``anchors.anchor``), ``authority`` when
    each of them is to be asked again."""
    for statement in (
        """CREATE TABLE anchor (
            size INTEGER NOT NULL,
            kind TEXT NOT NULL,
            authority TEXT NOT NULL,
            document TEXT NOT NULL,
            PRIMARY KEY (size, kind, authority)
        )""",
        """CREATE TABLE authority (
            name TEXT PRIMARY KEY,
            next_try TEXT NOT NULL,
            attempts INTEGER NOT NULL,
            reason TEXT NOT NULL,
            sentence TEXT NOT NULL
        )""",
    ):
        connection.execute(statement)


MIGRATIONS: tuple[Migration, ...] = (
    Migration("create_ledger", create_ledger),
    Migration("add_anchors", add_anchors),
)


def open_database(path: Path, *, create: bool, migrations: Sequence[Migration] = MIGRATIONS) -> sqlite3.Connection:
    """Open a ledger file for reading and writing, make it when ``create`` is set, and bring its tables up to date.

    Raises LedgerError for everything that can be wrong with the file, its folder or its disk.
    """
    if not create and not is_file(path):
        raise LedgerError(f"There is no ledger at {path}.", next_step="Guard a picture first: that makes the ledger.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.touch(mode=0o600)  # It holds prompts: for its owner only, as are the files SQLite puts beside it.
    except OSError as error:
        raise LedgerError(
            f"The ledger cannot be made at {path} ({error.strerror or error}).",
            next_step="Name a data folder that you may write to, with free space.",
        ) from error
    with errors_told(path):
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            _check_kind(connection, path)
            _set_durable(connection)
            _migrate(connection, path, migrations)
        except BaseException:
            connection.close()
            raise
    return connection


def open_read_only(path: Path) -> sqlite3.Connection:
    """Open a ledger file for reading only, also on a disk where nothing can be written. Raises LedgerError."""
    if not is_file(path):
        raise LedgerError(f"There is no ledger at {path}.", next_step="Check the path, and that you may read it.")
    address = path.absolute().as_uri() + "?mode=ro"
    with errors_told(path):
        connection = _connect_read_only(address)
        try:
            try:
                _check_kind(connection, path)
            except sqlite3.OperationalError:
                connection.close()
                if _has_unmerged_writes(path):
                    raise
                connection = _connect_read_only(address + "&immutable=1")
                _check_kind(connection, path)
            version = schema_version(connection)
            if not 1 <= version <= len(MIGRATIONS):
                raise _unknown_version(path, version)
        except BaseException:
            connection.close()
            raise
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """A write transaction: it holds the one write lock of the file from its start, and ends whole or not at all."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


@contextmanager
def snapshot(connection: sqlite3.Connection) -> Iterator[None]:
    """A read transaction: everything read in it belongs to one moment, whatever others append meanwhile."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")


@contextmanager
def errors_told(path: Path, *, only: type[sqlite3.Error] = sqlite3.Error) -> Iterator[None]:
    """Turn what SQLite raises into LedgerError. Python 3.10 has no error codes, so the message decides."""
    try:
        yield
    except only as error:
        raise _ledger_error(path, error) from error


def schema_version(connection: sqlite3.Connection) -> int:
    """The version of the tables (PRAGMA user_version), 0 in an empty file."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def back_up(connection: sqlite3.Connection, target: Path) -> None:
    """Copy the whole database into ``target`` while others read and write (SQLite's online backup)."""
    with closing(sqlite3.connect(target, isolation_level=None)) as copy:
        connection.backup(copy)
        copy.execute("PRAGMA journal_mode=DELETE")  # The copy is one file, with no journal beside it.


def is_file(path: Path) -> bool:
    """Whether there is a file that we may know of. (``Path.is_file`` raises where a folder may not be entered.)"""
    try:
        return path.is_file()
    except OSError:
        return False


def _connect_read_only(address: str) -> sqlite3.Connection:
    return sqlite3.connect(address, uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)


def _has_unmerged_writes(path: Path) -> bool:
    journal = path.with_name(path.name + "-wal")
    return journal.exists() and journal.stat().st_size > 0


def _check_kind(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse what is no database, and what another program made."""
    if 0 < path.stat().st_size < _SMALLEST_DATABASE:  # SQLite would take it for an empty database, and write over it.
        raise _not_a_ledger(path)
    with snapshot(connection):  # Another process may be making its tables right now.
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if application == APPLICATION_ID:
        # Reading a file must not run what somebody else put into it. (Views and virtual tables have no page of their own.)
        query = "SELECT name FROM sqlite_master WHERE type IN ('trigger', 'view') OR rootpage = 0"
        if foreign := connection.execute(query).fetchone():
            raise LedgerError(
                f"The ledger {path} holds something that is not part of a ledger ({foreign[0]}).",
                next_step="Do not use this file; restore the ledger from a backup.",
            )
        return
    if application or tables:
        raise LedgerError(
            f"{path} is a database of another program, not a ledger.",
            next_step="Name another data folder, or move that file away.",
        )


def _set_durable(connection: sqlite3.Connection) -> None:
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            break
        except sqlite3.OperationalError as error:  # Two processes may turn a new file into WAL mode at once.
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
    connection.execute("PRAGMA synchronous=FULL")  # every commit is on the disk before it is acknowledged
    connection.execute("PRAGMA fullfsync=ON")  # macOS: past the drive's own cache; no effect elsewhere


def _migrate(connection: sqlite3.Connection, path: Path, migrations: Sequence[Migration]) -> None:
    version = schema_version(connection)
    if version > len(migrations):
        raise _unknown_version(path, version)
    if version == len(migrations):
        return
    if version:
        back_up(connection, free_name(path.with_name(f"{path.stem}.before-version-{len(migrations)}{path.suffix}")))
    with transaction(connection):
        version = schema_version(connection)  # another process may have been quicker
        if version == 0:
            connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
            connection.execute("CREATE TABLE migration (version INTEGER PRIMARY KEY, name TEXT, time TEXT)")
        for number, migration in enumerate(migrations[version:], version + 1):
            migration.apply(connection)
            row = (number, migration.name, format_time(utc_now()))
            connection.execute("INSERT INTO migration VALUES (?, ?, ?)", row)
            connection.execute(f"PRAGMA user_version={number}")


def free_name(path: Path) -> Path:
    """``path``, with a number when that name is taken."""
    candidate, number = path, 1
    while candidate.exists():
        number += 1
        candidate = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return candidate


def _unknown_version(path: Path, version: int) -> LedgerError:
    if version == 0:
        return LedgerError(f"{path} is an empty file, not a ledger.", next_step="Guard a picture first.")
    return LedgerError(
        f"{path} was written by a newer Provenance Guard (tables of version {version}).",
        next_step="Update Provenance Guard to read it.",
    )


def _not_a_ledger(path: Path) -> LedgerError:
    return LedgerError(
        f"{path} is not a ledger: it is damaged at its very start, or a file of another kind.",
        next_step="Restore it from a backup, or move it away to begin a new ledger.",
    )


def _ledger_error(path: Path, error: sqlite3.Error) -> LedgerError:
    message = str(error)
    if "file is not a database" in message:
        return _not_a_ledger(path)
    if "malformed" in message or "corrupt" in message:
        return LedgerError(
            f"The ledger {path} is damaged.",
            next_step="Verify it to see which events are readable, and restore it from a backup or recover it.",
        )
    if "full" in message:
        return LedgerError(
            f"The disk is full: {path} could not be written to.",
            next_step="Free space on that disk and try again.",
        )
    if "readonly" in message:
        return LedgerError(
            f"The ledger {path} may not be written to.",
            next_step="Give yourself write permission to it and its folder.",
        )
    if "unable to open" in message:
        return LedgerError(
            f"The ledger {path} cannot be opened.",
            next_step="Check that it is a file, in a folder that you may write to.",
        )
    if "locked" in message or "busy" in message:
        return LedgerError(
            f"Another program has kept the ledger {path} locked for {BUSY_SECONDS:.0f} seconds.",
            next_step="Close that program and try again.",
        )
    return LedgerError(f"The ledger {path} cannot be used ({message}).", next_step="Check the disk and try again.")
