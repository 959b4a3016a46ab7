"""Looks for the mark of one key in a picture, trying the cheap explanations first."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from provenance_guard.watermark import coding, sync
from provenance_guard.watermark.alignment import (
    Aligned,
    align,
    fold,
    fold_upright,
    likeness,
    refine,
    signed_permutations,
)
from provenance_guard.watermark.canvas import Box, Canvas
from provenance_guard.watermark.keys import Key
from provenance_guard.watermark.pattern import EMPHASES, Pattern, pattern_of
from provenance_guard.watermark.payload import PROFILES, PayloadCipher, Profile, from_bits, profile_for, to_bits
from provenance_guard.watermark.whitening import residual

SMALLEST_SIDE = 64
"""Pixels: a smaller picture cannot carry the mark."""

MOST_WINDOWS = 3
_WINDOW = 1536  # Pixels: of a larger picture up to three parts of this side are searched.


@dataclass(frozen=True)
class Search:
    """One way to guess the geometry. Guesses are refined in ``groups``, the likelier first; of each group the ``folds`` whose
    pilots have most energy are looked at closely."""

    look: Callable[[sync.Spectrum, Pattern, int], list[sync.Guess]]
    groups: tuple[slice, ...]
    folds: int


SEARCHES = (
    Search(sync.turned_and_scaled, (slice(0, 6), slice(6, 18)), 4),
    Search(sync.stretched, (slice(0, 4),), 2),
)

_PLACES = 4  # Of each folded tile so many places of the pilots are looked at,
_UPRIGHT_PLACES = 16  # of the upright one, which costs least, some more.
_DECODES = 3  # Of each group so many tiles are decoded.

_GROUPS = 2 + sum(len(search.groups) for search in SEARCHES)
MOST_CHECKS = MOST_WINDOWS * _GROUPS * _DECODES * max(profile.list_size for profile in PROFILES)
"""Messages that may be put to the check of a long profile per picture and key. Times 2**-40 it bounds below 1e-9 that a mark
which is there is read wrongly."""

MOST_READINGS = (
    MOST_WINDOWS
    * len(EMPHASES)
    * (_UPRIGHT_PLACES + _PLACES * sum(len(search.groups) * search.folds for search in SEARCHES))
)
"""Readings of votes per picture, key and profile."""

_CHANCE = 1e-10
"""How probably a picture without a mark of any known key may be taken for one with a mark, in each profile."""

_LEAST_ENERGY = 3.0  # Standard deviations of the refined pilots' energy; below it a guess is not followed.
_LEAST_AGREEMENT = 3.0  # Standard deviations of the votes' agreement; what can be decoded has more than 4.
_HALF_TURNS = [torch.eye(2), -torch.eye(2)]


@dataclass(frozen=True)
class Geometry:
    """What happened to the picture since it was marked.

    ``scale_x``, ``scale_y`` are sizes relative to the marked picture, ``angle`` degrees counter-clockwise, ``mirrored``
    left-right before turning, ``offset`` where in the repeating tile the picture's centre lies (x, y), ``inverted`` a negative.
    """

    scale_x: float
    scale_y: float
    angle: float
    mirrored: bool
    inverted: bool
    offset: tuple[float, float]

    @property
    def scale(self) -> float:
        """The mean of both scales."""
        return math.sqrt(self.scale_x * self.scale_y)


@dataclass(frozen=True)
class Detection:
    """A mark that was found. ``payload`` is what was embedded, ``confidence`` the share of code bits that arrived right
    (0.5 is chance, about 0.65 the least that can be decoded), ``key_id`` and ``profile`` tell how it was read."""

    payload: bytes
    confidence: float
    geometry: Geometry
    key_id: str
    profile: str


class Evidence:
    """The whitened windows of a picture, computed once for all keys."""

    def __init__(self, canvas: Canvas) -> None:
        self._canvas = canvas
        self._boxes = _windows(canvas.shape)
        self._residuals: dict[int, torch.Tensor] = {}
        self._spectra: dict[int, sync.Spectrum] = {}
        self._transforms: dict[int, torch.Tensor] = {}

    def residuals(self) -> Iterator[tuple[int, torch.Tensor]]:
        """Number and whitened plane of each window."""
        for number, box in enumerate(self._boxes):
            if number not in self._residuals:
                self._residuals[number] = residual(self._canvas.luma(box))
            yield number, self._residuals[number]

    def spectrum(self, number: int) -> sync.Spectrum:
        """The spectrum of a window that ``residuals`` has given out."""
        if number not in self._spectra:
            self._spectra[number] = sync.spectrum_of(self._residuals[number])
        return self._spectra[number]

    def transform(self, number: int) -> torch.Tensor:
        """The whole Fourier transform of a window that ``residuals`` has given out."""
        if number not in self._transforms:
            self._transforms[number] = torch.fft.fft2(self._residuals[number])
        return self._transforms[number]

    def groups(self, key: Key) -> Iterator[list[Aligned]]:
        """Tiles worth a look: as the picture stands or turned by right angles, then what the searches find, group by group."""
        pattern = pattern_of(key)
        upright = torch.eye(2)
        for number, plane in self.residuals():
            tiles = align(fold_upright(plane), upright, pattern, signed_permutations(), _UPRIGHT_PLACES)
            yield tiles[:_PLACES]
            yield tiles[_PLACES:]
            for search in SEARCHES:
                guesses = search.look(self.spectrum(number), pattern, search.groups[-1].stop)
                for group in search.groups:
                    yield self._aligned(number, guesses[group], search.folds, pattern)

    def _aligned(self, number: int, guesses: list[sync.Guess], folds: int, pattern: Pattern) -> list[Aligned]:
        plane = self._residuals[number]
        if not guesses:
            return []
        matrices, energies = refine(
            self.transform(number), torch.stack([guess.matrix for guess in guesses]).to(plane.device), pattern.pilots
        )
        tiles: list[Aligned] = []
        for index in energies.argsort(descending=True).tolist()[:folds]:
            if energies[index] < _LEAST_ENERGY:
                break
            to_tile = matrices[index].T.cpu()
            tiles += align(fold(plane, to_tile), to_tile, pattern, _HALF_TURNS, _PLACES)
        return tiles


def find(evidence: Evidence, key: Key, known_keys: int = 1) -> Detection | None:
    """The first mark of this key that passes its checks, or None. ``known_keys`` is how many keys are tried on the picture."""
    return next(filter(None, (read(tiles, key, known_keys) for tiles in evidence.groups(key))), None)


def read(tiles: list[Aligned], key: Key, known_keys: int = 1) -> Detection | None:
    """Decode the most promising of some tiles, under the profiles whose votes agree."""
    if not tiles:
        return None
    pattern, cipher = pattern_of(key), _cipher_of(key)
    planes = torch.stack([tile.tile for tile in tiles])
    readings = [
        (votes, tile, profile)
        for profile in PROFILES
        for tile, of_tile in zip(tiles, pattern.readings(planes, profile), strict=True)
        for votes in of_tile
    ]
    readings.sort(key=lambda reading: -reading[0].agreement)
    for votes, aligned, profile in readings[:_DECODES]:
        if votes.agreement < _LEAST_AGREEMENT:
            break
        for bits in coding.decode(votes.soft, profile.list_size):
            code = coding.encode(bits)
            payload = profile.unseal(from_bits(bits), cipher)
            if payload is not None and votes.score(code) >= least_score(profile, known_keys):
                agreement = float(np.mean(np.sign(votes.soft) == code))
                return Detection(payload, agreement, _geometry(aligned), key.id, profile.name)
    return None


@lru_cache(maxsize=64)
def least_score(profile: Profile, known_keys: int) -> float:
    """The correlation with a codeword, in standard deviations, that a picture without a mark does not reach.

    The signs of the coefficients are keyed, so a given codeword reaches z with a probability of at most exp(-z**2 / 2)
    (Hoeffding, J. Am. Stat. Assoc. 58, 1963), whatever the picture. Times all codewords that pass the check, all readings and all
    keys that leaves ``_CHANCE``.
    """
    return math.sqrt(2 * (profile.free_bits * math.log(2) + math.log(MOST_READINGS * known_keys / _CHANCE)))


def claimed_score(evidence: Evidence, key: Key, payload: bytes) -> float:
    """How strongly a picture speaks for a claimed payload: knowing the whole tile, its place is found where the pilots are lost."""
    profile = profile_for(payload)
    template = pattern_of(key).data_tile(coding.encode(message_of(payload, key)), profile)
    turns = signed_permutations()
    return max(likeness(aligned.tile, template, turns) for tiles in evidence.groups(key) for aligned in tiles)


def correlation(aligned: Aligned, key: Key, payload: bytes) -> tuple[float, Profile]:
    """How strongly a tile speaks for a claimed payload, in standard deviations, and the payload's profile."""
    profile = profile_for(payload)
    code = coding.encode(message_of(payload, key))
    soft = pattern_of(key).votes(aligned.tile, profile).soft
    return float(soft @ code) / (math.sqrt(float(soft @ soft)) + 1e-9), profile


