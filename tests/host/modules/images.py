"""Saving with callbacks, text chunks and the numbering option; grids and joins."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from modules import script_callbacks, shared


def image_grid(imgs: Sequence[Any], batch_size: int = 1, rows: int | None = None) -> Image.Image:
    params = script_callbacks.ImageGridLoopParams(list(imgs), len(imgs), 1)
    script_callbacks.run("image_grid", params)
    width, height = max(img.width for img in imgs), max(img.height for img in imgs)
    grid = Image.new("RGB", (params.cols * width, height))
    for number, img in enumerate(params.imgs):
        grid.paste(img, (number * width, 0))
    return grid


def combine_grid(tiles: Sequence[Image.Image]) -> Image.Image:
    """The tiles of SD upscale side by side (the host takes a description of their places)."""
    joined = Image.new("RGB", (sum(tile.width for tile in tiles), tiles[0].height))
    left = 0
    for tile in tiles:
        joined.paste(tile, (left, 0))
        left += tile.width
    return joined


def draw_grid_annotations(
    im: Image.Image, width: int, height: int, hor_texts: Any, ver_texts: Any, margin: int = 0
) -> Image.Image:
    annotated = Image.new("RGB", (im.width, im.height + 20), "white")
    annotated.paste(im, (0, 20))
    return annotated


def save_image_with_geninfo(
    image: Image.Image,
    geninfo: str | None,
    filename: str,
    extension: str | None = None,
    existing_pnginfo: dict[str, Any] | None = None,
    pnginfo_section_name: str = "parameters",
) -> None:
    if Path(filename).suffix == ".png" or extension == ".png":
        texts = dict(existing_pnginfo or {})
        if geninfo is not None:
            texts[pnginfo_section_name] = geninfo
        chunks = PngInfo()
        for key, value in texts.items():
            chunks.add_text(key, str(value))
        image.save(filename, format="PNG", pnginfo=chunks if shared.opts.enable_pnginfo else None)
    else:
        kind = {".jpg": "JPEG", ".webp": "WEBP"}[extension or Path(filename).suffix]
        image.convert("RGB").save(filename, format=kind, quality=shared.opts.jpeg_quality)


def save_image(
    image: Image.Image,
    path: str,
    basename: str,
    seed: int | None = None,
    prompt: str | None = None,
    extension: str = "png",
    info: str | None = None,
    short_filename: bool = False,
    no_prompt: bool = False,
    grid: bool = False,
    pnginfo_section_name: str = "parameters",
    p: Any = None,
    existing_info: dict[str, Any] | None = None,
    forced_filename: str | None = None,
    suffix: str = "",
    save_to_dirs: bool | None = None,
) -> tuple[str, str | None]:
    Path(path).mkdir(parents=True, exist_ok=True)
    stem = forced_filename or _next_stem(Path(path), basename, seed) + suffix
    texts = existing_info or {}
    if info is not None:
        texts[pnginfo_section_name] = info
    params = script_callbacks.ImageSaveParams(image, p, str(Path(path) / f"{stem}.{extension}"), texts)
    script_callbacks.run("before_image_saved", params)
    image, filename = params.image, params.filename
    info = params.pnginfo.get(pnginfo_section_name)
    written = _free_name(Path(filename))
    temporary = f"{written.with_suffix('')}.tmp"
    save_image_with_geninfo(
        image,
        info,
        temporary,
        written.suffix,
        existing_pnginfo=params.pnginfo,
        pnginfo_section_name=pnginfo_section_name,
    )
    Path(temporary).replace(written)
    image.already_saved_as = filename
    if shared.opts.export_for_4chan and image.width > shared.opts.target_side_length:
        half = image.resize((image.width // 2, image.height // 2))
        save_image_with_geninfo(half, info, str(written.with_suffix(".jpg")), ".jpg")
    script_callbacks.run("image_saved", params)
    return filename, None


def _next_stem(folder: Path, basename: str, seed: int | None) -> str:
    if shared.opts.save_images_replace_action != "Replace":
        return f"00000-{seed}"
    number = 0
    parts = [basename, str(seed) if seed is not None else ""]
    while any(folder.glob("-".join(filter(None, [parts[0], f"{number:05}", parts[1]])) + ".*")):
        number += 1
    return "-".join(filter(None, [parts[0], f"{number:05}", parts[1]]))


def _free_name(path: Path) -> Path:
    number, free = 0, path
    while shared.opts.save_images_replace_action != "Replace" and free.exists():
        number += 1
        free = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return free
