"""Visual words: each descriptor's nearest entry in a fixed list, so that alike descriptors are found without comparing all.

The list (Sivic and Zisserman 2003) stands in ``vocabulary.npy`` beside this file: 1024 descriptors, the centres of clusters that
``benchmarks/train_vocabulary.py`` found. It is the same for every library, so a new picture never makes old ones be indexed again.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from provenance_guard.similarity import features

ALGORITHM = "visual-words"
VERSION = f"1.{features.VERSION}"
UNUSED = 65535
"""The word of a place in a packed row that holds no feature."""

FILE = Path(__file__).with_name("vocabulary.npy")

_CHUNK = 1 << 15


def size() -> int:
    """How many words there are."""
    return len(_words())


def words_of(descriptors: NDArray[np.int8]) -> NDArray[np.uint16]:
    """The word of each descriptor (n, 128): shape (n), ``UNUSED`` for zeros."""
    words = _words()
    flat = torch.from_numpy(descriptors)
    found = [(flat[start : start + _CHUNK].float() @ words.T).argmax(dim=1) for start in range(0, len(flat), _CHUNK)]
    numbers = torch.cat(found).numpy().astype(np.uint16) if found else np.zeros(0, np.uint16)
    numbers[~descriptors.any(axis=1)] = UNUSED
    return numbers


def nearest_words(descriptors: torch.Tensor, count: int) -> NDArray[np.int64]:
    """The ``count`` nearest words of each descriptor (n, 128, float): shape (n, count)."""
    return (descriptors @ _words().T).topk(count, dim=1).indices.numpy()


def pack(packed_features: bytes) -> bytes:
    """The words of a reference's packed features as they are kept: 300 little-endian uint16."""
    row = np.frombuffer(packed_features, np.uint8).copy()
    return words_of(features.unpack_descriptors(row)).astype("<u2").tobytes()


@cache
def _words() -> torch.Tensor:
    """The vocabulary, each word of length 1: (words, 128)."""
    return torch.nn.functional.normalize(torch.from_numpy(np.load(FILE)).float(), dim=1)
