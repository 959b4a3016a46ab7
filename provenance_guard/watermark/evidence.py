"""What a picture holds ready for the search: whitened windows, and tiles that are worth a look, the cheap explanations first."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

import torch

from provenance_guard.watermark import sync
from provenance_guard.watermark.alignment import (
    Aligned,
    align,
    fold,
    fold_upright,
    refine,
    signed_permutations,
    unmoved,
)
from provenance_guard.watermark.canvas import Box, Canvas
from provenance_guard.watermark.keys import Key
from provenance_guard.watermark.pattern import Pattern, pattern_of
from provenance_guard.watermark.whitening import residual

MOST_WINDOWS = 3
_WINDOW = 1536  # Pixels: of a larger picture up to three parts of this side are searched.


@dataclass(frozen=True)
class Search:
    """One way to guess the geometry. Guesses are refined in ``groups``, the likelier first; of each group ``folds`` are looked at
    closely: the first few, and those whose pilots have most energy."""

    look: Callable[[sync.Spectrum, Pattern, int], list[sync.Guess]]
    groups: tuple[slice, ...]
    folds: int


SEARCHES = (
    Search(sync.turned_and_scaled, (slice(0, 8), slice(8, 20)), 6),
    Search(sync.stretched, (slice(0, 4),), 4),
)

_PLACES = 2  # Of each folded tile so many places of the pilots are looked at,
_UPRIGHT_PLACES = 16  # of the upright one, which costs least, some more.

_SMALL = 100_000  # Pixels of a picture in which scales are searched with more effort,
_SCALES = 4  # and so many of them are looked at.

MOST_GROUPS = MOST_WINDOWS * (4 + sum(len(search.groups) for search in SEARCHES))
MOST_TILES = MOST_WINDOWS * (
    1 + _UPRIGHT_PLACES + _PLACES * (_SCALES + sum(len(search.groups) * search.folds for search in SEARCHES))
)
"""Tiles that one picture gives for one key, at most."""

_FIRST = 4
_LEAST_ENERGY = 3.0  # Standard deviations of the refined pilots' energy; below it a guess is not followed.
_HALF_TURNS = [torch.eye(2), -torch.eye(2)]
_SMALLEST_PART = 160  # Pixels: where several marks are looked for, no part is smaller.


class Evidence:
    """The whitened windows of a picture, computed once for all keys; ``boxes`` are the windows' places, ``windows_of`` or
    ``overlapping_parts``."""

    def __init__(self, canvas: Canvas, boxes: list[Box]) -> None:
        self.shape = canvas.shape
        self.boxes = boxes
        self._canvas = canvas
        self._ignored: torch.Tensor | None = None
        self._residuals: dict[int, torch.Tensor] = {}
        self._spectra: dict[int, sync.Spectrum] = {}
        self._transforms: dict[int, torch.Tensor] = {}

    def residuals(self) -> Iterator[tuple[int, torch.Tensor]]:
        """Number and whitened plane of each window."""
        for number, box in enumerate(self.boxes):
            if number not in self._residuals:
                plane = residual(self._canvas.luma(box))
                self._residuals[number] = plane if self._ignored is None else plane * ~self._ignored[box]
            yield number, self._residuals[number]

    def residual(self, number: int) -> torch.Tensor:
        """A window that ``residuals`` has given out."""
        return self._residuals[number]

    def ignore(self, places: torch.Tensor) -> None:
        """From now on see nothing where ``places`` (H, W) is true."""
        self._ignored = places if self._ignored is None else self._ignored | places
        for planes in (self._residuals, self._spectra, self._transforms):
            planes.clear()

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

    def groups(self, key: Key) -> Iterator[tuple[int, list[Aligned]]]:
        """Window by window, tiles worth a look: as the picture was marked, moved or turned by right angles, then what the searches
        find."""
        pattern = pattern_of(key)
        upright = torch.eye(2)
        for number, plane in self.residuals():
            (rows, columns), (height, width) = self.boxes[number], plane.shape
            tile, turns = fold_upright(plane), signed_permutations()
            yield number, [unmoved(tile, (rows.start + height // 2, columns.start + width // 2))]
            places = align(tile, upright, pattern, turns, _UPRIGHT_PLACES)
            yield number, list(islice(places, _PLACES))
            yield number, list(places)
            for search in SEARCHES:
                guesses = search.look(self.spectrum(number), pattern, search.groups[-1].stop)
                for group in search.groups:
                    yield number, self._aligned(number, guesses[group], search.folds, pattern)
            if len(self.boxes) == 1 and plane.numel() <= _SMALL:
                yield number, _scaled(plane, pattern)

    def _aligned(self, number: int, guesses: list[sync.Guess], folds: int, pattern: Pattern) -> list[Aligned]:
        plane = self._residuals[number]
        if not guesses:
            return []
        matrices, energies = refine(
            self.transform(number), torch.stack([guess.matrix for guess in guesses]).to(plane.device), pattern.pilots
        )
        tiles: list[Aligned] = []
        by_energy = energies.argsort(descending=True).tolist()
        for index in list(dict.fromkeys([*range(len(guesses))[:_FIRST], *by_energy]))[:folds]:
            if energies[index] < _LEAST_ENERGY:
                continue
            to_tile = matrices[index].T.cpu()
            tiles += align(fold(plane, to_tile), to_tile, pattern, _HALF_TURNS, _PLACES)
        return tiles


def _scaled(plane: torch.Tensor, pattern: Pattern) -> list[Aligned]:
    tiles: list[Aligned] = []
    for guess in sync.scaled(plane, pattern, _SCALES):
        to_tile = guess.matrix.T
        tiles += align(fold(plane, to_tile), to_tile, pattern, [torch.eye(2)], _PLACES)
    return tiles


def windows_of(shape: tuple[int, int]) -> list[Box]:
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


def overlapping_parts(shape: tuple[int, int]) -> list[Box]:
    """Halves of a picture's sides, then thirds, overlapping by half: where a collage may hold pictures of their own."""
    boxes = []
    for share in (2, 3):
        side_y, side_x = (max(min(size, _SMALLEST_PART), size // share) for size in shape)
        if share == 3 and min(side_y, side_x) <= _SMALLEST_PART:
            break
        steps = 2 * share - 2
        boxes += [
            (slice(y, y + side_y), slice(x, x + side_x))
            for y in (step * (shape[0] - side_y) // steps for step in range(steps + 1))
            for x in (step * (shape[1] - side_x) // steps for step in range(steps + 1))
        ]
    return boxes
