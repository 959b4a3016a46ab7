"""Where and how one picture lies in another: a geometric model from local features or from hashes.

Positions are shares of a picture's longest side. A model maps the reference into the query. Each feature match alone proposes a
similarity transform (Lowe 2004, section 7); the proposal with most support is refined to an affine model by least squares, so the
result is the same every time. Counting supporters is not enough to convict: see ``alignment``.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from provenance_guard.similarity import features, hashes
from provenance_guard.similarity.features import LocalFeatures
from provenance_guard.similarity.normalise import NormalPicture, trim_frame

Matrix = NDArray[np.float64]
"""An affine model: shape (2, 3), reference shares of the longest side to query shares of the longest side."""

_RATIO = 0.9
_LOOSE, _TIGHT = 0.06, 0.02
_PROJECTIVE = 10
_BENT, _EVENLY = 45, 0.5 / 640
"""From so many matches on, one smooth bend of the whole picture is tried; it must explain them to half a pixel."""
_FEWEST = 4
"""Two matches make a similarity, and among many a third agrees by chance."""
_CERTAIN = ((8, 1 / 640), (15, 1.5 / 640))
"""So many supporters with so small a residual leave no doubt about the place: a pixel, or a little more in a blurred copy."""
_SMALLEST_SCALE, _LARGEST_SCALE, _MOST_STRETCHED = 0.08, 10.0, 2.5


@dataclass(frozen=True)
class Model:
    """A proposal: ``matrix``, whether the query is a negative, how many features support it and where they are.

    ``support`` is the share of all feature matches that support it. ``residual`` is how far these lie from the best flat
    (projective) or evenly bent model, the median, as a share of the reference's longest side: small for a copy, larger for another
    photograph of a scene with depth. ``lines`` is (n, 4): x and y in the reference, x and y in the query.
    """

    matrix: Matrix
    inverted: bool
    inliers: int
    support: float
    residual: float
    lines: NDArray[np.float64]
    method: str
    precise: bool = False
    """Enough features fit to the pixel, so that there is no doubt about the place."""


def propose_from_features(
    query: LocalFeatures, reference: LocalFeatures, variant: int, common: NDArray[np.bool_]
) -> Model | None:
    """The model that most feature matches support, or None; ``query`` is given in a variant (index into ``features.VARIANTS``).

    Features of the query that are ``common`` (n) among references, as those of a watermark are, take part only when the others make no
    model, and then they must fit to the pixel: plain blobs are alike in many pictures, but not in one arrangement.
    """
    if min(len(query), len(reference)) < _FEWEST:
        return None
    pairs = _match(query, reference)
    model = _propose(query, reference, variant, pairs[~common[pairs[:, 0]]])
    if model is None and common.any():
        model = _propose(query, reference, variant, pairs)
        return model if model is not None and model.precise else None
    return model


def _propose(query: LocalFeatures, reference: LocalFeatures, variant: int, pairs: NDArray[np.int64]) -> Model | None:
    if len(pairs) < _FEWEST:
        return None
    q, r = query.points[pairs[:, 0]].astype(np.float64), reference.points[pairs[:, 1]].astype(np.float64)
    scale = q[:, 2] / np.maximum(r[:, 2], 1e-6)
    turn = q[:, 3] - r[:, 3]
    cos, sin = scale * np.cos(turn), scale * np.sin(turn)
    shift_x = q[:, 0] - (cos * r[:, 0] - sin * r[:, 1])
    shift_y = q[:, 1] - (sin * r[:, 0] + cos * r[:, 1])
    # error[i, j]: how far match j lies from where the similarity of match i puts it.
    error_x = np.outer(cos, r[:, 0]) - np.outer(sin, r[:, 1]) + shift_x[:, None] - q[None, :, 0]
    error_y = np.outer(sin, r[:, 0]) + np.outer(cos, r[:, 1]) + shift_y[:, None] - q[None, :, 1]
    near = np.hypot(error_x, error_y) < _LOOSE * np.clip(scale, 0.15, 1.0)[:, None]
    alike = np.abs(np.log(scale)[:, None] - np.log(scale)[None]) < 0.6
    turned = np.abs((turn[:, None] - turn[None] + np.pi) % (2 * np.pi) - np.pi) < 0.5
    support = near & alike & turned
    best = int(support.sum(axis=1).argmax())
    inside = support[best]
    matrix = np.array([[cos[best], -sin[best], shift_x[best]], [sin[best], cos[best], shift_y[best]]])
    for tolerance in (_LOOSE, _LOOSE / 2, _TIGHT, _TIGHT):
        if _distinct(r[inside], q[inside]) < _FEWEST:
            return None
        matrix = _fit(r[inside, :2], q[inside, :2], matrix)
        size = float(np.clip(np.sqrt(abs(np.linalg.det(matrix[:, :2]))), 0.15, 1.0))
        inside = (_error(matrix, r[:, :2], q[:, :2]) < tolerance * size) & alike[best] & turned[best]
    count = _distinct(r[inside], q[inside])
    if count < _FEWEST or not _plausible(matrix):
        return None
    residual = _residual(matrix, r[inside, :2], q[inside, :2]) / size
    lines = np.hstack([r[inside, :2], q[inside, :2]])
    if variant in (1, 3):
        matrix = np.array([[-1.0], [1.0]]) * matrix
        lines[:, 2] *= -1
    precise = any(count >= least and residual < limit for least, limit in _CERTAIN)
    return Model(matrix, variant >= 2, count, count / len(pairs), residual, lines, "features", precise)


def propose_from_hash(
    query: NormalPicture, reference: NormalPicture, orientation: int, *, trimmed: tuple[bool, bool], inverted: bool
) -> Model:
    """The model that lays the whole reference (or what is inside its frame) onto the whole query, in one of eight orientations."""
    target = _corners(query, trimmed=trimmed[0])
    source = _corners(reference, trimmed=trimmed[1])
    # The corners of the query are put in the order they have after it was oriented like the reference.
    order = np.arange(4, dtype=np.uint8).reshape(2, 2)
    turned = np.asarray(hashes.orient(Image.fromarray(order), orientation)).reshape(-1)
    matrix = _solve_affine(source, target[turned])
    return Model(matrix, inverted, 0, 0.0, 0.0, np.zeros((0, 4)), "hash")


def _match(query: LocalFeatures, reference: LocalFeatures) -> NDArray[np.int64]:
    """Pairs (query, reference) of descriptors that are each other's best, clearly better than the next best elsewhere."""
    pairs = [np.zeros((0, 2), np.int64)]
    for bright in (True, False):
        mine, theirs = np.flatnonzero(query.bright == bright), np.flatnonzero(reference.bright == bright)
        if len(mine) and len(theirs):
            found = _match_alike(query.descriptors[mine], reference.descriptors[theirs], reference.points[theirs])
            pairs.append(np.stack([mine[found[:, 0]], theirs[found[:, 1]]], axis=1))
    return np.concatenate(pairs)