def message_of(payload: bytes, key: Key) -> coding.Bits:
    """The message bits that carry a payload. Raises MarkError when it is not 16 bytes."""
    return to_bits(profile_for(payload).seal(payload, _cipher_of(key)))


@lru_cache(maxsize=32)
def _cipher_of(key: Key) -> PayloadCipher:
    return PayloadCipher(key)


def _geometry(aligned: Aligned) -> Geometry:
    (a, b), (c, d) = aligned.to_tile.tolist()
    mirrored = a * d - b * c < 0
    if mirrored:
        a, b = -a, -b  # Undo the mirror on the tile's side.
    scale_x, scale_y = 1 / math.hypot(a, c), 1 / math.hypot(b, d)
    angle = math.degrees(math.atan2(c, a))
    return Geometry(scale_x, scale_y, angle, mirrored, aligned.inverted, aligned.shift)


def _windows(shape: tuple[int, int]) -> list[Box]:
    """The picture itself, or when it is huge up to three windows along its longer side, the middle first."""
    height, width = shape
    high, wide = min(height, _WINDOW), min(width, _WINDOW)
    top, left = (height - high) // 2, (width - wide) // 2
    count = min(MOST_WINDOWS, max(math.ceil(height / _WINDOW), math.ceil(width / _WINDOW)))
    boxes = []
    for turn in range(count):
        step = (turn + 1) // 2 * (1 if turn % 2 else -1) / count
        y = min(max(round(top + step * (height - high)), 0), height - high)
        x = min(max(round(left + step * (width - wide)), 0), width - wide)
        boxes.append((slice(y, y + high), slice(x, x + wide)))
    return boxes
