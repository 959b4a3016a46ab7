"""Dense agreement: lay the reference over the query by a geometric model, and compare the two window by window.

Other photographs of the same building share many features with a reference, but they do not lock into place: every depth moves
differently and the light is another. In a copy the windows correlate all over the copied area. The measure is normalised
cross-correlation, so brightness, contrast and colour do not count, only structure.

Where features fit to the pixel, the place is certain, and two more things are allowed: a window may agree as a negative (colours
turned, or a negative of the light parts alone, change which side of an edge is the brighter one), and when features were matched in
one part of the reference only, that part is judged by itself (a part of it was pasted into another picture).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from provenance_guard.similarity.geometry import Matrix, Model, compose, extent, invert
from provenance_guard.similarity.normalise import NormalPicture, fitted_size

_DENSE_SIDE = 224
_WINDOW = 15
_AGREES = 0.6
_PLAIN = 4.0
_LEAST_OVERLAP_PIXELS = 24
_MARGIN = 0.15
_PART = 0.7
_LEAST_WINDOWS = 8


@dataclass(frozen=True)
class Agreement:
    """How well the aligned pictures agree. Shares are 0..1.

    ``correlation`` is the median normalised cross-correlation of the windows with content, ``best_correlation`` what the best fifth
    of them reach (an overlay spoils some windows, not all), ``agreeing`` the share of them above 0.6, ``windows`` how many
    independent windows were compared; ``share_query`` and ``share_reference`` the areas that agree.
    ``query`` and ``reference`` are the aligned pictures (grey, H x W), ``area`` the agreeing pixels in them, ``seen`` those that were
    compared; ``frame`` maps shares of the query to their pixels. ``sign_free``: windows may agree as negatives;
    ``is_part``: only where features were matched, not wherever the reference lies.
    """

    correlation: float
    best_correlation: float
    agreeing: float
    windows: float
    share_query: float
    share_reference: float
    matrix: Matrix
    query: NDArray[np.uint8]
    reference: NDArray[np.uint8]
    area: NDArray[np.bool_]
    seen: NDArray[np.bool_]
    frame: Matrix
    sign_free: bool
    is_part: bool = False


def compare_aligned(query: NormalPicture, reference: NormalPicture, model: Model) -> Agreement | None:
    """Lay the reference over the query, refine the model on the pixels, and compare. None when they hardly overlap."""
    frame = _overlap_frame(query, reference, model.matrix)
    if frame is None:
        return None
    placing, size = frame
    left, seen_left = _render(query.grey, placing, size)
    left = np.asarray(255 - left if model.inverted else left, dtype=np.uint8)
    to_pixels = compose(placing, model.matrix)
    right, seen_right = _render(reference.grey, to_pixels, size)
    areas = _drawn_area(query, placing), _drawn_area(reference, to_pixels)
    best = _measure(areas, left, right, seen_left & seen_right, (placing, to_pixels), sign_free=model.precise)
    correction = _refine(left, right, seen_left & seen_right)
    if correction is not None:
        to_pixels = compose(correction, to_pixels)
        right, seen_right = _render(reference.grey, to_pixels, size)
        areas = areas[0], _drawn_area(reference, to_pixels)
        best = _better(
            best, _measure(areas, left, right, seen_left & seen_right, (placing, to_pixels), sign_free=model.precise)
        )
    if best is not None and model.precise:
        part = measure_again(best, _matched_part(model, best), query, reference)
        if part is not None and part.windows >= _LEAST_WINDOWS:
            best = _better(best, replace(part, is_part=part.seen.sum() < best.seen.sum()))
    return best


def area_of_others(agreement: Agreement, others: Sequence[NormalPicture]) -> NDArray[np.int64]:
    """How many other references agree with the picture too, pixel by pixel, when they are laid where this one lies (H x W)."""
    placing = compose(agreement.frame, agreement.matrix)
    size = (agreement.query.shape[1], agreement.query.shape[0])
    total = np.zeros(agreement.query.shape, np.int64)
    for other in others:
        drawn, seen = _render(other.grey, placing, size)
        correlation, spread = _local_correlation(
            agreement.query, drawn, seen & agreement.seen, sign_free=agreement.sign_free
        )
        total += seen & (spread > _PLAIN) & (correlation > _AGREES)
    return total


def measure_again(
    agreement: Agreement, seen: NDArray[np.bool_], query: NormalPicture, reference: NormalPicture
) -> Agreement | None:
    """The agreement of the same aligned pictures where they are ``seen`` only; None when that is too little."""
    frames = agreement.frame, compose(agreement.frame, agreement.matrix)
    areas = _drawn_area(query, frames[0]), _drawn_area(reference, frames[1])
    return _measure(
        areas, agreement.query, agreement.reference, seen & agreement.seen, frames, sign_free=agreement.sign_free
    )


def _better(first: Agreement | None, second: Agreement | None) -> Agreement | None:
    if first is None or second is None:
        return first or second
    return second if second.agreeing > first.agreeing else first


def _matched_part(model: Model, agreement: Agreement) -> NDArray[np.bool_]:
    """Where features were matched, with a margin (H x W); all that was compared when that is most of it."""
    height, width = agreement.seen.shape
    pixels = model.lines[:, 2:] @ agreement.frame[:, :2].T + agreement.frame[:, 2]
    low, high = np.quantile(pixels, (0.05, 0.95), axis=0)
    margin = _MARGIN * (high - low) + _WINDOW
    (left, top), (right, bottom) = np.rint(low - margin).astype(int), np.rint(high + margin).astype(int)
    inside = np.zeros((height, width), np.bool_)
    inside[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)] = True
    inside &= agreement.seen
    return inside if inside.sum() < _PART * agreement.seen.sum() else agreement.seen


def _overlap_frame(
    query: NormalPicture, reference: NormalPicture, matrix: Matrix
) -> tuple[Matrix, tuple[int, int]] | None:
    """A pixel frame (shares of the query to pixels, size) around the overlap; neither picture is enlarged in it."""
    corners = extent(reference) * np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    moved = corners @ matrix[:, :2].T + matrix[:, 2]
    low = np.maximum(moved.min(axis=0), 0)
    high = np.minimum(moved.max(axis=0), extent(query))
    if np.any(high - low <= 0.01):
        return None
    enlarged = np.sqrt(abs(np.linalg.det(matrix[:, :2])))
    finest = min(max(query.grey.shape), max(reference.grey.shape) / enlarged)
    wide, tall = ((high - low) * finest).tolist()
    fitted = fitted_size((wide, tall), _DENSE_SIDE)
    scale = finest * min(max(fitted) / max(wide, tall), 1.0)
    width, height = (int(side) for side in np.ceil((high - low) * scale))
    if min(width, height) < _LEAST_OVERLAP_PIXELS:
        return None
    return np.array([[scale, 0, -low[0] * scale], [0, scale, -low[1] * scale]]), (width, height)


def _render(
    grey: NDArray[np.uint8], placing: Matrix, size: tuple[int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """The picture drawn by a model from shares to pixels, and which pixels it covers."""
    longest = max(grey.shape)
    enlarged = np.sqrt(abs(np.linalg.det(placing[:, :2]))) / longest
    if enlarged < 0.75:  # Shrink by area first: a plain warp would alias.
        smaller = (max(int(grey.shape[1] * enlarged), 8), max(int(grey.shape[0] * enlarged), 8))
        grey = np.asarray(cv2.resize(grey, smaller, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    # Pixel centres lie at half pixels: share = (pixel + 0.5) / side.
    side_x, side_y = grey.shape[1], grey.shape[0]
    extent = np.array([side_x, side_y]) / max(side_x, side_y)
    to_share = np.array(
        [[extent[0] / side_x, 0, 0.5 * extent[0] / side_x], [0, extent[1] / side_y, 0.5 * extent[1] / side_y]]
    )
    matrix = compose(placing, to_share) - np.array([[0, 0, 0.5], [0, 0, 0.5]])
    drawn = cv2.warpAffine(grey, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    cover = cv2.warpAffine(np.full_like(grey, 255), matrix, size, flags=cv2.INTER_NEAREST)
    return np.asarray(drawn, np.uint8), np.asarray(cover) > 127


def _refine(left: NDArray[np.uint8], right: NDArray[np.uint8], seen: NDArray[np.bool_]) -> Matrix | None:
    """A small affine correction (pixels to pixels) that raises the correlation (Evangelidis and Psarakis 2008), or None."""
    start = np.eye(2, 3, dtype=np.float32)
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 1e-3)
    mask = seen.astype(np.uint8) * 255
    try:
        _, warp = cv2.findTransformECC(_even_out(left), _even_out(right), start, cv2.MOTION_AFFINE, criteria, mask, 5)
    except cv2.error:  # It did not converge: nothing to lock onto.
        return None
    found = np.asarray(warp, np.float64)
    drift = np.abs(found - np.eye(2, 3))
    if drift[:, :2].max() > 0.2 or drift[:, 2].max() > 0.2 * max(left.shape):
        return None
    return invert(found)


def _even_out(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Local contrast alone: without this, frames and shadows outweigh the structure that should lock in."""
    values = grey.astype(np.float32)
    around = (2 * _WINDOW + 1, 2 * _WINDOW + 1)
    mean = cv2.blur(values, around)
    deviation = np.sqrt(np.maximum(cv2.blur(values * values, around) - mean * mean, 0))
    return np.asarray((values - mean) / (deviation + 8), np.float32)


