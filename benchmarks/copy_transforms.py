"""Fifty ways to make a near-copy of a picture, in nine families.

Every transform takes an RGB picture, a random generator and an unrelated picture (for collages), and gives an RGB picture. The
"diffusion" family stands in for img2img at several strengths: noise at many scales, smoothing, a smooth warp and a drift of the
palette. Real img2img moves edges more; that needs a model.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps

Make = Callable[[Image.Image, np.random.Generator, Image.Image], Image.Image]


@dataclass(frozen=True)
class Transform:
    """A named way to copy; ``family`` is one of nine."""

    name: str
    family: str
    make: Make


def all_transforms() -> list[Transform]:
    """The fifty transforms, family by family."""
    return [Transform(name, family, make) for family, members in _FAMILIES.items() for name, make in members.items()]


# recode


def _jpeg(quality: int) -> Make:
    return lambda picture, *_: _recode(picture, "JPEG", quality)


def _webp(quality: int) -> Make:
    return lambda picture, *_: _recode(picture, "WEBP", quality)


def _recode(picture: Image.Image, kind: str, quality: int) -> Image.Image:
    stream = io.BytesIO()
    picture.save(stream, kind, quality=quality)
    return Image.open(stream).convert("RGB")


def _scaled(factor: float, *, back: bool = False) -> Make:
    def make(picture: Image.Image, *_: object) -> Image.Image:
        size = (max(round(picture.width * factor), 32), max(round(picture.height * factor), 32))
        scaled = picture.resize(size, Image.Resampling.BICUBIC)
        return scaled.resize(picture.size, Image.Resampling.BICUBIC) if back else scaled

    return make


# colour


def _grey(picture: Image.Image, *_: object) -> Image.Image:
    return ImageOps.grayscale(picture).convert("RGB")


def _hue(picture: Image.Image, random: np.random.Generator, _: object) -> Image.Image:
    hue, saturation, value = picture.convert("HSV").split()
    turn = int(random.integers(50, 200))
    turned = hue.point(lambda level: (level + turn) % 256)
    return Image.merge("HSV", (turned, saturation, value)).convert("RGB")


def _enhanced(kind: Callable[[Image.Image], ImageEnhance._Enhance], factor: float) -> Make:
    return lambda picture, *_: kind(picture).enhance(factor)


def _gamma(picture: Image.Image, *_: object) -> Image.Image:
    return picture.point(lambda level: round(255 * (level / 255) ** 2.0))


def _sepia(picture: Image.Image, *_: object) -> Image.Image:
    return ImageOps.colorize(ImageOps.grayscale(picture), (40, 20, 5), (255, 240, 205))


def _inverted(picture: Image.Image, *_: object) -> Image.Image:
    return ImageOps.invert(picture)


# filter


def _blur(radius: float) -> Make:
    return lambda picture, *_: picture.filter(ImageFilter.GaussianBlur(radius * max(picture.size) / 512))


def _sharpen(picture: Image.Image, *_: object) -> Image.Image:
    return picture.filter(ImageFilter.UnsharpMask(4, 250, 0))


def _grain(picture: Image.Image, random: np.random.Generator, _: object) -> Image.Image:
    return add_noise(picture, random, 25)


def add_noise(picture: Image.Image, random: np.random.Generator, deviation: float) -> Image.Image:
    """Gaussian noise of a standard deviation in levels."""
    values = np.asarray(picture, np.float32)
    return to_image(values + random.normal(0, deviation, values.shape))


def _median(picture: Image.Image, *_: object) -> Image.Image:
    return picture.filter(ImageFilter.MedianFilter(7))


def _posterised(picture: Image.Image, *_: object) -> Image.Image:
    return ImageOps.posterize(picture, 2)


def _pencil(picture: Image.Image, *_: object) -> Image.Image:
    grey = ImageOps.grayscale(picture)
    soft = ImageOps.invert(grey).filter(ImageFilter.GaussianBlur(4))
    base, cover = np.asarray(grey, np.float32), np.asarray(soft, np.float32)
    return to_image(np.repeat(np.minimum(base * 255 / (256 - cover), 255)[..., None], 3, axis=2))


# overlay


def _captioned(picture: Image.Image, *_: object) -> Image.Image:
    height = picture.height // 6
    sheet = Image.new("RGB", (picture.width, picture.height + height), "white")
    sheet.paste(picture, (0, height))
    _write(sheet, "WHEN YOU SEE IT", (picture.width // 20, height // 4), height // 2, "black")
    return sheet


def _lettered(picture: Image.Image, *_: object) -> Image.Image:
    copy = picture.copy()
    for line in range(3):
        corner = (picture.width // 12, picture.height * (1 + 3 * line) // 10)
        _write(copy, "SAMPLE TEXT", corner, picture.height // 7, ("white", "yellow", "black")[line])
    return copy


def draw_watermark(picture: Image.Image, *_: object) -> Image.Image:
    """The same pale words all over, as agencies protect their pictures."""
    layer = Image.new("RGB", picture.size, (128, 128, 128))
    for y in range(0, picture.height, max(picture.height // 6, 1)):
        for x in range(0, picture.width, max(picture.width // 3, 1)):
            _write(layer, "(c) stock", (x, y), picture.height // 14, "white")
    return Image.blend(picture, layer, 0.35)


def _framed(picture: Image.Image, *_: object) -> Image.Image:
    return ImageOps.expand(picture, max(picture.size) // 6, (24, 24, 30))


def _stickers(picture: Image.Image, random: np.random.Generator, _: object) -> Image.Image:
    copy = picture.copy()
    draw = ImageDraw.Draw(copy)
    side = min(picture.size) // 4
    for _number in range(5):
        x, y = random.integers(0, picture.width - side), random.integers(0, picture.height - side)
        colour = tuple(int(v) for v in random.integers(0, 255, 3))
        draw.ellipse((x, y, x + side, y + side), fill=colour)
    return copy


def _screenshot(picture: Image.Image, *_: object) -> Image.Image:
    width, height = picture.size
    sheet = Image.new("RGB", (width * 5 // 4, height * 3 // 2), (245, 246, 250))
    draw = ImageDraw.Draw(sheet)
    draw.rectangle((0, 0, sheet.width, height // 9), fill=(50, 70, 110))
    _write(sheet, "SOME SITE - A PAGE", (12, height // 40), height // 14, "white")
    sheet.paste(picture, (width // 8, height // 6))
    for line in range(5):
        y = height * 6 // 5 + line * height // 20
        draw.rectangle((width // 8, y, width - line * width // 12, y + height // 50), fill=(120, 120, 125))
    return sheet


# crop


def _cropped(area: float) -> Make:
    def make(picture: Image.Image, random: np.random.Generator, _: object) -> Image.Image:
        width, height = (round(side * area**0.5) for side in picture.size)
        x, y = random.integers(0, picture.width - width + 1), random.integers(0, picture.height - height + 1)
        return picture.crop((x, y, x + width, y + height))

    return make


def _squared(picture: Image.Image, random: np.random.Generator, _: object) -> Image.Image:
    side = round(min(picture.size) * 0.85)
    x, y = random.integers(0, picture.width - side + 1), random.integers(0, picture.height - side + 1)
    return picture.crop((x, y, x + side, y + side)).resize((512, 512), Image.Resampling.BICUBIC)


def _enlarged_crop(picture: Image.Image, random: np.random.Generator, other: Image.Image) -> Image.Image:
    part = _cropped(0.35)(picture, random, other)
    return part.resize((512, round(512 * part.height / part.width)), Image.Resampling.BICUBIC)


# geometry


def _mirrored(picture: Image.Image, *_: object) -> Image.Image:
    return ImageOps.mirror(picture)


def _turned(degrees: float) -> Make:
    return lambda picture, *_: picture.rotate(degrees, Image.Resampling.BICUBIC, expand=True, fillcolor=(128, 128, 128))


def _stretched(picture: Image.Image, *_: object) -> Image.Image:
    return picture.resize((round(picture.width * 1.35), picture.height), Image.Resampling.BICUBIC)


def _sheared(picture: Image.Image, *_: object) -> Image.Image:
    data = (1, 0.25, -0.125 * picture.height, 0, 1, 0)
    return picture.transform(picture.size, Image.Transform.AFFINE, data, Image.Resampling.BICUBIC, fillcolor="white")


def _perspective(picture: Image.Image, random: np.random.Generator, _: object) -> Image.Image:
    width, height = picture.size
    source = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    inward = random.uniform(0.0, 0.14, (4, 2)) * np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) * (width, height)
    matrix = cv2.getPerspectiveTransform(source, (source + inward).astype(np.float32))
    return Image.fromarray(cv2.warpPerspective(np.asarray(picture), matrix, (width, height), flags=cv2.INTER_CUBIC))


def _waved(picture: Image.Image, random: np.random.Generator, _: object) -> Image.Image:
    return _warp(picture, random, 0.012, 4)


# partial


def _inset(picture: Image.Image, random: np.random.Generator, other: Image.Image) -> Image.Image:
    return _paste(picture, random, other, 0.22)


def _small_inset(picture: Image.Image, random: np.random.Generator, other: Image.Image) -> Image.Image:
    return _paste(picture, random, other, 0.10)


def _collage(picture: Image.Image, random: np.random.Generator, other: Image.Image) -> Image.Image:
    tiles = [picture, other, ImageOps.mirror(other), ImageOps.flip(other)]
    sheet = Image.new("RGB", (640, 640))
    for place, tile in zip(random.permutation(4), tiles, strict=True):
        sheet.paste(ImageOps.fit(tile, (320, 320)), (int(place) % 2 * 320, int(place) // 2 * 320))
    return sheet


def _side_by_side(picture: Image.Image, _: object, other: Image.Image) -> Image.Image:
    height = picture.height
    beside = other.resize((round(other.width * height / other.height), height), Image.Resampling.BICUBIC)
    sheet = Image.new("RGB", (picture.width + beside.width, height))
    sheet.paste(beside, (0, 0))
    sheet.paste(picture, (beside.width, 0))
    return sheet


def _part_pasted(picture: Image.Image, random: np.random.Generator, other: Image.Image) -> Image.Image:
    part = _cropped(0.4)(picture, random, other)
    return _paste(part, random, other, 0.3)


def _paste(picture: Image.Image, random: np.random.Generator, other: Image.Image, area: float) -> Image.Image:
    sheet = other.resize((640, round(640 * other.height / other.width)), Image.Resampling.BICUBIC)
    scale = (area * sheet.width * sheet.height / (picture.width * picture.height)) ** 0.5
    scale = min(scale, 0.95 * sheet.width / picture.width, 0.95 * sheet.height / picture.height)
    small = picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.BICUBIC)
    x = int(random.integers(0, sheet.width - small.width + 1))
    y = int(random.integers(0, sheet.height - small.height + 1))
    sheet.paste(small, (x, y))
    return sheet


# diffusion stand-in


def _rerendered(strength: float) -> Make:
    def make(picture: Image.Image, random: np.random.Generator, _: object) -> Image.Image:
        warped = _warp(picture, random, 0.02 * strength, 8)
        values = np.asarray(warped, np.float32)
        height, width = values.shape[:2]
        for cells, weight in ((16, 40), (64, 50), (160, 60)):
            noise = random.normal(0, weight * strength, (cells, cells, 3)).astype(np.float32)
            values += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
        values = np.clip(values + random.normal(0, 80 * strength, values.shape), 0, 255)
        smooth = cv2.bilateralFilter(values.astype(np.uint8), 9, 60 + 100 * strength, 3 + 4 * strength)
        drift = random.uniform(-40, 40, 3) * strength
        return to_image(smooth * random.uniform(1 - 0.3 * strength, 1 + 0.3 * strength, 3) + drift)

    return make


# combinations


def _combined(*makes: Make) -> Make:
    def make(picture: Image.Image, random: np.random.Generator, other: Image.Image) -> Image.Image:
        for step in makes:
            picture = step(picture, random, other)
        return picture

    return make


def _warp(picture: Image.Image, random: np.random.Generator, amount: float, cells: int) -> Image.Image:
    width, height = picture.size
    shifts = random.normal(0, amount * max(width, height), (2, cells, cells)).astype(np.float32)
    shift_x, shift_y = (cv2.resize(shift, (width, height), interpolation=cv2.INTER_CUBIC) for shift in shifts)
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    moved = cv2.remap(
        np.asarray(picture), columns + shift_x, rows + shift_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
    )
    return Image.fromarray(moved)


def _write(picture: Image.Image, text: str, corner: tuple[int, int], height: int, colour: str) -> None:
    font = ImageFont.load_default()
    _, top, right, bottom = font.getbbox(text)
    mask = Image.new("L", (int(right), int(bottom)), 0)
    ImageDraw.Draw(mask).text((0, 0), text, fill=255, font=font)
    scale = max(height, 8) / (bottom - top)
    large = mask.resize((max(round(right * scale), 1), max(round(bottom * scale), 1)), Image.Resampling.BICUBIC)
    picture.paste(Image.new("RGB", large.size, colour), corner, large)


def to_image(values: np.ndarray) -> Image.Image:
    """Values (H, W, 3) in levels, cut to 0..255, as a picture."""
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8), "RGB")


_FAMILIES: dict[str, dict[str, Make]] = {
    "recode": {
        "jpeg 75": _jpeg(75),
        "jpeg 30": _jpeg(30),
        "jpeg 10": _jpeg(10),
        "webp 40": _webp(40),
        "half size": _scaled(0.5),
        "quarter size and back": _scaled(0.25, back=True),
    },
    "colour": {
        "grey": _grey,
        "hue": _hue,
        "darker": _enhanced(ImageEnhance.Brightness, 0.45),
        "contrast": _enhanced(ImageEnhance.Contrast, 1.9),
        "gamma": _gamma,
        "sepia": _sepia,
        "inverted": _inverted,
    },
    "filter": {
        "blur": _blur(2.5),
        "strong blur": _blur(5),
        "sharpened": _sharpen,
        "grain": _grain,
        "median": _median,
        "posterised": _posterised,
        "pencil": _pencil,
    },
    "overlay": {
        "caption": _captioned,
        "lettering": _lettered,
        "watermark": draw_watermark,
        "frame": _framed,
        "stickers": _stickers,
        "screenshot": _screenshot,
    },
    "crop": {
        "crop 80": _cropped(0.8),
        "crop 50": _cropped(0.5),
        "crop 25": _cropped(0.25),
        "square": _squared,
        "enlarged crop": _enlarged_crop,
    },
    "geometry": {
        "mirrored": _mirrored,
        "turned 90": _turned(90),
        "turned 8": _turned(8),
        "turned 33": _turned(33),
        "stretched": _stretched,
        "sheared": _sheared,
        "perspective": _perspective,
        "waved": _waved,
    },
    "partial": {
        "inset": _inset,
        "small inset": _small_inset,
        "collage": _collage,
        "side by side": _side_by_side,
        "part pasted": _part_pasted,
    },
    "diffusion": {
        "re-rendered 0.2": _rerendered(0.2),
        "re-rendered 0.35": _rerendered(0.35),
        "re-rendered 0.5": _rerendered(0.5),
    },
    "combination": {
        "crop, mirror, jpeg": _combined(_cropped(0.6), _mirrored, _jpeg(40)),
        "turn, hue, lettering": _combined(_turned(15), _hue, _lettered),
        "hard": _combined(_cropped(0.5), _mirrored, _hue, _blur(1.2), _turned(7), _framed, _jpeg(35)),
    },
}
