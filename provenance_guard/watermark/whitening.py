"""Turns a picture into a residual in which the picture itself is weak, even noise and the mark stands out."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from provenance_guard.watermark.perceptual import blur

_MEAN_SIGMA, _DEVIATION_SIGMA = 2.0, 1.5
_DEVIATION_FLOOR = 3.0  # Levels: about the noise that rounding and JPEG leave in flat areas.
_CLIP = 3.0
_SPECTRUM_WINDOW = 9
_SPECTRUM_FLOOR = 0.05
_OUTLIER = 3.0


def residual(luma: torch.Tensor) -> torch.Tensor:
    """The whitened plane (H, W), mean square 1, of a luma plane (H, W) in levels.

    Subtracts the local mean and clips what stands out. Then divides by the local variance, not the deviation: the mark is about
    equally strong everywhere, so this weighs each place by how clearly it speaks (a matched filter). Last, flattens the spectrum
    against a local average from which peaks (the pilots among them) are kept out.
    """
    detail = luma - blur(luma, _MEAN_SIGMA)
    deviation = blur(detail.square(), _DEVIATION_SIGMA).clamp(min=0).sqrt() + _DEVIATION_FLOOR
    weighed = (detail / deviation).clamp(-_CLIP, _CLIP) / deviation
    spectrum = torch.fft.rfft2(weighed)
    power = _smooth_power(spectrum.abs().square())
    floor = _SPECTRUM_FLOOR * power.median() + 1e-12
    white = torch.fft.irfft2(spectrum / (power + floor).sqrt(), s=weighed.shape)
    return white / (white.square().mean().sqrt() + 1e-9)


def _smooth_power(power: torch.Tensor) -> torch.Tensor:
    mean = _box(power)
    return 1.1 * _box(torch.minimum(power, _OUTLIER * mean))


def _box(power: torch.Tensor) -> torch.Tensor:
    margin = _SPECTRUM_WINDOW // 2
    rows = F.pad(power[None, None], (0, 0, margin, margin), mode="circular")
    both = F.pad(rows, (margin, margin, 0, 0), mode="reflect")
    return F.avg_pool2d(F.avg_pool2d(both, (_SPECTRUM_WINDOW, 1), 1), (1, _SPECTRUM_WINDOW), 1)[0, 0]
