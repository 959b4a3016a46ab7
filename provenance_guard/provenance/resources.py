"""The model files behind a picture: hashed by us, whole, because the hashes that hosts and files declare prove nothing."""

from __future__ import annotations

import hashlib
import logging
import os
import queue
import sqlite3
import threading
from concurrent.futures import Future
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from provenance_guard.errors import ResourceError
from provenance_guard.json_types import Json
from provenance_guard.provenance.record import Resource, ResourceKind
from provenance_guard.provenance.safetensors import read_metadata, shorten

logger = logging.getLogger(__name__)

_CHUNK = 1 << 22
_BUSY_SECONDS = 10
_TABLE = """
CREATE TABLE IF NOT EXISTS hashes_1 (
    path BLOB PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, inode TEXT NOT NULL, sha256 TEXT NOT NULL
) WITHOUT ROWID
"""


@dataclass(frozen=True)
class Fingerprint:
    """What tells that a file is still the one that was hashed, without reading it."""

    path: Path
    size: int
    mtime_ns: int
    inode: int


class ResourceHasher:
    """SHA-256 of whole model files, worked out one after the other in a background thread and remembered on disk.

    A hash is remembered by path, size, modification time and inode; who needs certainty asks for ``rehash``. The memory is
    an SQLite file that several processes may share; when it is damaged or cannot be written, files are hashed again.
    """

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self._lock = threading.Lock()
        self._pending: dict[Fingerprint, Future[str]] = {}
        self._queue: queue.SimpleQueue[tuple[Fingerprint, Future[str]] | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._worker: threading.Thread | None = None

    def known(self, path: Path) -> str | None:
        """The hash of a file if it is remembered and the file has not changed since; returns at once."""
        try:
            return self._recall(_fingerprint(path))
        except ResourceError:
            return None

    def request(self, path: Path) -> Future[str]:
        """The hash of a file, as 64 hex digits, now or later. The future raises ResourceError when it cannot be read."""
        return self._request(path, recall=True)

    def rehash(self, path: Path) -> Future[str]:
        """Like ``request``, but the file is read again whatever is remembered."""
        return self._request(path, recall=False)

    def close(self) -> None:
        """Stop hashing; futures that are not done are cancelled."""
        self._closing.set()
        self._queue.put(None)
        if self._worker is not None:
            self._worker.join()

    def _request(self, path: Path, *, recall: bool) -> Future[str]:
        future: Future[str] = Future()
        if self._closing.is_set():
            future.cancel()
            return future
        try:
            fingerprint = _fingerprint(path)
        except ResourceError as error:
            future.set_exception(error)
            return future
        if recall and (known := self._recall(fingerprint)):
            future.set_result(known)
            return future
        with self._lock:
            if fingerprint in self._pending:
                return self._pending[fingerprint]
            self._pending[fingerprint] = future
            if self._worker is None:
                # A daemon, so that a program may end while a file of many gigabytes is being read.
                self._worker = threading.Thread(target=self._work, name="resource hasher", daemon=True)
                self._worker.start()
        self._queue.put((fingerprint, future))
        return future

    def _work(self) -> None:
        while (job := self._queue.get()) is not None:
            fingerprint, future = job
            if not future.set_running_or_notify_cancel():
                self._settle(fingerprint)
                continue
            try:
                sha256 = self._hash(fingerprint)
            except Exception as error:
                self._settle(fingerprint)
                future.set_exception(error)
                continue
            self._remember(fingerprint, sha256)
            self._settle(fingerprint)
            future.set_result(sha256)
        while not self._queue.empty():
            rest = self._queue.get()
            if rest is not None:
                rest[1].cancel()

    def _settle(self, fingerprint: Fingerprint) -> None:
        with self._lock:
            self._pending.pop(fingerprint, None)

    def _hash(self, fingerprint: Fingerprint) -> str:
        digest = hashlib.sha256()
        try:
            with fingerprint.path.open("rb") as stream:
                while chunk := stream.read(_CHUNK):
                    if self._closing.is_set():
                        raise _error(fingerprint.path, "was not hashed, because the program ends")
                    digest.update(chunk)
        except OSError as error:
            raise _error(fingerprint.path, f"cannot be read ({error.strerror or error})") from error
        if _fingerprint(fingerprint.path) != fingerprint:
            raise _error(fingerprint.path, "changed while it was being read")
        return digest.hexdigest()

    def _recall(self, fingerprint: Fingerprint) -> str | None:
        row = self._execute(
            "SELECT sha256 FROM hashes_1 WHERE path = ? AND size = ? AND mtime_ns = ? AND inode = ?", _key(fingerprint)
        )
        return row[0] if row else None

    def _remember(self, fingerprint: Fingerprint, sha256: str) -> None:
        self._execute("INSERT OR REPLACE INTO hashes_1 VALUES (?, ?, ?, ?, ?)", (*_key(fingerprint), sha256))

    def _execute(self, statement: str, values: tuple[bytes | int | str, ...]) -> tuple[str, ...] | None:
        """Run one statement and give its first row. What goes wrong with the memory never stops the caller."""
        try:
            self._cache.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self._cache, timeout=_BUSY_SECONDS)) as connection, connection:
                connection.execute(_TABLE)
                return connection.execute(statement, values).fetchone()
        except (sqlite3.Error, OSError) as error:
            logger.warning("The hashes of model files cannot be kept in %s: %s", self._cache, error)
            if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
                with suppress(OSError):  # Damaged: it holds nothing that cannot be made again.
                    self._cache.unlink()
            return None


def resource_from_file(
    kind: ResourceKind,
    path: Path,
    hasher: ResourceHasher,
    *,
    name: str | None = None,
    declared_hash: str | None = None,
    weight: float | None = None,
) -> Resource:
    """Describe a model file for a record, at once: its hash when known (else it is requested), its header's metadata.

    ``name`` defaults to the file's stem. A file that cannot be read gives a resource without hash and metadata.
    """
    sha256 = hasher.known(path)
    if sha256 is None:
        hasher.request(path)
    return Resource(
        kind=kind,
        name=path.stem if name is None else name,
        file_name=path.name,
        sha256=sha256,
        declared_hash=declared_hash,
        weight=weight,
        metadata=_metadata(path),
    )


def _metadata(path: Path) -> dict[str, Json]:
    if path.suffix.lower() != ".safetensors":
        return {}
    try:
        return _metadata_of(_fingerprint(path))
    except ResourceError:
        return {}


@lru_cache(maxsize=64)
def _metadata_of(fingerprint: Fingerprint) -> dict[str, Json]:
    return shorten(read_metadata(fingerprint.path))


def _fingerprint(path: Path) -> Fingerprint:
    try:
        status = path.stat()
    except OSError as error:
        raise _error(path, f"cannot be read ({error.strerror or error})") from error
    return Fingerprint(path.absolute(), status.st_size, status.st_mtime_ns, status.st_ino)


def _key(fingerprint: Fingerprint) -> tuple[bytes, int, int, str]:
    # The path as bytes and the inode as text: file names may be no Unicode, and Windows has inodes of 128 bits.
    return os.fsencode(fingerprint.path), fingerprint.size, fingerprint.mtime_ns, str(fingerprint.inode)


def _error(path: Path, problem: str) -> ResourceError:
    return ResourceError(
        f"The model file {path.name} {problem}.", next_step="Check the file and ask for its hash again."
    )
