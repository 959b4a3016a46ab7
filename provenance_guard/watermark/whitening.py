"""Turns a picture into a residual in which the picture itself is weak, even noise and the mark stands out."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from provenance_guard.watermark.perceptual import blur, detail_of

_DEVIATION_SIGMA = 1.5
DEVIATION_FLOOR = 4.0  # Levels: about the noise that rounding and JPEG leave in flat areas.
_CELL = 3
_SPECTRUM_FLOOR = 0.2
_OUTLIER = 3.0


def residual(luma: torch.Tensor) -> torch.Tensor:
    """The whitened plane (H, W), mean square 1, of a luma plane (H, W) in levels.

    Subtracts the local mean. Then divides by the local variance, not the deviation: the mark is about equally strong everywhere,
    so this weighs each place by how clearly it speaks (a matched filter). Last, flattens the spectrum against a local average
    from which peaks (the pilots among them) are kept out.
    """
    detail = detail_of(luma)
    deviation = blur(detail.square(), _DEVIATION_SIGMA).clamp(min=0).sqrt() + DEVIATION_FLOOR
    weighed = detail / deviation.square()
    spectrum = torch.fft.rfft2(weighed)
    power = _smooth_power(spectrum.real.square() + spectrum.imag.square())
    floor = _SPECTRUM_FLOOR * power[::_CELL, ::_CELL].median() + 1e-12
    white = torch.fft.irfft2(spectrum * (power + floor).rsqrt(), s=weighed.shape)
    return white / (white.square().mean().sqrt() + 1e-9)


def _smooth_power(power: torch.Tensor) -> torch.Tensor:
    mean = _local_mean(power)
    return 1.1 * _local_mean(torch.minimum(power, _OUTLIER * mean))


def _local_mean(power: torch.Tensor) -> torch.Tensor:
    """Mean over about 9 x 9 bins, found on cells of 3 x 3 (rows wrap around, columns end at both edges)."""
    rows, columns = power.shape
    cells = F.avg_pool2d(power[None, None], _CELL, ceil_mode=True)
    wrapped = F.pad(F.pad(cells, (0, 0, 1, 1), mode="circular"), (1, 1, 0, 0), mode="replicate")
    means = F.avg_pool2d(wrapped, 3, 1)
    return F.interpolate(means, scale_factor=_CELL, mode="nearest")[0, 0, :rows, :columns]
