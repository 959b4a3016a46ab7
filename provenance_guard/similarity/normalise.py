"""One form for every picture that is compared: upright RGB, alpha on white, longest side 640 pixels (more in a panorama)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from provenance_guard.errors import PictureError
from provenance_guard.pictures import open_picture, to_image

VERSION = 1
"""Changes when the same file would give other pixels; it is part of the version of every vector made from them."""

LONGEST_SIDE = 640
SMALLEST_SIDE = 16
"""Below this a picture has no structure that could be compared."""

_PANORAMA = 7
_FRAME_SPREAD = 6.0
_FRAME_LIMIT = 0.4


@dataclass(frozen=True)
class NormalPicture:
    """A normalised picture: ``rgb`` is (H, W, 3) uint8, ``grey`` (H, W) uint8, ``size`` the width and height it came in."""

    rgb: NDArray[np.uint8]
    grey: NDArray[np.uint8]
    size: tuple[int, int]

    @property
    def image(self) -> Image.Image:
        """The pixels as a Pillow picture."""
        return Image.fromarray(self.rgb, "RGB")


def read(path: Path) -> NormalPicture:
    """Decode and normalise a file. Raises PictureError with the reason when it cannot be compared."""
    return normalise(open_picture(path, animated="first", longest_side=LONGEST_SIDE).image)


def normalise(picture: Image.Image | torch.Tensor) -> NormalPicture:
    """Normalise a Pillow picture of any mode, or a float tensor (3, H, W) in 0..1 on any device.

    Raises PictureError when it is too small or of a wrong shape.
    """
    image = _as_image(picture)
    width, height = image.size
    if min(width, height) < SMALLEST_SIDE:
        raise PictureError(
            f"A picture of {width} x {height} pixels is too small to be compared.",
            next_step=f"Use one of at least {SMALLEST_SIDE} x {SMALLEST_SIDE} pixels.",
        )
    smaller = fitted_size((width, height), LONGEST_SIDE)
    if smaller != (width, height):
        # The reducing gap lets Pillow shrink huge pictures by a box filter first, which is many times faster.
        image = image.resize(smaller, Image.Resampling.LANCZOS, reducing_gap=3.0)
    return from_pixels(image, (width, height))


def from_pixels(image: Image.Image, size: tuple[int, int]) -> NormalPicture:
    """An RGB picture that is small enough already; ``size`` is what it once had."""
    return NormalPicture(np.asarray(image, dtype=np.uint8), np.asarray(image.convert("L"), dtype=np.uint8), size)


def fitted_size(size: tuple[float, float], longest: int) -> tuple[int, int]:
    """``size`` scaled down so that the longest side is ``longest``; never enlarged.

    A panorama stays larger, so that its short side keeps about a seventh of ``longest``, but never has more than ``longest``
    squared pixels.
    """
    width, height = size
    scale = longest / max(size)
    if min(size) * scale < longest / _PANORAMA:
        scale = min(longest / _PANORAMA / min(size), longest / (width * height) ** 0.5)
    scale = min(scale, 1.0)
    return max(round(width * scale), 1), max(round(height * scale), 1)


def trim_frame(grey: NDArray[np.uint8]) -> tuple[int, int, int, int]:
    """The box (left, top, right, bottom) without a plain frame: rows and columns from the edge that hardly vary are left out.

    The whole picture when there is no frame, or when less than a fifth of the picture would be left.
    """
    height, width = grey.shape
    top, bottom = _trim(grey)
    left, right = _trim(grey[top:bottom].T)
    if (bottom - top) * (right - left) < 0.2 * height * width:
        return 0, 0, width, height
    return left, top, right, bottom


def _trim(lines: NDArray[np.uint8]) -> tuple[int, int]:
    """First and last line of content; a frame line is plain and as bright as the outermost one."""
    values = lines.astype(np.float32)
    plain = np.percentile(values, 95, axis=1) - np.percentile(values, 5, axis=1) < _FRAME_SPREAD
    level = np.median(values, axis=1)
    count = len(lines)
    limit = int(count * _FRAME_LIMIT)
    start = 0
    while start < limit and plain[start] and abs(level[start] - level[0]) < _FRAME_SPREAD:
        start += 1
    end = count
    while end > count - limit and plain[end - 1] and abs(level[end - 1] - level[-1]) < _FRAME_SPREAD:
        end -= 1
    return start, end


def _as_image(picture: Image.Image | torch.Tensor) -> Image.Image:
    if isinstance(picture, torch.Tensor):
        if picture.ndim != 3 or picture.shape[0] != 3 or 0 in picture.shape:
            raise PictureError(
                f"A tensor of shape {tuple(picture.shape)} is not a picture.",
                next_step="Pass one of shape (3, height, width) with values from 0 to 1.",
            )
        return to_image(picture)
    if picture.mode == "RGB":
        return picture
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        colours = picture.convert("RGBA")
        white = Image.new("RGBA", colours.size, "white")
        return Image.alpha_composite(white, colours).convert("RGB")
    return picture.convert("RGB")
