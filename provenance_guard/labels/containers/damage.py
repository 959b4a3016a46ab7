"""The error of every container that is not what its format says."""

from __future__ import annotations

from provenance_guard.errors import LabelError

MAX_PACKET = 16 << 20
"""A packet above 16 MiB is refused: it is damage or an attack."""


def damaged(problem: str) -> LabelError:
    """An error to raise: the file breaks its own format."""
    return LabelError(
        f"The picture file is damaged: {problem}.", next_step="Save or download it again; it was left unchanged."
    )
