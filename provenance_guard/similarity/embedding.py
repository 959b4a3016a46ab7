"""Embeddings: one vector a picture that says what it shows, from an open_clip model with weights on this disk.

Nothing is downloaded. Untrained or damaged weights give plausible numbers (unrelated pictures reach a cosine of 0.99), so
weights are tried on built-in pictures first and refused when they cannot tell copies from strangers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image


class Embedder(Protocol):
    """Turns pictures into unit vectors. ``algorithm`` and ``version`` name the model and the exact weights."""

    @property
    def algorithm(self) -> str: ...

    @property
    def version(self) -> str: ...

    def embed(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        """Vectors of length 1, shape (n, dimensions)."""


class EmbeddingAbsence:
    """Why there are no embeddings; ``reason`` is a clause that a page can show."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
