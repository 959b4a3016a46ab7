"""From a guess of the geometry to one aligned tile: refine, fold, find the phase."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from provenance_guard.watermark.dct import BLOCK
from provenance_guard.watermark.pattern import TILE, Pattern, Pilots

_FINE = 2 * TILE
_SAMPLES = 16
_SQUARE = 8
_MEAN_TO_DEVIATION = math.sqrt(math.pi / 2)  # Of the absolute values of a Gaussian.
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
    """One tile (128, 128) in its original place and tone.

    ``score`` is the pilots' correlation in standard deviations. ``to_tile`` (2, 2) maps received pixel steps (x, y) to tile
    pixel steps; ``shift`` is the tile place (x, y) of the received picture's centre; ``inverted`` tells that tones were.
    ``rank`` counts the places of one folded tile, the likeliest being 0.
    """

    tile: torch.Tensor
    score: float
    to_tile: torch.Tensor
    shift: tuple[float, float]
    inverted: bool
    rank: int = 0


def fold(residual: torch.Tensor, to_tile: torch.Tensor) -> torch.Tensor:
    """Sum all of a residual (H, W) into one tile (128, 128), through the linear map ``to_tile`` about the centre.

    Each pixel is dropped on the nearest point of a grid twice as fine; the band above the tile's is cut off afterwards.
    """
    height, width = residual.shape
    device = residual.device
    matrix = 2 * to_tile.to(device, torch.float32)
    x = torch.arange(width, device=device) - float(width // 2)
    y = (torch.arange(height, device=device) - float(height // 2))[:, None]
    column = (matrix[0, 0] * x + matrix[0, 1] * y).round_().int() & (_FINE - 1)
    row = (matrix[1, 0] * x + matrix[1, 1] * y).round_().int() & (_FINE - 1)
    fine = torch.zeros(_FINE * _FINE, device=device)
    fine.index_add_(0, (row * _FINE + column).reshape(-1), residual.reshape(-1))
    spectrum = torch.fft.rfft2(fine.reshape(_FINE, _FINE))
    half = TILE // 2
    low = torch.cat([spectrum[:half], spectrum[-half:]])[:, : half + 1]
    return torch.fft.irfft2(low, s=(TILE, TILE))


def fold_upright(residual: torch.Tensor) -> torch.Tensor:
    """What ``fold`` gives for the identity, only faster."""
    height, width = residual.shape
    return fold_at_corner(residual).roll((-(height // 2), -(width // 2)), (0, 1))


def fold_at_corner(residual: torch.Tensor) -> torch.Tensor:
    """Sum all of a residual (H, W) into one tile whose corner is the picture's."""
    padded = F.pad(residual, (0, -residual.shape[1] % TILE, 0, -residual.shape[0] % TILE))
    return padded.reshape(-1, TILE, padded.shape[1] // TILE, TILE).sum((0, 2))


def unmoved(tile: torch.Tensor, centre: tuple[int, int]) -> Aligned:
    """The upright folded tile of a picture that nobody moved: its centre lay at ``centre`` (row, column) of the tile."""
    row, column = (place % TILE for place in centre)
    return Aligned(tile.roll((row, column), (0, 1)), 0.0, torch.eye(2), (float(column), float(row)), inverted=False)


def align(
    tile: torch.Tensor, to_tile: torch.Tensor, pattern: Pattern, turns: list[torch.Tensor], most: int
) -> Iterator[Aligned]:
    """The ``most`` likeliest ways, best first, to turn a folded tile by one of ``turns`` (signed permutations) and shift it into
    place. Each is worked out when it is asked for."""
    spectra = torch.fft.fft2(torch.stack([_turned(tile, turn) for turn in turns]))
    fields = _pilot_scores(spectra, pattern.pilots)
    for rank, (turn, row, column) in enumerate(_highest(fields.abs(), most)):
        yield _placed(spectra[turn], fields[turn], (row, column), turns[turn] @ to_tile, rank)


def _highest(fields: torch.Tensor, most: int) -> list[tuple[int, int, int]]:
    """Places of the highest local maxima of periodic fields (n, 128, 128): one at most in each square of eight places."""
    side = TILE // _SQUARE
    squares = fields.reshape(-1, side, _SQUARE, side, _SQUARE).transpose(2, 3).flatten(3)
    heights, within = squares.max(3)
    best = heights.reshape(-1).topk(most).indices.tolist()
    inside = within.reshape(-1)[best].tolist()
    return [
        (
            square // side**2,
            square // side % side * _SQUARE + place // _SQUARE,
            square % side * _SQUARE + place % _SQUARE,
        )
        for square, place in zip(best, inside, strict=True)
    ]


def _placed(
    spectrum: torch.Tensor, field: torch.Tensor, place: tuple[int, int], to_tile: torch.Tensor, rank: int
) -> Aligned:
    row, column = place
    inverted = bool(field[row, column] < 0)
    place_y = row + _parabola(field[:, column], row)
    place_x = column + _parabola(field[row], column)
    steps = torch.fft.fftfreq(TILE, device=field.device)
    phase = 2 * math.pi * (steps[:, None] * place_y + steps * place_x)
    moved = spectrum * torch.polar(torch.ones_like(phase), phase)
    sign = -1.0 if inverted else 1.0
    return Aligned(
        tile=sign * torch.fft.ifft2(moved).real,
        score=float(field[row, column].abs()),
        to_tile=to_tile,
        shift=(-place_x % TILE, -place_y % TILE),
        inverted=inverted,
        rank=rank,
    )


def likeness(tile: torch.Tensor, templates: torch.Tensor, turns: list[torch.Tensor]) -> float:
    """The strongest correlation of a tile with one of ``templates`` (n, 128, 128) over all shifts, ``turns`` and both signs, in
    standard deviations of what the shifts give.

    Shifts that differ by whole blocks are measured by their own deviation: there two messages of one key are most alike.
    """
    spectra = torch.fft.fft2(torch.stack([_turned(tile, turn) for turn in turns]))
    spectra[:, :: TILE // BLOCK, :: TILE // BLOCK] = 0  # The edges of JPEG's blocks.
    conjugates = torch.fft.fft2(templates.to(tile.device)).conj()
    fields = torch.fft.ifft2(spectra[:, None] * conjugates).real.abs()
    classes = fields.reshape(*fields.shape[:2], TILE // BLOCK, BLOCK, TILE // BLOCK, BLOCK)
    deviations = _MEAN_TO_DEVIATION * torch.maximum(classes.mean((2, 4)), fields.mean((2, 3))[..., None, None])
    return float((classes.amax((2, 4)) / (deviations + 1e-12)).max())


def refine(spectrum: torch.Tensor, guesses: torch.Tensor, pilots: Pilots) -> tuple[torch.Tensor, torch.Tensor]:
    """Improve ``guesses`` (n, 2, 2), which map pilot frequencies to received ones, until the pilots' energy is at its peak.

    ``spectrum`` (H, W) is the Fourier transform of a residual. Tries a step up and down in scale, angle and two shears, and the
    peaks of the parabolas through them together; then shorter steps. Returns the improved guesses and the energies (n,), in
    standard deviations of what noise gives.
    """
    waves = _Demodulated.of(spectrum, guesses, pilots)
    moves = torch.tensor(_MOVES, device=spectrum.device)
    identity = torch.eye(2, device=spectrum.device)
    step = _FIRST_STEP / max(spectrum.shape)
    best = guesses[:, None]
    energy = waves.energies(best)
    for _ in range(_ROUNDS):
        trials = (identity + torch.cat([-step * moves, step * moves])) @ best
        below, above = waves.energies(trials).chunk(2, dim=1)
        bend = below - 2 * energy + above
        peaks = torch.where(bend < 0, 0.5 * (below - above) / bend, torch.sign(above - below)).clamp(-1.5, 1.5)
        joint = (identity + step * torch.einsum("gm,mij->gij", peaks, moves))[:, None] @ best
        trials = torch.cat([best, trials, joint], dim=1)
        energies = torch.cat([energy, below, above, waves.energies(joint)], dim=1)
        energy, winner = energies.max(1, keepdim=True)
        best = trials.gather(1, winner[..., None, None].expand(-1, -1, 2, 2))
        step *= _STEP_DECAY
    count = waves.visible.sum(1)
    return best[:, 0], (energy[:, 0] - count) / count.clamp(min=1).sqrt()


@dataclass(frozen=True)
class _Demodulated:
    """The neighbourhoods of guessed waves in a spectrum, as 16 x 16 samples over the picture: a small change of geometry then only
    turns the phases of the samples. ``samples`` (guesses, pilots, 16, 16); ``received`` (guesses, pilots, 2) the frequencies
    at the neighbourhoods' middles; ``visible`` (guesses, pilots) says which pilots count."""

    frequencies: torch.Tensor
    received: torch.Tensor
    visible: torch.Tensor
    samples: torch.Tensor
    x: torch.Tensor
    y: torch.Tensor

    @classmethod
    def of(cls, spectrum: torch.Tensor, guesses: torch.Tensor, pilots: Pilots) -> _Demodulated:
        device = spectrum.device
        height, width = spectrum.shape
        frequencies = torch.from_numpy(pilots.frequencies).float().to(device)
        guessed = frequencies @ guesses.transpose(1, 2)
        size = torch.tensor([width, height], device=device)
        middle = (guessed * size).round()
        around = torch.arange(_SAMPLES, device=device) - _SAMPLES // 2
        columns = (middle[..., 0, None].long() + around) % width
        rows = (middle[..., 1, None].long() + around) % height
        near = spectrum[rows[..., :, None], columns[..., None, :]] / math.sqrt(height * width)
        samples = torch.fft.ifft2(torch.fft.ifftshift(near, dim=(-2, -1)))
        places = torch.arange(_SAMPLES, device=device) / _SAMPLES
        visible = (guessed.abs() < _HIGHEST).all(2)
        return cls(frequencies, middle / size, visible, samples, places * width, places * height)

    def energies(self, matrices: torch.Tensor) -> torch.Tensor:
        """The pilots' energy (guesses, n), each pilot's limited, under several geometries (guesses, n, 2, 2)."""
        offsets = self.frequencies @ matrices.transpose(2, 3) - self.received[:, None]
        turns_x = _turns(offsets[..., 0], self.x)
        turns_y = _turns(offsets[..., 1], self.y)
        sums = ((self.samples @ turns_x) * turns_y).sum(2)
        powers = (sums.real.square() + sums.imag.square()).clamp(max=_MOST_ENERGY)
        return (powers * self.visible[..., None]).sum(1)


def _turns(offsets: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Phase factors (guesses, pilots, places, trials) of frequency offsets (guesses, trials, pilots)."""
    angle = -2 * math.pi * offsets.transpose(1, 2)[:, :, None, :] * places[:, None]
    return torch.complex(angle.cos(), angle.sin())


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
