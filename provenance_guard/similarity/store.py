"""What a library keeps on disk: rows in SQLite, vectors in append-only files beside it (``segments``).

``library.sqlite3`` is the one truth. Every vector is named by algorithm and version; another version has a file of its own. Writers
take turns (``BEGIN IMMEDIATE``), in one process or in several.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from provenance_guard.errors import LibraryError
from provenance_guard.similarity import segments
from provenance_guard.similarity.segments import Rows, Vector

FORMAT_VERSION = 2
DATABASE = "library.sqlite3"

_WAIT_SECONDS = 60.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS folders (id INTEGER PRIMARY KEY, path BLOB NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS contents (
    id INTEGER PRIMARY KEY, sha256 TEXT NOT NULL UNIQUE, width INTEGER NOT NULL, height INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS thumbnails (content INTEGER PRIMARY KEY REFERENCES contents ON DELETE CASCADE, jpeg BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS pictures (
    folder INTEGER NOT NULL REFERENCES folders ON DELETE CASCADE, name BLOB NOT NULL, size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL, content INTEGER NOT NULL REFERENCES contents, PRIMARY KEY (folder, name)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS pictures_by_content ON pictures (content);
CREATE TABLE IF NOT EXISTS unreadable (
    folder INTEGER NOT NULL REFERENCES folders ON DELETE CASCADE, name BLOB NOT NULL, reason TEXT NOT NULL,
    PRIMARY KEY (folder, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS notices (folder INTEGER PRIMARY KEY REFERENCES folders ON DELETE CASCADE, toml TEXT NOT NULL);
"""


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
            connection.executescript(_SCHEMA + segments.SCHEMA)
            connection.execute("INSERT OR IGNORE INTO meta VALUES ('format', ?), ('changes', 0)", (FORMAT_VERSION,))
            found = self._meta(connection, "format")
        self.migrated = found < FORMAT_VERSION and self._migrate()
        if found > FORMAT_VERSION:
            raise LibraryError(
                f"The library in {folder} was written by another version of this program (format {found}).",
                next_step="Update the program, or delete that folder and index the references again.",
            )

    def _migrate(self) -> bool:
        """Format 1 had no files of content numbers and no table of holes."""
        with self._writing() as connection:
            if self._meta(connection, "format") < FORMAT_VERSION:
                segments.write_contents(connection, self.folder)
                connection.execute("UPDATE meta SET value = ? WHERE key = 'format'", (FORMAT_VERSION,))
        return True

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

    def has(self, sha256: str) -> bool:
        """Whether this content is kept."""
        with self._connection() as connection:
            return connection.execute("SELECT 1 FROM contents WHERE sha256 = ?", (sha256,)).fetchone() is not None

    def known(self, folder: int, name: str | None = None) -> dict[str, Known]:
        """What is known of the files of a folder, or of one of them, by their path relative to it."""
        with self._connection() as connection:
            query = "SELECT name, size, mtime_ns, sha256 FROM pictures JOIN contents ON id = content WHERE folder = ?"
            named = " AND name = ?" if name is not None else ""
            values = (folder,) if name is None else (folder, os.fsencode(name))
            rows = connection.execute(query + named, values)
            return {os.fsdecode(name): Known((size, mtime), sha256) for name, size, mtime, sha256 in rows}

    def unreadable(self) -> list[tuple[Path, str]]:
        """Every file that could not be read at the last scan, with the reason."""
        with self._connection() as connection:
            rows = connection.execute(
                "SELECT path, name, reason FROM unreadable JOIN folders ON folders.id = folder ORDER BY path, name"
            )
            return [(_path(path) / os.fsdecode(name), reason) for path, name, reason in rows]

    def files_of(self, content: int, folders: Sequence[int] | None = None) -> list[tuple[int, Path, str]]:
        """The files that hold a content, in all folders or in some: folder row, folder, name relative to it."""
        with self._connection() as connection:
            rows = connection.execute(
                "SELECT folder, path, name FROM pictures JOIN folders ON folders.id = folder "
                f"WHERE content = ? AND {_among(folders)} ORDER BY path, name",
                (content,),
            )
            return [(folder, _path(path), os.fsdecode(name)) for folder, path, name in rows]

    def count(self, algorithm: str, version: str) -> int:
        """How many contents have a vector of this algorithm and version."""
        with self._connection() as connection:
            row = connection.execute(
                "SELECT rows - (SELECT count(*) FROM holes WHERE algorithm = ?1 AND version = ?2) "
                "FROM segments WHERE algorithm = ?1 AND version = ?2",
                (algorithm, version),
            ).fetchone()
            return row[0] if row else 0

    def missing(self, algorithm: str, version: str) -> list[int]:
        """The contents that have no vector of this algorithm and version."""
        with self._connection() as connection:
            rows = connection.execute(
                "SELECT id FROM contents WHERE NOT EXISTS (SELECT 1 FROM vectors "
                "WHERE content = contents.id AND algorithm = ? AND version = ?) ORDER BY id",
                (algorithm, version),
            )
            return [row[0] for row in rows]

    def add_vectors(self, vectors: Sequence[tuple[int, Vector]]) -> None:
        """Keep further vectors of contents; those that were removed meanwhile are left out."""
        with self._writing() as connection:
            there = [
                entry
                for entry in vectors
                if connection.execute("SELECT 1 FROM contents WHERE id = ?", (entry[0],)).fetchone()
            ]
            segments.append(connection, self.folder, there)

    def notices(self) -> dict[int, str]:
        """The text of each folder's ``references.toml``, by folder row."""
        with self._connection() as connection:
            return dict(connection.execute("SELECT folder, toml FROM notices").fetchall())

    def put_notices(self, folder: int, toml: str | None) -> None:
        """Keep the text of a folder's ``references.toml``, or forget it."""
        with self._connection() as connection:
            row = connection.execute("SELECT toml FROM notices WHERE folder = ?", (folder,)).fetchone()
        if toml == (row[0] if row else None):
            return
        with self._writing() as connection:
            connection.execute("DELETE FROM notices WHERE folder = ?", (folder,))
            if toml is not None:
                connection.execute("INSERT INTO notices VALUES (?, ?)", (folder, toml))

    def compact(self) -> None:
        """Write files of vectors anew when half of their rows are unused."""
        with self._writing() as connection:
            left = segments.compact(connection, self.folder)
        for path in left:
            with suppress(OSError):  # Windows keeps a file that another process reads.
                path.unlink()

    def put_pictures(self, folder: int, entries: Sequence[tuple[str, tuple[int, int], Content | str]]) -> list[bool]:
        """Note files of a folder: name, size and mtime (ns), and what they hold, which is kept when it is new.

        A content given by its SHA-256 alone must be there already; False for a file, and nothing is noted, when it is not.
        """
        new = {content.sha256: content for _, _, content in entries if isinstance(content, Content)}
        with self._writing() as connection:
            vectors: list[tuple[int, Vector]] = []
            for content in new.values():
                row = self._add_content(connection, content)
                vectors += [(row, vector) for vector in content.vectors]
            segments.append(connection, self.folder, vectors)
            return [self._put_picture(connection, folder, *entry) for entry in entries]

    def remove_pictures(self, folder: int, names: Sequence[str]) -> None:
        """Forget files of a folder, and contents that no file holds any more."""
        with self._writing() as connection:
            before = self._held(connection, folder, names)
            connection.executemany(
                "DELETE FROM pictures WHERE folder = ? AND name = ?", [(folder, os.fsencode(name)) for name in names]
            )
            self._drop_unheld(connection, before)

    def remove_folder(self, folder: int) -> None:
        """Forget a folder and everything that only it held."""
        with self._writing() as connection:
            held = connection.execute("SELECT DISTINCT content FROM pictures WHERE folder = ?", (folder,)).fetchall()
            connection.execute("DELETE FROM folders WHERE id = ?", (folder,))
            self._drop_unheld(connection, [row[0] for row in held])

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

    def rows(self, algorithm: str, version: str) -> Rows:
        """The vectors of an algorithm and version, memory-mapped."""
        with self._connection() as connection:
            connection.execute("BEGIN")  # One state for all questions, whatever is written meanwhile.
            return segments.read(connection, self.folder, algorithm, version)

    def contents_in(self, folders: Sequence[int]) -> NDArray[np.int64] | None:
        """The contents of the pictures in some folders, in rising order; None when these are all folders."""
        with self._connection() as connection:
            if set(folders) == {row[0] for row in connection.execute("SELECT id FROM folders")}:
                return None
            query = f"SELECT DISTINCT content FROM pictures WHERE {_among(folders)} ORDER BY content"
            return np.array(connection.execute(query).fetchall(), np.int64).reshape(-1)

    def algorithms(self) -> dict[str, int]:
        """Every algorithm and version (``name version``) with the number of contents that have its vectors."""
        with self._connection() as connection:
            rows = connection.execute(
                "SELECT algorithm || ' ' || version, count(*) FROM vectors GROUP BY algorithm, version"
            )
            return dict(rows.fetchall())

    def _put_picture(
        self,
        connection: sqlite3.Connection,
        folder: int,
        name: str,
        stamp: tuple[int, int],
        content: Content | str,
    ) -> bool:
        sha256 = content if isinstance(content, str) else content.sha256
        row = connection.execute("SELECT id FROM contents WHERE sha256 = ?", (sha256,)).fetchone()
        if row is None:
            return False
        before = self._held(connection, folder, [name])
        values = (folder, os.fsencode(name), *stamp, row[0])
        connection.execute("INSERT OR REPLACE INTO pictures VALUES (?, ?, ?, ?, ?)", values)
        self._drop_unheld(connection, before)
        return True

    @staticmethod
    def _add_content(connection: sqlite3.Connection, content: Content) -> int:
        """The number of a content, which is made when it is new."""
        values = (content.sha256, *content.size)
        connection.execute("INSERT OR IGNORE INTO contents (sha256, width, height) VALUES (?, ?, ?)", values)
        query = "SELECT id FROM contents WHERE sha256 = ?"
        row: int = connection.execute(query, (content.sha256,)).fetchone()[0]
        connection.execute("INSERT OR REPLACE INTO thumbnails VALUES (?, ?)", (row, content.thumbnail))
        return row

    @staticmethod
    def _held(connection: sqlite3.Connection, folder: int, names: Sequence[str]) -> list[int]:
        """The contents that these files of a folder hold."""
        query = "SELECT content FROM pictures WHERE folder = ? AND name = ?"
        found = [connection.execute(query, (folder, os.fsencode(name))).fetchone() for name in names]
        return [row[0] for row in found if row]

    @staticmethod
    def _drop_unheld(connection: sqlite3.Connection, contents: Sequence[int]) -> None:
        """Forget those of the contents that no file holds any more."""
        query = "DELETE FROM contents WHERE id = ? AND NOT EXISTS (SELECT 1 FROM pictures WHERE content = ?)"
        connection.executemany(query, [(content, content) for content in contents])

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
