"""Exact search: the nearest hashes and the nearest embeddings of a whole library.

Embeddings are compared in the number type that the device multiplies fastest. How far that can be wrong is known, so every row that
could be among the best is computed again in single precision: the result is that of a plain search.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

_CHUNK_ROWS = 1 << 17
_GROUP = 64
_BATCH = 8
_SHARE_OF_MEMORY = 0.5
"""The share of a GPU's free memory that vectors may take; more of them stay in main memory and are sent in chunks."""

_SUMMING = 1e-4
"""More than what adding up a few thousand products in single precision can be wrong by, for vectors of length 1."""


class VectorIndex(Protocol):
    """Finds the rows with the largest inner product."""

    def __len__(self) -> int: ...

    def search(self, queries: NDArray[np.float32], count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Scores and row numbers, both (n, min(count, rows)), best first, for ``queries`` (n, dimensions)."""


@dataclass(frozen=True)
class _Coarse:
    """Rows in a fast number type: for each chunk of them their number and what multiplies queries with them; the length of the
    longest row, and the longest difference to the exact rows."""

    chunks: list[tuple[int, Callable[[torch.Tensor], torch.Tensor]]]
    longest: float
    lost: float


class ExactIndex:
    """Compares with every row. Rows are converted at the first search, so that opening a large library takes no time."""

    def __init__(
        self,
        rows: NDArray[np.float32] | NDArray[np.float16],
        device: str | torch.device = "cpu",
        *,
        used: NDArray[np.bool_] | None = None,
        before: ExactIndex | None = None,
    ) -> None:
        """``rows`` is (n, dimensions), in memory or mapped; it must not change. ``used`` (n) tells which take part, all when None.
        ``before`` is an index of the first of these rows: what it converted is taken over."""
        self._rows = rows
        self._used = np.ones(len(rows), np.bool_) if used is None else used
        self._unused = np.flatnonzero(~self._used)
        self._device = torch.device(device)
        self._kind = fastest_type(self._device)
        self._lock = threading.Lock()
        self._converted: _Coarse | None = None
        self._taken = before._whole_chunks() if before is not None and before._device == self._device else None

    def __len__(self) -> int:
        return len(self._rows) - len(self._unused)

    def search(self, queries: NDArray[np.float32], count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """See ``VectorIndex``."""
        count = min(count, len(self))
        if count == 0 or not len(queries):
            return np.zeros((len(queries), count), np.float32), np.zeros((len(queries), count), np.int64)
        coarse = self._coarse()
        exact = torch.from_numpy(np.ascontiguousarray(queries, np.float32))
        rounded = exact.to(self._kind)
        length, lost = exact.norm(dim=1), (exact - rounded.float()).norm(dim=1)
        wrong = (length * (coarse.lost + _SUMMING * coarse.longest) + lost * coarse.longest)[:, None].to(self._device)
        wanted = rounded.to(self._device)
        best = torch.zeros((len(queries), 0), device=self._device)
        found: list[torch.Tensor] = []
        start = 0
        for size, multiply in coarse.chunks:
            scores = multiply(wanted)
            first, end = np.searchsorted(self._unused, (start, start + size))
            if first < end:
                scores[:, torch.from_numpy(self._unused[first:end] - start).to(scores.device)] = -torch.inf
            groups = _largest_of_groups(scores)
            # As many groups reach the last of these, so at least as many rows do.
            best = torch.cat([best, groups.topk(min(count, groups.shape[1]), dim=1).values.float()], dim=1)
            best = best.topk(min(count, best.shape[1]), dim=1).values
            last = best[:, -1:] if best.shape[1] == count else best[:, -1:] - torch.inf
            # The scores themselves are rounded too.
            least = last - 2 * (wrong + last.abs().nan_to_num(posinf=0) * torch.finfo(self._kind).eps)
            found.append(_rows_above(scores, groups, least) + torch.tensor([0, start], device=self._device))
            start += size
        owners, rows = torch.cat(found).cpu().numpy().T
        return self._rank(queries, owners, rows, count)

    def _rank(
        self, queries: NDArray[np.float32], owners: NDArray[np.int64], rows: NDArray[np.int64], count: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The best of the candidate ``rows``, each proposed for the query in ``owners``, by products in single precision."""
        scores = np.zeros((len(queries), count), np.float32)
        numbers = np.zeros((len(queries), count), np.int64)
        for query in range(len(queries)):
            mine = rows[owners == query]
            mine = mine[self._used[mine]]
            products = self._rows[mine].astype(np.float32) @ queries[query]
            best = np.lexsort((mine, -products))[:count]
            scores[query], numbers[query] = products[best], mine[best]
        return scores, numbers

    def _coarse(self) -> _Coarse:
        with self._lock:
            if self._converted is None:
                self._converted = self._convert()
            return self._converted

    def _convert(self) -> _Coarse:
        size = len(self._rows) * self._rows.shape[1] * torch.finfo(self._kind).bits // 8
        home = self._device if fits(size, self._device) else torch.device("cpu")
        taken = self._taken or _Coarse([], 0.0, 0.0)
        chunks, longest, lost = list(taken.chunks), taken.longest, taken.lost
        for start in range(len(chunks) * _CHUNK_ROWS, len(self._rows), _CHUNK_ROWS):
            exact = torch.from_numpy(np.array(self._rows[start : start + _CHUNK_ROWS], np.float32))
            rounded = exact.to(self._kind)
            longest = max(longest, float(exact.norm(dim=1).max()))
            lost = max(lost, float((exact - rounded.float()).norm(dim=1).max()))
            chunks.append((len(rounded), _multiplier(rounded.to(home), self._device)))
        return _Coarse(chunks, longest, lost)

    def _whole_chunks(self) -> _Coarse | None:
        """What was converted already, without a last chunk that is not full."""
        known = self._converted or self._taken
        if known is None:
            return None
        return _Coarse([chunk for chunk in known.chunks if chunk[0] == _CHUNK_ROWS], known.longest, known.lost)


class HashIndex:
    """Compares with every hash, on the CPU: OpenCV counts differing bits without a table, under every numpy."""

    def __init__(self, rows: NDArray[np.uint8]) -> None:
        """``rows`` is (n, bytes), in memory or mapped."""
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def search(self, queries: NDArray[np.uint8], count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Differing bits and row numbers, both (n, min(count, rows)), nearest first, for ``queries`` (n, bytes)."""
        count = min(count, len(self))
        bits, numbers = [np.zeros((len(queries), 0), np.int64)], [np.zeros((len(queries), 0), np.int64)]
        for start in range(0, len(self) if len(queries) else 0, _CHUNK_ROWS):
            chunk = np.ascontiguousarray(self._rows[start : start + _CHUNK_ROWS])
            nearest = min(count, len(chunk))
            found = cv2.batchDistance(queries, chunk, cv2.CV_32S, normType=cv2.NORM_HAMMING, K=nearest)
            bits.append(np.asarray(found[0], np.int64))
            numbers.append(np.asarray(found[1], np.int64) + start)
        all_bits, all_numbers = np.concatenate(bits, axis=1), np.concatenate(numbers, axis=1)
        order = np.argsort(all_bits, axis=1, kind="stable")[:, :count]
        return np.take_along_axis(all_bits, order, axis=1), np.take_along_axis(all_numbers, order, axis=1)


def _largest_of_groups(scores: torch.Tensor) -> torch.Tensor:
    """The largest score of each group of neighbouring rows: (queries, groups)."""
    whole = scores.shape[1] // _GROUP * _GROUP
    parts = []
    if whole:
        parts.append(scores[:, :whole].reshape(len(scores), -1, _GROUP).amax(dim=2))
    if whole < scores.shape[1]:
        parts.append(scores[:, whole:].amax(dim=1, keepdim=True))
    return torch.cat(parts, dim=1)


def _rows_above(scores: torch.Tensor, groups: torch.Tensor, least: torch.Tensor) -> torch.Tensor:
    """Query and row number (n, 2) of the scores that reach ``least`` (queries, 1); only groups that can hold one are looked at."""
    owners, group = (groups.float() >= least).nonzero().T
    rows = group[:, None] * _GROUP + torch.arange(_GROUP, device=scores.device)
    inside = rows < scores.shape[1]
    values = scores[owners[:, None], rows.clamp(max=scores.shape[1] - 1)].float()
    entry, place = (inside & (values >= least[owners])).nonzero().T
    return torch.stack([owners[entry], rows[entry, place]], dim=1)


def _multiplier(rows: torch.Tensor, device: torch.device) -> Callable[[torch.Tensor], torch.Tensor]:
    """What multiplies queries (n, dimensions) with these rows: (n, rows).

    On a CPU the rows are put in the order that oneDNN multiplies fastest, once, as ``torch.compile`` does with a linear layer; where
    this torch cannot, the plain product serves.
    """
    if rows.device.type == "cpu" and device.type == "cpu" and rows.dtype == torch.bfloat16:
        try:
            packed = torch.ops.mkldnn._reorder_linear_weight(rows, _BATCH)
            torch.ops.mkldnn._linear_pointwise(rows[:1], packed, None, "none", [], "")
        except (AttributeError, RuntimeError):
            return lambda queries: queries @ rows.T
        return lambda queries: torch.ops.mkldnn._linear_pointwise(queries, packed, None, "none", [], "")
    return lambda queries: queries @ rows.to(device).T


def fits(size: int, device: torch.device) -> bool:
    """Whether so many bytes may stay on the device."""
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return size < _SHARE_OF_MEMORY * free


def fastest_type(device: torch.device) -> torch.dtype:
    """The number type in which this device multiplies matrices fastest.

    Half precision on a GPU. On a CPU it is tried once: bfloat16 is several times as fast as float32 where the processor knows it,
    and many times slower where it does not.
    """
    if device.type == "cuda":
        return torch.float16
    return _fastest_on_cpu() if device.type == "cpu" else torch.float32


@cache
def _fastest_on_cpu() -> torch.dtype:
    seconds = {}
    for kind in (torch.float32, torch.bfloat16):
        left, right = torch.ones((8, 512), dtype=kind), torch.ones((16384, 512), dtype=kind)
        left @ right.T  # The first product pays for setting up.
        started = time.perf_counter()
        for _ in range(3):
            left @ right.T
        seconds[kind] = time.perf_counter() - started
    return torch.bfloat16 if seconds[torch.bfloat16] < 0.8 * seconds[torch.float32] else torch.float32
