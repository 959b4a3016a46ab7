"""The keyed tile that is added to a picture: message coefficients and pilot waves, 128 pixels square, repeated.

Because it repeats, a detector may fold the whole picture into one tile before it decodes. The message sits in low 8x8 DCT
coefficients; the pilots are plane waves on the tile's Fourier grid, and the message is kept out of their Fourier bins.
Everything keyed comes from SHAKE-256, so that it is the same on every machine and with every library release.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch

from provenance_guard.watermark import coding
from provenance_guard.watermark.dct import BLOCK, block_dct, inverse_block_dct
from provenance_guard.watermark.keys import Key
from provenance_guard.watermark.payload import Profile

TILE = 128
"""Side of the tile in pixels."""

PILOTS = 32
PILOT_SHARE = 0.3
"""Part of the pattern's power that the pilots get."""

_PILOT_BAND = (0.06, 0.22)  # Cycles a pixel: above most of a picture's energy, below what JPEG and shrinking remove.
_PILOT_SPACING = 3  # Grid steps between two pilots, so that a scaled picture does not mix them up.
# Lower ones are seen first and drown in the picture; higher ones fall to JPEG and shrinking.
_FREQUENCIES = sorted(
    ((row, column) for row in range(6) for column in range(6) if 2 <= row + column <= 5),
    key=lambda pair: (math.hypot(*pair), pair),
)
_ROWS = [row for row, _ in _FREQUENCIES]
_COLUMNS = [column for _, column in _FREQUENCIES]
_BLOCKS = (TILE // BLOCK) ** 2

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Pilots:
    """Plane waves: ``waves`` (n, 2) whole periods a tile along x and y, ``phases`` (n,) at the tile's corner, in radians."""

    waves: IntArray
    phases: npt.NDArray[np.float64]

    @property
    def frequencies(self) -> npt.NDArray[np.float64]:
        """Cycles a pixel along x and y, shape (n, 2)."""
        return self.waves / TILE

    def tile(self) -> torch.Tensor:
        """The sum of all waves, root mean square 1."""
        place = np.arange(TILE)
        angle_x = 2 * np.pi * self.frequencies[:, 0, None] * place + self.phases[:, None]
        angle_y = 2 * np.pi * self.frequencies[:, 1, None] * place
        total = np.cos(angle_y).T @ np.cos(angle_x) - np.sin(angle_y).T @ np.sin(angle_x)
        return torch.from_numpy(total / math.sqrt(len(self.waves) / 2)).float()


@dataclass(frozen=True)
class Layout:
    """Which code bit each message coefficient carries, and with which sign: both shaped (frequencies, blocks)."""

    positions: IntArray
    signs: npt.NDArray[np.float32]
    code_length: int


@dataclass(frozen=True)
class Votes:
    """Soft values of the code bits, and how far the coefficients that vote for the same bit agree: ``agreement`` is in standard
    deviations, where no mark gives 0 on average and one that can just be decoded 4 to 7. ``energy`` is the sum of squares."""

    soft: coding.Soft
    agreement: float
    energy: float

    @classmethod
    def of(cls, votes: npt.NDArray[np.float32], layout: Layout) -> Votes:
        """Sum single votes (frequencies, blocks) bit by bit."""
        positions, values = layout.positions.ravel(), votes.ravel()
        sums, squares, fourths = (np.bincount(positions, values**power, layout.code_length) for power in (1, 2, 4))
        # Products of two votes for a bit are positive on average under the mark; the signs are keyed, so otherwise they are not.
        spread = math.sqrt(2 * float((squares**2 - fourths).sum())) + 1e-12
        agreement = float((sums**2 - squares).sum()) / spread
        return cls(sums.astype(np.float32), agreement, float(squares.sum()))


class Pattern:
    """All that the mark of one key looks like."""

    def __init__(self, key: Key) -> None:
        self.key = key
        self.pilots = _draw_pilots(key)
        self._pilot_tile = self.pilots.tile()

    def tile(self, message: coding.Bits, profile: Profile) -> torch.Tensor:
        """The tile (128, 128), root mean square 1, that carries ``message`` in a profile's layout."""
        data = self.data_tile(coding.encode(message), profile)
        return math.sqrt(1 - PILOT_SHARE) * data + math.sqrt(PILOT_SHARE) * self._pilot_tile

    def data_tile(self, code: coding.Soft, profile: Profile) -> torch.Tensor:
        """The part of the tile that carries a codeword: no pilots, root mean square 1."""
        layout = layout_of(self.key, profile)
        values = torch.from_numpy(code[layout.positions] * layout.signs)
        side = TILE // BLOCK
        coefficients = torch.zeros(side, side, BLOCK, BLOCK)
        coefficients[:, :, _ROWS, _COLUMNS] = values.T.reshape(side, side, -1)
        spectrum = torch.fft.fft2(inverse_block_dct(coefficients))
        tile = torch.fft.ifft2(self.without_pilots(spectrum)).real
        return tile / tile.square().mean().sqrt()

    def votes(self, tile: torch.Tensor, profile: Profile) -> Votes:
        """What an aligned tile that is free of pilots says about the code bits."""
        layout = layout_of(self.key, profile)
        coefficients = block_dct(tile.cpu())[:, :, _ROWS, _COLUMNS].reshape(_BLOCKS, -1).T
        return Votes.of(coefficients.numpy() * layout.signs, layout)

    def without_pilots(self, spectrum: torch.Tensor) -> torch.Tensor:
        """The spectrum (128, 128) of a tile with the pilots' bins emptied."""
        spectrum = spectrum.clone()
        columns, rows = torch.from_numpy(self.pilots.waves.T % TILE)
        spectrum[..., rows, columns] = 0
        spectrum[..., -rows % TILE, -columns % TILE] = 0
        return spectrum


@lru_cache(maxsize=16)
def pattern_of(key: Key) -> Pattern:
    """The pattern of a key, kept for the next picture."""
    return Pattern(key)


@lru_cache(maxsize=32)
def layout_of(key: Key, profile: Profile) -> Layout:
    """A profile's layout under a key: every code bit gets coefficients of low and high frequency alike."""
    code_length = coding.RATE * profile.message_bits
    count = len(_FREQUENCIES)
    draws = keyed_integers(key, f"layout {profile.name}", code_length + 2 * count * _BLOCKS)
    code_order = np.argsort(draws[:code_length], kind="stable")
    block_draws, sign_draws = draws[code_length:].reshape(2, count, _BLOCKS)
    ranks = np.argsort(np.argsort(block_draws, axis=1, kind="stable"), axis=1, kind="stable")
    turns = ranks + _BLOCKS * np.arange(count)[:, None]
    signs = 1 - 2 * (sign_draws & 1).astype(np.float32)
    return Layout(code_order[turns % code_length], signs, code_length)


def keyed_integers(key: Key, purpose: str, count: int) -> IntArray:
    """``count`` pseudo-random integers of 32 bits that depend on nothing but key and purpose."""
    stream = hashlib.shake_256(key.derive(purpose)).digest(4 * count)
    return np.frombuffer(stream, "<u4").astype(np.int64)


def _draw_pilots(key: Key) -> Pilots:
    half = TILE // 2
    low, high = (edge * TILE for edge in _PILOT_BAND)
    grid = [
        (x, y)
        for y in range(half)
        for x in range(-half, half)
        if low <= math.hypot(x, y) <= high and x % (TILE // BLOCK) and y % (TILE // BLOCK)  # Off JPEG's own grid.
    ]
    draws = keyed_integers(key, "pilots v1", len(grid) + PILOTS)
    chosen: list[tuple[int, int]] = []
    for index in np.argsort(draws[: len(grid)], kind="stable"):
        x, y = grid[index]
        if all(abs(x - a) + abs(y - b) >= _PILOT_SPACING for a, b in chosen):
            chosen.append((x, y))
        if len(chosen) == PILOTS:
            break
    return Pilots(np.array(chosen), draws[len(grid) :] * (2 * np.pi / 2**32))
