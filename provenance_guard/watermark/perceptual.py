"""How strong the mark may be, and where: three promises about what a person sees.

Per unit of visibility a nearly flat amplitude is the most robust one: it rises only gently with the local activity of
the picture. All limits are met in closed form, from sums over the picture; nothing is searched.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F

from provenance_guard.errors import UsageError
from provenance_guard.watermark.dct import BLOCK

LUMA = (0.299, 0.587, 0.114)
_LUMA_POWER = sum(weight * weight for weight in LUMA)
SPREAD = tuple(0.5 + 0.5 * weight / _LUMA_POWER for weight in LUMA)
"""Red, green and blue of one level of luma: halfway between grey, which is seen least, and the luma gradient, which changes
the samples least."""
_SPREAD_POWER = sum(part * part for part in SPREAD) / 3

_ROUNDING = 1 / 12  # Mean square of rounding to whole levels.
_LUMA_ROUNDING = (1 + _LUMA_POWER) * _ROUNDING  # Of the colours, and of the luma that is compared.
_FITTED_LOSS = 9.6
_LOSS_EXPONENT = 1 / 0.97
_CAUTION = 0.848
_MOST_ACTIVITY = 6.0
_FAR = 32  # Pixels that are one from as far as SSIMULACRA2 looks.
_FLAT = 0.95  # Levels RMS in flat areas, at most, at every strength.
_PUSHED = (0.16, 0.5)  # Of the allowance, in most pictures and in plain ones.
_HIGHEST_PUSH = 6.0  # Of the amplitude, in most pictures.
_EMPTY = 0.3  # Levels of activity: rounding alone makes that much.
_HARDLY_PLAIN = 0.25  # That much less of a picture is empty when it begins to count as plain.
_SSIM_C2 = (0.03 * 255) ** 2  # Wang, Bovik, Sheikh, Simoncelli, IEEE Trans. Image Process. 13, 2004.


@dataclass(frozen=True)
class Strength:
    """A promise: in places with activity at most ``1 + texture * activity`` times what flat areas bear, and never below
    ``ssimulacra2`` (predicted), ``psnr`` (dB, over the colours) or ``ssim`` (of the luma; the promise is 0.98, and the model of it
    is 0.001 off at worst). A ``tilt`` gives low frequencies more of the power: they outlive blurring, shrinking and denoising, and
    are seen sooner. A picture of which the share ``plain`` is empty is braced for codecs, which remove what is spread thinly over
    nothing: half of the power goes into pushes over rounding thresholds (``quantisation``), up to ``highest`` times the amplitude."""

    name: str
    texture: float
    ssimulacra2: float
    psnr: float
    ssim: float
    tilt: float
    plain: float
    highest: float


STRENGTHS = {
    strength.name: strength
    for strength in (
        Strength("invisible", texture=0.1, ssimulacra2=90.0, psnr=46.0, ssim=0.9809, tilt=0.0, plain=1.0, highest=7.0),
        Strength("balanced", texture=0.15, ssimulacra2=85.0, psnr=44.0, ssim=0.9809, tilt=0.0, plain=1.0, highest=7.0),
        Strength("strong", texture=0.5, ssimulacra2=0.0, psnr=42.0, ssim=0.9809, tilt=0.8, plain=0.65, highest=9.0),
    )
}


def strength_named(name: str) -> Strength:
    """The strength of that name. Raises UsageError."""
    if name not in STRENGTHS:
        raise UsageError(f"{name!r} is no mark strength.", next_step=f"Choose one of {', '.join(STRENGTHS)}.")
    return STRENGTHS[name]


@dataclass(frozen=True)
class Allowance:
    """What the mark may cost. ``amplitude`` (H, W) is the allowed root mean square of the pattern, in levels. ``prices``
    (H // 8, W // 8) say, for each 8x8 block, which share of the whole allowance one unit of DCT energy takes there, by the strictest
    of the strength's promises. The share ``pushed`` of it is for pushes, none higher than ``highest`` times the amplitude, so that
    none is seen by itself."""

    amplitude: torch.Tensor
    prices: torch.Tensor
    pushed: float
    highest: float


def allow(luma: torch.Tensor, activity: torch.Tensor, strength: Strength) -> Allowance:
    """The allowance for a luma plane (H, W) in levels of 0..255, at least 8 pixels a side, and its activity."""
    shape = _FLAT * (1 + strength.texture * activity.clamp(max=_MOST_ACTIVITY))
    power = shape.square()
    ratio = _ratio(luma, power, step=BLOCK, floor=_SSIM_C2)
    seen = min(1.0, _ssimulacra2_scale(luma, power, strength.ssimulacra2))
    psnr, ssim = _psnr_scale(power, strength.psnr), _ssim_scale(ratio, power[::BLOCK, ::BLOCK], strength.ssim)
    rows, columns = (side // BLOCK for side in luma.shape)
    of_block, ratio_of_block = power[::BLOCK, ::BLOCK][:rows, :columns], ratio[:rows, :columns]
    dearest = torch.stack(
        [
            1 / (of_block * seen**2),
            torch.full_like(of_block, 1 / (float(of_block.mean()) * psnr**2)),
            ratio_of_block / (of_block * float(ratio_of_block.mean()) * ssim**2),
        ]
    ).amax(0)
    amplitude = shape * min(seen, psnr, ssim)
    amplitude[_alone(luma.shape[0])] = 0
    amplitude[:, _alone(luma.shape[1])] = 0
    return Allowance(amplitude, dearest / luma.numel(), *_pushes(activity, strength))


def _pushes(activity: torch.Tensor, strength: Strength) -> tuple[float, float]:
    """The share of the allowance that is for pushes, and how high one may be: the plainer the picture, the more."""
    empty = float((activity < _EMPTY).float().mean())
    plainness = min(max(1 - (strength.plain - empty) / _HARDLY_PLAIN, 0.0), 1.0)
    usual, most = _PUSHED
    return usual + plainness * (most - usual), _HIGHEST_PUSH + plainness * (strength.highest - _HIGHEST_PUSH)


def _alone(side: int) -> slice:
    """One or two last rows or columns beyond a multiple of 32: who sees the picture from far sees them without neighbours that would
    even the mark out, and SSIMULACRA2 takes two points off for them alone."""
    return slice(side - side % _FAR, side) if side % _FAR <= 2 else slice(0, 0)


def detail_of(luma: torch.Tensor) -> torch.Tensor:
    """What a plane (H, W) has above a blur of 1.5 pixels."""
    return luma - blur(luma, 1.5)


def activity_of(detail: torch.Tensor) -> torch.Tensor:
    """Local standard deviation of the detail, in levels; found at half the resolution."""
    deviation = blur(_halved(detail.square()[None])[0], 1.5).clamp(min=0).sqrt()
    return F.interpolate(deviation[None, None], size=detail.shape, mode="bilinear", align_corners=False)[0, 0]


def _halved(planes: torch.Tensor) -> torch.Tensor:
    """Planes (n, H, W) at half their size: means of squares of four pixels. Slices are ten times as fast as pooling."""
    odd_rows, odd_columns = (side % 2 for side in planes.shape[1:])
    if odd_rows or odd_columns:
        planes = F.pad(planes, (0, odd_columns, 0, odd_rows), mode="replicate")
    rows = planes[:, ::2] + planes[:, 1::2]
    return (rows[..., ::2] + rows[..., 1::2]) / 4


def blur(plane: torch.Tensor, sigma: float) -> torch.Tensor:
    """Gaussian blur of a plane (H, W), by Fourier transform; the edge pixels are repeated outwards."""
    height, width = plane.shape
    margin = math.ceil(3 * sigma)
    rows, columns = fast_length(height + 2 * margin), fast_length(width + 2 * margin)
    around = (margin, columns - width - margin, margin, rows - height - margin)
    padded = F.pad(plane[None, None], around, mode="replicate")[0, 0]
    spectrum = torch.fft.rfft2(padded) * _gaussian(rows, columns, sigma).to(plane.device)
    return torch.fft.irfft2(spectrum, s=(rows, columns))[margin : margin + height, margin : margin + width]


@lru_cache(maxsize=16)
def _gaussian(rows: int, columns: int, sigma: float) -> torch.Tensor:
    """What a Gaussian blur leaves of each frequency, for ``rfft2`` of a plane of that size."""
    decay = -2 * (math.pi * sigma) ** 2
    left_y, left_x = (
        torch.exp(decay * steps.square()) for steps in (torch.fft.fftfreq(rows), torch.fft.rfftfreq(columns))
    )
    return left_y[:, None] * left_x


@lru_cache(maxsize=256)
def fast_length(length: int) -> int:
    """The next length whose only prime factors are 2, 3 and 5, which Fourier transforms like."""
    while True:
        rest = length
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return length
        length += 1


def _ssimulacra2_scale(luma: torch.Tensor, power: torch.Tensor, score: float) -> float:
    """The factor at which the mark is expected to lower SSIMULACRA2 from 100 to at least ``score``.

    Fitted to 46 photographs, paintings and generated pictures: what counts is the ratio of mark to texture, seen from twice, four
    times and sixteen times as far. The factor is a sixth below the expected one, so that the worst of them keep the promise.
    """
    halves = _halved(torch.stack([luma, power]))
    quarters = _halved(halves)
    near = _ratio(halves[0], halves[1], step=4, floor=30.0).mean()
    middle = _ratio(quarters[0], quarters[1], step=2, floor=1.0).sqrt().mean()
    sixteenths = _halved(_halved(quarters))
    far = _ratio(sixteenths[0], sixteenths[1], step=1, floor=16.0).sqrt().mean()
    fitted = math.exp(-2.524) * float(middle) ** 0.491 / (float(far) ** 0.391 * float(near) ** 0.55)
    return fitted * ((100 - score) / _FITTED_LOSS) ** _LOSS_EXPONENT * _CAUTION


def _psnr_scale(power: torch.Tensor, psnr: float) -> float:
    """The factor at which luma noise of this power, spread over the colours and rounded, has the given PSNR."""
    allowed = 255.0**2 / 10 ** (psnr / 10) - _ROUNDING
    caused = float(power.mean()) * _SPREAD_POWER
    return (allowed / caused) ** 0.5


def _ssim_scale(ratio: torch.Tensor, power: torch.Tensor, ssim: float) -> float:
    """The factor at which independent noise of ``power`` q on a texture of variance v lowers the mean SSIM to the given value, where
    ``ratio`` is q / (2v + c).

    The noise leaves an SSIM of (2v + c) / (2v + q + c), and so does rounding; Newton steps correct the first-order solution.
    """
    rounded = ratio * (_LUMA_ROUNDING / power)
    square = (1 - ssim) / float(ratio.mean())
    for _ in range(3):
        left = 1 / (1 + rounded + square * ratio)
        slope = float((ratio * left.square()).mean())
        square = max(square + (float(left.mean()) - ssim) / slope, 1e-6)
    return square**0.5


def _ratio(luma: torch.Tensor, power: torch.Tensor, step: int, floor: float) -> torch.Tensor:
    """Mark power to twice the texture's variance and a floor, at every ``step``-th place: a mean over the picture needs no more.

    The variance is that of Gaussian windows of 1.5 pixels.
    """
    margin = 4
    centred = luma - luma.mean()
    planes = F.pad(torch.stack([centred, centred.square()])[:, None], (margin,) * 4, mode="replicate")[:, 0]
    rows, columns = (-(-side // step) for side in luma.shape)
    weights = [math.exp(-0.5 * (offset / 1.5) ** 2) for offset in range(-margin, margin + 1)]
    down = _weighed([planes[:, place:][:, ::step][:, :rows] for place in range(2 * margin + 1)], weights)
    mean, square = _weighed([down[..., place:][..., ::step][..., :columns] for place in range(2 * margin + 1)], weights)
    return power[::step, ::step] / (2 * (square - mean.square()).clamp(min=0) + floor)


def _weighed(parts: list[torch.Tensor], weights: list[float]) -> torch.Tensor:
    """The weighted mean of some tensors of one shape."""
    total = torch.zeros_like(parts[0])
    for part, weight in zip(parts, weights, strict=True):
        total.add_(part, alpha=weight / sum(weights))
    return total
