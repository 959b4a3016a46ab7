"""Draws the demo's pictures again: ``python examples/draw.py [FOLDER]`` (default: the folder of this file).

Needs Pillow and numpy only. The public-domain plates in ``references/`` are read, everything else is written: two references
that are drawn, and all of ``generated/``. The infotext stands where the AUTOMATIC1111 WebUI puts it: a text chunk
``parameters`` in PNG, the EXIF UserComment in JPEG and WebP, byte for byte as it writes them.
"""

from __future__ import annotations

import struct
import sys
from dataclasses import dataclass
from pathlib import Path

import scenes
from PIL import Image, ImageEnhance, PngImagePlugin

HERE = Path(__file__).resolve().parent
NEGATIVE = "lowres, blurry, watermark, text, bad anatomy"


@dataclass(frozen=True)
class Job:
    """What the WebUI would have been asked for."""

    prompt: str
    seed: int
    model: str = "demo-painter-v2"
    model_hash: str = "4f1c0de5a7"
    more: str = ""

    def infotext(self, image: Image.Image) -> str:
        """The three paragraphs of A1111 v1.10.1."""
        settings = (
            f"Steps: 24, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 6.5, Seed: {self.seed}, "
            f"Size: {image.width}x{image.height}, Model hash: {self.model_hash}, Model: {self.model}, "
            f"{self.more}Version: v1.10.1"
        )
        return f"{self.prompt}\nNegative prompt: {NEGATIVE}\n{settings}"


def main(folder: Path) -> None:
    references, generated = folder / "references", folder / "generated"
    references.mkdir(parents=True, exist_ok=True)
    generated.mkdir(parents=True, exist_ok=True)
    scenes.northern_lights_poster().save(references / "studio-poster-northern-lights.png", optimize=True)
    scenes.robot_mascot().save(references / "studio-mascot-robot.png", optimize=True)

    save_png(
        generated / "00001-2087351147.png",
        scenes.sunset_hills(),
        Job("rolling hills at sunset, fir trees, layered mist, warm light, illustration", 2087351147),
    )
    save_png(
        generated / "00002-913350088.png",
        scenes.night_city(),
        Job(
            "night market by the water, neon sign, lit towers, full moon <lora:harbour_lights:0.7> <lora:flat_poster:0.4>",
            913350088,
            more='Lora hashes: "harbour_lights: 6b1f7e20c3d4, flat_poster: 90aa14c2e7b5", ',
        ),
    )
    save_jpeg(
        generated / "00003-1170233941.jpg",
        scenes.lighthouse(),
        Job(
            "red and white lighthouse on a cliff, sailing boats, calm sea, morning",
            1170233941,
            more="Denoising strength: 0.45, Hires upscale: 1.5, Hires upscaler: Latent, ",
        ),
        quality=85,
    )
    save_webp(
        generated / "00004-44120976.webp",
        scenes.fan_tiles(),
        Job("seamless art deco fan tiles, teal, terracotta and gold, “hand-painted” look", 44120976),
    )
    save_jpeg(
        generated / "00005-3301998452.jpg",
        near_copy(HERE / "references" / "potter-peter-rabbit-radishes.jpg"),
        Job("a rabbit in a blue jacket eats radishes in a kitchen garden, storybook watercolour", 3301998452),
        quality=80,
    )
    save_png(
        generated / "00006-720915634.png",
        enlarged_crop(HERE / "references" / "tenniel-cheshire-cat.jpg"),
        Job("grinning cat in the sky over a crowd, engraving, cross-hatching, ink", 720915634),
    )
    scenes.balloons().save(generated / "download (3).png", optimize=True)
    save_png(
        generated / "00008-樱花 与 雪山.png",
        scenes.blossom_mountain(),
        Job("樱花, 雪山, 湖中倒影, 春天, 插画", 508114470),
    )


def near_copy(plate: Path) -> Image.Image:
    """The whole plate with other colours, a little cropped and turned, and a sun drawn into it."""
    with Image.open(plate) as source:
        image = source.convert("RGB")
    red, green, blue = image.split()
    image = Image.merge("RGB", (green.point(lambda level: min(255, int(level * 1.08))), red, blue))
    image = ImageEnhance.Contrast(ImageEnhance.Color(image).enhance(0.8)).enhance(1.1)
    width, height = image.size
    image = image.rotate(1.2, Image.Resampling.BICUBIC)
    image = image.crop((int(width * 0.03), int(height * 0.03), int(width * 0.97), int(height * 0.96)))
    image = image.resize((512, 704), Image.Resampling.LANCZOS)
    sun = scenes.Canvas(512, 704, 1)
    sun.image = image.resize((sun.width, sun.height), Image.Resampling.BICUBIC)
    sun.glow(0.14, 0.1, 0.2, (255, 240, 190), 0.8)
    sun.disc(0.14, 0.1, 0.05, (255, 236, 150))
    return sun.finish()


def enlarged_crop(plate: Path) -> Image.Image:
    """Two fifths of the plate's area (63 % of each side), scaled up."""
    with Image.open(plate) as source:
        image = source.convert("RGB")
    width, height = image.size
    side = 0.4**0.5
    left, top = 0.2 * width, 0.02 * height
    box = (int(left), int(top), int(left + side * width), int(top + side * height))
    return image.crop(box).resize((576, 736), Image.Resampling.LANCZOS)


def save_png(path: Path, image: Image.Image, job: Job) -> None:
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text("parameters", job.infotext(image))
    image.save(path, pnginfo=chunks, optimize=True)


def save_jpeg(path: Path, image: Image.Image, job: Job, quality: int) -> None:
    """As the WebUI does it: saved first, then the first segment (JFIF) is replaced by the EXIF one."""
    image.save(path, quality=quality)
    content = path.read_bytes()
    (jfif_length,) = struct.unpack_from(">H", content, 4)
    exif = b"Exif\x00\x00" + exif_with_comment(job.infotext(image))
    segment = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
    path.write_bytes(content[:2] + segment + content[4 + jfif_length :])


def save_webp(path: Path, image: Image.Image, job: Job) -> None:
    image.save(path, quality=86, method=6, exif=b"Exif\x00\x00" + exif_with_comment(job.infotext(image)))


def exif_with_comment(text: str) -> bytes:
    """A big-endian TIFF structure with one EXIF field: UserComment in UTF-16."""
    comment = b"UNICODE\x00" + text.encode("utf-16-be")
    pointer = struct.pack(">HHHLLL", 1, 0x8769, 4, 1, 26, 0)
    field = struct.pack(">HHHLL", 1, 0x9286, 7, len(comment), 40)
    return b"MM\x00*\x00\x00\x00\x08" + pointer + field + comment


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
