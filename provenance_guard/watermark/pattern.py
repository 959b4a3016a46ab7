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
PILOT_SHARE = 0.18
"""Part of the pattern's power that the pilots get."""

_PILOT_BAND = (0.06, 0.22)  # Cycles a pixel: above most of a picture's energy, below what JPEG and shrinking remove.
_PILOT_SPACING = 3  # Grid steps between two pilots, so that a scaled picture does not mix them up.
# Lower ones are seen first and drown in the picture; higher ones fall to JPEG and shrinking.
FREQUENCIES = sorted(
    ((row, column) for row in range(6) for column in range(6) if 2 <= row + column <= 5),
    key=lambda pair: (math.hypot(*pair), pair),
)
"""Of the block DCT, that carry the message."""

SIDE = TILE // BLOCK
"""Of the tile, in blocks."""

_BLOCKS = SIDE**2
_RADII = np.array([math.hypot(*pair) for pair in FREQUENCIES])

EMPHASES = np.stack(
    [
        np.select([_RADII < 2.9, _RADII < 3.9], [1.0, middle], high)
        for middle, high in ((1.0, 1.0), (0.6, 0.15), (0.25, -0.8))
    ]
).astype(np.float32)
"""Weights of the message's frequencies (low, middle, high): as the mark was made; after blurring, shrinking and coarse JPEG;
after a wide median or box filter, which turns the high ones over."""

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
    """Which code bit each message coefficient carries, and with which sign: both shaped (frequencies, blocks). ``voters``
    (code bits, most voters) lists the coefficients of each bit; a place that is left over holds their number."""

    positions: IntArray
    signs: npt.NDArray[np.float32]
    voters: IntArray


@dataclass(frozen=True)
class Votes:
    """Soft values of the code bits, and how far the coefficients that vote for the same bit agree: ``agreement`` is in standard
    deviations, where no mark gives 0 on average and one that can just be decoded 4 to 7. ``energy`` is the sum of squares."""

    soft: coding.Soft
    agreement: float
    energy: float

    def score(self, code: coding.Soft) -> float:
        """The votes' correlation with a codeword, in standard deviations of what keyed signs give without it."""
        return float(self.soft @ code) / math.sqrt(self.energy + 1e-12)


