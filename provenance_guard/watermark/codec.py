"""Put the mark into a picture and read it again."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from provenance_guard.errors import MarkError
from provenance_guard.pictures import to_image
from provenance_guard.watermark import coding, detector
from provenance_guard.watermark.alignment import fold_at_corner
from provenance_guard.watermark.canvas import Picture, open_canvas, parts
from provenance_guard.watermark.detector import Detection
from provenance_guard.watermark.evidence import Evidence, overlapping_parts, windows_of
from provenance_guard.watermark.keys import Key
from provenance_guard.watermark.pattern import TILE, Pattern, pattern_of
from provenance_guard.watermark.payload import Profile, profile_for
from provenance_guard.watermark.perceptual import activity_of, allow, detail_of, strength_named
from provenance_guard.watermark.quantisation import reinforce
from provenance_guard.watermark.whitening import DEVIATION_FLOOR

_SELF_CHECK_QUALITY = 80
_SELF_CHECK_SIDE = 1024
_MAKE_UP = 0.35
_EFFORT_LIMITS = (0.2, 3.0)
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

        A picture without a mark of a known key gives a payload with a probability below 1e-9, all keys together
        (``detector.least_score``).
        """
        canvas = open_canvas(image)
        if min(canvas.shape) < detector.SMALLEST_SIDE:
            return None
        evidence = Evidence(canvas, windows_of(canvas.shape))
        for key in self._keys:
            found = detector.find(evidence, key, len(self._keys))
            if found is not None:
                return found
        return None

    def detect_all(self, image: Picture, most: int = 16) -> list[Detection]:
        """All marks in ``image``, up to ``most``, where ``detect`` tells the first: for collages. Takes several times as long.

        The whole picture is searched first, then overlapping parts of it, each for every known key. Pictures of one
        payload that lie there at the same scale and angle are told as one.
        """
        canvas = open_canvas(image)
        if min(canvas.shape) < detector.SMALLEST_SIDE:
            return []
        evidence = Evidence(canvas, [*windows_of(canvas.shape), *overlapping_parts(canvas.shape)])
        found: list[Detection] = []
        for key in self._keys:
            found += detector.find_all(evidence, key, len(self._keys), most - len(found))
        return found

    def check(self, image: Picture, payload: bytes) -> float:
        """How strongly ``image`` speaks for a claimed payload: a z score, for pictures too damaged for ``detect``.

        It is the best of a quarter of a million places, so that pictures without the mark give 4 to 5; 7 and more are as
        good as certain. Raises MarkError for a payload of another length.
        """
        profile_for(payload)
        canvas = open_canvas(image)
        if min(canvas.shape) < detector.SMALLEST_SIDE:
            return 0.0
        return detector.claimed_score(Evidence(canvas, windows_of(canvas.shape)), self.key, payload)

    def _embed(self, image: PictureT, payload: bytes) -> tuple[PictureT, float]:
        profile = profile_for(payload)
        canvas = open_canvas(image)
        height, width = canvas.shape
        if min(height, width) < detector.SMALLEST_SIDE:
            raise MarkError(
                f"A picture of {width} x {height} pixels is too small for a mark.",
                next_step=f"Mark pictures of at least {detector.SMALLEST_SIDE} pixels a side.",
            )
        pattern = pattern_of(self.key)
        code = coding.encode(detector.message_of(payload, self.key))
        wanted = pattern.message_coefficients(code, profile)
        plain = _detail_of_tile(pattern.tile(code, profile, self.strength.tilt))
        error = 0.0
        for box in parts(canvas.shape):
            luma = canvas.luma(box)
            detail = detail_of(luma)
            activity = activity_of(detail)
            allowance = allow(luma, activity, self.strength)
            first_try = detail + allowance.amplitude * _repeated(plain, luma)
            heard = fold_at_corner(first_try / (activity + DEVIATION_FLOOR).square())
            tile = pattern.tile(code * _effort(heard, code, pattern, profile), profile, self.strength.tilt)
            mark = allowance.amplitude * _repeated(tile, luma)
            error += canvas.add(box, reinforce(mark, luma, activity, allowance, wanted))
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
            canvas = open_canvas(received)
            _, tiles = next(Evidence(canvas, windows_of(canvas.shape)).groups(self.key))
            score, profile = detector.correlation(tiles[0], self.key, payload)
        bits = 6 * profile.message_bits
        signal = max(score, 0.1) ** 2
        return 10 * math.log10(signal / (bits - signal) / _NEEDED_RATIO)


def _effort(heard: torch.Tensor, code: coding.Soft, pattern: Pattern, profile: Profile) -> coding.Soft:
    """How much of the mark's power each code bit is worth: more where the picture itself speaks against it.

    ``heard`` is the tile that a detector would fold out of a plainly marked picture, but for the flattening of its spectrum.
    After the improved spread spectrum of Malvar and Florencio, IEEE Trans. Signal Process. 51, 2003, with a part of the
    picture's own noise made up for: all of it would take the power from what compression leaves.
    """
    agreement = pattern.votes(heard, profile).soft * code
    mean = float(agreement.mean())
    if mean <= 0:
        return np.ones_like(code)
    return (1 - _MAKE_UP * (agreement / mean - 1)).clip(*_EFFORT_LIMITS)


def _detail_of_tile(tile: torch.Tensor) -> torch.Tensor:
    margin = TILE // 8
    around = F.pad(tile[None, None], (margin,) * 4, mode="circular")[0, 0]
    return detail_of(around)[margin:-margin, margin:-margin]


def _repeated(tile: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    height, width = like.shape
    return tile.to(like.device).repeat(-(-height // TILE), -(-width // TILE))[:height, :width]
