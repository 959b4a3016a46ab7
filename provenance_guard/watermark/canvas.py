"""Pictures of any kind as luma planes that can be read and added to, part by part."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, Union

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from provenance_guard.errors import MarkError
from provenance_guard.watermark.perceptual import LUMA, SPREAD

Picture = Union[Image.Image, torch.Tensor]
Box = tuple[slice, slice]

PART = 1024
"""Longest side of a part in pixels, a multiple of the tile's side: it bounds the memory that a huge picture needs, and each
part keeps the strength's promise by itself."""

_STEP = 128


class Canvas(Protocol):
    """A picture being marked or read. ``shape`` is (height, width); luma is in levels of 0..255."""

    shape: tuple[int, int]

    def luma(self, box: Box) -> torch.Tensor:
        """The luma plane of a part, float32."""

    def add(self, box: Box, change: torch.Tensor) -> float:
        """Add a luma change, in levels, to a part; returns the sum of squared errors over all samples of the colours."""

    def finish(self) -> Picture:
        """The changed picture, of the kind that was given."""

    samples: int
    """Colour samples in the whole picture: pixels times 1 or 3."""


def open_canvas(picture: Picture) -> Canvas:
    """A canvas over a copy of a PIL picture of any mode, or of a float tensor (3, H, W) in 0..1. Raises MarkError."""
    if isinstance(picture, torch.Tensor):
        return TensorCanvas(picture)
    if isinstance(picture, Image.Image):
        return ImageCanvas(picture)
    raise MarkError(
        f"A {type(picture).__name__} cannot be marked.", next_step="Pass a PIL picture or a float tensor (3, H, W)."
    )


def parts(shape: tuple[int, int]) -> Iterator[Box]:
    """Boxes of at most 1024 pixels a side that cover a plane; they start at multiples of 128."""
    for rows in _cuts(shape[0]):
        for columns in _cuts(shape[1]):
            yield rows, columns


def _cuts(length: int) -> list[slice]:
    count = -(-length // PART)
    size = -(-length // (count * _STEP)) * _STEP
    return [slice(start, min(start + size, length)) for start in range(0, length, size)]


class TensorCanvas:
    """A float tensor (3, H, W) in 0..1, on its own device."""

    def __init__(self, picture: torch.Tensor) -> None:
        if picture.ndim != 3 or picture.shape[0] != 3 or not picture.is_floating_point():
            raise MarkError(
                f"A {picture.dtype} tensor of shape {tuple(picture.shape)} cannot be marked.",
                next_step="Pass floats of shape (3, H, W) in 0..1.",
            )
        self._picture = picture.detach().clone()
        self.shape = (int(picture.shape[1]), int(picture.shape[2]))
        self.samples = picture.numel()
        self._luma = torch.tensor(LUMA, device=picture.device) * 255
        self._spread = torch.tensor(SPREAD, device=picture.device) / 255

    def luma(self, box: Box) -> torch.Tensor:
        return torch.einsum("c,chw->hw", self._luma, self._picture[:, box[0], box[1]].float())

    def add(self, box: Box, change: torch.Tensor) -> float:
        part = self._picture[:, box[0], box[1]]
        marked = (part.float() + self._spread[:, None, None] * change).clamp(0, 1)
        error = float((marked - part).mul(255).square().sum())
        part.copy_(marked)
        return error

    def finish(self) -> torch.Tensor:
        return self._picture


class ImageCanvas:
    """A PIL picture. Grey, colour, 8 and 16 bits and transparency stay what they are; other modes become RGB or RGBA."""

    def __init__(self, picture: Image.Image) -> None:
        self._info = dict(picture.info)
        image = _supported(picture)
        pixels = np.array(image)
        self._full = 65535 if image.mode == "I;16" else 255
        self._pixels: npt.NDArray[np.generic] = pixels if pixels.ndim == 3 else pixels[:, :, None]
        self.shape = (image.height, image.width)
        self._colours = 3 if image.mode.startswith("RGB") else 1
        self.samples = self._colours * image.height * image.width
        self._luma = torch.tensor(LUMA if self._colours == 3 else (1.0,)) * (255 / self._full)
        self._spread = torch.tensor(SPREAD if self._colours == 3 else (1.0,)) * (self._full / 255)

    def luma(self, box: Box) -> torch.Tensor:
        return self._part(box) @ self._luma

    def add(self, box: Box, change: torch.Tensor) -> float:
        part = self._part(box)
        marked = (part + change[:, :, None] * self._spread).round_().clamp_(0, self._full)
        self._pixels[box][:, :, : self._colours] = marked.numpy().astype(self._pixels.dtype)
        difference = (marked - part).view(-1)
        return float(difference @ difference) * (255 / self._full) ** 2

    def finish(self) -> Image.Image:
        pixels = self._pixels if self._pixels.shape[2] > 1 else self._pixels[:, :, 0]
        image = Image.fromarray(np.ascontiguousarray(pixels))
        image.info = {name: value for name, value in self._info.items() if name != "transparency"}
        return image

    def _part(self, box: Box) -> torch.Tensor:
        return torch.from_numpy(self._pixels[box][:, :, : self._colours].astype(np.float32))


def _supported(picture: Image.Image) -> Image.Image:
    has_key = "transparency" in picture.info
    if picture.mode in ("I;16", "L", "LA", "RGB", "RGBA") and not has_key:
        return picture
    if picture.mode == "F" or picture.mode.startswith("I"):
        values = np.asarray(picture, dtype=np.float64)
        full = 255.0 if values.size == 0 or values.max() <= 255 else max(65535.0, float(values.max()))
        return Image.fromarray((values * (255 / full)).clip(0, 255).round().astype(np.uint8))
    if picture.mode == "1":
        return picture.convert("L")
    transparent = has_key or picture.mode in ("PA", "La", "RGBa")
    return picture.convert("RGBA" if transparent else "RGB")