class Pattern:
    """All that the mark of one key looks like."""

    def __init__(self, key: Key) -> None:
        self.key = key
        self.pilots = _draw_pilots(key)
        self._pilot_tile = self.pilots.tile()

    def tile(self, code: coding.Soft, profile: Profile, tilt: float = 0.0) -> torch.Tensor:
        """The tile (128, 128), root mean square 1, that carries a codeword, or any weights of its bits, in a profile's layout. The
        message's frequencies get power in proportion to their radius to the power of ``-2 * tilt``."""
        data = self.data_tile(code, profile, (_RADII**-tilt).astype(np.float32))
        return math.sqrt(1 - PILOT_SHARE) * data + math.sqrt(PILOT_SHARE) * self._pilot_tile

    def data_tile(
        self, code: coding.Soft, profile: Profile, emphasis: npt.NDArray[np.float32] = EMPHASES[0]
    ) -> torch.Tensor:
        """The part of the tile that carries a codeword, its frequencies weighed by ``emphasis``, such as one of ``EMPHASES``: no
        pilots, root mean square 1."""
        coefficients = self.message_coefficients(code, profile) * torch.from_numpy(emphasis)
        tile = self.without_pilots(inverse_block_dct(coefficients, FREQUENCIES))
        return tile / tile.square().mean().sqrt()

    def message_coefficients(self, code: coding.Soft, profile: Profile) -> torch.Tensor:
        """What the tile's message coefficients (16, 16, frequencies) should be like, for a codeword or any weights of its bits."""
        layout = layout_of(self.key, profile)
        return torch.from_numpy((code[layout.positions] * layout.signs).T.reshape(SIDE, SIDE, -1))

    def votes(self, tile: torch.Tensor, profile: Profile) -> Votes:
        """What an aligned tile says about the code bits."""
        return self.readings(self.coefficients(tile[None]), profile)[0][0]

    def coefficients(self, tiles: torch.Tensor) -> npt.NDArray[np.float32]:
        """The message coefficients (n, frequencies, blocks) of aligned tiles (n, 128, 128)."""
        chosen = block_dct(self.without_pilots(tiles), FREQUENCIES).reshape(len(tiles), _BLOCKS, -1)
        return chosen.transpose(1, 2).cpu().numpy()

    def readings(self, coefficients: npt.NDArray[np.float32], profile: Profile) -> list[list[Votes]]:
        """What ``coefficients`` of tiles say about the code bits: of each tile one reading for each of ``EMPHASES``."""
        layout = layout_of(self.key, profile)
        signed = coefficients * layout.signs
        emphasised = (signed[:, None] * EMPHASES[:, :, None]).reshape(-1, signed[0].size)
        ordered = np.pad(emphasised, ((0, 0), (0, 1)))[:, layout.voters]
        votes = [Votes(soft, agreement, energy) for soft, agreement, energy in zip(*_counted(ordered), strict=True)]
        return [votes[start : start + len(EMPHASES)] for start in range(0, len(votes), len(EMPHASES))]

    def without_pilots(self, tile: torch.Tensor) -> torch.Tensor:
        """Tiles (..., 128, 128) with the pilots' Fourier bins emptied."""
        spectrum = torch.fft.fft2(tile)
        columns, rows = torch.from_numpy(self.pilots.waves.T % TILE)
        spectrum[..., rows, columns] = 0
        spectrum[..., -rows % TILE, -columns % TILE] = 0
        return torch.fft.ifft2(spectrum).real


@lru_cache(maxsize=16)
def pattern_of(key: Key) -> Pattern:
    """The pattern of a key, kept for the next picture."""
    return Pattern(key)


@lru_cache(maxsize=32)
def layout_of(key: Key, profile: Profile) -> Layout:
    """A profile's layout under a key: every code bit gets coefficients of low and high frequency alike."""
    code_length = coding.RATE * profile.message_bits
    count = len(FREQUENCIES)
    draws = keyed_integers(key, f"layout {profile.name}", code_length + 2 * count * _BLOCKS)
    code_order = np.argsort(draws[:code_length], kind="stable")
    block_draws, sign_draws = draws[code_length:].reshape(2, count, _BLOCKS)
    ranks = np.argsort(np.argsort(block_draws, axis=1, kind="stable"), axis=1, kind="stable")
    turns = ranks + _BLOCKS * np.arange(count)[:, None]
    signs = 1 - 2 * (sign_draws & 1).astype(np.float32)
    positions = code_order[turns % code_length]
    return Layout(positions, signs, _voters(positions.ravel(), code_length))


def _voters(positions: IntArray, code_length: int) -> IntArray:
    order = np.argsort(positions, kind="stable")
    counts = np.bincount(positions, minlength=code_length)
    voters = np.full((code_length, counts.max()), len(positions))
    bits = positions[order]
    voters[bits, np.arange(len(positions)) - (np.cumsum(counts) - counts)[bits]] = order
    return voters


def _counted(
    ordered: npt.NDArray[np.float32],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Sums, agreement and energy of votes (readings, code bits, voters)."""
    squared = ordered * ordered
    sums, squares, fourths = ordered.sum(2), squared.sum(2), (squared * squared).sum(2)
    # Products of two votes for a bit are positive on average under the mark; the signs are keyed, so otherwise they are not.
    spread = np.sqrt(2 * (squares * squares - fourths).sum(1)) + 1e-12
    return sums, (sums * sums - squares).sum(1) / spread, squares.sum(1)


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
        if low <= math.hypot(x, y) <= high and x % SIDE and y % SIDE  # Off JPEG's own grid.
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
