"""Measures the watermark: quality, robustness, false positives, speed. Prints Markdown, writes JSON.

    python benchmarks/watermark.py PICTURES --preset small
    python benchmarks/watermark.py PICTURES --preset full --results results.jsonl

``small`` takes about three minutes on two quiet cores, ``full`` every picture of the folder, all attacks, all strengths. With
``--results`` every picture is written down as soon as it is done, and a run that was interrupted goes on where it stopped.
Optional packages, used when they are installed: ``ssimulacra2`` (perceptual quality), ``invisible-watermark`` and
``blind_watermark`` (speed beside other libraries).
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from watermark_attacks import ATTACKS, Attack

from provenance_guard.watermark import Payload, Watermarker

KEY, WRONG_KEY = bytes(range(32)), bytes(range(1, 33))
PAYLOADS = {
    "free": bytes.fromhex("00112233445566778899aabbccddeeff"),
    "record": Payload("0123456789abcd", 1_795_000_000).pack(),
    "robust": Payload("0123456").pack(),
}
SPEED_SIDE = 512
SURE_SCORE = 7
REPEATS = 3


@dataclass(frozen=True)
class Preset:
    """How much is measured: how many pictures, every how-manieth attack, which strengths."""

    pictures: int
    attack_step: int
    strengths: tuple[str, ...]


PRESETS = {
    "small": Preset(3, 4, ("invisible", "strong")),
    "full": Preset(10_000, 1, ("invisible", "balanced", "strong")),
}


@dataclass
class Marked:
    """What one picture gave at one strength. ``scores`` are z scores of the claimed payload where blind reading failed."""

    picture: str
    width: int
    height: int
    strength: str
    psnr: float
    ssim: float
    ssimulacra2: float | None
    margin: float
    weak: bool
    exact: dict[str, bool] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)
    wrong_payloads: int = 0
    false_positives: int = 0
    unmarked_tries: int = 0


def measure(path: Path, strength: str, payload: bytes, attack_step: int) -> Marked:
    """Mark one picture, put it through the attacks, and look for marks where there are none."""
    torch.set_num_threads(1)
    original = Image.open(path).convert("RGB")
    watermarker, stranger = Watermarker(KEY, strength), Watermarker(WRONG_KEY)
    embedding = watermarker.embed_measured(original, payload)
    marked = embedding.image
    result = Marked(
        path.name, *original.size, strength, round(embedding.psnr, 2), round(_ssim(original, marked), 4),
        _ssimulacra2(original, marked), round(embedding.margin, 2), embedding.weak,
    )  # fmt: skip
    for number, attack in enumerate(ATTACKS[::attack_step]):
        received = attack(marked)
        found = watermarker.detect(received)
        result.exact[attack.name] = found is not None and found.payload == payload
        result.wrong_payloads += found is not None and found.payload != payload
        if found is None:
            result.scores[attack.name] = round(watermarker.check(received, payload), 1)
        if number % 4 == 0:
            result.unmarked_tries += 2
            result.false_positives += watermarker.detect(attack(original)) is not None
            result.false_positives += stranger.detect(received) is not None
    return result


def measure_speed(path: Path) -> dict[str, float]:
    """CPU seconds at 512 x 512, the least of three, ours and of the other libraries that are installed."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    picture = Image.open(path).convert("RGB").resize((SPEED_SIDE, SPEED_SIDE), Image.Resampling.LANCZOS)
    watermarker = Watermarker(KEY)
    marked = watermarker.embed(picture, PAYLOADS["record"])
    turned = marked.rotate(5, Image.Resampling.BICUBIC)
    seconds = {
        "embed": _cpu_seconds(lambda: watermarker.embed(picture, PAYLOADS["record"])),
        "detect, unmoved": _cpu_seconds(lambda: watermarker.detect(marked)),
        "detect, turned 5 degrees": _cpu_seconds(lambda: watermarker.detect(turned)),
        "detect, no mark": _cpu_seconds(lambda: watermarker.detect(picture)),
    }
    if invisible := _optional("imwatermark"):
        encoder = invisible.WatermarkEncoder()
        encoder.set_watermark("bytes", b"0123")
        pixels = np.asarray(picture)[:, :, ::-1].copy()
        decoder = invisible.WatermarkDecoder("bytes", 32)
        written = encoder.encode(pixels, "dwtDctSvd")
        seconds["dwtDctSvd embed"] = _cpu_seconds(lambda: encoder.encode(pixels, "dwtDctSvd"))
        seconds["dwtDctSvd detect"] = _cpu_seconds(lambda: decoder.decode(written, "dwtDctSvd"))
    if blind := _optional("blind_watermark"):
        pixels = np.asarray(picture)[:, :, ::-1].copy()

        def embed_blind() -> None:
            tool = blind.WaterMark(password_img=1, password_wm=1)
            tool.read_img(img=pixels)
            tool.read_wm([True, False] * 32, mode="bit")
            tool.embed()

        seconds["blind_watermark embed"] = _cpu_seconds(embed_blind)
    return {name: round(value, 4) for name, value in seconds.items()}


