"""A map of where in a picture a mark lies, once it has been read."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from provenance_guard.watermark.alignment import Aligned
from provenance_guard.watermark.canvas import Box
from provenance_guard.watermark.pattern import TILE

CELL = 64
"""Side of a cell of the map, in pixels."""

_FINENESS = 2
_QUIET = (
    0.05  # Root mean square of a residual in places that say nothing: whitening spreads a trace of the mark over them.
)


def presence_of(
    residual: torch.Tensor, box: Box, shape: tuple[int, int], aligned: Aligned, template: torch.Tensor
) -> npt.NDArray[np.float32]:
    """The correlation of each cell of a picture of ``shape``, and the cells around it, with the mark that ``aligned`` was read
    from, in standard deviations.

    ``residual`` is the window of the picture at ``box``; ``template`` (128, 128) the message's part of the tile.
    """
    expected = _as_received(template, residual.shape, aligned).to(residual.device)
    rows, columns = (-(-size // CELL) for size in shape)
    sums = torch.zeros(2, rows * CELL, columns * CELL, device=residual.device)
    sums[:, box[0], box[1]] = torch.stack([residual * expected, (residual * expected).square()])
    agreement, power = F.avg_pool2d(F.avg_pool2d(sums, CELL), 3, 1, 1)
    norm = math.sqrt(9 * CELL * CELL)
    return (norm * agreement / (power.sqrt() + _QUIET)).cpu().numpy()


def _as_received(template: torch.Tensor, shape: torch.Size, aligned: Aligned) -> torch.Tensor:
    """The tile as it lies in a received picture, nearest neighbour on a grid twice as fine."""
    height, width = shape
    side = _FINENESS * TILE
    spectrum = torch.fft.fftshift(torch.fft.fft2(template))
    margin = (side - TILE) // 2
    spectrum = torch.fft.ifftshift(F.pad(spectrum, (margin,) * 4))
    fine = torch.fft.ifft2(spectrum).real * _FINENESS**2
    matrix = _FINENESS * aligned.to_tile
    x = torch.arange(width) - float(width // 2)
    y = (torch.arange(height) - float(height // 2))[:, None]
    column = (matrix[0, 0] * x + matrix[0, 1] * y + _FINENESS * aligned.shift[0]).round_().int() & (side - 1)
    row = (matrix[1, 0] * x + matrix[1, 1] * y + _FINENESS * aligned.shift[1]).round_().int() & (side - 1)
    received = fine.reshape(-1)[(row * side + column).reshape(-1)].reshape(height, width)
    return -received if aligned.inverted else received