def _match_alike(
    query: NDArray[np.int8], reference: NDArray[np.int8], points: NDArray[np.float32]
) -> NDArray[np.int64]:
    cosines = query.astype(np.float32) @ reference.astype(np.float32).T / np.float32(features.SCALE**2)
    best = cosines.argmax(axis=1)
    rows = np.arange(len(best))
    first = cosines[rows, best]
    # Features at the same spot (a second orientation) are not rivals.
    apart = np.hypot(*(points[:, None, :2] - points[None, :, :2]).transpose(2, 0, 1)) > 0.01
    second = np.where(apart[best], cosines, -1).max(axis=1)
    distinct = np.sqrt(np.maximum(2 - 2 * first, 0)) < _RATIO * np.sqrt(np.maximum(2 - 2 * second, 0))
    mutual = cosines[:, best].argmax(axis=0) == rows
    kept = rows[distinct & (mutual | (first > 0.85))]
    return np.stack([kept, best[kept]], axis=1)


def _distinct(reference: NDArray[np.float64], query: NDArray[np.float64]) -> int:
    """How many places are matched: several features at one spot count once on either side."""
    if not len(reference):
        return 0
    return min(len(np.unique(np.rint(points[:, :2] * 200), axis=0)) for points in (reference, query))


def _fit(source: NDArray[np.float64], target: NDArray[np.float64], fallback: Matrix) -> Matrix:
    """Least-squares affine from six matches on, similarity below; the fallback when they are degenerate."""
    if len(source) >= 6:
        matrix = _solve_affine(source, target)
        return matrix if _plausible(matrix) else fallback
    centre_s, centre_t = source.mean(axis=0), target.mean(axis=0)
    s = (source - centre_s) @ np.array([1, 1j])
    t = (target - centre_t) @ np.array([1, 1j])
    power = float((np.abs(s) ** 2).sum())
    if power < 1e-6:
        return fallback
    factor = complex((np.conj(s) * t).sum()) / power
    linear = np.array([[factor.real, -factor.imag], [factor.imag, factor.real]])
    matrix = np.hstack([linear, (centre_t - linear @ centre_s)[:, None]])
    return matrix if _plausible(matrix) else fallback


