"""How fast the screen is: a whole screen against many references, adding and removing one, exact search, hashes, indexing.

    python benchmarks/similarity_speed.py --preset small|full [--references DIR] [--library DIR] [--out DIR]

The library is made of the local features of real pictures, mixed and disturbed, so that thousands of references need not be drawn;
``--library`` keeps it for another run. faiss is measured beside our search when it is installed. Times are the best of several; the
read bandwidth of a plain sum in the same minute stands beside them. Wall clock, but the searches by ``--clock cpu`` in seconds of CPU:
with ``--threads 1`` that is what a busy machine leaves unchanged. Writes ``similarity_speed.json``.
"""

from __future__ import annotations

import argparse
import importlib
import io
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image, ImageOps

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from similarity_queries import draw_scenes

from provenance_guard.files import sha256_file
from provenance_guard.pictures import SUFFIXES
from provenance_guard.similarity import Library, cascade, features, gradients, hashes
from provenance_guard.similarity.index import ExactIndex, HashIndex
from provenance_guard.similarity.normalise import read
from provenance_guard.similarity.segments import Vector
from provenance_guard.similarity.store import Content, Store

SEED = 20261122
PRESETS = {"small": (1_000, 200_000), "full": (10_000, 3_000_000)}
"""References of the library, and vectors and hashes of the exact searches."""

