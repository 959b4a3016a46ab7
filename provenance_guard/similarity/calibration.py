"""From evidence to a probability: a logistic model whose numbers stand in ``calibration.json`` beside this file.

The numbers are fitted by ``benchmarks/calibrate_similarity.py`` on pictures with known copies, and checked by cross-validation.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

_PRECISE = 0.8 / 640
"""The residual (share of the longest side) at which a feature's word counts a third: copies stay below, other photographs above."""

_CHANCE_HASH = 0.4
"""Hash cosines that unrelated pictures of a similar layout reach."""

_SAME_SCENE = 0.7
"""Median correlations that other photographs of a scene reach."""

FILE = Path(__file__).with_name("calibration.json")


@dataclass(frozen=True)
class Evidence:
    """What was measured between a picture and one reference.

    ``inliers``, ``support``, ``residual``: as in ``geometry.Model``; ``hash_cosine``: 1 minus twice the share of differing hash
    bits, sign-free, 0..1; the others as in ``alignment.Agreement``.
    """

    inliers: int = 0
    support: float = 0.0
    residual: float = 0.0
    hash_cosine: float = 0.0
    correlation: float = 0.0
    best_correlation: float = 0.0
    agreeing: float = 0.0
    windows: float = 0.0
    share_query: float = 0.0
    share_reference: float = 0.0

    def values(self) -> dict[str, float]:
        """The terms of the logistic model.

        There are three ways to be a copy: features that fit one flat model within a pixel (``precise``: a rigid copy), a near hash
        (``hash``: a copy of the whole picture), and windows that lock into place all over (``locked``: also when blur has moved the
        features). The first two count more when the aligned pictures agree.
        """
        precise = precision(self.inliers, self.residual)
        near = max(self.hash_cosine - _CHANCE_HASH, 0.0)
        windows = math.log1p(self.windows * self.agreeing)
        return {
            "precise": precise,
            "hash": near,
            "best_correlation": self.best_correlation,
            "correlation": self.correlation,
            "log_windows": windows,
            "locked": max(self.correlation - _SAME_SCENE, 0.0) * windows,
            "precise_and_agreeing": precise * max(self.best_correlation - 0.5, 0.0),
            "hash_and_agreeing": near * max(self.correlation, 0.0),
        }


def precision(inliers: int, residual: float) -> float:
    """How much features speak for a rigid copy, from how many support a model and how far they lie from a flat one (0 and more)."""
    return math.log1p(inliers) * math.exp(-((residual / _PRECISE) ** 2))


def probability(evidence: Evidence, references: int) -> float:
    """The calibrated probability (0..1) that this is a copy, found as the best of ``references`` references."""
    model = _model()
    logit = model["intercept"] + sum(model["weights"][name] * value for name, value in evidence.values().items())
    # A larger library has more chances to hold something that looks alike by accident.
    logit -= model["gallery_weight"] * math.log(max(references / model["gallery"], 1.0))
    return 1 / (1 + math.exp(-max(min(logit, 30.0), -30.0)))


def version() -> str:
    """The version of the fitted numbers."""
    return str(_model()["version"])


@cache
def _model() -> dict[str, Any]:
    model: dict[str, Any] = json.loads(FILE.read_text("utf-8"))
    return model