def _drawn_area(picture: NormalPicture, placing: Matrix) -> float:
    return float(extent(picture).prod() * abs(np.linalg.det(placing[:, :2])))


def _measure(
    areas: tuple[float, float],
    left: NDArray[np.uint8],
    right: NDArray[np.uint8],
    seen: NDArray[np.bool_],
    frames: tuple[Matrix, Matrix],
    *,
    sign_free: bool,
) -> Agreement | None:
    """Compare two drawn pictures; ``areas`` are those of whole query and reference in pixels, ``frames`` how they were drawn."""
    correlation, spread = _local_correlation(left, right, seen, sign_free=sign_free)
    content = seen & (spread > _PLAIN)
    compared = int(content.sum())
    if compared < _WINDOW**2:
        return None
    agreeing = content & (correlation > _AGREES)
    middle, top = (float(value) for value in np.percentile(correlation[content], (50, 80)))
    share = float(agreeing.sum() / compared)
    overlap = float(seen.sum())
    return Agreement(
        correlation=middle,
        best_correlation=top,
        agreeing=share,
        windows=compared / _WINDOW**2,
        share_query=min(share * overlap / areas[0], 1.0),
        share_reference=min(share * overlap / areas[1], 1.0),
        matrix=compose(invert(frames[0]), frames[1]),
        query=left,
        reference=right,
        area=agreeing,
        seen=seen,
        frame=frames[0],
        sign_free=sign_free,
    )


