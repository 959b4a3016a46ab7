"""Exact search on the device: hashes, embeddings and local features of the whole library at once.

Everything is a matrix product, so one code serves CPU and GPU; a batch of orientations costs hardly more than one query. Another
engine can take the place of ``ExactIndex`` behind ``VectorIndex``.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

_CHUNK_VALUES = 1 << 25
"""Scores computed at once: 128 MB as float32."""

_LEAST_COSINE = 0.7
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

    def __init__(self, descriptors: NDArray[np.int8], scale: float, device: str | torch.device = "cpu") -> None:
        """``descriptors`` is (references, features, 128), rows of zeros where a reference has fewer; ``scale`` their length."""
        self._descriptors = torch.from_numpy(np.ascontiguousarray(descriptors)).to(device)
        self._scale = scale

    def __len__(self) -> int:
        return len(self._descriptors)

    def votes(self, queries: NDArray[np.int8]) -> NDArray[np.float32]:
        """How much speaks for each reference, shape (variants, references), for ``queries`` (variants, n, 128).

        A feature's vote is how far its best cosine in a reference rises above what it reaches in most other references.
        """
        variants, number, size = queries.shape
        if not len(self) or not number:
            return np.zeros((variants, len(self)), np.float32)
        device = self._descriptors.device
        wanted = torch.from_numpy(queries.reshape(-1, size)).to(device).float() / self._scale
        per_reference = self._descriptors.shape[1]
        step = max(_CHUNK_VALUES // (len(wanted) * per_reference), 1)
        best = torch.empty((len(wanted), len(self)), device=device)
        for start in range(0, len(self), step):
            rows = self._descriptors[start : start + step].reshape(-1, size).float() / self._scale
            cosines = wanted @ rows.T
            best[:, start : start + step] = cosines.view(len(wanted), -1, per_reference).amax(dim=2)
        weights = (best - self._background(best)).clamp_(min=0)
        return weights.view(variants, number, -1).sum(dim=1).cpu().numpy()

    @staticmethod
    def _background(best: torch.Tensor) -> torch.Tensor:
        """What a feature reaches in references that do not hold it: the mean of ranks 5 to 10, at least a fixed cosine."""
        ranks = best.topk(min(_BACKGROUND.stop, best.shape[1]), dim=1).values[:, _BACKGROUND]
        if ranks.shape[1] == 0:
            return torch.full_like(best[:, :1], _LEAST_COSINE)
        return ranks.mean(dim=1, keepdim=True).clamp_(min=_LEAST_COSINE)
