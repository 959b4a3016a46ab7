"""Set aside what a picture shares with several references: a frame, a watermark, lettering over all of them.

A stranger in the frame of the references agrees with each of them on the frame. What agrees with others as well, laid in the same
place, says nothing about this reference; only the rest of the picture is judged. Versions of one picture are no others, and where most
of the picture agrees it is a copy, however many references hold it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from provenance_guard.similarity import alignment, calibration, hashes
from provenance_guard.similarity.alignment import Agreement
from provenance_guard.similarity.calibration import Evidence
from provenance_guard.similarity.comparison import Comparison, with_agreement
from provenance_guard.similarity.geometry import Matrix
from provenance_guard.similarity.normalise import NormalPicture

_DOUBTFUL = 0.05
_MOSTLY_AGREEING = 0.65
_MOST_OTHERS = 8
_ENOUGH_OTHERS = 2
_VERSION_COSINE = 0.5
_LEAST_SHARED = 0.02


def without_shared(
    picture: NormalPicture, entry: Comparison, candidates: Sequence[Comparison], references: int
) -> Comparison:
    """``entry`` judged without the area that other candidates share; ``references`` is the size of the library."""
    agreement = entry.agreement
    if agreement is None or entry.probability < _DOUBTFUL:
        return entry
    if agreement.agreeing > _MOSTLY_AGREEING and not agreement.is_part:
        return entry
    others = _others(entry, candidates)
    if not others:
        return entry
    common = alignment.area_of_others(agreement, others) >= min(_ENOUGH_OTHERS, len(others))
    common &= agreement.area
    if common.sum() < _LEAST_SHARED * max(agreement.seen.sum(), 1):
        return entry
    evidence = _without_features(entry, agreement, common)
    rest = alignment.measure_again(agreement, agreement.seen & ~common, picture, entry.reference)
    if rest is None:
        nothing = replace(Evidence(), inliers=evidence.inliers, support=evidence.support, residual=evidence.residual)
        return replace(
            entry, evidence=nothing, probability=min(entry.probability, calibration.probability(nothing, references))
        )
    evidence = with_agreement(evidence, rest)
    probability = min(entry.probability, calibration.probability(evidence, references))
    return replace(entry, evidence=evidence, agreement=rest, probability=probability)


def _others(entry: Comparison, candidates: Sequence[Comparison]) -> list[NormalPicture]:
    """The pictures of other candidates that are no version of this one."""
    mine = hashes.signs(hashes.hash_reference(entry.reference))
    others = []
    for other in candidates:
        if other is entry:
            continue
        cosines = (hashes.signs(hashes.hash_reference(other.reference)) * mine).mean(axis=1)
        if cosines[1] < _VERSION_COSINE:
            others.append(other.reference)
    return others[:_MOST_OTHERS]


def _without_features(entry: Comparison, agreement: Agreement, common: NDArray[np.bool_]) -> Evidence:
    """The evidence of the features that lie outside the shared area."""
    lines = entry.model.lines if entry.model is not None else np.zeros((0, 4))
    inside = _in_area(lines[:, 2:], agreement.frame, common)
    kept = 1 - float(inside.mean()) if len(inside) else 1.0
    inliers = round(entry.evidence.inliers * kept)
    return replace(entry.evidence, inliers=inliers, support=entry.evidence.support * kept)


def _in_area(points: NDArray[np.float64], frame: Matrix, area: NDArray[np.bool_]) -> NDArray[np.bool_]:
    pixels = np.rint(points @ frame[:, :2].T + frame[:, 2]).astype(int)
    inside = (pixels >= 0).all(axis=1) & (pixels[:, 0] < area.shape[1]) & (pixels[:, 1] < area.shape[0])
    found = np.zeros(len(points), np.bool_)
    found[inside] = area[pixels[inside, 1], pixels[inside, 0]]
    return found
