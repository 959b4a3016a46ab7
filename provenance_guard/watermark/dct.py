"""The 8x8 block DCT (type II, orthonormal) of tensors, as one matrix product, for chosen frequencies only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import torch

BLOCK = 8

Frequency = tuple[int, int]
"""Half periods a block, down and across: 0 to 7."""


def block_dct(plane: torch.Tensor, frequencies: Sequence[Frequency]) -> torch.Tensor:
    """Coefficients (..., H/8, W/8, frequencies) of a plane (..., H, W) whose sides are multiples of 8."""
    *batch, height, width = plane.shape
    blocks = plane.reshape(*batch, height // BLOCK, BLOCK, width // BLOCK, BLOCK).transpose(-3, -2)
    return blocks.flatten(-2) @ _waves(tuple(frequencies)).to(plane).T


def inverse_block_dct(coefficients: torch.Tensor, frequencies: Sequence[Frequency]) -> torch.Tensor:
    """The plane (..., H, W) of coefficients (..., H/8, W/8, frequencies); all other frequencies are 0."""
    *batch, rows, columns, _ = coefficients.shape
    blocks = (coefficients @ _waves(tuple(frequencies)).to(coefficients)).reshape(*batch, rows, columns, BLOCK, BLOCK)
    return blocks.transpose(-3, -2).reshape(*batch, rows * BLOCK, columns * BLOCK)


@lru_cache(maxsize=8)
def _waves(frequencies: tuple[Frequency, ...]) -> torch.Tensor:
    """The basis pictures (frequencies, 64)."""
    step = torch.arange(BLOCK, dtype=torch.float64)
    basis = torch.cos(math.pi / BLOCK * (step + 0.5) * step[:, None]) * math.sqrt(2 / BLOCK)
    basis[0] /= math.sqrt(2)
    return torch.stack([torch.outer(basis[row], basis[column]).flatten() for row, column in frequencies])
