"""What a library keeps on disk: rows in SQLite, vectors in append-only files beside it.

``library.sqlite3`` is the one truth. A vector is written and flushed to its file before the row that names it is committed, so a
crash leaves at most unnamed bytes at the end of a file, and the next writer overwrites them. Every vector is named by algorithm and
version; another version has a file of its own. Writers take turns (``BEGIN IMMEDIATE``), in one process or in several.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from provenance_guard.errors import LibraryError

FORMAT_VERSION = 1
DATABASE = "library.sqlite3"

_WAIT_SECONDS = 60.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS folders (id INTEGER PRIMARY KEY, path BLOB NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS contents (
    id INTEGER PRIMARY KEY, sha256 TEXT NOT NULL UNIQUE, width INTEGER NOT NULL, height INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS thumbnails (content INTEGER PRIMARY KEY REFERENCES contents ON DELETE CASCADE, jpeg BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS segments (
    algorithm TEXT NOT NULL, version TEXT NOT NULL, file TEXT NOT NULL UNIQUE, row_bytes INTEGER NOT NULL,
    rows INTEGER NOT NULL, PRIMARY KEY (algorithm, version)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS vectors (
    content INTEGER NOT NULL REFERENCES contents ON DELETE CASCADE, algorithm TEXT NOT NULL, version TEXT NOT NULL,
    slot INTEGER NOT NULL, items INTEGER NOT NULL, PRIMARY KEY (content, algorithm, version)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS pictures (
    folder INTEGER NOT NULL REFERENCES folders ON DELETE CASCADE, name BLOB NOT NULL, size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL, content INTEGER NOT NULL REFERENCES contents, PRIMARY KEY (folder, name)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS pictures_by_content ON pictures (content);
CREATE TABLE IF NOT EXISTS unreadable (
    folder INTEGER NOT NULL REFERENCES folders ON DELETE CASCADE, name BLOB NOT NULL, reason TEXT NOT NULL,
    PRIMARY KEY (folder, name)) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Vector:
    """One vector to keep: ``row`` are its bytes, ``items`` how many entries of the row are used (local features found)."""

    algorithm: str
    version: str
    row: bytes
    items: int = 1


@dataclass(frozen=True)
class Content:
    """What is kept of one picture, whatever number of files hold it. ``thumbnail`` is a small JPEG for verification."""

    sha256: str
    size: tuple[int, int]
    thumbnail: bytes
    vectors: tuple[Vector, ...]


@dataclass(frozen=True)
class Known:
    """What the library knows of a file: its size and mtime (ns) when it was read, and the SHA-256 found then."""

    stamp: tuple[int, int]
    sha256: str


@dataclass(frozen=True)
class Rows:
    """The vectors of one algorithm and version: ``contents[i]`` has ``data[slots[i]]``, of which ``items[i]`` entries count."""

    contents: NDArray[np.int64]
    slots: NDArray[np.int64]
    items: NDArray[np.int64]
    data: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.contents)

    def gather(self) -> NDArray[np.uint8]:
        """The rows in the order of ``contents``, shape (n, row_bytes), copied into memory."""
        return np.asarray(self.data[self.slots])


class Store:
    """The files of one library. Every method may be called from any thread; each opens its own connection."""

    def __init__(self, folder: Path) -> None:
        """Open the library data in ``folder``, made when missing. Raises LibraryError when it cannot be used."""
        self.folder = folder
        self._database = folder / DATABASE
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LibraryError(
                f"The library folder {folder} cannot be made ({error.strerror}).",
                next_step="Choose another data folder, or make this one writable.",
            ) from error
        with self._connection() as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.executescript(_SCHEMA)
            connection.execute("INSERT OR IGNORE INTO meta VALUES ('format', ?), ('changes', 0)", (FORMAT_VERSION,))
            found = self._meta(connection, "format")
        if found != FORMAT_VERSION:
            raise LibraryError(
                f"The library in {folder} was written by another version of this program (format {found}).",
                next_step="Update the program, or delete that folder and index the references again.",
            )

    def changes(self) -> int:
        """A number that grows with every change by any process."""
        with self._connection() as connection:
            return self._meta(connection, "changes")

    def folders(self) -> dict[Path, int]:
        """The reference folders and their row numbers."""
        with self._connection() as connection:
            return {_path(path): row for row, path in connection.execute("SELECT id, path FROM folders ORDER BY id")}

    def add_folder(self, folder: Path) -> int:
        """The row number of a reference folder, registered when it is new."""
        with self._writing() as connection:
            connection.execute("INSERT OR IGNORE INTO folders (path) VALUES (?)", (os.fsencode(folder),))
            return connection.execute("SELECT id FROM folders WHERE path = ?", (os.fsencode(folder),)).fetchone()[0]

    def known(self, folder: int) -> dict[str, Known]:
        """What is known of the files of a folder, by their path relative to it."""
        with self._connection() as connection:
            query = "SELECT name, size, mtime_ns, sha256 FROM pictures JOIN contents ON id = content WHERE folder = ?"
            rows = connection.execute(query, (folder,))
            return {os.fsdecode(name): Known((size, mtime), sha256) for name, size, mtime, sha256 in rows}

    def unreadable(self) -> list[tuple[Path, str]]:
        """Every file that could not be read at the last scan, with the reason."""
        with self._connection() as connection:
            rows = connection.execute(
                "SELECT path, name, reason FROM unreadable JOIN folders ON folders.id = folder ORDER BY path, name"
            )
            return [(_path(path) / os.fsdecode(name), reason) for path, name, reason in rows]

    def paths(self, folders: Sequence[int] | None = None) -> dict[int, list[Path]]:
        """The files that hold each content, in all folders or in some of them."""
        found: dict[int, list[Path]] = {}
        with self._connection() as connection:
            rows = connection.execute(
                "SELECT content, path, name FROM pictures JOIN folders ON folders.id = folder "
                f"WHERE {_among(folders)} ORDER BY path, name"
            )
            for content, path, name in rows:
                found.setdefault(content, []).append(_path(path) / os.fsdecode(name))
        return found

    def missing(self, algorithm: str, version: str) -> dict[int, list[Path]]:
        """The contents that have no vector of this algorithm and version, with the files that hold them."""
        with self._connection() as connection:
            rows = connection.execute(
                "SELECT content FROM vectors WHERE algorithm = ? AND version = ?", (algorithm, version)
            )
            have = {row[0] for row in rows}
        return {content: files for content, files in self.paths().items() if content not in have}

    def add_vectors(self, content: int, vectors: Sequence[Vector]) -> None:
        """Keep further vectors of a content that is still in the library."""
        with self._writing() as connection:
            if connection.execute("SELECT 1 FROM contents WHERE id = ?", (content,)).fetchone():
                self._add_vectors(connection, content, vectors)

    def put_picture(self, folder: int, name: str, stamp: tuple[int, int], content: Content | str) -> bool:
        """Note that a file of a folder, of this size and mtime (ns), holds a content, and keep the content when it is new.

        A content given by its SHA-256 alone must be there already; False, and nothing is kept, when it is not.
        """
        sha256 = content if isinstance(content, str) else content.sha256
        with self._writing() as connection:
            if isinstance(content, Content):
                self._add_content(connection, content)
            row = connection.execute("SELECT id FROM contents WHERE sha256 = ?", (sha256,)).fetchone()
            if row is None:
                return False
            values = (folder, os.fsencode(name), *stamp, row[0])
            connection.execute("INSERT OR REPLACE INTO pictures VALUES (?, ?, ?, ?, ?)", values)
            self._drop_unheld(connection)
            return True

    def remove_pictures(self, folder: int, names: Sequence[str]) -> None:
        """Forget files of a folder, and contents that no file holds any more."""
        with self._writing() as connection:
            connection.executemany(
                "DELETE FROM pictures WHERE folder = ? AND name = ?", [(folder, os.fsencode(name)) for name in names]
            )
            self._drop_unheld(connection)

    def remove_folder(self, folder: int) -> None:
        """Forget a folder and everything that only it held."""
        with self._writing() as connection:
            connection.execute("DELETE FROM folders WHERE id = ?", (folder,))
            self._drop_unheld(connection)

    def put_unreadable(self, folder: int, reasons: Mapping[str, str]) -> None:
        """Replace the list of unreadable files of a folder."""
        with self._writing() as connection:
            connection.execute("DELETE FROM unreadable WHERE folder = ?", (folder,))
            rows = [(folder, os.fsencode(name), reason) for name, reason in reasons.items()]
            connection.executemany("INSERT INTO unreadable VALUES (?, ?, ?)", rows)

    def thumbnail(self, content: int) -> bytes | None:
        """The small JPEG of a content, None when it was removed meanwhile."""
        with self._connection() as connection:
            row = connection.execute("SELECT jpeg FROM thumbnails WHERE content = ?", (content,)).fetchone()
            return row[0] if row else None

    def rows(self, algorithm: str, version: str, folders: Sequence[int] | None = None) -> Rows:
        """The vectors of an algorithm and version of the pictures in all folders, or in some of them, memory-mapped."""
        with self._connection() as connection:
            connection.execute("BEGIN")  # One state for both questions, whatever is written meanwhile.
            segment = connection.execute(
                "SELECT file, row_bytes, rows FROM segments WHERE algorithm = ? AND version = ?", (algorithm, version)
            ).fetchone()
            query = (
                "SELECT content, slot, items FROM vectors WHERE algorithm = ? AND version = ? "
                f"AND content IN (SELECT content FROM pictures WHERE {_among(folders)}) ORDER BY content"
            )
            table = np.array(connection.execute(query, (algorithm, version)).fetchall(), np.int64).reshape(-1, 3)
        if segment is None or not segment[2]:
            return Rows(table[:0, 0], table[:0, 1], table[:0, 2], np.zeros((0, segment[1] if segment else 0), np.uint8))
        file, row_bytes, count = segment
        return Rows(table[:, 0], table[:, 1], table[:, 2], self._map(file, row_bytes, count))

    def algorithms(self) -> dict[str, int]:
        """Every algorithm and version (``name version``) with the number of contents that have its vectors."""
        with self._connection() as connection:
            rows = connection.execute(
                "SELECT algorithm || ' ' || version, count(*) FROM vectors GROUP BY algorithm, version"
            )
            return dict(rows.fetchall())

    def _map(self, file: str, row_bytes: int, count: int) -> NDArray[np.uint8]:
        path = self.folder / file
        try:
            return np.memmap(path, np.uint8, "r", shape=(count, row_bytes))
        except (OSError, ValueError) as error:
            raise LibraryError(
                f"The library file {path} is missing or cut short.",
                next_step=f"Delete the folder {self.folder} and index the references again.",
            ) from error

    def _add_content(self, connection: sqlite3.Connection, content: Content) -> None:
        """One that is already there only gains the vectors it lacks."""
        values = (content.sha256, *content.size)
        connection.execute("INSERT OR IGNORE INTO contents (sha256, width, height) VALUES (?, ?, ?)", values)
        query = "SELECT id FROM contents WHERE sha256 = ?"
        row: int = connection.execute(query, (content.sha256,)).fetchone()[0]
        connection.execute("INSERT OR REPLACE INTO thumbnails VALUES (?, ?)", (row, content.thumbnail))
        self._add_vectors(connection, row, content.vectors)

    def _add_vectors(self, connection: sqlite3.Connection, content: int, vectors: Sequence[Vector]) -> None:
        for vector in vectors:
            key = (vector.algorithm, vector.version)
            if connection.execute(
                "SELECT 1 FROM vectors WHERE content = ? AND algorithm = ? AND version = ?", (content, *key)
            ).fetchone():
                continue
            slot = self._append(connection, vector)
            connection.execute("INSERT INTO vectors VALUES (?, ?, ?, ?, ?)", (content, *key, slot, vector.items))

    def _append(self, connection: sqlite3.Connection, vector: Vector) -> int:
        """Write a vector behind the last named one of its segment, flush it, and name it; its slot."""
        key = (vector.algorithm, vector.version)
        connection.execute(
            "INSERT OR IGNORE INTO segments VALUES (?, ?, ?, ?, 0)",
            (*key, f"{vector.algorithm}-{vector.version}.vectors", len(vector.row)),
        )
        query = "SELECT file, row_bytes, rows FROM segments WHERE algorithm = ? AND version = ?"
        file, row_bytes, slot = connection.execute(query, key).fetchone()
        if row_bytes != len(vector.row):
            raise ValueError(f"{key} has rows of {row_bytes} bytes, not {len(vector.row)}")
        path = self.folder / file
        with path.open("r+b" if path.exists() else "w+b") as stream:
            stream.seek(slot * row_bytes)
            stream.write(vector.row)
            stream.flush()
            os.fsync(stream.fileno())
        connection.execute("UPDATE segments SET rows = rows + 1 WHERE algorithm = ? AND version = ?", key)
        return int(slot)

    @staticmethod
    def _drop_unheld(connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM contents WHERE id NOT IN (SELECT content FROM pictures)")

    @staticmethod
    def _meta(connection: sqlite3.Connection, key: str) -> int:
        return int(connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()[0])

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """A connection of its own, in autocommit mode; what SQLite refuses becomes a LibraryError."""
        connection: sqlite3.Connection | None = None
        try:
            connection = sqlite3.connect(self._database, timeout=_WAIT_SECONDS, isolation_level=None)
            connection.execute("PRAGMA foreign_keys=ON")
            connection.execute("PRAGMA synchronous=FULL")
            yield connection
        except sqlite3.Error as error:
            raise self._library_error(error) from error
        finally:
            if connection is not None:
                connection.close()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A write transaction: nothing or everything, and the number of changes grows with it."""
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("UPDATE meta SET value = value + 1 WHERE key = 'changes'")
                connection.execute("COMMIT")
            except OSError as error:
                connection.execute("ROLLBACK")
                raise self._library_error(error) from error
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def _library_error(self, error: Exception) -> LibraryError:
        text = str(error).lower()
        if "malformed" in text or "not a database" in text:
            problem, step = "is damaged", f"Delete the folder {self.folder} and index the references again."
        elif "full" in text or "no space" in text:
            problem, step = "could not be written: the disk is full", "Free space on that disk and try again."
        elif "locked" in text or "busy" in text:
            problem, step = "is in use by another program", "Wait until that has finished and try again."
        elif "readonly" in text or "permission" in text or "unable to open" in text:
            problem, step = "cannot be opened or written", "Make that folder writable, or choose another data folder."
        else:
            problem, step = f"cannot be used ({error})", "Check the disk, or delete that folder and index again."
        return LibraryError(f"The library in {self.folder} {problem}.", next_step=step)


def _among(folders: Sequence[int] | None) -> str:
    """The condition that a row's folder is one of these (our own row numbers, so nothing to escape)."""
    return "1" if folders is None else f"folder IN ({', '.join(str(int(folder)) for folder in folders)})"


def _path(stored: bytes) -> Path:
    return Path(os.fsdecode(stored))
