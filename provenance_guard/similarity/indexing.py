"""Bring a library up to date with reference folders: what is new is read and described on all cores, and kept picture by picture."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2

from provenance_guard.errors import GuardError, LibraryError, PictureError
from provenance_guard.files import sha256_file
from provenance_guard.similarity import cascade, features, gradients, references, scan, vocabulary
from provenance_guard.similarity.embedding import Embedder
from provenance_guard.similarity.normalise import read
from provenance_guard.similarity.scan import Found
from provenance_guard.similarity.store import Content, Known, Store

Progress = Callable[[int, int, str], None]
"""Called with the number of files done, the number of all, and the name of the current one."""

_MOST_WORKERS = 16
_AHEAD = 2
"""Pictures that are described ahead of the one that is kept, for each worker: what an interrupted scan does again."""

_KEPT_AT_ONCE = 16
_KEPT_AFTER_SECONDS = 0.5

_AT_ONCE = 256


@dataclass(frozen=True)
class SyncReport:
    """What changed in one folder. ``unreadable`` names each file that could not be read, with the reason."""

    folder: Path
    added: int
    updated: int
    removed: int
    unchanged: int
    unreadable: tuple[tuple[Path, str], ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Described:
    """A file that was read: what is to be kept (only the SHA-256 when the library has it), or why it could not be read."""

    file: Found
    content: Content | str
    problem: str = ""


def sync_folder(store: Store, folder: Path, embedder: Embedder | None, progress: Progress | None) -> SyncReport:
    """See ``Library.sync``."""
    found = scan.find_pictures(folder)
    row = store.add_folder(folder)
    known = store.known(row)
    reasons = dict(found.unreadable)
    _keep_notices(store, row, folder, reasons)
    changed = [file for file in found.files if file.name not in known or known[file.name].stamp != file.stamp]
    keeper = _Keeper(store, row, known, embedder)
    described = _describe_all(store, changed, embedder)
    unchanged = 0
    for number, file in enumerate(found.files):
        if progress is not None:
            progress(number - len(keeper.waiting), len(found.files), file.name)
        if file.name in known and known[file.name].stamp == file.stamp:
            unchanged += 1
            continue
        done = next(described)
        if done.problem:
            reasons[file.name] = done.problem
        else:
            keeper.put(done)
    keeper.finish()
    present = {file.name for file in found.files} - reasons.keys()
    gone = [name for name in known if name not in present]
    if gone:
        store.remove_pictures(row, gone)
    store.put_unreadable(row, reasons)
    complete(store, embedder)
    store.compact()
    if progress is not None:
        progress(len(found.files), len(found.files), "")
    unreadable = tuple((folder / name, reason) for name, reason in sorted(reasons.items()))
    notes = () if found.files or reasons else (f"{folder} has no pictures in it: there is nothing to compare with.",)
    return SyncReport(folder, keeper.added, keeper.updated, len(gone), unchanged + keeper.unchanged, unreadable, notes)


def add_picture(store: Store, path: Path, folder: Path, embedder: Embedder | None) -> bool:
    """See ``Library.add``."""
    try:
        facts = path.stat()
    except OSError as error:
        raise PictureError(
            f"{path} cannot be read ({error.strerror}).", next_step="Check the path and the permissions."
        ) from error
    file = Found(path, path.relative_to(folder).as_posix(), (facts.st_size, facts.st_mtime_ns))
    row = store.add_folder(folder)
    done = _describe(store, file, embedder)
    if done.problem:
        raise PictureError(done.problem, next_step="Give a picture that can be read.")
    keeper = _Keeper(store, row, store.known(row, file.name), embedder)
    keeper.put(done)
    keeper.finish()
    return keeper.unchanged == 0


def complete(store: Store, embedder: Embedder | None) -> None:
    """Give references that an earlier version or another configuration indexed the vectors they lack."""
    complete_words(store)
    described = store.count(features.ALGORITHM, features.VERSION)
    if store.count(gradients.ALGORITHM, gradients.VERSION) < described:
        lacking = store.missing(gradients.ALGORITHM, gradients.VERSION)
        for start in range(0, len(lacking), _AT_ONCE):
            small = [(content, store.thumbnail(content)) for content in lacking[start : start + _AT_ONCE]]
            store.add_vectors([(content, cascade.gradient_vector(jpeg)) for content, jpeg in small if jpeg])
    if embedder is not None and store.count(embedder.algorithm, embedder.version) < described:
        for content in store.missing(embedder.algorithm, embedder.version):
            files = store.files_of(content)
            try:
                vector = cascade.embed_vector(read(files[0][1] / files[0][2]), embedder)
            except (GuardError, IndexError):
                continue  # Changed or removed since it was indexed: the next scan tells.
            store.add_vectors([(content, vector)])


def complete_words(store: Store) -> None:
    """Give references that an earlier version indexed their visual words, without which their features are not found."""
    described = store.count(features.ALGORITHM, features.VERSION)
    worded = store.count(vocabulary.ALGORITHM, vocabulary.VERSION)
    if worded < described:
        rows = store.rows(features.ALGORITHM, features.VERSION)
        places = {int(content): place for place, content in enumerate(rows.contents)}
        lacking = [content for content in store.missing(vocabulary.ALGORITHM, vocabulary.VERSION) if content in places]
        for start in range(0, len(lacking), _AT_ONCE):
            some = lacking[start : start + _AT_ONCE]
            store.add_vectors(
                [(content, cascade.word_vector(rows.data[places[content]].tobytes())) for content in some]
            )


def _keep_notices(store: Store, row: int, folder: Path, reasons: dict[str, str]) -> None:
    """A file of notices that is not valid is told among the unreadable ones; what it said before stays in force."""
    try:
        store.put_notices(row, references.read_file(folder))
    except LibraryError as error:
        reasons[references.FILE_NAME] = error.message


def _describe_all(store: Store, files: Sequence[Found], embedder: Embedder | None) -> Iterator[_Described]:
    """Every file read and described, in order."""
    workers = min(os.cpu_count() or 1, _MOST_WORKERS)
    waiting: deque[Future[_Described]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="indexing") as pool:
        try:
            for file in files:
                waiting.append(pool.submit(_describe, store, file, embedder))
                if len(waiting) > workers * _AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _describe(store: Store, file: Found, embedder: Embedder | None) -> _Described:
    try:
        sha256 = sha256_file(file.path)
        if store.has(sha256):
            return _Described(file, sha256)
        return _Described(file, cascade.analyse(read(file.path), sha256, embedder))
    except PictureError as error:
        return _Described(file, "", error.message)
    except OSError as error:
        return _Described(file, "", f"{file.path} cannot be read ({error.strerror or error}).")
    except (cv2.error, MemoryError) as error:
        return _Described(file, "", f"{file.path} cannot be described ({error}).")


class _Keeper:
    """Keeps described files, several in one transaction when they come fast: each transaction waits for the disk."""

    def __init__(self, store: Store, row: int, known: Mapping[str, Known], embedder: Embedder | None) -> None:
        self._store, self._row, self._known, self._embedder = store, row, known, embedder
        self._kept_at = time.monotonic()
        self.waiting: list[_Described] = []
        self.added = self.updated = self.unchanged = 0

    def put(self, done: _Described) -> None:
        """Keep a file now or soon."""
        self.waiting.append(done)
        if len(self.waiting) >= _KEPT_AT_ONCE or time.monotonic() - self._kept_at > _KEPT_AFTER_SECONDS:
            self.finish()

    def finish(self) -> None:
        """Keep what waits."""
        if self.waiting:
            entries = [(done.file.name, done.file.stamp, done.content) for done in self.waiting]
            for done, kept in zip(self.waiting, self._store.put_pictures(self._row, entries), strict=True):
                self._count(done, kept)
        self.waiting = []
        self._kept_at = time.monotonic()

    def _count(self, done: _Described, kept: bool) -> None:
        content, file = done.content, done.file
        if not kept and isinstance(content, str):
            # The library had this content a moment ago, but forgot it meanwhile.
            content = cascade.analyse(read(file.path), content, self._embedder)
            self._store.put_pictures(self._row, [(file.name, file.stamp, content)])
        before = self._known.get(file.name)
        if before is None:
            self.added += 1
        elif before.sha256 != (content if isinstance(content, str) else content.sha256):
            self.updated += 1
        else:
            self.unchanged += 1
