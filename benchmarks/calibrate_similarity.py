"""Fit the screen's probabilities to measured evidence, and say by cross-validation how far they can be trusted.

    python benchmarks/calibrate_similarity.py EVIDENCE.jsonl... [--write]

Reads what ``similarity.py`` measured. A logistic model with a penalty on large weights is fitted by Newton's method (iteratively
reweighted least squares); copies and innocents weigh the same in all. Folds are made by picture, so that no picture is judged by
numbers it helped to fit. ``--write`` replaces ``provenance_guard/similarity/calibration.json``.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from similarity import calibration_error

from provenance_guard.similarity import calibration
from provenance_guard.similarity.calibration import Evidence

FOLDS = 5
PENALTY = 0.3
GALLERY_WEIGHT = 0.5
NOT_RIGID = ("diffusion", "geometry")
"""Families with warped copies: without their hash these look like other photographs of the scene."""


@dataclass(frozen=True)
class Samples:
    """Candidates: ``terms`` (n, terms) of the model, ``truth`` (n), ``weights`` (n), ``folds`` (n), ``queries`` (n)."""

    names: list[str]
    terms: NDArray[np.float64]
    truth: NDArray[np.float64]
    weights: NDArray[np.float64]
    folds: NDArray[np.int64]
    queries: NDArray[np.int64]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("evidence", nargs="+", type=Path)
    parser.add_argument(
        "--gallery", type=int, required=True, help="how many references the evidence was measured against"
    )
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    samples = read(arguments.evidence)
    told = cross_validate(samples)
    report = judge(samples, told)
    print(json.dumps(report, indent=2))
    centre, weights = fit(samples.terms, samples.truth, samples.weights)
    model = {
        "version": str(int(calibration.version()) + 1),
        "gallery": arguments.gallery,
        "gallery_weight": GALLERY_WEIGHT,
        "intercept": round(float(centre), 4),
        "weights": {name: round(float(w), 4) for name, w in zip(samples.names, weights, strict=True)},
        "fitted": report,
    }
    print(json.dumps(model, indent=2))
    if arguments.write:
        calibration.FILE.write_text(json.dumps(model, indent=2) + "\n", "utf-8")


def read(files: list[Path]) -> Samples:
    """The candidates of every query."""
    terms, truth, folds, queries = [], [], [], []
    names = list(Evidence().values())
    lines = [json.loads(line) for file in files for line in file.read_text("utf-8").splitlines()]
    for number, line in enumerate(lines):
        # A copy belongs to the fold of the picture it was made from.
        fold = zlib.crc32((line["source"] or line["name"].split(",")[0]).encode("utf-8")) % FOLDS
        for reference, values in line["candidates"].items():
            is_source = reference == line["source"]
            for evidence in _versions(Evidence(**values), is_source and line["kind"] not in NOT_RIGID):
                terms.append(list(evidence.values().values()))
                truth.append(float(is_source))
                folds.append(fold)
                queries.append(number)
    is_copy = np.array(truth)
    weights = np.where(is_copy > 0, 1.0, is_copy.sum() / max((is_copy == 0).sum(), 1))
    return Samples(names, np.array(terms), is_copy, weights, np.array(folds), np.array(queries))


def _versions(evidence: Evidence, rigid: bool) -> list[Evidence]:
    """A rigid copy counts once more as if a crop had destroyed its hash: then its features and windows must suffice."""
    if not rigid or not evidence.hash_cosine or not evidence.inliers:
        return [evidence]
    return [evidence, dataclasses.replace(evidence, hash_cosine=0.0)]


def fit(
    terms: NDArray[np.float64], truth: NDArray[np.float64], weights: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64]]:
    """Intercept and weights. The penalty acts on standardised terms, and not on the intercept."""
    mean, deviation = terms.mean(axis=0), terms.std(axis=0) + 1e-9
    design = np.hstack([np.ones((len(terms), 1)), (terms - mean) / deviation])
    penalty = np.diag([0.0] + [PENALTY] * terms.shape[1])
    solution = np.zeros(design.shape[1])
    for _ in range(100):
        told = 1 / (1 + np.exp(-np.clip(design @ solution, -30, 30)))
        gradient = design.T @ (weights * (truth - told)) - penalty @ solution
        curvature = (design * (weights * np.maximum(told * (1 - told), 1e-6))[:, None]).T @ design + penalty
        step = np.linalg.solve(curvature, gradient)
        solution += step * min(1.0, 2.0 / (np.abs(step).max() + 1e-9))
        if np.abs(step).max() < 1e-6:
            break
    slopes = solution[1:] / deviation
    return float(solution[0] - slopes @ mean), slopes


def cross_validate(samples: Samples) -> NDArray[np.float64]:
    """Each candidate's probability by a model that never saw its picture."""
    told = np.zeros(len(samples.truth))
    for fold in range(FOLDS):
        inside = samples.folds == fold
        intercept, slopes = fit(samples.terms[~inside], samples.truth[~inside], samples.weights[~inside])
        told[inside] = 1 / (1 + np.exp(-np.clip(intercept + samples.terms[inside] @ slopes, -30, 30)))
    return told


def judge(samples: Samples, told: NDArray[np.float64]) -> dict[str, float]:
    """How good cross-validated probabilities are."""
    copies = told[samples.truth > 0]
    copied = set(samples.queries[samples.truth > 0].tolist())
    others = [query for query in np.unique(samples.queries).tolist() if query not in copied]
    alarms = np.sort([told[samples.queries == query].max() for query in others])[::-1]
    return {
        "candidates": len(told),
        "copies": len(copies),
        "innocent_queries": len(others),
        "expected_calibration_error": calibration_error(list(zip(told, samples.truth > 0, strict=True))),
        "brier_score": round(float(np.mean((told - samples.truth) ** 2)), 5),
        "recall_at_0.85": round(float((copies >= 0.85).mean()), 4),
        "recall_at_0.5": round(float((copies >= 0.5).mean()), 4),
        "recall_at_1_percent_alarmed": round(float((copies > alarms[len(alarms) // 100]).mean()), 4),
        "innocents_at_0.85": int((alarms >= 0.85).sum()),
        "innocents_at_0.5": int((alarms >= 0.5).sum()),
        "highest_innocent": round(float(alarms[0]), 4),
    }


if __name__ == "__main__":
    main()
