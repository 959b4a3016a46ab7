"""The cascade: cheap comparisons with the whole library propose candidates, expensive ones convict or clear them.

A: hashes and directions of edges in eight orientations. B: embeddings, when trained weights are there. C: votes of local features.
D: for each candidate a geometric model, dense agreement after alignment, and from both a calibrated probability.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from provenance_guard.similarity import (
    alignment,
    calibration,
    features,
    geometry,
    gradients,
    hashes,
    references,
    sanity,
    shared,
    vocabulary,
)
from provenance_guard.similarity.calibration import Evidence
from provenance_guard.similarity.comparison import Comparison, Semantic, with_agreement
from provenance_guard.similarity.embedding import Embedder
from provenance_guard.similarity.features import LocalFeatures
from provenance_guard.similarity.geometry import Model
from provenance_guard.similarity.index import ExactIndex, HashIndex
from provenance_guard.similarity.local import LocalLibrary
from provenance_guard.similarity.normalise import NormalPicture, fitted_size, from_pixels
from provenance_guard.similarity.references import Notice, Notices
from provenance_guard.similarity.segments import Rows, Vector
from provenance_guard.similarity.store import Content, Store

THUMBNAIL_SIDE = 384

_HASH_CANDIDATES = 6
_GRADIENT_CANDIDATES = 4
_LOCAL_CANDIDATES = 24
_SEMANTIC_CANDIDATES = 3
_LEAST_HASH_COSINE = 0.3
_ALIGNED_CANDIDATES = 5
_MOSTLY_COMMON = 0.5
_BACKGROUND_REFERENCES, _BACKGROUND_RANKS = 256, 10


class _Vectors:
    """The half-precision vectors of one algorithm, ready to be searched."""

    def __init__(
        self, rows: Rows, among: NDArray[np.int64] | None, device: str | torch.device, before: _Vectors | None
    ) -> None:
        """``among``: the contents that take part, all of them when None; ``before``: the same vectors as they were loaded until now."""
        self.file, self.contents, self.used = rows.file, rows.contents, rows.used(among)
        self.vectors: NDArray[np.float16] = rows.data.view("<f2")
        grown = before if before is not None and before.file == self.file else None
        self.index: ExactIndex = ExactIndex(self.vectors, device, used=self.used, before=grown.index if grown else None)


@dataclass(frozen=True)
class _HashHit:
    """The best hash comparison with one reference: its cosine, and how the query was turned and trimmed for it."""

    cosine: float
    orientation: int
    trimmed: tuple[bool, bool]
    inverted: bool


def analyse(picture: NormalPicture, sha256: str, embedder: Embedder | None) -> Content:
    """Everything that the library keeps of a reference."""
    local = features.describe(picture, features.REFERENCE_COUNT)
    packed = features.pack(local)
    thumbnail = _thumbnail(picture)
    vectors = [
        Vector(hashes.ALGORITHM, hashes.VERSION, hashes.hash_reference(picture).tobytes()),
        Vector(features.ALGORITHM, features.VERSION, packed, len(local)),
        word_vector(packed),
        gradient_vector(thumbnail),
    ]
    if embedder is not None:
        vectors.append(embed_vector(picture, embedder))
    return Content(sha256, picture.size, thumbnail, tuple(vectors))


def word_vector(packed: bytes) -> Vector:
    """The visual words of a reference's packed features."""
    return Vector(vocabulary.ALGORITHM, vocabulary.VERSION, vocabulary.pack(packed))


def gradient_vector(thumbnail: bytes) -> Vector:
    """The directions of edges of a reference, from its small JPEG."""
    return Vector(gradients.ALGORITHM, gradients.VERSION, gradients.pack(Image.open(io.BytesIO(thumbnail))))


def embed_vector(picture: NormalPicture, embedder: Embedder) -> Vector:
    """The embedding of a reference as it is kept: half precision."""
    row = embedder.embed([picture.image]).astype(np.float16)
    return Vector(embedder.algorithm, embedder.version, row.tobytes())


