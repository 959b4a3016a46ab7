"""The reference library: the user's pictures, indexed once and kept up to date, and the screen against them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import torch
from PIL import Image

from provenance_guard.errors import GuardError, LibraryError, PictureError
from provenance_guard.files import sha256_file
from provenance_guard.similarity import calibration, cascade, features, scan, scores
from provenance_guard.similarity.cascade import Cascade, Comparison
from provenance_guard.similarity.embedding import Embedder, EmbeddingAbsence
from provenance_guard.similarity.explain import MOST_LINES
from provenance_guard.similarity.normalise import NormalPicture, normalise, read
from provenance_guard.similarity.scan import Found
from provenance_guard.similarity.scores import Dimensions, Geometry, Match, Verdict
from provenance_guard.similarity.store import Store

Progress = Callable[[int, int, str], None]
"""Called with the number of files done, the number of all, and the name of the current one."""

_NO_EMBEDDER = EmbeddingAbsence("no weight file is configured")
_LEAST_PROBABILITY = 0.05
_MOST_MATCHES = 5


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
class LibraryStatus:
    """What is in a library. ``folders`` gives the number of pictures in each; ``algorithms`` the number of indexed pictures by
    algorithm and version; ``embedding`` names the active model, or ``embedding_reason`` says why there is none."""

    references: int
    folders: dict[Path, int]
    unreadable: tuple[tuple[Path, str], ...]
    algorithms: dict[str, int]
    embedding: str | None
    embedding_reason: str


class Library:
    """References and the screen against them. May be used by several threads, and by several processes at once."""

    def __init__(self, store: Store, device: torch.device, embedder: Embedder | EmbeddingAbsence) -> None:
        """Use ``Library.open``."""
        self._store = store
        self._device = device
        self._embedder = None if isinstance(embedder, EmbeddingAbsence) else embedder
        self._absence = embedder.reason if isinstance(embedder, EmbeddingAbsence) else ""
        self._cascade: Cascade | None = None
        self._loading = threading.Lock()
        self._syncing = threading.Lock()

    @classmethod
    def open(
        cls, path: Path, *, device: str | torch.device = "cpu", embedder: Embedder | EmbeddingAbsence | None = None
    ) -> Library:
        """Open the library whose own data is in the folder ``path`` (made when missing; never a reference folder).

        ``device`` is where vectors are compared; ``embedder`` is what ``embedding.load_embedder`` returned. Raises LibraryError.
        """
        return cls(Store(Path(path).absolute()), torch.device(device), embedder or _NO_EMBEDDER)

    def sync(self, folder: Path, *, progress: Progress | None = None) -> SyncReport:
        """Bring the library up to date with a folder and its subfolders.

        A file with the size and time of the last scan is taken as unchanged; another one is read, and described anew only when
        its content is new to the library. Each picture is kept as soon as it is done, so an interrupted scan goes on where it
        stopped. Raises LibraryError when the folder does not exist or the library cannot be written.
        """
        folder = Path(folder).absolute()
        scan.check_folder(folder, self._store.folder)
        with self._syncing:
            found = scan.find_pictures(folder)
            return self._sync(folder, found, progress)

    def remove(self, path: Path) -> int:
        """Forget a reference folder, or a single picture of one until its folder is synced again; the number of pictures forgotten."""
        path = Path(path).absolute()
        for folder, row in self._store.folders().items():
            known = self._store.known(row)
            if folder == path:
                self._store.remove_folder(row)
                return len(known)
            if path.is_relative_to(folder) and path.relative_to(folder).as_posix() in known:
                self._store.remove_pictures(row, [path.relative_to(folder).as_posix()])
                return 1
        return 0

    def screen(
        self,
        image: Image.Image | torch.Tensor,
        *,
        folders: Sequence[Path] | None = None,
        review: float = 0.5,
        near_copy: float = 0.85,
        semantic_review: float = 0.85,
    ) -> Verdict:
        """Compare a picture with every reference, or with those of some of the library's ``folders``.

        ``image`` is a Pillow picture or a float tensor (3, H, W) in 0..1 on any device. ``review`` and ``near_copy`` are the
        probabilities from which a match is one; ``semantic_review`` is the embedding cosine from which a person should look.
        Raises PictureError for a picture that cannot be compared, LibraryError when the library cannot be read.
        """
        started = time.perf_counter()
        limits = {"review": review, "near_copy": near_copy, "semantic_review": semantic_review}
        picture = normalise(image)
        state = self._current(folders)
        compared = state.compare(picture)
        matches = tuple(
            self._match(picture, state, entry, limits) for entry in compared if _worth_telling(entry, limits)
        )
        level = scores.level_of(matches, limits)
        seconds = time.perf_counter() - started
        return Verdict(level, matches[:_MOST_MATCHES], self._notes(len(state)), seconds, len(state), limits)

    def status(self) -> LibraryStatus:
        """What is in the library, what could not be read, and which comparisons are active. Raises LibraryError."""
        folders = {folder: len(self._store.known(row)) for folder, row in self._store.folders().items()}
        return LibraryStatus(
            references=sum(folders.values()),
            folders=folders,
            unreadable=tuple(self._store.unreadable()),
            algorithms=self._store.algorithms(),
            embedding=f"{self._embedder.algorithm} {self._embedder.version}" if self._embedder else None,
            embedding_reason=self._absence,
        )

    def close(self) -> None:
        """Give the memory back. The library can be used again; it is loaded anew then."""
        with self._loading:
            self._cascade = None

    def __enter__(self) -> Library:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _current(self, folders: Sequence[Path] | None) -> Cascade:
        """The library as it is now, loaded again when any process changed it or other folders are asked for."""
        with self._loading:
            rows = None if folders is None else self._folder_rows(folders)
            loaded = self._cascade
            if loaded is None or (loaded.changes, loaded.folders) != (self._store.changes(), rows):
                loaded = Cascade(self._store, device=self._device, embedder=self._embedder, folders=rows)
                self._cascade = loaded
            return loaded

    def _folder_rows(self, folders: Sequence[Path]) -> tuple[int, ...]:
        known = self._store.folders()
        missing = [folder for folder in folders if Path(folder).absolute() not in known]
        if missing:
            raise LibraryError(f"{missing[0]} is not in the library yet.", next_step="Sync that folder first.")
        return tuple(sorted(known[Path(folder).absolute()] for folder in folders))

    def _sync(self, folder: Path, found: scan.Scan, progress: Progress | None) -> SyncReport:
        row = self._store.add_folder(folder)
        known = self._store.known(row)
        reasons = dict(found.unreadable)
        added = updated = unchanged = 0
        for number, file in enumerate(found.files):
            if progress is not None:
                progress(number, len(found.files), file.name)
            before = known.get(file.name)
            try:
                if before is not None and before.stamp == file.stamp:
                    unchanged += 1
                elif self._index(row, file, before.sha256 if before else None):
                    added, updated = added + (before is None), updated + (before is not None)
                else:
                    unchanged += 1
            except PictureError as error:
                reasons[file.name] = error.message
            except OSError as error:
                reasons[file.name] = f"{file.path} cannot be read ({error.strerror or error})."
        present = {file.name for file in found.files} - reasons.keys()
        gone = [name for name in known if name not in present]
        if gone:
            self._store.remove_pictures(row, gone)
        self._store.put_unreadable(row, reasons)
        self._embed_missing()
        if progress is not None:
            progress(len(found.files), len(found.files), "")
        unreadable = tuple((folder / name, reason) for name, reason in sorted(reasons.items()))
        empty = (
            () if found.files or reasons else (f"{folder} has no pictures in it: there is nothing to compare with.",)
        )
        return SyncReport(folder, added, updated, len(gone), unchanged, unreadable, empty)

    def _index(self, row: int, file: Found, before: str | None) -> bool:
        """Read one file and keep it; False when only its time had changed."""
        sha256 = sha256_file(file.path)
        if not self._store.put_picture(row, file.name, file.stamp, sha256):
            content = cascade.analyse(read(file.path), sha256, self._embedder)
            self._store.put_picture(row, file.name, file.stamp, content)
        return sha256 != before

    def _embed_missing(self) -> None:
        """Give references that were indexed without this embedder their embedding."""
        if self._embedder is None:
            return
        for content, paths in self._store.missing(self._embedder.algorithm, self._embedder.version).items():
            try:
                vector = cascade.embed_vector(read(paths[0]), self._embedder)
            except GuardError:
                continue  # Changed since it was indexed: the next scan tells.
            self._store.add_vectors(content, [vector])

    def _match(self, picture: NormalPicture, state: Cascade, entry: Comparison, limits: dict[str, float]) -> Match:
        reference = state.paths[entry.content][0]
        shares = (entry.evidence.share_query, entry.evidence.share_reference)
        name = scores.readable(Path(reference.name))
        return Match(
            reference=reference,
            probability=entry.probability,
            dimensions=Dimensions(
                visual_overlap=max(shares),
                structure=entry.evidence.agreeing,
                colour=scores.colour_similarity(picture, entry.reference),
                semantic=entry.semantic,
            ),
            copied_share_picture=shares[0],
            copied_share_reference=shares[1],
            algorithm=f"{features.ALGORITHM} {features.VERSION}, calibration {calibration.version()}",
            geometry=_geometry(entry),
            summary=scores.summarise(name, entry.probability, shares, entry.semantic, limits),
        )

    def _notes(self, references: int) -> tuple[str, ...]:
        notes = []
        if references == 0:
            notes.append("The library is empty: there was nothing to compare with.")
        if self._embedder is None:
            notes.append(f"No semantic comparison: {self._absence}.")
        return tuple(notes)


def _worth_telling(entry: Comparison, limits: dict[str, float]) -> bool:
    likely = entry.probability >= min(_LEAST_PROBABILITY, limits["review"])
    return likely or (entry.semantic is not None and entry.semantic >= limits["semantic_review"])


def _geometry(entry: Comparison) -> Geometry | None:
    if entry.model is None or entry.agreement is None:
        return None
    return Geometry(
        matrix=tuple(tuple(row) for row in entry.agreement.matrix.tolist()),
        orientation=entry.orientation,
        inverted=entry.model.inverted,
        inliers=entry.model.inliers,
        correlation=entry.agreement.correlation,
        lines=tuple(tuple(line) for line in entry.model.lines[:MOST_LINES].tolist()),
    )
