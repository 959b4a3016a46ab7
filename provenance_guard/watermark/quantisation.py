"""Helps the mark through coarse JPEG: lifts coefficients over a rounding threshold where that costs least.

JPEG 10 rounds most of a picture's coefficients to zero, and the mark with them. But some stand just below the threshold beyond
which they are rounded up: there a push of a few levels changes what is stored by a whole quantisation step. A part of the mark's
power, spent on such coefficients, speaks louder after compression than all the rest, and costs nothing elsewhere, since every push has
the sign that the message wants. (Informed embedding, after Miller, Doerr and Cox, IEEE Trans. Image Process. 13, 2004; the tables are
those of ITU-T T.81, Annex K, scaled as libjpeg does.)
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch

from provenance_guard.watermark.dct import BLOCK, block_dct, inverse_block_dct
from provenance_guard.watermark.pattern import FREQUENCIES, SIDE
from provenance_guard.watermark.perceptual import Allowance
from provenance_guard.watermark.whitening import DEVIATION_FLOOR

QUALITIES = (10, 20, 30, 50)
"""Of the JPEG files that are prepared for. Finer ones leave the mark alone."""

_OWN = 2.0  # Of the amplitude: the root mean square that a coefficient has of the mark already.
_MARGIN = 0.6  # A coefficient is pushed so far beyond the threshold: twice what rounding to whole levels moves it.
_SAMPLES = 3_000
_SPARE = 4  # Samples more than should be needed.
_CHOICES = (1.3, 4.0)  # Times the budget: among so many pushes is chosen; among more where the cheapest
_MANY_COPIES = 0.3  # are mostly copies of each other,
_MOST_LIKELY = 12  # yet at most one coefficient in so many.

# fmt: off
_LUMINANCE = (
    (16, 11, 10, 16, 24, 40), (12, 12, 14, 19, 26, 58), (14, 13, 16, 24, 40, 57),
    (14, 17, 22, 29, 51, 87), (18, 22, 37, 56, 68, 109), (24, 35, 55, 64, 81, 104),
)
# fmt: on


def reinforce(
    mark: torch.Tensor, luma: torch.Tensor, activity: torch.Tensor, allowance: Allowance, wanted: torch.Tensor
) -> torch.Tensor:
    """``mark`` (H, W), a little weaker, with the cheapest useful pushes added; together they keep within ``allowance``.

    ``luma`` and its ``activity`` (H, W) are in levels, from a corner of a tile on; ``wanted`` (16, 16, frequencies) are the signs of
    a tile's message coefficients.
    """
    mark = math.sqrt(1 - allowance.pushed) * mark
    rows, columns = allowance.prices.shape
    inside = (slice(0, rows * BLOCK), slice(0, columns * BLOCK))
    signs = wanted.to(luma.device).repeat(-(-rows // SIDE), -(-columns // SIDE), 1)[:rows, :columns]
    prices = allowance.prices[..., None]
    marked = signs * block_dct((luma + mark)[inside], FREQUENCIES)
    middles = (slice(BLOCK // 2, rows * BLOCK, BLOCK), slice(BLOCK // 2, columns * BLOCK, BLOCK), None)
    amplitude = allowance.amplitude[middles]
    weight = (activity[middles] + DEVIATION_FLOOR) * prices
    pushes = torch.zeros_like(marked)
    left = allowance.pushed
    for quality in QUALITIES:
        step = _steps(quality).to(luma.device)
        scaled = marked / step
        push = step * (0.5 - (scaled - scaled.round())) + _MARGIN
        energy = push * (push + 2 * _OWN * amplitude)  # The push and the mark below it add up.
        energy = torch.where(push < allowance.highest * amplitude, energy, torch.inf)
        # In plain pictures the coarsest files are out of reach: what they leave serves the finest.
        budget = left if quality == QUALITIES[-1] else allowance.pushed / len(QUALITIES)
        places, spent = _cheapest(energy * (weight / step), energy * prices, budget)
        left -= spent
        pushes.view(-1)[places] = torch.maximum(pushes.view(-1)[places], push.view(-1)[places])
    mark[inside] += inverse_block_dct(signs * pushes, FREQUENCIES)
    return mark


def _cheapest(costs: torch.Tensor, prices: torch.Tensor, budget: float) -> tuple[torch.Tensor, float]:
    """Places (flat) of the lowest ``costs`` (rows, columns, frequencies) whose ``prices`` keep within ``budget``, and their sum.

    What has been chosen in one copy of the tile is dearer in the next ones: a message that is heard evenly is read sooner.
    """
    flat, price = costs.view(-1), prices.view(-1)
    step = len(flat) // _SAMPLES // 6 * 6 + 1  # Of all frequencies and columns: it shares no factor with their numbers.
    sample, order = flat[::step].sort()
    sums = step * price[::step][order].cumsum(0)
    for choice in _CHOICES:
        count = min(int(torch.searchsorted(sums, choice * budget)) + _SPARE, len(sample) // _MOST_LIKELY)
        dearest = sample[count].clamp(max=torch.finfo(sample.dtype).max)
        likely = (flat <= dearest).nonzero()[:, 0]
        likely, copies = _by_place(likely, 0.99 * flat[likely] / dearest, costs.shape)
        if copies.float().mean() < _MANY_COPIES:
            break
    likely = likely[(flat[likely] * (1 + copies).square()).argsort()]
    spent = price[likely].cumsum(0)
    count = int(torch.searchsorted(spent, budget))
    return likely[:count], float(spent[count - 1]) if count else 0.0


def _by_place(likely: torch.Tensor, cost: torch.Tensor, shape: torch.Size) -> tuple[torch.Tensor, torch.Tensor]:
    """``likely`` places ordered by their place in the tile, and how many cheaper ones there are in other copies of it; ``cost`` is
    below 1."""
    _, columns, frequencies = shape
    row, column = likely // (columns * frequencies) % SIDE, likely // frequencies % columns % SIDE
    place = ((row * SIDE + column) * frequencies + likely % frequencies).float()
    order = (place + cost).argsort()
    ordered = place[order]
    return likely[order], torch.arange(len(likely), device=likely.device) - torch.searchsorted(ordered, ordered)


@lru_cache(maxsize=8)
def _steps(quality: int) -> torch.Tensor:
    """The quantisation steps of the message's frequencies in a JPEG of that quality, below 50 or 50."""
    percent = 5000 // quality
    return torch.tensor([float((_LUMINANCE[row][column] * percent + 50) // 100) for row, column in FREQUENCIES])
