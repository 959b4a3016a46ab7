"""The reference library: the user's pictures, indexed once and kept up to date, and the screen against them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

import torch
from PIL import Image

from provenance_guard.errors import LibraryError
from provenance_guard.similarity import calibration, features, indexing, scan, scores
from provenance_guard.similarity.cascade import Cascade
from provenance_guard.similarity.comparison import Comparison
from provenance_guard.similarity.embedding import Embedder, EmbeddingAbsence, without_composition
from provenance_guard.similarity.explain import MOST_LINES
from provenance_guard.similarity.indexing import Progress, SyncReport
from provenance_guard.similarity.normalise import NormalPicture, normalise
from provenance_guard.similarity.scores import Dimensions, Geometry, Match, Verdict
from provenance_guard.similarity.store import Store

_NO_EMBEDDER = EmbeddingAbsence("no weight file is configured")
_LEAST_PROBABILITY = 0.05
_MOST_MATCHES = 5
_MIGRATED = "The library was brought to the format of this version."


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
        self._fallback = ""
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
            report = indexing.sync_folder(self._store, folder, self._embedder, progress)
        if self._store.migrated:
            report = replace(report, notes=(*report.notes, _MIGRATED))
        return report

    def add(self, picture: Path, *, folder: Path | None = None) -> bool:
        """Add one picture file, which the next screen compares with; False when the library had it in this state already.

        It counts as one of ``folder``: by default the reference folder that it lies in, or else the folder of the file, whose other
        pictures come in when that is synced. Raises PictureError when it cannot be read, LibraryError when it is not in ``folder``
        or the library cannot be written.
        """
        picture = Path(picture).absolute()
        if folder is None:
            known = [path for path in self._store.folders() if picture.is_relative_to(path)]
            folder = max(known, key=lambda path: len(path.parts), default=picture.parent)
        folder = Path(folder).absolute()
        if not picture.is_relative_to(folder):
            raise LibraryError(
                f"{picture} is not in the folder {folder}.", next_step="Name a folder that holds the picture."
            )
        scan.check_folder(folder, self._store.folder)
        with self._syncing:
            return indexing.add_picture(self._store, picture, folder, self._embedder)

    def remove(self, path: Path) -> int:
        """Forget a reference folder, or a single picture of one until its folder is synced again; the number of pictures forgotten."""
        path = Path(path).absolute()
        for folder, row in self._store.folders().items():
            if folder == path:
                count = len(self._store.known(row))
                self._store.remove_folder(row)
                return count
            name = path.relative_to(folder).as_posix() if path.is_relative_to(folder) else ""
            if name and self._store.known(row, name):
                self._store.remove_pictures(row, [name])
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
        state, compared = self._compare(picture, folders)
        worthy = [entry for entry in compared if _worth_telling(entry, limits)]
        judged = [(entry, _match(picture, entry, limits)) for entry in worthy]
        judged.sort(key=lambda pair: scores.gravity(pair[1].level), reverse=True)  # Stable: then most probable first.
        worthy, found = [entry for entry, _ in judged], [match for _, match in judged]
        matches = (*self._with_style(picture, worthy[:_MOST_MATCHES], found), *found[_MOST_MATCHES:])
        seconds = time.perf_counter() - started
        level = scores.level_of(matches)
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

    def hand_back(self) -> None:
        """Give the memory of the device back, and that of the library. The next screen loads it anew."""
        with self._loading:
            self._cascade = None
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def close(self) -> None:
        """As ``hand_back``: the library can be used again, nothing else is open."""
        self.hand_back()

    def __enter__(self) -> Library:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _compare(self, picture: NormalPicture, folders: Sequence[Path] | None) -> tuple[Cascade, list[Comparison]]:
        """What the cascade says; on the CPU from now on when the memory of the device is short."""
        try:
            state = self._current(folders)
            return state, state.compare(picture)
        except torch.cuda.OutOfMemoryError:
            if self._device.type == "cpu":
                raise
            self._fallback = f"The memory of {self._device} was short: compared on the CPU."
            self.hand_back()
            self._device = torch.device("cpu")
            return self._compare(picture, folders)

    def _current(self, folders: Sequence[Path] | None) -> Cascade:
        """The library as it is now; what is loaded already is taken over when a process changed it or other folders are asked for."""
        with self._loading:
            rows = None if folders is None else self._folder_rows(folders)
            loaded = self._cascade
            if loaded is None:
                indexing.complete_words(self._store)
            if loaded is None or (loaded.changes, loaded.folders) != (self._store.changes(), rows):
                loaded = Cascade(
                    self._store, device=self._device, embedder=self._embedder, folders=rows, before=self._cascade
                )
                self._cascade = loaded
            return loaded

    def _folder_rows(self, folders: Sequence[Path]) -> tuple[int, ...]:
        known = self._store.folders()
        missing = [folder for folder in folders if Path(folder).absolute() not in known]
        if missing:
            raise LibraryError(f"{missing[0]} is not in the library yet.", next_step="Sync that folder first.")
        return tuple(sorted(known[Path(folder).absolute()] for folder in folders))

    def _with_style(
        self, picture: NormalPicture, entries: Sequence[Comparison], matches: Sequence[Match]
    ) -> Iterator[Match]:
        """The matches that are told, with their style when there is an embedder."""
        if self._embedder is None or not entries:
            yield from matches[: len(entries)]
            return
        shuffled = [without_composition(p.image) for p in (picture, *(entry.reference for entry in entries))]
        vectors = self._embedder.embed(shuffled)
        for match, cosine in zip(matches, vectors[1:] @ vectors[0], strict=False):
            yield replace(match, dimensions=replace(match.dimensions, style=float(cosine)))

    def _notes(self, references: int) -> tuple[str, ...]:
        notes = []
        if references == 0:
            notes.append("The library is empty: there was nothing to compare with.")
        if self._embedder is None:
            notes.append(f"No semantic comparison: {self._absence}.")
        if self._fallback:
            notes.append(self._fallback)
        return tuple(notes)


def _worth_telling(entry: Comparison, limits: dict[str, float]) -> bool:
    likely = entry.probability >= min(_LEAST_PROBABILITY, entry.notice.limits(limits)["review"])
    return likely or (entry.semantic is not None and entry.semantic.cosine >= limits["semantic_review"])


def _geometry(entry: Comparison) -> Geometry | None:
    if entry.model is None or entry.agreement is None:
        return None
    return Geometry(
        matrix=tuple(tuple(row) for row in entry.agreement.matrix.tolist()),
        orientation=entry.orientation,
        inverted=entry.model.inverted,
        inliers=entry.model.inliers,
        correlation=entry.agreement.correlation,
        precise=entry.model.precise,
        lines=tuple(tuple(line) for line in entry.model.lines[:MOST_LINES].tolist()),
    )


def _match(picture: NormalPicture, entry: Comparison, asked: dict[str, float]) -> Match:
    shares = (entry.evidence.share_query, entry.evidence.share_reference)
    limits = entry.notice.limits(asked)
    cosine = entry.semantic.cosine if entry.semantic else None
    return Match(
        reference=entry.file,
        probability=entry.probability,
        dimensions=Dimensions(
            visual_overlap=max(shares),
            structure=entry.evidence.agreeing,
            colour=scores.colour_similarity(picture, entry.reference),
            semantic=cosine,
            semantic_above_background=entry.semantic.above if entry.semantic else None,
        ),
        copied_share_picture=shares[0],
        copied_share_reference=shares[1],
        algorithm=f"{features.ALGORITHM} {features.VERSION}, calibration {calibration.version()}",
        geometry=_geometry(entry),
        summary=scores.summarise(scores.readable(Path(entry.file.name)), entry.probability, shares, cosine, limits)
        + (", and cleared" if entry.notice.cleared else ""),
        notice=entry.notice,
        level=scores.judge(entry.probability, cosine, entry.notice, limits),
    )
