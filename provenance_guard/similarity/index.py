"""Exact search on the device: hashes, embeddings and local features of the whole library at once.

Everything is a matrix product, so one code serves CPU and GPU; a batch of orientations costs hardly more than one query. Another
engine can take the place of ``ExactIndex`` behind ``VectorIndex``.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cache
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from provenance_guard.similarity import features
from provenance_guard.similarity.features import LocalFeatures

_CHUNK_VALUES = 1 << 25
"""Scores computed at once: 128 MB as float32."""

_LEAST_COSINE = 0.7
_COMMON_COSINE = 0.9
_BACKGROUND = slice(4, 10)


class VectorIndex(Protocol):
    """Finds the rows with the largest inner product."""

    def __len__(self) -> int: ...

    def search(self, queries: NDArray[np.float32], count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Scores and row numbers, both (n, min(count, rows)), best first, for ``queries`` (n, dimensions)."""


class ExactIndex:
    """Compares with every row, in chunks that fit into memory."""

    def __init__(self, rows: NDArray[np.float32], device: str | torch.device = "cpu") -> None:
        """``rows`` is (n, dimensions)."""
        self._rows = torch.from_numpy(np.ascontiguousarray(rows)).to(device)

    def __len__(self) -> int:
        return len(self._rows)

    def search(self, queries: NDArray[np.float32], count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """See ``VectorIndex``."""
        count = min(count, len(self))
        if count == 0:
            return np.zeros((len(queries), 0), np.float32), np.zeros((len(queries), 0), np.int64)
        wanted = torch.from_numpy(queries).to(self._rows.device)
        best: list[tuple[torch.Tensor, torch.Tensor]] = []
        step = max(_CHUNK_VALUES // max(len(queries), 1), count)
        for start in range(0, len(self), step):
            scores = wanted @ self._rows[start : start + step].T
            top = scores.topk(min(count, scores.shape[1]), dim=1)
            best.append((top.values, top.indices + start))
        scores, rows = (torch.cat(parts, dim=1) for parts in zip(*best, strict=True))
        order = scores.topk(count, dim=1)
        return order.values.cpu().numpy(), rows.gather(1, order.indices).cpu().numpy()


class LocalIndex:
    """The local features of all references; each feature of a query votes for the references that hold one like it."""

    def __init__(self, descriptors: NDArray[np.int8], device: str | torch.device = "cpu") -> None:
        """``descriptors`` is (references, 300, 128): bright blobs in the first half, dark ones in the second, unused places zero."""
        kind = fastest_type(torch.device(device))
        middle = features.REFERENCE_COUNT // 2
        halves = (descriptors[:, :middle], descriptors[:, middle:])
        self._halves = [torch.from_numpy(np.ascontiguousarray(half)).to(device=device, dtype=kind) for half in halves]

    def __len__(self) -> int:
        return len(self._halves[0])

    def votes(self, variants: Sequence[LocalFeatures]) -> tuple[NDArray[np.float32], list[NDArray[np.bool_]]]:
        """How much speaks for each reference, shape (variants, references), and for each variant which of its features are common.

        A feature's vote is how far its best cosine in a reference rises above what it reaches in most other references. It is
        common when it is found in more than five references: part of a watermark or a caption, not of a picture.
        """
        total = np.zeros((len(variants), len(self)), np.float32)
        common = [np.zeros(len(variant), np.bool_) for variant in variants]
        if not len(self):
            return total, common
        for rows, is_bright in zip(self._halves, (True, False), strict=True):
            chosen = [variant.bright == is_bright for variant in variants]
            descriptors = [variant.descriptors[mask] for variant, mask in zip(variants, chosen, strict=True)]
            best = self._best(np.concatenate(descriptors), rows)
            background = _background(best)
            sizes = [len(part) for part in descriptors]
            weights = torch.split((best - background).clamp_(min=0), sizes)
            shared = torch.split(background[:, 0] > _COMMON_COSINE, sizes)
            for index, mask in enumerate(chosen):
                total[index] += weights[index].sum(dim=0).cpu().numpy()
                common[index][mask] = shared[index].cpu().numpy()
        return total, common

    @staticmethod
    def _best(descriptors: NDArray[np.int8], rows: torch.Tensor) -> torch.Tensor:
        """The best cosine of each descriptor (n, 128) in each reference (r, places, 128): shape (n, r)."""
        # One side at length 1 (exact: a power of two), or the product of equals would overflow half precision.
        wanted = torch.from_numpy(descriptors).to(device=rows.device, dtype=rows.dtype) / features.SCALE
        best = torch.zeros((len(wanted), len(rows)), device=rows.device)
        if not len(wanted):
            return best
        step = max(_CHUNK_VALUES // max(len(wanted) * rows.shape[1], 1), 1)
        for start in range(0, len(rows), step):
            chunk = rows[start : start + step]
            products = wanted @ chunk.reshape(-1, features.DESCRIPTOR).T
            best[:, start : start + step] = products.view(len(wanted), len(chunk), -1).amax(dim=2)
        return best / features.SCALE


def fastest_type(device: torch.device) -> torch.dtype:
    """The number type in which this device multiplies matrices of descriptors fastest (they are exact in all of them).

    Half precision on a GPU. On a CPU it is tried once: bfloat16 is twice as fast as float32 where the processor knows it, and
    many times slower where it does not.
    """
    if device.type == "cuda":
        return torch.float16
    return _fastest_on_cpu() if device.type == "cpu" else torch.float32


@cache
def _fastest_on_cpu() -> torch.dtype:
    seconds = {}
    for kind in (torch.float32, torch.bfloat16):
        left, right = torch.ones((512, 128), dtype=kind), torch.ones((4096, 128), dtype=kind)
        left @ right.T  # The first product pays for setting up.
        started = time.perf_counter()
        for _ in range(3):
            left @ right.T
        seconds[kind] = time.perf_counter() - started
    return torch.bfloat16 if seconds[torch.bfloat16] < 0.8 * seconds[torch.float32] else torch.float32


def _background(best: torch.Tensor) -> torch.Tensor:
    """What a feature reaches in references that do not hold it: the mean of ranks 5 to 10, at least a fixed cosine."""
    ranks = best.topk(min(_BACKGROUND.stop, best.shape[1]), dim=1).values[:, _BACKGROUND]
    if ranks.shape[1] == 0:
        return torch.full_like(best[:, :1], _LEAST_COSINE)
    return ranks.mean(dim=1, keepdim=True).clamp_(min=_LEAST_COSINE)