def _solve_affine(source: NDArray[np.float64], target: NDArray[np.float64]) -> Matrix:
    design = np.hstack([source, np.ones((len(source), 1))])
    solution: Matrix = np.linalg.lstsq(design, target, rcond=None)[0].T
    return solution


def _plausible(matrix: Matrix) -> bool:
    stretch = np.linalg.svd(matrix[:, :2], compute_uv=False)
    return bool(
        stretch[0] < _LARGEST_SCALE and stretch[1] > _SMALLEST_SCALE and stretch[0] / stretch[1] < _MOST_STRETCHED
    )


def _error(matrix: Matrix, source: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    moved = source @ matrix[:, :2].T + matrix[:, 2]
    return np.hypot(*(moved - target).T)


def _residual(matrix: Matrix, source: NDArray[np.float64], target: NDArray[np.float64]) -> float:
    """The median error of a flat model: projective when there are enough matches to fit one, else ``matrix``; or that of a lens's bend."""
    errors = _error(matrix, source, target)
    if len(source) >= _PROJECTIVE:
        flat, _ = cv2.findHomography(source, target, 0)
        if flat is not None:
            moved = cv2.perspectiveTransform(source[:, None], flat)[:, 0]
            errors = np.minimum(np.median(errors), np.hypot(*(moved - target).T))
    flat_residual = float(np.median(errors))
    if len(source) < _BENT or flat_residual < _EVENLY:
        return flat_residual
    bent = _bent_residual(source, target)
    return bent if bent < _EVENLY else flat_residual


def _bent_residual(source: NDArray[np.float64], target: NDArray[np.float64]) -> float:
    """The median error of the cubic polynomials that fit best: a copy seen through a lens follows one, a scene with depth does not."""
    x, y = 2 * (source - source.mean(axis=0)).T
    terms = np.stack([x**i * y**j for i in range(4) for j in range(4 - i)], axis=1)
    kept = np.ones(len(source), np.bool_)
    errors = np.zeros(len(source))
    for _ in range(3):  # Matches that fit by chance pull at the first ones.
        coefficients = np.linalg.lstsq(terms[kept], target[kept], rcond=None)[0]
        errors = np.hypot(*(terms @ coefficients - target).T)
        kept = errors <= 2 * np.median(errors)
    return float(np.median(errors))


def compose(second: Matrix, first: Matrix) -> Matrix:
    """The model that applies ``first``, then ``second``."""
    return np.hstack([second[:, :2] @ first[:, :2], second[:, :2] @ first[:, 2:] + second[:, 2:]])


def invert(matrix: Matrix) -> Matrix:
    """The model in the other direction."""
    return np.asarray(cv2.invertAffineTransform(matrix), np.float64)


def extent(picture: NormalPicture) -> NDArray[np.float64]:
    """Width and height as shares of the longest side."""
    height, width = picture.grey.shape
    return np.array([width, height], np.float64) / max(width, height)


def _corners(picture: NormalPicture, *, trimmed: bool) -> NDArray[np.float64]:
    """The corners in reading order, of the whole picture or of what is inside its frame."""
    height, width = picture.grey.shape
    left, top, right, bottom = trim_frame(picture.grey) if trimmed else (0, 0, width, height)
    return np.array([[left, top], [right, top], [left, bottom], [right, bottom]], np.float64) / max(width, height)


def orientation_of(matrix: Matrix) -> str:
    """In words, how the reference stands in the picture: the nearest of the eight orientations."""
    angle = round(float(np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0]))) / 90) % 4
    turned = ("upright", "turned right", "upside down", "turned left")[angle]
    if np.linalg.det(matrix[:, :2]) > 0:
        return turned
    mirrored = round(float(np.degrees(np.arctan2(-matrix[1, 0], -matrix[0, 0]))) / 90) % 4
    return ("mirrored", "mirrored and turned right", "mirrored upside down", "mirrored and turned left")[mirrored]