def summarise(results: list[Marked], speed: dict[str, float], attacks: list[Attack]) -> str:
    """The results as Markdown."""
    lines = [f"Measured {time.strftime('%Y-%m-%d')}, {platform.machine()}, torch {torch.__version__}.", ""]
    strengths = list(dict.fromkeys(result.strength for result in results))
    lines += ["| strength | pictures | PSNR least / mean | SSIM least / mean | SSIMULACRA2 least / mean | exact |"]
    lines += ["|---|---|---|---|---|---|"]
    for strength in strengths:
        group = [result for result in results if result.strength == strength]
        columns = [_least_and_mean([getattr(result, name) for result in group]) for name in _QUALITIES]
        exact = statistics.fmean(value for result in group for value in result.exact.values())
        lines.append(f"| {strength} | {len(group)} | {' | '.join(columns)} | {exact:.3f} |")
    lines += ["", f"| family | {' | '.join(strengths)} | lost (share of pictures, first strength) |"]
    lines += ["|---" * (len(strengths) + 2) + "|"]
    for family in dict.fromkeys(attack.family for attack in attacks):
        names = [attack.name for attack in attacks if attack.family == family]
        rates = [_rate(results, strength, names) for strength in strengths]
        lost = [f"{name} {1 - _rate(results, strengths[0], [name]):.2f}" for name in names]
        told = ", ".join(text for text in lost if not text.endswith("0.00")) or "none"
        lines.append(f"| {family} | {' | '.join(f'{rate:.3f}' for rate in rates)} | {told} |")
    tries = sum(result.unmarked_tries for result in results)
    false_positives = sum(result.false_positives for result in results)
    wrong = sum(result.wrong_payloads for result in results)
    for family in ("hard jpeg", "denoisers"):
        rates = [_claimed_rate(results, strength, family) for strength in strengths]
        told = ", ".join(f"{strength} {rate:.3f}" for strength, rate in zip(strengths, rates, strict=True))
        lines += ["", f"Read, or claimed payload scored 7 or more, {family}: {told}."] if rates[0] >= 0 else []
    lines += [
        "",
        f"False positives: {false_positives} of {tries} tries without this mark. Wrong payloads: {wrong}.",
        "",
    ]
    lines += ["| CPU seconds at 512 x 512 | |", "|---|---|"]
    lines += [f"| {name} | {value:.3f} |" for name, value in speed.items()]
    return "\n".join(lines)


_QUALITIES = ("psnr", "ssim", "ssimulacra2")


def _least_and_mean(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{min(known):.4g} / {statistics.fmean(known):.4g}" if known else "not measured"


def _rate(results: list[Marked], strength: str, names: Iterable[str]) -> float:
    return statistics.fmean(result.exact[name] for result in results if result.strength == strength for name in names)


def _claimed_rate(results: list[Marked], strength: str, family: str) -> float:
    """Share of a family's changes after which the mark is read or its payload's score is 7 or more; -1 when none was tried."""
    names = [attack.name for attack in ATTACKS if attack.family == family]
    told = [
        result.exact[name] or result.scores[name] >= SURE_SCORE
        for result in results
        if result.strength == strength
        for name in names
        if name in result.exact
    ]
    return statistics.fmean(told) if told else -1.0


def _cpu_seconds(call: Callable[[], object]) -> float:
    call()
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return min(times)


def _ssim(before: Image.Image, after: Image.Image) -> float:
    x, y = (np.asarray(image.convert("L"), np.float64) for image in (before, after))

    def mean(plane: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(plane, (11, 11), 1.5)

    mean_x, mean_y = mean(x), mean(y)
    var_x, var_y = mean(x * x) - mean_x**2, mean(y * y) - mean_y**2
    both = mean(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    top = (2 * mean_x * mean_y + c1) * (2 * both + c2)
    return float((top / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)))[5:-5, 5:-5].mean())


def _ssimulacra2(before: Image.Image, after: Image.Image) -> float | None:
    tool = _optional("ssimulacra2")
    if tool is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        paths = [os.path.join(folder, name) for name in ("before.png", "after.png")]  # noqa: PTH118
        for image, path in zip((before, after), paths, strict=True):
            image.save(path, compress_level=0)
        return round(float(tool.compute_ssimulacra2(*paths)), 2)


def _optional(module: str) -> ModuleType | None:
    try:
        return importlib.import_module(module)
    except Exception:  # A missing or broken optional package only leaves a column empty.
        return None


def read_results(file: Path | None, paths: list[Path], strengths: tuple[str, ...]) -> list[Marked]:
    """What an earlier run wrote of these pictures and strengths."""
    if file is None or not file.exists():
        return []
    written = (Marked(**json.loads(line)) for line in file.read_text("utf-8").splitlines())
    names = {path.name for path in paths}
    return [result for result in written if result.picture in names and result.strength in strengths]


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path, help="a folder of PNG pictures")
    parser.add_argument("--preset", choices=PRESETS, default="small")
    parser.add_argument("--payload", choices=PAYLOADS, default="free", help="16 random bytes, or a record payload")
    parser.add_argument("--json", type=Path, help="write every single result here")
    parser.add_argument("--results", type=Path, help="write every picture here at once, and skip those that are there")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    preset = PRESETS[arguments.preset]
    found = sorted(arguments.pictures.glob("*.png"))
    if not found:
        parser.error(f"no PNG pictures in {arguments.pictures}")
    step = max(1, len(found) // preset.pictures)
    paths = list(islice(found[::step], preset.pictures))
    payload = PAYLOADS[arguments.payload]
    results = read_results(arguments.results, paths, preset.strengths)
    done = {(result.picture, result.strength) for result in results}
    with ProcessPoolExecutor(arguments.processes) as pool:
        jobs = [
            pool.submit(measure, path, strength, payload, preset.attack_step)
            for strength in preset.strengths
            for path in paths
            if (path.name, strength) not in done
        ]
        for number, job in enumerate(as_completed(jobs), start=1):
            results.append(job.result())
            if arguments.results:
                with arguments.results.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(asdict(results[-1])) + "\n")
            print(f"{number} of {len(jobs)}", end="\r", file=sys.stderr)
    speed = measure_speed(paths[0])
    print(summarise(results, speed, ATTACKS[:: preset.attack_step]))
    if arguments.json:
        document = {"preset": arguments.preset, "speed": speed, "results": [asdict(result) for result in results]}
        arguments.json.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
