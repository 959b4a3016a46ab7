"""Which way the edges run, and where: a coarse histogram of oriented gradients of the whole picture (Dalal and Triggs 2005).

It finds again what a hash loses when light and dark change places or only outlines are left: a pencil drawing made of a photograph, a
negative, two tones. Other pictures of the same layout look alike to it as well, so it proposes candidates and convicts nobody.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from provenance_guard.similarity import hashes, normalise

ALGORITHM = "gradients"
VERSION = f"1.{normalise.VERSION}"

_SIDE, _CELLS, _DIRECTIONS = 64, 4, 8
LENGTH = _CELLS * _CELLS * _DIRECTIONS


def describe(image: Image.Image) -> NDArray[np.float32]:
    """The vector of a picture: shape (128), length 1, or zero when the picture has no edges.

    Inner products are cosines of centred vectors. Directions have no sign, so a negative has the same vector.
    """
    return _describe(_shrink(image))


def describe_orientations(image: Image.Image) -> NDArray[np.float32]:
    """The vectors of a picture in the eight orientations of ``hashes``: shape (8, 128)."""
    small = _shrink(image)
    return np.stack([_describe(hashes.orient(small, index)) for index in range(len(hashes.ORIENTATIONS))])


def pack(image: Image.Image) -> bytes:
    """The vector of a reference as it is kept: 128 little-endian half-precision numbers."""
    return describe(image).astype("<f2").tobytes()


def _shrink(image: Image.Image) -> Image.Image:
    return image.convert("L").resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)


def _describe(small: Image.Image) -> NDArray[np.float32]:
    grey = np.asarray(small, np.float32)
    along_x, along_y = cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)
    turn = np.arctan2(along_y, along_x) % np.pi / np.pi
    direction = np.rint(turn * _DIRECTIONS).astype(int) % _DIRECTIONS
    place = np.arange(_SIDE) * _CELLS // _SIDE
    cell = place[:, None] * _CELLS + place
    strength = np.bincount((cell * _DIRECTIONS + direction).ravel(), np.hypot(along_x, along_y).ravel(), LENGTH)
    if strength.sum() == 0:
        return np.zeros(LENGTH, np.float32)
    shares = np.sqrt(strength / strength.sum())
    centred = shares - shares.mean()
    return np.asarray(centred / max(float(np.linalg.norm(centred)), 1e-6), np.float32)
