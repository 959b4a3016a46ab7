"""Four ways to make a picture that looks like another one and is no copy of it: what the screen must let pass.

Each takes an RGB picture and what else it needs of a random generator and an unrelated picture, and gives an RGB picture.
"""

from __future__ import annotations

import cv2
import numpy as np
from copy_transforms import add_noise, draw_watermark, to_image
from PIL import Image, ImageDraw, ImageOps


def same_palette(picture: Image.Image, random: np.random.Generator) -> Image.Image:
    """Other content in the colours of ``picture``: soft random shapes painted with its pixels."""
    width, height = picture.size
    colours = np.asarray(picture).reshape(-1, 3)
    canvas = Image.new("RGB", picture.size, tuple(int(v) for v in colours.mean(axis=0)))
    draw = ImageDraw.Draw(canvas)
    for _ in range(90):
        x, y, a, b = random.integers(0, width), random.integers(0, height), *random.integers(10, width // 4, 2)
        colour = tuple(int(v) for v in colours[random.integers(len(colours))])
        shape = draw.ellipse if random.integers(2) else draw.rectangle
        shape((x - a, y - b, x + a, y + b), fill=colour)
    return add_noise(canvas, random, 6)


def same_layout(picture: Image.Image, random: np.random.Generator) -> Image.Image:
    """Other content in the layout of ``picture``: its coarse patches of light and dark, with foreign texture in them."""
    coarse = picture.resize((6, 6), Image.Resampling.BOX).resize(picture.size, Image.Resampling.BICUBIC)
    values = np.asarray(coarse, np.float32)
    for cells in (8, 16, 32, 64):
        texture = random.normal(0, 18, (cells, cells)).astype(np.float32)
        values += cv2.resize(texture, picture.size, interpolation=cv2.INTER_CUBIC)[..., None]
    return to_image(values)


def same_frame(picture: Image.Image, other: Image.Image) -> Image.Image:
    """Another picture in the same frame, with the same watermark text as ``draw_watermark`` writes."""
    framed = ImageOps.expand(other.resize(picture.size), max(picture.size) // 12, (24, 24, 30))
    return draw_watermark(framed)


def other_photograph(picture: Image.Image, random: np.random.Generator, other: Image.Image) -> Image.Image:
    """A stand-in for another photograph of the scene in ``picture``, which is no copy of it.

    The camera moved (things at different depth move differently), the light comes from elsewhere (relief and shadows change), and
    something else stands in front.
    """
    width, height = picture.size
    longest = max(width, height)
    values = np.asarray(picture, np.float32)
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    field = cv2.resize(random.normal(0, 1, (5, 5)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    depth = cv2.GaussianBlur(np.rint(field * 1.5), (0, 0), 2)
    move = random.normal(0, 0.008 * longest, 2)
    values = cv2.remap(
        values, columns + depth * move[0], rows + depth * move[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
    )
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    turned = corners + random.normal(0, 0.05 * longest, (4, 2)).astype(np.float32)
    view = cv2.getPerspectiveTransform(corners, turned)
    values = cv2.warpPerspective(values, view, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    relief = cv2.GaussianBlur(values.mean(axis=2), (0, 0), random.uniform(1.0, 2.5))
    slope_x, slope_y = cv2.Sobel(relief, cv2.CV_32F, 1, 0), cv2.Sobel(relief, cv2.CV_32F, 0, 1)
    angle = random.uniform(0, 2 * np.pi)
    slope = slope_x * np.cos(angle) + slope_y * np.sin(angle)
    values += (random.uniform(0.5, 1.2) * 30 * slope / (slope.std() + 1))[..., None]
    soft = cv2.resize(random.normal(0, 1, (7, 7)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    shadow = cv2.GaussianBlur((soft > 0.3).astype(np.float32), (0, 0), 3)
    values *= (1 - random.uniform(0.2, 0.5) * shadow)[..., None] * random.uniform(0.85, 1.15, 3)
    return _stand_in_front(to_image(values), random, other)


def _stand_in_front(picture: Image.Image, random: np.random.Generator, other: Image.Image) -> Image.Image:
    """Parts of another picture, as people and cars stand before a building."""
    mask = Image.new("L", picture.size, 0)
    draw = ImageDraw.Draw(mask)
    for _ in range(4):
        x, y = random.integers(0, picture.width), random.integers(picture.height // 2, picture.height)
        a, b = picture.width // 12, picture.height // 7
        draw.ellipse((x - a, y - b, x + a, y + b), fill=255)
    return Image.composite(other.resize(picture.size), picture, mask)
