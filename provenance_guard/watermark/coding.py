"""Error correction: a tail-biting convolutional code with soft list decoding.

Rate 1/6, constraint length 15, the generators of the Cassini mission's code. Tail-biting (the encoder starts in the state
it ends in) spends no bits on a tail; the decoder runs around the circle (Ma and Wolf, IEEE Trans. Commun. 34, 1986). The list
holds the best path and those that leave it once (Seshadri and Sundberg, IEEE Trans. Commun. 42, 1994): an outer check picks.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

RATE = 6
_MEMORY = 14
_GENERATORS = (0o46321, 0o51271, 0o70535, 0o63667, 0o73277, 0o76513)
_HALF = 1 << (_MEMORY - 1)
_OVERLAP = 6 * _MEMORY
"""Steps that the decoder runs before and after the circle until its paths have merged."""

Bits = npt.NDArray[np.uint8]
Soft = npt.NDArray[np.float32]


def encode(bits: Bits) -> Soft:
    """The codeword of ``bits``, at least 14 of them: 6 values of +1 or -1 a bit."""
    delayed = np.stack([np.roll(bits, delay) for delay in range(_MEMORY + 1)], axis=1).astype(np.int64)
    taps = np.array([[generator >> (_MEMORY - delay) & 1 for generator in _GENERATORS] for delay in range(_MEMORY + 1)])
    return (1 - 2 * (delayed @ taps % 2)).reshape(-1).astype(np.float32)


def decode(soft: Soft, size: int = 1) -> list[Bits]:
    """The ``size`` likeliest messages, best first, from 6 soft values a bit (positive means +1)."""
    steps = soft.reshape(-1, RATE)
    count = len(steps)
    around = np.take(steps, np.arange(-_OVERLAP, count + _OVERLAP), axis=0, mode="wrap")
    gaps, end = _run_forward(around @ _branch_signs())
    best, losses = _trace_back(gaps, end, np.array([-1]))
    leave_at = np.argsort(losses[0], kind="stable")[: size - 1]
    others, _ = _trace_back(gaps, end, leave_at)
    return list(np.concatenate([best, others])[:, _OVERLAP : _OVERLAP + count])


def _run_forward(branches: Soft) -> tuple[Soft, int]:
    """Viterbi's forward pass over branch metrics (steps, half the states).

    A state's two predecessors are ``2j`` and ``2j + 1``, where ``j`` is the state without its newest bit. Returns by how much the
    odd one beats the even one, per step, newest bit and ``j``; and the best last state.
    """
    gaps = np.empty((len(branches), 2, _HALF), np.float32)
    metrics = np.zeros((2, _HALF), np.float32)
    for branch, gap in zip(branches, gaps, strict=True):
        pairs = metrics.reshape(_HALF, 2)
        even, odd = pairs[:, 0].copy(), pairs[:, 1].copy()
        difference = odd - even
        # Every generator has both end taps, so the oldest and the newest bit each turn the sign of the whole branch.
        twice = branch + branch
        np.subtract(difference, twice, out=gap[0])
        np.add(difference, twice, out=gap[1])
        np.maximum(gap, 0, out=metrics)
        metrics[0] += even + branch
        metrics[1] += even - branch
    return gaps, int(metrics.argmax())


def _trace_back(gaps: Soft, end: int, leave_at: npt.NDArray[np.int64]) -> tuple[Bits, Soft]:
    """Bits of the best path into ``end``, once per entry of ``leave_at``, each taking the losing branch at that step.

    Also returns what the losing branch would have cost at each step. Both are shaped (paths, steps).
    """
    length, paths = len(gaps), len(leave_at)
    bits = np.empty((paths, length), np.uint8)
    losses = np.empty((paths, length), np.float32)
    state = np.full(paths, end, np.int64)
    for step in range(length - 1, -1, -1):
        newest, rest = state >> (_MEMORY - 1), state & (_HALF - 1)
        gap = gaps[step, newest, rest]
        bits[:, step], losses[:, step] = newest, np.abs(gap)
        state = 2 * rest + ((gap > 0) ^ (leave_at == step))
    return bits, losses


@lru_cache(maxsize=1)
def _branch_signs() -> Soft:
    """The code bits (6, half the states) of the branch from state ``2j`` with newest bit 0."""
    registers = np.arange(_HALF, dtype=np.int64) * 2
    signs = np.empty((RATE, _HALF), np.float32)
    for row, generator in enumerate(_GENERATORS):
        folded = registers & generator
        for shift in (8, 4, 2, 1):
            folded ^= folded >> shift
        signs[row] = 1 - 2 * (folded & 1)
    return signs
