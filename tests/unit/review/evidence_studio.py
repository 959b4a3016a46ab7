"""A small studio for tests of evidence: three pictures that came from each other, with their whole history in a ledger."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from provenance_guard.config import Config, MarkPolicy, Policy
from provenance_guard.guard import Guard
from provenance_guard.provenance.record import Context, Parent, Resource

PRIVATE = ("zanzibar", "hyperborea", "mara", "dreamweaver", "4711471147", "secret sketch", "jobnumber")
INFOTEXT = "a quiet zanzibar harbour\nNegative prompt: hyperborea\nSteps: 20, Seed: 4711471147, CFG scale: 7"


@dataclass(frozen=True)
class Studio:
    """Where it all lies. ``files`` and ``records`` are of parent, picture and child."""

    home: Path
    files: tuple[Path, Path, Path]
    records: tuple[str, str, str]

    @property
    def picture(self) -> Path:
        return self.files[1]

    @property
    def record(self) -> str:
        return self.records[1]

    @property
    def options(self) -> list[str]:
        return ["--data", str(self.home / "data"), "--keys", str(self.home / "keys")]

    def open(self) -> Guard:
        return Guard(config(self.home))


def config(home: Path) -> Config:
    return Config(home / "data", home / "keys", Policy(mode="off", mark=MarkPolicy(enabled=False)))


def draw(number: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(number).integers(0, 256, (60, 80, 3), np.uint8))


def make_studio(home: Path) -> Studio:
    files, records = [], []
    with Guard(config(home)) as guard:
        parents: tuple[Parent, ...] = ()
        for number, name in enumerate(("secret sketch.png", "zanzibar at dawn.png", "child.png")):
            context = Context(
                "webui.img2img",
                {
                    "prompt": "a quiet zanzibar harbour",
                    "negative_prompt": "hyperborea",
                    "seed": 4711471147,
                    "steps": 20,
                },
                infotext=INFOTEXT,
                resources=(Resource("checkpoint", "dreamweaver", sha256="ab" * 32),),
                parents=parents,
                user="mara",
                job=f"jobnumber {number}",
                source_name="secret sketch.png",
            )
            assert guard.admit(context).failures == ()
            release = guard.release(draw(number), context)
            path = home / "out" / name
            path.parent.mkdir(exist_ok=True)
            chunks = PngInfo()
            chunks.add_text("parameters", INFOTEXT)
            release.image.save(path, pnginfo=chunks)
            assert guard.seal(release, path).failures == ()
            files.append(path)
            records.append(release.record.id)
            parents = (Parent("init_image", release.record.pixel_sha256, release.record.id, "pixels"),)
    return Studio(home, tuple(files), tuple(records))