class Cascade:
    """One state of a library, ready to be searched. Immutable: a changed library gets a new one."""

    def __init__(
        self,
        store: Store,
        *,
        device: str | torch.device,
        embedder: Embedder | None,
        folders: tuple[int, ...] | None = None,
        before: Cascade | None = None,
    ) -> None:
        """``folders`` are the row numbers of the reference folders to search, all of them when None. What was loaded ``before`` for
        the same library and device is taken over."""
        self.changes = store.changes()
        self.folders = folders
        self._store = store
        self._embedder = embedder
        self._among = None if folders is None else store.contents_in(folders)
        self._notices = {
            row: references.parse(text, Path(references.FILE_NAME)) for row, text in store.notices().items()
        }
        self._hash_contents, packed = self._select(hashes.ALGORITHM, hashes.VERSION)
        self._hashes = HashIndex(packed.reshape(-1, hashes.BITS // 8))
        self._gradients: _Vectors = _Vectors(
            store.rows(gradients.ALGORITHM, gradients.VERSION),
            self._among,
            device,
            before._gradients if before else None,
        )
        rows = store.rows(features.ALGORITHM, features.VERSION)
        words = store.rows(vocabulary.ALGORITHM, vocabulary.VERSION)
        self._local: LocalLibrary = LocalLibrary(rows, words, torch.device(device), before._local if before else None)
        self._local_used = rows.used(self._among)
        self._semantic: _Vectors | None = None
        if embedder is not None:
            self._semantic = _Vectors(
                store.rows(embedder.algorithm, embedder.version),
                self._among,
                device,
                before._semantic if before else None,
            )
            # Pictures that are no reference of anybody.
            self._drawn: NDArray[np.float32] = before._drawn if before else embedder.embed(sanity.draw_pictures())

    def _select(self, algorithm: str, version: str) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        """The contents to be searched and their vectors; not copied when nothing is left out."""
        rows = self._store.rows(algorithm, version)
        used = rows.used(self._among)
        return (rows.contents, rows.data) if used.all() else (rows.contents[used], rows.data[used])

    def __len__(self) -> int:
        return len(self._hash_contents)

    def compare(self, picture: NormalPicture) -> list[Comparison]:
        """Every candidate for ``picture``, most probable first."""
        if not len(self):
            return []
        local = features.describe(picture, features.QUERY_COUNT)
        hits = self._by_hash(picture)
        semantic = self._by_embedding(picture)
        models = self._by_features(local, [*_variants_of(hits), *self._by_gradients(picture)])
        candidates = {*hits, *semantic, *_strongest(models)}
        verified = [
            self._verify(picture, content, models.get(content), hits.get(content), semantic.get(content))
            for content in sorted(candidates)
        ]
        found = [entry for entry in verified if entry is not None]
        found = [shared.without_shared(picture, entry, found, len(self)) for entry in found]
        return sorted(found, key=lambda entry: -entry.probability)

    def _by_hash(self, picture: NormalPicture) -> dict[int, _HashHit]:
        """Stage A: the references with the nearest hashes."""
        queries = hashes.hash_orientations(picture).reshape(16, -1)
        both = np.concatenate([queries, ~queries])
        # Each reference has two rows, one whole and one without its frame.
        bits, rows = self._hashes.search(both, 2 * _HASH_CANDIDATES)
        scores = 1 - 2 * bits / hashes.BITS
        hits: dict[int, _HashHit] = {}
        for query in range(len(both)):
            view, orientation = divmod(query % 16, 8)
            for cosine, row in zip(scores[query].tolist(), rows[query].tolist(), strict=True):
                content = int(self._hash_contents[row // 2])
                if cosine >= _LEAST_HASH_COSINE and (content not in hits or cosine > hits[content].cosine):
                    hits[content] = _HashHit(cosine, orientation, (view == 1, row % 2 == 1), query >= 16)
        best = sorted(hits, key=lambda content: -hits[content].cosine)[:_HASH_CANDIDATES]
        return {content: hits[content] for content in best}

    def _by_gradients(self, picture: NormalPicture) -> list[tuple[int, int]]:
        """Stage A, too: the references whose edges run alike, each with the variants of the features to try; edges have no sign."""
        cosines, rows = self._gradients.index.search(
            gradients.describe_orientations(picture.image), _GRADIENT_CANDIDATES
        )
        best: dict[int, tuple[float, int]] = {}
        for orientation in range(len(rows)):
            for cosine, row in zip(cosines[orientation].tolist(), rows[orientation].tolist(), strict=True):
                content = int(self._gradients.contents[row])
                best[content] = max(best.get(content, (cosine, orientation)), (cosine, orientation))
        nearest = sorted(best, key=lambda content: -best[content][0])[:_GRADIENT_CANDIDATES]
        mirrored = {content: int(best[content][1] in hashes.MIRRORED) for content in nearest}
        return [(content, mirrored[content] + inverted) for content in nearest for inverted in (0, 2)]

    def _by_embedding(self, picture: NormalPicture) -> dict[int, Semantic]:
        """Stage B: the references with the nearest embeddings.

        Cosines are normalised by a background set (Pizzi et al. 2022): the mean of the ten largest cosines with pictures drawn by
        code and with a sample of the other references is taken away.
        """
        if self._embedder is None or self._semantic is None or not len(self._semantic.index):
            return {}
        vector = self._embedder.embed([picture.image])
        scores, rows = self._semantic.index.search(vector, _SEMANTIC_CANDIDATES)
        used = np.flatnonzero(self._semantic.used)
        sample = np.setdiff1d(used[np.linspace(0, len(used) - 1, _BACKGROUND_REFERENCES).astype(int)], rows[0])
        others = np.concatenate([self._drawn, self._semantic.vectors[sample].astype(np.float32)])
        level = float(np.sort(others @ vector[0])[-_BACKGROUND_RANKS:].mean())
        return {
            int(self._semantic.contents[row]): Semantic(float(score), float(score) - level)
            for score, row in zip(scores[0], rows[0], strict=True)
        }

    def _by_features(self, local: LocalFeatures, proposed: Sequence[tuple[int, int]]) -> dict[int, Model]:
        """Stage C: the references with most votes, and those ``proposed`` by other stages (content, variant), for which a geometric
        model is found."""
        if not len(local):
            return {}
        variants = [features.variant(local, index) for index in range(len(features.VARIANTS))]
        votes, common = self._local.votes(variants, self._local_used)
        # A watermark that many references bear makes no copy. But where most of a picture is in many references, they are its copies.
        doubtful = [shared & (shared.mean() <= _MOSTLY_COMMON) for shared in common]
        best = np.argsort(-votes, axis=None, kind="stable")[:_LOCAL_CANDIDATES]
        voted = [divmod(int(flat), votes.shape[1]) for flat in best if votes.flat[flat] > 0]
        others = [(index, row) for content, index in proposed for row in self._local.numbers_of(content)]
        models: dict[int, Model] = {}
        for index, row in dict.fromkeys(voted + others):
            model = geometry.propose_from_features(
                variants[index], self._local.features_of(row), index, doubtful[index]
            )
            content = self._local.content(row)
            if model is not None and (content not in models or _certainty(model) > _certainty(models[content])):
                models[content] = model
        return models

    def _verify(
        self, picture: NormalPicture, content: int, model: Model | None, hit: _HashHit | None, semantic: Semantic | None
    ) -> Comparison | None:
        """Stage D: lay the reference over the picture by each proposed model and keep the most convincing one."""
        jpeg, described = self._store.thumbnail(content), self._describe(content)
        if jpeg is None or described is None:  # Removed by another process meanwhile.
            return None
        thumbnail = Image.open(io.BytesIO(jpeg)).convert("RGB")
        reference = from_pixels(thumbnail, thumbnail.size)
        nothing = Evidence(
            inliers=model.inliers if model else 0,
            support=model.support if model else 0.0,
            residual=model.residual if model else 0.0,
            hash_cosine=hit.cosine if hit else 0.0,
        )
        best = Comparison(*described, nothing, 0.0, None, None, semantic, "", reference)
        proposals = [model] if model is not None else []
        if hit is not None:
            by_hash = geometry.propose_from_hash(
                picture, reference, hit.orientation, trimmed=hit.trimmed, inverted=hit.inverted
            )
            lines = model.lines if model is not None else by_hash.lines
            proposals.append(replace(by_hash, inliers=nothing.inliers, lines=lines))
        for proposal in proposals:
            agreement = alignment.compare_aligned(picture, reference, proposal)
            if agreement is None:
                continue
            evidence = with_agreement(nothing, agreement)
            probability = calibration.probability(evidence, len(self))
            if best.model is None or probability > best.probability:
                orientation = geometry.orientation_of(agreement.matrix)
                best = Comparison(
                    *described, evidence, probability, proposal, agreement, semantic, orientation, reference
                )
        return best

    def _describe(self, content: int) -> tuple[Path, Notice] | None:
        """Where a reference lies and what is said of it; of several files that hold it, the first that is not cleared."""
        files = self._store.files_of(content, self.folders)
        found = [(folder / name, self._notices.get(row, Notices()).of(name)) for row, folder, name in files]
        return min(found, key=lambda entry: entry[1].cleared, default=None)


def _variants_of(hits: Mapping[int, _HashHit]) -> list[tuple[int, int]]:
    """In which variant of the features the picture is that each hash was found for: (content, variant)."""
    return [(content, int(hit.orientation in hashes.MIRRORED) + 2 * int(hit.inverted)) for content, hit in hits.items()]


def _certainty(model: Model) -> tuple[bool, float]:
    """What makes one model of a reference better than another: of those that fit to the pixel the one with most support, which is not
    by accident; of the others the one that fits best."""
    return model.precise, model.inliers if model.precise else calibration.precision(model.inliers, model.residual)


def _strongest(models: Mapping[int, Model]) -> set[int]:
    """The contents whose models have most support: precise support finds small rigid copies, plain support warped ones."""
    by_count = sorted(models, key=lambda content: -models[content].inliers)[:_ALIGNED_CANDIDATES]
    precision = {content: calibration.precision(model.inliers, model.residual) for content, model in models.items()}
    by_precision = sorted(models, key=lambda content: -precision[content])[:_ALIGNED_CANDIDATES]
    return {*by_count, *by_precision}


def _thumbnail(picture: NormalPicture) -> bytes:
    size = fitted_size(picture.image.size, THUMBNAIL_SIDE)
    image = picture.image.resize(size, Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=90, subsampling=0)
    return stream.getvalue()
