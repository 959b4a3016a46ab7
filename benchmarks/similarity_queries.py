"""The pictures that the benchmark of the screen shows it: copies made of references, and innocents. See ``similarity.py``.

A third are copies by the fifty transforms of ``copy_transforms``, two thirds innocents. Half of the innocents are made: other content in
the colours, or in the layout, of a reference. The others are pictures of the same artists and subjects, whole and edited, other
references, strangers in a reference's frame, stand-ins for other photographs of its scene. In front stand all real copies, upscales
and repaintings.
"""

from __future__ import annotations

import json
import zlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import copy_repaintings
import copy_transforms
import innocent_lookalikes
import numpy as np
from PIL import Image, ImageDraw

from provenance_guard.pictures import SUFFIXES, open_picture

REPAINTINGS, UPSCALES = 18, 24
"""So many are made in a run that is large enough; in a small one they are a tenth of the pictures at most."""

_INNOCENT_EDITS = (
    "crop 50",
    "mirrored",
    "inverted",
    "frame",
    "collage",
    "turned 8",
    "pencil",
    "strong blur",
    "screenshot",
)


@dataclass(frozen=True)
class Query:
    """One picture to screen: ``kind`` and ``name`` for the tables, the ``source`` in the library that it was copied from, or None."""

    kind: str
    name: str
    source: str | None
    image: Image.Image
    itself: str | None = None


@dataclass(frozen=True)
class Plan:
    """A query to be made: ``subject`` is a reference's path in its folder, or an innocent's absolute one."""

    kind: str
    subject: str | Path
    transform: copy_transforms.Transform | None = None
    number: int = 0
    """Tells several made pictures of one subject apart."""

    def __str__(self) -> str:
        return f"{self.kind} {self.subject} {self.transform.name if self.transform else self.number or ''}"


@dataclass(frozen=True)
class Material:
    """Pictures by role, as paths relative to ``folder``."""

    folder: Path
    library: list[str]
    innocents: list[Path]
    real_copies: list[tuple[str, str]]


def sort_pictures(folder: Path, innocents: Path | None) -> Material:
    """Three fifths of each group into the library, with every picture of which a real copy is known; the rest are innocents."""
    manifest = folder / "manifest.json"
    if manifest.exists():
        entries = json.loads(manifest.read_text("utf-8"))
    else:
        names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
        entries = [{"file": name, "group": Path(name).parent.as_posix(), "role": "reference"} for name in names]
    real = [(entry["file"], entry["copy_of"]) for entry in entries if entry["role"] == "real_copy"]
    needed = {source for _, source in real}
    groups: dict[str, list[str]] = defaultdict(list)
    for entry in sorted(entries, key=lambda entry: entry["file"]):
        if entry["role"] != "real_copy":
            groups[entry["group"]].append(entry["file"])
    library, others = [], []
    for files in groups.values():
        for number, file in enumerate(files):
            (library if number % 5 < 3 or file in needed else others).append(file)
    strangers = sorted(p for p in innocents.rglob("*") if p.suffix.lower() in SUFFIXES) if innocents else []
    innocent = strangers + [folder / name for name in others]
    return Material(folder.absolute(), library, [path.absolute() for path in innocent], real)


def make_queries(material: Material, most: int, seed: int, done: set[str]) -> Iterator[tuple[str, Query]]:
    """Copies and innocents in a random order, so that a part of them is a fair sample; those not ``done`` yet, each with its plan."""
    for plan in plan_queries(material, most, seed):
        if str(plan) in done:
            continue
        random = np.random.default_rng([seed, zlib.crc32(str(plan).encode("utf-8"))])
        strangers = material.innocents or [material.folder / name for name in material.library if name != plan.subject]
        beside = _read(strangers[int(random.integers(len(strangers)))])
        yield str(plan), _make_query(material, plan, random, beside)


