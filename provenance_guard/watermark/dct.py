"""The 8x8 block DCT (type II, orthonormal) of tensors, as two batched matrix products."""

from __future__ import annotations

import math

import torch

BLOCK = 8


def block_dct(plane: torch.Tensor) -> torch.Tensor:
    """Coefficients (..., H/8, W/8, 8, 8), row frequency first, of a plane (..., H, W) whose sides are multiples of 8."""
    basis = _basis(plane)
    *batch, height, width = plane.shape
    blocks = plane.reshape(*batch, height // BLOCK, BLOCK, width // BLOCK, BLOCK).transpose(-3, -2)
    return basis @ blocks @ basis.T


def inverse_block_dct(coefficients: torch.Tensor) -> torch.Tensor:
    """The plane (..., H, W) of coefficients (..., H/8, W/8, 8, 8)."""
    basis = _basis(coefficients)
    *batch, rows, columns, _, _ = coefficients.shape
    blocks = basis.T @ coefficients @ basis
    return blocks.transpose(-3, -2).reshape(*batch, rows * BLOCK, columns * BLOCK)


def _basis(like: torch.Tensor) -> torch.Tensor:
    step = torch.arange(BLOCK, dtype=torch.float64)
    basis = torch.cos(math.pi / BLOCK * (step + 0.5) * step[:, None]) * math.sqrt(2 / BLOCK)
    basis[0] /= math.sqrt(2)
    return basis.to(like)