Clock = Callable[[], float]
_CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "cpu": time.process_time}
_ORIENTATIONS = 8
_DIMENSIONS = 512


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--preset", choices=PRESETS, default="small")
    parser.add_argument("--references", type=Path, help="a folder of pictures; drawn scenes when it is missing")
    parser.add_argument("--library", type=Path, help="where the made library is kept")
    parser.add_argument("--only", choices=("screen", "vectors", "hashes", "indexing"), action="append")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--vectors", type=int, help="another number of vectors and hashes than the preset's")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1), help="of torch, OpenCV and faiss")
    parser.add_argument("--out", type=Path, default=Path("benchmark-output"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    cv2.setNumThreads(arguments.threads)
    references, vectors = PRESETS[arguments.preset]
    wanted = arguments.only or ["screen", "vectors", "hashes", "indexing"]
    report: dict[str, Any] = {
        "when": time.strftime("%Y-%m-%d"),
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}",
        "threads": arguments.threads,
        "load": [round(value, 1) for value in os.getloadavg()] if hasattr(os, "getloadavg") else None,
        "read_gb_per_second": round(measure_bandwidth(), 1),
    }
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.references or draw_scenes(Path(scratch) / "drawn")
        files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
        if "screen" in wanted:
            home = arguments.library or Path(scratch) / "library"
            report["screen"] = measure_screen(files, home, references)
        if "indexing" in wanted:
            report["indexing"] = measure_indexing(files[:40], Path(scratch))
    if "vectors" in wanted:
        report["vectors"] = measure_vectors(arguments.vectors or vectors, _CLOCKS[arguments.clock])
    if "hashes" in wanted:
        report["hashes"] = measure_hashes(arguments.vectors or vectors, _CLOCKS[arguments.clock])
    arguments.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(report, indent=2)
    (arguments.out / "similarity_speed.json").write_text(text + "\n", "utf-8")
    print(text)


def make_library(files: list[Path], home: Path, count: int) -> None:
    """A library of the real pictures, and of made ones up to ``count``: features mixed from pairs of real ones and disturbed."""
    store = Store(home)
    folder = store.add_folder(home.absolute() / "references")
    there = len(store.known(folder))
    contents = [cascade.analyse(read(path), sha256_file(path), None) for path in files[: max(count // 2, 1)]]
    store.put_pictures(
        folder, [(path.as_posix(), (1, 1), content) for path, content in zip(files, contents, strict=False)]
    )
    rows = np.stack([np.frombuffer(content.vectors[1].row, np.uint8) for content in contents])
    random = np.random.default_rng(SEED)
    jpeg = _plain_jpeg()
    descriptors = features.unpack_descriptors(rows)
    halves = [descriptors[:, half].reshape(-1, 128) for half in (slice(0, 150), slice(150, 300))]
    pools = [half[half.any(axis=1)].astype(np.float32) for half in halves]
    edges = np.stack([np.frombuffer(content.vectors[3].row, "<f2").astype(np.float32) for content in contents])
    for start in range(there, count - len(contents), 500):
        made = []
        for number in range(start, min(start + 500, count - len(contents))):
            points = random.integers(0, 65536, (features.REFERENCE_COUNT, 4)).astype("<u2")
            packed = b"".join(_mix(pool, random).tobytes() for pool in pools) + points.tobytes()
            vectors = (
                Vector(hashes.ALGORITHM, hashes.VERSION, random.bytes(64)),
                Vector(features.ALGORITHM, features.VERSION, packed, features.REFERENCE_COUNT),
                cascade.word_vector(packed),
                Vector(gradients.ALGORITHM, gradients.VERSION, _mix_edges(edges, random)),
            )
            made.append((f"made {number}", (1, 1), Content(f"made {number}", (512, 512), jpeg, vectors)))
        store.put_pictures(folder, made)


def measure_screen(files: list[Path], home: Path, count: int) -> dict[str, Any]:
    """A whole screen of a picture of 512 x 512 pixels against ``count`` references; adding one and removing it."""
    make_library(files, home, count)
    pictures = [ImageOps.fit(Image.open(path).convert("RGB"), (512, 512)) for path in files[:: max(len(files) // 6, 1)]]
    before = _resident()
    with Library.open(home) as library:
        started = time.perf_counter()
        library.screen(pictures[0])
        first = time.perf_counter() - started
        walls, cpu = [], time.process_time()
        for picture in pictures:
            started = time.perf_counter()
            verdict = library.screen(picture)
            walls.append(time.perf_counter() - started)
        cpu = (time.process_time() - cpu) / len(pictures)
        grown = _resident() - before
        changes = _measure_change(library, files[0], home)
    return {
        "references": verdict.references,
        "first_screen_seconds": round(first, 2),
        "screen_seconds_median": round(float(np.median(walls)), 3),
        "screen_seconds_slowest": round(max(walls), 3),
        "screen_cpu_seconds": round(cpu, 3),
        "memory_mb": round(grown / 1e6),
        **changes,
    }


def measure_vectors(count: int, clock: Clock) -> dict[str, Any]:
    """Exact top-10 of one and of eight queries among ``count`` x 512 random unit vectors, beside numpy and faiss."""
    random = np.random.default_rng(SEED)
    rows = np.empty((count, _DIMENSIONS), np.float32)
    for start in range(0, count, 100_000):
        part = random.standard_normal((min(100_000, count - start), _DIMENSIONS), dtype=np.float32)
        rows[start : start + len(part)] = part / np.linalg.norm(part, axis=1, keepdims=True)
    queries = (
        rows[random.integers(0, count, _ORIENTATIONS)] * 0.5 + random.standard_normal((8, 512), dtype=np.float32) * 0.04
    )
    index = ExactIndex(rows)
    found = index.search(queries, 10)[1]
    expected = np.argsort(-(rows @ queries[0]), kind="stable")[:10]
    searches: dict[str, Callable[[int], Any]] = {
        "ours": lambda batch: index.search(queries[:batch], 10),
        "numpy": lambda batch: np.argpartition(-(queries[:batch] @ rows.T), 10, axis=1),
    }
    faiss = _faiss()
    if faiss is not None:
        flat = faiss.IndexFlatIP(_DIMENSIONS)
        flat.add(rows)
        searches["faiss"] = lambda batch: flat.search(queries[:batch], 10)
    seconds = _in_turns(
        {f"{name} {batch}": (lambda s=search, b=batch: s(b)) for name, search in searches.items() for batch in (1, 8)},
        clock,
    )
    reading = _best_of(torch.from_numpy(rows).sum, 5, clock)
    report = {
        "vectors": count,
        "equals_plain_search": bool(np.array_equal(found[0], expected)),
        "million_comparisons_per_second": {
            name: round(int(name.split()[1]) * count / value / 1e6, 1) for name, value in seconds.items()
        },
        "times_numpy_batch_8": round(seconds["numpy 8"] / seconds["ours 8"], 2),
        "share_of_read_bandwidth_batch_1": round(reading / seconds["ours 1"], 2),
    }
    if faiss is not None:
        report["times_faiss_batch_8"] = round(seconds["faiss 8"] / seconds["ours 8"], 2)
    return report


def measure_hashes(count: int, clock: Clock) -> dict[str, Any]:
    """The ten nearest of ``count`` hashes of 256 bits for eight orientations, beside faiss."""
    random = np.random.default_rng(SEED)
    rows = random.integers(0, 256, (count, 32), dtype=np.uint8)
    queries = random.integers(0, 256, (_ORIENTATIONS, 32), dtype=np.uint8)
    index = HashIndex(rows)
    searches: dict[str, Callable[[], Any]] = {"ours": lambda: index.search(queries, 10)}
    faiss = _faiss()
    if faiss is not None:
        flat = faiss.IndexBinaryFlat(256)
        flat.add(rows)
        searches["faiss"] = lambda: flat.search(queries, 10)
    seconds = _in_turns(searches, clock)
    return {
        "hashes": count,
        "numpy": np.__version__,
        "milliseconds": {n: round(v * 1e3, 1) for n, v in seconds.items()},
    }


def measure_indexing(files: list[Path], scratch: Path) -> dict[str, Any]:
    """Pictures indexed a second by all cores, beside decoding and describing alone on as many threads."""
    chosen = scratch / "indexed"
    chosen.mkdir()
    for number, path in enumerate(files):
        (chosen / f"{number}{path.suffix}").write_bytes(path.read_bytes())
    started = time.perf_counter()
    with Library.open(scratch / "index") as library:
        library.sync(chosen)
    ours = time.perf_counter() - started

    def describe(path: Path) -> None:
        picture = read(path)
        features.describe(picture, features.REFERENCE_COUNT)
        hashes.hash_reference(picture)
        gradients.describe(picture.image)

    started = time.perf_counter()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(describe, chosen.iterdir()))
    alone = time.perf_counter() - started
    return {
        "pictures": len(files),
        "pictures_per_second": round(len(files) / ours, 2),
        "of_describing_alone": round(alone / ours, 2),
    }


def measure_bandwidth() -> float:
    """Gigabytes a second that a plain sum reads."""
    values = torch.ones(1 << 27)
    return values.numel() * 4 / _best_of(values.sum, 5) / 1e9


def _measure_change(library: Library, file: Path, home: Path) -> dict[str, float]:
    """From a described picture that is committed to a screen that knows it: what keeping and loading it takes."""
    picture = Image.open(file).convert("RGB")
    extra = home.parent / "extra"
    extra.mkdir(exist_ok=True)
    target = extra / "added.png"
    picture.rotate(90, expand=True).crop((8, 8, picture.height - 8, picture.width - 8)).save(target)
    library.add(target)
    started = time.perf_counter()
    library._current(None)
    shown = time.perf_counter() - started
    started = time.perf_counter()
    library.remove(extra)
    library._current(None)
    return {
        "added_visible_after_seconds": round(shown, 4),
        "removed_after_seconds": round(time.perf_counter() - started, 4),
    }


def _faiss() -> Any:
    """The module to compare with, None when it is not installed."""
    try:
        faiss = importlib.import_module("faiss")
    except ImportError:
        return None
    faiss.omp_set_num_threads(torch.get_num_threads())
    return faiss


def _mix(pool: np.ndarray, random: np.random.Generator) -> np.ndarray:
    one, other = pool[random.integers(0, len(pool), (2, features.REFERENCE_COUNT // 2))]
    share = random.uniform(0.5, 0.8, (len(one), 1)).astype(np.float32)
    values = np.square(share * one + (1 - share) * other) * random.gamma(3, 1 / 3, one.shape).astype(np.float32)
    unit = np.sqrt(values / values.sum(axis=1, keepdims=True))
    return np.minimum(np.rint(unit * features.SCALE), 127).astype(np.int8)


def _mix_edges(pool: np.ndarray, random: np.random.Generator) -> bytes:
    mixed = random.dirichlet((1, 1)) @ pool[random.integers(0, len(pool), 2)] + random.normal(0, 0.03, pool.shape[1])
    return (mixed / np.linalg.norm(mixed)).astype("<f2").tobytes()


def _plain_jpeg() -> bytes:
    stream = io.BytesIO()
    noise = np.random.default_rng(SEED).integers(0, 255, (24, 24, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((384, 384), Image.Resampling.BICUBIC).save(stream, "JPEG", quality=80)
    return stream.getvalue()


def _in_turns(runs: dict[str, Callable[[], Any]], clock: Clock, times: int = 5) -> dict[str, float]:
    """The best time of each, measured in turns, so that a busy machine slows all of them alike."""
    best = dict.fromkeys(runs, float("inf"))
    for _ in range(times):
        for name, run in runs.items():
            best[name] = min(best[name], _best_of(run, 1, clock))
    return best


def _best_of(run: Callable[[], Any], times: int, clock: Clock = time.perf_counter) -> float:
    seconds = []
    for _ in range(times):
        started = clock()
        run()
        seconds.append(clock() - started)
    return min(seconds)


def _resident() -> int:
    """Bytes of memory in use; 0 where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, AttributeError):
        return 0


if __name__ == "__main__":
    main()
