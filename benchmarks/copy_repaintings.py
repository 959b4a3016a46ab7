"""Upscales of a picture, and stand-ins for neural repaintings of it: other colours and other strokes on the same outlines.

No network is at hand here. A repainting takes its colours, or the contrasts of each scale, from another picture, as AdaIN does with the
channels of a network (Huang and Belongie 2017); or it smooths, flattens and outlines. Real ones move edges more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from copy_transforms import Make, Transform
from numpy.typing import NDArray
from PIL import Image, ImageFilter

_RESAMPLINGS = {"lanczos": Image.Resampling.LANCZOS, "bicubic": Image.Resampling.BICUBIC}
_SCALES = 5


def upscales() -> list[Transform]:
    """Ways to enlarge a picture, plain ones and those that clean and sharpen as waifu2x or ESRGAN do."""
    makes = {
        f"{name} x{factor}": _enlarged(kind, factor) for name, kind in _RESAMPLINGS.items() for factor in (2, 3, 4)
    }
    makes |= {
        "sharpened x2": _sharpened(2),
        "sharpened x4": _sharpened(4),
        "cleaned x2": _cleaned,
        "detail x4": _detailed,
    }
    return [Transform(name, "upscale", make) for name, make in makes.items()]


def repaintings() -> list[Transform]:
    """Ways to paint a picture anew."""
    makes: dict[str, Make] = {
        "colours of another": _colours_of,
        "contrasts of another": _contrasts_of,
        "contrasts and colours of another": lambda p, r, o: _colours_of(_contrasts_of(p, r, o), r, o),
        "stylised": lambda picture, *_: _filtered(picture, lambda v: cv2.stylization(v, sigma_s=60, sigma_r=0.45)),
        "edges kept": lambda picture, *_: _filtered(
            picture, lambda v: cv2.edgePreservingFilter(v, flags=1, sigma_s=60, sigma_r=0.4)
        ),
        "coloured pencil": lambda picture, *_: _filtered(
            picture, lambda v: cv2.pencilSketch(v, sigma_s=60, sigma_r=0.07, shade_factor=0.05)[1]
        ),
        "oil": _oil,
        "flat colours": _flat,
        "mean shift": lambda picture, *_: _filtered(picture, lambda v: cv2.pyrMeanShiftFiltering(v, 18, 36)),
    }
    return [Transform(name, "repainting", make) for name, make in makes.items()]


def _enlarged(kind: Image.Resampling, factor: int) -> Make:
    return lambda picture, *_: picture.resize((picture.width * factor, picture.height * factor), kind)


def _sharpened(factor: int) -> Make:
    def make(picture: Image.Image, *_: object) -> Image.Image:
        large = picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.BICUBIC)
        return large.filter(ImageFilter.UnsharpMask(1.5 * factor, 160, 2))

    return make


def _cleaned(picture: Image.Image, *_: object) -> Image.Image:
    clean = cv2.fastNlMeansDenoisingColored(np.asarray(picture), None, 6, 6, 5, 15)
    large = Image.fromarray(clean).resize((picture.width * 2, picture.height * 2), Image.Resampling.LANCZOS)
    return large.filter(ImageFilter.UnsharpMask(2, 120, 2))


def _detailed(picture: Image.Image, random: np.random.Generator, _: Image.Image) -> Image.Image:
    """Fine texture that was not there, as generative upscalers add it where there is contrast."""
    large = np.asarray(picture.resize((picture.width * 4, picture.height * 4), Image.Resampling.LANCZOS), np.float32)
    grey = large.mean(axis=2)
    contrast = cv2.GaussianBlur(np.abs(grey - cv2.GaussianBlur(grey, (0, 0), 4)), (0, 0), 6)
    grain = cv2.GaussianBlur(random.normal(0, 1, grey.shape).astype(np.float32), (0, 0), 1.2)
    return _to_image(large + (2.5 * grain * contrast)[..., None])


def _colours_of(picture: Image.Image, _: object, other: Image.Image) -> Image.Image:
    """Mean and deviation of each Lab channel from another picture (Reinhard et al. 2001)."""
    mine, theirs = (cv2.cvtColor(np.asarray(p), cv2.COLOR_RGB2LAB).astype(np.float32) for p in (picture, other))
    scaled = (mine - mine.mean((0, 1))) / (mine.std((0, 1)) + 1) * theirs.std((0, 1)) + theirs.mean((0, 1))
    return Image.fromarray(cv2.cvtColor(np.clip(scaled, 0, 255).astype(np.uint8), cv2.COLOR_LAB2RGB))


def _contrasts_of(picture: Image.Image, _: object, other: Image.Image) -> Image.Image:
    """At each scale and place the picture's structure, with the strength of the other picture's there."""
    mine, theirs = _bands(picture), _bands(other.resize(picture.size))
    total = mine[-1] - mine[-1].mean((0, 1)) + theirs[-1].mean((0, 1))
    for scale, (ours, others) in enumerate(zip(mine[:-1], theirs[:-1], strict=True)):
        around = 8.0 * 2**scale
        have, want = (cv2.GaussianBlur(np.abs(band), (0, 0), around) for band in (ours, others))
        total = total + ours * np.clip((want + 1) / (have + 1), 0.4, 2.5) + 0.5 * others
    return _to_image(total)


def _bands(picture: Image.Image) -> list[NDArray[np.float32]]:
    rest = np.asarray(picture, np.float32)
    bands = []
    for scale in range(_SCALES):
        soft = cv2.GaussianBlur(rest, (0, 0), 1.2 * 2**scale)
        bands.append(rest - soft)
        rest = np.asarray(soft, np.float32)
    return [*bands, rest]


def _oil(picture: Image.Image, *_: object) -> Image.Image:
    """Of eight levels of light the most common one around each pixel, in its mean colour."""
    values = np.asarray(picture, np.float32)
    levels = (values.mean(axis=2) / 32).astype(int)
    brush = (2 * (max(picture.size) // 120) + 1,) * 2
    counts = np.stack([cv2.boxFilter((levels == level).astype(np.float32), -1, brush) for level in range(8)])
    sums = np.stack([cv2.boxFilter(values * (levels == level)[..., None], -1, brush) for level in range(8)])
    best = counts.argmax(axis=0)
    rows, columns = np.indices(best.shape)
    return _to_image(sums[best, rows, columns] / np.maximum(counts[best, rows, columns], 1e-3)[..., None])


def _flat(picture: Image.Image, *_: object) -> Image.Image:
    return picture.filter(ImageFilter.MedianFilter(7)).quantize(10).convert("RGB")


def _filtered(picture: Image.Image, change: Callable[[NDArray[np.uint8]], Any]) -> Image.Image:
    values = np.ascontiguousarray(np.asarray(picture)[..., ::-1])
    return Image.fromarray(np.ascontiguousarray(change(values)[..., ::-1]))


def _to_image(values: NDArray[np.float32]) -> Image.Image:
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8), "RGB")
