"""From a guess of the geometry to one aligned tile: refine, fold, find the phase."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from provenance_guard.watermark.pattern import TILE, Pattern, Pilots

_FINE = 2 * TILE
_CELL = 16
_HIGHEST = 0.48  # Cycles a pixel: pilots beyond it are lost in a shrunken picture.
_MOST_ENERGY = 60.0
_MOVES = (
    ((1.0, 0.0), (0.0, 1.0)),
    ((0.0, -1.0), (1.0, 0.0)),
    ((1.0, 0.0), (0.0, -1.0)),
    ((0.0, 1.0), (1.0, 0.0)),
)
_ROUNDS = 6
_FIRST_STEP = 2.0  # In units of the relative change that turns the waves by about a cycle over the picture.
_STEP_DECAY = 0.6


@dataclass(frozen=True)
class Aligned:
    """One tile (128, 128) in its original place and tone, pilots removed.

    ``score`` is the pilots' correlation in standard deviations. ``to_tile`` (2, 2) maps received pixel steps (x, y) to tile
    pixel steps; ``shift`` is the tile place (x, y) of the received picture's centre; ``inverted`` tells that tones were.
    """

    tile: torch.Tensor
    score: float
    to_tile: torch.Tensor
    shift: tuple[float, float]
    inverted: bool


def fold(residual: torch.Tensor, to_tile: torch.Tensor) -> torch.Tensor:
    """Sum all of a residual (H, W) into one tile (128, 128), through the linear map ``to_tile`` about the centre.

    Each pixel is dropped on the nearest point of a grid twice as fine; the band above the tile's is cut off afterwards.
    """
    height, width = residual.shape
    device = residual.device
    matrix = 2 * to_tile.to(device, torch.float32)
    x = torch.arange(width, device=device) - float(width // 2)
    y = (torch.arange(height, device=device) - float(height // 2))[:, None]
    column = (matrix[0, 0] * x + matrix[0, 1] * y).round_().long() % _FINE
    row = (matrix[1, 0] * x + matrix[1, 1] * y).round_().long() % _FINE
    fine = torch.zeros(_FINE * _FINE, device=device)
    fine.index_add_(0, (row * _FINE + column).reshape(-1), residual.reshape(-1))
    spectrum = torch.fft.rfft2(fine.reshape(_FINE, _FINE))
    half = TILE // 2
    low = torch.cat([spectrum[:half], spectrum[-half:]])[:, : half + 1]
    return torch.fft.irfft2(low, s=(TILE, TILE))


def align(tile: torch.Tensor, to_tile: torch.Tensor, pattern: Pattern, turns: list[torch.Tensor]) -> Aligned:
    """Turn a folded tile by the likeliest of ``turns`` (signed permutations), shift it into place, and empty the pilot bins."""
    candidates = torch.stack([_turned(tile, turn) for turn in turns])
    spectra = torch.fft.fft2(candidates)
    scores = _pilot_scores(spectra, pattern.pilots)
    best = int(scores.abs().amax((1, 2)).argmax())
    field = scores[best]
    peak = int(field.abs().argmax())
    row, column = divmod(peak, TILE)
    inverted = bool(field[row, column] < 0)
    place_y = row + _parabola(field[:, column], row)
    place_x = column + _parabola(field[row], column)
    steps = torch.fft.fftfreq(TILE, device=tile.device)
    phase = 2 * math.pi * (steps[:, None] * place_y + steps * place_x)
    moved = torch.fft.ifft2(spectra[best] * torch.polar(torch.ones_like(phase), phase)).real
    sign = -1.0 if inverted else 1.0
    return Aligned(
        tile=sign * pattern.without_pilots(moved),
        score=float(field[row, column].abs()),
        to_tile=turns[best] @ to_tile,
        shift=(-place_x % TILE, -place_y % TILE),
        inverted=inverted,
    )


def likeness(tile: torch.Tensor, template: torch.Tensor, turns: list[torch.Tensor]) -> float:
    """The strongest correlation of a tile with a template over all shifts, ``turns`` and both signs, in standard deviations
    of what the shifts give."""
    spectra = torch.fft.fft2(torch.stack([_turned(tile, turn) for turn in turns]))
    fields = torch.fft.ifft2(spectra * torch.fft.fft2(template.to(tile.device)).conj()).real
    return float((fields.abs().amax((1, 2)) / (fields.square().mean((1, 2)).sqrt() + 1e-12)).max())


def refine(residual: torch.Tensor, guess: torch.Tensor, pilots: Pilots) -> torch.Tensor:
    """Improve ``guess`` (2, 2), which maps pilot frequencies to received ones, until the pilots' energy is at its peak.

    Tries a step up and down in scale, angle and two shears, and the peaks of the parabolas through them together; then
    shorter steps.
    """
    waves = _Demodulated.of(residual, guess, pilots)
    if len(waves.frequencies) < len(pilots.waves) // 4:
        return guess
    identity = torch.eye(2, device=residual.device)
    moves = torch.tensor(_MOVES, device=residual.device)
    step = _FIRST_STEP / max(residual.shape)
    best, energy = guess, waves.energies(guess[None])[0]
    for _ in range(_ROUNDS):
        trials = (identity + torch.cat([-step * moves, step * moves])) @ best
        below, above = waves.energies(trials).reshape(2, -1)
        bend = below - 2 * energy + above
        peaks = torch.where(bend < 0, 0.5 * (below - above) / bend, torch.sign(above - below)).clamp(-1.5, 1.5)
        joint = identity + step * torch.einsum("m,mij->ij", peaks, moves)
        trials = torch.cat([trials, (joint @ best)[None]])
        energies = torch.cat([below, above, waves.energies(trials[-1:])])
        winner = int(energies.argmax())
        if energies[winner] > energy:
            best, energy = trials[winner], energies[winner]
        step *= _STEP_DECAY
    return best


@dataclass(frozen=True)
class _Demodulated:
    """A residual against the waves of a guess, summed in cells of 16 pixels: a small change of geometry then only turns the
    phases of the cells. ``cells`` (pilots, rows, columns); ``x``, ``y`` the cells' centres; ``received`` the guessed frequencies."""

    frequencies: torch.Tensor
    received: torch.Tensor
    cells: torch.Tensor
    x: torch.Tensor
    y: torch.Tensor

    @classmethod
    def of(cls, residual: torch.Tensor, guess: torch.Tensor, pilots: Pilots) -> _Demodulated:
        device = residual.device
        frequencies = torch.from_numpy(pilots.frequencies).float().to(device)
        received = frequencies @ guess.T
        kept = (received.abs() < _HIGHEST).all(1)
        received = received[kept]
        rows, columns = (size // _CELL for size in residual.shape)
        height, width = rows * _CELL, columns * _CELL
        strips = residual[:height, :width].reshape(height, columns, _CELL).transpose(0, 1)
        waves_x = _waves(received[:, 0], width).reshape(columns, _CELL, -1)
        waves_y = _waves(received[:, 1], height).reshape(rows, _CELL, -1)
        across = torch.complex(strips @ waves_x.real, strips @ waves_x.imag).reshape(columns, rows, _CELL, -1)
        cells = (across * waves_y).sum(2).permute(2, 1, 0) / math.sqrt(height * width)
        return cls(frequencies[kept], received, cells, _centres(columns, device), _centres(rows, device))

    def energies(self, matrices: torch.Tensor) -> torch.Tensor:
        """The pilots' energy, each pilot's limited, under each of several geometries (n, 2, 2)."""
        offsets = self.frequencies @ matrices.transpose(1, 2) - self.received
        turns_x = _turns(offsets[..., 0], self.x)
        turns_y = _turns(offsets[..., 1], self.y)
        sums = ((self.cells @ turns_x) * turns_y).sum(1)
        return sums.abs().square().clamp(max=_MOST_ENERGY).sum(0)


def _waves(frequency: torch.Tensor, length: int) -> torch.Tensor:
    place = torch.arange(length, device=frequency.device) - length / 2
    angle = -2 * math.pi * place[:, None] * frequency
    return torch.polar(torch.ones_like(angle), angle)


def _centres(count: int, device: torch.device) -> torch.Tensor:
    return (torch.arange(count, device=device) - count / 2) * _CELL + (_CELL - 1) / 2


def _turns(offsets: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Phase factors (pilots, places, trials) of frequency offsets (trials, pilots)."""
    angle = -2 * math.pi * offsets.T[:, None, :] * places[:, None]
    return torch.polar(torch.ones_like(angle), angle)


def _pilot_scores(spectra: torch.Tensor, pilots: Pilots) -> torch.Tensor:
    """Correlation with the pilot tile at every shift, in standard deviations of what other frequencies would give."""
    device = spectra.device
    columns, rows = torch.from_numpy(pilots.waves.T % TILE).to(device)
    phases = torch.from_numpy(pilots.phases).float().to(device)
    found = spectra[:, rows, columns] * torch.polar(torch.ones_like(phases), -phases)
    noise = spectra[:, 6:29, 6:29].abs().square().flatten(1).median(1).values / math.log(2)
    field = torch.zeros_like(spectra)
    field[:, rows, columns] = found
    scale = TILE * TILE / torch.sqrt(noise * len(phases) / 2 + 1e-12)
    return torch.fft.ifft2(field).real * scale[:, None, None]


def _turned(tile: torch.Tensor, turn: torch.Tensor) -> torch.Tensor:
    """A tile under a signed permutation of (x, y), about its corner (the tile repeats)."""
    if turn[0, 0] == 0:
        tile = tile.T
    signs = turn.sum(1)
    if signs[0] < 0:
        tile = tile.flip(1).roll(1, 1)
    if signs[1] < 0:
        tile = tile.flip(0).roll(1, 0)
    return tile


def _parabola(line: torch.Tensor, peak: int) -> float:
    before, at, after = (float(line[(peak + step) % TILE]) for step in (-1, 0, 1))
    bend = before - 2 * at + after
    return 0.0 if bend == 0 else max(-0.5, min(0.5, 0.5 * (before - after) / bend))


def signed_permutations() -> list[torch.Tensor]:
    """The eight ways to turn and mirror a square, as matrices of (x, y)."""
    matrices = []
    for swap in (False, True):
        for sign_x in (1.0, -1.0):
            for sign_y in (1.0, -1.0):
                plain = torch.tensor([[sign_x, 0.0], [0.0, sign_y]])
                matrices.append(plain.flip(1) if swap else plain)
    return matrices