def _local_correlation(
    left: NDArray[np.uint8], right: NDArray[np.uint8], seen: NDArray[np.bool_], *, sign_free: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Normalised cross-correlation of the windows around each pixel (-1..1, or 0..1), and the larger standard deviation of the two."""
    weight = _mean(seen.astype(np.float32)) + 1e-6
    a = np.where(seen, left, 0).astype(np.float32)
    b = np.where(seen, right, 0).astype(np.float32)
    mean_a, mean_b = _mean(a) / weight, _mean(b) / weight
    variance_a = np.maximum(_mean(a * a) / weight - mean_a**2, 0)
    variance_b = np.maximum(_mean(b * b) / weight - mean_b**2, 0)
    covariance: NDArray[np.float32] = _mean(a * b) / weight - mean_a * mean_b
    # The constant keeps windows that are plain in one picture from agreeing by noise.
    correlation = covariance / np.sqrt((variance_a + 4.0) * (variance_b + 4.0))
    if sign_free:
        correlation = np.abs(correlation)
    return correlation.astype(np.float32), np.sqrt(np.maximum(variance_a, variance_b)).astype(np.float32)


def _mean(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(cv2.blur(values, (_WINDOW, _WINDOW), borderType=cv2.BORDER_CONSTANT), np.float32)
