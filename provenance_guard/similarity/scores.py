"""What a comparison says: the dimensions of substantial similarity, a calibrated probability, and the verdict.

Only structure can make a near-copy. Colour, style, subject, pose and composition are reported, never decisive: half of all innocent
picture pairs share 30 % of their colours.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from provenance_guard.similarity.normalise import NormalPicture
from provenance_guard.similarity.references import Notice

Level = Literal["clean", "review", "near_copy"]

_COLOUR_BINS = (6, 8, 8)


@dataclass(frozen=True)
class Dimensions:
    """What the papers and courts ask for, each 0..1; None when it was not measured.

    ``visual_overlap``: the larger of the copied shares of picture and reference. ``structure``: the share of the aligned windows
    whose structure agrees. ``colour``: intersection of the two Lab histograms. ``style``: cosine of the embeddings of both pictures
    after their parts changed places. ``semantic``: cosine of the embeddings; ``semantic_above_background``: how far that is above
    what the picture reaches with unrelated pictures (-2..1).
    """

    visual_overlap: float
    structure: float
    colour: float
    style: float | None = None
    semantic: float | None = None
    semantic_above_background: float | None = None


@dataclass(frozen=True)
class Geometry:
    """How the reference lies in the picture.

    ``matrix``: two rows of three numbers, from shares of the reference's longest side to shares of the picture's.
    ``orientation``: one of "upright", "mirrored", "turned ..."; ``precise``: features fit to the pixel, so that windows may agree as
    negatives and a part of the reference may be judged by itself; ``lines``: supporting features (x and y in the reference, x and y in
    the picture), at most 60.
    """

    matrix: tuple[tuple[float, ...], ...]
    orientation: str
    inverted: bool
    inliers: int
    correlation: float
    precise: bool = False
    lines: tuple[tuple[float, ...], ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Match:
    """One reference that the picture may be a near copy of. ``probability`` is calibrated: of a hundred matches with 0.9, about
    ninety are copies. ``notice`` is what the user's ``references.toml`` says of the reference; ``level`` is what this match alone
    makes of the picture."""

    reference: Path
    probability: float
    dimensions: Dimensions
    copied_share_picture: float
    copied_share_reference: float
    algorithm: str
    geometry: Geometry | None
    summary: str
    notice: Notice = field(default_factory=Notice)
    level: Level = "clean"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; the feature lines are left out."""
        values = dataclasses.asdict(self)
        values["reference"] = readable(self.reference)
        values["notice"] = self.notice.to_json()
        if self.geometry is not None:
            values["geometry"].pop("lines")
        return _rounded(values)


@dataclass(frozen=True)
class Verdict:
    """What the screen says of one picture. ``matches`` are sorted, gravest level first, then most probable; ``notes`` tell what was
    skipped and why."""

    level: Level
    matches: tuple[Match, ...]
    notes: tuple[str, ...]
    seconds: float
    references: int
    limits: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "level": self.level,
            "matches": [match.to_json() for match in self.matches],
            "notes": list(self.notes),
            "seconds": round(self.seconds, 4),
            "references": self.references,
            "limits": dict(self.limits),
        }


def judge(probability: float, semantic: float | None, notice: Notice, limits: dict[str, float]) -> Level:
    """What one match makes of a picture; a high semantic cosine alone is ``review`` at most, a cleared reference is ``clean``."""
    if notice.cleared:
        return "clean"
    if probability >= limits["near_copy"]:
        return "near_copy"
    return "review" if probability >= limits["review"] or (semantic or 0.0) >= limits["semantic_review"] else "clean"


def level_of(matches: tuple[Match, ...]) -> Level:
    """The level of a picture: that of its gravest match."""
    return max((match.level for match in matches), key=gravity, default="clean")


def gravity(level: Level) -> int:
    """How grave a level is, from 0."""
    return get_args(Level).index(level)


def summarise(
    name: str, probability: float, shares: tuple[float, float], semantic: float | None, limits: dict[str, float]
) -> str:
    """One sentence for a person, which claims no more than was measured."""
    picture, reference = (round(100 * share) for share in shares)
    area = f"{picture} % of its area matched, {reference} % of the reference"
    if probability >= limits["near_copy"]:
        return f"near copy of {name}: {area}"
    if probability >= limits["review"]:
        return f"possibly copied from {name}: {area}"
    if semantic is not None and semantic >= limits["semantic_review"]:
        return f"shows something like {name} (semantic cosine {semantic:.2f}), but hardly any copied area was found"
    return f"some likeness to {name}: {area}"


def colour_similarity(first: NormalPicture, second: NormalPicture) -> float:
    """Intersection of the Lab histograms of two pictures, 0..1 (Swain and Ballard 1991)."""
    return float(np.minimum(_lab_histogram(first.rgb), _lab_histogram(second.rgb)).sum())


def readable(path: Path) -> str:
    """A path as text that can be encoded, whatever bytes its name has."""
    return str(path).encode("utf-8", "replace").decode("utf-8")


def _lab_histogram(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    lab = cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB)
    counts = cv2.calcHist([lab], [0, 1, 2], None, list(_COLOUR_BINS), [0, 256] * 3)
    return np.asarray(counts / max(counts.sum(), 1), np.float32)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {key: _rounded(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(entry) for entry in value]
    return value
