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


@dataclass(frozen=True)
class LocalFeatures:
    """Keypoints and descriptors of one picture.

    ``points`` is (n, 4) float32: x and y as shares of the longest side (0..1), scale (size as a share of it), angle in radians.
    ``descriptors`` is (n, 128) int8, values 0..127.
    """

    points: NDArray[np.float32]
    descriptors: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.points)


def describe(picture: NormalPicture, count: int) -> LocalFeatures:
    """Up to ``count`` features, the strongest ones, spread over the picture; fewer (even none) when it is plain."""
    grey = picture.grey
    detector = cv2.SIFT.create(nfeatures=_MOST_DETECTED, contrastThreshold=0.02, edgeThreshold=12)
    keypoints = detector.detect(grey, None)
    chosen = _spread(keypoints, grey.shape, count)
    if not chosen:
        return LocalFeatures(np.zeros((0, 4), np.float32), np.zeros((0, DESCRIPTOR), np.int8))
    kept, raw = detector.compute(grey, chosen)
    longest = max(grey.shape)
    points = np.array(
        [(k.pt[0] / longest, k.pt[1] / longest, k.size / longest, np.deg2rad(k.angle)) for k in kept], np.float32
    )
    return LocalFeatures(points, _root(np.asarray(raw, np.float32)))


def variant(features: LocalFeatures, index: int) -> LocalFeatures:
    """The features of the picture when it is mirrored left to right, inverted, or both (index into ``VARIANTS``).

    Coordinates of a mirrored variant are those of the mirrored picture with x running from 0 to minus 1, so that the unmirrored
    position is found by changing the sign of x.
    """
    points, cells = features.points.copy(), features.descriptors.reshape(-1, 4, 4, 8)
    if index in (1, 3):
        cells = cells[:, ::-1][..., _MIRRORED_BINS]
        points[:, 0] *= -1
        points[:, 3] = np.pi - points[:, 3]
    if index in (2, 3):
        cells = cells[:, ::-1, ::-1]
        points[:, 3] += np.pi
    return LocalFeatures(points, np.ascontiguousarray(cells).reshape(-1, DESCRIPTOR))


_MIRRORED_BINS = (8 - np.arange(8)) % 8


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
