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
        """The terms of the logistic model."""
        agreed_windows = self.windows * self.agreeing
        return {
            "log_inliers": math.log1p(self.inliers),
            "hash_cosine": max(self.hash_cosine - 0.2, 0.0),
            "correlation": self.correlation,
            "agreeing": self.agreeing,
            "log_windows": math.log1p(agreed_windows),
            "share": max(self.share_query, self.share_reference),
            "inliers_and_agreeing": math.log1p(self.inliers) * self.agreeing,
        }


def probability(evidence: Evidence, references: int) -> float:
    """The calibrated probability (0..1) that this is a copy, found as the best of ``references`` references."""
    model = _model()
    logit = model["intercept"] + sum(model["weights"][name] * value for name, value in evidence.values().items())
    logit -= model["gallery_weight"] * math.log(max(references, 1) / model["gallery"])
    return 1 / (1 + math.exp(-max(min(logit, 30.0), -30.0)))


def version() -> str:
    """The version of the fitted numbers."""
    return str(_model()["version"])


@cache
def _model() -> dict[str, Any]:
    model: dict[str, Any] = json.loads(FILE.read_text("utf-8"))
    return model
