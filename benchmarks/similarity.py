"""How many near-copies the screen finds, and how many innocents it alarms. (How long it takes: ``similarity_speed.py``.)

    python benchmarks/similarity.py --preset small [--references DIR] [--innocents DIR] [--out DIR] [--seed N]

``--references`` is a folder of pictures, with a ``manifest.json`` if there is one: a list of entries with ``file``, ``group``, ``role``
(``reference``, ``same_subject``, or ``real_copy`` with ``copy_of``). Three fifths of each group become the library; the rest, and the
pictures of ``--innocents``, are innocents of the same artists and subjects. Without it, scenes drawn by code are used. What is shown
is told in ``similarity_queries.py``; an interrupted run goes on. Writes ``similarity.json``, ``similarity.md`` and ``evidence.jsonl`` (what was measured
for each candidate, from which ``calibrate_similarity.py`` fits the probabilities).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from similarity_queries import Material, Query, draw_scenes, make_queries, sort_pictures

from provenance_guard.similarity import Library, calibration
from provenance_guard.similarity.calibration import Evidence
from provenance_guard.similarity.cascade import Cascade
from provenance_guard.similarity.normalise import normalise
from provenance_guard.similarity.store import Store

SEED = 20261122
PRESETS = {"small": 160, "full": 100_000}
"""The largest number of pictures that are screened."""


@dataclass(frozen=True)
class Outcome:
    """What was measured for one query: one entry for each candidate, by its path in the library."""

    kind: str
    name: str
    source: str | None
    cpu_seconds: float
    candidates: dict[str, Evidence]
    plan: str = ""


def main() -> None:
    arguments = _parse()
    torch.set_num_threads(min(2, os.cpu_count() or 1))
    arguments.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.references or draw_scenes(Path(scratch) / "drawn")
        material = sort_pictures(folder, arguments.innocents)
        started = time.process_time()
        cascade = _index(material, arguments.out)
        indexing = (time.process_time() - started) / len(material.library)
        measured = arguments.out / "evidence.jsonl"
        done = _read_outcomes(measured) if measured.exists() else []
        most = arguments.most or PRESETS[arguments.preset]
        queries = make_queries(material, most, arguments.seed, {outcome.plan for outcome in done})
        with measured.open("a", encoding="utf-8") as stream:
            for outcome in _screen_all(cascade, arguments.out / "references", queries):
                done.append(outcome)
                stream.write(json.dumps(asdict(outcome)) + "\n")
                stream.flush()
    outcomes = done
    report = {
        "when": time.strftime("%Y-%m-%d"),
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}",
        "preset": arguments.preset,
        "calibration": calibration.version(),
        "library": len(material.library),
        "index_cpu_seconds_per_picture": round(indexing, 3),
        **summarise(outcomes, len(material.library)),
    }
    (arguments.out / "similarity.json").write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    (arguments.out / "similarity.md").write_text(to_markdown(report), "utf-8")
    print(to_markdown(report))


def summarise(outcomes: list[Outcome], library: int) -> dict[str, Any]:
    """Recall, alarms and calibration of a run."""
    probabilities = [
        {name: calibration.probability(evidence, library) for name, evidence in outcome.candidates.items()}
        for outcome in outcomes
    ]
    copies = [(o, p.get(o.source or "", 0.0)) for o, p in zip(outcomes, probabilities, strict=True) if o.source]
    innocents = [
        (o, max(p.values(), default=0.0)) for o, p in zip(outcomes, probabilities, strict=True) if not o.source
    ]
    alarms = np.sort([value for _, value in innocents])[::-1]
    limits = {"1 % alarmed": alarms[len(alarms) // 100], "0.1 % alarmed": alarms[len(alarms) // 1000]}
    families: dict[str, list[float]] = defaultdict(list)
    transforms: dict[str, list[float]] = defaultdict(list)
    for outcome, value in copies:
        families[outcome.kind].append(value)
        transforms[f"{outcome.kind}: {outcome.name}" if outcome.kind != "real copy" else "real copy"].append(value)
    pairs = [
        (value, name == outcome.source)
        for outcome, found in zip(outcomes, probabilities, strict=True)
        for name, value in found.items()
    ]
    return {
        "copies": len(copies),
        "innocents": len(innocents),
        "screen_cpu_seconds": round(float(np.mean([outcome.cpu_seconds for outcome in outcomes])), 3),
        "recall": {
            **{name: _share(value > limit for _, value in copies) for name, limit in limits.items()},
            "near_copy at 0.85": _share(value >= 0.85 for _, value in copies),
            "review at 0.5": _share(value >= 0.5 for _, value in copies),
        },
        "innocents_blocked": sum(value >= 0.85 for _, value in innocents),
        "innocents_to_review": sum(0.5 <= value < 0.85 for _, value in innocents),
        "families": {name: _family(values, limits) for name, values in sorted(families.items())},
        "missed": {
            name: _share(value >= 0.5 for value in values)
            for name, values in sorted(transforms.items())
            if min(values) < 0.5
        },
        "expected_calibration_error": calibration_error(pairs),
        "alarmed_by_kind": {
            name: [sum(value >= 0.85 for value in values), sum(value >= 0.5 for value in values), len(values)]
            for name, values in sorted(_by_kind(innocents).items())
        },
        "worst_innocents": [
            [outcome.kind, outcome.name, round(value, 3)]
            for outcome, value in sorted(innocents, key=lambda entry: -entry[1])[:5]
        ],
    }


def calibration_error(pairs: list[tuple[float, bool]]) -> float:
    """Mean distance between told probability and share of copies, over ten bins, weighted by their size (ECE)."""
    told = np.array([value for value, _ in pairs])
    truth = np.array([is_copy for _, is_copy in pairs], np.float64)
    bins = np.minimum((told * 10).astype(int), 9)
    gaps = [abs(told[bins == b].mean() - truth[bins == b].mean()) * (bins == b).mean() for b in np.unique(bins)]
    return round(float(sum(gaps)), 4)


def to_markdown(report: dict[str, Any]) -> str:
    """The report as a table for people."""
    lines = [
        f"{report['when']}, {report['machine']}: {report['library']} references, {report['copies']} copies, "
        f"{report['innocents']} innocents; {report['screen_cpu_seconds']} s CPU a screen, "
        f"{report['index_cpu_seconds_per_picture']} s CPU to index a picture.",
        "",
        "| recall | " + " | ".join(report["recall"]) + " |",
        "| --- |" + " --- |" * len(report["recall"]),
        "| all | " + " | ".join(str(value) for value in report["recall"].values()) + " |",
    ]
    for name, values in report["families"].items():
        lines.append(
            f"| {name} ({values['copies']}) | " + " | ".join(str(values[key]) for key in report["recall"]) + " |"
        )
    lines += [
        "",
        f"Innocents blocked: {report['innocents_blocked']}, to review: {report['innocents_to_review']}. "
        f"Calibration error: {report['expected_calibration_error']}.",
        "",
    ]
    return "\n".join(lines)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--preset", choices=PRESETS, default="small")
    parser.add_argument("--references", type=Path)
    parser.add_argument("--innocents", type=Path)
    parser.add_argument("--out", type=Path, default=Path("benchmark-output"))
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--most", type=int, help="another largest number of pictures than the preset's")
    return parser.parse_args()


def _index(material: Material, out: Path) -> Cascade:
    """A library of exactly the chosen references, kept beside the results."""
    chosen = out / "references"
    for name in material.library:
        target = chosen / name
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((material.folder / name).read_bytes())
    with Library.open(out / "library") as library:
        library.sync(chosen)
    return Cascade(Store(out / "library"), device="cpu", embedder=None)


def _read_outcomes(file: Path) -> list[Outcome]:
    """What an earlier run with the same output measured already."""
    outcomes = []
    for line in file.read_text("utf-8").splitlines():
        values = json.loads(line)
        candidates = {name: Evidence(**evidence) for name, evidence in values.pop("candidates").items()}
        outcomes.append(Outcome(candidates=candidates, **values))
    return outcomes


def _screen_all(cascade: Cascade, folder: Path, queries: Iterator[tuple[str, Query]]) -> Iterator[Outcome]:
    folder = folder.absolute()
    for plan, query in queries:
        started = time.process_time()
        compared = cascade.compare(normalise(query.image))
        seconds = time.process_time() - started
        names = [entry.file.relative_to(folder).as_posix() for entry in compared]
        candidates = {name: e.evidence for name, e in zip(names, compared, strict=True) if name != query.itself}
        yield Outcome(query.kind, query.name, query.source, seconds, candidates, plan)


def _family(values: list[float], limits: dict[str, float]) -> dict[str, float]:
    shares = {name: _share(value > limit for value in values) for name, limit in limits.items()}
    shares["near_copy at 0.85"] = _share(value >= 0.85 for value in values)
    shares["review at 0.5"] = _share(value >= 0.5 for value in values)
    return {"copies": len(values), **shares}


def _by_kind(found: list[tuple[Outcome, float]]) -> dict[str, list[float]]:
    kinds: dict[str, list[float]] = defaultdict(list)
    for outcome, value in found:
        kinds[outcome.kind].append(value)
    return kinds


def _share(hits: Iterator[bool]) -> float:
    values = list(hits)
    return round(float(np.mean(values)), 3) if values else 0.0


if __name__ == "__main__":
    main()
