"""Put the mark into a picture and read it again."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

import torch
from PIL import Image

from provenance_guard.errors import MarkError
from provenance_guard.pictures import to_image
from provenance_guard.watermark import detector
from provenance_guard.watermark.canvas import Picture, open_canvas, parts
from provenance_guard.watermark.detector import Detection, Evidence
from provenance_guard.watermark.keys import Key
from provenance_guard.watermark.pattern import TILE, pattern_of
from provenance_guard.watermark.payload import profile_for
from provenance_guard.watermark.perceptual import amplitude, strength_named

_SELF_CHECK_QUALITY = 80
_SELF_CHECK_SIDE = 1024
_NEEDED_RATIO = 1 / 3
"""Signal to noise power of a code bit at which nearly every message decodes (1 dB of energy a bit, rate 1/6)."""


PictureT = TypeVar("PictureT", Image.Image, torch.Tensor)


@dataclass(frozen=True)
class Embedding(Generic[PictureT]):
    """A marked picture and what the mark is worth in it.

    ``psnr`` in dB over the colours (infinite when nothing changed); ``margin`` in dB by which the code bits, after JPEG
    quality 80, exceed what decoding needs; ``weak`` when they do not, so that reading it will often fail.
    """

    image: PictureT
    psnr: float
    margin: float
    weak: bool


class Watermarker:
    """Embeds and detects the invisible mark of one key.

    ``key`` is 32 bytes or a ``Key``; ``strength`` is ``invisible``, ``balanced`` or ``strong``; ``known`` are further keys
    that detection tries after ``key``. Pictures are PIL images of any mode or float tensors (3, H, W) in 0..1 on any device.
    """

    def __init__(self, key: bytes | Key, strength: str = "invisible", *, known: Sequence[Key] = ()) -> None:
        self.key = key if isinstance(key, Key) else Key(key)
        self.strength = strength_named(strength)
        self._keys = list({known_key.secret: known_key for known_key in (self.key, *known)}.values())

    def embed(self, image: PictureT, payload: bytes) -> PictureT:
        """A marked copy of ``image`` that carries the 16 bytes of ``payload``; alpha and metadata are kept.

        Raises MarkError for a picture below 64 pixels a side and for a payload of another length.
        """
        return self._embed(image, payload)[0]

    def embed_measured(self, image: PictureT, payload: bytes) -> Embedding[PictureT]:
        """As ``embed``, and says by a self-check (decode after JPEG 80) how much the mark can bear."""
        marked, psnr = self._embed(image, payload)
        margin = self._margin(marked, payload)
        return Embedding(marked, psnr, margin, weak=margin < 0)

    def detect(self, image: Picture) -> Detection | None:
        """The mark in ``image``, without the original, or None when there is none (or none that can be read any more).

        A wrong payload passes with a probability below 1e-9 per picture and key (``detector.MOST_CHECKS``).
        """
        canvas = open_canvas(image)
        if min(canvas.shape) < detector.SMALLEST_SIDE:
            return None
        evidence = Evidence(canvas)
        for key in self._keys:
            found = detector.find(evidence, key)
            if found is not None:
                return found
        return None

    def check(self, image: Picture, payload: bytes) -> float:
        """How strongly ``image`` speaks for a claimed payload: a z score, for pictures too damaged for ``detect``.

        It is the best of a quarter of a million places, so that pictures without the mark give 4 to 5; 7 and more are as
        good as certain. Raises MarkError for a payload of another length.
        """
        profile_for(payload)
        canvas = open_canvas(image)
        if min(canvas.shape) < detector.SMALLEST_SIDE:
            return 0.0
        return detector.claimed_score(Evidence(canvas), self.key, payload)

    def _embed(self, image: PictureT, payload: bytes) -> tuple[PictureT, float]:
        profile = profile_for(payload)
        canvas = open_canvas(image)
        height, width = canvas.shape
        if min(height, width) < detector.SMALLEST_SIDE:
            raise MarkError(
                f"A picture of {width} x {height} pixels is too small for a mark.",
                next_step=f"Mark pictures of at least {detector.SMALLEST_SIDE} pixels a side.",
            )
        tile = pattern_of(self.key).tile(detector.message_of(payload, self.key), profile)
        error = 0.0
        for box in parts(canvas.shape):
            luma = canvas.luma(box)
            error += canvas.add(box, amplitude(luma, self.strength) * _repeated(tile.to(luma.device), luma.shape))
        psnr = 10 * math.log10(255**2 * canvas.samples / error) if error else math.inf
        return cast(PictureT, canvas.finish()), psnr

    def _margin(self, marked: Picture, payload: bytes) -> float:
        image = to_image(marked) if isinstance(marked, torch.Tensor) else marked.convert("RGB")
        left, top = (max(0, (size - _SELF_CHECK_SIDE) // 2) for size in image.size)
        image = image.crop(
            (left, top, min(left + _SELF_CHECK_SIDE, image.width), min(top + _SELF_CHECK_SIDE, image.height))
        )
        stored = io.BytesIO()
        image.save(stored, "JPEG", quality=_SELF_CHECK_QUALITY)
        with Image.open(stored) as received:
            tiles = next(Evidence(open_canvas(received)).groups(self.key))
            score, profile = detector.correlation(tiles[0], self.key, payload)
        bits = 6 * profile.message_bits
        signal = max(score, 0.1) ** 2
        return 10 * math.log10(signal / (bits - signal) / _NEEDED_RATIO)


def _repeated(tile: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    rows, columns = (-(-size // TILE) for size in shape)
    return tile.repeat(rows, columns)[: shape[0], : shape[1]]
