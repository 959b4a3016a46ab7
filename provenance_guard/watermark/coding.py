"""Error correction: a tail-biting convolutional code with soft list decoding.

Rate 1/6, constraint length 15, the generators of the Cassini mission's code. Tail-biting (the encoder starts in the state
it ends in) spends no bits on a tail; the decoder runs around the circle (Ma and Wolf, IEEE Trans. Commun. 34, 1986). The list
holds the likeliest paths, best first (Seshadri and Sundberg, IEEE Trans. Commun. 42, 1994): an outer check picks one.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import numpy.typing as npt

RATE = 6
_MEMORY = 14
_GENERATORS = (0o46321, 0o51271, 0o70535, 0o63667, 0o73277, 0o76513)
_STATES = 1 << _MEMORY
_ROWS = _MEMORY // 2
_OVERLAP = 5 * _MEMORY
"""Steps that the decoder runs before and after the circle until its paths have merged."""

Bits = npt.NDArray[np.uint8]
Soft = npt.NDArray[np.float32]


def encode(bits: Bits) -> Soft:
    """The codeword of ``bits``, at least 14 of them: 6 values of +1 or -1 a bit."""
    delayed = np.stack([np.roll(bits, delay) for delay in range(_MEMORY + 1)], axis=1).astype(np.int64)
    taps = np.array([[_tap(generator, delay) for generator in _GENERATORS] for delay in range(_MEMORY + 1)])
    return (1 - 2 * (delayed @ taps % 2)).reshape(-1).astype(np.float32)


def decode(soft: Soft, size: int = 1) -> Iterator[Bits]:
    """The ``size`` likeliest messages, best first, from 6 soft values a bit (positive means +1). Found as they are asked for."""
    steps = soft.reshape(-1, RATE)
    count = len(steps)
    around = np.take(steps, np.arange(-_OVERLAP, count + _OVERLAP), axis=0, mode="wrap")
    trellis = _Trellis(around)
    # A path is told by the steps at which it leaves the survivors; each leave costs its loss. A listed path's own followers
    # leave once more, further back.
    waiting: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
    for _ in range(size):
        if not waiting:
            return
        loss, leaves = heapq.heappop(waiting)
        bits, losses = trellis.trace_back(leaves)
        yield bits[_OVERLAP : _OVERLAP + count]
        before = min((*leaves, _OVERLAP + count))
        for step in np.argsort(losses[_OVERLAP:before])[:size] + _OVERLAP:
            heapq.heappush(waiting, (loss + float(losses[step]), (*leaves, int(step))))


class _Trellis:
    """Viterbi's forward pass over all 2**14 states.

    The bit of step ``t`` lies in slot ``t % 14`` of a state, in the place of the bit that leaves there, so a step joins pairs of
    states in place. Slots 0 to 6 are the rows of a 128 x 128 table, slots 7 to 13 its columns; it is transposed every seven
    steps, so that a step always works on whole rows.
    """

    def __init__(self, steps: Soft) -> None:
        self._branches = np.empty((len(steps), _STATES // 2), np.float32)
        for slot, signs in enumerate(_branch_signs()):
            np.matmul(steps[slot::_MEMORY], signs, out=self._branches[slot::_MEMORY])
        self._metrics = np.empty((len(steps) + 1, _STATES), np.float32)
        self._metrics[0] = 0
        for step, branch in enumerate(self._branches):
            before, after = self._metrics[step], self._metrics[step + 1]
            if step and step % _ROWS == 0:
                before[:] = before.reshape(1 << _ROWS, -1).T.reshape(-1)
            pairs = (1 << step % _ROWS, 2, -1)
            even, odd = before.reshape(pairs)[:, 0], before.reshape(pairs)[:, 1]
            signs = branch.reshape(even.shape)
            zero, one = after.reshape(pairs)[:, 0], after.reshape(pairs)[:, 1]
            # Every generator has both end taps, so the oldest and the newest bit each turn the sign of the whole branch.
            np.maximum(even + signs, odd - signs, out=zero)
            np.maximum(even - signs, odd + signs, out=one)

    def trace_back(self, leaves: tuple[int, ...]) -> tuple[Bits, Soft]:
        """Bits of the best path that takes the losing branch at the steps ``leaves``, and what losing would cost at each step."""
        length = len(self._branches)
        bits, losses = np.empty(length, np.uint8), np.empty(length, np.float32)
        state = int(self._metrics[length].argmax())  # As it lies in the table of the last step.
        for step in range(length - 1, -1, -1):
            weight = _STATES >> 1 + step % _ROWS
            bit = state & weight
            even = state ^ bit
            pair = (even // (2 * weight)) * weight + even % weight
            metrics, branch = self._metrics[step], self._branches[step, pair]
            gap = metrics[even + weight] - metrics[even] + (branch if bit else -branch) * 2
            bits[step], losses[step] = bit > 0, abs(gap)
            state = even + weight if (gap > 0) ^ (step in leaves) else even
            if step and step % _ROWS == 0:
                state = (state >> _ROWS) | (state << _ROWS) % _STATES
        return bits, losses


@lru_cache(maxsize=1)
def _branch_signs() -> npt.NDArray[np.float32]:
    """The code bits (14 slots, 6, half the states) of the branch whose oldest and newest bit, in that slot, are 0."""
    signs = np.empty((_MEMORY, RATE, _STATES // 2), np.float32)
    places = np.arange(_STATES)
    for slot in range(_MEMORY):
        kept = places.reshape(1 << slot % _ROWS, 2, -1)[:, 0].reshape(-1)
        for row, generator in enumerate(_GENERATORS):
            parity = np.zeros_like(kept)
            for delay in range(1, _MEMORY):
                if _tap(generator, delay):
                    held_in = (slot - delay) % _MEMORY
                    turn = 0 if slot < _ROWS else _ROWS
                    parity ^= kept >> (_MEMORY - 1 - held_in + turn) % _MEMORY
            signs[slot, row] = 1 - 2 * (parity & 1)
    return signs


def _tap(generator: int, delay: int) -> int:
    return generator >> (_MEMORY - delay) & 1
