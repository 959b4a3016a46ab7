"""Perceptual hashes: 256 bits of the low frequencies of a picture, found again after recoding, scaling and recolouring.

The hash is ImageHash's ``phash`` with 16 x 16 coefficients of a 64 x 64 DCT (Zauner 2010; Meta's PDQ is its sibling). A turned
or mirrored copy is found by hashing the *query* in all eight orientations; an inverted one because its hash is the complement.
"""

from __future__ import annotations

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from provenance_guard.similarity import normalise
from provenance_guard.similarity.normalise import NormalPicture

ALGORITHM = "phash256"
VERSION = f"1.{normalise.VERSION}"
BITS = 256

_SIDE = 64
_TRANSPOSITIONS = (
    None,
    Image.Transpose.FLIP_LEFT_RIGHT,
    Image.Transpose.ROTATE_180,
    Image.Transpose.FLIP_TOP_BOTTOM,
    Image.Transpose.TRANSPOSE,
    Image.Transpose.ROTATE_90,
    Image.Transpose.TRANSVERSE,
    Image.Transpose.ROTATE_270,
)

ORIENTATIONS = (
    "upright",
    "mirrored",
    "upside down",
    "mirrored upside down",
    "transposed",
    "turned left",
    "transposed the other way",
    "turned right",
)
"""What was done to the *query* to make it look like the reference, in the order of ``hash_orientations``."""

MIRRORED = (1, 3, 4, 6)
"""Those of the orientations that no turning alone gives."""


def orient(image: Image.Image, orientation: int) -> Image.Image:
    """``image`` in one of the eight orientations (index into ``ORIENTATIONS``)."""
    transposition = _TRANSPOSITIONS[orientation]
    return image if transposition is None else image.transpose(transposition)


def hash_reference(picture: NormalPicture) -> NDArray[np.uint8]:
    """The stored hashes of a reference: whole, and without its frame. Shape (2, 32), uint8, 8 bits in each, first bit highest."""
    return np.stack([_pack(_hash(small)) for small in _views(picture)])


def hash_orientations(picture: NormalPicture) -> NDArray[np.uint8]:
    """The hashes of a query: whole and without frame, each in eight orientations. Shape (2, 8, 32), uint8."""
    return np.stack(
        [[_pack(_hash(orient(small, index))) for index in range(len(ORIENTATIONS))] for small in _views(picture)]
    )


def signs(packed: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Packed bits (..., 32) as -1 and +1, float32, shape (..., 256): their inner product is 256 - 2 x Hamming distance."""
    bits = np.unpackbits(packed, axis=-1)
    return bits.astype(np.float32) * 2 - 1


def _views(picture: NormalPicture) -> list[Image.Image]:
    grey = Image.fromarray(picture.grey, "L")
    boxes = ((0, 0, *grey.size), normalise.trim_frame(picture.grey))
    return [grey.resize((_SIDE, _SIDE), Image.Resampling.LANCZOS, box=box) for box in boxes]


def _hash(small: Image.Image) -> NDArray[np.bool_]:
    return imagehash.phash(small, hash_size=16, highfreq_factor=4).hash


def _pack(bits: NDArray[np.bool_]) -> NDArray[np.uint8]:
    return np.packbits(bits.reshape(-1))
