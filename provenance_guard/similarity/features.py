"""Local features: small patches that are found again when a copy is cropped, pasted into another picture or turned.

SIFT keypoints (Lowe 2004) with RootSIFT descriptors (Arandjelovic and Zisserman 2012), rounded to 8 bits. The descriptors of a
mirrored or inverted (negative) picture are the same numbers in another order, so a query is looked for in all four variants
without being described again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from provenance_guard.similarity import normalise
from provenance_guard.similarity.normalise import NormalPicture

ALGORITHM = "rootsift"
VERSION = f"1.{normalise.VERSION}"
REFERENCE_COUNT = 300
QUERY_COUNT = 600
DESCRIPTOR = 128
SCALE = 256
"""Descriptors have length 1 before they are multiplied by this and rounded; the largest value kept is 127."""

VARIANTS = ("plain", "mirrored", "inverted", "mirrored and inverted")

_MOST_DETECTED = 3000
_CELLS = 6
_BASE_SCALE = 1.6
_MIRRORED_BINS = (8 - np.arange(8)) % 8


@dataclass(frozen=True)
class LocalFeatures:
    """Keypoints and descriptors of one picture.

    ``points`` is (n, 4) float32: x and y as shares of the longest side (0..1), scale (size as a share of it), angle in radians.
    ``descriptors`` is (n, 128) int8, values 0..127. ``bright`` (n) tells bright blobs from dark ones; only equals are compared.
    """

    points: NDArray[np.float32]
    descriptors: NDArray[np.int8]
    bright: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.points)

    def select(self, chosen: NDArray[np.bool_]) -> LocalFeatures:
        """Those features for which ``chosen`` (n) is true."""
        return LocalFeatures(self.points[chosen], self.descriptors[chosen], self.bright[chosen])


def describe(picture: NormalPicture, count: int) -> LocalFeatures:
    """Up to ``count`` features, half of them bright and half dark, the strongest ones, spread over the picture.

    A plain picture has fewer, even none.
    """
    grey = picture.grey
    detector = cv2.SIFT.create(nfeatures=_MOST_DETECTED, contrastThreshold=0.02, edgeThreshold=12)
    keypoints = detector.detect(grey, None)
    bright = _are_bright(grey, keypoints)
    halves = [
        _spread(
            [k for k, is_bright in zip(keypoints, bright, strict=True) if is_bright == wanted], grey.shape, count // 2
        )
        for wanted in (True, False)
    ]
    chosen = halves[0] + halves[1]
    if not chosen:
        return LocalFeatures(np.zeros((0, 4), np.float32), np.zeros((0, DESCRIPTOR), np.int8), np.zeros(0, np.bool_))
    kept, raw = detector.compute(grey, chosen)
    longest = max(grey.shape)
    points = np.array(
        [(k.pt[0] / longest, k.pt[1] / longest, k.size / longest, np.deg2rad(k.angle)) for k in kept], np.float32
    )
    return LocalFeatures(points, _root(np.asarray(raw, np.float32)), np.arange(len(kept)) < len(halves[0]))


def variant(features: LocalFeatures, index: int) -> LocalFeatures:
    """The features of the picture when it is mirrored left to right, inverted, or both (index into ``VARIANTS``).

    Coordinates of a mirrored variant are those of the mirrored picture with x running from 0 to minus 1, so that the unmirrored
    position is found by changing the sign of x.
    """
    points, cells, bright = features.points.copy(), features.descriptors.reshape(-1, 4, 4, 8), features.bright
    if index in (1, 3):
        cells = cells[:, ::-1][..., _MIRRORED_BINS]
        points[:, 0] *= -1
        points[:, 3] = np.pi - points[:, 3]
    if index in (2, 3):
        cells = cells[:, ::-1, ::-1]
        points[:, 3] += np.pi
        bright = ~bright
    return LocalFeatures(points, np.ascontiguousarray(cells).reshape(-1, DESCRIPTOR), bright)


def pack(features: LocalFeatures) -> bytes:
    """A reference's features as they are kept: 300 x 128 int8 descriptors, then 300 x 4 little-endian uint16 points.

    Bright blobs take the first 150 places, dark ones the others; unused places are zero.
    """
    descriptors = np.zeros((REFERENCE_COUNT, DESCRIPTOR), np.int8)
    points = np.zeros((REFERENCE_COUNT, 4), "<u2")
    wrapped = features.points.astype(np.float64)
    wrapped[:, 3] %= 2 * np.pi
    rounded = np.minimum(np.rint(wrapped * _POINT_SCALES), 65535).astype("<u2")
    for half, start in ((features.bright, 0), (~features.bright, REFERENCE_COUNT // 2)):
        places = slice(start, start + int(half.sum()))
        descriptors[places], points[places] = features.descriptors[half], rounded[half]
    return descriptors.tobytes() + points.tobytes()


def unpack(row: NDArray[np.uint8]) -> LocalFeatures:
    """The features of a packed row (uint8)."""
    descriptors = unpack_descriptors(row)
    points = row[descriptors.size :].view("<u2").reshape(-1, 4) / _POINT_SCALES
    used = descriptors.any(axis=1)
    bright = np.arange(REFERENCE_COUNT) < REFERENCE_COUNT // 2
    return LocalFeatures(points.astype(np.float32)[used], descriptors[used], bright[used])


def unpack_descriptors(rows: NDArray[np.uint8]) -> NDArray[np.int8]:
    """The descriptors of packed rows (..., bytes): (..., 300, 128), zeros in unused places."""
    descriptors = rows[..., : REFERENCE_COUNT * DESCRIPTOR].view(np.int8)
    return descriptors.reshape(*rows.shape[:-1], REFERENCE_COUNT, DESCRIPTOR)


_POINT_SCALES = np.array([65535, 65535, 65535, 65536 / (2 * np.pi)])


def _are_bright(grey: NDArray[np.uint8], keypoints: Sequence[cv2.KeyPoint]) -> NDArray[np.bool_]:
    """Whether each keypoint is brighter than its surroundings: the sign of the difference of Gaussians that made it."""
    places = np.array([keypoint.pt for keypoint in keypoints]).reshape(-1, 2)
    sizes = np.array([keypoint.size / 2 for keypoint in keypoints])
    levels = np.rint(2 * np.log2(np.maximum(sizes, 1) / _BASE_SCALE)).astype(int)
    bright = np.zeros(len(keypoints), np.bool_)
    image = grey.astype(np.float32)
    for level in np.unique(levels):
        sigma = _BASE_SCALE * 2 ** (level / 2)
        shrink = max(int(sigma / 3.2), 1)
        small = cv2.resize(image, None, fx=1 / shrink, fy=1 / shrink, interpolation=cv2.INTER_AREA)
        inner, outer = (cv2.GaussianBlur(small, (0, 0), factor * sigma / shrink) for factor in (1.0, 1.26))
        here = levels == level
        columns, rows = np.rint((places[here] + 0.5) / shrink - 0.5).astype(int).T
        columns, rows = np.clip(columns, 0, small.shape[1] - 1), np.clip(rows, 0, small.shape[0] - 1)
        bright[here] = inner[rows, columns] > outer[rows, columns]
    return bright


def _spread(keypoints: Sequence[cv2.KeyPoint], shape: tuple[int, ...], count: int) -> list[cv2.KeyPoint]:
    """Choose by strength, but let no part of the picture take everything: a crop must find enough of them.

    Round by round, each cell of a 6 x 6 grid gives its next strongest keypoint.
    """
    cells: dict[tuple[int, int], list[cv2.KeyPoint]] = {}
    side = max(shape[:2]) / _CELLS
    for keypoint in keypoints:
        cells.setdefault((int(keypoint.pt[0] // side), int(keypoint.pt[1] // side)), []).append(keypoint)
    ranked = [
        (rank, -keypoint.response, keypoint.pt, keypoint)
        for members in cells.values()
        for rank, keypoint in enumerate(sorted(members, key=lambda k: (-k.response, k.pt, k.angle)))
    ]
    ranked.sort(key=lambda entry: entry[:3])
    return [entry[3] for entry in ranked[:count]]


def _root(raw: NDArray[np.float32]) -> NDArray[np.int8]:
    shares = raw / np.maximum(raw.sum(axis=1, keepdims=True), 1e-6)
    return np.minimum(np.rint(np.sqrt(shares) * SCALE), 127).astype(np.int8)
