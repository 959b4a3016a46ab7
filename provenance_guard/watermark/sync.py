"""Finds by the pilots how a picture was scaled, turned, mirrored or stretched, without knowing the original.

On log-polar axes of the spectrum a rotation and a scaling both become a shift, so one FFT correlation with the pilots'
constellation tries all of them at once (Reddy and Chatterji, IEEE Trans. Image Process. 5, 1996); stretching is searched after.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F

from provenance_guard.watermark.pattern import TILE, Pattern
from provenance_guard.watermark.perceptual import fast_length

SMALLEST_SCALE, LARGEST_SCALE = 0.3, 3.4
_LONGEST_WINDOW = 640
_PEAK_LIMIT = 25.0
_INNER, _OUTER = 0.017, 0.485  # Cycles a pixel.
_FEWEST_PILOTS = 8
_NEIGHBOURHOOD = 9
_UPRIGHT_ROWS = 3
_UPRIGHT_GUESSES = 4
_UPRIGHT_BONUS = 1.5  # Most pictures are not turned at all: a prior, in standard deviations.
_MOST_STRETCH = 0.42
_STRETCH_SCALES = (0.4, 2.2)
_LARGEST_SMALL = 1.1  # What is small was mostly made smaller.
_SCALE_STEP = 0.75  # Of the scale that turns the highest pilots by a cycle over the picture.
_SCALES_AT_ONCE = 64


@dataclass(frozen=True)
class Guess:
    """A geometry that the spectrum speaks for. ``matrix`` (2, 2) maps pilot frequencies to received ones; ``score`` is in
    standard deviations."""

    score: float
    matrix: torch.Tensor


@dataclass(frozen=True)
class Spectrum:
    """The mean power of windows of a residual, mean 1, peaks limited; ``window`` is their side in pixels."""

    power: torch.Tensor
    window: int


def spectrum_of(residual: torch.Tensor) -> Spectrum:
    """The power spectrum of up to four overlapping windows of a residual (H, W)."""
    height, width = residual.shape
    window = max(128, min(_LONGEST_WINDOW, 64 * math.ceil(max(height, width) / 64)))
    size = 512 if window <= 360 else 1024
    tops = [0] if height <= window else [0, height - window]
    lefts = [0] if width <= window else [0, width - window]
    power = torch.zeros(size, size // 2 + 1, device=residual.device)
    for top in tops:
        for left in lefts:
            part = residual[top : top + window, left : left + window]
            power += torch.fft.rfft2(part, s=(size, size)).abs().square() / part.numel()
    return Spectrum((power / (len(tops) * len(lefts))).clamp(max=_PEAK_LIMIT), window)


def turned_and_scaled(spectrum: Spectrum, pattern: Pattern, most: int) -> list[Guess]:
    """The ``most`` likeliest rotations and scales, mirrored ones included: the best few that only scale, then the others.

    A strong mark in a smooth picture shows all lines of its tile, and turned or mirrored constellations that fall on such lines
    outdo the true one. Most pictures are only scaled, so those guesses come first.
    """
    grid = _log_polar(spectrum.window)
    template = _constellation(pattern, spectrum.window)
    device = spectrum.power.device
    values = torch.where(grid.inside.to(device), _sample(spectrum.power, grid.x.to(device), grid.y.to(device)) - 1, 0.0)
    values = F.pad(values, (0, grid.padded - values.shape[1]))
    correlation = torch.fft.irfft2(torch.fft.rfft2(values) * template.spectra.to(device), s=values.shape)
    scores = correlation[:, :, grid.shifts.to(device)] / template.counts.to(device).sqrt()
    scores[:, :_UPRIGHT_ROWS] += _UPRIGHT_BONUS
    scores[:, -_UPRIGHT_ROWS:] += _UPRIGHT_BONUS
    upright = _peaks(scores[:1, :1], _UPRIGHT_GUESSES)
    others = [peak for peak in _peaks(scores, most) if peak[1] not in {place for _, place in upright}]
    return [
        Guess(score, _matrix(turn * grid.step, grid.scales[scale], grid.scales[scale], mirrored=bool(mirror)))
        for score, (mirror, turn, scale) in (upright + others)[:most]
    ]


def stretched(spectrum: Spectrum, pattern: Pattern, most: int) -> list[Guess]:
    """The ``most`` likeliest pairs of scales along x and y, of a picture that was not turned."""
    step = max(2.5 / spectrum.window, 0.0012)
    device = spectrum.power.device
    low, high = (math.log(scale) for scale in _STRETCH_SCALES)
    scales = torch.arange(low, high, step, device=device)[:, None]
    ratios = torch.arange(-_MOST_STRETCH, _MOST_STRETCH, step, device=device)
    frequencies = torch.from_numpy(pattern.pilots.frequencies).float().to(device)
    total = torch.zeros(len(scales), len(ratios), device=device)
    count = torch.zeros_like(total)
    for x, y in frequencies:
        seen_x, seen_y = x * torch.exp(-scales - ratios / 2), y * torch.exp(-scales + ratios / 2)
        inside = (seen_x.abs() < _OUTER) & (seen_y.abs() < _OUTER)
        total += torch.where(inside, _sample(spectrum.power, seen_x, seen_y) - 1, 0.0)
        count += inside
    scores = (total / count.clamp(min=_FEWEST_PILOTS).sqrt())[None]
    guesses = []
    for score, (_, scale, ratio) in _peaks(scores, most):
        scale_x = math.exp(float(scales[scale]) + float(ratios[ratio]) / 2)
        scale_y = math.exp(float(scales[scale]) - float(ratios[ratio]) / 2)
        guesses.append(Guess(score, _matrix(0.0, scale_x, scale_y, mirrored=False)))
    return guesses


def scaled(residual: torch.Tensor, pattern: Pattern, most: int) -> list[Guess]:
    """The ``most`` likeliest scales of a residual (H, W) that was not turned, by the pilots' phases too.

    Where a picture is so small that no single pilot stands out, all of them at their places in one tile still may. The cost grows
    with the size: for small pictures only.
    """
    height, width = residual.shape
    step = _SCALE_STEP / max(height, width)
    scales = torch.exp(torch.arange(math.log(SMALLEST_SCALE), math.log(_LARGEST_SMALL), step, device=residual.device))
    peaks = torch.cat([_best_shifts(residual, pattern, part) for part in torch.split(scales, _SCALES_AT_ONCE)])
    around = F.max_pool1d(peaks[None], 5, 1, 2)[0]
    best = scales[torch.where(peaks == around, peaks, 0.0).topk(min(most, len(peaks))).indices]
    close = best[:, None] * torch.exp(step * torch.arange(-0.6, 0.61, 0.2, device=best.device))
    scores, chosen = _best_shifts(residual, pattern, close.flatten()).reshape(close.shape).max(1)
    finer = close.gather(1, chosen[:, None])[:, 0]
    return [
        Guess(score, _matrix(0.0, scale, scale, mirrored=False))
        for score, scale in zip(scores.tolist(), finer.tolist(), strict=True)
    ]


def _best_shifts(residual: torch.Tensor, pattern: Pattern, scales: torch.Tensor) -> torch.Tensor:
    """The pilots' correlation (n,) at the best shift of the tile, in standard deviations, under each of ``scales`` (n,)."""
    height, width = residual.shape
    received = torch.from_numpy(pattern.pilots.frequencies).float().to(scales) / scales[:, None, None]
    visible = (received.abs() < _OUTER).all(2)
    turns = 2 * math.pi * received.flatten(0, 1)
    across = turns[:, :1] * (torch.arange(width, device=scales.device) - width // 2)
    down = turns[:, 1:] * (torch.arange(height, device=scales.device) - height // 2)
    real, imaginary = across.cos() @ residual.T, across.sin() @ residual.T
    cosine, sine = down.cos(), down.sin()
    waves = torch.complex((real * cosine - imaginary * sine).sum(1), -(imaginary * cosine + real * sine).sum(1))
    waves = (waves / math.sqrt(height * width)).reshape(visible.shape) * visible
    waves = waves / (waves.abs() / math.sqrt(_PEAK_LIMIT)).clamp(min=1)
    phases = torch.from_numpy(pattern.pilots.phases).float().to(scales)
    columns, rows = torch.from_numpy(pattern.pilots.waves.T % TILE).to(scales.device)
    field = torch.zeros(len(scales), TILE, TILE, dtype=torch.complex64, device=scales.device)
    field[:, rows, columns] = waves * torch.polar(torch.ones_like(phases), -phases)
    highest = torch.fft.fft2(field).real.abs().amax((1, 2))
    return highest / (visible.sum(1) / 2).clamp(min=_FEWEST_PILOTS / 2).sqrt()


@dataclass(frozen=True)
class _LogPolarGrid:
    """Sampling places ``x``, ``y`` (angles, rings) in cycles a pixel; ``shifts`` are the ring shifts of ``scales``."""

    step: float
    x: torch.Tensor
    y: torch.Tensor
    inside: torch.Tensor
    padded: int
    scales: list[float]
    shifts: torch.Tensor


@dataclass(frozen=True)
class _Constellation:
    """The pilots on log-polar axes, plain and mirrored, as conjugate ``spectra``; ``counts`` of visible pilots per scale."""

    spectra: torch.Tensor
    counts: torch.Tensor


@lru_cache(maxsize=8)
def _log_polar(window: int) -> _LogPolarGrid:
    angles = fast_length(math.ceil(math.pi * 0.22 * window / 0.36))
    step = math.pi / angles
    rings = int(math.log(_OUTER / _INNER) / step) + 1
    logs = torch.arange(math.log(SMALLEST_SCALE), math.log(LARGEST_SCALE), step, dtype=torch.float64)
    padded = fast_length(rings + len(logs) + 8)
    radius = _INNER * torch.exp(torch.arange(rings) * step)
    angle = torch.arange(angles)[:, None] * step
    x, y = radius * torch.cos(angle), radius * torch.sin(angle)
    shifts = torch.round(-logs / step).long() % padded
    return _LogPolarGrid(step, x, y, radius.expand_as(x) < _OUTER, padded, torch.exp(logs).tolist(), shifts)


@lru_cache(maxsize=32)
def _constellation(pattern: Pattern, window: int) -> _Constellation:
    grid = _log_polar(window)
    angles = len(grid.x)
    frequencies = torch.from_numpy(pattern.pilots.frequencies)
    radius = frequencies.norm(dim=1).log()
    points = torch.zeros(2, angles, grid.padded)
    for mirror, sign in enumerate((1, -1)):
        angle = torch.atan2(frequencies[:, 1], sign * frequencies[:, 0]) % math.pi
        row = torch.round(angle / grid.step).long() % angles
        column = torch.round((radius - math.log(_INNER)) / grid.step).long()
        points[mirror].index_put_((row, column), torch.ones(len(row)), accumulate=True)
    seen = radius - torch.tensor(grid.scales, dtype=torch.float64).log()[:, None]
    counts = ((seen > math.log(_INNER)) & (seen < math.log(_OUTER))).sum(1).clamp(min=_FEWEST_PILOTS).float()
    return _Constellation(torch.fft.rfft2(points).conj(), counts)


def _matrix(turn: float, scale_x: float, scale_y: float, *, mirrored: bool) -> torch.Tensor:
    cosine, sine = math.cos(turn), math.sin(turn)
    sign = -1.0 if mirrored else 1.0
    return torch.tensor([[sign * cosine / scale_x, -sine / scale_x], [sign * sine / scale_y, cosine / scale_y]])


def _sample(power: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The half spectrum ``power`` at frequencies in cycles a pixel, nearest neighbour."""
    size = power.shape[0]
    column = (x.abs() * size).round().long().clamp(max=size // 2)
    row = (torch.where(x < 0, -y, y) * size).round().long() % size
    return power[row, column]


def _peaks(scores: torch.Tensor, most: int) -> list[tuple[float, tuple[int, int, int]]]:
    """The highest places of planes (n, rows, columns), best first, at most ``most`` and one a neighbourhood; rows wrap around."""
    _, rows, columns = scores.shape
    side = _NEIGHBOURHOOD
    padded = F.pad(scores[:, None], (0, -columns % side, 0, -rows % side), value=-math.inf)[:, 0]
    down, across = padded.shape[1] // side, padded.shape[2] // side
    squares = padded.reshape(-1, down, side, across, side)
    heights = squares.amax((2, 4)).reshape(-1)
    found: list[tuple[float, tuple[int, int, int]]] = []
    for square in heights.topk(min(4 * most, len(heights))).indices.tolist():
        plane, y, x = square // (down * across), square // across % down, square % across
        within = int(squares[plane, y, :, x].argmax())
        row, column = y * side + within // side, x * side + within % side
        if not any(_close((plane, row, column), place, rows) for _, place in found):
            found.append((float(padded[plane, row, column]), (plane, row, column)))
        if len(found) == most:
            break
    return found


def _close(one: tuple[int, int, int], other: tuple[int, int, int], rows: int) -> bool:
    apart = abs(one[1] - other[1])
    margin = _NEIGHBOURHOOD // 2
    return one[0] == other[0] and min(apart, rows - apart) <= margin and abs(one[2] - other[2]) <= margin
