"""Append-only files of vectors, one pair for each algorithm and version.

``NAME.vectors`` holds rows of one size, ``NAME.contents`` the content number of each row (little-endian int64). Both are written and
flushed before the transaction that counts the rows is committed, so a crash leaves at most bytes behind the last counted row, and
the next writer overwrites them. A dropped vector leaves a hole, noted in the table ``holes``, until the file is compacted.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from provenance_guard.errors import LibraryError

SCHEMA = """
CREATE TABLE IF NOT EXISTS segments (
    algorithm TEXT NOT NULL, version TEXT NOT NULL, file TEXT NOT NULL UNIQUE, row_bytes INTEGER NOT NULL,
    rows INTEGER NOT NULL, PRIMARY KEY (algorithm, version)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS vectors (
    content INTEGER NOT NULL REFERENCES contents ON DELETE CASCADE, algorithm TEXT NOT NULL, version TEXT NOT NULL,
    slot INTEGER NOT NULL, items INTEGER NOT NULL, PRIMARY KEY (content, algorithm, version)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS holes (
    algorithm TEXT NOT NULL, version TEXT NOT NULL, slot INTEGER NOT NULL, PRIMARY KEY (algorithm, version, slot)) WITHOUT ROWID;
CREATE TRIGGER IF NOT EXISTS vector_dropped AFTER DELETE ON vectors BEGIN
    INSERT INTO holes VALUES (OLD.algorithm, OLD.version, OLD.slot); END;
"""

NOBODY = -1
"""Stands for the content of a row that was dropped."""

_NUMBER = np.dtype("<i8")
_COMPACT_FROM = 256


@dataclass(frozen=True)
class Vector:
    """One vector to keep: ``row`` are its bytes, ``items`` how many entries of the row are used (local features found)."""

    algorithm: str
    version: str
    row: bytes
    items: int = 1


@dataclass(frozen=True)
class Rows:
    """The vectors of one algorithm and version: row ``data[i]`` (uint8, memory-mapped) belongs to ``contents[i]``, or to ``NOBODY``.

    ``file`` changes when the rows were put in another order.
    """

    file: str
    contents: NDArray[np.int64]
    data: NDArray[np.uint8]

    def used(self, among: NDArray[np.int64] | None) -> NDArray[np.bool_]:
        """Which rows belong to somebody, or to one ``among`` these contents."""
        return self.contents != NOBODY if among is None else np.isin(self.contents, among)


def append(connection: sqlite3.Connection, folder: Path, vectors: Sequence[tuple[int, Vector]]) -> None:
    """Write vectors of contents behind the last counted rows, flush them, and count them. A content that has one keeps it."""
    kinds = dict.fromkeys((vector.algorithm, vector.version) for _, vector in vectors)
    for kind in kinds:
        mine = [(content, vector) for content, vector in vectors if (vector.algorithm, vector.version) == kind]
        query = "SELECT 1 FROM vectors WHERE content = ? AND algorithm = ? AND version = ?"
        new = [entry for entry in mine if connection.execute(query, (entry[0], *kind)).fetchone() is None]
        if new:
            _append(connection, folder, kind, new)


def read(connection: sqlite3.Connection, folder: Path, algorithm: str, version: str) -> Rows:
    """The rows of an algorithm and version."""
    key = (algorithm, version)
    query = "SELECT file, row_bytes, rows FROM segments WHERE algorithm = ? AND version = ?"
    file, row_bytes, count = connection.execute(query, key).fetchone() or ("", 0, 0)
    if not count:
        return Rows(file, np.zeros(0, np.int64), np.zeros((0, row_bytes), np.uint8))
    data = _map(folder, file, row_bytes, count)
    contents = _map(folder, contents_file(file), _NUMBER.itemsize, count).view(_NUMBER)[:, 0].astype(np.int64)
    holes = connection.execute("SELECT slot FROM holes WHERE algorithm = ? AND version = ?", key)
    contents[[row[0] for row in holes]] = NOBODY
    return Rows(file, contents, data)


def write_contents(connection: sqlite3.Connection, folder: Path) -> None:
    """Write the files of content numbers anew from the table (libraries of format 1 had none), and note the holes."""
    for algorithm, version, file, rows in connection.execute("SELECT algorithm, version, file, rows FROM segments"):
        key = (algorithm, version)
        numbers = np.full(rows, NOBODY, _NUMBER)
        query = "SELECT slot, content FROM vectors WHERE algorithm = ? AND version = ?"
        for slot, content in connection.execute(query, key):
            numbers[slot] = content
        _write(folder / contents_file(file), 0, numbers.tobytes())
        holes = [(*key, int(slot)) for slot in np.flatnonzero(numbers == NOBODY)]
        connection.executemany("INSERT OR IGNORE INTO holes VALUES (?, ?, ?)", holes)


def compact(connection: sqlite3.Connection, folder: Path) -> list[Path]:
    """Write segments that are half holes anew; the files that are unused once the transaction is committed."""
    left: list[Path] = []
    counted = connection.execute(
        "SELECT algorithm, version, file, row_bytes, rows, (SELECT count(*) FROM holes "
        "WHERE holes.algorithm = segments.algorithm AND holes.version = segments.version) FROM segments"
    ).fetchall()
    for algorithm, version, file, row_bytes, rows, holes in counted:
        if rows < _COMPACT_FROM or holes * 2 < rows:
            continue
        key = (algorithm, version)
        query = "SELECT slot, content FROM vectors WHERE algorithm = ? AND version = ? ORDER BY slot"
        kept = np.array(connection.execute(query, key).fetchall(), np.int64).reshape(-1, 2)
        name, generation = file.removesuffix(".vectors"), 1
        while (folder / f"{name}.{generation}.vectors").exists():
            generation += 1
        target = f"{name}.{generation}.vectors"
        _write(folder / target, 0, _map(folder, file, row_bytes, rows)[kept[:, 0]].tobytes())
        _write(folder / contents_file(target), 0, kept[:, 1].astype(_NUMBER).tobytes())
        moved = [(new, int(content), *key) for new, content in enumerate(kept[:, 1])]
        connection.executemany("UPDATE vectors SET slot = ? WHERE content = ? AND algorithm = ? AND version = ?", moved)
        connection.execute("DELETE FROM holes WHERE algorithm = ? AND version = ?", key)
        connection.execute(
            "UPDATE segments SET file = ?, rows = ? WHERE algorithm = ? AND version = ?", (target, len(kept), *key)
        )
        left += [folder / file, folder / contents_file(file)]
    return left


def contents_file(file: str) -> str:
    """The name of the file of content numbers beside a file of vectors."""
    return f"{file.removesuffix('.vectors')}.contents"


def _append(
    connection: sqlite3.Connection, folder: Path, kind: tuple[str, str], new: Sequence[tuple[int, Vector]]
) -> None:
    row_bytes = len(new[0][1].row)
    connection.execute(
        "INSERT OR IGNORE INTO segments VALUES (?, ?, ?, ?, 0)", (*kind, f"{kind[0]}-{kind[1]}.vectors", row_bytes)
    )
    query = "SELECT file, row_bytes, rows FROM segments WHERE algorithm = ? AND version = ?"
    file, expected, count = connection.execute(query, kind).fetchone()
    if any(len(vector.row) != expected for _, vector in new):
        raise ValueError(f"{kind} has rows of {expected} bytes, not {row_bytes}")
    _write(folder / file, count * row_bytes, b"".join(vector.row for _, vector in new))
    numbers = np.array([content for content, _ in new], _NUMBER)
    _write(folder / contents_file(file), count * _NUMBER.itemsize, numbers.tobytes())
    named = [(content, *kind, count + place, vector.items) for place, (content, vector) in enumerate(new)]
    connection.executemany("INSERT INTO vectors VALUES (?, ?, ?, ?, ?)", named)
    update = "UPDATE segments SET rows = rows + ? WHERE algorithm = ? AND version = ?"
    connection.execute(update, (len(new), *kind))


def _write(path: Path, offset: int, values: bytes) -> None:
    with path.open("r+b" if path.exists() else "w+b") as stream:
        stream.seek(offset)
        stream.write(values)
        stream.flush()
        os.fsync(stream.fileno())


def _map(folder: Path, file: str, row_bytes: int, count: int) -> NDArray[np.uint8]:
    path = folder / file
    try:
        return np.memmap(path, np.uint8, "r", shape=(count, row_bytes))
    except (OSError, ValueError) as error:
        raise LibraryError(
            f"The library file {path} is missing or cut short.",
            next_step=f"Delete the folder {folder} and index the references again.",
        ) from error
