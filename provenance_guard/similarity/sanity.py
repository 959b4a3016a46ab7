"""Eight built-in pictures and copies of them, to try whether weights can tell a copy from a stranger.

The strangers share their colours and the copies change them, because an untrained network sees little else: with random weights,
models of the ViT and ResNet kinds reach an area under the curve (AUC) of 0.35 to 0.66 here, 0.5 being chance.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps

LEAST_AUC = 0.9

_SIDE = 224
_LARGE = 448
_MIDDLE = _LARGE / 2
_SAND, _SKY = (236, 228, 208), (206, 222, 236)
_INK, _RED, _GREEN, _BROWN, _SKIN = (40, 48, 70), (190, 60, 50), (70, 130, 70), (110, 70, 40), (240, 200, 150)


def area_under_curve(embed: Callable[[Sequence[Image.Image]], NDArray[np.float32]]) -> float:
    """How often a copy's cosine is above a stranger's (0..1), for ``embed``: pictures to unit vectors (n, dimensions)."""
    originals = draw_pictures()
    base = embed(originals)
    copies = np.stack([embed(make_copies(picture)) for picture in originals])
    of_copies = np.einsum("id,ikd->ik", base, copies).ravel()
    of_strangers = (base @ base.T)[np.triu_indices(len(base), 1)]
    above = of_copies[:, None] > of_strangers[None]
    equal = of_copies[:, None] == of_strangers[None]
    return float((above + 0.5 * equal).mean())


def draw_pictures() -> list[Image.Image]:
    """The eight pictures, 224 x 224: face, house, tree, chess board, waves, star, mountains, page."""
    painters = (_face, _house, _tree, _board, _waves, _star, _mountains, _page)
    return [_paint(painter, (_SAND, _SKY)[number % 2]) for number, painter in enumerate(painters)]


def make_copies(picture: Image.Image) -> list[Image.Image]:
    """Four edits: mirrored in grey; turned and darkened; cropped and tinted; cropped, blurred and paled."""
    width, height = picture.size
    paper = picture.getpixel((2, 2))
    dark = ImageEnhance.Brightness(picture.rotate(12, Image.Resampling.BICUBIC, fillcolor=paper)).enhance(0.55)
    cropped = picture.crop((width * 12 // 100, height * 5 // 100, width * 95 // 100, height * 9 // 10)).resize(
        picture.size
    )
    bands = zip(cropped.split(), (1.0, 0.7, 0.5), strict=True)
    tinted = Image.merge("RGB", [ImageEnhance.Brightness(band).enhance(factor) for band, factor in bands])
    corner = picture.crop((width * 15 // 100, height * 15 // 100, width, height)).resize(picture.size)
    pale = ImageEnhance.Contrast(corner.filter(ImageFilter.GaussianBlur(2))).enhance(0.5)
    return [ImageOps.mirror(ImageOps.grayscale(picture).convert("RGB")), dark, tinted, pale]


def _paint(painter: Callable[[ImageDraw.ImageDraw], None], paper: tuple[int, int, int]) -> Image.Image:
    picture = Image.new("RGB", (_LARGE, _LARGE), paper)
    painter(ImageDraw.Draw(picture))
    return picture.resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)


def _circle(draw: ImageDraw.ImageDraw, x: float, y: float, radius: float, fill: tuple[int, int, int]) -> None:
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)


def _face(draw: ImageDraw.ImageDraw) -> None:
    _circle(draw, _MIDDLE, _MIDDLE, 150, _INK)
    _circle(draw, _MIDDLE, _MIDDLE, 142, _SKIN)
    for x in (-60, 60):
        _circle(draw, _MIDDLE + x, _MIDDLE - 40, 20, _INK)
    draw.arc((_MIDDLE - 80, _MIDDLE - 20, _MIDDLE + 80, _MIDDLE + 90), 20, 160, fill=_RED, width=12)


def _house(draw: ImageDraw.ImageDraw) -> None:
    draw.rectangle((_MIDDLE - 120, _MIDDLE - 20, _MIDDLE + 120, _MIDDLE + 140), fill=_RED)
    draw.polygon([(_MIDDLE - 150, _MIDDLE - 20), (_MIDDLE, _MIDDLE - 140), (_MIDDLE + 150, _MIDDLE - 20)], fill=_INK)
    draw.rectangle((_MIDDLE - 30, _MIDDLE + 50, _MIDDLE + 30, _MIDDLE + 140), fill=_GREEN)


def _tree(draw: ImageDraw.ImageDraw) -> None:
    draw.rectangle((_MIDDLE - 25, _MIDDLE, _MIDDLE + 25, _MIDDLE + 160), fill=_BROWN)
    for x, y, radius in ((0, -80, 100), (-70, -20, 70), (70, -20, 70)):
        _circle(draw, _MIDDLE + x, _MIDDLE + y, radius, _GREEN)


def _board(draw: ImageDraw.ImageDraw) -> None:
    side = _LARGE / 8
    for row in range(8):
        for column in range(row % 2, 8, 2):
            draw.rectangle((column * side, row * side, (column + 1) * side, (row + 1) * side), fill=_INK)


def _waves(draw: ImageDraw.ImageDraw) -> None:
    for line in range(14):
        points = [(x, line * 32 + 15 * math.sin(x / 30 + line)) for x in range(0, _LARGE, 4)]
        draw.line(points, fill=(_INK, _RED, _GREEN)[line % 3], width=8)


def _star(draw: ImageDraw.ImageDraw) -> None:
    radii = [160 if corner % 2 == 0 else 65 for corner in range(10)]
    angles = [corner * math.pi / 5 for corner in range(10)]
    points = [(_MIDDLE + r * math.sin(a), _MIDDLE - r * math.cos(a)) for r, a in zip(radii, angles, strict=True)]
    draw.polygon(points, fill=_RED)


def _mountains(draw: ImageDraw.ImageDraw) -> None:
    draw.rectangle((0, 314, _LARGE, _LARGE), fill=_GREEN)
    draw.polygon([(0, 314), (134, 112), (269, 314)], fill=_INK)
    draw.polygon([(179, 314), (314, 157), (_LARGE, 314)], fill=_BROWN)
    _circle(draw, 370, 70, 34, _RED)


def _page(draw: ImageDraw.ImageDraw) -> None:
    for line in range(12):
        x = 40
        for word in range(9):
            width = 20 + (line * 37 + word * 53) % 60
            draw.rectangle((x, 40 + line * 32, min(x + width, _LARGE - 40), 54 + line * 32), fill=_INK)
            x += width + 14
            if x > _LARGE - 60:
                break