def plan_queries(material: Material, most: int, seed: int) -> list[Plan]:
    """What to show, at most so many pictures and those that stand in front."""
    transforms = copy_transforms.all_transforms()
    edits = [transform for transform in transforms if transform.name in _INNOCENT_EDITS]
    copies = [Plan("copy", name, transform) for name in material.library for transform in transforms]
    found = [Plan("innocent", path) for path in material.innocents]
    found += [Plan("edited innocent", path, edit) for path in material.innocents for edit in edits]
    found += [Plan(k, name) for name in material.library for k in ("other reference", "same frame", "other photograph")]
    rounds = range(1 + most // (6 * len(material.library)))
    made = [
        Plan(k, name, number=n) for n in rounds for name in material.library for k in ("same palette", "same layout")
    ]
    part = most // 3
    plans = _sample(copies, part, seed) + _sample(made, part, seed + 1) + _sample(found, part, seed + 2)
    return _first(material, most, seed) + _sample(plans, len(plans), seed + 3)


def _first(material: Material, most: int, seed: int) -> list[Plan]:
    """Real copies, upscales and repaintings."""
    few = max(most // 10, 1)
    plans = [Plan("real copy", copy) for copy, _ in material.real_copies]
    for transforms, count in (
        (copy_repaintings.upscales(), min(UPSCALES, few)),
        (copy_repaintings.repaintings(), min(REPAINTINGS, few)),
    ):
        names = [plan.subject for plan in _sample([Plan("", name) for name in material.library], count, seed)]
        plans += [Plan("copy", name, transforms[number % len(transforms)]) for number, name in enumerate(names)]
    return plans


def _sample(plans: list[Plan], most: int, seed: int) -> list[Plan]:
    order = np.random.default_rng(seed).permutation(len(plans))
    return [plans[index] for index in order[:most]]


def _make_query(material: Material, plan: Plan, random: np.random.Generator, beside: Image.Image) -> Query:
    picture = _read(material.folder / plan.subject)  # An absolute subject stands for itself.
    name, source = str(plan.subject), None
    if plan.transform is not None:
        picture = plan.transform.make(picture, random, beside)
    if plan.kind == "copy" and plan.transform is not None:
        return Query(plan.transform.family, plan.transform.name, name, picture)
    if plan.kind == "real copy":
        source = dict(material.real_copies)[name]
    elif plan.kind == "same palette":
        picture = innocent_lookalikes.same_palette(picture, random)
    elif plan.kind == "same layout":
        picture = innocent_lookalikes.same_layout(picture, random)
    elif plan.kind == "same frame":
        picture = innocent_lookalikes.same_frame(picture, beside)
    elif plan.kind == "other photograph":
        picture = innocent_lookalikes.other_photograph(picture, random, beside)
    itself = name if plan.kind == "other reference" else None
    label = Path(name).name + (f", {plan.transform.name}" if plan.transform else "")
    return Query(plan.kind, label, source, picture, itself)


def draw_scenes(folder: Path) -> Path:
    """Forty scenes with structure at every scale."""
    folder.mkdir(parents=True)
    for seed in range(40):
        random = np.random.default_rng(seed)
        coarse = Image.fromarray(random.integers(60, 200, (6, 8, 3)).astype(np.uint8), "RGB")
        scene = coarse.resize((480, 360), Image.Resampling.BICUBIC)
        draw = ImageDraw.Draw(scene)
        for _ in range(80):
            x, y = random.integers(0, 480), random.integers(0, 360)
            a, b = random.integers(6, 60, 2)
            colour = tuple(int(value) for value in random.integers(0, 255, 3))
            shape = (draw.ellipse, draw.rectangle)[int(random.integers(2))]
            shape((x - a, y - b, x + a, y + b), fill=colour)
        scene.save(folder / f"{seed:02}.png")
    return folder


def _read(path: Path) -> Image.Image:
    return open_picture(path, animated="first").image.convert("RGB")
